//! Random histories of valid records, which read back as a plain model says, however they are cut into batches. The
//! random input is in `wishes.rs`, and the plain model in `world.rs`.

mod wishes;
mod world;

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

use super::MakePlace;
use crate::model::Record;
use wishes::wish;
use world::World;

fn apply_singly(make: MakePlace, world: &World, records: &[Record], reopen: Option<usize>) {
    let place = make();
    let mut store = place.open();
    for (at, record) in records.iter().enumerate() {
        if reopen == Some(at) {
            drop(store);
            store = place.open();
        }
        store.commit(std::slice::from_ref(record)).unwrap();
    }
    world.check(&*place, &*store);
}

fn apply_in_batches(make: MakePlace, world: &World, records: &[Record], cuts: Vec<usize>) {
    let place = make();
    let mut store = place.open();
    let mut rest = records;
    for cut in cuts {
        let (batch, later) = rest.split_at(cut.min(rest.len()));
        store.commit(batch).unwrap();
        rest = later;
    }
    store.commit(rest).unwrap();
    world.check(&*place, &*store);
}

pub(super) fn any_history_reads_back_however_it_was_cut_into_batches(make: MakePlace) {
    proptest!(ProptestConfig { cases: 24, ..ProptestConfig::default() }, |(
        wishes in vec(wish(), 1..80),
        cuts in vec(1usize..30, 80),
        reopen in option::of(0usize..80),
    )| {
        let mut world = World::default();
        let records: Vec<Record> = wishes.into_iter().filter_map(|wish| world.apply(wish)).collect();
        apply_singly(make, &world, &records, reopen);
        apply_in_batches(make, &world, &records, cuts);
    });
}
