//! Repositories as people name them: by any directory in them, as for git. The current directory is that of the
//! repository that git would use there, `GIT_DIR` included; any other path stands for itself.

use std::io::ErrorKind;
use std::path::{Component, Path, PathBuf};

use super::CliError;
use super::reconnect::note;
use crate::config::TASK_FILE;
use crate::git::RepositoryPlace;

/// Finds the repository of a directory that was typed. The default, `.`, is the current directory.
pub(crate) fn place_of(typed: &Path) -> Option<RepositoryPlace> {
    let is_here = typed.components().all(|component| component == Component::CurDir);
    if is_here { RepositoryPlace::here() } else { RepositoryPlace::of(typed) }
}

/// Returns the directory that was typed, absolute and without symbolic links.
pub(crate) fn real_directory(typed: &Path) -> Result<PathBuf, CliError> {
    match typed.canonicalize() {
        Ok(real) => Ok(real),
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
            Err(CliError::Usage(format!("there is no directory {}", typed.display())))
        }
        Err(error) => Err(CliError::machine(format!("open {}", typed.display()))(error)),
    }
}

/// Returns the root of the work tree that a directory is in, and says so as `what` does of the root if that is another
/// directory. A directory outside of any repository is its own root. The path stays as typed if it is the root, so that
/// errors name files as the person would.
pub(crate) fn tree_root(typed: &Path, what: &str) -> Result<PathBuf, CliError> {
    let Some(place) = place_of(typed) else { return Ok(typed.to_owned()) };
    let root = place.root();
    if !place.has_tree() {
        return Err(CliError::Usage(format!(
            "{} is in the git directory {}, which has no work tree: name a directory of a work tree",
            typed.display(),
            root.display()
        )));
    }
    if typed.canonicalize().is_ok_and(|directory| directory == root) {
        return Ok(typed.to_owned());
    }
    note(&format!("{what} at the root of the repository, {}", root.display()));
    let own = typed.join(TASK_FILE);
    if own.is_file() {
        log::warn!("{} is not read: a commit's tasks are those of the {TASK_FILE} at its root", own.display());
    }
    Ok(root.to_owned())
}

/// Returns the repository that a directory is in. A directory outside of any repository is an error.
pub(crate) fn known_place(typed: &Path) -> Result<RepositoryPlace, CliError> {
    place_of(typed).ok_or_else(|| {
        let shown = typed.canonicalize().unwrap_or_else(|_| typed.to_owned());
        let text =
            format!("{} is no git repository, and in none: name one, or make one with `git init`", shown.display());
        CliError::Usage(text)
    })
}

/// Returns the path of the repository that a directory is in, to open it, and says so as `what` does of the repository
/// if that is another directory. `None` if the path is the repository itself.
pub(crate) fn holder(typed: &Path, what: &str, tell: impl FnOnce(&str)) -> Result<Option<PathBuf>, CliError> {
    let shown = typed.canonicalize().unwrap_or_else(|_| typed.to_owned());
    let place = known_place(typed)?;
    if shown == place.location() {
        return Ok(None);
    }
    tell(&format!("{} is in the repository {}, {what}", shown.display(), place.root().display()));
    Ok(Some(place.location().to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::ExitCode;

    #[test]
    fn a_directory_that_is_not_there_is_a_mistake_of_the_command_line() {
        let place = tempfile::tempdir().unwrap();
        assert!(real_directory(place.path()).is_ok());
        let error = real_directory(&place.path().join("nosuch")).unwrap_err();
        assert_eq!(error.exit_code(), ExitCode::Usage);
        assert!(error.to_string().starts_with("there is no directory /"), "{error}");
    }
}
