//! Drains: operators keep jobs from a runner until they resume it.
//!
//! A drain belongs to the runner's name. It is recorded before anybody hears of it, and lasts over restarts of either
//! side. The process that is connected when the order comes finishes its attempts and ends. A later process of the name
//! is admitted and stays idle: if it were told to end too, a service manager would start it again and again.

use super::turn::Turn;
use super::{Reply, RequestId, RunnerCommand, Scheduler};
use crate::model::reason::{Notice, OrderDone};
use crate::model::{DrainOrder, Ordered, Record, RunnerId, RunnerName};

impl Scheduler {
    /// Returns the order to drain the runner of that name, if one is in force.
    pub(super) fn drain_of(&self, name: &RunnerName) -> Option<DrainOrder> {
        self.known_runners.get(name).and_then(|runner| runner.drain)
    }

    /// Drains a runner for an operator. Its present process, if there is one, is told to end.
    pub(super) fn drain_runner(&mut self, turn: &mut Turn, request: RequestId, id: RunnerId, by: Option<String>) {
        let runner = self.known_name(id);
        let member = self.tables.roster().member(id);
        let (ends, attempts) = member.map_or((false, 0), |it| (it.draining, it.holds().len()));
        let done = if self.drain_of(&runner).is_none() {
            let process = member.and_then(|it| it.incarnation);
            let ordered = Ordered { by, at: turn.at };
            self.set_drain(turn, &runner, Some(DrainOrder { ending: process }), Some(ordered));
            turn.note(Notice::RunnerDrained { runner: runner.clone() });
            let told = self.tables.update(id, turn.now, |member| {
                member.drained = true;
                member.draining |= process.is_some();
                member.session()
            });
            // A process that is away is told when it comes back.
            if let Some(session) = told.flatten() {
                turn.send(session, RunnerCommand::Drain);
            }
            if process.is_some() { OrderDone::Draining { runner, attempts } } else { OrderDone::Drained { runner } }
        } else if ends {
            OrderDone::Draining { runner, attempts }
        } else {
            OrderDone::DrainedAlready { runner }
        };
        turn.reply(request, Reply::Done(done));
    }

    /// Lets a drained runner take jobs again, for an operator. A process that was told to end still ends.
    pub(super) fn resume_runner(&mut self, turn: &mut Turn, request: RequestId, id: RunnerId, by: Option<String>) {
        let runner = self.known_name(id);
        let ordered = Ordered { by, at: turn.at };
        let done = if self.lift_drain(turn, &runner, Some(ordered)) {
            turn.note(Notice::RunnerResumed { runner: runner.clone() });
            let ends = self.tables.roster().member(id).is_some_and(|member| member.draining);
            OrderDone::Resumed { runner, ends }
        } else {
            let quarantine = self.tables.roster().member(id).and_then(|it| it.health.quarantine(turn.now));
            OrderDone::NotDrained { runner, quarantine }
        };
        turn.reply(request, Reply::Done(done));
    }

    /// Ends the drain of a runner, by an order or because its process is over. Returns whether one was in force.
    pub(super) fn lift_drain(&mut self, turn: &mut Turn, name: &RunnerName, ordered: Option<Ordered>) -> bool {
        if self.drain_of(name).is_none() {
            return false;
        }
        let id = self.set_drain(turn, name, None, ordered);
        self.tables.update(id, turn.now, |member| member.drained = false);
        true
    }

    /// Records the drain of a runner that is known, or its end, and the order.
    fn set_drain(
        &mut self,
        turn: &mut Turn,
        name: &RunnerName,
        drain: Option<DrainOrder>,
        ordered: Option<Ordered>,
    ) -> RunnerId {
        let runner = self.known_runners.get_mut(name).expect("the caller has found it");
        (runner.drain, runner.ordered) = (drain, ordered);
        turn.persist(Record::RunnerSaved(runner.clone()));
        runner.id
    }
}
