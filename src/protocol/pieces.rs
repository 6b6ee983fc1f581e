//! Answers in several messages. The dispatcher cuts an answer whose lists have grown long into pieces, each far shorter
//! than a line may be; its peers join them. Pure: both directions stand here, so that they cannot drift apart.
//!
//! Every piece but the last says `more`. Only a peer whose `hello` says that it takes pieces gets more than one.

use super::cutter::Cutter;
use super::observer::Head;
use super::operator::{BuildReport, JobReport, StatusReport, ToOperator, WhyReport};

/// An answer that may be sent in several messages.
pub(super) trait Pieces: Sized {
    /// Cuts the answer into pieces of about `max` bytes each. A piece is longer by at most its first entry and the
    /// fields that every piece has.
    fn cut(self, max: usize) -> Vec<Self>;

    /// Appends the next piece of the same answer.
    fn join(&mut self, next: Self);
}

/// Cuts the heads of `heads` into lists of about `max` bytes each; there is at least one list.
pub fn cut_heads(heads: Vec<Head>, max: usize) -> Vec<Vec<Head>> {
    let mut pieces = Cutter::new(Vec::new(), Vec::new(), max);
    for head in heads {
        pieces.add(&head).push(head.clone());
    }
    pieces.done
}

impl Pieces for WhyReport {
    fn cut(mut self, max: usize) -> Vec<Self> {
        let (now, history) = (std::mem::take(&mut self.now), std::mem::take(&mut self.history));
        let mut pieces = Cutter::new(self.clone(), self, max);
        for line in now {
            pieces.add(&line).now.push(line);
        }
        for line in history {
            pieces.add(&line).history.push(line);
        }
        pieces.finish(|piece| &mut piece.more)
    }

    fn join(&mut self, next: Self) {
        self.now.extend(next.now);
        self.history.extend(next.history);
        self.more = next.more;
    }
}

impl Pieces for BuildReport {
    fn cut(mut self, max: usize) -> Vec<Self> {
        let jobs = std::mem::take(&mut self.jobs);
        let mut pieces = Cutter::new(self.clone(), self, max);
        for mut job in jobs {
            let attempts = std::mem::take(&mut job.attempts);
            pieces.add(&job).jobs.push(job.clone());
            for attempt in attempts {
                // A job of which the piece before has the first attempts stands here again, with the rest of them.
                if pieces.add(&attempt).jobs.is_empty() {
                    pieces.add(&job).jobs.push(job.clone());
                }
                let piece = pieces.done.last_mut().expect("there is always one");
                piece.jobs.last_mut().expect("it was put there").attempts.push(attempt);
            }
        }
        pieces.finish(|piece| &mut piece.more)
    }

    fn join(&mut self, next: Self) {
        for job in next.jobs {
            match self.jobs.last_mut() {
                Some(JobReport { job: last, attempts, .. }) if *last == job.job => attempts.extend(job.attempts),
                _ => self.jobs.push(job),
            }
        }
        self.more = next.more;
    }
}

impl Pieces for StatusReport {
    fn cut(mut self, max: usize) -> Vec<Self> {
        let (builds, runners) = (std::mem::take(&mut self.builds), std::mem::take(&mut self.runners));
        let schedules = std::mem::take(&mut self.schedules);
        // Everything but the lists stands in the first piece.
        let later = Self { warnings: Vec::new(), counters: None, network: None, ..self.clone() };
        let mut pieces = Cutter::new(self, later, max);
        for runner in runners {
            pieces.add(&runner).runners.push(runner);
        }
        for schedule in schedules {
            pieces.add(&schedule).schedules.push(schedule);
        }
        for build in builds {
            for mut part in build.cut(max) {
                part.more = false;
                pieces.add(&part).builds.push(part);
            }
        }
        pieces.finish(|piece| &mut piece.more)
    }

    fn join(&mut self, next: Self) {
        self.runners.extend(next.runners);
        self.schedules.extend(next.schedules);
        for build in next.builds {
            match self.builds.last_mut() {
                Some(last) if last.build == build.build => last.join(build),
                _ => self.builds.push(build),
            }
        }
        self.more = next.more;
    }
}

impl ToOperator {
    /// Cuts an answer whose lists may grow into pieces; any other message is a single one.
    #[must_use]
    pub fn cut(self, max: usize) -> Vec<Self> {
        fn all<R: Pieces>(report: R, max: usize, of: impl Fn(R) -> ToOperator) -> Vec<ToOperator> {
            report.cut(max).into_iter().map(of).collect()
        }
        match self {
            Self::Status(report) => all(report, max, Self::Status),
            Self::Build(report) => all(*report, max, |piece| Self::Build(Box::new(piece))),
            Self::Why(report) => all(report, max, Self::Why),
            Self::Runners(report) => all(report, max, Self::Runners),
            Self::Tokens(report) => all(report, max, Self::Tokens),
            Self::Artifacts(report) => all(report, max, Self::Artifacts),
            Self::Secrets(report) => all(report, max, Self::Secrets),
            Self::Caches(report) => all(report, max, Self::Caches),
            other @ (Self::Passes(_)
            | Self::Blob { .. }
            | Self::Token { .. }
            | Self::Log { .. }
            | Self::LogEnd { .. }
            | Self::Ok { .. }
            | Self::Haves { .. }
            | Self::Submitted { .. }
            | Self::NeedSource { .. }
            | Self::Ack
            | Self::Error(_)) => vec![other],
        }
    }

    /// Appends the next piece of the same answer. Gives back a message that is none.
    pub fn join(&mut self, next: Self) -> Result<(), Box<Self>> {
        match (self, next) {
            (Self::Status(report), Self::Status(next)) => report.join(next),
            (Self::Build(report), Self::Build(next)) if report.build == next.build => report.join(*next),
            (Self::Why(report), Self::Why(next)) => report.join(next),
            (Self::Runners(report), Self::Runners(next)) => report.join(next),
            (Self::Tokens(report), Self::Tokens(next)) => report.join(next),
            (Self::Artifacts(report), Self::Artifacts(next)) => report.join(next),
            (Self::Secrets(report), Self::Secrets(next)) => report.join(next),
            (Self::Caches(report), Self::Caches(next)) => report.join(next),
            (_, next) => return Err(Box::new(next)),
        }
        Ok(())
    }

    /// Whether another message continues this one.
    #[must_use]
    pub fn has_more(&self) -> bool {
        match self {
            Self::Status(report) => report.more,
            Self::Build(report) => report.more,
            Self::Why(report) => report.more,
            Self::Runners(report) => report.more,
            Self::Tokens(report) => report.more,
            Self::Artifacts(report) => report.more,
            Self::Secrets(report) => report.more,
            Self::Caches(report) => report.more,
            Self::Token { .. }
            | Self::Blob { .. }
            | Self::Passes(_)
            | Self::Log { .. }
            | Self::LogEnd { .. }
            | Self::Ok { .. }
            | Self::Haves { .. }
            | Self::Submitted { .. }
            | Self::NeedSource { .. }
            | Self::Ack
            | Self::Error(_) => false,
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::super::blobs::{ArtifactReport, ArtifactsReport, RemovedArtifact};
    use super::super::cutter::length;
    use super::super::operator::{AttemptReport, NetworkReport, RunnerReport, RunnersReport, ScheduleReport, WhyLine};
    use super::*;

    fn attempt(number: u32, text: usize) -> AttemptReport {
        AttemptReport {
            attempt: number.into(),
            number,
            runner: "w1".into(),
            leased_ms: 0,
            finished_ms: None,
            duration_ms: None,
            outcome: None,
            detail: Some("x".repeat(text)),
            reason_code: None,
            log_bytes: 0,
            log_path: String::new(),
            steps: Vec::new(),
            execution: None,
            outputs: Vec::new(),
        }
    }

    /// A build with a job for each entry: its attempts, and the length of a text of each.
    pub(crate) fn build(number: u64, jobs: &[(u32, usize)]) -> BuildReport {
        let job = |(at, (attempts, text)): (usize, &(u32, usize))| JobReport {
            job: at as u64,
            task: "x".repeat(*text),
            attempts: (0..*attempts).map(|number| attempt(number, *text)).collect(),
            ..JobReport::default()
        };
        BuildReport {
            priority: 0,
            build: number,
            repo: "app".into(),
            branch: "main".into(),
            commit: "0".repeat(40),
            trigger: "push".into(),
            reference: "refs/heads/main".into(),
            trust: "trusted".into(),
            asked_by: None,
            orders: Vec::new(),
            before: None,
            subject: String::new(),
            author: String::new(),
            state: "failed".into(),
            flaky: false,
            created_ms: 0,
            rerun_ms: None,
            finished_ms: None,
            problem: None,
            jobs: jobs.iter().enumerate().map(job).collect(),
            job_counts: BTreeMap::new(),
            more: false,
        }
    }

    pub(crate) fn runner(labels: usize) -> RunnerReport {
        RunnerReport {
            name: "w1".into(),
            state: "connected".into(),
            connected: true,
            drained: false,
            ordered_by: None,
            ordered_ms: None,
            detail: None,
            reason_code: None,
            slots: 1,
            busy: 0,
            labels: vec!["x".repeat(100); labels],
            isolation: "subreaper".into(),
            tiers: None,
            silent_ms: 0,
            running: Vec::new(),
            running_ms: Vec::new(),
        }
    }

    fn artifact(text: usize) -> ArtifactReport {
        ArtifactReport {
            task: "x".repeat(text),
            number: 1,
            outcome: "passed".into(),
            name: "files".into(),
            manifest: "0".repeat(64),
            files: 1,
            bytes: 2,
            keep_ms: None,
        }
    }

    fn removed_artifact(text: usize) -> RemovedArtifact {
        let (task, name) = ("x".repeat(text), "files".into());
        RemovedArtifact { task, number: 1, name, removed_ms: 1, reason: "old".into(), reason_code: "age".into() }
    }

    fn schedule(at: usize) -> ScheduleReport {
        let (repo, branch, cron, timezone) = ("app".into(), "main".into(), "17 3 * * *".into(), "UTC".into());
        ScheduleReport { schedule: format!("nightly{at}"), repo, branch, cron, timezone, next_ms: Some(1) }
    }

    fn lines(texts: &[usize]) -> Vec<WhyLine> {
        let line = |(at, text): (usize, &usize)| WhyLine {
            seq: Some(at as u64),
            text: "x".repeat(*text),
            ..WhyLine::default()
        };
        texts.iter().enumerate().map(line).collect()
    }

    /// Cuts an answer, checks that no piece is longer than it may be, and joins the pieces.
    fn there_and_back(whole: &ToOperator, max: usize, entry: usize) -> ToOperator {
        let pieces = whole.clone().cut(max);
        let (last, others) = pieces.split_last().unwrap();
        assert!(!last.has_more() && others.iter().all(ToOperator::has_more));
        assert!(pieces.iter().all(|piece| length(piece) <= max + entry), "{:?}", pieces.iter().map(length).max());
        let mut pieces = pieces.into_iter();
        let mut joined = pieces.next().unwrap();
        for piece in pieces {
            joined.join(piece).unwrap();
        }
        joined
    }

    proptest! {
        /// Sabotage tried: a job that is cut is taken for two jobs when the pieces are joined; it fails.
        #[test]
        fn an_answer_that_was_cut_is_the_same_when_it_is_joined(
            builds in prop::collection::vec(prop::collection::vec((0..40_u32, 0..300_usize), 0..12), 0..6),
            labels in prop::collection::vec(0..64_usize, 0..12),
            now in prop::collection::vec(0..500_usize, 0..20),
            history in prop::collection::vec(0..500_usize, 0..40),
            max in 500..20_000_usize,
        ) {
            // The longest entry, with the fields that each piece has.
            let entry = 64 * 103 + 1000;
            let builds: Vec<_> = builds.iter().enumerate().map(|(at, jobs)| build(at as u64, jobs)).collect();
            for build in &builds {
                let whole = ToOperator::Build(Box::new(build.clone()));
                prop_assert_eq!(&there_and_back(&whole, max, entry), &whole);
            }
            let runners: Vec<_> = labels.into_iter().map(runner).collect();
            let whole = ToOperator::Runners(RunnersReport { runners: runners.clone(), more: false });
            prop_assert_eq!(&there_and_back(&whole, max, entry), &whole);
            let (now, history) = (lines(&now), lines(&history));
            let whole = ToOperator::Why(WhyReport { build: 1, trust: String::new(), now, history, more: false });
            prop_assert_eq!(&there_and_back(&whole, max, entry), &whole);
            let artifacts = builds.iter().map(|build| artifact(build.jobs.len())).collect();
            let removed = runners.iter().map(|runner| removed_artifact(runner.labels.len())).collect();
            let whole = ToOperator::Artifacts(ArtifactsReport {
                build: 1, repo: "app".into(), artifacts, removed, more: false,
            });
            prop_assert_eq!(&there_and_back(&whole, max, entry), &whole);
            let warnings = vec!["the disk is nearly full".to_owned()];
            let (queued_jobs, running_jobs, counters, more) = (1, 2, Some(Default::default()), false);
            let schedules = (0..max % 50).map(schedule).collect();
            let plain_text_from = vec!["10.0.0.0/8".to_owned()];
            let (listen, pin, rotation) = ("[::1]:9000".into(), "0".repeat(64), None);
            let network = Some(Box::new(NetworkReport { listen, pin, rotation, plain_text_from }));
            let status = StatusReport {
                builds, runners, queued_jobs, running_jobs, schedules, warnings, counters, network, more
            };
            let whole = ToOperator::Status(status);
            prop_assert_eq!(&there_and_back(&whole, max, 2 * entry), &whole);
        }

        #[test]
        fn heads_that_were_cut_are_all_there_in_order(names in prop::collection::vec(1..4_096_usize, 0..40)) {
            let head = |length: &usize| Head { branch: "b".repeat(*length), reference: None, noted: false, commit: "0".repeat(40) };
            let heads: Vec<_> = names.iter().map(head).collect();
            let pieces = cut_heads(heads.clone(), 5_000);
            prop_assert!(pieces.iter().all(|piece| length(piece) <= 5_000 + 5_000));
            prop_assert_eq!(pieces.concat(), heads);
        }
    }

    #[test]
    fn a_message_that_continues_no_answer_is_given_back() {
        let mut first = ToOperator::Build(Box::new(build(1, &[])));
        let other = ToOperator::Build(Box::new(build(2, &[])));
        assert_eq!(first.join(other.clone()), Err(Box::new(other)));
        assert_eq!(first.join(ToOperator::Ack), Err(Box::new(ToOperator::Ack)));
    }
}
