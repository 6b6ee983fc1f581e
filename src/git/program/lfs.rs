//! Fetches LFS objects by the user's `git lfs`. It works in an empty repository of our own that has nothing but the
//! wanted pointers. So it fetches exactly those, and sees neither the watched repository nor the commit, whose
//! `.lfsconfig` could send it elsewhere.

use std::fs;
use std::path::Path;

use git2::{ObjectFormat, Repository, RepositoryInitOptions, Signature, Time};

use super::mirror::{FETCH_LIMIT, SILENCE_LIMIT, lock};
use super::{Limits, network_git, run};
use crate::git::credentials::masked_word;
use crate::git::error::GitError;

/// Said by git if there is no program of that name.
const NOT_INSTALLED: &str = "'lfs' is not a git command";

/// The place from which LFS objects are fetched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::git) struct LfsRemote {
    /// The URL of the repository. It may hold credentials.
    pub(in crate::git) url: String,
    /// The URL of the LFS server, if it is not the one that the repository's URL stands for.
    pub(in crate::git) endpoint: Option<String>,
}

/// Fetches the objects of these pointers into a storage. After an error, some of them may be there.
pub(in crate::git) fn fetch_lfs(remote: &LfsRemote, storage: &Path, pointers: &[String]) -> Result<(), GitError> {
    let _lock = lock(storage)?;
    fs::create_dir_all(storage).map_err(GitError::io("make directory", storage))?;
    let place = tempfile::Builder::new().prefix("surveil-lfs-").tempdir();
    let place = place.map_err(GitError::io("make a directory in", &std::env::temp_dir()))?;
    let refuse = |source| GitError::Open { path: place.path().to_owned(), source };
    let commit = with_pointers(place.path(), storage, pointers).map_err(refuse)?;
    let mut command = network_git()?;
    // Not `--git-dir`: git-lfs would take it for the directory of a remote on this machine too.
    command.arg("-C").arg(place.path()).args(["-c", "lfs.fetchinclude=", "-c", "lfs.fetchexclude="]);
    command.args(["lfs", "fetch", "origin", &commit]);
    // Variables, because arguments are shown to every user of the machine.
    let mut settings = vec![("remote.origin.url", &remote.url)];
    settings.extend(remote.endpoint.as_ref().map(|endpoint| ("lfs.url", endpoint)));
    command.env("GIT_CONFIG_COUNT", settings.len().to_string());
    for (at, (name, value)) in settings.into_iter().enumerate() {
        command.env(format!("GIT_CONFIG_KEY_{at}"), name).env(format!("GIT_CONFIG_VALUE_{at}"), value);
    }
    // Without a terminal it would be silent, as one that hangs.
    command.env("GIT_LFS_FORCE_PROGRESS", "1");
    let action = format!("fetch LFS objects from {}", masked_word(remote.endpoint.as_ref().unwrap_or(&remote.url)));
    let fetched = run(command, &action, Limits { whole: FETCH_LIMIT, silence: SILENCE_LIMIT });
    // Reports about errors, with what was said already.
    fs::remove_dir_all(storage.join("logs")).ok();
    match fetched {
        Err(GitError::Program { action, detail }) if detail.contains(NOT_INSTALLED) => {
            Err(GitError::Program { action, detail: "git-lfs is not installed on this machine".to_owned() })
        }
        fetched => fetched.map(drop),
    }
}

/// Makes a repository with a commit of these pointers. Returns its id.
fn with_pointers(place: &Path, storage: &Path, pointers: &[String]) -> Result<String, git2::Error> {
    let mut options = RepositoryInitOptions::new();
    options.external_template(false).no_reinit(true).object_format(ObjectFormat::Sha1);
    options.initial_head("main");
    let repository = Repository::init_opts(place, &options)?;
    let storage = storage.to_str().ok_or_else(|| git2::Error::from_str("the path of the storage is not UTF-8"))?;
    // In the repository's own file: a variable would move the storage of a remote on this machine too.
    git2::Config::open(&place.join(".git").join("config"))?.set_str("lfs.storage", storage)?;
    let mut tree = repository.treebuilder(None)?;
    for (at, pointer) in pointers.iter().enumerate() {
        tree.insert(at.to_string(), repository.blob(pointer.as_bytes())?, 0o100_644)?;
    }
    let tree = repository.find_tree(tree.write()?)?;
    let nobody = Signature::new("surveil", "surveil@localhost", &Time::new(0, 0))?;
    Ok(repository.commit(None, &nobody, &nobody, "the wanted pointers", &tree, &[])?.to_string())
}
