//! Tasks that write further tasks, and tasks with inputs. The dice are those of a commit, an attempt or a request, so
//! that worlds without either of them stay as they are.

use std::collections::BTreeMap;

use surveil::model::{
    AttemptId, CommitId, Input, JobId, Need, Outcome, Plan, PlannedTask, SessionId, TaskName, TaskSpec, TriggerId,
};
use surveil::scheduler::{Event, Lease};

use crate::dice::Dice;
use crate::dispatcher::{Input as CoreInput, Question};
use crate::faults::Fault;
use crate::plans::planned;
use crate::world::{Happening, World};

/// The tasks of a file that a task wrote, or the mistake in it.
pub(crate) type WrittenFile = Result<Plan, String>;

/// Values of inputs, by name.
pub(crate) type Values = BTreeMap<String, String>;

/// Share of the commits whose tasks may expand, in percent.
const EXPANDING: u64 = 22;

/// Lets some tasks of a commit expand, and gives inputs to some.
pub(crate) fn add_extras(plan: &mut Plan, commit: CommitId) {
    let mut dice = dice_of(commit, 0xe8a);
    let is_expanding = dice.percent(EXPANDING);
    for task in &mut plan.tasks {
        task.spec.recipe_mut().expand = is_expanding && dice.percent(60);
        add_inputs(&mut dice, &mut task.spec);
    }
}

fn add_inputs(dice: &mut Dice, task: &mut TaskSpec) {
    let chance = if task.placement.manual { 75 } else { 8 };
    for name in ["version", "target"] {
        if dice.percent(chance) {
            let default = dice.percent(70).then(|| "default".to_owned());
            task.placement.inputs.push(Input { name: name.into(), default, description: String::new(), given: None });
        }
    }
    drop(task.set_inputs(&Values::new()));
}

/// Returns the values that a person gives to the inputs of a request. One that is sent again has the same ones.
pub(crate) fn values_of(id: TriggerId, plan: &Plan) -> Values {
    let mut dice = Dice::new(u64::from_be_bytes([id.0[0], id.0[1], id.0[2], id.0[3], id.0[4], id.0[5], 7, 7]));
    let tasks = plan.tasks.iter().filter(|task| task.left_out.is_none());
    let inputs: Vec<&Input> = tasks.flat_map(|task| &task.spec.placement.inputs).collect();
    let mut values = Values::new();
    for input in inputs {
        if dice.percent(70) {
            values.insert(input.name.clone(), value(&mut dice));
        }
    }
    values
}

fn value(dice: &mut Dice) -> String {
    format!("v{}", dice.below(1_000))
}

pub(crate) fn dice_of(commit: CommitId, salt: u64) -> Dice {
    let mut seed = [0; 8];
    seed.copy_from_slice(&commit.as_bytes()[2..10]);
    Dice::new(u64::from_be_bytes(seed) ^ salt)
}

/// Returns the file that an attempt writes, if it writes one.
fn file_of(lease: &Lease) -> Option<WrittenFile> {
    let mut dice = dice_of(lease.source.commit, lease.attempt.0 << 8);
    let parent = &lease.task.name;
    // The dispatcher heeds no file of a task that may not expand.
    if !lease.task.recipe.expand && !dice.percent(2) {
        return None;
    }
    // Another attempt of the task may have written one before.
    if dice.percent(if lease.number > 1 { 40 } else { 8 }) {
        return None;
    }
    match dice.below(12) {
        0 => Some(Ok(Plan::default())),
        1 => Some(Err("a value is missing".into())),
        2 => Some(Err("`expand` cannot stand in a file that a task wrote".into())),
        // Its names are those of tasks that are there.
        3 => Some(Ok(Plan { tasks: vec![written(&mut dice, parent, 0), named(parent.clone())], ..Plan::default() })),
        _ => {
            let count = 1 + dice.below(3);
            let tasks = (0..count).map(|at| written(&mut dice, parent, at)).collect();
            Some(Ok(Plan { tasks, ..Plan::default() }))
        }
    }
}

fn named(name: TaskName) -> PlannedTask {
    PlannedTask::of(TaskSpec::new(name, surveil::model::Script::Shell("true".into())))
}

/// Returns a task as the reader of such files makes it: with the name of its writer before its own, and needing it.
fn written(dice: &mut Dice, parent: &TaskName, at: usize) -> PlannedTask {
    let mut task = planned(dice, at, false);
    let name = |own: &TaskName| TaskName::recorded(&format!("{parent}/{own}"));
    task.spec.name = name(&task.spec.name);
    let needs = &mut task.spec.placement.needs;
    needs.iter_mut().for_each(|need| need.task = name(&need.task));
    needs.insert(0, Need::passed(parent.clone()));
    add_inputs(dice, &mut task.spec);
    task
}

impl World {
    /// Keeps the file that an attempt has written beside its result.
    pub(crate) fn keep_file(&mut self, lease: &Lease) {
        if let Some(file) = file_of(lease) {
            self.files.insert(lease.attempt, file);
        }
    }

    /// A result arrives. The dispatcher's session reads the file and what else came with it, and tells the core of it
    /// first. The result follows once the log is durable, which may take a while.
    pub(crate) fn hear_result(&mut self, session: SessionId, attempt: AttemptId, outcome: Outcome) {
        let (log, duration_ms) = (Default::default(), Some(1));
        let finished =
            Event::AttemptFinished { session, attempt, outcome, log, duration_ms, steps: vec![], execution: None };
        let file = if self.lies.contains(&(session, attempt)) {
            self.dispatcher.store.attempts.get(&attempt).and_then(|attempt| {
                let job = self.dispatcher.store.jobs.get(&attempt.job).filter(|job| job.task.recipe.expand)?;
                let name = TaskName::recorded(&format!("{}/lie", job.task.name));
                Some(Ok(Plan { tasks: vec![named(name)], ..Plan::default() }))
            })
        } else {
            self.files.get(&attempt).cloned()
        };
        let mut ahead = self.left_events(session, attempt);
        let is_writer = file.is_some();
        ahead.extend(file.map(|file| Event::TasksWritten { session, attempt, plan: Box::new(file) }));
        if ahead.is_empty() {
            return self.enqueue(CoreInput::Event(finished));
        }
        ahead.into_iter().for_each(|event| self.enqueue(CoreInput::Event(event)));
        if self.dice.percent(40) {
            let wait = if self.dice.percent(80) { self.dice.ms(1, 300) } else { self.dice.ms(300, 5_000) };
            self.plan(self.now + wait, Happening::Told(self.dispatcher.start, finished));
        } else {
            self.enqueue(CoreInput::Event(finished));
        }
        if is_writer && !self.is_calm && self.dice.percent(15) {
            let again = self.now + self.dice.ms(1_000, 20_000);
            self.plan(again, Happening::Fault(Fault::RerunWriter));
        }
        // The file and the rest are known, and nothing of them is durable.
        if !self.is_calm && self.dice.percent(6) {
            self.dispatcher.doom = Some(self.dice.below(6) as u32);
        }
    }

    /// A person runs a task again that may expand, alone or with its whole build.
    pub(crate) fn rerun_writer(&mut self) {
        if self.is_calm || self.dispatcher.scheduler.is_none() {
            return;
        }
        let store = &self.dispatcher.store;
        let is_over = |build| store.builds.get(build).is_some_and(|build| build.verdict.is_some());
        let writers = store.jobs.values().filter(|job| job.task.recipe.expand && is_over(&job.build));
        let writers: Vec<_> = writers.map(|job| (job.build, job.id)).collect();
        if let Some((build, job)) = self.dice.pick(&writers) {
            let only = self.dice.percent(50).then_some(job);
            self.enqueue(CoreInput::Ask(Question::Rerun(build, false, only), None));
        }
    }

    /// Returns values for the inputs of a held job, some of which may be missing or unknown.
    pub(crate) fn values_for(&mut self, job: JobId) -> Values {
        let inputs = self.dispatcher.store.jobs[&job].task.placement.inputs.clone();
        let mut values = Values::new();
        for input in &inputs {
            let chance = if input.default.is_some() { 60 } else { 90 };
            if self.dice.percent(chance) {
                values.insert(input.name.clone(), value(&mut self.dice));
            }
        }
        if !inputs.is_empty() && self.dice.percent(5) {
            values.insert("nonsense".into(), value(&mut self.dice));
        }
        // The answer may never come, and the values must be known after the restart.
        if !values.is_empty() && !self.is_calm && self.dice.percent(30) {
            self.dispatcher.doom = Some(self.dice.below(12) as u32);
        }
        values
    }
}
