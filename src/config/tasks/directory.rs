//! Tasks from executable files, for a commit without a task file; and the tasks of a work tree on this disk.

use std::fs::{self, File};
use std::io::{self, ErrorKind, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use super::limits::{MAX_TASK_FILE_BYTES, MAX_TASKS, NAME_RULE, TASK_DIRECTORY, TASK_FILE};
use super::mistake::{TaskFileError, quote};
use super::{CheckedTasks, check_tasks, interpreters, no_tasks_text};
use crate::config::ConfigError;
use crate::model::{BuildSettings, Script, TaskName, TaskSpec, visible};

/// Makes a task of each executable file in [`TASK_DIRECTORY`], given the files' names. An empty list is an error.
pub fn fallback_plan(executables: &[String]) -> Result<Vec<TaskSpec>, TaskFileError> {
    if executables.is_empty() {
        return Err(TaskFileError { text: no_tasks_text() });
    }
    if executables.len() > MAX_TASKS {
        let text = format!(
            "{TASK_DIRECTORY}: {} executable files, and a commit has at most {MAX_TASKS} tasks\n \
             = help: write a {TASK_FILE}, and let one task run several of these",
            executables.len()
        );
        return Err(TaskFileError { text });
    }
    executables.iter().map(|name| file_task(name)).collect()
}

/// Reads the tasks of a work tree on this disk by the rules that the dispatcher applies to a commit: the task file,
/// else the executable files of [`TASK_DIRECTORY`]. `path` may also be a task file itself. Tells all mistakes, or warns
/// of what is probably not meant.
pub fn check_directory(path: &Path) -> Result<CheckedTasks, ConfigError> {
    let failed = |source| ConfigError::Read { path: path.to_owned(), source };
    if !fs::metadata(path).map_err(failed)?.is_dir() {
        return parse_file(path);
    }
    let mut checked = read_directory(path)?;
    checked.warnings.extend(interpreters::with_carriage_returns(path, &checked.tasks));
    checked.warnings.extend(without_directory(path, &checked.tasks));
    Ok(checked)
}

/// Returns a warning for each task that would start in a directory that is not there.
fn without_directory(path: &Path, tasks: &[TaskSpec]) -> Vec<String> {
    let warning = |task: &TaskSpec| {
        let dir = task.recipe.dir.as_ref().filter(|dir| !path.join(dir).is_dir())?;
        let (name, dir) = (&task.name, visible(dir));
        Some(format!(
            "task `{name}` starts in {dir}, and there is no such directory\n = help: `dir` is relative to the root of the \
             repository; a directory is part of a commit only if a file is in it"
        ))
    };
    tasks.iter().filter_map(warning).collect()
}

fn read_directory(path: &Path) -> Result<CheckedTasks, ConfigError> {
    let file = if path == Path::new(".") { TASK_FILE.into() } else { path.join(TASK_FILE) };
    // A symbolic link is not followed: git stores it as a link, so in a commit it is no task file.
    match fs::symlink_metadata(&file) {
        Ok(metadata) if metadata.is_file() => return parse_file(&file),
        Ok(_) => {
            return Err(TaskFileError { text: no_file_text(&file) }.into());
        }
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        Err(source) => return Err(ConfigError::Read { path: file, source }),
    }
    let directory = path.join(TASK_DIRECTORY);
    let names = executables(&directory).map_err(|source| ConfigError::Read { path: directory, source })?;
    Ok(CheckedTasks {
        tasks: fallback_plan(&names)?,
        settings: BuildSettings::default(),
        schedules: Vec::new(),
        warnings: Vec::new(),
    })
}

/// The mistake of a task file that is a symbolic link, a directory or a submodule.
#[must_use]
pub fn no_file_text(file: &Path) -> String {
    format!("{}: this is not a regular file\n = help: write the tasks into it", file.display())
}

fn file_task(name: &str) -> Result<TaskSpec, TaskFileError> {
    let Ok(checked_name) = TaskName::plain(name) else {
        let file = visible(name);
        let text = format!(
            "{TASK_DIRECTORY}/{file}: {} cannot name a task\n = help: rename the file ({NAME_RULE}), \
             or make it not executable",
            quote(name)
        );
        return Err(TaskFileError { text });
    };
    // The name has a slash, so the program is looked up in the work tree and never along PATH.
    Ok(TaskSpec::new(checked_name, Script::Program(vec![format!("./{TASK_DIRECTORY}/{name}")])))
}

fn parse_file(path: &Path) -> Result<CheckedTasks, ConfigError> {
    let failed = |source| ConfigError::Read { path: path.to_owned(), source };
    let mut text = Vec::new();
    // Reads one byte more than is allowed, so that `check_tasks` sees that the file is too large.
    let limit = u64::try_from(MAX_TASK_FILE_BYTES).unwrap_or(u64::MAX).saturating_add(1);
    File::open(path).map_err(failed)?.take(limit).read_to_end(&mut text).map_err(failed)?;
    Ok(check_tasks(&path.to_string_lossy(), &text)?)
}

/// Returns the sorted names of the regular files that their owner may execute; none if there is no such directory.
/// Counts only files and directories that git would store as such, so no symbolic links.
fn executables(directory: &Path) -> io::Result<Vec<String>> {
    if !fs::symlink_metadata(directory).is_ok_and(|metadata| metadata.is_dir()) {
        return Ok(Vec::new());
    }
    let mut names = Vec::new();
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        let metadata = entry.metadata()?;
        if metadata.is_file() && metadata.permissions().mode() & 0o100 != 0 {
            names.push(entry.file_name().to_string_lossy().into_owned());
        }
    }
    names.sort();
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(path: &Path) -> String {
        check_directory(path).expect_err("the directory has a mistake").to_string()
    }

    fn write(path: &Path, mode: u32) {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, "#!/bin/sh\n").unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }

    #[test]
    fn a_task_file_wins_over_a_directory_of_tasks() {
        let tree = tempfile::tempdir().unwrap();
        write(&tree.path().join("tasks/build"), 0o755);
        assert_eq!(&*check_directory(tree.path()).unwrap().tasks[0].name, "build");
        fs::write(tree.path().join(TASK_FILE), "[task.test]\nrun = 'x'").unwrap();
        assert_eq!(&*check_directory(tree.path()).unwrap().tasks[0].name, "test");
        assert_eq!(&*check_directory(&tree.path().join(TASK_FILE)).unwrap().tasks[0].name, "test");
    }

    #[test]
    fn only_what_git_stores_as_executable_is_a_task() {
        let tree = tempfile::tempdir().unwrap();
        let tasks = tree.path().join("tasks");
        for (name, mode) in [("b", 0o755), ("a", 0o700), ("plain", 0o644), ("group", 0o654), ("sub/deep", 0o755)] {
            write(&tasks.join(name), mode);
        }
        std::os::unix::fs::symlink("a", tasks.join("link")).unwrap();
        let names: Vec<_> = check_directory(tree.path()).unwrap().tasks.into_iter().map(|task| task.name).collect();
        assert_eq!(names, [TaskName::plain("a").unwrap(), TaskName::plain("b").unwrap()]);
        write(&tasks.join("un fit"), 0o755);
        assert!(error(tree.path()).starts_with("tasks/un fit: `un fit` cannot name a task\n"));
    }

    #[test]
    fn a_directory_without_tasks_says_what_to_write() {
        let tree = tempfile::tempdir().unwrap();
        assert_eq!(error(tree.path()), no_tasks_text());
        write(&tree.path().join("tasks/plain"), 0o644);
        assert_eq!(error(tree.path()), no_tasks_text());
    }

    #[test]
    fn errors_name_the_file_as_it_was_given() {
        let tree = tempfile::tempdir().unwrap();
        let file = tree.path().join(TASK_FILE);
        fs::write(&file, "[task.test]\nrum = 'x'").unwrap();
        assert!(error(tree.path()).starts_with(&format!("{}:2:1: unknown key `rum`", file.display())));
        fs::write(&file, vec![b'#'; MAX_TASK_FILE_BYTES + 5]).unwrap();
        assert!(error(tree.path()).contains(": the file is larger than 1 MiB\n"));
        fs::remove_file(&file).unwrap();
        std::os::unix::fs::symlink("elsewhere", &file).unwrap();
        assert!(error(tree.path()).contains(": this is not a regular file\n"));
        assert!(error(Path::new("/nowhere/at/all")).starts_with("could not read /nowhere/at/all"));
    }
}
