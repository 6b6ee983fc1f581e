//! A recipe: the part of a task that a runner needs to execute it.
//!
//! The recipe and the rest of a task ([`super::TaskSpec`]) are the only model types with a serialised form. The same
//! JSON goes to runners (`task` of a `runtask`, `docs/protocol.md`) and into the store, so that a key of a recipe is
//! written once. Stored rows and runners of version 1 outlive this program, so a key is only ever added, with a
//! default; no key is renamed or changes its meaning. See `docs/decisions/0022-one-form-of-a-task.md`.

use serde::{Deserialize, Serialize};

use super::service::variable_of_service;
use super::{ArtifactRule, CacheRule, Depth, FactsId, Pull, SourceNeeds, Submodules, Tier};

/// The commands of a task.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", try_from = "ScriptForm")]
pub enum Script {
    /// A text for the platform's shell, executed as `sh -c TEXT`.
    Shell(String),
    /// A program and its arguments, started without a shell. Never empty.
    Program(Vec<String>),
}

/// The beginning of every script of a task file. It stands in the text, and is no option of the shell, so that runners
/// of every age and make execute the same, and a recipe that was stored before keeps its meaning. It stands on the
/// first line of the script, so that the shell's errors count lines as the author does.
pub const STOP_AT_FAILURE: &str = "set -e; ";

impl Script {
    /// A script that ends at the first command that fails, as `sh -e` does: the `run` of a task file.
    #[must_use]
    pub fn stopping_at_failure(text: &str) -> Self {
        Self::Shell(format!("{STOP_AT_FAILURE}{text}"))
    }

    /// The script beside [`Recipe::steps`]: no program has this name, so a runner that knows no steps fails to start
    /// it, and does nothing else.
    #[must_use]
    pub fn of_steps() -> Self {
        Self::Program(vec!["(none: this task has steps, and its runner is too old for them)".to_owned()])
    }
}

/// One of the commands of a task that has several. They are executed one after the other, in one attempt.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    /// Unique within the task.
    pub name: String,
    #[serde(flatten)]
    pub script: Script,
    /// Like [`Recipe::dir`], in place of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dir: Option<String>,
    /// Variables that are added to the environment of this step alone.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub env: Vec<(String, String)>,
    /// The step is ended if it takes longer; the timeout of the task holds over all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout_ms: Option<u64>,
    /// Whether it is executed even after a step that did not pass.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub always: bool,
}

impl Step {
    /// A step with defaults for everything but its name and its script.
    #[must_use]
    pub fn new(name: String, script: Script) -> Self {
        Self { name, script, dir: None, env: Vec::new(), timeout_ms: None, always: false }
    }
}

/// Everything that a runner needs to execute a task, except for the task's name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Recipe {
    #[serde(flatten)]
    pub script: Script,
    /// Variables that are added to the attempt's environment, in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub env: Vec<(String, String)>,
    /// An attempt that runs longer is ended as timed out.
    pub timeout_ms: u64,
    /// Paths below the work tree that survive from one attempt to the next.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub keep: Vec<String>,
    /// Whether no two attempts may run at the same time, not even one on a runner that is cut off: for deployments.
    /// The runner has to know, because it ends such an attempt by itself when the lease may have expired.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub exclusive: bool,
    /// An attempt that prints nothing for this long is ended as timed out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quiet_timeout_ms: Option<u64>,
    /// The directory in which the task starts, below the root of the work tree. A plain path without `.` and `..`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dir: Option<String>,
    /// The commands of a task that has several; empty for a task with one script.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub steps: Vec<Step>,
    /// Whether the task may write a file with further tasks, to the path in `SURVEIL_TASKS`.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub expand: bool,
    /// The least tier in which the task may be executed; `None` for what its runner does by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub isolation: Option<Tier>,
    /// The container image in which the task is executed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,
    /// When the runner fetches the image.
    #[serde(default, skip_serializing_if = "Pull::is_default")]
    pub pull: Pull,
    /// Whether the task reaches the network.
    #[serde(default = "yes", skip_serializing_if = "is_yes")]
    pub network: bool,
    /// The most memory that all processes of an attempt have together.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_bytes: Option<u64>,
    /// The most processes and threads that an attempt has at a time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub processes: Option<u32>,
    /// The processor time of an attempt, in thousandths of a processor.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub millicpus: Option<u32>,
    /// The files that the task leaves.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub artifacts: Vec<ArtifactRule>,
    /// Whether the attempt has a cache for its build tools.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub tool_cache: bool,
    /// The caches that are restored and saved. A runner that does not know them executes the task without.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub caches: Vec<CacheRule>,
    /// The secrets that the attempt gets when it starts.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub secrets: Vec<WantedSecret>,
    /// The services that are started before the task and end with it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub services: Vec<Service>,
    /// How much history the repository in the tree has.
    #[serde(default = "alone", skip_serializing_if = "Depth::is_alone")]
    pub history: Depth,
    /// Whether the repository in the tree has the tags of this history.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub tags: bool,
    /// Which submodules the tree has.
    #[serde(default, skip_serializing_if = "Submodules::is_no")]
    pub submodules: Submodules,
    /// Whether the tree has the contents of files in Git LFS in place of their pointers.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub lfs: bool,
    /// The facts of the commit's source. The dispatcher sets them when it plans a build. `None` if the tree is that of
    /// the commit alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub facts: Option<FactsId>,
}

/// A program that is started before a task, in the same attempt, and ends with it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Service {
    /// Unique within the task.
    pub name: String,
    /// `None` for the image's own command.
    #[serde(flatten)]
    pub script: Option<Script>,
    /// The image in which it is executed. `None` for a program of the runner's machine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<ServiceImage>,
    /// The command that exits with 0 once the service is ready. Without one, the service is ready when something takes
    /// connections on its port. It is executed where the service is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ready: Option<Script>,
    /// Variables that are added to the environment of the service and of `ready`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub env: Vec<(String, String)>,
    /// The time within which it must be ready.
    pub timeout_ms: u64,
}

/// The image of a service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceImage {
    /// As a container tool takes it.
    pub name: String,
    #[serde(default, skip_serializing_if = "Pull::is_default")]
    pub pull: Pull,
    /// The port on which the service listens in its container, which has a network of its own then. `None` if the
    /// service listens on the port that it is given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
}

impl Service {
    /// The time within which a service must be ready that names none.
    pub const DEFAULT_TIMEOUT_MS: u64 = 60 * 1000;

    /// A service with defaults for everything but its name.
    #[must_use]
    pub fn named(name: String) -> Self {
        Self { name, script: None, image: None, ready: None, env: Vec::new(), timeout_ms: Self::DEFAULT_TIMEOUT_MS }
    }

    /// A program of the runner's machine, with defaults for everything but its name and its script.
    #[must_use]
    pub fn new(name: String, script: Script) -> Self {
        Self { script: Some(script), ..Self::named(name) }
    }

    /// The name, and that of the image if it is one.
    #[must_use]
    pub fn name_and_image(&self) -> (&str, Option<&str>) {
        (&self.name, self.image.as_ref().map(|image| &*image.name))
    }

    /// The variable in which all commands of the attempt have the port of this service.
    #[must_use]
    pub fn variable(&self) -> String {
        variable_of_service(&self.name)
    }
}

/// A secret that a task asks for.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct WantedSecret {
    /// The secret's name, and that of the variable.
    pub name: String,
    /// Whether the variable holds the path of a file with the value, in place of the value.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub file: bool,
}

fn alone() -> Depth {
    Depth::ALONE
}

fn yes() -> bool {
    true
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes fields by reference")]
fn is_yes(flag: &bool) -> bool {
    *flag
}

impl Recipe {
    /// Timeout of a task that names none: one hour.
    pub const DEFAULT_TIMEOUT_MS: u64 = 60 * 60 * 1000;

    /// A recipe with defaults for everything but the script.
    #[must_use]
    pub fn new(script: Script) -> Self {
        let (env, keep) = (Vec::new(), Vec::new());
        Self {
            script,
            env,
            timeout_ms: Self::DEFAULT_TIMEOUT_MS,
            keep,
            exclusive: false,
            quiet_timeout_ms: None,
            dir: None,
            steps: Vec::new(),
            expand: false,
            isolation: None,
            image: None,
            pull: Pull::default(),
            network: true,
            memory_bytes: None,
            processes: None,
            millicpus: None,
            artifacts: Vec::new(),
            tool_cache: false,
            caches: Vec::new(),
            secrets: Vec::new(),
            services: Vec::new(),
            history: Depth::ALONE,
            tags: false,
            submodules: Submodules::No,
            lfs: false,
            facts: None,
        }
    }

    /// Returns what the task wants of the commit's source beside its tree.
    #[must_use]
    pub fn source_needs(&self) -> SourceNeeds {
        SourceNeeds { history: self.history, tags: self.tags, submodules: self.submodules, lfs: self.lfs }
    }

    /// Returns the first service that the task could not reach, because it has no network: its container, or that of
    /// the service, has a loopback of its own.
    #[must_use]
    pub fn unreachable_service(&self) -> Option<&Service> {
        let is_apart = |service: &&Service| self.image.is_some() || service.image.is_some();
        self.services.iter().filter(|_| !self.network).find(is_apart)
    }

    /// Whether the task limits what its attempts use.
    #[must_use]
    pub fn has_limits(&self) -> bool {
        self.memory_bytes.is_some() || self.processes.is_some() || self.millicpus.is_some()
    }
}

/// The form in which a script is read. Its keys stand beside the other keys of the recipe.
#[derive(Deserialize)]
struct ScriptForm {
    shell: Option<String>,
    program: Option<Vec<String>>,
    /// Stores that were written before recipes had the form of the wire hold `"script":{"shell":"…"}`.
    script: Option<Script>,
}

impl TryFrom<ScriptForm> for Script {
    type Error = &'static str;

    fn try_from(form: ScriptForm) -> Result<Self, Self::Error> {
        match (form.shell, form.program, form.script) {
            (Some(text), None, None) => Ok(Self::Shell(text)),
            (None, Some(words), None) if words.is_empty() => Err("the task names an empty program"),
            (None, Some(words), None) => Ok(Self::Program(words)),
            (None, None, Some(script)) => Ok(script),
            _ => Err("a task must have either a shell text or a program"),
        }
    }
}

/// Serialises a shared recipe like the recipe itself: for `#[serde(flatten, with = "…")]`.
pub mod shared {
    use std::sync::Arc;

    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    use super::Recipe;

    pub fn serialize<S: Serializer>(recipe: &Arc<Recipe>, serializer: S) -> Result<S::Ok, S::Error> {
        (**recipe).serialize(serializer)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Arc<Recipe>, D::Error> {
        Recipe::deserialize(deserializer).map(Arc::new)
    }
}
