//! A task while its keys are read, and afterwards with the places that later checks point at.

use std::collections::HashSet;
use std::ops::Range;
use std::sync::Arc;

use super::PlanContext;
use super::findings::Findings;
use super::shell::Shell;
use super::value::Placed;
use crate::model::{Condition, Need, Placement, Recipe, ScheduleRule, Script, TaskSpec};

/// The value of `run`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Run {
    /// A script.
    Text(String),
    /// A program with its arguments.
    List(Vec<String>),
}

/// A step whose keys were read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct StepDraft {
    /// There once all steps are read.
    pub(super) name: Option<Placed<String>>,
    pub(super) run: Placed<Run>,
    pub(super) shell: Option<Placed<Shell>>,
    pub(super) dir: Option<String>,
    pub(super) env: Vec<(String, String)>,
    pub(super) timeout_ms: Option<u64>,
    pub(super) always: bool,
}

impl StepDraft {
    pub(super) fn new(run: Placed<Run>) -> Self {
        Self { name: None, run, shell: None, dir: None, env: Vec::new(), timeout_ms: None, always: false }
    }
}

/// A task whose keys are being read.
#[derive(Debug, Clone)]
pub(crate) struct Draft<'a> {
    /// For keys whose meaning depends on the occasion.
    pub(super) context: PlanContext<'a>,
    /// With a placeholder for the script until all keys are read.
    pub(super) recipe: Recipe,
    pub(super) run: Option<Placed<Run>>,
    /// In place of `run`.
    pub(super) steps: Option<Vec<StepDraft>>,
    pub(super) shell: Option<Placed<Shell>>,
    /// The scripts of the task that are written for a shell such as `/bin/sh`, for the warnings about them.
    pub(super) texts: Vec<String>,
    /// Without `needs`.
    pub(super) placement: Placement,
    /// The value of `group_limit`.
    pub(super) group_limit: Option<u32>,
    /// Texts with their places: only `graph` knows whether they name tasks.
    pub(super) needs: Vec<Placed<Arc<str>>>,
    /// The value of `take`, likewise.
    pub(super) take: Option<Vec<Placed<Arc<str>>>>,
    /// The names in `services`. They are looked up when all keys are read.
    pub(super) services: Vec<Placed<Arc<str>>>,
    /// How the needed tasks have to end.
    pub(super) run_if: Condition,
    /// The findings of readers that go on after one: in each item of a list, and all warnings.
    pub(super) found: Findings,
}

impl<'a> Draft<'a> {
    pub(super) fn new(context: PlanContext<'a>) -> Self {
        Self {
            context,
            recipe: Recipe::new(Script::Shell(String::new())),
            run: None,
            steps: None,
            shell: None,
            texts: Vec::new(),
            placement: Placement::default(),
            group_limit: None,
            needs: Vec::new(),
            take: None,
            services: Vec::new(),
            run_if: Condition::Passed,
            found: Findings::default(),
        }
    }
}

/// A task, with the places of its name and of its needs.
#[derive(Debug)]
pub(super) struct PlacedTask {
    pub(super) spec: TaskSpec,
    pub(super) name_place: Range<usize>,
    pub(super) needs: Vec<Placed<Arc<str>>>,
    /// [`Draft::take`].
    pub(super) take: Option<Vec<Placed<Arc<str>>>>,
    /// The tasks that these are: a need of a matrix is one of each of its cells. `graph` finds them.
    pub(super) needed: Vec<Need>,
    /// How they have to end.
    pub(super) run_if: Condition,
    /// [`Draft::texts`].
    pub(super) texts: Vec<String>,
}

/// The cells of a task's matrix.
#[derive(Debug)]
pub(super) struct CellsOf {
    /// Their places among the tasks of the file.
    pub(super) tasks: Range<usize>,
    /// Names of combinations that `matrix_exclude` leaves out.
    pub(super) excluded: HashSet<String>,
}

/// A schedule of a file.
#[derive(Debug)]
pub(super) struct PlacedSchedule<'t> {
    pub(super) name: &'t str,
    pub(super) rule: ScheduleRule,
    pub(super) branch: Option<&'t str>,
    /// `None` for all tasks.
    pub(super) tasks: Option<Vec<Placed<&'t str>>>,
}
