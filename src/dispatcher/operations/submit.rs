//! Requests for builds of commits that the operator brings along. The source becomes durable in the mirror first, then
//! the build in the store, and only then the operator hears of it.

use std::collections::BTreeMap;

use super::error::OperationError;
use super::questions::Operations;
use crate::config::{PlanContext, UnknownTask, choose_tasks};
use crate::dispatcher::choice;
use crate::dispatcher::core::{NewOrder, NoAnswer, ToCore};
use crate::dispatcher::mirrors::{ArrivingPack, Coming, Intake, Mirrors, Taken};
use crate::model::{BuildId, BuildSource, CommitId, FactsId, PlannedTask, RepoName, TriggerKind, WrongInputs};
use crate::scheduler::Reply;

/// A request for a build.
pub(crate) struct Submission {
    pub(crate) source: BuildSource,
    /// The facts of the commit's source, if the commit alone is not all.
    pub(crate) facts: Option<FactsId>,
    /// The place of the repository.
    pub(crate) place: String,
    /// The tasks to run, with those that they need; empty for all.
    pub(crate) tasks: Vec<String>,
    /// Values for the inputs of the tasks.
    pub(crate) inputs: BTreeMap<String, String>,
    /// It is added to the priority of each task.
    pub(crate) priority: i32,
}

/// What became of a request for a build.
pub(crate) enum Submitted {
    /// The build is durable.
    Build {
        build: BuildId,
        /// Whether a pack was received for it.
        is_new: bool,
    },
    /// The mirror lacks objects of the commit: all of its source is to be sent.
    NeedSource,
}

impl Operations {
    /// Returns the mirrors, in which the packs of submissions arrive.
    pub(crate) fn mirrors(&self) -> Result<&Mirrors, OperationError> {
        if self.core.is_absent() { Err(NoAnswer::Absent.into()) } else { Ok(&self.mirrors) }
    }

    /// Begins to receive a pack.
    pub(crate) fn arriving_pack(&self, repo: RepoName) -> ArrivingPack {
        ArrivingPack::new(repo, self.data.root())
    }

    /// Returns those of the commits whose source is in the mirror of the repository.
    pub(crate) fn held(&self, repo: &RepoName, commits: &[CommitId]) -> Result<Vec<CommitId>, OperationError> {
        Ok(self.mirrors()?.held(repo, commits))
    }

    /// Makes a build of a commit, whose source is in the pack or in the mirror. The same request makes one build,
    /// however often it comes.
    pub(crate) fn submit(
        &self,
        submission: Submission,
        pack: Option<ArrivingPack>,
    ) -> Result<Submitted, OperationError> {
        let mirrors = self.mirrors()?;
        let Submission { mut source, facts, place, tasks, inputs, priority } = submission;
        // Operators are trusted people: their order is worth as much as a push to the same ref. Uncommitted work is
        // never trusted.
        if let TriggerKind::Manual { .. } = source.trigger.kind {
            let reference = &source.trigger.reference;
            source.trigger.trust = self.trust.judge_stored(&source.repo, reference, &*self.reader)?;
        }
        let (repo, commit) = (source.repo.clone(), source.commit);
        let pack = pack.filter(|pack| pack.is_whole_for(&repo));
        // Nothing is removed from the mirror before the build that needs it is recorded.
        let taken = mirrors.arriving(&repo, || {
            let taken = match mirrors.take_in(&repo, commit, (Coming::Now(facts), pack), PlanContext::Build(&source)) {
                Intake::Taken(taken) => *taken,
                Intake::NeedSource => return Ok(None),
                Intake::Refused(error) => return Err(OperationError::Source { commit, source: Box::new(error) }),
            };
            let Taken { plan, mirror, is_new, .. } = taken;
            // A mistake in the task file makes a build with a problem, as for a commit that was pushed.
            let plan = match plan {
                Ok(mut plan) if tasks.is_empty() => {
                    choice::choose(&mut plan, &source, &[], |scope| self.reader.passes(scope), &mirror);
                    Ok(plan)
                }
                // Tasks that are named run whatever their conditions say.
                Ok(plan) => {
                    let plan = choose_tasks(plan, &tasks).map_err(|error| unknown_task(commit, error))?;
                    // It would hold the named task, and the build would pass without that.
                    let held = plan.tasks.iter().find(|task| task.held && task.left_out.is_none());
                    if let Some(PlannedTask { spec, .. }) = held {
                        return Err(OperationError::ManualNeed { task: spec.name.clone() });
                    }
                    Ok(plan)
                }
                mistake => mistake,
            };
            let plan = match plan {
                Ok(mut plan) => {
                    plan.set_inputs(&inputs).map_err(wrong_inputs)?;
                    plan.settings.priority = priority;
                    Ok(plan)
                }
                mistake => mistake,
            };
            let order = Box::new(NewOrder { source, plan, place });
            let reply = self.core.answered(|answer| ToCore::Submit { order, answer }).ok_or(NoAnswer::Ending)?;
            let build = match reply {
                Reply::Accepted { build: Some(build), .. } => build,
                Reply::Refused(reason) => return Err(OperationError::Refused(reason)),
                Reply::Accepted { .. } | Reply::Noted | Reply::Stale { .. } | Reply::Done(_) => {
                    unreachable!("it answers others")
                }
            };
            Ok(Some((build, mirror, is_new)))
        })?;
        let Some((build, mirror, is_new)) = taken else { return Ok(Submitted::NeedSource) };
        mirror.return_to_pool();
        Ok(Submitted::Build { build, is_new })
    }
}

fn wrong_inputs(wrong: WrongInputs) -> OperationError {
    match wrong {
        WrongInputs::Unknown { name, known } => OperationError::UnknownInput { name, known },
        WrongInputs::Missing { task, names } => OperationError::MissingInputs { task, names },
    }
}

fn unknown_task(commit: CommitId, UnknownTask { name, nearest, known }: UnknownTask) -> OperationError {
    OperationError::UnknownTask { commit, task: name, nearest, tasks: known }
}
