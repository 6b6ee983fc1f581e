//! Counters of what has happened since the dispatcher started, folded from the records.
//!
//! The core folds each record once, after it is durable; a page, an API or `surveil status` only reads. Each counter
//! that has kinds is keyed by a word or by the code of a reason.

use std::collections::BTreeMap;

use crate::model::reason::StoredReason;
use crate::model::{Outcome, Record};

/// Numbers by the word of their kind.
pub(crate) type ByWord = BTreeMap<String, u64>;

/// Numbers of events since the dispatcher started.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Counters {
    pub(crate) builds_added: u64,
    /// By verdict.
    pub(crate) builds_finished: ByWord,
    /// Finished builds of which jobs were run again.
    pub(crate) builds_reopened: u64,
    /// By the state in which they ended.
    pub(crate) jobs_finished: ByWord,
    pub(crate) attempts_leased: u64,
    /// By outcome.
    pub(crate) attempts_finished: ByWord,
    /// Lost attempts, by the code of the reason.
    pub(crate) losses_by_reason: ByWord,
    /// Results that came when they counted no more, by outcome.
    pub(crate) late_results: ByWord,
    /// Bytes of logs of finished attempts.
    pub(crate) log_bytes: u64,
}

/// Counts one record that has become durable.
pub(crate) fn fold(counters: &mut Counters, record: &Record) {
    match record {
        Record::BuildAdded { .. } => counters.builds_added += 1,
        Record::BuildFinished { verdict, .. } => count(&mut counters.builds_finished, verdict.word()),
        Record::BuildReopened { .. } => counters.builds_reopened += 1,
        Record::JobFinished { ending, .. } => count(&mut counters.jobs_finished, ending.word()),
        Record::AttemptLeased(_) => counters.attempts_leased += 1,
        Record::AttemptFinished { outcome, log, .. } => {
            count(&mut counters.attempts_finished, outcome.word());
            if let Outcome::Lost(reason) = outcome {
                count(&mut counters.losses_by_reason, reason.code().unwrap_or("unknown"));
            }
            counters.log_bytes += log.bytes;
        }
        Record::LateResult { outcome, .. } => count(&mut counters.late_results, outcome.word()),
        Record::HeadMoved { .. }
        | Record::RefsNoted { .. }
        | Record::JobQueued { .. }
        | Record::JobWaiting { .. }
        | Record::JobHeld { .. }
        | Record::JobsJoined { .. }
        | Record::TaskGiven { .. }
        | Record::RunnerSaved(_)
        | Record::StepsEnded { .. }
        | Record::OutputsSet { .. }
        | Record::ArtifactsLeft { .. }
        | Record::AttemptExecuted { .. }
        | Record::ScheduleSaved(_)
        | Record::Decided(_) => {}
    }
}

fn count(numbers: &mut ByWord, word: &str) {
    // Nearly always the word is there already, and then nothing is allocated.
    match numbers.get_mut(word) {
        Some(number) => *number += 1,
        None => _ = numbers.insert(word.to_owned(), 1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::reason::{LossReason, SkipReason};
    use crate::model::{AttemptId, BuildId, Ending, EndingKind, JobId, LogSummary, TaskName, Verdict, WallTime};

    #[test]
    fn records_are_counted_by_how_things_ended() {
        let at = WallTime(0);
        let skipped = SkipReason::NeedNotPassed { task: TaskName::recorded("a"), how: EndingKind::Failed };
        let ended = |outcome: Outcome, bytes| {
            let log = LogSummary { bytes, ..LogSummary::default() };
            Record::AttemptFinished { attempt: AttemptId(1), outcome, log, duration_ms: None, at }
        };
        let records = [
            ended(Outcome::Lost("its runner vanished".into()), 5),
            ended(Outcome::Lost(LossReason::LeaseExpired), 0),
            ended(Outcome::Lost(LossReason::LeaseExpired), 0),
            ended(Outcome::Failed(1), 7),
            ended(Outcome::Failed(2), 0),
            Record::LateResult { attempt: AttemptId(1), outcome: Outcome::Passed, at },
            Record::JobFinished { job: JobId(1), ending: Ending::Failed },
            Record::JobFinished { job: JobId(2), ending: Ending::Skipped(Box::new(skipped)) },
            Record::BuildFinished { build: BuildId(1), verdict: Verdict::Failed, at },
            Record::BuildReopened { build: BuildId(1) },
            Record::JobWaiting { job: JobId(1) },
        ];
        let mut counters = Counters::default();
        records.iter().for_each(|record| fold(&mut counters, record));
        let words = |pairs: &[(&str, u64)]| pairs.iter().map(|(word, count)| ((*word).to_owned(), *count)).collect();
        let expected = Counters {
            builds_finished: words(&[("failed", 1)]),
            builds_reopened: 1,
            jobs_finished: words(&[("failed", 1), ("skipped", 1)]),
            attempts_finished: words(&[("failed", 2), ("lost", 3)]),
            losses_by_reason: words(&[("lease_expired", 2), ("reported", 1)]),
            late_results: words(&[("passed", 1)]),
            log_bytes: 12,
            ..Counters::default()
        };
        assert_eq!(counters, expected);
    }
}
