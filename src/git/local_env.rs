//! Git's variables for one repository. A hook has them in its environment, and a program that the hook starts inherits
//! them. They would point every call of git at the hook's repository, whatever directory it is called in.
//!
//! [`program`](super::program) takes them out of our own calls, and the runner's room out of a task's environment. The
//! calls of libgit2 in this room open repositories by their paths, for which libgit2 reads none of these variables.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

/// The variables that `git rev-parse --local-env-vars` prints, of all versions of git, and two that git sets beside
/// them: the quarantine of a push that is not accepted yet, and the namespace that the push went to.
const NAMES: [&str; 18] = [
    "GIT_ALTERNATE_OBJECT_DIRECTORIES",
    "GIT_CONFIG",
    "GIT_CONFIG_PARAMETERS",
    "GIT_CONFIG_COUNT",
    "GIT_OBJECT_DIRECTORY",
    "GIT_DIR",
    "GIT_WORK_TREE",
    "GIT_IMPLICIT_WORK_TREE",
    "GIT_GRAFT_FILE",
    "GIT_INDEX_FILE",
    "GIT_NO_REPLACE_OBJECTS",
    "GIT_REPLACE_REF_BASE",
    "GIT_INTERNAL_SUPER_PREFIX",
    "GIT_PREFIX",
    "GIT_SHALLOW_FILE",
    "GIT_COMMON_DIR",
    "GIT_QUARANTINE_PATH",
    "GIT_NAMESPACE",
];

/// The beginnings of the numbered variables that `GIT_CONFIG_COUNT` counts.
const NUMBERED: [&[u8]; 2] = [b"GIT_CONFIG_KEY_", b"GIT_CONFIG_VALUE_"];

/// Whether a variable of this name concerns one repository only.
#[must_use]
pub fn is_local_variable(name: &OsStr) -> bool {
    NAMES.iter().any(|local| name == *local) || NUMBERED.iter().any(|start| name.as_bytes().starts_with(start))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::git::tests::support::Repo;

    #[test]
    fn every_variable_that_git_calls_local_is_known() {
        let listed = Repo::new().git(&["rev-parse", "--local-env-vars"]);
        assert!(listed.contains("GIT_DIR"), "{listed}");
        for name in listed.lines().chain(["GIT_QUARANTINE_PATH", "GIT_CONFIG_KEY_0", "GIT_CONFIG_VALUE_17"]) {
            assert!(is_local_variable(OsStr::new(name)), "{name}");
        }
    }

    #[test]
    fn a_persons_own_settings_are_not_local() {
        for name in ["GIT_AUTHOR_NAME", "GIT_SSH_COMMAND", "GIT_CONFIG_GLOBAL", "GIT_CEILING_DIRECTORIES", "GIT_", ""] {
            assert!(!is_local_variable(OsStr::new(name)), "{name}");
        }
    }
}
