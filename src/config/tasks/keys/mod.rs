//! The keys of a task: the only list of them. The parser, the suggestions for misspelt keys, and the test of the table
//! in `docs/tasks.md` all follow it. A new key is one entry of [`KEYS`] with its reader in a file of this folder, a
//! field of [`Recipe`] if runners have to know it or of [`Placement`] if not, and the code that acts on it.
//!
//! [`Recipe`]: crate::model::Recipe
//! [`Placement`]: crate::model::Placement

mod execution;
mod placement;
mod when;

use super::command;
use super::draft::Draft;
use super::limits::MAX_RETRIES;
use super::mistake::Mistake;
use super::shell::read_shell;
use super::suggest::{nearest, plain};
use super::value::TableEntry;

/// One key of a task.
#[cfg_attr(not(test), expect(dead_code, reason = "`row` and `schema` are for tests only"))]
pub(super) struct Key {
    pub(super) name: &'static str,
    /// The key's row in the table of `docs/tasks.md`, behind the name: the type of the value, the value of a task
    /// without this key, and the meaning in a few words.
    pub(super) row: &'static str,
    /// The JSON Schema of the value, as JSON.
    pub(super) schema: &'static str,
    /// Words that other programs use for it, for people who come from there.
    pub(super) aliases: &'static [&'static str],
    /// Reads the value into the task.
    pub(super) read: fn(&TableEntry<'_, '_>, &mut Draft<'_>) -> Result<(), Mistake>,
}

/// All keys of a task, in the order of the documentation.
pub(super) static KEYS: &[Key] = &[
    Key {
        name: "run",
        row: "string, or list of strings | required | the script, or the program with its arguments",
        schema: r#"{"type": ["string", "array"], "minLength": 1, "items": {"type": "string"}, "minItems": 1}"#,
        aliases: &["command", "commands", "cmd", "script", "exec", "steps"],
        read: command::read_run,
    },
    Key {
        name: "shell",
        row: "list of strings | `/bin/sh`, with `set -e` | the program with its options that executes the script",
        schema: r#"{"type": "array", "items": {"type": "string"}, "minItems": 1, "maxItems": 64}"#,
        aliases: &["interpreter", "language"],
        read: |entry, draft| {
            let shell = read_shell(entry, &mut draft.found)?;
            draft.shell = shell.or_else(|| draft.shell.take());
            Ok(())
        },
    },
    Key {
        name: "needs",
        row: "list of task names | `[]` | tasks that must have passed before",
        schema: r#"{"type": "array", "items": {"type": "string"}}"#,
        aliases: &["depends", "depends_on", "dependencies", "requires", "after", "need"],
        read: placement::read_needs,
    },
    Key {
        name: "when",
        row: r#"table: `branches`, `tags`, `events`, `changed` | all builds | the builds in which the task runs"#,
        schema: r#"{"type": "object", "additionalProperties": false, "minProperties": 1, "properties": {
            "branches": {"type": "array", "items": {"type": "string"}, "minItems": 1, "maxItems": 100},
            "tags": {"type": "array", "items": {"type": "string"}, "minItems": 1, "maxItems": 100},
            "events": {"type": "array", "minItems": 1, "items": {"enum":
                ["push", "tag", "pull", "ref", "schedule", "manual", "try"]}},
            "changed": {"type": "array", "items": {"type": "string"}, "minItems": 1, "maxItems": 100}}}"#,
        aliases: &[],
        read: when::read_when,
    },
    Key {
        name: "env",
        row: "table of strings | `{}` | variables that are added to the environment",
        schema: r#"{"type": "object", "additionalProperties": {"type": "string"}}"#,
        aliases: &["environment", "variables", "envs", "vars"],
        read: execution::read_env,
    },
    Key {
        name: "timeout",
        row: r#"duration | `"1h"` | the longest that one attempt may take"#,
        schema: r#"{"type": "string", "pattern": "^([0-9]+(d|h|m|s|ms))+$"}"#,
        aliases: &["timeout_minutes", "timeout_in_minutes", "time_limit"],
        read: |entry, draft| execution::read_timeout(entry).map(|ms| draft.recipe.timeout_ms = ms),
    },
    Key {
        name: "retries",
        row: "0 to 10 | `0` | how often a failed attempt is tried again",
        schema: r#"{"type": "integer", "minimum": 0, "maximum": 10}"#,
        aliases: &["retry", "attempts"],
        read: |entry, draft| entry.count(MAX_RETRIES).map(|count| draft.placement.retries = count),
    },
    Key {
        name: "allow_failure",
        row: "`true` or `false` | `false` | whether the build passes even if this task fails",
        schema: r#"{"type": "boolean"}"#,
        aliases: &["continue_on_error", "soft_fail", "allow_failures"],
        read: |entry, draft| entry.flag().map(|flag| draft.placement.allow_failure = flag),
    },
    Key {
        name: "labels",
        row: "list of labels | `[]` | labels that a runner must have",
        schema: r#"{"type": "array", "items": {"type": "string"}, "maxItems": 64}"#,
        aliases: &["tags", "runs_on", "agents", "agent", "runner", "pool", "queue", "executor", "resource_class"],
        read: placement::read_labels,
    },
    Key {
        name: "keep",
        row: "list of paths | `[]` | paths that stay in the work tree for the next attempt there",
        schema: r#"{"type": "array", "items": {"type": "string"}, "maxItems": 64}"#,
        aliases: &["cache"],
        read: execution::read_keep,
    },
    Key {
        name: "exclusive",
        row: "`true` or `false` | `false` | whether attempts of this task must never overlap, over all builds of the repository",
        schema: r#"{"type": "boolean"}"#,
        aliases: &["concurrency", "resource_group", "lock", "concurrency_group"],
        read: |entry, draft| entry.flag().map(|flag| draft.recipe.exclusive = flag),
    },
];

/// Returns the key of a task that other programs call `typed`, else the key nearest to it.
pub(super) fn nearest_key(typed: &str) -> Option<&'static str> {
    let word = plain(typed);
    let other = KEYS.iter().find(|key| key.aliases.contains(&&*word));
    other.map(|key| key.name).or_else(|| nearest(typed, KEYS.iter().map(|key| key.name)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_other_programs_are_understood() {
        assert_eq!(nearest_key("script"), Some("run"));
        assert_eq!(nearest_key("depends-on"), Some("needs"));
        assert_eq!(nearest_key("allow-failures"), Some("allow_failure"));
        assert_eq!(nearest_key("cache"), Some("keep"));
        assert_eq!(nearest_key("sunshine"), None);
    }
}
