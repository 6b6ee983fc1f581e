//! `surveil check`: reads a directory's tasks as a dispatcher would read those of a commit.

use std::path::{Path, PathBuf};

use clap::Args;

use super::output::bold;
use super::typed_place::tree_root;
use super::{CliError, ExitCode, Output, fold, human, server_check};
use crate::clock;
use crate::config::{CheckedSchedule, CheckedTasks, Timetable, check_directory, schema, zoned_time};
use crate::git::Local;
use crate::model::glob::PathGlobs;
use crate::model::{Ability, Condition, Group, Label, Recipe, Service, SlotCount, TaskSpec, WallTime, When, visible};

const EXAMPLES: &str = "\
All mistakes are listed, each with its line and what to write instead. The exit code is 0 if there are none and 2 \
otherwise. Warnings name what is valid and probably not meant; they do not change the exit code. A directory of a \
repository stands for the root of its work tree, where a commit has its tasks. A matrix has one line, with what all \
of its cells have in common.

Examples:
  surveil check
  surveil check ../app && git push
  surveil check --cells
  surveil check --schema > surveil.schema.json
  surveil check --server";

/// Check a directory's tasks without running them
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct CheckFlags {
    /// A directory with a .surveil.toml, or with executable files in tasks/, or any directory of its repository; or a
    /// task file
    #[arg(default_value = ".")]
    path: PathBuf,
    /// List each cell of a matrix
    #[arg(long)]
    cells: bool,
    /// Print the JSON Schema of .surveil.toml instead, for editors
    #[arg(long, conflicts_with = "path")]
    schema: bool,
    /// Check the operator's file of a dispatcher instead, surveil.toml: the file, or a data directory with it [default:
    /// that of the dispatcher on this machine]
    #[arg(long, value_name = "PATH", num_args = 0..=1, conflicts_with_all = ["path", "schema"])]
    server: Option<Option<PathBuf>>,
}

/// Prints the tasks.
pub(crate) fn run(flags: &CheckFlags, out: &mut Output) -> Result<ExitCode, CliError> {
    if flags.schema {
        out.bytes(schema().as_bytes())?;
        return Ok(ExitCode::Ok);
    }
    if let Some(server) = &flags.server {
        return server_check::run(server.as_deref(), out);
    }
    // A file is checked as it is, wherever it lies.
    let path = if flags.path.is_dir() { tree_root(&flags.path, "tasks are read")? } else { flags.path.clone() };
    let CheckedTasks { tasks, settings: _, schedules, warnings } = check_directory(&path)?;
    // The exit code is known, whether anybody reads the list or not.
    out.outlive_reader();
    out.line(format_args!("{}:", human::count(tasks.len() as u64, "task")))?;
    for alike in tasks.chunk_by(|one, next| !flags.cells && is_same_matrix(one, next)) {
        out.line(wrapped(&line(alike), out.width()))?;
    }
    if !schedules.is_empty() {
        out.line(format_args!("{}:", human::count(schedules.len() as u64, "schedule")))?;
    }
    for schedule in &schedules {
        out.line(wrapped(&schedule_line(schedule, clock::wall()), out.width()))?;
    }
    let unmatched = if flags.path.is_dir() { without_files(&path, &tasks) } else { Vec::new() };
    for warning in warnings.iter().chain(&unmatched) {
        // Behind the tasks, which would push it out of sight, and apart from what a program reads.
        log::warn!("{warning}");
    }
    Ok(ExitCode::Ok)
}

/// Returns a warning for each task whose `changed` matches no file of the repository: once it has passed, it would
/// never run again.
fn without_files(root: &Path, tasks: &[TaskSpec]) -> Vec<String> {
    let globs = |task: &TaskSpec| task.placement.when.as_ref().map(|when| when.changed.clone());
    let with_globs = tasks.iter().filter_map(|task| Some((task, globs(task).filter(|globs| !globs.is_empty())?)));
    // Many tasks have the globs of one template or matrix.
    let mut tasks_of: Vec<(Vec<String>, &str)> = Vec::new();
    for (task, globs) in with_globs {
        if tasks_of.iter().all(|(known, _)| *known != globs) {
            tasks_of.push((globs, task.name.written()));
        }
    }
    if tasks_of.is_empty() {
        return Vec::new();
    }
    let Some(paths) = Local::discover(root).ok().flatten().and_then(|local| local.paths()) else { return Vec::new() };
    let is_unmatched = |globs: &[String]| {
        let globs = PathGlobs::new(globs);
        !paths.iter().any(|path| globs.matches(path))
    };
    let unmatched = tasks_of.into_iter().filter(|(globs, _)| is_unmatched(globs));
    unmatched
        .map(|(globs, task)| {
            format!(
                "no file of the repository matches `changed` of task `{task}`: {}\n = help: globs begin at the root of the \
                 repository; once the task has passed, it would not run again",
                globs.join(", ")
            )
        })
        .collect()
}

/// Whether a label stands for an ability of a runner's program.
pub(crate) fn is_ability(label: &str) -> bool {
    Ability::word_of(label).is_some()
}

/// Whether two tasks are cells of one matrix.
fn is_same_matrix(one: &TaskSpec, next: &TaskSpec) -> bool {
    next.name.cell().is_some() && one.name.written() == next.name.written()
}

/// Formats `  test  needs build; labels gpu; tried up to 3 times; may fail`, and cells of a matrix as
/// `  test@…  6 cells; needs build; may fail in 1 of them; labels differ`.
fn line(alike: &[TaskSpec]) -> String {
    let (name, count) = match alike {
        [task] => (task.name.to_string(), None),
        cells => (format!("{}@…", cells[0].name.written()), Some(format!("{} cells", cells.len()))),
    };
    let of_each: Vec<_> = alike.iter().map(facts).collect();
    let common = FACTS.iter().enumerate().filter_map(|(at, kind)| {
        let mut told: Vec<&String> = of_each.iter().filter_map(|facts| facts[at].as_ref()).collect();
        let having = told.len();
        told.dedup();
        match told.as_slice() {
            [] => None,
            [same] if having == alike.len() => Some((*same).clone()),
            [same] => Some(format!("{same} in {having} of them")),
            [..] => Some(format!("{kind} differ")),
        }
    });
    let facts: Vec<String> = count.into_iter().chain(common).collect();
    format!("  {}  {}", bold(name), facts.join("; ")).trim_end().to_owned()
}

/// The kinds of facts about a task, in the order of [`facts`].
const FACTS: [&str; 21] = [
    "manual starts",
    "needs",
    "conditions",
    "steps",
    "inputs",
    "directories",
    "labels",
    "builds with it",
    "timeouts",
    "quiet timeouts",
    "retries",
    "allowed failures",
    "slots",
    "priorities",
    "further tasks",
    "turns",
    "groups",
    "isolations",
    "networks",
    "limits",
    "services",
];

/// Returns what is special about a task.
fn facts(task: &TaskSpec) -> [Option<String>; FACTS.len()] {
    let (placement, timeout_ms) = (&task.placement, task.recipe.timeout_ms);
    let needs: Vec<&str> = placement.needs.iter().map(|need| &*need.task).collect();
    // The task's author did not write the labels of abilities.
    let labels: Vec<&str> = placement.labels.iter().map(Label::as_str).filter(|it| !is_ability(it)).collect();
    let steps: Vec<&str> = task.recipe.steps.iter().map(|step| step.name.as_str()).collect();
    let inputs: Vec<&str> = placement.inputs.iter().map(|input| input.name.as_str()).collect();
    [
        placement.manual.then(|| "manual".to_owned()),
        (!needs.is_empty()).then(|| format!("needs {}", fold::names(needs.iter().copied()))),
        placement.needs.first().and_then(|need| condition_words(need.condition)).map(str::to_owned),
        (!steps.is_empty()).then(|| format!("steps {}", visible(&steps.join(", ")))),
        (!inputs.is_empty()).then(|| format!("inputs {}", inputs.join(", "))),
        task.recipe.dir.as_ref().map(|dir| format!("in {dir}")),
        (!labels.is_empty()).then(|| format!("on a runner with {}", labels.join(", "))),
        placement.when.as_deref().map(when_words),
        (timeout_ms != Recipe::DEFAULT_TIMEOUT_MS).then(|| format!("within {}", human::duration(timeout_ms))),
        task.recipe.quiet_timeout_ms.map(|ms| format!("ended if quiet for {}", human::duration(ms))),
        (placement.retries > 0).then(|| format!("tried up to {} times", placement.retries + 1)),
        placement.allow_failure.then(|| "may fail".to_owned()),
        (placement.slots != SlotCount::default()).then(|| format!("takes {} slots", placement.slots.0)),
        (placement.priority != 0).then(|| format!("priority {}", placement.priority)),
        task.recipe.expand.then(|| "may write further tasks".to_owned()),
        task.is_exclusive().then(|| "never twice at a time".to_owned()),
        placement.group.as_ref().map(in_group),
        task.recipe.image.as_ref().map_or_else(
            || task.recipe.isolation.map(|tier| tier.word().to_owned()),
            |image| Some(format!("in image {image}")),
        ),
        (!task.recipe.network).then(|| "without network".to_owned()),
        limits_words(&task.recipe),
        fold::beside(task.recipe.services.iter().map(Service::name_and_image)),
    ]
}

/// Formats `at most 2.0 GiB, 200 processes, 1.5 processors`.
fn limits_words(recipe: &Recipe) -> Option<String> {
    let limits: Vec<String> = [
        recipe.memory_bytes.map(human::bytes),
        recipe.processes.map(|most| if most == 1 { "1 process".to_owned() } else { format!("{most} processes") }),
        recipe.millicpus.map(|most| {
            if most == 1000 { "1 processor".to_owned() } else { format!("{} processors", f64::from(most) / 1000.0) }
        }),
    ]
    .into_iter()
    .flatten()
    .collect();
    (!limits.is_empty()).then(|| format!("at most {}", limits.join(", ")))
}

/// Formats `  nightly  17 3 * * *, next 2026-11-29 03:17 Europe/Berlin; runs fuzz, audit; on main`.
fn schedule_line(schedule: &CheckedSchedule, now: WallTime) -> String {
    let CheckedSchedule { name, rule, branch, tasks } = schedule;
    let next = Timetable::of(rule).and_then(|times| times.next_after(now));
    let next = next.map(|next| format!(", next {}", zoned_time(next, &rule.timezone))).unwrap_or_default();
    let tasks = tasks.as_ref().map_or("all tasks".to_owned(), |tasks| tasks.join(", "));
    let branch = branch.as_deref().unwrap_or("the default branch");
    format!("  {}  {}{next}; runs {tasks}; on {branch}", bold(name), rule.cron)
}

/// Formats when a task runs that does not ask the tasks it needs to pass.
fn condition_words(condition: Condition) -> Option<&'static str> {
    match condition {
        Condition::Passed => None,
        Condition::Failed => Some("only after a failure of these"),
        Condition::Finished => Some("however these end"),
    }
}

/// Breaks the line of a task between two facts where the terminal ends, so that no fact is torn. A fact that is wider
/// than the terminal has a line of its own.
fn wrapped(line: &str, width: Option<usize>) -> String {
    let Some(width) = width else { return line.to_owned() };
    let shown = |text: &str| anstream::adapter::strip_str(text).to_string().chars().count();
    let mut facts = line.split("; ").peekable();
    let mut text = facts.next().unwrap_or_default().to_owned();
    let mut used = shown(&text);
    while let Some(fact) = facts.next() {
        // The semicolon behind the fact before it, and the one behind this fact.
        let needed = shown(fact) + usize::from(facts.peek().is_some());
        if used + "; ".len() + needed > width {
            text.push_str(";\n      ");
            used = 6;
        } else {
            text.push_str("; ");
            used += "; ".len();
        }
        text.push_str(fact);
        used += shown(fact);
    }
    text
}

/// Formats `one at a time in group staging`.
fn in_group(group: &Group) -> String {
    let limit = if group.limit == 1 { "one".to_owned() } else { group.limit.to_string() };
    format!("{limit} at a time in group {}", group.name)
}

/// Formats `only on branches main, on the events push, if src/** changed`.
fn when_words(when: &When) -> String {
    let events: Vec<String> = when.events.iter().map(|event| event.word().to_owned()).collect();
    let lists = [
        (&when.branches, "on branches ", ""),
        (&when.tags, "on tags ", ""),
        (&events, "on the events ", ""),
        (&when.changed, "if ", " changed"),
    ];
    let lists = lists.into_iter().filter(|(list, ..)| !list.is_empty());
    let lists: Vec<String> =
        lists.map(|(list, before, behind)| format!("{before}{}{behind}", list.join(", "))).collect();
    format!("only {}", lists.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Need, Script, Step, TaskName};

    #[test]
    fn a_task_is_told_with_its_steps_and_whether_it_is_manual_and_no_fact_is_torn() {
        let mut task = TaskSpec::new(TaskName::new("deploy").unwrap(), Script::Shell("x".into()));
        task.placement.manual = true;
        task.placement.needs = vec![Need { condition: Condition::Failed, ..Need::passed(TaskName::new("a").unwrap()) }];
        let step = |name: &str| Step::new(name.into(), Script::Shell("x".into()));
        task.recipe_mut().steps = ["cargo build", "upload"].map(step).into();
        let told = anstream::adapter::strip_str(&line(std::slice::from_ref(&task))).to_string();
        let facts = "manual; needs a; only after a failure of these; steps cargo build, upload";
        assert_eq!(told, format!("  deploy  {facts}"));
        assert_eq!(wrapped(&told, None), told);
        let width = told.chars().count();
        assert_eq!(wrapped(&told, Some(width)), told);
        let broken = "  deploy  manual; needs a; only after a failure of these;\n      steps cargo build, upload";
        assert_eq!(wrapped(&told, Some(width - 1)), broken);
        task.placement.allow_failure = true;
        let told = anstream::adapter::strip_str(&line(std::slice::from_ref(&task))).to_string();
        assert_eq!(wrapped(&told, Some(60)), format!("{broken}; may fail"));
    }

    #[test]
    fn a_matrix_is_told_in_one_line_with_what_its_cells_have_in_common() {
        let cell = |name: &str, label: &str| {
            let mut task = TaskSpec::new(TaskName::new(name).unwrap(), Script::Shell("x".into()));
            task.placement.needs = vec![Need::passed(TaskName::new("build").unwrap())];
            task.placement.labels = vec![Label::new(label).unwrap()];
            task
        };
        let mut tasks = vec![cell("lint", "x"), cell("test@1", "a"), cell("test@2", "b"), cell("test@3", "a")];
        tasks[2].placement.allow_failure = true;
        tasks.push(cell("other@1", "c"));
        let rows = tasks.chunk_by(is_same_matrix).map(|alike| anstream::adapter::strip_str(&line(alike)).to_string());
        assert_eq!(
            rows.collect::<Vec<_>>()[1..],
            [
                "  test@…  3 cells; needs build; labels differ; may fail in 1 of them",
                "  other@1  needs build; on a runner with c"
            ]
        );
    }

    #[test]
    fn a_task_is_told_with_what_is_special_about_it() {
        let mut task = TaskSpec::new(TaskName::new("test").unwrap(), Script::Shell("x".into()));
        assert_eq!(anstream::adapter::strip_str(&line(std::slice::from_ref(&task))).to_string(), "  test");
        task.placement.needs = ["build", "lint"].map(|name| Need::passed(TaskName::new(name).unwrap())).into();
        task.placement.retries = 2;
        task.placement.labels = vec![Ability::Dir.label()];
        assert_eq!(
            anstream::adapter::strip_str(&line(std::slice::from_ref(&task))).to_string(),
            "  test  needs build, lint; tried up to 3 times"
        );
        let mut task = TaskSpec::new(TaskName::new("test").unwrap(), Script::Shell("x".into()));
        let list = |globs: &[&str]| globs.iter().map(|glob| (*glob).to_owned()).collect();
        let changed = list(&["src/**", "!**/*.md"]);
        task.placement.when = Some(Box::new(When { branches: list(&["main"]), changed, ..When::default() }));
        let expected = "  test  only on branches main, if src/**, !**/*.md changed";
        assert_eq!(anstream::adapter::strip_str(&line(std::slice::from_ref(&task))).to_string(), expected);
    }
}
