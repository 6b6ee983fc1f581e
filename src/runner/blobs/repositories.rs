//! The repositories that the runner writes into a work tree: its `.git`, and those of its submodules. They are made
//! anew for each attempt, so no artifact and no cache has anything of them, and no key of a cache depends on them.

use std::collections::BTreeSet;

/// The name of each of them.
const DOT_GIT: &str = ".git";

/// The paths of the repositories of one work tree.
#[derive(Debug, Clone, Default)]
pub(crate) struct Repositories(BTreeSet<String>);

impl Repositories {
    /// The repository of the tree itself, and those of its submodules at these paths.
    pub(crate) fn of<'p>(submodules: impl IntoIterator<Item = &'p str>) -> Self {
        let below = |path: &str| format!("{path}/{DOT_GIT}");
        Self(submodules.into_iter().map(below).chain([DOT_GIT.to_owned()]).collect())
    }

    /// Whether a path is one of them, or in one.
    pub(crate) fn have(&self, path: &str) -> bool {
        path.match_indices(DOT_GIT).any(|(at, name)| {
            let end = at + name.len();
            matches!(path.as_bytes().get(end), None | Some(b'/')) && self.0.contains(&path[..end])
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_repository_has_its_own_paths_and_no_others() {
        let repositories = Repositories::of(["vendor/sdk", ".git.d/x"]);
        for path in [".git", ".git/config", "vendor/sdk/.git", "vendor/sdk/.git/hooks/a", ".git.d/x/.git/.git"] {
            assert!(repositories.have(path), "{path}");
        }
        for path in ["", "a", ".gitignore", ".git.d/x", "vendor/.git", "vendor/sdk/a", "vendor/sdk/.github", "a/.git/b"]
        {
            assert!(!repositories.have(path), "{path}");
        }
        assert!(Repositories::of([]).have(".git/x"));
    }
}
