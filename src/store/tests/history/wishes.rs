//! The random input of a history: values of every kind that a record may have. It knows of no history.

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

use crate::model::reason::{DecisionKind, PlacementReason, RecordedReason, TimeoutReason};
use crate::model::tests::reasons as samples;
use crate::model::*;

/// Random input for one record. If such a record does not fit the history so far, it becomes another record or none.
#[derive(Debug, Clone)]
pub(super) struct Wish {
    pub(super) kind: u8,
    pub(super) pick: usize,
    pub(super) number: u64,
    pub(super) text: String,
    pub(super) jobs: Vec<TaskSpec>,
    pub(super) outcome: Outcome,
    pub(super) ending: Ending,
    pub(super) placement: PlacementReason,
    pub(super) decision: DecisionKind,
    pub(super) commits: Vec<CommitId>,
}

fn text() -> impl Strategy<Value = String> {
    prop_oneof![Just(String::new()), "[a-z ]{1,12}", any::<String>(), Just("the first free runner".to_owned())]
}

fn any_commit() -> impl Strategy<Value = CommitId> {
    let raw = prop_oneof![vec(any::<u8>(), 20), vec(any::<u8>(), 32)];
    raw.prop_map(|raw| CommitId::from_bytes(&raw).unwrap())
}

fn input(name: &str, description: &str) -> Input {
    let default = (!name.is_empty()).then(|| description.to_owned());
    Input { name: name.to_owned(), default, description: description.to_owned(), given: None }
}

fn task() -> impl Strategy<Value = TaskSpec> {
    let script = prop_oneof![text().prop_map(Script::Shell), vec(text(), 1..4).prop_map(Script::Program)];
    let texts = || vec(text(), 0..3);
    let names = || vec(text().prop_map(|text| TaskName::recorded(&text)), 0..3);
    let labels = || vec(text().prop_map(|text| Label::recorded(&text)), 0..3);
    let flags = (any::<u64>(), any::<u32>(), any::<bool>(), any::<bool>(), any::<bool>(), option::of(text()));
    ("[a-z]{1,3}", script, names(), vec((text(), text()), 0..3), labels(), texts(), flags).prop_map(
        |(name, script, needs, env, labels, keep, (timeout_ms, retries, allow_failure, exclusive, manual, dir))| {
            TaskSpec {
                name: TaskName::new(&name).unwrap(),
                placement: Placement {
                    inputs: env.iter().map(|(name, value)| input(name, value)).collect(),
                    needs: needs
                        .into_iter()
                        .map(|task| Need { condition: condition(retries), ..Need::passed(task) })
                        .collect(),
                    retries,
                    retry: RetryRule { on: causes(retries), delay_ms: timeout_ms / 2, elsewhere: manual },
                    manual,
                    allow_failure,
                    labels,
                    priority: (timeout_ms % 201) as i32 - 100,
                    slots: SlotCount(1 + retries % 9),
                    group: (retries % 2 == 0)
                        .then(|| Group { limit: retries, ..Group::new(GroupName::recorded(&name)) }),
                    when: (!keep.is_empty()).then(|| {
                        let (branches, changed) = (keep.clone(), keep.clone());
                        Box::new(When { branches, tags: Vec::new(), events: TriggerEvent::ALL.to_vec(), changed })
                    }),
                },
                recipe: Recipe { env, timeout_ms, keep, exclusive, dir, ..Recipe::new(script) }.into(),
            }
        },
    )
}

fn condition(number: u32) -> Condition {
    [Condition::Passed, Condition::Failed, Condition::Finished][number as usize % 3]
}

fn causes(number: u32) -> Vec<RetryCause> {
    let all = [RetryCause::Exit(number.cast_signed()), RetryCause::Signal, RetryCause::Timeout, RetryCause::Failed];
    all[number as usize % 4..].to_vec()
}

/// Each variant as the table of the model has it, and what an older program wrote: a text alone.
fn reason<T: From<RecordedReason> + Clone + std::fmt::Debug + 'static>(
    table: Vec<(T, &'static str, &'static str)>,
) -> impl Strategy<Value = T> {
    let known: Vec<T> = table.into_iter().map(|(reason, ..)| reason).collect();
    // No text of a code, because a reason of that text is read back with the code.
    let old = text().prop_map(|text| T::from(RecordedReason { code: None, text: format!("old: {text}") }));
    prop_oneof![prop::sample::select(known), old]
}

fn outcome() -> impl Strategy<Value = Outcome> {
    prop_oneof![
        Just(Outcome::Passed),
        any::<i32>().prop_map(Outcome::Failed),
        any::<i32>().prop_map(Outcome::Killed),
        Just(Outcome::TimedOut(TimeoutReason::Whole)),
        Just(Outcome::TimedOut(TimeoutReason::quiet(600_000))),
        Just(Outcome::Cancelled),
        text().prop_map(Outcome::CouldNotStart),
        reason(samples::losses()).prop_map(Outcome::Lost),
    ]
}

fn ending() -> impl Strategy<Value = Ending> {
    prop_oneof![
        Just(Ending::Passed),
        Just(Ending::Failed),
        reason(samples::errors()).prop_map(|reason| Ending::Errored(Box::new(reason))),
        Just(Ending::Cancelled(None)),
        reason(samples::cancels()).prop_map(|reason| Ending::Cancelled(Some(Box::new(reason)))),
        reason(samples::left_outs()).prop_map(|reason| Ending::LeftOut(Box::new(reason))),
        reason(samples::skips()).prop_map(|reason| Ending::Skipped(Box::new(reason))),
    ]
}

pub(super) fn wish() -> impl Strategy<Value = Wish> {
    let numbers = (any::<u8>(), any::<usize>(), any::<u64>());
    let reasons = (outcome(), ending(), reason(samples::placements()), reason(samples::decisions()));
    (numbers, text(), vec(task(), 0..4), reasons, vec(any_commit(), 1..4)).prop_map(
        |((kind, pick, number), text, jobs, (outcome, ending, placement, decision), commits)| Wish {
            kind,
            pick,
            number,
            text,
            jobs,
            outcome,
            ending,
            placement,
            decision,
            commits,
        },
    )
}
