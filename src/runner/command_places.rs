//! The places of an attempt's commands beside its work tree.

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};

use super::assignment::Assignment;
use super::blobs::HomeDirectory;
use super::guard::{AttemptGuard, Scratch, Sources};
use super::output_file::OutputFile;
use super::slot_common::Common;
use super::step_env::StepEnv;
use super::temporary::Temporary;
use super::written_tasks::WrittenTasks;
use crate::model::Tier;
use crate::process::View;

/// The places of a command of an attempt.
pub(super) struct CommandPlaces<'a> {
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
    /// The ports of its services, as variables.
    pub(super) ports: &'a [(OsString, OsString)],
}

/// The directories of an attempt beside its work tree.
pub(super) struct Directories {
    pub(super) temporary: PathBuf,
    /// The files by which the task tells something get this path with extensions.
    pub(super) beside: PathBuf,
    /// `None` if the attempt is not guarded. That of a task with an image is for its services alone.
    pub(super) view: Option<View>,
    /// The directories that it sees below its home directory, for its caches.
    pub(super) homes: Vec<HomeDirectory>,
}

/// Makes the directories of an attempt. It is guarded if this runner can, unless its task asks for less, or for an
/// image: then its services are that are programs of this machine.
pub(super) fn make_directories(
    common: &Common,
    (temporary, scratch): (&mut Temporary, &mut Scratch),
    tree: &Path,
    assignment: &Assignment,
) -> io::Result<Directories> {
    let recipe = &assignment.recipe;
    let is_program = recipe.image.is_none() || recipe.services.iter().any(|service| service.image.is_none());
    let is_meant = |guard: &&AttemptGuard| is_program && guard.tier(recipe) != Tier::Shared;
    let Some(guard) = common.guard.as_ref().filter(is_meant) else {
        let temporary = temporary.make()?;
        return Ok(Directories { beside: temporary.clone(), temporary, view: None, homes: Vec::new() });
    };
    let (mut places, mut homes) = (scratch.make()?, scratch.make_homes(recipe));
    if recipe.image.is_some() {
        // The container has it at its own path, where that of a guarded attempt may be its `/tmp`.
        places.temporary = temporary.make()?;
        homes.clear();
    }
    let (repo, layout) = (&assignment.repo, &common.layout);
    let sources = Sources { objects: layout.objects(repo), own_home: layout.home(repo), homes: &mut homes };
    let view = guard.view(tree, &places, recipe, sources)?;
    Ok(Directories { beside: places.told.join("attempt"), temporary: places.temporary, view: Some(view), homes })
}
