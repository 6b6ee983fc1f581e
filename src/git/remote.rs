//! Finds the URL that a watched repository was cloned from. Reads its configuration, changes nothing and contacts
//! nobody.

use std::fs;
use std::path::{Path, PathBuf};

use super::error::GitError;

/// Returns the URL of the remote `origin`, or else of the only remote, of the repository at `path`, whose configuration
/// is in `common_dir`. A path is made absolute.
pub(super) fn url(path: &Path, common_dir: &Path) -> Result<String, GitError> {
    let open = |source| GitError::Open { path: path.to_owned(), source };
    let remotes = remotes(common_dir).map_err(open)?;
    let found = match remotes.as_slice() {
        [(_, url)] => url,
        [] => return Err(GitError::NoRemote { path: path.to_owned() }),
        several => match several.iter().find(|(name, _)| name == "origin") {
            Some((_, url)) => url,
            None => {
                let names: Vec<&str> = several.iter().map(|(name, _)| name.as_str()).collect();
                return Err(GitError::SeveralRemotes { path: path.to_owned(), names: names.join(", ") });
            }
        },
    };
    Ok(if is_path(found) { absolute(path, found) } else { found.clone() })
}

/// Returns the names and URLs of the remotes. If a remote has several URLs, the first counts, as for git's fetch.
fn remotes(common_dir: &Path) -> Result<Vec<(String, String)>, git2::Error> {
    let config = git2::Config::open(&common_dir.join("config"))?;
    let mut remotes: Vec<(String, String)> = Vec::new();
    config.entries(Some(r"^remote\..+\.url$"))?.for_each(|entry| {
        // A value that is not UTF-8 could not be passed on.
        let (Ok(name), Ok(url)) = (entry.name(), entry.value()) else { return };
        let Some(name) = name.strip_prefix("remote.").and_then(|name| name.strip_suffix(".url")) else { return };
        if !url.is_empty() && !remotes.iter().any(|(known, _)| known == name) {
            remotes.push((name.to_owned(), url.to_owned()));
        }
    })?;
    Ok(remotes)
}

/// Whether a URL is a path, by git's rule: it has no scheme, and no colon unless a slash comes before it.
fn is_path(url: &str) -> bool {
    !url.contains("://") && url.split_once(':').is_none_or(|(host, _)| host.contains('/'))
}

/// Makes a path absolute. A relative path counts from the top of the work tree, or from a bare repository itself.
fn absolute(repository: &Path, remote: &str) -> String {
    let repository = fs::canonicalize(repository).unwrap_or_else(|_| repository.to_owned());
    let top = match repository.parent() {
        Some(parent) if repository.ends_with(".git") => parent,
        _ => &repository,
    };
    let joined: PathBuf = top.join(remote);
    fs::canonicalize(&joined).unwrap_or(joined).to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::git::tests::support::{Repo, git_in};

    #[track_caller]
    fn check(remotes: &[(&str, &str)], expected: &str) {
        let repo = Repo::new();
        for (name, url) in remotes {
            repo.git(&["config", "--add", &format!("remote.{name}.url"), url]);
        }
        let found = match repo.watched().remote_url() {
            Ok(url) => url,
            Err(error) => error.to_string(),
        };
        assert_eq!(found.replace(repo.path().to_str().unwrap(), "/repo"), expected);
    }

    #[test]
    fn the_remote_is_origin_or_else_the_only_one() {
        check(&[("other", "https://h/o"), ("origin", "https://h/x"), ("third", "h:y")], "https://h/x");
        check(&[("a.dotted.Name", "git@h:x.git")], "git@h:x.git");
        check(&[("origin", "https://h/first"), ("origin", "https://h/second")], "https://h/first");
    }

    #[test]
    fn a_repository_without_a_remote_to_choose_is_told_with_what_to_do() {
        let none = "repository /repo has no remote to fetch from: add one with `git remote add origin URL`, or leave out \
                    --fetch to watch the repository itself";
        check(&[], none);
        check(&[("empty", "")], none);
        check(
            &[("a", "h:a"), ("b", "h:b")],
            "repository /repo has several remotes and none is called origin (a, b): give the URL of the one to watch \
             instead of the path",
        );
    }

    #[test]
    fn a_remote_that_is_a_path_is_made_absolute_and_a_url_stays_as_it_is() {
        check(&[("origin", "/nowhere/x.git")], "/nowhere/x.git");
        check(&[("origin", "nowhere:/x")], "nowhere:/x");
        check(&[("origin", "./nowhere:x")], "/repo/./nowhere:x");
        check(&[("origin", "file:///nowhere/x")], "file:///nowhere/x");
        check(&[("origin", ".")], "/repo");
    }

    #[test]
    fn a_relative_path_counts_from_the_top_of_the_work_tree_or_from_a_bare_repository() {
        let repo = Repo::new();
        repo.write("file", "1").commit("first");
        let origin = repo.beside("origin.git");
        git_in(repo.path(), &["clone", "--quiet", "--bare", ".", origin.to_str().unwrap()]);
        repo.git(&["remote", "add", "origin", "../origin.git"]);
        let expected = fs::canonicalize(&origin).unwrap();
        repo.git(&["worktree", "add", "--quiet", "../linked"]);
        let bare = repo.beside("bare.git");
        repo.git(&["clone", "--quiet", "--mirror", ".", bare.to_str().unwrap()]);
        git_in(&bare, &["config", "remote.origin.url", "../origin.git"]);
        for path in [repo.path().to_owned(), repo.path().join(".git"), repo.beside("linked"), bare] {
            let found = crate::git::Watched::open(&path).unwrap().remote_url().unwrap();
            assert_eq!(Path::new(&found), expected, "{}", path.display());
        }
    }

    #[test]
    fn the_remote_of_a_repository_that_only_git_can_read_is_found_too() {
        let repo = Repo::with(&["--ref-format=reftable"]);
        repo.git(&["remote", "add", "origin", "https://h/x"]);
        assert_eq!(repo.watched().remote_url().unwrap(), "https://h/x");
    }
}
