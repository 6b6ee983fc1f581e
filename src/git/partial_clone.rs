//! Clones that lack files of the commits that they have, as `git clone --filter` makes them.

use std::path::Path;

use git2::Config;

/// Whether a repository is such a clone, by the configuration in its git directory.
pub(super) fn is_partial_clone(git_dir: &Path) -> bool {
    let Ok(config) = Config::open(&git_dir.join("config")) else { return false };
    // Git notes it for the remote that has the rest. Before version 2.24 it named that remote under `extensions`.
    let names = "^(remote\\..*\\.(promisor|partialclonefilter)|extensions\\.partialclone)$";
    let mut is_partial = false;
    let read = config.entries(Some(names)).and_then(|entries| {
        entries.for_each(|entry| {
            let is_promisor = entry.name().is_ok_and(|name| name.ends_with(".promisor"));
            is_partial |= !is_promisor || entry.value().is_ok_and(|value| Config::parse_bool(value).unwrap_or(true));
        })
    });
    read.is_ok() && is_partial
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_clone_is_partial_if_a_remote_has_the_rest_of_it() {
        let place = tempfile::tempdir().unwrap();
        let is_partial = |text: &str| {
            fs::write(place.path().join("config"), text).unwrap();
            is_partial_clone(place.path())
        };
        assert!(is_partial("[remote \"origin\"]\n\turl = x\n\tpromisor = true\n"));
        assert!(is_partial("[remote \"a.b\"]\n\tpartialCloneFilter = blob:none\n"));
        assert!(is_partial("[extensions]\n\tpartialClone = origin\n"));
        assert!(!is_partial("[remote \"origin\"]\n\turl = x\n\tpromisor = false\n"));
        assert!(!is_partial("[remote \"promisor\"]\n\turl = remote.x.promisor\n"));
        assert!(!is_partial("") && !is_partial_clone(Path::new("/nowhere")));
    }
}
