//! Whose turn it is: exclusive tasks and groups within their limits, in the order of their builds (S35), and shares of
//! repositories (S37).

use std::collections::{BTreeMap, BTreeSet};

use surveil::model::{
    AttemptId, BuildId, CommitId, Job, JobId, JobState, Line, Record, RepoName, RunnerName, SlotCount, TaskName,
    TaskSpec,
};
use surveil::scheduler::Effect;

use super::checkers::{demand, facts};
use super::history::{Entry, Fact};
use super::plans::planned;
use super::terms::Terms;

/// The lines of one job, each with the number of places that its task allows.
type Limits = Vec<(Line, usize)>;

/// Jobs, and the attempts that really run, as far as the lines of exclusive tasks and groups are concerned.
#[derive(Default)]
struct Turns {
    repos: BTreeMap<BuildId, RepoName>,
    lines: BTreeMap<JobId, (BuildId, Limits)>,
    /// Unfinished jobs, and those of them that are queued.
    open: BTreeSet<JobId>,
    queued: BTreeSet<JobId>,
    attempts: BTreeMap<AttemptId, JobId>,
    running: BTreeMap<AttemptId, (JobId, RunnerName)>,
}

/// No more jobs of an exclusive task or a group really run than each of them allows, and the places go to the jobs of
/// earlier builds first, then to those that the task file has first. What the task files say counts, and not what the
/// dispatcher made of them. A machine that stood still is excused, as in S9.
pub(super) fn s35(story: &[Entry], _: &Terms) -> Result<(), String> {
    let mut specs: BTreeMap<(RepoName, CommitId, TaskName), TaskSpec> = BTreeMap::new();
    let mut turns = Turns::default();
    let mut thawed: BTreeMap<RunnerName, u64> = BTreeMap::new();
    for Entry { at, fact } in story {
        match fact {
            Fact::Arrived(event) => {
                let Some((source, plan)) = planned(event) else { continue };
                let of_commit = plan.tasks.iter().map(|task| task.spec.clone());
                specs.extend(of_commit.map(|task| ((source.repo.clone(), source.commit, task.name.clone()), task)));
            }
            Fact::Decided(Effect::Persist(Record::BuildAdded { build, jobs })) => {
                let (repo, commit) = (&build.source.repo, build.source.commit);
                turns.repos.insert(build.id, repo.clone());
                for job in jobs {
                    if let Some(task) = specs.get(&(repo.clone(), commit, job.task.name.clone())) {
                        turns.add(job, repo, task);
                    }
                }
            }
            // That these tasks are those of the file is a part of S53.
            Fact::Decided(Effect::Persist(Record::JobsJoined { build, jobs })) => {
                if let Some(repo) = turns.repos.get(build).cloned() {
                    jobs.iter().for_each(|job| turns.add(job, &repo, &job.task));
                }
            }
            Fact::Decided(Effect::Persist(Record::JobQueued { job, .. })) => {
                turns.open.insert(*job);
                turns.queued.insert(*job);
            }
            Fact::Decided(Effect::Persist(Record::JobWaiting { job })) => drop(turns.open.insert(*job)),
            Fact::Decided(Effect::Persist(Record::JobFinished { job, .. })) => turns.close(*job),
            Fact::Began { name, .. } if thawed.get(name).is_some_and(|thawed| *at <= thawed + 1_000) => {}
            Fact::Began { attempt, job, name, .. } => drop(turns.running.insert(*attempt, (*job, name.clone()))),
            Fact::Over { attempt, .. } => drop(turns.running.remove(attempt)),
            Fact::Froze { name, until } => {
                turns.running.retain(|_, (_, on)| on != name);
                thawed.insert(name.clone(), *until);
            }
            // Real records are read in the order of their tables, so that the end of a job is seen after a lease that
            // follows from it. The end of its attempt is seen before; a retry opens the job again.
            Fact::Decided(Effect::Persist(Record::AttemptFinished { attempt, .. })) => {
                if let Some(job) = turns.attempts.remove(attempt) {
                    turns.close(job);
                }
            }
            Fact::Crashed(_) => {
                turns.open.clear();
                turns.queued.clear();
            }
            Fact::Decided(Effect::Persist(Record::AttemptLeased(attempt))) => {
                turns.attempts.insert(attempt.id, attempt.job);
                turns.queued.remove(&attempt.job);
                turns.judge(attempt.job)?;
            }
            _ => {}
        }
    }
    Ok(())
}

impl Turns {
    fn add(&mut self, job: &Job, repo: &RepoName, task: &TaskSpec) {
        let lines = task.lines(repo).map(|line| (line.clone(), task.limit_in(&line) as usize)).collect();
        self.lines.insert(job.id, (job.build, lines));
        if job.state.is_awaited() {
            self.open.insert(job.id);
        }
        if job.state == JobState::Queued {
            self.queued.insert(job.id);
        }
    }

    fn close(&mut self, job: JobId) {
        self.open.remove(&job);
        self.queued.remove(&job);
    }

    fn limit(&self, job: JobId, line: &Line) -> Option<usize> {
        let (_, lines) = self.lines.get(&job)?;
        lines.iter().find(|(of, _)| of == line).map(|(_, limit)| *limit)
    }

    /// Objects to the lease of a job that had no place in one of its lines.
    fn judge(&self, job: JobId) -> Result<(), String> {
        let Some((build, lines)) = self.lines.get(&job) else { return Ok(()) };
        for (line, own) in lines {
            let beside: Vec<(AttemptId, usize)> =
                self.running.iter().filter_map(|(attempt, (of, _))| Some((*attempt, self.limit(*of, line)?))).collect();
            let limit = beside.iter().map(|(_, limit)| *limit).min().unwrap_or(*own).min(*own);
            demand(beside.len() < limit, || format!("{job} is leased beside {beside:?} of {line:?}"))?;
            let comes_before = |other: &&JobId| {
                let Some((of, _)) = self.lines.get(other) else { return false };
                let is_before = of < build || of == build && **other < job && self.queued.contains(other);
                is_before && self.limit(**other, line).is_some()
            };
            let before: Vec<JobId> = self.open.iter().filter(comes_before).copied().collect();
            demand(before.len() < *own, || format!("{job} is leased before {before:?} of {line:?}"))?;
        }
        Ok(())
    }
}

/// The leases that others may get for each waiting repository while one waits.
const PASSED_OVER_MAX: usize = 9;

/// A repository whose job any runner could take is not passed over without end. Jobs that ask for labels, that are
/// exclusive, or that were queued again may wait for other reasons, and do not count. A restart forgets who was served.
pub(super) fn s37(story: &[Entry], _: &Terms) -> Result<(), String> {
    let mut builds: BTreeMap<BuildId, RepoName> = BTreeMap::new();
    let mut jobs: BTreeMap<JobId, (BuildId, bool)> = BTreeMap::new();
    // Queued jobs, the plain ones of them, and how often each repository was passed over since it was served.
    let mut queued: BTreeMap<RepoName, BTreeSet<JobId>> = BTreeMap::new();
    let mut plain: BTreeMap<RepoName, BTreeSet<JobId>> = BTreeMap::new();
    let mut passed: BTreeMap<RepoName, (usize, usize)> = BTreeMap::new();
    for fact in facts(story) {
        match fact {
            Fact::Started => {
                passed.clear();
                plain.clear();
            }
            Fact::Decided(Effect::Persist(Record::BuildAdded { build, jobs: added })) => {
                let repo = &build.source.repo;
                builds.insert(build.id, repo.clone());
                for job in added {
                    let is_plain = job.task.placement.labels.is_empty()
                        && job.task.placement.needs.is_empty()
                        && job.task.placement.slots == SlotCount::default()
                        && !job.task.recipe.exclusive;
                    jobs.insert(job.id, (build.id, is_plain));
                    // A job that is held or left out waits for no runner.
                    if !job.state.is_awaited() {
                        continue;
                    }
                    queued.entry(repo.clone()).or_default().insert(job.id);
                    if is_plain {
                        plain.entry(repo.clone()).or_default().insert(job.id);
                    }
                }
            }
            Fact::Decided(Effect::Persist(Record::JobsJoined { build, jobs: joined })) => {
                jobs.extend(joined.iter().map(|job| (job.id, (*build, false))));
                if let Some(repo) = builds.get(build) {
                    let awaited = joined.iter().filter(|job| job.state.is_awaited()).map(|job| job.id);
                    queued.entry(repo.clone()).or_default().extend(awaited);
                }
            }
            Fact::Decided(Effect::Persist(Record::JobQueued { job, .. })) => {
                let repo = jobs.get(job).and_then(|(build, _)| builds.get(build));
                if let Some(repo) = repo {
                    queued.entry(repo.clone()).or_default().insert(*job);
                }
            }
            Fact::Decided(Effect::Persist(Record::JobFinished { job, .. })) => {
                for of in [&mut queued, &mut plain] {
                    of.values_mut().for_each(|jobs| jobs.retain(|queued| queued != job));
                }
                passed.retain(|repo, _| plain.get(repo).is_some_and(|jobs| !jobs.is_empty()));
            }
            Fact::Decided(Effect::Persist(Record::AttemptLeased(attempt))) => {
                for of in [&mut queued, &mut plain] {
                    of.values_mut().for_each(|jobs| jobs.retain(|queued| *queued != attempt.job));
                }
                let served = builds.get(&attempt.build);
                let waiting = queued.values().filter(|jobs| !jobs.is_empty()).count() + 1;
                passed.retain(|repo, _| plain.get(repo).is_some_and(|jobs| !jobs.is_empty()) && Some(repo) != served);
                for (repo, _) in plain.iter().filter(|(repo, jobs)| !jobs.is_empty() && Some(*repo) != served) {
                    let (count, most) = passed.entry(repo.clone()).or_default();
                    (*count, *most) = (*count + 1, waiting.max(*most));
                    let limit = PASSED_OVER_MAX * *most;
                    demand(*count <= limit, || format!("{repo} was passed over {count} times, more than {limit}"))?;
                }
            }
            _ => {}
        }
    }
    Ok(())
}

/// The time of waiting that raises a priority by one.
const AGEING_MS: i64 = 60_000;
/// Real records are seen a little later than the dispatcher made them.
const SEEN_LATE_MS: i64 = 1_000;

/// A queued job.
struct Queued {
    repo: RepoName,
    build: BuildId,
    priority: i32,
    /// When its build came, or was asked to run again, or the dispatcher started, whichever was last.
    came: u64,
}

impl Queued {
    fn standing(&self) -> i64 {
        self.came as i64 - i64::from(self.priority) * AGEING_MS
    }
}

/// Priorities order the jobs of a repository, and a minute of waiting makes up for one: a job that any runner could
/// take is never passed by one of its repository that came so much later. What the task files say counts.
pub(super) fn s37_priorities(story: &[Entry], _: &Terms) -> Result<(), String> {
    let mut priorities: BTreeMap<(RepoName, CommitId, TaskName), i32> = BTreeMap::new();
    let mut jobs: BTreeMap<JobId, Queued> = BTreeMap::new();
    let mut waiting: BTreeSet<JobId> = BTreeSet::new();
    let mut started = 0;
    for Entry { at, fact } in story {
        match fact {
            Fact::Arrived(event) => {
                let Some((source, plan)) = planned(event) else { continue };
                let of = |task: &TaskSpec| {
                    let priority = (task.placement.priority + plan.settings.priority).clamp(-100, 100);
                    ((source.repo.clone(), source.commit, task.name.clone()), priority)
                };
                priorities.extend(plan.tasks.iter().map(|task| of(&task.spec)));
            }
            Fact::Started => {
                waiting.clear();
                jobs.values_mut().for_each(|job| job.came = *at);
                started = *at;
            }
            Fact::Decided(Effect::Persist(Record::BuildAdded { build, jobs: added })) => {
                let (repo, commit) = (&build.source.repo, build.source.commit);
                for job in added {
                    let placement = &job.task.placement;
                    // A runner may have been kept for it since before the others came.
                    if placement.slots != SlotCount::default() {
                        continue;
                    }
                    let Some(priority) = priorities.get(&(repo.clone(), commit, job.task.name.clone())) else {
                        continue;
                    };
                    let is_plain =
                        job.state == JobState::Queued && placement.labels.is_empty() && !job.task.recipe.exclusive;
                    if is_plain {
                        waiting.insert(job.id);
                    }
                    let (repo, build, priority) = (repo.clone(), build.id, *priority);
                    // A record of the dispatcher before may be seen only after the start.
                    let came = (*at).max(started);
                    jobs.insert(job.id, Queued { repo, build, priority, came });
                }
            }
            Fact::Decided(Effect::Persist(Record::BuildReopened { build })) => {
                jobs.values_mut().filter(|job| job.build == *build).for_each(|job| job.came = *at);
            }
            Fact::Decided(Effect::Persist(Record::JobFinished { job, .. })) => drop(waiting.remove(job)),
            Fact::Decided(Effect::Persist(Record::AttemptLeased(attempt))) => {
                waiting.remove(&attempt.job);
                let Some(leased) = jobs.get(&attempt.job) else { continue };
                let passed = waiting.iter().find(|job| {
                    let of = &jobs[job];
                    of.repo == leased.repo && of.standing() + SEEN_LATE_MS < leased.standing()
                });
                demand(passed.is_none(), || format!("{} is leased before {passed:?} of its repository", attempt.job))?;
            }
            _ => {}
        }
    }
    Ok(())
}
