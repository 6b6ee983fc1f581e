//! `surveil check`: reads a directory's tasks as a dispatcher would read those of a commit.

use std::path::PathBuf;

use clap::Args;

use super::error::CliError;
use super::exit_code::ExitCode;
use super::human;
use super::output::{Output, bold};
use crate::config::check_directory;
use crate::model::{Recipe, TaskSpec};

const EXAMPLES: &str = "\
The exit code is 0 if the tasks are valid and 2 if not; the error names line and column.

Examples:
  surveil check
  surveil check ../app && git push";

/// Check a directory's tasks without running them
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct CheckFlags {
    /// A directory with a .surveil.toml, or with executable files in tasks/; or one such file
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

/// Formats `  test  needs build; labels gpu; tried up to 3 times; may fail`.
fn line(task: &TaskSpec) -> String {
    let mut facts = Vec::new();
    let (recipe, placement) = (&task.recipe, &task.placement);
    if !placement.needs.is_empty() {
        let needs: Vec<&str> = placement.needs.iter().map(|need| &*need.task).collect();
        facts.push(format!("needs {}", needs.join(", ")));
    }
    if !placement.labels.is_empty() {
        facts.push(format!("on a runner with {}", placement.labels.join(", ")));
    }
    if recipe.timeout_ms != Recipe::DEFAULT_TIMEOUT_MS {
        facts.push(format!("within {}", human::duration(recipe.timeout_ms)));
    }
    if placement.retries > 0 {
        facts.push(format!("tried up to {} times", placement.retries + 1));
    }
    if placement.allow_failure {
        facts.push("may fail".into());
    }
    if recipe.exclusive {
        facts.push("never twice at a time".into());
    }
    format!("  {}  {}", bold(&task.name), facts.join("; ")).trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Need, Script, TaskName};

    #[test]
    fn a_task_is_told_with_what_is_special_about_it() {
        let mut task = TaskSpec::new(TaskName::new("test").unwrap(), Script::Shell("x".into()));
        assert_eq!(anstream::adapter::strip_str(&line(&task)).to_string(), "  test");
        task.placement.needs = ["build", "lint"].map(|name| Need::passed(TaskName::new(name).unwrap())).into();
        task.placement.retries = 2;
        assert_eq!(
            anstream::adapter::strip_str(&line(&task)).to_string(),
            "  test  needs build, lint; tried up to 3 times"
        );
    }
}
