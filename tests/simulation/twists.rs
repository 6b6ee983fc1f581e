//! What sabotages make of task files, of files that tasks wrote, and of values that people gave.

use std::collections::{BTreeMap, BTreeSet};

use surveil::model::{
    Ability, AttemptId, BuildId, Condition, Ending, Job, JobId, JobState, Outcome, Plan, PlannedSchedule, Record,
    ScheduleRule, SlotCount, Snapshot, Supersede, TaskSpec, Verdict, WallTime,
};
use surveil::scheduler::{Effect, Event};

use crate::sabotage::Sabotage;
use crate::world::World;
use crate::written_tasks::{Values, WrittenFile};

/// State of the sabotages of written tasks.
#[derive(Debug, Default)]
pub(crate) struct Twisted {
    /// The last file that an attempt of each job wrote.
    files: BTreeMap<JobId, WrittenFile>,
    /// Attempts of which another runner brought a file.
    foreign: BTreeSet<AttemptId>,
    /// Records that are made durable too late.
    late: Vec<Effect>,
}

pub(crate) fn is_left_out(job: &Job) -> bool {
    matches!(job.state, JobState::Finished(Ending::LeftOut(_)))
}

/// The plan that an event brings.
pub(crate) fn plan_of(event: &mut Event) -> Option<&mut Plan> {
    match event {
        Event::CommitObserved { plan, .. } | Event::BuildAsked { plan, .. } | Event::ScheduleDue { plan, .. } => {
            plan.as_mut().ok()
        }
        _ => None,
    }
}

/// Whether a task of a build wrote this one.
fn has_joined(job: &Job) -> bool {
    job.task.name.contains('/')
}

/// Whether a sabotage has to know which session holds each attempt.
pub(crate) fn needs_holders(sabotage: Sabotage) -> bool {
    matches!(
        sabotage,
        Sabotage::AcceptsLateResults
            | Sabotage::BelievesAnyone
            | Sabotage::BelievesAnyFile
            | Sabotage::BelievesAnyArtifacts
    )
}

fn forget_values(task: &mut TaskSpec) {
    task.placement.inputs.iter_mut().for_each(|input| input.given = None);
    drop(task.set_inputs(&Values::new()));
}

/// Forgets a part of what the store knows.
pub(crate) fn twist_snapshot(sabotage: Sabotage, restored: &mut Snapshot) {
    for build in &mut restored.builds {
        match sabotage {
            Sabotage::ForgetsJoined => {
                let gone: Vec<JobId> = build.jobs.iter().filter(|job| has_joined(job)).map(|job| job.id).collect();
                build.jobs.retain(|job| !gone.contains(&job.id));
                build.attempts.retain(|attempt| !gone.contains(&attempt.job));
            }
            Sabotage::ForgetsValues => {
                for job in &mut build.jobs {
                    let mut task = (*job.task).clone();
                    forget_values(&mut task);
                    job.task = task.into();
                }
            }
            _ => {}
        }
    }
}

impl World {
    /// The event of a file that the scheduler is told before this one, and whether it is told this one.
    pub(crate) fn twist_written(&mut self, sabotage: Sabotage, event: &mut Event) -> (Option<Event>, bool) {
        let job_of = |attempt| self.dispatcher.store.attempts.get(attempt).map(|attempt| attempt.job);
        match event {
            Event::TasksWritten { session, attempt, plan } => {
                let Some(job) = job_of(attempt) else { return (None, true) };
                self.twisted.files.insert(job, (**plan).clone());
                match sabotage {
                    Sabotage::ForgetsWrittenTasks => return (None, false),
                    Sabotage::TakesMistakes if plan.is_err() => **plan = Ok(Plan::default()),
                    Sabotage::BelievesAnyFile if self.lies.contains(&(*session, *attempt)) => {
                        *session = *self.holders.get(attempt).unwrap_or(session);
                        self.twisted.foreign.insert(*attempt);
                    }
                    Sabotage::BelievesAnyFile if self.twisted.foreign.contains(attempt) => return (None, false),
                    _ => {}
                }
            }
            Event::AttemptFinished { session, attempt, outcome: Outcome::Passed, .. }
                if sabotage == Sabotage::KeepsWrittenTasks && !self.files.contains_key(attempt) =>
            {
                let file = job_of(attempt).and_then(|job| self.twisted.files.get(&job));
                let (session, attempt) = (*session, *attempt);
                let told = |plan: &WrittenFile| Event::TasksWritten { session, attempt, plan: Box::new(plan.clone()) };
                return (file.map(told), true);
            }
            _ => {}
        }
        (None, true)
    }

    /// The tasks of a job that has expanded before, as new ones.
    fn again(&self, job: JobId, plan: &Plan) -> Option<Record> {
        let store = &self.dispatcher.store;
        let job = store.jobs.get(&job)?;
        let prefix = format!("{}/", job.task.name);
        let is_its = |other: &&Job| other.build == job.build && other.task.name.starts_with(&prefix);
        store.jobs.values().any(|other| is_its(&other)).then(|| joined(job.build, plan))
    }

    /// Changes the records about tasks that join, and about values.
    pub(crate) fn twist_records(&mut self, sabotage: Sabotage, effects: &mut Vec<Effect>) {
        match sabotage {
            Sabotage::JoinsLater => {
                let is_join = |effect: &Effect| matches!(effect, Effect::Persist(Record::JobsJoined { .. }));
                let late = std::mem::take(&mut self.twisted.late);
                self.twisted.late = effects.iter().filter(|effect| is_join(effect)).cloned().collect();
                effects.retain(|effect| !is_join(effect));
                effects.splice(0..0, late);
            }
            Sabotage::JoinsOfFailed | Sabotage::JoinsAtEachRerun => {
                let Some((of, outcome)) = effects.iter().find_map(own_outcome) else { return };
                let Some(Ok(plan)) = self.files.get(&of) else { return };
                let Some(job) = self.dispatcher.store.attempts.get(&of).map(|attempt| attempt.job) else { return };
                let record = match outcome {
                    Outcome::Failed(_) if sabotage == Sabotage::JoinsOfFailed => {
                        Some(joined(self.dispatcher.store.jobs[&job].build, plan))
                    }
                    Outcome::Passed if sabotage == Sabotage::JoinsAtEachRerun => self.again(job, plan),
                    _ => None,
                };
                effects.splice(0..0, record.map(Effect::Persist));
            }
            Sabotage::EndsBeforeJoined => {
                let join = effects.iter().find_map(|effect| match effect {
                    Effect::Persist(Record::JobsJoined { build, .. }) => Some(*build),
                    _ => None,
                });
                let end = |build| Record::BuildFinished { build, verdict: Verdict::Passed, at: WallTime(0) };
                effects.extend(join.map(|build| Effect::Persist(end(build))));
            }
            Sabotage::RecordsNoValues => {
                effects.retain(|effect| !matches!(effect, Effect::Persist(Record::TaskGiven { .. })));
            }
            _ => {}
        }
    }

    /// Changes the values that a person gives to a job.
    pub(crate) fn twist_values(&self, sabotage: Sabotage, event: &mut Event) {
        match (sabotage, event) {
            (Sabotage::IgnoresValues, Event::StartAsked { inputs, .. }) => inputs.clear(),
            (Sabotage::KeepsFirstValues, Event::StartAsked { job, inputs, .. }) => {
                let job = self.dispatcher.store.jobs.get(job);
                inputs.retain(|name, _| job.is_none_or(|job| job.task.given_inputs().all(|(given, _)| given != name)));
            }
            (Sabotage::IgnoresRequestedValues, Event::BuildAsked { plan: Ok(plan), .. }) => {
                plan.tasks.iter_mut().for_each(|task| forget_values(&mut task.spec));
            }
            _ => {}
        }
    }
}

/// The outcome of an attempt that an effect records.
fn own_outcome(effect: &Effect) -> Option<(AttemptId, Outcome)> {
    match effect {
        Effect::Persist(Record::AttemptFinished { attempt, outcome, .. }) => Some((*attempt, outcome.clone())),
        _ => None,
    }
}

/// Jobs that join, with numbers that nobody else uses.
fn joined(build: BuildId, plan: &Plan) -> Record {
    let fresh = |(at, task): (u64, &surveil::model::PlannedTask)| {
        let (id, task, state) = (JobId(1_000_000 + build.0 * 10 + at), task.spec.clone().into(), JobState::Waiting);
        Job { id, build, task, state, attempts: 0, failures: 0, losses: 0 }
    };
    Record::JobsJoined { build, jobs: (0..).zip(&plan.tasks).map(fresh).collect() }
}

/// Changes what the task file of a commit says.
pub(crate) fn twist_plan(sabotage: Sabotage, plan: &mut Plan) {
    match sabotage {
        Sabotage::ForgetsFailFast => plan.settings.fail_fast = false,
        Sabotage::KeepsEndedSchedules if plan.schedules.iter().all(|it| &*it.name != "nightly") => {
            let rule = ScheduleRule { cron: "3000".into(), timezone: "UTC".into() };
            plan.schedules.push(PlannedSchedule { name: "nightly".into(), rule, names_tasks: false });
        }
        Sabotage::SupersedesNothing => plan.settings.supersede = Supersede::No,
        Sabotage::SupersedesAll => plan.settings.supersede = Supersede::Running,
        Sabotage::EndsBuildsEarly => plan.settings.timeout_ms = plan.settings.timeout_ms.map(|timeout| timeout / 2),
        _ => {}
    }
    for task in &mut plan.tasks {
        let placement = &mut task.spec.placement;
        match sabotage {
            Sabotage::ForgetsExclusive => task.spec.recipe_mut().exclusive = false,
            Sabotage::ForgetsGroups => placement.group = None,
            Sabotage::ForgetsSlots => placement.slots = SlotCount::default(),
            Sabotage::TurnsPrioritiesRound => placement.priority *= -1,
            Sabotage::RaisesGroupLimits => placement.group.iter_mut().for_each(|group| group.limit += 1),
            Sabotage::RunsWhatIsLeftOut => task.left_out = None,
            Sabotage::ForgetsConditions => {
                placement.needs.iter_mut().for_each(|need| need.condition = Condition::Passed);
            }
            Sabotage::HoldsNothing => task.held = false,
            Sabotage::RetriesOnceMore => placement.retries += 1,
            Sabotage::RetriesAfterAll => placement.retry.on.clear(),
            Sabotage::ForgetsDelays => placement.retry.delay_ms = 0,
            Sabotage::ForgetsElsewhere => placement.retry.elsewhere = false,
            Sabotage::ForgetsAbilities => placement.labels.retain(|label| Ability::word_of(label).is_none()),
            _ => {}
        }
    }
}
