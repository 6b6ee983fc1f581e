//! The keys of a task: the only list of them. The parser, the suggestions for misspelt keys, and the test of the table
//! in `docs/tasks.md` all follow it. A new key is one entry of [`KEYS`] with its reader in a file of this folder, a
//! field of [`Recipe`] if runners have to know it or of [`Placement`] if not, and the code that acts on it.
//!
//! [`Recipe`]: crate::model::Recipe
//! [`Placement`]: crate::model::Placement

mod conditions;
mod execution;
mod inputs;
mod placement;
mod steps;
mod when;

use std::fmt;

use super::command;
use super::draft::Draft;
use super::limits::{MAX_GROUP_LIMIT, MAX_RETRIES};
use super::mistake::Mistake;
use super::shell::read_shell;
use super::suggest::{nearest, without_signs};
use super::value::TableEntry;
use crate::model::MAX_PRIORITY;
use crate::model::SlotCount;

pub(super) use execution::read_duration;
pub(crate) use when::{BRANCHES, RefKind, TAGS, name_glob};

/// One key of a task.
pub(super) struct Key {
    pub(super) name: &'static str,
    /// A line with the key, for advice.
    pub(super) example: &'static str,
    /// The key's row in the table of `docs/tasks.md`, behind the name: the type of the value, the value of a task
    /// without this key, and the meaning in a few words.
    pub(super) row: &'static str,
    /// The JSON Schema of the value, as JSON.
    pub(super) schema: &'static str,
    /// Words that other programs use for it, for people who come from there.
    pub(super) aliases: &'static [&'static str],
    /// Whether the key may stand in `[defaults]`.
    pub(super) is_common: bool,
    /// Whether a task has the entries of its own table besides those of its templates and the defaults. The value of
    /// any other key takes the place of theirs.
    pub(super) is_merged: bool,
    /// Keys that say the same in another way. One table has only one of them, and it takes the place of the others in
    /// templates and defaults.
    pub(super) instead_of: &'static [&'static str],
    /// Whether the key says of which tables and cells a task is made. It is read before the others, and stands neither
    /// in `[defaults]` nor in `matrix_include`.
    pub(super) is_structure: bool,
    /// Whether `${matrix.AXIS}` is replaced in the strings of the value. It never is in commands.
    pub(super) is_replaced: bool,
    /// Reads the value into the task.
    pub(super) read: fn(&TableEntry<'_, '_>, &mut Draft<'_>) -> Result<(), Mistake>,
}

impl Key {
    /// A key as most are, to be completed.
    const USUAL: Self = Self {
        name: "",
        example: "",
        row: "",
        schema: "",
        aliases: &[],
        is_common: true,
        is_merged: false,
        instead_of: &[],
        is_structure: false,
        is_replaced: true,
        read: |_, _| Ok(()),
    };

    /// A key that is read before the others, to be completed.
    const STRUCTURE: Self = Self { is_common: false, is_structure: true, is_replaced: false, ..Self::USUAL };

    /// Whether another program calls the key so. Programs write words with `-`, `_` or capitals between their parts.
    pub(super) fn has_alias(&self, typed: &str) -> bool {
        let word = without_signs(typed);
        self.aliases.iter().any(|alias| without_signs(alias) == word)
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

/// The keys of `[build]`, in the order of the documentation. `build` reads them.
pub(super) const BUILD_KEYS: [&str; 3] = ["timeout", "fail_fast", "supersede"];

/// The keys of a schedule, in the order of the documentation. `schedules` reads them.
pub(super) const SCHEDULE_KEYS: [&str; 4] = ["cron", "timezone", "branch", "tasks"];

/// All keys of a task, in the order of the documentation.
pub(super) static KEYS: &[Key] = &[
    Key {
        name: "run",
        example: r#"run = "make test""#,
        row: "string, or list of strings | required, unless there are `steps` | the script, or the program with its arguments",
        schema: r#"{"type": ["string", "array"], "minLength": 1, "items": {"type": "string"}, "minItems": 1}"#,
        aliases: &command::OTHER_WORDS,
        instead_of: &["steps"],
        is_common: false,
        is_replaced: false,
        read: command::read_run,
        ..Key::USUAL
    },
    Key {
        name: "steps",
        example: r#"steps = ["make", { name = "test", run = "make test", timeout = "5m" }]"#,
        row: "list of strings and tables | none | several commands in place of `run`, each with its time, exit code and section of the log",
        schema: r#"{"type": "array", "minItems": 1, "maxItems": 50, "items": {"type": ["string", "object"], "minLength": 1, "required": ["run"], "additionalProperties": false, "properties": {"name": {"type": "string", "minLength": 1, "maxLength": 60}, "run": {"type": ["string", "array"], "minLength": 1, "items": {"type": "string"}, "minItems": 1}, "shell": {"type": "array", "items": {"type": "string"}, "minItems": 1, "maxItems": 64}, "dir": {"type": "string", "minLength": 1}, "env": {"type": "object", "additionalProperties": {"type": "string"}}, "timeout": {"type": "string", "pattern": "^([0-9]+(d|h|m|s|ms))+$"}, "always": {"type": "boolean"}}}}"#,
        aliases: &[],
        is_common: false,
        is_replaced: false,
        instead_of: &["run"],
        read: steps::read_steps,
        ..Key::USUAL
    },
    Key {
        name: "shell",
        example: r#"shell = ["bash", "-euo", "pipefail"]"#,
        row: "list of strings | `/bin/sh`, with `set -e` | the program with its options that executes the script",
        schema: r#"{"type": "array", "items": {"type": "string"}, "minItems": 1, "maxItems": 64}"#,
        aliases: &["interpreter"],
        read: |entry, draft| {
            let shell = read_shell(entry, &mut draft.found)?;
            draft.shell = shell.or_else(|| draft.shell.take());
            Ok(())
        },
        ..Key::USUAL
    },
    Key {
        name: "dir",
        example: r#"dir = "crates/core""#,
        row: "path | the root of the work tree | the directory in which the task starts",
        schema: r#"{"type": "string", "minLength": 1}"#,
        aliases: &["working_directory", "workdir", "working_dir", "cwd", "directory", "chdir", "root"],
        read: |entry, draft| execution::read_dir(entry).map(|dir| draft.recipe.dir = dir),
        ..Key::USUAL
    },
    Key {
        name: "needs",
        example: r#"needs = ["build"]"#,
        row: "list of task names | `[]` | tasks that must have passed before",
        schema: r#"{"type": "array", "items": {"type": "string"}}"#,
        aliases: &["depends", "depends_on", "dependencies", "requires", "after", "need"],
        is_common: false,
        read: placement::read_needs,
        ..Key::USUAL
    },
    Key {
        name: "when",
        example: r#"when = { branches = ["main"], tags = ["v*"], changed = ["src/**"] }"#,
        row: r#"table: `branches`, `tags`, `events`, `changed` | all builds | the builds in which the task runs"#,
        schema: r#"{"type": "object", "additionalProperties": false, "minProperties": 1, "properties": {
            "branches": {"type": "array", "items": {"type": "string"}, "minItems": 1, "maxItems": 100},
            "tags": {"type": "array", "items": {"type": "string"}, "minItems": 1, "maxItems": 100},
            "events": {"type": "array", "minItems": 1, "items": {"enum":
                ["push", "tag", "pull", "ref", "schedule", "manual", "try"]}},
            "changed": {"type": "array", "items": {"type": "string"}, "minItems": 1, "maxItems": 100}}}"#,
        read: when::read_when,
        ..Key::USUAL
    },
    Key {
        name: "run_if",
        example: r#"run_if = "finished""#,
        row: r#"`"passed"`, `"failed"` or `"finished"` | `"passed"` | how the tasks that it needs must have ended"#,
        schema: r#"{"type": "string", "enum": ["passed", "failed", "finished"]}"#,
        aliases: &["runs_if", "allow_dependency_failure", "runs_on_status"],
        read: conditions::read_run_if,
        ..Key::USUAL
    },
    Key {
        name: "manual",
        example: "manual = true",
        row: "`true` or `false` | `false` | whether it waits until somebody starts it with `surveil start`",
        schema: r#"{"type": "boolean"}"#,
        aliases: &["approval", "hold", "on_demand"],
        read: |entry, draft| entry.flag().map(|flag| draft.placement.manual = flag),
        ..Key::USUAL
    },
    Key {
        name: "env",
        example: r#"env = { LEVEL = "2" }"#,
        row: "table of strings | `{}` | variables that are added to the environment",
        schema: r#"{"type": "object", "additionalProperties": {"type": "string"}}"#,
        aliases: &["variables", "envs", "vars"],
        is_merged: true,
        read: execution::read_env,
        ..Key::USUAL
    },
    Key {
        name: "inputs",
        example: r#"inputs = { version = { description = "version to publish" } }"#,
        row: "table of tables: `default`, `description` | `{}` | variables whose values a person may give when asking for a build",
        schema: r#"{"type": "object", "maxProperties": 64, "additionalProperties": {"type": "object",
            "additionalProperties": false,
            "properties": {"default": {"type": "string"}, "description": {"type": "string"}}}}"#,
        aliases: &["parameters", "params", "input", "arguments"],
        is_merged: true,
        read: inputs::read_inputs,
        ..Key::USUAL
    },
    Key {
        name: "timeout",
        example: r#"timeout = "30m""#,
        row: r#"duration | `"1h"` | the longest that one attempt may take"#,
        schema: r#"{"type": "string", "pattern": "^([0-9]+(d|h|m|s|ms))+$"}"#,
        aliases: &[],
        read: |entry, draft| {
            execution::read_timeout(entry, "the default of one hour").map(|ms| draft.recipe.timeout_ms = ms)
        },
        ..Key::USUAL
    },
    Key {
        name: "quiet_timeout",
        example: r#"quiet_timeout = "10m""#,
        row: "duration | none | the longest that one attempt may go on without printing anything",
        schema: r#"{"type": "string", "pattern": "^([0-9]+(d|h|m|s|ms))+$"}"#,
        aliases: &["no_output_timeout", "idle_timeout", "silence_timeout", "output_timeout"],
        read: |entry, draft| {
            execution::read_timeout(entry, "no such limit").map(|ms| draft.recipe.quiet_timeout_ms = Some(ms))
        },
        ..Key::USUAL
    },
    Key {
        name: "retries",
        example: "retries = 2",
        row: "0 to 10 | `0` | how often a failed attempt is tried again",
        schema: r#"{"type": "integer", "minimum": 0, "maximum": 10}"#,
        aliases: &["attempts"],
        instead_of: &["retry"],
        read: |entry, draft| entry.count(MAX_RETRIES).map(|count| draft.placement.retries = count),
        ..Key::USUAL
    },
    Key {
        name: "retry",
        example: r#"retry = { times = 2, on = ["timeout"], delay = "30s" }"#,
        row: "table | `{}` | after which failures it is tried again, when and where, in place of `retries`",
        schema: conditions::RETRY_SCHEMA,
        aliases: &["automatic_retry", "retry_policy"],
        instead_of: &["retries"],
        read: conditions::read_retry,
        ..Key::USUAL
    },
    Key {
        name: "allow_failure",
        example: "allow_failure = true",
        row: "`true` or `false` | `false` | whether the build passes even if this task fails",
        schema: r#"{"type": "boolean"}"#,
        aliases: &["continue_on_error", "soft_fail", "allow_failures"],
        read: conditions::read_allow_failure,
        ..Key::USUAL
    },
    Key {
        name: "labels",
        example: r#"labels = ["gpu", "arch=x86_64"]"#,
        row: "list of labels | `[]` | labels that a runner must have",
        schema: r#"{"type": "array", "items": {"type": "string"}, "maxItems": 64}"#,
        aliases: &["tags", "runs_on", "agents", "agent", "runner", "pool", "queue", "executor", "resource_class"],
        read: placement::read_labels,
        ..Key::USUAL
    },
    Key {
        name: "keep",
        example: r#"keep = ["target"]"#,
        row: "list of paths | `[]` | paths that stay in the work tree for the next attempt there",
        schema: r#"{"type": "array", "items": {"type": "string"}, "maxItems": 64}"#,
        aliases: &[],
        read: execution::read_keep,
        ..Key::USUAL
    },
    Key {
        name: "exclusive",
        example: "exclusive = true",
        row: "`true` or `false` | `false` | whether attempts of this task must never overlap, over all builds of the repository",
        schema: r#"{"type": "boolean"}"#,
        aliases: &[],
        read: |entry, draft| entry.flag().map(|flag| draft.recipe.exclusive = flag),
        ..Key::USUAL
    },
    Key {
        name: "priority",
        example: "priority = 10",
        row: "-100 to 100 | `0` | jobs of a higher priority come first in the queue of the repository; waiting raises it",
        schema: r#"{"type": "integer", "minimum": -100, "maximum": 100}"#,
        aliases: &["weight"],
        read: |entry, draft| {
            entry.number(-MAX_PRIORITY..=MAX_PRIORITY).map(|priority| draft.placement.priority = priority)
        },
        ..Key::USUAL
    },
    Key {
        name: "slots",
        row: "1 to 256 | `1` | how many of a runner's slots an attempt takes",
        schema: r#"{"type": "integer", "minimum": 1, "maximum": 256}"#,
        aliases: &["cores"],
        example: "slots = 2",
        read: |entry, draft| entry.number(1..=SlotCount::MAX).map(|count| draft.placement.slots = SlotCount(count)),
        ..Key::USUAL
    },
    Key {
        name: "group",
        example: r#"group = "staging""#,
        row: "string | none | the group of the repository of which one job runs at a time, in the order of builds",
        schema: r#"{"type": "string", "minLength": 1, "maxLength": 100}"#,
        aliases: &[],
        read: placement::read_group,
        ..Key::USUAL
    },
    Key {
        name: "group_limit",
        example: "group_limit = 2",
        row: "1 to 1000 | `1` | how many jobs of its `group` run at a time",
        schema: r#"{"type": "integer", "minimum": 1, "maximum": 1000}"#,
        aliases: &[],
        read: |entry, draft| entry.number(1..=MAX_GROUP_LIMIT).map(|limit| draft.group_limit = Some(limit)),
        ..Key::USUAL
    },
    Key {
        name: "expand",
        row: "`true` or `false` | `false` | whether it may write a file with further tasks, which join the build",
        schema: r#"{"type": "boolean"}"#,
        example: "expand = true",
        aliases: &[],
        is_common: false,
        read: execution::read_expand,
        ..Key::USUAL
    },
    Key {
        name: "extends",
        example: r#"extends = ["rust"]"#,
        row: "list of template names | `[]` | templates that the task takes keys from",
        schema: r#"{"type": "array", "items": {"type": "string"}, "maxItems": 16}"#,
        aliases: &["extend", "inherit", "inherits", "template", "templates"],
        ..Key::STRUCTURE
    },
    Key {
        name: "matrix",
        example: r#"matrix = { version = ["1.85", "stable"] }"#,
        row: "table of lists | `{}` | values of which each combination is a task of its own",
        schema: r#"{
            "type": "object",
            "additionalProperties": {
                "type": "array",
                "items": {"anyOf": [{"type": "string"}, {"type": "integer"}, {"type": "boolean"}]},
                "minItems": 1,
                "uniqueItems": true
            }
        }"#,
        aliases: &["strategy", "axes", "axis"],
        ..Key::STRUCTURE
    },
    Key {
        name: "matrix_exclude",
        example: r#"matrix_exclude = [{ version = "1.85" }]"#,
        row: "list of tables | `[]` | combinations that are no tasks",
        schema: r#"{"type": "array", "items": {"type": "object", "minProperties": 1}}"#,
        aliases: &["exclude", "excludes"],
        ..Key::STRUCTURE
    },
    Key {
        name: "matrix_include",
        example: r#"matrix_include = [{ version = "nightly", allow_failure = true }]"#,
        row: "list of tables | `[]` | further combinations, and keys of single combinations",
        schema: r#"{"type": "array", "items": {"type": "object", "minProperties": 1}}"#,
        aliases: &[],
        ..Key::STRUCTURE
    },
];

/// Returns the key of a task that other programs call `typed`, else the key nearest to it.
pub(super) fn nearest_key(typed: &str) -> Option<&'static str> {
    let other = KEYS.iter().find(|key| key.has_alias(typed));
    other.map(|key| key.name).or_else(|| nearest(typed, KEYS.iter().map(|key| key.name)))
}

/// Returns the advice to write a key in place of `typed`. A person who brought the word along has not seen the key.
pub(super) fn advice_for(name: &str, typed: &str) -> String {
    match KEYS.iter().find(|key| key.name == name && key.has_alias(typed)) {
        Some(key) => format!("write `{name}`, such as `{}`", key.example),
        None => format!("write `{name}`"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_other_programs_are_understood() {
        assert_eq!(nearest_key("script"), Some("run"));
        assert_eq!(nearest_key("depends-on"), Some("needs"));
        assert_eq!(nearest_key("dependsOn"), Some("needs"));
        assert_eq!(nearest_key("allow-failures"), Some("allow_failure"));
        assert_eq!(nearest_key("sunshine"), None);
    }
}
