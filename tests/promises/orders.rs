//! Orders that operators heard confirmed: they are durable, which is a part of S5, and a drain stays in force.

use std::collections::{BTreeMap, BTreeSet};

use surveil::model::{BuildId, Record, Runner, RunnerId};
use surveil::scheduler::{Effect, Event, Reply, RequestId};

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
            Event::CancelAsked { request, build, only: None, .. } => (request, (*build, Order::Cancel)),
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

/// After an operator heard that a runner is drained, it gets no new attempt, whatever happens to the dispatcher and to
/// the runner, until an operator resumes it.
pub(super) fn drain(story: &[Entry], _: &Terms) -> Result<(), String> {
    let mut asked: BTreeMap<RequestId, RunnerId> = BTreeMap::new();
    // As recorded.
    let mut drained: BTreeSet<RunnerId> = BTreeSet::new();
    let mut resumes: Option<RunnerId> = None;
    for fact in facts(story) {
        match fact {
            Fact::Arrived(event) => {
                resumes = None;
                match event {
                    Event::DrainAsked { request, runner, .. } => drop(asked.insert(*request, *runner)),
                    Event::ResumeAsked { runner, .. } => {
                        resumes = Some(*runner);
                        asked.retain(|_, drained| drained != runner);
                    }
                    _ => {}
                }
            }
            Fact::Decided(Effect::Persist(Record::RunnerSaved(Runner { id, drain: None, .. }))) => {
                let fine = !drained.contains(id) || resumes == Some(*id);
                demand(fine, || format!("{id} is drained no more, and no operator resumed it"))?;
            }
            Fact::Committed(Record::RunnerSaved(Runner { id, drain, .. })) => {
                drained.remove(id);
                drained.extend(drain.map(|_| *id));
            }
            Fact::Released(Effect::Reply { request, reply: Reply::Done(_) }) => {
                let fine = asked.remove(request).is_none_or(|runner| drained.contains(&runner));
                demand(fine, || "a runner is said to be drained, and that is not durable".into())?;
            }
            Fact::Committed(Record::AttemptLeased(attempt)) => {
                let fine = !drained.contains(&attempt.runner);
                demand(fine, || format!("{} is leased to {}, which is drained", attempt.id, attempt.runner))?;
            }
            _ => {}
        }
    }
    Ok(())
}
