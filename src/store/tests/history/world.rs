//! The plain model: makes valid records of wishes, and says what a store that has them must return. It writes nothing
//! to a store.

use std::collections::BTreeMap;

use super::wishes::Wish;
use crate::model::reason::DecisionKind;
use crate::model::*;
use crate::store::Store;
use crate::store::tests::Place;
use crate::store::tests::values::{attempt, commit_id};

type Late = (AttemptId, Outcome, WallTime);

/// The plain model: everything that should be stored.
#[derive(Debug, Default)]
pub(super) struct World {
    builds: BTreeMap<BuildId, Build>,
    jobs: BTreeMap<JobId, Job>,
    attempts: BTreeMap<AttemptId, Attempt>,
    runners: BTreeMap<RunnerId, Runner>,
    schedules: BTreeMap<(RepoName, RefName, String), Schedule>,
    heads: BTreeMap<(RepoName, RefName), AcceptedHead>,
    ends: BTreeMap<RepoName, u64>,
    late: Vec<Late>,
    decisions: Vec<Decision>,
}

impl World {
    pub(super) fn apply(&mut self, wish: Wish) -> Option<Record> {
        match wish.kind % 13 {
            0 | 1 => Some(self.add_build(wish)),
            2 => Some(self.move_head(wish)),
            3 => Some(self.save_runner(&wish)),
            4 | 5 => self.lease(wish),
            6 | 7 => self.finish_attempt(wish),
            8 => self.change_job(wish),
            9 => self.change_build(&wish),
            10 => self.add_late_result(wish),
            11 => Some(self.save_schedule(&wish)),
            _ => self.decide(wish),
        }
    }

    fn add_build(&mut self, wish: Wish) -> Record {
        let id = BuildId(self.builds.len() as u64 + 1);
        let build = Build {
            id,
            source: BuildSource {
                repo: repo(wish.number),
                // Each build has a commit of its own, so that no two builds are of one submission.
                commit: commit_id(id.0),
                trigger: trigger(&wish),
                subject: wish.text.clone(),
                author: wish.text.clone(),
            },
            created_at: WallTime(wish.number.cast_signed()),
            rerun_at: None,
            finished_at: wish.jobs.is_empty().then_some(WallTime(-1)),
            verdict: wish.jobs.is_empty().then_some(Verdict::Errored),
            problem: wish.jobs.is_empty().then_some(wish.text),
            settings: settings(wish.number),
        };
        let first = self.jobs.len() as u64 + 1;
        let jobs: Vec<Job> = (first..)
            .zip(wish.jobs)
            .map(|(job, task)| Job {
                id: JobId(job),
                build: id,
                task: task.into(),
                state: [JobState::Waiting, JobState::Queued, JobState::Held][wish.pick % 3].clone(),
                attempts: 0,
                failures: 0,
                losses: 0,
            })
            .collect();
        self.builds.insert(id, build.clone());
        self.jobs.extend(jobs.iter().map(|job| (job.id, job.clone())));
        Record::BuildAdded { build: Box::new(build), jobs }
    }

    fn move_head(&mut self, wish: Wish) -> Record {
        let (repo, reference) = (repo(wish.number), reference(&wish));
        let head = wish.commits.get(1).copied();
        match head {
            Some(commit) => {
                // The head's build is the newest of the commit on the ref.
                let of_head = |build: &&Build| {
                    let BuildSource { repo: of, commit: at, trigger, .. } = &build.source;
                    let is_move = matches!(
                        trigger.kind,
                        TriggerKind::Push { .. } | TriggerKind::Tag { .. } | TriggerKind::Ref { .. }
                    );
                    is_move && (of, at, &trigger.reference) == (&repo, &commit, &reference)
                };
                let build = self.builds.values().rev().find(of_head).map(|build| build.id);
                let head = AcceptedHead { commit, number: wish.number >> 1, build, is_noted: false };
                self.heads.insert((repo.clone(), reference.clone()), head);
            }
            None => {
                self.heads.remove(&(repo.clone(), reference.clone()));
                self.ends.insert(repo.clone(), wish.number >> 1);
            }
        }
        Record::HeadMoved { repo, reference, head, number: wish.number >> 1 }
    }

    fn save_runner(&mut self, wish: &Wish) -> Record {
        let id = wish.pick % 3 + 1;
        let runner = Runner {
            id: RunnerId(id as u64),
            name: RunnerName::new(&format!("w{id}")).unwrap(),
            first_seen: WallTime(wish.number.cast_signed()),
            drain: match wish.number % 3 {
                0 => None,
                1 => Some(DrainOrder { ending: None }),
                _ => Some(DrainOrder { ending: Some(Incarnation(wish.number << 40)) }),
            },
            ordered: match wish.number % 4 {
                0 => None,
                1 => Some(Ordered { by: None, at: WallTime(wish.number.cast_signed()) }),
                _ => Some(Ordered { by: Some(wish.text.clone()), at: WallTime(wish.number.cast_signed()) }),
            },
        };
        self.runners.insert(runner.id, runner.clone());
        Record::RunnerSaved(runner)
    }

    fn save_schedule(&mut self, wish: &Wish) -> Record {
        let rule = ScheduleRule { cron: wish.text.as_str().into(), timezone: wish.text.as_str().into() };
        let schedule = Schedule {
            repo: repo(wish.number),
            reference: reference(wish),
            name: ["nightly", "weekly"][wish.pick % 2].into(),
            rule: wish.pick.is_multiple_of(3).then_some(rule),
            last_due: WallTime(wish.number.cast_signed()),
        };
        let key = (schedule.repo.clone(), schedule.reference.clone(), schedule.name.to_string());
        self.schedules.insert(key, schedule.clone());
        Record::ScheduleSaved(schedule)
    }

    fn lease(&mut self, wish: Wish) -> Option<Record> {
        let open = self
            .jobs
            .values_mut()
            .filter(|job| matches!(job.state, JobState::Waiting | JobState::Held | JobState::Queued));
        let job = pick(open, wish.pick)?;
        let lease = Attempt {
            runner: RunnerId(wish.number),
            reason: wish.placement,
            ..attempt(self.attempts.len() as u64 + 1, job.id.0, job.build.0, job.attempts + 1)
        };
        job.attempts += 1;
        job.state = JobState::Leased(lease.id);
        self.attempts.insert(lease.id, lease.clone());
        Some(Record::AttemptLeased(lease))
    }

    /// Ends an attempt. Its job is left as it is, for a later record to queue or finish.
    fn finish_attempt(&mut self, wish: Wish) -> Option<Record> {
        let attempt = pick(self.attempts.values_mut().filter(|a| a.outcome.is_none()), wish.pick)?;
        attempt.outcome = Some(wish.outcome.clone());
        attempt.finished_at = Some(WallTime(wish.number.cast_signed()));
        attempt.duration_ms = wish.pick.is_multiple_of(2).then_some(wish.number);
        attempt.log = LogSummary {
            bytes: wish.number,
            crc32: wish.number as u32,
            missing: wish.pick.is_multiple_of(3).then_some(wish.text),
        };
        Some(Record::AttemptFinished {
            attempt: attempt.id,
            outcome: wish.outcome,
            log: attempt.log.clone(),
            duration_ms: attempt.duration_ms,
            at: WallTime(wish.number.cast_signed()),
        })
    }

    fn change_job(&mut self, wish: Wish) -> Option<Record> {
        let attempts = &self.attempts;
        let idle = |job: &Job| !matches!(&job.state, JobState::Leased(id) if attempts[id].outcome.is_none());
        let job = pick(self.jobs.values_mut().filter(|job| idle(job)), wish.pick)?;
        let id = job.id;
        match (&job.state, wish.number % 3) {
            (_, 0) => {
                (job.failures, job.losses) = (wish.pick as u32, wish.number as u32);
                job.state = JobState::Queued;
                Some(Record::JobQueued { job: id, failures: job.failures, losses: job.losses })
            }
            (JobState::Finished(_), 1) => {
                (job.failures, job.losses, job.state) = (0, 0, JobState::Held);
                Some(Record::JobHeld { job: id })
            }
            (JobState::Finished(_), _) => {
                (job.failures, job.losses, job.state) = (0, 0, JobState::Waiting);
                Some(Record::JobWaiting { job: id })
            }
            _ => {
                job.state = JobState::Finished(wish.ending.clone());
                Some(Record::JobFinished { job: id, ending: wish.ending })
            }
        }
    }

    fn change_build(&mut self, wish: &Wish) -> Option<Record> {
        let build = pick(self.builds.values_mut(), wish.pick)?;
        let id = build.id;
        if build.verdict.take().is_some() {
            build.finished_at = None;
            return Some(Record::BuildReopened { build: id });
        }
        let verdict =
            [Verdict::Passed, Verdict::Failed, Verdict::Errored, Verdict::Cancelled][(wish.number % 4) as usize];
        let at = WallTime(wish.number.cast_signed());
        (build.verdict, build.finished_at) = (Some(verdict), Some(at));
        Some(Record::BuildFinished { build: id, verdict, at })
    }

    fn add_late_result(&mut self, wish: Wish) -> Option<Record> {
        let attempt = pick(self.attempts.keys(), wish.pick).copied()?;
        let at = WallTime(wish.number.cast_signed());
        self.late.push((attempt, wish.outcome.clone(), at));
        Some(Record::LateResult { attempt, outcome: wish.outcome, at })
    }

    fn decide(&mut self, wish: Wish) -> Option<Record> {
        let build = pick(self.builds.keys(), wish.pick).copied()?;
        let decision = Decision {
            at: WallTime(wish.number.cast_signed()),
            build,
            job: (wish.kind > 60).then_some(JobId(wish.number)),
            attempt: (wish.kind > 120).then_some(AttemptId(wish.number)),
            runner: (wish.kind > 180).then_some(RunnerId(wish.number)),
            kind: wish.decision,
        };
        if matches!(decision.kind, DecisionKind::RerunAsked { .. } | DecisionKind::Started { reopened: true, .. })
            && let Some(build) = self.builds.get_mut(&build)
        {
            build.rerun_at = build.rerun_at.max(Some(decision.at));
        }
        self.decisions.push(decision.clone());
        Some(Record::Decided(decision))
    }

    pub(super) fn check(&self, place: &dyn Place, store: &dyn Store) {
        let reader = place.reader();
        for (id, build) in &self.builds {
            assert_eq!(reader.build(*id).unwrap().as_ref(), Some(build));
            assert_eq!(reader.jobs(*id).unwrap(), self.jobs_of(*id));
            assert_eq!(reader.attempts(*id).unwrap(), self.attempts_of(*id));
            let decisions: Vec<_> = self.decisions.iter().filter(|d| d.build == *id).cloned().collect();
            let found = reader.decisions(*id).unwrap();
            assert!(found.iter().map(|(seq, _)| seq.unwrap()).is_sorted_by(|a, b| a < b));
            assert_eq!(found.into_iter().map(|(_, decision)| decision).collect::<Vec<_>>(), decisions);
            let late: Vec<_> = self.late.iter().filter(|(a, ..)| self.attempts[a].build == *id).cloned().collect();
            let found = reader.late_results(*id).unwrap();
            assert_eq!(found.into_iter().map(|it| (it.attempt, it.outcome, it.at)).collect::<Vec<_>>(), late);
        }
        let finished: Vec<_> = self.builds.values().rev().filter(|b| b.verdict.is_some()).cloned().collect();
        assert_eq!(reader.finished_builds(None, u32::MAX).unwrap(), finished);
        assert_eq!(reader.runners().unwrap(), self.runners.values().cloned().collect::<Vec<_>>());

        let unfinished = store.snapshot().unwrap();
        let open = self.builds.values().filter(|b| b.verdict.is_none()).map(|build| {
            let attempts = self.attempts_of(build.id).into_iter().filter(|a| a.outcome.is_none()).collect();
            WholeBuild { build: build.clone(), jobs: self.jobs_of(build.id), attempts }
        });
        assert_eq!(unfinished.builds, open.collect::<Vec<_>>());
        let heads = self.heads.iter().map(|((repo, reference), head)| (repo.clone(), reference.clone(), *head));
        assert_eq!(unfinished.heads, heads.collect::<Vec<_>>());
        assert_eq!(unfinished.ends, self.ends.clone().into_iter().collect::<Vec<_>>());
        assert_eq!(unfinished.schedules, self.schedules.values().cloned().collect::<Vec<_>>());
        assert_eq!(unfinished.last_job, self.jobs.len() as u64);
        reader.check(&mut drop).unwrap();
    }

    fn jobs_of(&self, build: BuildId) -> Vec<Job> {
        self.jobs.values().filter(|job| job.build == build).cloned().collect()
    }

    fn attempts_of(&self, build: BuildId) -> Vec<Attempt> {
        self.attempts.values().filter(|attempt| attempt.build == build).cloned().collect()
    }
}

fn repo(number: u64) -> RepoName {
    RepoName::new(["app", "lib", "site"][(number % 3) as usize]).unwrap()
}

fn pick<T>(all: impl Iterator<Item = T>, at: usize) -> Option<T> {
    let mut all: Vec<T> = all.collect();
    if all.is_empty() { None } else { Some(all.swap_remove(at % all.len())) }
}

fn reference(wish: &Wish) -> RefName {
    match wish.pick % 3 {
        0 => RefName::new(&format!("refs/tags/{}", wish.text)),
        _ => RefName::of_branch(&wish.text),
    }
}

/// A trigger of any kind. The text may name any ref.
fn trigger(wish: &Wish) -> Trigger {
    let (number, before) = (wish.number >> 3, wish.commits.get(1).copied());
    let id = TriggerId((u128::from(wish.number) << 64 | wish.pick as u128).to_be_bytes());
    let kind = match wish.number % 7 {
        0 => TriggerKind::Tag { number, before },
        1 => TriggerKind::Ref { number, before },
        2 => {
            let name = wish.text.replace('\0', "").into();
            TriggerKind::Schedule { name, due: WallTime(number.cast_signed()), timezone: wish.text.as_str().into() }
        }
        3 => TriggerKind::Manual { id, by: Some("alice".into()) },
        4 => TriggerKind::Try { id, by: None },
        _ => Trigger::push(&BranchName::new(&wish.text), before, wish.commits[1..].to_vec()).numbered(number).kind,
    };
    let reference = reference(wish);
    let trust = if wish.number.is_multiple_of(2) { Trust::Trusted } else { Trust::Untrusted };
    Trigger { kind, reference, trust }
}

fn settings(number: u64) -> BuildSettings {
    let supersede = [Supersede::No, Supersede::Queued, Supersede::Running][(number % 3) as usize];
    BuildSettings {
        timeout_ms: Some(number).filter(|ms| ms.is_multiple_of(2)),
        fail_fast: number % 5 == 1,
        supersede,
        priority: (number % 7) as i32,
        for_written: (number % 11 == 3).then(|| {
            let inputs = [("version".to_owned(), number.to_string())].into();
            Box::new(ForWritten { inputs, ancestors: vec![number.to_string()] })
        }),
    }
}
