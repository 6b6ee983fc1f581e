//! The environment of an attempt. It is the same under a dispatcher and under `surveil run`.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use crate::git::is_local_variable;

/// The facts that an attempt is told. Each is in a variable `SURVEIL_` with the name in capitals.
#[derive(Debug, Clone, Copy)]
pub struct AttemptFacts<'a> {
    pub build: u64,
    pub task: &'a str,
    pub attempt: u64,
    /// The attempt's number within its job, from 1: `SURVEIL_TRY`.
    pub number: u32,
    pub repo: &'a str,
    pub branch: &'a str,
    /// The full id.
    pub commit: &'a str,
    pub runner: &'a str,
    /// Counted from 0.
    pub slot: usize,
}

/// Returns the variables of this process that an attempt inherits: all but `SURVEIL_…`, which may hold secrets of the
/// runner, and git's own for one repository, which a runner that was started by a hook has.
pub fn inherited(own: impl IntoIterator<Item = (OsString, OsString)>) -> Vec<(OsString, OsString)> {
    let is_foreign = |name: &OsStr| name.as_bytes().starts_with(b"SURVEIL_") || is_local_variable(name);
    own.into_iter().filter(|(name, _)| !is_foreign(name)).collect()
}

/// Returns the attempt's environment, each name once: the inherited variables, then Surveil's own, then the task's. A
/// later value wins. `ceiling` is a directory above the work tree, at which git stops to look for a repository.
pub fn attempt_environment(
    inherited: &[(OsString, OsString)],
    facts: &AttemptFacts<'_>,
    directory: &Path,
    ceiling: &Path,
    task: &[(String, String)],
) -> Vec<(OsString, OsString)> {
    let mut environment = inherited.to_vec();
    let mut set = |name: &str, value: &OsStr| match environment.iter_mut().find(|(n, _)| n == name) {
        Some((_, old)) => value.clone_into(old),
        None => environment.push((name.into(), value.to_owned())),
    };
    let (build, attempt, number, slot) =
        (facts.build.to_string(), facts.attempt.to_string(), facts.number.to_string(), facts.slot.to_string());
    let own = [
        ("CI", "true"),
        ("SURVEIL", "true"),
        ("SURVEIL_BUILD", &build),
        ("SURVEIL_TASK", facts.task),
        ("SURVEIL_ATTEMPT", &attempt),
        ("SURVEIL_TRY", &number),
        ("SURVEIL_REPO", facts.repo),
        ("SURVEIL_BRANCH", facts.branch),
        ("SURVEIL_COMMIT", facts.commit),
        ("SURVEIL_RUNNER", facts.runner),
        ("SURVEIL_SLOT", &slot),
    ];
    for (name, value) in own {
        set(name, OsStr::new(value));
    }
    set("GIT_CEILING_DIRECTORIES", ceiling.as_os_str());
    set("PWD", directory.as_os_str());
    for (name, value) in task {
        set(name, OsStr::new(value));
    }
    environment
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_attempt_inherits_what_is_not_surveils_and_its_task_has_the_last_word() {
        let own = [
            ("PATH", "/bin"),
            ("SURVEIL_DISPATCH", "h:1"),
            ("GIT_DIR", "/x"),
            ("CI", "old"),
            ("GIT_AUTHOR", "a"),
            ("GIT_QUARANTINE_PATH", "/q"),
        ];
        let inherited = inherited(own.map(|(name, value)| (name.into(), value.into())));
        let facts = AttemptFacts {
            build: 3,
            task: "test",
            attempt: 12,
            number: 2,
            repo: "app",
            branch: "main",
            commit: "abcd",
            runner: "w1",
            slot: 0,
        };
        let task = [("PATH".into(), "/usr/bin".into()), ("MODE".into(), "fast".into())];
        let environment = attempt_environment(&inherited, &facts, Path::new("/w/t"), Path::new("/w"), &task);
        let of = |name: &str| environment.iter().filter(|(n, _)| n == name).map(|(_, v)| v.to_str().unwrap()).collect();
        let wanted: [(&str, &[&str]); 10] = [
            ("PATH", &["/usr/bin"]),
            ("CI", &["true"]),
            ("MODE", &["fast"]),
            ("SURVEIL_DISPATCH", &[]),
            ("GIT_DIR", &[]),
            ("GIT_QUARANTINE_PATH", &[]),
            ("SURVEIL_TRY", &["2"]),
            ("GIT_AUTHOR", &["a"]),
            ("GIT_CEILING_DIRECTORIES", &["/w"]),
            ("PWD", &["/w/t"]),
        ];
        for (name, values) in wanted {
            let found: Vec<&str> = of(name);
            assert_eq!(found, values, "{name}");
        }
    }
}
