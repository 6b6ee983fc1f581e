//! Orders that operators heard confirmed: they are durable, which is a part of S5, and a drain stays in force.

use std::collections::BTreeMap;

use surveil::model::{BuildId, Incarnation, Record, RunnerId, RunnerName, SessionId};
use surveil::scheduler::{Effect, Event, Reply, RequestId, RunnerCommand};

use super::checkers::{demand, facts};
use super::history::{Entry, Fact};
use super::terms::Terms;

/// Open orders of operators, and how often each build has been finished and reopened.
#[derive(Default)]
pub(super) struct Orders {
    /// The order and its build, and how often it had been done for the build when it was given.
    asked: BTreeMap<RequestId, ((BuildId, Order), usize)>,
    done: BTreeMap<(BuildId, Order), usize>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Order {
    Cancel,
    Rerun,
}

impl Orders {
    pub(super) fn ask(&mut self, event: &Event) {
        let (request, order) = match event {
            Event::CancelAsked { request, build, job: None } => (request, (*build, Order::Cancel)),
            Event::RerunAsked { request, build, .. } => (request, (build.build.id, Order::Rerun)),
            _ => return,
        };
        self.asked.insert(*request, (order, self.times(order)));
    }

    fn times(&self, order: (BuildId, Order)) -> usize {
        self.done.get(&order).copied().unwrap_or(0)
    }

    pub(super) fn take(&mut self, record: &Record) {
        let order = match record {
            Record::BuildFinished { build, .. } => (*build, Order::Cancel),
            Record::BuildReopened { build } => (*build, Order::Rerun),
            _ => return,
        };
        *self.done.entry(order).or_default() += 1;
    }

    /// An operator hears that the order is done.
    pub(super) fn check(&mut self, request: RequestId) -> Result<(), String> {
        let Some((order, before)) = self.asked.remove(&request) else { return Ok(()) };
        demand(self.times(order) > before, || format!("{order:?} is said to be done and is not durable"))
    }
}

/// After an operator heard that a runner drains, it gets no new attempt, whatever happens to the dispatcher, until
/// its process has ended and another one comes.
pub(super) fn drain(story: &[Entry], _: &Terms) -> Result<(), String> {
    let mut joining: BTreeMap<SessionId, (RunnerName, Incarnation)> = BTreeMap::new();
    let mut ids: BTreeMap<RunnerName, RunnerId> = BTreeMap::new();
    let mut there: BTreeMap<RunnerId, Incarnation> = BTreeMap::new();
    let mut asked: BTreeMap<RequestId, RunnerId> = BTreeMap::new();
    let mut drained: BTreeMap<RunnerId, Incarnation> = BTreeMap::new();
    for fact in facts(story) {
        match fact {
            Fact::Decided(Effect::Persist(Record::RunnerSaved(runner))) => {
                ids.insert(runner.name.clone(), runner.id);
            }
            Fact::Arrived(Event::RunnerJoined(joined)) => {
                joining.insert(joined.session, (joined.name.clone(), joined.incarnation));
            }
            Fact::Decided(Effect::Send { session, message: RunnerCommand::Registered { .. } }) => {
                let Some((name, incarnation)) = joining.get(session) else { continue };
                there.extend(ids.get(name).map(|id| (*id, *incarnation)));
            }
            Fact::Arrived(Event::DrainAsked { request, runner }) => drop(asked.insert(*request, *runner)),
            Fact::Decided(Effect::Reply { request, reply: Reply::Done(_) }) => {
                let runner = asked.remove(request);
                drained.extend(runner.and_then(|id| Some((id, *there.get(&id)?))));
            }
            Fact::Decided(Effect::Persist(Record::AttemptLeased(attempt))) => {
                let runner = attempt.runner;
                let drains = drained.get(&runner).is_some_and(|drained| there.get(&runner) == Some(drained));
                demand(!drains, || format!("{} is leased to {runner}, which drains", attempt.id))?;
            }
            _ => {}
        }
    }
    Ok(())
}
