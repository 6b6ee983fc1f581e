//! Questions about the past, from the store, and about the present, from the core.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::error::OperationError;
use super::history::{self, HistoryLine};
use super::views::{BuildView, Views};
use crate::blobs::BlobStore;
use crate::clock;
use crate::config::Timetable;
use crate::dispatcher::authority::{Authority, Rotation};
use crate::dispatcher::caches::Caches;
use crate::dispatcher::core::{CoreHandle, NoAnswer};
use crate::dispatcher::data_dir::DataDir;
use crate::dispatcher::listening::Listening;
use crate::dispatcher::logs::LogSender;
use crate::dispatcher::metrics::Counters;
use crate::dispatcher::mirrors::Mirrors;
use crate::dispatcher::secrets::Secrets;
use crate::dispatcher::session::Observers;
use crate::dispatcher::session::credentials::Credentials;
use crate::dispatcher::trust::TrustJudge;
use crate::dispatcher::warnings::{self, Warnings};
use crate::model::reason::JobStatus;
use crate::model::{AttemptId, BuildId, Job, JobId, JobState, JobStateKind, Pin, Schedule, TaskName, Trust, WallTime};
use crate::scheduler::{JobCounts, RunnerView};
use crate::store::{Reader, Scope, StoreError};

/// Most finished builds in one status, and most unfinished ones: more do not fit a screen, and each costs a query.
const MAX_STATUS_BUILDS: u32 = 1000;

/// Everything that an operator can ask or order.
pub(crate) struct Operations {
    pub(crate) data: DataDir,
    pub(crate) core: CoreHandle,
    pub(crate) logs: LogSender,
    pub(crate) reader: Box<dyn Reader>,
    pub(crate) warnings: Warnings,
    pub(crate) mirrors: Mirrors,
    pub(crate) blobs: BlobStore,
    pub(crate) trust: TrustJudge,
    pub(crate) observers: Observers,
    /// How peers reach the dispatcher; `None` if none runs.
    pub(crate) listening: Option<Arc<Listening>>,
    /// `None` if no dispatcher runs.
    pub(crate) authority: Option<Authority>,
    pub(crate) credentials: Credentials,
    /// `None` if no dispatcher runs.
    pub(crate) secrets: Option<Secrets>,
    /// `None` if no dispatcher runs.
    pub(crate) caches: Option<Caches>,
}

/// The present state.
#[derive(Default)]
pub(crate) struct Status {
    /// Unfinished builds, oldest first, then finished ones, newest first.
    pub(crate) builds: Vec<BuildView>,
    pub(crate) runners: Vec<RunnerView>,
    pub(crate) jobs: JobCounts,
    /// Counters since the dispatcher started; `None` while the core does not answer.
    pub(crate) counters: Option<Counters>,
    /// The schedules, with the next firing of each, soonest first.
    pub(crate) schedules: Vec<(Schedule, Option<WallTime>)>,
    /// Problems that the dispatcher has now, a sentence each.
    pub(crate) warnings: Vec<String>,
    /// How peers reach the dispatcher; `None` if none runs.
    pub(crate) listening: Option<Arc<Listening>>,
    /// The pin by which peers know it; `None` if none runs.
    pub(crate) pin: Option<Pin>,
    /// How far the replacement of its authority has come, while it is replaced.
    pub(crate) rotation: Option<Rotation>,
}

/// The reasons why a build, or one of its jobs, is in its state.
pub(crate) struct Why {
    pub(crate) build: BuildId,
    pub(crate) trust: Trust,
    /// The reasons why unfinished jobs wait now.
    pub(crate) now: Vec<(TaskName, JobStatus)>,
    /// The decisions, oldest first.
    pub(crate) history: Vec<HistoryLine>,
}

impl Operations {
    /// Returns the unfinished builds and the newest finished ones, the runners, and the present problems.
    pub(crate) fn status(&self, repo: Option<&str>, limit: u32) -> Result<Status, OperationError> {
        if let Some(name) = repo {
            let known = self.reader.repos()?;
            if known.iter().all(|repo| repo.as_str() != name) {
                return Err(OperationError::NoRepo { name: name.to_owned(), known });
            }
        }
        let (builds, has_more) = self.listed_builds(repo, limit)?;
        let live = self.core.look(|seen| {
            let (scheduler, now) = (seen.scheduler, seen.now);
            let (concerns, schedules) = (scheduler.concerns(now), scheduler.schedules());
            (scheduler.runners(now), scheduler.counts(), concerns, schedules, seen.counters.clone())
        });
        let pin = self.authority.as_ref().map(Authority::pin);
        let mut status = Status { builds, listening: self.listening.clone(), pin, ..Status::default() };
        match live {
            Ok((runners, jobs, concerns, schedules, counters)) => {
                status.schedules = upcoming(schedules, repo);
                (status.runners, status.jobs, status.counters) = (runners, jobs, Some(counters));
                status.warnings.extend(concerns.iter().map(ToString::to_string));
            }
            // The stored part is shown even while the core waits for its disk.
            Err(busy @ NoAnswer::Busy) => status.warnings.push(busy.to_string()),
            Err(NoAnswer::Absent) => status.jobs = stored_counts(&status.builds),
            Err(ending @ NoAnswer::Ending) => return Err(ending.into()),
        }
        if has_more {
            status.warnings.push(format!("more builds wait: only the {MAX_STATUS_BUILDS} oldest of them are listed"));
        }
        status.warnings.extend(self.warnings.list());
        status.warnings.extend(self.listening.as_ref().and_then(|listening| listening.warning()));
        status.warnings.extend(self.credentials.warnings(clock::wall()));
        status.rotation = self.rotation();
        status.warnings.extend(status.rotation.as_ref().map(Rotation::warning));
        status.warnings.extend(warnings::of_mirrors(&self.mirrors.missing));
        status.warnings.extend(warnings::of_disks(&self.data));
        Ok(status)
    }

    /// Returns the oldest unfinished builds, then the newest finished ones, and whether there are more unfinished ones.
    fn listed_builds(&self, repo: Option<&str>, limit: u32) -> Result<(Vec<BuildView>, bool), OperationError> {
        // Without the transaction of the views, a build that finishes between the two questions is in both answers.
        let views = Views::new(&*self.reader, &self.data)?;
        let mut unfinished = self.reader.unfinished_builds(repo, MAX_STATUS_BUILDS + 1)?;
        let has_more = unfinished.len() > MAX_STATUS_BUILDS as usize;
        unfinished.truncate(MAX_STATUS_BUILDS as usize);
        let mut builds = views.builds(unfinished)?;
        builds.extend(views.builds(self.reader.finished_builds(repo, limit.min(MAX_STATUS_BUILDS))?)?);
        Ok((builds, has_more))
    }

    /// Returns one build with its jobs and attempts. The name means a build of this repository and branch, if they are
    /// given. A branch may be named in full.
    pub(crate) fn build(
        &self,
        name: &str,
        repo: Option<String>,
        branch: Option<&str>,
    ) -> Result<BuildView, OperationError> {
        let full = |name: &str| if name.starts_with("refs/") { name.into() } else { format!("refs/heads/{name}") };
        let views = Views::new(&*self.reader, &self.data)?;
        let build = self.find_in(name, &Scope { repo, reference: branch.map(full) })?;
        Ok(views.build_with_orders(build)?)
    }

    /// Returns why a build, or those of its jobs that a task or a matrix means, are in their state.
    pub(crate) fn why(&self, name: &str, task: Option<&str>) -> Result<Why, OperationError> {
        let views = Views::new(&*self.reader, &self.data)?;
        let build = self.find(name)?;
        let id = build.id;
        let only: Option<BTreeMap<JobId, TaskName>> = match task {
            Some(task) => {
                let named = self.jobs_of(&build, task)?.jobs;
                let jobs = self.reader.jobs(id)?.into_iter().filter(|job| named.contains(&job.id));
                Some(jobs.map(|job| (job.id, job.task.name.clone())).collect())
            }
            None => None,
        };
        let waiting = match self.core.look(move |seen| seen.scheduler.explain(seen.now, id)) {
            // Without a dispatcher nothing waits, and the history is there all the same.
            Err(NoAnswer::Absent) => Vec::new(),
            waiting => waiting?,
        };
        let is_wanted =
            |(task, _): &(TaskName, _)| only.as_ref().is_none_or(|jobs| jobs.values().any(|name| name == task));
        let mut waiting = waiting;
        if build.verdict.is_some() {
            waiting.extend(held(&self.reader.jobs(id)?));
        }
        let now = waiting.into_iter().filter(is_wanted).collect();
        let only = only.map(|jobs| jobs.into_keys().collect());
        let history = history::of_build(&views, &build, only.as_ref())?;
        Ok(Why { build: id, trust: build.source.trigger.trust, now, history })
    }

    /// Returns the runners that are connected, or away with leases, each with the times for which it has had the
    /// attempts that it executes, in milliseconds.
    pub(crate) fn runners(&self) -> Result<Vec<(RunnerView, Vec<u64>)>, OperationError> {
        let views = self.core.look(|seen| seen.scheduler.runners(seen.now))?;
        let now = clock::wall().0;
        let lasts = |id: &AttemptId| -> Result<u64, StoreError> {
            let leased = self.reader.attempt(*id)?.map_or(now, |attempt| attempt.leased_at.0);
            Ok(u64::try_from(now.saturating_sub(leased)).unwrap_or(0))
        };
        let with_times = |view: RunnerView| {
            let times = view.running.iter().map(|(attempt, ..)| lasts(attempt)).collect::<Result<_, _>>()?;
            Ok((view, times))
        };
        views.into_iter().map(with_times).collect()
    }
}

/// Counts the unfinished jobs of builds as they are stored, for the time without a dispatcher.
fn stored_counts(builds: &[BuildView]) -> JobCounts {
    let of_jobs = builds.iter().flat_map(|build| &build.jobs).map(|view| (view.job.state.kind(), 1));
    let counted = builds.iter().filter(|build| build.jobs.is_empty()).flat_map(|build| build.counts.iter().copied());
    let mut counts = JobCounts::default();
    for (kind, jobs) in of_jobs.chain(counted) {
        match kind {
            JobStateKind::Queued => counts.queued += jobs as usize,
            JobStateKind::Running => counts.leased += jobs as usize,
            JobStateKind::Waiting | JobStateKind::Held | JobStateKind::Finished(_) => {}
        }
    }
    counts
}

/// Returns the schedules of one repository or of all, each with its next firing. A schedule whose time zone this
/// machine does not know has none.
fn upcoming(schedules: Vec<Schedule>, repo: Option<&str>) -> Vec<(Schedule, Option<WallTime>)> {
    let wanted = schedules.into_iter().filter(|schedule| repo.is_none_or(|repo| schedule.repo.as_str() == repo));
    let next = |schedule: &Schedule| Timetable::of(schedule.rule.as_ref()?)?.next_after(schedule.last_due);
    let mut upcoming: Vec<_> = wanted.map(|schedule| (next(&schedule), schedule)).collect();
    upcoming.sort_by_key(|(next, _)| next.map_or(i64::MAX, |next| next.0));
    upcoming.into_iter().map(|(next, schedule)| (schedule, next)).collect()
}

/// Returns what the held jobs of a finished build wait for. Those of an unfinished one are in the scheduler.
fn held(jobs: &[Job]) -> Vec<(TaskName, JobStatus)> {
    let is_held = |job: &&Job| job.state == JobState::Held;
    let status = |job: &Job| {
        let needed = |other: &&Job| job.task.placement.needs.iter().any(|need| need.task == other.task.name);
        let needs = jobs.iter().filter(is_held).filter(needed).map(|other| other.task.name.clone()).collect();
        (job.task.name.clone(), JobStatus::Held { needs })
    };
    jobs.iter().filter(is_held).map(status).collect()
}
