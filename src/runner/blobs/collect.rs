//! Collects the files of an artifact in a work tree: what its globs match, with the hash of each file. Nothing of the
//! attempt runs any more, so a file that changes meanwhile is somebody else's doing, and is an error.

use std::collections::BTreeMap;
use std::path::Path;

use crossbeam_channel::Receiver;

use super::hashing::{CollectError, Hashing};
use super::repositories::Repositories;
use crate::blobs::{Entry, EntryKind, Found, FoundKind, PathTrouble, TreeDirectory, path_fault, stays_inside};
use crate::model::glob::PathGlobs;
use crate::model::{ArtifactRule, BlobId};

/// The most that the artifacts of one attempt may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ArtifactLimits {
    pub(crate) files: u64,
    pub(crate) bytes: u64,
}

/// The files that were collected.
#[derive(Debug)]
pub(super) struct Collected {
    /// In the order of a manifest.
    pub(super) entries: Vec<Entry>,
    pub(super) bytes: u64,
}

/// The globs of an artifact, or of the key of a cache.
pub(super) struct Globs<'r> {
    all: PathGlobs,
    /// Each glob that takes back nothing, and whether it has matched something.
    single: Vec<(&'r String, PathGlobs, bool)>,
    /// The directories that the globs begin with. Only what is in, above or below them is looked through.
    begins: Vec<String>,
}

impl<'r> Globs<'r> {
    pub(super) fn new(paths: &'r [String]) -> Self {
        let positive = || paths.iter().filter(|glob| !glob.starts_with('!'));
        let single = positive().map(|glob| (glob, PathGlobs::new(std::slice::from_ref(glob)), false)).collect();
        let plain = |glob: &String| {
            let names = glob.trim_end_matches('/').split('/').take_while(|name| !name.contains(['*', '?']));
            names.collect::<Vec<_>>().join("/")
        };
        Self { all: PathGlobs::new(paths), single, begins: positive().map(plain).collect() }
    }

    /// Whether something in a directory may match.
    fn may_match_in(&self, directory: &str) -> bool {
        let is_above = |one: &str, other: &str| {
            one.is_empty() || other == one || other.strip_prefix(one).is_some_and(|rest| rest.starts_with('/'))
        };
        self.begins.iter().any(|begin| is_above(begin, directory) || is_above(directory, begin))
    }

    /// Returns the globs that have matched nothing.
    pub(super) fn idle(&self) -> Vec<String> {
        self.single.iter().filter(|(.., has_matched)| !has_matched).map(|(glob, ..)| (*glob).clone()).collect()
    }

    /// Whether the globs match a path.
    pub(super) fn take(&mut self, path: &str) -> bool {
        if !self.all.matches(path) {
            return false;
        }
        for (_, glob, has_matched) in &mut self.single {
            *has_matched = *has_matched || glob.matches(path);
        }
        true
    }
}

/// A work tree of which files are kept.
#[derive(Debug, Clone, Copy)]
pub(crate) struct KeptTree<'a> {
    pub(crate) path: &'a Path,
    /// Nothing of them is a file of the task.
    pub(crate) repositories: &'a Repositories,
}

impl KeptTree<'_> {
    /// Passes what is in the tree to `each`, without directories in which the globs match nothing. `root` is the tree.
    pub(super) fn walk<E: From<PathTrouble>>(
        &self,
        root: &TreeDirectory,
        globs: &Globs<'_>,
        each: &mut dyn FnMut(Found) -> Result<(), E>,
    ) -> Result<(), E> {
        let enter = |directory: &str| globs.may_match_in(directory) && !self.repositories.have(directory);
        // A task may have put a file in the place of a repository.
        root.walk(&enter, &mut |found| if self.repositories.have(&found.path) { Ok(()) } else { each(found) })
    }
}

/// Collects what the globs of an artifact match, at most what is `left` of the limits.
pub(super) fn collect(
    rule: &ArtifactRule,
    tree: KeptTree<'_>,
    left: ArtifactLimits,
    cancelled: &Receiver<()>,
) -> Result<Collected, CollectError> {
    let problem = |text: String| CollectError::Problem(text);
    let root =
        TreeDirectory::open(tree.path).map_err(|error| problem(format!("could not open the work tree: {error}")))?;
    let mut globs = Globs::new(&rule.paths);
    let mut found: Vec<Found> = Vec::new();
    let pruning = Globs::new(&rule.paths);
    tree.walk::<CollectError>(&root, &pruning, &mut |one| {
        if globs.take(&one.path) {
            if found.len() as u64 >= left.files {
                let limit = left.files;
                return Err(problem(format!(
                    "there are more than {limit} files, which is what --artifact-files of the runner leaves"
                )));
            }
            found.push(one);
        }
        Ok(())
    })?;
    if let Some((glob, ..)) = globs.single.iter().find(|(.., has_matched)| !has_matched) {
        return Err(problem(format!("no file matches `{glob}`")));
    }
    let mut collected = Collected { entries: Vec::with_capacity(found.len()), bytes: 0 };
    for Found { path, mtime_ns, kind } in found {
        if let Some(fault) = path_fault(&path) {
            return Err(problem(fault));
        }
        let kind = match kind {
            FoundKind::File { executable, bytes } => {
                collected.bytes = collected.bytes.saturating_add(bytes);
                if collected.bytes > left.bytes {
                    let limit = left.bytes;
                    return Err(problem(format!(
                        "its files are longer than {limit} bytes, which is what --artifact-size of the runner leaves"
                    )));
                }
                EntryKind::File { blob: BlobId([0; 32]), bytes, executable }
            }
            FoundKind::Link { target: Some(target) } if stays_inside(&path, &target) => EntryKind::Link { target },
            FoundKind::Link { target: Some(target) } => {
                return Err(problem(format!("`{path}` is a symbolic link out of the work tree, to `{target}`")));
            }
            FoundKind::EmptyDirectory => EntryKind::EmptyDirectory,
            FoundKind::Special(what) => return Err(problem(format!("`{path}` is {what}, and no file"))),
            FoundKind::Link { target: None } => {
                return Err(problem(format!("`{path}` is a symbolic link whose target is not UTF-8")));
            }
            FoundKind::BadName => return Err(problem(format!("the name of `{path}` is not UTF-8"))),
        };
        collected.entries.push(Entry { path, mtime_ns, kind });
    }
    // They are read when it is known that all of them can be kept.
    let open = |path: &str| root.file(path);
    Hashing { open: &open, copies: None, cancelled }.run(&mut collected.entries)?;
    Ok(collected)
}

/// Returns each blob of these entries once, with the path and the length of a file that has it.
pub(super) fn blobs_of<'e>(entries: impl IntoIterator<Item = &'e Entry>) -> BTreeMap<BlobId, (&'e str, u64)> {
    let blob = |entry: &'e Entry| match entry.kind {
        EntryKind::File { blob, bytes, .. } => Some((blob, (entry.path.as_str(), bytes))),
        EntryKind::Link { .. } | EntryKind::EmptyDirectory => None,
    };
    entries.into_iter().filter_map(blob).collect()
}
