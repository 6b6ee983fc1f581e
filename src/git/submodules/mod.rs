//! The submodules of a commit of a watched repository: finds where each of them is described, gets its objects, and
//! makes them readable beside those of the repository. What this machine has is read where it is; the rest is fetched
//! by the git program into a directory of our own.
//!
//! A submodule that cannot be had is no error of the repository: it is told in a sentence, without credentials.

#[cfg(any(test, fuzzing))]
#[path = "../../fuzz/git_submodules.rs"]
pub(crate) mod fuzz;
mod modules_file;
mod place;

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use git2::{Config, ObjectFormat, ObjectType, Odb, Oid};
use tempfile::TempDir;

use super::commit_files;
use super::database::Database;
use super::error::{GitError, shown_path};
use super::facts::{Module, path_fault};
use super::hash::id_of;
use super::objects::{EntryKind, Objects, commit_id, entries, of_its_type};
use super::partial_clone::is_partial_clone;
use super::program;
use crate::model::{CommitId, Submodules};

const FILE: &str = ".gitmodules";
const FILE_BYTES_MAX: usize = 1 << 20;

/// How deep submodules may be in one another, and how many there may be.
const DEPTH_MAX: usize = 10;
const COUNT_MAX: usize = 2_000;

/// The repository of a commit whose submodules are looked for.
pub(super) struct Superproject<'a> {
    pub(super) objects: PathBuf,
    pub(super) format: ObjectFormat,
    pub(super) commit: CommitId,
    /// The URL from which relative ones count.
    pub(super) base: String,
    /// The directory with its configuration and with the repositories of its submodules.
    pub(super) git_dir: PathBuf,
    /// The directory into which submodules are fetched.
    pub(super) cache: &'a Path,
}

/// The repository that has the objects of a submodule.
pub(super) struct ModulePlace {
    /// The path of the submodule, from the root of the repository.
    pub(super) path: String,
    pub(super) commit: CommitId,
    pub(super) objects: PathBuf,
    /// The URL from which it was fetched; `None` if it was there.
    pub(super) fetched_from: Option<String>,
}

/// The submodules of a commit.
pub(super) struct Found {
    /// By their paths from the root of the repository.
    pub(super) modules: BTreeMap<String, Module>,
    /// Why others cannot be had, a sentence each.
    pub(super) problems: Vec<String>,
    pub(super) places: Vec<ModulePlace>,
    pub(super) beside: Beside,
}

/// The objects of a repository with those of its submodules.
pub(super) struct Beside {
    pub(super) database: Database,
    _place: TempDir,
}

/// A commit whose submodules are still to be looked for.
struct Pending {
    objects: PathBuf,
    commit: CommitId,
    base: String,
    git_dir: PathBuf,
    /// The path of its tree, with a slash at the end; empty for the repository itself.
    prefix: String,
    /// The submodules that it is in, and itself.
    chain: Vec<(String, Oid)>,
}

/// Finds the submodules of a commit, and gets their objects.
pub(super) fn find(of: &Superproject<'_>, wanted: Submodules) -> Result<Found, GitError> {
    let (mut modules, mut problems, mut places) = (BTreeMap::new(), Vec::new(), Vec::new());
    let mut directories = vec![of.objects.clone()];
    let mut pending = vec![Pending {
        objects: of.objects.clone(),
        commit: of.commit,
        base: of.base.clone(),
        git_dir: of.git_dir.clone(),
        prefix: String::new(),
        chain: Vec::new(),
    }];
    while let Some(at) = pending.pop() {
        let objects = Objects::open(&at.objects, of.format)?;
        let odb = objects.odb()?;
        let links = links_of(&objects, &odb, at.commit)?;
        if links.is_empty() {
            continue;
        }
        let text = commit_files::read_file(&objects, &odb, (at.commit, FILE), FILE_BYTES_MAX);
        let described = match text {
            Ok(text) => modules_file::parse(&text.unwrap_or_default()),
            Err(GitError::TooLarge { .. }) => None,
            Err(error) => return Err(error),
        };
        let Some(described) = described else {
            problems.push(format!("{}{FILE} cannot be read", at.prefix));
            continue;
        };
        for (path, commit) in links {
            let shown = format!("{}{}", at.prefix, shown_path(&path));
            if modules.len() >= COUNT_MAX {
                problems.push(format!("there are more than {COUNT_MAX} submodules"));
                break;
            }
            match get(of, &at, (&path, commit), &described) {
                Ok((module, objects, url)) => {
                    let full = format!("{}{}", at.prefix, String::from_utf8_lossy(&path));
                    if wanted == Submodules::Recursive {
                        let chain = [&at.chain[..], &[(url.clone(), commit)]].concat();
                        let git_dir = objects.parent().unwrap_or(Path::new("/")).to_owned();
                        let (prefix, commit) = (format!("{full}/"), commit_id(commit));
                        let (objects, base) = (objects.clone(), url.clone());
                        pending.push(Pending { objects, commit, base, git_dir, prefix, chain });
                    }
                    if !directories.contains(&objects) {
                        directories.push(objects.clone());
                    }
                    let is_fetched = objects.starts_with(of.cache);
                    places.push(ModulePlace {
                        path: full.clone(),
                        commit: commit_id(commit),
                        objects,
                        fetched_from: is_fetched.then_some(url),
                    });
                    modules.insert(full, module);
                }
                Err(why) => problems.push(format!("submodule {shown}: {why}")),
            }
        }
    }
    Ok(Found { modules, problems, places, beside: Beside::of(&directories, of.format)? })
}

/// Gets the objects of one submodule. Returns it, the directory of its objects, and its URL; or the reason why not.
fn get(
    of: &Superproject<'_>,
    at: &Pending,
    (path, commit): (&[u8], Oid),
    described: &[modules_file::Described],
) -> Result<(Module, PathBuf, String), String> {
    let path = str::from_utf8(path).map_err(|_| "its path is not UTF-8".to_owned())?;
    let module = described.iter().find(|module| module.path.as_deref() == Some(path));
    let module = module.ok_or_else(|| format!("{FILE} does not describe it"))?;
    if let Some(why) = path_fault(path).or_else(|| path_fault(&module.name)) {
        return Err(why.to_owned());
    }
    let written = module.url.as_deref().unwrap_or_default();
    // The person's own configuration comes first, as for git: the URL may have moved.
    let own = url_in(&at.git_dir, &module.name);
    let mut why = String::new();
    for url in own.as_deref().into_iter().chain([written]) {
        let url = match place::resolve(&at.base, url) {
            Ok(url) => url,
            Err(fault) => {
                why = fault.to_owned();
                continue;
            }
        };
        if at.chain.iter().any(|known| *known == (url.clone(), commit)) {
            return Err("it contains itself".to_owned());
        }
        if at.chain.len() >= DEPTH_MAX {
            return Err(format!("it is in more than {DEPTH_MAX} others"));
        }
        let told = Module { commit, name: module.name.clone(), url: place::shown(&url) };
        let own_dir = at.git_dir.join("modules").join(&module.name);
        let own = own_dir.join("objects");
        if !is_partial_clone(&own_dir) && has(&own, of.format, commit) {
            return Ok((told, own, url));
        }
        let place = of.cache.join(format!("{}.git", id_of(of.format, ObjectType::Blob, url.as_bytes())));
        let objects = place.join("objects");
        if has(&objects, of.format, commit) {
            return Ok((told, objects, url));
        }
        match program::fetch_commit(&url, &place, commit_id(commit)) {
            Ok(()) if has(&objects, of.format, commit) => return Ok((told, objects, url)),
            Ok(()) => why = format!("{} has no commit {}", told.url, commit_id(commit).short()),
            Err(error) => why = error.to_string(),
        }
    }
    Err(why)
}

/// Returns the URL that the configuration of a repository gives a submodule.
fn url_in(git_dir: &Path, name: &str) -> Option<String> {
    Config::open(&git_dir.join("config")).ok()?.get_string(&format!("submodule.{name}.url")).ok()
}

fn has(objects: &Path, format: ObjectFormat, commit: Oid) -> bool {
    objects.is_dir() && Objects::open(objects, format).is_ok_and(|objects| objects.has_commit(commit_id(commit)))
}

/// Returns the submodules in the tree of a commit: path and commit.
fn links_of(objects: &Objects, odb: &Odb<'_>, commit: CommitId) -> Result<Vec<(Vec<u8>, Oid)>, GitError> {
    let mut found = Vec::new();
    let mut pending = vec![(Vec::new(), objects.commit(commit)?.tree_id())];
    while let Some((path, tree)) = pending.pop() {
        let Some(data) = of_its_type(objects.tree(odb, tree))? else { continue };
        for entry in entries(tree, data.data())? {
            let below = || if path.is_empty() { entry.name.to_vec() } else { [&path, entry.name].join(&b'/') };
            match entry.kind {
                EntryKind::Tree => pending.push((below(), entry.id)),
                EntryKind::Submodule => found.push((below(), entry.id)),
                EntryKind::File | EntryKind::Executable | EntryKind::Link => {}
            }
        }
    }
    found.sort();
    Ok(found)
}

impl Beside {
    /// Makes a database of all these directories.
    fn of(directories: &[PathBuf], format: ObjectFormat) -> Result<Self, GitError> {
        let place = tempfile::Builder::new().prefix("surveil-submodules-").tempdir();
        let place = place.map_err(GitError::io("make a directory in", &std::env::temp_dir()))?;
        let objects = place.path().join("objects");
        for directory in ["info", "pack"] {
            let path = objects.join(directory);
            fs::create_dir_all(&path).map_err(GitError::io("make directory", &path))?;
        }
        let lines: Vec<u8> =
            directories.iter().flat_map(|path| [path.as_os_str().as_bytes(), b"\n"].concat()).collect();
        let file = objects.join("info").join("alternates");
        fs::write(&file, lines).map_err(GitError::io("write", &file))?;
        Ok(Self { database: Database::open(&objects, format, objects.join("pack"))?, _place: place })
    }
}
