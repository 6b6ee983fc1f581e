//! `surveil check`: reads the tasks of a directory as a dispatcher would read those of a commit.

use std::path::PathBuf;

use clap::Args;

use super::output::{Output, bold};
use super::{CliError, ExitCode, human};
use crate::config::check_directory;
use crate::model::TaskSpec;

const EXAMPLES: &str = "\
Exit code 0 if all is well, 2 if something is wrong; the error names line and column.

Examples:
  surveil check
  surveil check ../app && git push";

/// Check a directory's tasks without running them
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct CheckFlags {
    /// A directory with a .surveil.toml or executable files in tasks/; or such a file itself
    #[arg(default_value = ".")]
    path: PathBuf,
}

/// Prints the tasks.
pub(crate) fn run(flags: &CheckFlags, out: &mut Output) -> Result<ExitCode, CliError> {
    let tasks = check_directory(&flags.path)?;
    out.line(format_args!("{}:", human::count(tasks.len() as u64, "task")))?;
    for task in &tasks {
        out.line(line(task))?;
    }
    Ok(ExitCode::Ok)
}

/// `  test  needs build; labels gpu; tried up to 3 times; may fail`.
fn line(task: &TaskSpec) -> String {
    let mut facts = Vec::new();
    if !task.needs.is_empty() {
        facts.push(format!("needs {}", task.needs.join(", ")));
    }
    if !task.labels.is_empty() {
        facts.push(format!("on a runner with {}", task.labels.join(", ")));
    }
    if task.timeout_ms != TaskSpec::DEFAULT_TIMEOUT_MS {
        facts.push(format!("within {}", human::duration(task.timeout_ms)));
    }
    if task.retries > 0 {
        facts.push(format!("tried up to {} times", task.retries + 1));
    }
    if task.allow_failure {
        facts.push("may fail".into());
    }
    if task.exclusive {
        facts.push("never twice at a time".into());
    }
    format!("  {}  {}", bold(&task.name), facts.join("; ")).trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Script, TaskName};

    #[test]
    fn a_task_is_told_with_what_is_special_about_it() {
        let mut task = TaskSpec::new(TaskName::new("test").unwrap(), Script::Shell("x".into()));
        assert_eq!(anstream::adapter::strip_str(&line(&task)).to_string(), "  test");
        task.needs = vec![TaskName::new("build").unwrap(), TaskName::new("lint").unwrap()];
        task.retries = 2;
        assert_eq!(
            anstream::adapter::strip_str(&line(&task)).to_string(),
            "  test  needs build, lint; tried up to 3 times"
        );
    }
}
