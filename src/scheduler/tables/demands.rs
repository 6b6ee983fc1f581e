//! The demands of the queue's lanes, each kept once and known by a small number. Many lanes ask for the same, so that a
//! question about a demand need not be asked again for each of them.

use std::sync::Arc;

use crate::model::Label;

/// The requirements of a job for its runner.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Demand<'a> {
    pub(crate) labels: &'a [Label],
    pub(crate) slots: u32,
}

/// The number of a demand, as long as a lane has it. No other demand gets the same number soon after.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct DemandId {
    place: usize,
    serial: u32,
}

/// All demands of the lanes.
#[derive(Debug, Default)]
pub(super) struct Demands {
    known: Vec<Known>,
}

#[derive(Debug)]
struct Known {
    labels: Arc<[Label]>,
    slots: u32,
    /// The number of lanes that have it.
    lanes: usize,
    /// The number of demands that had the place before.
    serial: u32,
}

impl Demands {
    pub(super) fn get(&self, id: DemandId) -> Demand<'_> {
        let Known { labels, slots, .. } = &self.known[id.place];
        Demand { labels, slots: *slots }
    }

    /// Counts one more lane with this demand.
    pub(super) fn enter(&mut self, demand: Demand<'_>) -> DemandId {
        let place = self.find(demand);
        self.known[place].lanes += 1;
        DemandId { place, serial: self.known[place].serial }
    }

    /// Counts one lane less.
    pub(super) fn leave(&mut self, id: DemandId) {
        self.known[id.place].lanes -= 1;
    }

    /// Returns the labels of a demand as the lanes share them.
    pub(super) fn shared(&mut self, demand: Demand<'_>) -> Arc<[Label]> {
        let at = self.find(demand);
        Arc::clone(&self.known[at].labels)
    }

    /// Returns the place of a demand. One that nobody uses any more gives its place to a new one.
    fn find(&mut self, demand: Demand<'_>) -> usize {
        if let Some(at) = self.known.iter().position(|it| it.slots == demand.slots && *it.labels == *demand.labels) {
            return at;
        }
        let new = |serial| Known { labels: demand.labels.into(), slots: demand.slots, lanes: 0, serial };
        let unused = |known: &Known| known.lanes == 0 && Arc::strong_count(&known.labels) == 1;
        match self.known.iter().position(unused) {
            Some(at) => {
                self.known[at] = new(self.known[at].serial.wrapping_add(1));
                at
            }
            None => {
                self.known.push(new(0));
                self.known.len() - 1
            }
        }
    }
}
