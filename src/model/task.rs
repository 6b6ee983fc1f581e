//! A task: one table of the commit's own configuration, checked. It has no state.

use std::collections::BTreeMap;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::recipe::{self, Recipe, Script};
use super::{EndingKind, Group, Label, Line, RepoName, RetryRule, Take, TaskName, When};

/// One task as the commit defines it: names are unique, `needs` name tasks of the same commit without a cycle.
///
/// Its serialised form is that of its parts side by side. It is stored, so a key is only ever added, with a default.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskSpec {
    pub name: TaskName,
    /// Shared with each message that sends it to a runner.
    #[serde(flatten, with = "recipe::shared")]
    pub recipe: Arc<Recipe>,
    #[serde(flatten)]
    pub placement: Placement,
}

/// The name and the script tell tasks apart nearly always. To hash everything would cost several times as much.
impl Hash for TaskSpec {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.name.hash(state);
        self.recipe.script.hash(state);
    }
}

/// Everything that the dispatcher needs to decide when, where and how often a task runs. No runner is told of it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Placement {
    /// Tasks of the same commit that must have ended before this one starts, and in which way.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub needs: Vec<Need>,
    /// The number of retries after failed attempts. A lost attempt is not counted here.
    #[serde(default)]
    pub retries: u32,
    #[serde(default, skip_serializing_if = "RetryRule::is_default")]
    pub retry: RetryRule,
    /// Whether the task waits until a person starts it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub manual: bool,
    /// Whether a failure of this task fails neither the build nor the tasks that need it.
    #[serde(default)]
    pub allow_failure: bool,
    /// Facts that a runner must offer, each `key=value` or a bare word. Sorted, without duplicates.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub labels: Vec<Label>,
    /// The builds in which the task runs; `None` for all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub when: Option<Box<When>>,
    /// The values that a person may give when asking for a build, in the order of the task file.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub inputs: Vec<Input>,
    /// Orders the queued jobs of a repository, from -100 to 100: the higher one comes first. Waiting raises it.
    #[serde(default, skip_serializing_if = "is_usual_priority")]
    pub priority: i32,
    /// The number of a runner's slots that an attempt takes.
    #[serde(default, skip_serializing_if = "SlotCount::is_one")]
    pub slots: SlotCount,
    /// The group whose jobs take turns with this one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<Group>,
}

/// A value that a person may give to a task, which has it in a variable of this name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Input {
    pub name: String,
    /// The value if nobody gives one. Without it, whoever asks for the task must give one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default: Option<String>,
    /// A description for people.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub description: String,
    /// The value that a person gave. A later one takes its place.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub given: Option<String>,
}

/// A number of a runner's slots that an attempt takes, at least one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SlotCount(pub u32);

impl SlotCount {
    /// The most that a task may ask for, and that a runner may have.
    pub const MAX: u32 = 256;

    fn is_one(&self) -> bool {
        *self == Self::default()
    }
}

impl Default for SlotCount {
    fn default() -> Self {
        Self(1)
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes fields by reference")]
fn is_usual_priority(priority: &i32) -> bool {
    *priority == 0
}

/// Another task of the same commit that has to end before this one starts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "NeedForm")]
pub struct Need {
    pub task: TaskName,
    pub condition: Condition,
    /// The artifacts of that task that are in the work tree when this one starts.
    #[serde(default, skip_serializing_if = "Take::is_nothing")]
    pub take: Take,
}

/// How the tasks that a task needs have to end. All needs of a task have the same condition; [`super::Readiness`] has
/// what follows from it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Condition {
    /// Passed, was left out, or failed and is allowed to fail.
    #[default]
    Passed,
    /// At least one of them ended otherwise than `Passed` wants.
    Failed,
    /// Ended in any way.
    Finished,
}

impl Condition {
    /// Whether a needed task ended in this way.
    #[must_use]
    pub fn is_met(self, ending: EndingKind, needed: &TaskSpec) -> bool {
        match self {
            Self::Finished => true,
            Self::Failed => !Self::Passed.is_met(ending, needed),
            Self::Passed => match ending {
                EndingKind::Passed | EndingKind::LeftOut => true,
                EndingKind::Failed | EndingKind::Errored => needed.placement.allow_failure,
                EndingKind::Cancelled | EndingKind::Skipped => false,
            },
        }
    }
}

impl Need {
    /// Needs that a task has passed.
    #[must_use]
    pub fn passed(task: TaskName) -> Self {
        Self { task, condition: Condition::Passed, take: Take::Nothing }
    }
}

/// The form in which a need is read. Stores that were written before needs had a condition hold the name alone.
#[derive(Deserialize)]
#[serde(untagged)]
enum NeedForm {
    Name(TaskName),
    Full {
        task: TaskName,
        #[serde(default)]
        condition: Condition,
        #[serde(default)]
        take: Take,
    },
}

impl From<NeedForm> for Need {
    fn from(form: NeedForm) -> Self {
        match form {
            NeedForm::Name(task) => Self::passed(task),
            NeedForm::Full { task, condition, take } => Self { task, condition, take },
        }
    }
}

impl TaskSpec {
    /// A task with defaults for everything but its name and its script.
    #[must_use]
    pub fn new(name: TaskName, script: Script) -> Self {
        Self { name, recipe: Arc::new(Recipe::new(script)), placement: Placement::default() }
    }

    /// A number that tells this task from nearly every other one of its name, for people: the same program gives equal
    /// tasks the same number.
    #[must_use]
    pub fn definition(&self) -> u32 {
        let text = serde_json::to_string(self).expect("a struct of texts and numbers is always JSON");
        crc32fast::hash(text.as_bytes())
    }

    /// Puts the task into a group. Its runner ends each attempt in time, as it does for an exclusive task: nobody else
    /// may take the place of an attempt that may still be executed (S35).
    pub fn set_group(&mut self, mut group: Group) {
        group.exclusive = self.is_exclusive();
        self.recipe_mut().exclusive = true;
        self.placement.group = Some(group);
    }

    /// Whether two jobs of this task may never be executed at the same time.
    #[must_use]
    pub fn is_exclusive(&self) -> bool {
        self.placement.group.as_ref().map_or(self.recipe.exclusive, |group| group.exclusive)
    }

    /// Whether the task finds artifacts of the tasks that it needs in its work tree.
    #[must_use]
    pub fn takes_artifacts(&self) -> bool {
        self.placement.needs.iter().any(|need| !need.take.is_nothing())
    }

    /// Returns the lines in which the jobs of this task take turns, in a repository.
    pub fn lines(&self, repo: &RepoName) -> impl Iterator<Item = Line> {
        let group = self.placement.group.as_ref().map(|group| Line::Group(repo.clone(), group.name.clone()));
        let own = self.is_exclusive().then(|| Line::Task(repo.clone(), self.name.clone()));
        own.into_iter().chain(group)
    }

    /// Returns how many jobs of a line may be executed while one of this task is.
    #[must_use]
    pub fn limit_in(&self, line: &Line) -> u32 {
        match (line, &self.placement.group) {
            (Line::Group(..), Some(group)) => group.limit,
            (Line::Group(..) | Line::Task(..), _) => 1,
        }
    }

    /// Sets the task's inputs to these values. Those that are not among them keep the values that were given before, or
    /// get their defaults. An input without any is not set. Returns the names of those.
    pub fn set_inputs(&mut self, values: &BTreeMap<String, String>) -> Vec<String> {
        let Self { recipe, placement, .. } = self;
        let mut missing = Vec::new();
        for Input { name, default, given, .. } in &mut placement.inputs {
            if let Some(value) = values.get(name) {
                *given = Some(value.clone());
            }
            let Some(value) = given.as_ref().or(default.as_ref()) else {
                missing.push(name.clone());
                continue;
            };
            let env = &mut Arc::make_mut(recipe).env;
            env.retain(|(variable, _)| variable != name);
            env.push((name.clone(), value.clone()));
        }
        missing
    }

    /// Returns the values of the task's inputs that a person gave, by name.
    pub fn given_inputs(&self) -> impl Iterator<Item = (&str, &str)> {
        self.placement.inputs.iter().filter_map(|input| Some((&*input.name, input.given.as_deref()?)))
    }

    /// The recipe, to be changed while the task is made.
    pub fn recipe_mut(&mut self) -> &mut Recipe {
        Arc::make_mut(&mut self.recipe)
    }
}
