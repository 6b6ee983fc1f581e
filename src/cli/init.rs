//! `surveil init`: writes a first task file for what it finds in a directory.

use std::fs::{self, File};
use std::io::{ErrorKind, Read, Write};
use std::path::{Path, PathBuf};

use clap::Args;

use super::typed_place::{real_directory, tree_root};
use super::{CliError, ExitCode, Output};
use crate::config::{MAKEFILES, TASK_DIRECTORY, TASK_FILE, check_directory, no_tasks_text, starter};

/// Bytes of a makefile that are looked at for its targets.
const MAKEFILE_BYTES: u64 = 1 << 20;

const EXAMPLES: &str = "\
The file has a task for each kind of project whose files are at the top of the directory: Cargo.toml, package.json, \
go.mod, pyproject.toml, pom.xml, gradlew, CMakeLists.txt, Makefile and others. It is a beginning: look at it before \
you commit it. A file that is there already is never overwritten.

Examples:
  surveil init
  surveil init ../app";

/// Write a first .surveil.toml for what is in a directory
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct InitFlags {
    /// The root of the repository, or a directory in it
    #[arg(value_name = "DIR", default_value = ".")]
    directory: PathBuf,
}

/// Writes the file, and says what it is for.
pub(crate) fn run(flags: &InitFlags, out: &mut Output) -> Result<ExitCode, CliError> {
    real_directory(&flags.directory)?;
    let directory = &tree_root(&flags.directory, "a task file is read")?;
    let file = if directory == Path::new(".") { TASK_FILE.into() } else { directory.join(TASK_FILE) };
    let taken =
        || CliError::Usage(format!("{} is there already: `surveil check` tells whether it is right", file.display()));
    if file.symlink_metadata().is_ok() {
        return Err(taken());
    }
    let names = names_in(directory)?;
    let Some(made) = starter(&names, &makefile(directory, &names)) else {
        // A directory whose executable files are its tasks needs no file, and one would replace them.
        return Err(CliError::Usage(match check_directory(directory) {
            Ok(checked) if names.iter().any(|name| name == TASK_DIRECTORY) => format!(
                "{} has no file that is known here, and needs no {TASK_FILE}: its {} executable files in \
                 {TASK_DIRECTORY}/ are its tasks",
                directory.display(),
                checked.tasks.len()
            ),
            _ => format!("{} has no file that is known here; {}", directory.display(), no_tasks_text()),
        }));
    };
    let doing = || format!("write {}", file.display());
    match File::create_new(&file) {
        Ok(mut new) => new.write_all(made.text.as_bytes()).map_err(CliError::machine(doing()))?,
        Err(error) if error.kind() == ErrorKind::AlreadyExists => return Err(taken()),
        Err(error) => return Err(CliError::machine(doing())(error)),
    }
    out.line(format_args!("{} is written for {}", file.display(), made.found.join(", ")))?;
    let checked = check_directory(&file)?;
    let names: Vec<&str> = checked.tasks.iter().map(|task| &*task.name).collect();
    out.line(format_args!("its tasks: {}; try them with `surveil run`, then commit the file", names.join(", ")))?;
    if directory.join(TASK_DIRECTORY).is_dir() {
        log::warn!(
            "with {TASK_FILE} in a commit, executable files in {TASK_DIRECTORY}/ are no tasks of their own any more"
        );
    }
    Ok(ExitCode::Ok)
}

/// Returns the names of the files at the top of a directory, and of its subdirectories.
fn names_in(directory: &Path) -> Result<Vec<String>, CliError> {
    let doing = || format!("read the directory {}", directory.display());
    let entries = fs::read_dir(directory).map_err(CliError::machine(doing()))?;
    let names = entries.map(|entry| entry.map(|entry| entry.file_name().to_string_lossy().into_owned()));
    names.collect::<Result<_, _>>().map_err(CliError::machine(doing()))
}

/// Returns the text of the makefile, as far as it can be read.
fn makefile(directory: &Path, names: &[String]) -> String {
    let mut text = Vec::new();
    if let Some(name) = MAKEFILES.iter().find(|name| names.iter().any(|other| other == *name))
        && let Ok(file) = File::open(directory.join(name))
    {
        // Without its text, the makefile's first target is taken.
        drop(file.take(MAKEFILE_BYTES).read_to_end(&mut text));
    }
    String::from_utf8_lossy(&text).into_owned()
}
