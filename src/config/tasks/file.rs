//! A task file while its tables are read.

use std::collections::{HashMap, HashSet};

use super::PlanContext;
use super::draft::{CellsOf, PlacedSchedule, PlacedTask};
use super::findings::Findings;
use super::layers::Layer;
use super::services::Services;
use super::templates::Templates;
use crate::model::BuildSettings;

/// A task file while its tables are read.
#[derive(Debug)]
pub(super) struct FileDraft<'t, 'i> {
    /// For keys whose meaning depends on the occasion.
    pub(super) context: PlanContext<'t>,
    pub(super) defaults: Layer<'t, 'i>,
    pub(super) templates: Templates<'t, 'i>,
    pub(super) services: Services<'t, 'i>,
    /// The values of `[build]`.
    pub(super) settings: BuildSettings,
    pub(super) tasks: Vec<PlacedTask>,
    /// The matrices by the names of their tasks.
    pub(super) matrices: HashMap<&'t str, CellsOf>,
    pub(super) schedules: Vec<PlacedSchedule<'t>>,
    /// Names that are in the file and give no task, because of another mistake. Needs of them are no mistake.
    pub(super) broken: HashSet<&'t str>,
    /// The number of tasks that the file names, those with mistakes included.
    pub(super) count: usize,
    /// The size of all tasks together.
    pub(super) bytes: usize,
    pub(super) found: Findings,
}

impl<'t, 'i> FileDraft<'t, 'i> {
    pub(super) fn new(context: PlanContext<'t>) -> Self {
        Self {
            context,
            defaults: Layer::default(),
            templates: Templates::default(),
            services: Services::default(),
            settings: BuildSettings::default(),
            tasks: Vec::new(),
            matrices: HashMap::new(),
            schedules: Vec::new(),
            broken: HashSet::new(),
            count: 0,
            bytes: 0,
            found: Findings::default(),
        }
    }
}
