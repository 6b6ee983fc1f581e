//! Finds what is new in a build's report, compared with the one before it. Pure.

use std::collections::HashMap;

use crate::cli::fold;
use crate::model::JobStateKind;
use crate::protocol::operator::{AttemptReport, BuildReport, JobReport};

/// A piece of news that deserves a line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Happening {
    /// The build appears for the first time.
    Seen,
    /// A job waits that takes more slots than the runner of this process has.
    TooLarge { job: JobReport, slots: u32, room: u32 },
    /// An attempt at a job has started.
    Started { job: JobReport, attempt: AttemptReport },
    /// An attempt ended, but its job did not: it is tried again.
    Again { job: JobReport, attempt: AttemptReport },
    /// A job has ended.
    Ended { job: JobReport },
    /// All cells of this job's matrix have ended.
    MatrixEnded { job: JobReport },
    /// The build has its verdict.
    Finished,
}

/// The news told so far.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    builds: HashMap<u64, Told>,
    /// The slots of the runner of this process, if it has one.
    room: Option<u32>,
}

/// The news told of one build.
#[derive(Debug, Default)]
struct Told {
    is_finished: bool,
    jobs: HashMap<u64, ToldJob>,
}

/// The news told of one job.
#[derive(Debug, Default)]
struct ToldJob {
    is_ended: bool,
    /// Whether it was told that the job takes more slots than the runner of this process has.
    is_too_large: bool,
    /// Number of attempts whose start was told.
    started: usize,
    /// Number of attempts whose end was told.
    ended: usize,
}

impl Progress {
    /// The news for a process whose runner has this number of slots.
    pub(crate) fn with_room(slots: u32) -> Self {
        Self { room: Some(slots), ..Self::default() }
    }

    /// Takes a build that is older than the watch. Returns only its present activity as news.
    pub(crate) fn know(&mut self, build: &BuildReport) -> Vec<Happening> {
        let mut happenings = self.update(build);
        happenings.retain(|happening| match happening {
            Happening::Seen | Happening::TooLarge { .. } => build.finished_ms.is_none(),
            Happening::Started { attempt, .. } => attempt.outcome.is_none(),
            Happening::Again { .. } | Happening::Ended { .. } | Happening::MatrixEnded { .. } | Happening::Finished => {
                false
            }
        });
        happenings
    }

    /// Takes a report and returns its news, in the order in which they happened.
    pub(crate) fn update(&mut self, build: &BuildReport) -> Vec<Happening> {
        let mut happenings = Vec::new();
        let room = self.room;
        let told = self.builds.entry(build.build).or_insert_with(|| {
            happenings.push(Happening::Seen);
            Told::default()
        });
        for cells in build.jobs.chunk_by(|one, next| fold::written(&one.task) == fold::written(&next.task)) {
            let before = happenings.len();
            happenings.extend(room.and_then(|room| told.check_room(cells, room)));
            for job in cells {
                told.jobs.entry(job.job).or_default().update(job, &mut happenings);
            }
            let has_news = happenings[before..].iter().any(|news| matches!(news, Happening::Ended { .. }));
            let is_over = cells.iter().all(|job| told.jobs.get(&job.job).is_some_and(|told| told.is_ended));
            if let [_, .., last] = cells
                && has_news
                && is_over
            {
                happenings.push(Happening::MatrixEnded { job: last.clone() });
            }
        }
        let is_finished = build.finished_ms.is_some();
        if is_finished && !told.is_finished {
            happenings.push(Happening::Finished);
        }
        told.is_finished = is_finished;
        happenings
    }
}

impl Told {
    /// Returns news if a job takes more slots than the runner of this process has, once for all cells of a matrix.
    fn check_room(&mut self, cells: &[JobReport], room: u32) -> Option<Happening> {
        let waits = |job: &&JobReport| {
            matches!(JobStateKind::of_word(&job.state), Some(JobStateKind::Waiting | JobStateKind::Queued))
        };
        let job = cells.iter().filter(waits).find(|job| job.slots.is_some_and(|slots| slots > room))?;
        if cells.iter().any(|cell| self.jobs.get(&cell.job).is_some_and(|told| told.is_too_large)) {
            return None;
        }
        self.jobs.entry(job.job).or_default().is_too_large = true;
        Some(Happening::TooLarge { job: job.clone(), slots: job.slots?, room })
    }
}

impl ToldJob {
    fn update(&mut self, job: &JobReport, happenings: &mut Vec<Happening>) {
        let state = JobStateKind::of_word(&job.state);
        let is_ended = state.is_none_or(|state| matches!(state, JobStateKind::Finished(_)));
        let last = job.attempts.len().saturating_sub(1);
        for (index, attempt) in job.attempts.iter().enumerate() {
            if index >= self.started {
                self.started = index + 1;
                happenings.push(Happening::Started { job: job.clone(), attempt: attempt.clone() });
            }
            // An attempt may be reported as ended a moment before its job is. The last attempt is told with the job,
            // whose state says what the attempt's end means.
            let is_decided = index < last || state != Some(JobStateKind::Running);
            if attempt.outcome.is_some() && index >= self.ended && is_decided {
                self.ended = index + 1;
                if !(is_ended && index == last) {
                    happenings.push(Happening::Again { job: job.clone(), attempt: attempt.clone() });
                }
            }
        }
        if is_ended && !self.is_ended {
            happenings.push(Happening::Ended { job: job.clone() });
        }
        self.is_ended = is_ended;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::tests::support::{attempt, build, job};

    fn executing(number: u32) -> AttemptReport {
        AttemptReport { outcome: None, finished_ms: None, duration_ms: None, ..attempt(number) }
    }

    fn unfinished(jobs: Vec<JobReport>) -> BuildReport {
        BuildReport { finished_ms: None, ..build(1, "running", jobs) }
    }

    /// One word for each happening.
    fn words(happenings: &[Happening]) -> Vec<String> {
        happenings
            .iter()
            .map(|happening| match happening {
                Happening::Seen => "seen".into(),
                Happening::TooLarge { slots, room, .. } => format!("{slots} slots of {room}"),
                Happening::Started { attempt, .. } => format!("started {}", attempt.number),
                Happening::Again { attempt, .. } => format!("again after {}", attempt.number),
                Happening::Ended { job } => format!("{} {}", job.task, job.state),
                Happening::MatrixEnded { job } => format!("all of {}", fold::written(&job.task)),
                Happening::Finished => "finished".into(),
            })
            .collect()
    }

    #[test]
    fn each_thing_is_told_once() {
        let mut progress = Progress::default();
        let mut update = |build: &BuildReport| words(&progress.update(build));
        assert_eq!(update(&unfinished(vec![job("test", "queued", vec![])])), ["seen"]);
        let running = unfinished(vec![job("test", "running", vec![executing(1)])]);
        assert_eq!(update(&running), ["started 1"]);
        assert_eq!(update(&running), [""; 0]);
        let finished = build(1, "passed", vec![job("test", "passed", vec![attempt(1)])]);
        assert_eq!(update(&finished), ["test passed", "finished"]);
        assert_eq!(update(&finished), [""; 0]);
    }

    #[test]
    fn a_job_that_takes_more_slots_than_the_runner_of_this_process_has_is_told_once() {
        let large = |slots, state: &str| JobReport { slots: Some(slots), ..job("huge", state, vec![]) };
        let mut progress = Progress::with_room(2);
        let mut update = |job: JobReport| words(&progress.update(&unfinished(vec![job])));
        assert_eq!(update(large(3, "waiting")), ["seen", "3 slots of 2"]);
        assert_eq!(update(large(3, "queued")), [""; 0]);
        let cell = |number: u64| JobReport { job: number, task: format!("huge@{number}"), ..large(3, "queued") };
        let cells = unfinished(vec![cell(1), cell(2)]);
        let mut progress = Progress::with_room(2);
        assert_eq!(words(&progress.update(&cells)), ["seen", "3 slots of 2"]);
        assert_eq!(progress.update(&cells), []);
        assert_eq!(
            words(&Progress::with_room(2).know(&unfinished(vec![large(64, "queued")]))),
            ["seen", "64 slots of 2"]
        );
        assert_eq!(words(&Progress::with_room(2).update(&unfinished(vec![large(2, "queued")]))), ["seen"]);
        assert_eq!(words(&Progress::default().update(&unfinished(vec![large(64, "queued")]))), ["seen"]);
    }

    #[test]
    fn a_report_that_skips_steps_is_told_with_all_of_them() {
        let lost = AttemptReport { outcome: Some("lost".into()), ..attempt(1) };
        let finished = build(1, "passed", vec![job("test", "passed", vec![lost, attempt(2)])]);
        assert_eq!(
            words(&Progress::default().update(&finished)),
            ["seen", "started 1", "again after 1", "started 2", "test passed", "finished"]
        );
    }

    #[test]
    fn a_build_from_before_is_no_news_until_it_runs_again() {
        let mut progress = Progress::default();
        let finished = build(1, "failed", vec![job("test", "failed", vec![attempt(1)])]);
        assert_eq!(progress.know(&finished), []);
        assert_eq!(progress.update(&finished), []);
        let again = unfinished(vec![job("test", "running", vec![attempt(1), executing(2)])]);
        assert_eq!(words(&progress.update(&again)), ["started 2"]);
        let finished = build(1, "passed", vec![job("test", "passed", vec![attempt(1), attempt(2)])]);
        assert_eq!(words(&progress.update(&finished)), ["test passed", "finished"]);
    }

    #[test]
    fn an_attempt_that_ends_before_its_job_is_told_with_the_job() {
        let mut progress = Progress::default();
        drop(progress.update(&unfinished(vec![job("test", "running", vec![executing(1)])])));
        assert_eq!(progress.update(&unfinished(vec![job("test", "running", vec![attempt(1)])])), []);
        let passed = unfinished(vec![job("test", "passed", vec![attempt(1)])]);
        assert_eq!(words(&progress.update(&passed)), ["test passed"]);
    }

    #[test]
    fn a_build_from_before_that_goes_on_is_told_as_far_as_it_is_news() {
        let passed = job("build", "passed", vec![attempt(1)]);
        let mut running = job("test", "running", vec![attempt(1), executing(2)]);
        running.job = 2;
        let report = unfinished(vec![passed, running]);
        let mut progress = Progress::default();
        assert_eq!(words(&progress.know(&report)), ["seen", "started 2"]);
        assert_eq!(progress.update(&report), []);
    }

    #[test]
    fn a_job_that_never_started_is_told_too() {
        let finished = build(1, "errored", vec![job("gpu", "errored", vec![])]);
        assert_eq!(words(&Progress::default().update(&finished)), ["seen", "gpu errored", "finished"]);
    }

    #[test]
    fn the_end_of_a_matrix_is_told_once_after_its_last_cell() {
        let cell = |number: u64, state: &str| JobReport { job: number, ..job(&format!("t@{number}"), state, vec![]) };
        let mut progress = Progress::default();
        let mut news =
            |states: [&str; 2]| words(&progress.update(&unfinished(vec![cell(1, states[0]), cell(2, states[1])])));
        assert_eq!(news(["queued", "queued"]), ["seen"]);
        assert_eq!(news(["passed", "queued"]), ["t@1 passed"]);
        assert_eq!(news(["passed", "failed"]), ["t@2 failed", "all of t"]);
        assert!(news(["passed", "failed"]).is_empty());
    }
}
