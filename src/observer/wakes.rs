//! Wakes: an operator asks for a look at a repository at once. The thread that reads the session passes a wake on to
//! the thread that looks furthest: that of the repository, or the fetching one if the repository is a mirror of a
//! remote.
//!
//! A wake is a hint and never a fact: one that is lost costs the rest of the poll's interval. Does no I/O.

use std::collections::HashMap;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use crossbeam_channel::Sender;

use crate::threads;

/// Shortest interval between two looks that wakes ask for. Wakes in between share the next look, so that any number of
/// them costs one look a second.
const PACE: Duration = Duration::from_secs(1);

/// The channels by which wakes reach the threads, by the name of the repository. The lock is held only for a lookup.
#[derive(Debug, Default)]
pub(crate) struct Wakes(Mutex<HashMap<String, Sender<()>>>);

impl Wakes {
    /// Registers a repository, and the channel of the thread that wakes concern.
    pub(crate) fn register(&self, repo: &str, ask: Sender<()>) {
        threads::lock(&self.0).insert(repo.to_owned(), ask);
    }

    /// Passes a wake on. Ignores a repository that nobody has registered: it is looked at as soon as it is.
    pub(super) fn wake(&self, repo: &str) {
        if let Some(ask) = threads::lock(&self.0).get(repo) {
            // If a wake is waiting already, a second one would add nothing.
            ask.try_send(()).unwrap_or_default();
        }
    }
}

/// The times of the looks that wakes ask for.
#[derive(Debug, Default)]
pub(crate) struct WakePace {
    /// The last look that a wake asked for.
    last: Option<Instant>,
    is_asked: bool,
}

impl WakePace {
    /// Takes a wake. Returns when the look is due that it asks for.
    pub(crate) fn ask(&mut self, now: Instant) -> Instant {
        self.is_asked = true;
        self.last.map_or(now, |last| now.max(last + PACE))
    }

    /// Notes a look, whatever its reason. It serves the wakes that came before it.
    pub(crate) fn looked(&mut self, now: Instant) {
        if std::mem::take(&mut self.is_asked) {
            self.last = Some(now);
        }
    }
}

#[cfg(test)]
mod tests {
    use crossbeam_channel::bounded;

    use super::*;
    use crate::clock;

    #[test]
    fn a_thousand_wakes_a_second_cost_one_look_a_second_and_the_last_one_is_not_lost() {
        let (start, mut pace) = (clock::instant(), WakePace::default());
        let at = |ms| start + Duration::from_millis(ms);
        assert_eq!(pace.ask(at(0)), at(0), "the first look is at once");
        let (mut due, mut looks) = (at(0), Vec::new());
        for ms in 0..3_000 {
            if due <= at(ms) {
                looks.push(ms);
                pace.looked(at(ms));
            }
            due = pace.ask(at(ms));
        }
        assert_eq!(looks, [0, 1_000, 2_000]);
        assert_eq!(due, at(3_000), "the last wake is served by a look behind it");
        // A look for another reason, with no wake before it, delays no wake.
        pace.looked(at(3_000));
        pace.looked(at(9_999));
        assert_eq!(pace.ask(at(10_000)), at(10_000));
    }

    #[test]
    fn wakes_that_nobody_has_taken_yet_are_one() {
        let (wakes, (ask, asked)) = (Wakes::default(), bounded(1));
        wakes.wake("app");
        wakes.register("app", ask);
        assert_eq!(asked.len(), 0);
        for _ in 0..1_000 {
            wakes.wake("app");
            wakes.wake("another");
        }
        assert_eq!(asked.len(), 1);
    }
}
