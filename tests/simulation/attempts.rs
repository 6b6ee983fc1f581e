//! How a runner's process begins, ends, reports and abandons its attempts. The sessions and the life
//! of the process itself are in `runner.rs`.

use surveil::model::{AttemptId, Outcome};
use surveil::scheduler::Lease;

use crate::history::Fact;
use crate::leavings::is_denied;
use crate::network::Up;
use crate::runner::{Alarm, Early, GRACE_MS, Held, Phase, ProcessId};
use crate::world::{Happening, World};

impl World {
    pub(crate) fn leased(&mut self, id: ProcessId, lease: Box<Lease>) {
        let Some(process) = self.processes.get_mut(&id) else { return };
        let attempt = lease.attempt;
        if process.held.contains_key(&attempt) {
            return;
        }
        let executing = process.held.values().filter(|held| matches!(held.phase, Phase::Executing { .. }));
        let goes_on = executing.clone().filter(|held| held.ending.is_none());
        let taken = |lease: &Lease| lease.task.placement.slots.0 as usize;
        let of = |held: &Held| held.lease.as_ref().map_or(1, |lease| taken(lease));
        let (used, goes_on): (usize, usize) = (executing.map(of).sum(), goes_on.map(of).sum());
        let waiting: usize = process.waiting.iter().map(|lease| taken(lease)).sum();
        let slots = self.hosts[process.host].slots;
        let has_room = used + taken(&lease) <= slots;
        if process.is_stopping || !has_room && goes_on + waiting + taken(&lease) > slots {
            let outcome = Outcome::Lost("the runner has no free slot".into());
            let phase = Phase::Ended { outcome, said: None };
            process.held.insert(attempt, Held { phase, lease: None, ending: None });
            return self.deliver(id, attempt);
        }
        if !has_room {
            process.held.insert(attempt, Held { phase: Phase::Waiting, lease: None, ending: None });
            process.waiting.push_back(lease);
            return;
        }
        let limit = lease.task.recipe.exclusive.then_some(lease.lease_ms / 2);
        let held = Held { phase: Phase::Executing { began: false }, lease: Some(lease), ending: None };
        process.held.insert(attempt, held);
        // The lease may be over already if it was read late, from a connection that is dead by now.
        if let Some(limit) = limit {
            let ends = process.renewed + limit;
            self.plan(ends, Happening::Runner(id, Alarm::CutOff(attempt)));
        }
        let begins = self.now + self.dice.ms(1, 300);
        self.plan(begins, Happening::Runner(id, Alarm::Begin(attempt)));
    }

    pub(crate) fn begin(&mut self, id: ProcessId, attempt: AttemptId) {
        let Some(process) = self.processes.get_mut(&id) else { return };
        let Some(held) = process.held.get_mut(&attempt) else { return };
        let (Phase::Executing { began }, None, Some(lease)) = (&mut held.phase, held.ending, &held.lease) else {
            return;
        };
        *began = true;
        let (job, incarnation, name) = (lease.job, process.incarnation, self.hosts[process.host].name.clone());
        let session = process.session.filter(|_| process.is_here);
        self.history.note(self.now, Fact::Began { attempt, job, name, incarnation });
        let takes = self.execution_ms();
        self.plan(self.now + takes, Happening::Runner(id, Alarm::End(attempt, true)));
        if let Some(session) = session {
            self.send_up(session, Up::Started(attempt));
        }
    }

    pub(crate) fn end_attempt(&mut self, id: ProcessId, attempt: AttemptId, by_itself: bool) {
        let natural = self.natural_outcome();
        let Some(process) = self.processes.get_mut(&id) else { return };
        let Some(held) = process.held.get_mut(&attempt) else { return };
        let Phase::Executing { began } = held.phase else { return };
        let outcome = match held.ending {
            _ if by_itself && held.lease.as_deref().is_some_and(is_denied) => Outcome::CouldNotStart("denied".into()),
            _ if by_itself => natural,
            Some(Early::CutOff) => Outcome::Lost("the runner was cut off from the dispatcher".into()),
            Some(Early::Stopped | Early::Cancelled | Early::Gone) | None => Outcome::Cancelled,
        };
        let is_wanted = held.ending != Some(Early::Gone);
        let lease = held.lease.clone().filter(|_| is_wanted && began);
        let is_main = self.hosts[process.host].main == Some(id);
        if is_wanted {
            held.phase = Phase::Ended { outcome: outcome.clone(), said: None };
            if is_main {
                self.hosts[process.host].journal.insert(attempt, outcome.clone());
            }
        } else {
            process.held.remove(&attempt);
        }
        if began {
            self.history.note(self.now, Fact::Over { attempt, outcome: Some(outcome.clone()) });
        }
        if let Some(lease) = lease {
            self.keep_file(&lease);
            self.keep_left(&lease, &outcome);
        }
        if is_wanted {
            self.deliver(id, attempt);
        }
        // Each that waits tries again; one that has no room yet waits behind the others.
        let waiting = self.processes.get_mut(&id).map(|process| std::mem::take(&mut process.waiting));
        for lease in waiting.into_iter().flatten() {
            if let Some(process) = self.processes.get_mut(&id) {
                process.held.remove(&lease.attempt);
            }
            self.leased(id, lease);
        }
    }

    fn deliver(&mut self, id: ProcessId, attempt: AttemptId) {
        let Some(process) = self.processes.get_mut(&id) else { return };
        let (Some(session), true) = (process.session, process.is_here) else { return };
        let Some(Held { phase: Phase::Ended { outcome, said }, .. }) = process.held.get_mut(&attempt) else { return };
        *said = Some(self.now);
        let outcome = outcome.clone();
        self.send_up(session, Up::Results(attempt, outcome));
    }

    pub(crate) fn cancelled(&mut self, id: ProcessId, attempt: AttemptId) {
        let Some(process) = self.processes.get_mut(&id) else { return };
        let Some(held) = process.held.get_mut(&attempt) else { return };
        match held.phase {
            Phase::Executing { .. } => self.end_early(id, attempt, Early::Cancelled),
            Phase::Waiting => {
                held.phase = Phase::Ended { outcome: Outcome::Cancelled, said: None };
                process.waiting.retain(|lease| lease.attempt != attempt);
                self.deliver(id, attempt);
            }
            Phase::Ended { .. } => {}
        }
    }

    /// The dispatcher holds no such lease (any more), or has its result.
    pub(crate) fn gone(&mut self, id: ProcessId, attempt: AttemptId) {
        let Some(process) = self.processes.get_mut(&id) else { return };
        match process.held.get(&attempt).map(|held| &held.phase) {
            Some(Phase::Executing { .. }) => return self.end_early(id, attempt, Early::Gone),
            Some(Phase::Waiting) => process.waiting.retain(|lease| lease.attempt != attempt),
            Some(Phase::Ended { .. }) | None => {}
        }
        process.held.remove(&attempt);
        if self.hosts[process.host].main == Some(id) {
            self.hosts[process.host].journal.remove(&attempt);
        }
    }

    fn end_early(&mut self, id: ProcessId, attempt: AttemptId, early: Early) {
        let ends = self.now + self.dice.ms(1, GRACE_MS);
        let Some(held) = self.processes.get_mut(&id).and_then(|process| process.held.get_mut(&attempt)) else { return };
        if held.ending.is_none() {
            self.plan(ends, Happening::Runner(id, Alarm::End(attempt, false)));
        }
        let Some(held) = self.processes.get_mut(&id).and_then(|process| process.held.get_mut(&attempt)) else { return };
        if held.ending.is_none() || early == Early::Gone {
            held.ending = Some(early);
        }
    }

    pub(crate) fn look_at_limit(&mut self, id: ProcessId, attempt: AttemptId) {
        let Some(process) = self.processes.get_mut(&id) else { return };
        let Some(held) = process.held.get_mut(&attempt) else { return };
        let (Phase::Executing { .. }, None, Some(lease)) = (&held.phase, held.ending, &held.lease) else { return };
        let limit = process.renewed + lease.lease_ms / 2;
        if self.now < limit {
            return self.plan(limit, Happening::Runner(id, Alarm::CutOff(attempt)));
        }
        if self.heeds_limit() {
            self.end_early(id, attempt, Early::CutOff);
        }
    }

    /// An orderly end: running attempts are ended, and their results are sent if there is time.
    pub(crate) fn stop(&mut self, id: ProcessId) {
        let Some(process) = self.processes.get_mut(&id) else { return };
        process.is_stopping = true;
        for lease in std::mem::take(&mut process.waiting) {
            process.held.remove(&lease.attempt);
        }
        let executing =
            |(attempt, held): (&AttemptId, &Held)| matches!(held.phase, Phase::Executing { .. }).then_some(*attempt);
        let executing: Vec<AttemptId> = process.held.iter().filter_map(executing).collect();
        for attempt in executing {
            self.end_early(id, attempt, Early::Stopped);
        }
        self.plan(self.now + GRACE_MS + 500, Happening::Runner(id, Alarm::Exit));
    }
}
