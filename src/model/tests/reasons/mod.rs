//! Every reason with its code and its text: the tests over the tables of `stored.rs` and `told.rs`, and the values that
//! both tables use. No sample of a reason stands here.

mod stored;
mod told;

use super::super::reason::{LossReason, Quarantine, RecordedReason, StoredReason};
use super::super::*;

pub(crate) use stored::{cancels, decisions, errors, left_outs, losses, placements, skips};

use stored::choices;
use told::{denials, fits, history, refusals, statuses};

type Table<T> = Vec<(T, &'static str, &'static str)>;

pub(super) fn runner() -> RunnerName {
    RunnerName::recorded("w1")
}

pub(super) fn task() -> TaskName {
    TaskName::recorded("test")
}

fn labels(labels: &[&str]) -> Vec<Label> {
    labels.iter().map(|label| Label::recorded(label)).collect()
}

fn said(text: &str) -> String {
    text.to_owned()
}

pub(super) fn quarantine() -> Quarantine {
    Quarantine { rest_ms: 1_500, failures: 3, last: LossReason::disk_full() }
}

fn check_stored<T: StoredReason + PartialEq + std::fmt::Debug>(table: &Table<T>) {
    for (reason, code, text) in table {
        assert_eq!((reason.code(), reason.to_string().as_str()), (Some(*code), *text), "{reason:?}");
        let json = serde_json::to_value(reason).unwrap();
        assert_eq!(json["code"], **code, "the code in the store is the code on the wire");
        assert_eq!(serde_json::from_value::<T>(json).unwrap(), *reason);
    }
    let old = T::from(RecordedReason { code: Some("of_tomorrow".into()), text: "it rained".into() });
    assert_eq!((old.code(), &*old.to_string()), (Some("of_tomorrow"), "it rained"));
    assert!(serde_json::to_string(&old).is_err(), "it is kept as its text alone");
}

#[test]
fn every_stored_reason_has_a_code_and_a_text_and_reads_back() {
    check_stored(&losses());
    check_stored(&placements());
    check_stored(&errors());
    check_stored(&skips());
    check_stored(&cancels());
    check_stored(&left_outs());
    check_stored(&choices());
    check_stored(&decisions());
}

#[test]
fn every_other_reason_has_a_code_and_a_text() {
    let fits = fits().into_iter().map(|(it, code, text)| (it.code(), it.to_string(), code, text));
    let refusals = refusals().into_iter().map(|(it, code, text)| (it.code(), it.to_string(), code, text));
    let statuses = statuses().into_iter().map(|(it, code, text)| (it.code(), it.to_string(), code, text));
    let denials = denials().into_iter().map(|(it, code, text)| (it.code(), it.to_string(), code, text));
    for (code, said, expected, text) in fits.chain(refusals).chain(statuses).chain(denials) {
        assert_eq!((code, &*said), (expected, text));
    }
    for (entry, code, text) in history() {
        assert_eq!((entry.code(), &*entry.to_string()), (Some(code), text));
    }
}

#[test]
fn a_runners_code_is_known_again_and_another_leaves_its_text() {
    for (reason, code, text) in losses().into_iter().filter(|(reason, ..)| reason.is_reported()) {
        assert_eq!(LossReason::reported(Some(code), text.to_owned()), reason);
    }
    for code in [None, Some("of_tomorrow"), Some("silent")] {
        assert_eq!(LossReason::reported(code, said("it rained")), LossReason::from("it rained"));
    }
}

/// A code that the protocol document does not explain helps nobody.
#[test]
fn every_code_is_in_the_protocol_document() {
    let document = include_str!("../../../../docs/protocol.md");
    let (_, reasons) = document.split_once("\n## 14. Reasons").unwrap();
    let stored = codes(losses())
        .chain(codes(placements()))
        .chain(codes(errors()))
        .chain(codes(skips()))
        .chain(codes(cancels()))
        .chain(codes(left_outs()))
        .chain(codes(choices()));
    let told = codes(decisions()).chain(codes(history())).chain(codes(statuses())).chain(codes(fits()));
    for code in stored.chain(told).chain(codes(refusals())) {
        assert!(reasons.contains(&format!("`{code}`")), "`{code}` is missing");
    }
}

fn codes<T>(table: Table<T>) -> impl Iterator<Item = &'static str> {
    table.into_iter().map(|(_, code, _)| code)
}
