//! The keys of a task: the only list of them. The parser, the suggestions for misspelt keys, and the test of the table
//! in `docs/tasks.md` all follow it. A new key is one entry of [`KEYS`] (`table.rs`) with its reader in a file of this
//! folder, a field of [`Recipe`] if runners have to know it or of [`Placement`] if not, and the code that acts on it.
//!
//! [`Recipe`]: crate::model::Recipe
//! [`Placement`]: crate::model::Placement

mod artifacts;
mod cache;
mod conditions;
mod execution;
mod history;
mod inputs;
mod isolation;
mod key;
mod limits_of_attempt;
mod placement;
mod secrets;
mod services;
mod steps;
mod table;
mod when;

use super::suggest::nearest;

pub(super) use cache::wrong_caches;
pub(super) use execution::{read_duration, variables};
pub(super) use isolation::{image_name, pull};
pub(super) use key::Key;
pub(super) use table::KEYS;
pub(crate) use when::{BRANCHES, RefKind, TAGS, name_glob};

/// The keys of `[build]`, in the order of the documentation. `build` reads them.
pub(super) const BUILD_KEYS: [&str; 3] = ["timeout", "fail_fast", "supersede"];

/// The keys of a schedule, in the order of the documentation. `schedules` reads them.
pub(super) const SCHEDULE_KEYS: [&str; 4] = ["cron", "timezone", "branch", "tasks"];

/// The keys of a service, in the order of the documentation. `services` reads them.
pub(super) const SERVICE_KEYS: [&str; 7] = ["run", "image", "pull", "port", "ready", "env", "timeout"];

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
