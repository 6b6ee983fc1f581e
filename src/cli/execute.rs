//! `surveil run`: executes tasks here and now, in the current work tree or in a clean one (`run_place.rs`). Processes
//! and environment are those of an attempt (`local_run.rs`), but there is no server and no log file. The tasks' output
//! goes to standard output as they write it.

use std::path::{Path, PathBuf};

use clap::Args;

use super::image_flags::ImageFlags;
use super::local_build::LocalBuild;
use super::local_containers::LocalContainers;
use super::local_outcomes::summarize;
use super::local_run::LocalRun;
use super::output::bold;
use super::run_place::{Prepared, RunPlace};
use super::{CliError, ExitCode, Output, interrupt};
use crate::clock;
use crate::config::{defaults, work_dir};
use crate::model::Outcome;
use crate::model::words::outcome_detail;
use crate::process::{Supervisor, detect_isolation};
use crate::quoting::{absolute, shell_path, shell_word};
use crate::runner::OwnTemporary;

const EXAMPLES: &str = "\
Tasks run one after the other, each after the tasks that it needs. Without names, those run that a push to the \
current branch would run if everything had changed; tasks that are named run whatever their `when` says. Labels are \
ignored. They run in the work tree as it is, with everything that is in it: changes, untracked files, products of \
earlier tasks. As on a runner they run at the root of the tree, whatever directory of the repository is the current \
one. With --clean, each runs in a fresh tree of the commit alone, as on a runner, with a .git of its own and the \
artifacts of the tasks that it needs, and nothing else that another task has made. A task with an image runs in a \
container, by podman, docker or apptainer of this machine; if there is no such tool, nothing runs. The exit code is \
that of a build: 0 passed, 1 failed, 3 errored; 130 after Ctrl-C and 143 after SIGTERM, which end the task with all \
its processes. The tasks run to their end also if nobody reads the output.

Examples:
  surveil run
  surveil run test lint
  surveil run --clean test
  surveil run --clean --commit HEAD~1 test
  surveil run --dir ../app build";

/// Run tasks here and now, in the current work tree and without a server
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct ExecuteFlags {
    /// Tasks to run, with all tasks that they need [default: every task that a push to this branch would run]
    #[arg(value_name = "TASK")]
    tasks: Vec<String>,
    /// Run in a tree such as a runner makes: the commit's files and nothing else
    #[arg(long)]
    clean: bool,
    /// The commit for the clean tree: an id, a branch, HEAD~1 [default: HEAD]
    #[arg(long, value_name = "COMMIT", requires = "clean")]
    commit: Option<String>,
    /// The work tree: its root, or any directory in it
    #[arg(long, value_name = "DIR", default_value = ".")]
    dir: PathBuf,
    /// Directory for clean trees, for images that are files, and for files that tell which containers are in use
    /// [default: ~/.cache/surveil]
    #[arg(long, value_name = "DIR", env = "SURVEIL_WORK")]
    work: Option<PathBuf>,
    /// Time that processes have to end before they are killed
    #[arg(long, value_name = "TIME", default_value_t = super::quantity::Millis(defaults::GRACE_MS))]
    grace: super::quantity::Millis,
    #[command(flatten)]
    images: ImageFlags,
}

impl ExecuteFlags {
    /// The flags that say where tasks run, for a command that is printed.
    fn typed(&self) -> String {
        let mut typed = String::new();
        if self.clean {
            typed.push_str(" --clean");
        }
        if let Some(commit) = &self.commit {
            typed.push_str(&format!(" --commit {}", shell_word(commit)));
        }
        if self.dir.as_path() != Path::new(".") {
            typed.push_str(&format!(" --dir {}", shell_path(&absolute(&self.dir))));
        }
        if let Some(work) = &self.work {
            typed.push_str(&format!(" --work {}", shell_path(&absolute(work))));
        }
        typed
    }
}

/// Runs the requested tasks.
pub(crate) fn run(flags: &ExecuteFlags, out: &mut Output) -> Result<ExitCode, CliError> {
    let work = work_dir(flags.work.clone());
    let Prepared { place, tasks, settings, origin } = if flags.clean {
        RunPlace::clean(&flags.dir, flags.commit.as_deref().unwrap_or("HEAD"), &work)?
    } else {
        RunPlace::as_it_is(&flags.dir)?
    };
    let mut build = LocalBuild::new(&tasks, &flags.tasks, origin.reference.clone(), settings.fail_fast)?;
    let program = std::env::current_exe().map_err(CliError::machine("find this program's own file"))?;
    let (cancel, signal) = interrupt::noted_and_answered_by(vec![()])?;
    // The exit code is the verdict, so the tasks run to their end also if nobody reads.
    out.outlive_reader();
    let mut containers = LocalContainers::new(flags.images.clone(), work, program.clone());
    // Before anything runs: what is missing here is known at once, and not after an hour of other tasks.
    for task in build.may_run() {
        match containers.tool_for(&task, &cancel)? {
            Ok(_) => {}
            Err(Outcome::Cancelled) => return Ok(signal.exit_code()),
            Err(outcome) => {
                let why = outcome_detail(&outcome).unwrap_or_default();
                let others = if flags.tasks.is_empty() { "; tasks without images run if they are named" } else { "" };
                return Err(CliError::NoContainers(why + others));
            }
        }
    }
    let temporary = OwnTemporary::new(&std::env::temp_dir());
    let temporary = temporary.map_err(CliError::machine("make a temporary directory"))?;
    let supervisor = Supervisor::new(program, detect_isolation());
    let mut local = LocalRun::new(supervisor, containers, cancel, (place, origin), (temporary, flags.grace.0));
    let begun = clock::now();
    let (mut has_tool_cache, mut has_cache) = (false, false);
    while let Some(task) = build.next() {
        if !task.recipe.caches.is_empty() && !std::mem::replace(&mut has_cache, true) {
            log::warn!("`surveil run` has no `cache`: those are kept by a dispatcher");
        }
        if task.recipe.tool_cache && !std::mem::replace(&mut has_tool_cache, true) {
            log::warn!("`surveil run` has no `tool_cache`: build tools use the caches that they have by themselves");
        }
        let (ending, word) = local.run(&task, out)?;
        build.end(task, ending, word);
        build.join(&local.take_joined())?;
    }
    for held in build.held() {
        let name = &held.task.name;
        let why = match held.needs.as_slice() {
            [] if tasks.iter().any(|task| task.name == *name) => {
                format!("to run it: surveil run{} {}", flags.typed(), shell_word(name))
            }
            [] => "a task that a task wrote is started in a build of a dispatcher".to_owned(),
            needs => format!("needs {}", needs.iter().map(|name| &**name).collect::<Vec<_>>().join(", ")),
        };
        out.line(format_args!("{}: held ({why})", bold(name)))?;
    }
    let verdict = summarize(build.done(), clock::now().0.saturating_sub(begun.0), out)?;
    Ok(if build.is_interrupted() { signal.exit_code() } else { verdict.into() })
}

#[cfg(test)]
mod tests {
    use clap::{Command, FromArgMatches};

    use super::*;

    #[test]
    fn a_printed_command_runs_where_the_first_one_ran() {
        let typed = |more: &[&str]| {
            let words = ["run", "--work", "/w"].iter().chain(more);
            let matches = ExecuteFlags::augment_args(Command::new("run")).get_matches_from(words);
            ExecuteFlags::from_arg_matches(&matches).unwrap().typed()
        };
        assert_eq!(typed(&["test"]), " --work /w");
        let clean = ["--clean", "--commit", "HEAD^", "--dir", "/my app"];
        assert_eq!(typed(&clean), " --clean --commit 'HEAD^' --dir '/my app' --work /w");
    }
}
