//! The places of an attempt's commands: its work tree, and what lies beside it.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use super::output_file::OutputFile;
use super::step_env::StepEnv;
use super::written_tasks::WrittenTasks;
use crate::process::View;

/// The places of a command of an attempt.
pub(super) struct CommandPlaces<'a> {
    pub(super) tree: &'a Path,
    pub(super) directories: &'a Directories,
    /// `SURVEIL_ENV`, if the task has steps.
    pub(super) file: Option<&'a StepEnv>,
    /// `SURVEIL_OUTPUT`.
    pub(super) outputs: &'a OutputFile,
    /// `SURVEIL_TASKS`, if the task may write further ones.
    pub(super) written: Option<&'a WrittenTasks>,
    /// The variables of the attempt's tool cache.
    pub(super) tool_cache: &'a [(OsString, OsString)],
    /// The secrets of the attempt, as variables.
    pub(super) secrets: &'a [(OsString, OsString)],
}

/// The directories of an attempt beside its work tree.
pub(super) struct Directories {
    pub(super) temporary: PathBuf,
    /// The files by which the task tells something get this path with extensions.
    pub(super) beside: PathBuf,
    /// `None` if the attempt is not guarded.
    pub(super) view: Option<View>,
}
