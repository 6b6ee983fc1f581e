//! Short logs: kept in one transaction with records, read in order, forgotten by number or with their build.

use super::MakePlace;
use super::records::refused;
use super::values::{added, passed_build};
use crate::model::{BuildId, ShortLog, WallTime};
use crate::store::Rule;

fn short_log(build: u64, number: usize) -> ShortLog {
    ShortLog { build: BuildId(build), path: format!("app/b{build}/t{number}.1.log"), bytes: vec![0xff; number % 7] }
}

pub(super) fn short_logs_are_kept_with_their_batch_until_they_are_forgotten_or_their_build_is(make: MakePlace) {
    let place = make();
    let mut store = place.open();
    assert_eq!(store.last_short_log().unwrap(), 0);
    // More than are read at once.
    let logs: Vec<ShortLog> = (0..2_500).map(|number| short_log(1 + number as u64 % 2, number)).collect();
    store.commit_with(&passed_build(1), &logs[..10]).unwrap();
    store.commit_with(&passed_build(2), &[]).unwrap();
    store.commit_with(&[], &logs[10..]).unwrap();
    drop(store);

    let mut store = place.open();
    assert!(store.is_of_this_boot());
    let (mut found, mut last) = (Vec::new(), 0);
    loop {
        let more = store.short_logs(last).unwrap();
        let Some((number, _)) = more.last() else { break };
        last = *number;
        found.extend(more.into_iter().map(|(_, log)| log));
    }
    assert_eq!((last, found), (store.last_short_log().unwrap(), logs.clone()));

    assert_eq!(store.forget(&[BuildId(2)], Rule::Count, WallTime(9)).unwrap(), [BuildId(2)]);
    let newest = short_log(1, 3_000);
    store.commit_with(&[added(3, [3])], std::slice::from_ref(&newest)).unwrap();
    while store.forget_short_logs(last).unwrap() {}
    let left = store.short_logs(0).unwrap();
    assert_eq!(left.into_iter().map(|(_, log)| log).collect::<Vec<_>>(), [newest]);
    refused(&mut *store, &[added(3, [3])]);
    assert_eq!(store.short_logs(0).unwrap().len(), 1);
}
