//! Answers for keys of Surveil that stand in the wrong table, and for those of other programs in a task, in `[build]`
//! and at the top of the file.

use super::foreign::{self, Level};
use super::keys::{BUILD_KEYS, KEYS, Key, SCHEDULE_KEYS};
use super::suggest::without_signs;

/// Returns the answer for a key that the table does not have, if it is known from elsewhere.
pub(super) fn answer(level: Level, typed: &str) -> Option<String> {
    // `[defaults]` takes most keys of a task that stand at the top, so that is told first.
    let is_of_task = level != Level::Task && KEYS.iter().any(|key| key.name == typed || key.has_alias(typed));
    let of_others = foreign::answer(level, typed).map(str::to_owned);
    if is_of_task { of_ours(level, typed).or(of_others) } else { of_others.or_else(|| of_ours(level, typed)) }
}

const SCHEDULE_EXAMPLE: &str = "[schedule.nightly]\ncron = \"17 3 * * *\"\ntasks = [\"fuzz\"]";

const SERVICE_EXAMPLE: &str = "write each service as a table with its name, and name it in tasks:\n\
                               [service.db]\nimage = \"postgres:16\"\nport = 5432\n\
                               [task.test]\nrun = \"make test\"\nservices = [\"db\"]";

/// Returns the place for a key of Surveil, or for an alias of one, that stands in the wrong table.
fn of_ours(level: Level, typed: &str) -> Option<String> {
    let word = without_signs(typed);
    let in_build = BUILD_KEYS.iter().find(|name| without_signs(name) == word);
    // `tasks` is rather a misspelt `task`.
    let in_schedule = SCHEDULE_KEYS.iter().find(|name| **name != "tasks" && without_signs(name) == word);
    let key = KEYS.iter().find(|key| without_signs(key.name) == word || key.has_alias(&word));
    match (level, key, in_build, in_schedule) {
        (Level::File, Some(Key { name: "services", .. }), ..) => Some(SERVICE_EXAMPLE.to_owned()),
        (Level::File, Some(key), Some(_), _) => Some(format!(
            "it stands in `[defaults]` for each task, or in `[build]` for the build as a whole:\n\
             [defaults]\n{}",
            key.example
        )),
        (Level::File, Some(Key { is_common: true, example, .. }), ..) => {
            Some(format!("what all tasks of the file have stands in `[defaults]`:\n[defaults]\n{example}"))
        }
        (Level::File, Some(key), ..) => {
            Some(format!("it is a key of a task, such as\n[task.test]\n{}", with_command(key)))
        }
        (Level::Build, Some(key), ..) => {
            let table = if key.is_common { "`[defaults]` or in a task" } else { "a task" };
            Some(format!("it stands in {table}, such as `{}`", key.example))
        }
        (Level::Task | Level::File, None, Some(name), _) => {
            let value = if *name == "supersede" { "\"queued\"" } else { "true" };
            Some(format!(
                "it is for the build as a whole, and stands at the top of the file:\n[build]\n{name} = {value}"
            ))
        }
        (Level::Task | Level::File, None, None, Some(name)) => {
            Some(format!("`{name}` is a key of a schedule:\n{SCHEDULE_EXAMPLE}"))
        }
        _ => None,
    }
}

/// Returns the lines of a task with the key in it.
fn with_command(key: &Key) -> String {
    match key.name {
        "run" | "steps" => key.example.to_owned(),
        _ => format!("run = \"make test\"\n{}", key.example),
    }
}
