//! Slots: the attempts that really run on a runner take no more of them than it has.

use std::collections::BTreeMap;

use surveil::model::{AttemptId, CommitId, Incarnation, JobId, Record, RepoName, RunnerName, SessionId, TaskName};
use surveil::scheduler::{Effect, Event, RunnerCommand};

use super::checkers::{demand, facts};
use super::history::{Entry, Fact};
use super::terms::Terms;

/// What the task files say counts, and not what the dispatcher made of them. Two processes of one name are two runners.
pub(super) fn slots(story: &[Entry], _: &Terms) -> Result<(), String> {
    let mut specs: BTreeMap<(RepoName, CommitId, TaskName), u32> = BTreeMap::new();
    let mut jobs: BTreeMap<JobId, u32> = BTreeMap::new();
    let mut joining: BTreeMap<SessionId, (RunnerName, u32)> = BTreeMap::new();
    let mut room: BTreeMap<RunnerName, u32> = BTreeMap::new();
    let mut running: BTreeMap<AttemptId, (RunnerName, Incarnation, u32)> = BTreeMap::new();
    for fact in facts(story) {
        match fact {
            Fact::Arrived(Event::CommitObserved { source, plan: Ok(plan), .. }) => {
                let of_commit = plan.tasks.iter().map(|task| &task.spec);
                let key = |name: &TaskName| (source.repo.clone(), source.commit, name.clone());
                specs.extend(of_commit.map(|task| (key(&task.name), task.placement.slots.0)));
            }
            Fact::Arrived(Event::RunnerJoined(joined)) => {
                joining.insert(joined.session, (joined.name.clone(), joined.slots));
            }
            // Another runner may have tried to take the name.
            Fact::Released(Effect::Send { session, message: RunnerCommand::Registered { .. } }) => {
                room.extend(joining.remove(session));
            }
            Fact::Decided(Effect::Persist(Record::BuildAdded { build, jobs: added })) => {
                let (repo, commit) = (&build.source.repo, build.source.commit);
                let slots = |name: &TaskName| specs.get(&(repo.clone(), commit, name.clone())).copied();
                jobs.extend(added.iter().filter_map(|job| Some((job.id, slots(&job.task.name)?))));
            }
            Fact::Decided(Effect::Persist(Record::JobsJoined { jobs: joined, .. })) => {
                jobs.extend(joined.iter().map(|job| (job.id, job.task.placement.slots.0)));
            }
            Fact::Began { attempt, job, name, incarnation } => {
                let (Some(takes), Some(has)) = (jobs.get(job), room.get(name)) else { continue };
                running.insert(*attempt, (name.clone(), *incarnation, *takes));
                let here = running.values().filter(|(on, process, _)| on == name && process == incarnation);
                let used: u32 = here.map(|(.., slots)| slots).sum();
                demand(used <= *has, || format!("{attempt} begins on {name}, and {used} of {has} slots are taken"))?;
            }
            Fact::Over { attempt, .. } => drop(running.remove(attempt)),
            _ => {}
        }
    }
    Ok(())
}
