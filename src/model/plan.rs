//! The plan of a build: what the dispatcher makes of a commit's task file for one trigger.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::reason::{ChangeReason, LeftOutReason};
use super::{PlannedSchedule, TaskName, TaskSpec};

/// The tasks of a build, and the settings of the build as a whole.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Plan {
    /// In the order of the task file.
    pub tasks: Vec<PlannedTask>,
    pub settings: BuildSettings,
    /// For the new head of a branch: the schedules of the branch. For a build that a schedule caused: that one.
    pub schedules: Vec<PlannedSchedule>,
}

/// A task, and what becomes of it in this build.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlannedTask {
    pub spec: TaskSpec,
    /// The reason why the task does not run in this build, if it does not.
    pub left_out: Option<LeftOutReason>,
    /// The reason why the task runs, if paths that have not changed could have left it out.
    pub because: Option<ChangeReason>,
    /// Whether the task waits until a person starts it.
    pub held: bool,
}

/// The settings of a build as a whole. They are stored, so a key is only ever added, with a default.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BuildSettings {
    /// The longest that the build may take, from its creation or its newest rerun.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout_ms: Option<u64>,
    /// Whether the first failure cancels the rest of the build.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub fail_fast: bool,
    #[serde(default, skip_serializing_if = "Supersede::is_no")]
    pub supersede: Supersede,
    /// It is added to the priority of each task, within the bounds of a priority.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub priority: i32,
    /// Facts for the tasks that a task of the build writes, if there are any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub for_written: Option<Box<ForWritten>>,
}

/// Facts of a build for the tasks that a task of it writes. They are stored, as [`BuildSettings`] are.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ForWritten {
    /// The values that a person gave for inputs, by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub inputs: BTreeMap<String, String>,
    /// The ids of the commits before that of the build, the nearest first, if its ref is new: paths that have changed
    /// are judged by the builds of these commits.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ancestors: Vec<String>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_zero(number: &i32) -> bool {
    *number == 0
}

impl BuildSettings {
    /// Returns the priority that a task's own becomes in this build.
    #[must_use]
    pub fn priority_of(&self, task: &TaskSpec) -> i32 {
        task.placement.priority.saturating_add(self.priority).clamp(-MAX_PRIORITY, MAX_PRIORITY)
    }

    /// The facts for tasks that a task of the build writes, to be changed while the build is planned.
    pub fn for_written_mut(&mut self) -> &mut ForWritten {
        self.for_written.get_or_insert_default()
    }
}

/// Priorities go from minus this to this.
pub const MAX_PRIORITY: i32 = 100;

/// What a newer move of the same ref does to a build.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Supersede {
    /// Nothing.
    #[default]
    No,
    /// The build is cancelled if none of its jobs has been given to a runner.
    Queued,
    /// The build is cancelled, unless an exclusive task of it has been given to a runner.
    Running,
}

impl Supersede {
    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
    fn is_no(&self) -> bool {
        *self == Self::No
    }
}

impl Plan {
    /// The plan of tasks that all run, in a build without settings.
    #[must_use]
    pub fn of(tasks: Vec<TaskSpec>) -> Self {
        Self { tasks: tasks.into_iter().map(PlannedTask::of).collect(), ..Self::default() }
    }
}

/// Why inputs cannot be set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WrongInputs {
    /// No task that runs has an input of this name. They have those.
    Unknown { name: String, known: Vec<String> },
    /// These inputs of a task that runs have no value and no default.
    Missing { task: TaskName, names: Vec<String> },
}

impl Plan {
    /// Whether a task that may run in this build writes further tasks.
    #[must_use]
    pub fn may_grow(&self) -> bool {
        self.tasks.iter().any(|task| task.left_out.is_none() && task.spec.recipe.expand)
    }

    /// Sets the inputs of all tasks to the values that a person gave. Each value must be for a task that may run, and
    /// a task that runs without a further order must have a value for each input. In a build to which tasks may be
    /// added, any value may be for one of those, and is kept for them.
    pub fn set_inputs(&mut self, values: &BTreeMap<String, String>) -> Result<(), WrongInputs> {
        let running = self.tasks.iter().filter(|task| task.left_out.is_none());
        let known: BTreeSet<&String> =
            running.flat_map(|task| &task.spec.placement.inputs).map(|it| &it.name).collect();
        if self.may_grow() {
            if !values.is_empty() {
                self.settings.for_written_mut().inputs = values.clone();
            }
        } else if let Some(name) = values.keys().find(|name| !known.contains(name)) {
            let known = known.into_iter().cloned().collect();
            return Err(WrongInputs::Unknown { name: name.clone(), known });
        }
        for task in self.tasks.iter_mut().filter(|task| task.left_out.is_none()) {
            let names = task.spec.set_inputs(values);
            if !names.is_empty() && !task.held {
                return Err(WrongInputs::Missing { task: task.spec.name.clone(), names });
            }
        }
        Ok(())
    }
}

impl PlannedTask {
    /// A task that runs in this build, or is held if it is manual.
    #[must_use]
    pub fn of(spec: TaskSpec) -> Self {
        Self { held: spec.placement.manual, spec, left_out: None, because: None }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Input, Script};
    use super::*;

    #[test]
    fn inputs_get_the_values_that_were_given_else_their_defaults() {
        let task = |name: &str, inputs: &[(&str, Option<&str>)]| {
            let mut task = TaskSpec::new(TaskName::plain(name).unwrap(), Script::Shell("true".into()));
            let input = |(name, default): &(&str, Option<&str>)| Input {
                name: (*name).into(),
                default: default.map(str::to_owned),
                description: String::new(),
                given: None,
            };
            task.placement.inputs = inputs.iter().map(input).collect();
            task.recipe_mut().env = vec![("a".into(), "of env".into()), ("z".into(), "1".into())];
            task
        };
        let plan = Plan::of(vec![task("one", &[("a", None), ("b", Some("2"))]), task("two", &[("b", Some("3"))])]);
        let set = |values: &[(&str, &str)], change: &dyn Fn(&mut Plan)| {
            let mut plan = plan.clone();
            change(&mut plan);
            let values = values.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
            plan.set_inputs(&values).map(|()| {
                let env = |task: &PlannedTask| {
                    let env = task.spec.recipe.env.iter().map(|(name, value)| format!("{name}={value}"));
                    env.collect::<Vec<_>>().join(" ")
                };
                plan.tasks.iter().map(env).collect::<Vec<_>>()
            })
        };
        let one = || TaskName::plain("one").unwrap();
        let missing = Err(WrongInputs::Missing { task: one(), names: vec!["a".into()] });
        assert_eq!(set(&[], &|_| {}), missing);
        assert_eq!(set(&[("a", "x")], &|_| {}).unwrap(), ["z=1 a=x b=2", "a=of env z=1 b=3"]);
        assert_eq!(set(&[("a", "x"), ("b", "")], &|_| {}).unwrap(), ["z=1 a=x b=", "a=of env z=1 b="]);
        let unknown = |known: &[&str]| {
            let known = known.iter().map(|name| (*name).to_owned()).collect();
            Err(WrongInputs::Unknown { name: "c".into(), known })
        };
        assert_eq!(set(&[("c", "x")], &|_| {}), unknown(&["a", "b"]));
        let leave_out = |plan: &mut Plan| plan.tasks[0].left_out = Some(LeftOutReason::NotAsked);
        assert_eq!(set(&[("c", "x")], &leave_out), unknown(&["b"]));
        assert_eq!(set(&[], &leave_out).unwrap()[1], "a=of env z=1 b=3", "nobody needs a value for a task left out");
        assert_eq!(set(&[], &|plan| plan.tasks[0].held = true).unwrap()[0], "a=of env z=1 b=2", "a start may give it");
    }

    #[test]
    fn a_build_with_a_task_that_writes_others_keeps_all_values_for_those() {
        let mut writer = TaskSpec::new(TaskName::plain("plan").unwrap(), Script::Shell("true".into()));
        writer.recipe_mut().expand = true;
        let values: BTreeMap<String, String> = [("version".to_owned(), "1".to_owned())].into();
        let mut plan = Plan::of(vec![writer]);
        assert_eq!(plan.set_inputs(&values), Ok(()));
        assert_eq!(plan.settings.for_written.as_ref().unwrap().inputs, values);
        plan = Plan { settings: BuildSettings::default(), ..plan };
        plan.tasks[0].left_out = Some(LeftOutReason::NotAsked);
        assert_eq!(plan.set_inputs(&values), Err(WrongInputs::Unknown { name: "version".into(), known: vec![] }));
        assert_eq!(plan.settings, BuildSettings::default(), "it writes nothing");
    }
}
