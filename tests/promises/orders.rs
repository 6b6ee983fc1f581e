//! Orders that operators heard confirmed, compared with the durable records. A part of S5.

use std::collections::BTreeMap;

use surveil::model::{BuildId, Record};
use surveil::scheduler::{Event, RequestId};

use super::checkers::demand;

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
