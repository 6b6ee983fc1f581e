//! Whose turn it is: exclusive tasks one at a time, in the order of their builds (S35), and shares of repositories
//! (S37).

use std::collections::{BTreeMap, BTreeSet};

use surveil::model::{AttemptId, BuildId, CommitId, JobId, Record, RepoName, RunnerName, TaskName, TaskSpec};
use surveil::scheduler::{Effect, Event};

use super::checkers::{demand, facts};
use super::history::{Entry, Fact};
use super::terms::Terms;

type Line = (RepoName, TaskName);

/// An exclusive task of a repository is not leased while an attempt of it really runs, nor before the task of an
/// earlier build has ended. What the task files say counts, and not what the dispatcher made of them. A machine that
/// stood still is excused, as in S9.
pub(super) fn s35(story: &[Entry], _: &Terms) -> Result<(), String> {
    let mut exclusive: BTreeSet<(RepoName, CommitId, TaskName)> = BTreeSet::new();
    let mut lines: BTreeMap<JobId, Line> = BTreeMap::new();
    let mut open: BTreeSet<JobId> = BTreeSet::new();
    let mut attempts: BTreeMap<AttemptId, JobId> = BTreeMap::new();
    let mut running: BTreeMap<AttemptId, (JobId, RunnerName)> = BTreeMap::new();
    let mut thawed: BTreeMap<RunnerName, u64> = BTreeMap::new();
    for Entry { at, fact } in story {
        match fact {
            Fact::Arrived(Event::CommitObserved { source, plan: Ok(plan), .. }) => {
                let of_commit = plan.tasks.iter().map(|task| &task.spec).filter(|task| task.recipe.exclusive);
                exclusive.extend(of_commit.map(|task| (source.repo.clone(), source.commit, task.name.clone())));
            }
            Fact::Decided(Effect::Persist(Record::BuildAdded { build, jobs })) => {
                let (repo, commit) = (&build.source.repo, build.source.commit);
                let is = |task: &TaskSpec| exclusive.contains(&(repo.clone(), commit, task.name.clone()));
                for job in jobs.iter().filter(|job| is(&job.task)) {
                    lines.insert(job.id, (repo.clone(), job.task.name.clone()));
                    if job.state.is_awaited() {
                        open.insert(job.id);
                    }
                }
            }
            Fact::Decided(Effect::Persist(Record::JobQueued { job, .. } | Record::JobWaiting { job }))
                if lines.contains_key(job) =>
            {
                open.insert(*job);
            }
            Fact::Decided(Effect::Persist(Record::JobFinished { job, .. })) => drop(open.remove(job)),
            Fact::Began { name, .. } if thawed.get(name).is_some_and(|thawed| *at <= thawed + 1_000) => {}
            Fact::Began { attempt, job, name, .. } => drop(running.insert(*attempt, (*job, name.clone()))),
            Fact::Over { attempt, .. } => drop(running.remove(attempt)),
            Fact::Froze { name, until } => {
                running.retain(|_, (_, on)| on != name);
                thawed.insert(name.clone(), *until);
            }
            // Real records are read in the order of their tables, so that the end of a job is seen after a lease that
            // follows from it. The end of its attempt is seen before; a retry opens the job again.
            Fact::Decided(Effect::Persist(Record::AttemptFinished { attempt, .. })) => {
                if let Some(job) = attempts.remove(attempt) {
                    open.remove(&job);
                }
            }
            Fact::Crashed(_) => open.clear(),
            Fact::Decided(Effect::Persist(Record::AttemptLeased(attempt))) => {
                let Some(line) = lines.get(&attempt.job) else { continue };
                attempts.insert(attempt.id, attempt.job);
                let beside = running.iter().find(|(_, (job, _))| lines.get(job) == Some(line));
                demand(beside.is_none(), || format!("{} is leased beside {beside:?} of its task", attempt.job))?;
                let earlier = open.range(..attempt.job).find(|job| lines.get(job) == Some(line));
                demand(earlier.is_none(), || format!("{} is leased before {earlier:?} of its task", attempt.job))?;
            }
            _ => {}
        }
    }
    Ok(())
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
                        && !job.task.recipe.exclusive;
                    jobs.insert(job.id, (build.id, is_plain));
                    queued.entry(repo.clone()).or_default().insert(job.id);
                    if is_plain {
                        plain.entry(repo.clone()).or_default().insert(job.id);
                    }
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
