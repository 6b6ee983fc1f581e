//! What is known of a runner: whether it is there, and whether it can take work.

use surveil::model::{Incarnation, Label, SessionId};

use super::terms::Terms;

/// A runner, since the dispatcher's start.
pub(super) struct Seen {
    pub(super) session: Option<SessionId>,
    pub(super) newest: SessionId,
    pub(super) incarnation: Option<Incarnation>,
    pub(super) labels: Vec<Label>,
    pub(super) slots: u32,
    pub(super) heard: u64,
    pub(super) gone_at: u64,
    /// Period in which the runner could have taken work.
    pub(super) useful_since: u64,
    pub(super) useful_until: u64,
    pub(super) is_draining: bool,
    /// An operator drained it.
    pub(super) is_drained: bool,
}

impl Default for Seen {
    fn default() -> Self {
        Self {
            session: None,
            newest: SessionId(0),
            incarnation: None,
            labels: Vec::new(),
            slots: 0,
            heard: 0,
            gone_at: 0,
            useful_since: 0,
            useful_until: 0,
            is_draining: false,
            is_drained: false,
        }
    }
}

impl Seen {
    pub(super) fn drain(&mut self, now: u64, terms: &Terms) {
        self.be_useless(now, terms);
        self.is_draining = true;
    }

    /// Marks that the runner can take no work from now on. If it could only for a moment, no tick can have noticed.
    pub(super) fn be_useless(&mut self, now: u64, terms: &Terms) {
        let is_useful = self.session.is_some() && !self.is_draining && !self.is_drained;
        if is_useful && now - self.useful_since > 2 * terms.lease_check_ms {
            self.useful_until = now;
        }
    }

    /// An operator drained it, or resumed it.
    pub(super) fn order(&mut self, is_drained: bool, now: u64, terms: &Terms) {
        if is_drained {
            self.be_useless(now, terms);
        } else if self.is_drained {
            self.useful_since = now;
        }
        self.is_drained = is_drained;
    }
}
