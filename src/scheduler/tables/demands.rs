//! The demands of queued jobs, each kept once and known by a small number. Many lanes ask for the same, so that a
//! question about a demand need not be asked again for each of them.

use std::sync::Arc;

use crate::model::Label;

/// The requirements of a job for its runner.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Demand<'a> {
    pub(crate) labels: &'a [Label],
    pub(crate) slots: u32,
}

/// The number of a demand, as long as something has it. No other demand gets the same number soon after.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct DemandId {
    place: u32,
    serial: u32,
}

/// All demands of queued jobs.
#[derive(Debug, Default)]
pub(super) struct Demands {
    known: Vec<Known>,
}

#[derive(Debug)]
struct Known {
    labels: Arc<[Label]>,
    slots: u32,
    /// The number of lanes and jobs that have it.
    users: usize,
    /// The number of demands that had the place before.
    serial: u32,
}

impl Demands {
    pub(super) fn get(&self, id: DemandId) -> Demand<'_> {
        let Known { labels, slots, .. } = &self.known[id.place as usize];
        Demand { labels, slots: *slots }
    }

    /// Returns the number of a demand, if anything has it.
    pub(super) fn find(&self, demand: Demand<'_>) -> Option<DemandId> {
        let is_it = |it: &Known| it.users > 0 && it.slots == demand.slots && *it.labels == *demand.labels;
        self.known.iter().position(is_it).map(|at| self.id(at))
    }

    /// Counts one more user of a demand. One that nobody has any more gives its place to a new one.
    pub(super) fn enter(&mut self, demand: Demand<'_>) -> DemandId {
        let id = self.find(demand).unwrap_or_else(|| {
            let new = |serial| Known { labels: demand.labels.into(), slots: demand.slots, users: 0, serial };
            let at = match self.known.iter().position(|known| known.users == 0) {
                Some(at) => {
                    self.known[at] = new(self.known[at].serial.wrapping_add(1));
                    at
                }
                None => {
                    self.known.push(new(0));
                    self.known.len() - 1
                }
            };
            self.id(at)
        });
        self.enter_again(id);
        id
    }

    /// Counts one more user of a demand that has some.
    pub(super) fn enter_again(&mut self, id: DemandId) {
        self.known[id.place as usize].users += 1;
    }

    /// Counts one user less.
    pub(super) fn leave(&mut self, id: DemandId) {
        self.known[id.place as usize].users -= 1;
    }

    fn id(&self, at: usize) -> DemandId {
        let place = u32::try_from(at).expect("there are fewer demands than jobs in memory");
        DemandId { place, serial: self.known[at].serial }
    }
}
