//! The paths in which the trees of two commits differ. Reads only trees that differ, and renames are not looked for.

use std::collections::HashMap;

use git2::{Odb, Oid};

use super::error::GitError;
use super::objects::{EntryKind, Objects, TreeEntry, entries, of_its_type};
use crate::model::CommitId;

/// Paths that are collected. With more, the commits differ everywhere.
pub const MAX_CHANGED_PATHS: usize = 10_000;
/// Bytes of all those paths together: names in a tree may be as long as their author likes.
const MAX_PATH_BYTES: usize = 4 << 20;
/// Bytes of trees that are read, with [`TREE_BYTES`] for each. It bounds the time, also for trees without any file.
const MAX_READ_BYTES: usize = 128 << 20;
const TREE_BYTES: usize = 512;

/// Two trees at the same path that are still to be compared. One of them may be missing.
struct PendingPair {
    path: Vec<u8>,
    trees: [Option<Oid>; 2],
}

/// Returns the paths of files, links and submodules that one commit has and the other has not, or has with other
/// content or another mode. Returns `None` if there are too many of them, or if a tree is not what it should be.
pub(super) fn changed_paths(
    objects: &Objects,
    odb: &Odb<'_>,
    old: CommitId,
    new: CommitId,
) -> Result<Option<Vec<String>>, GitError> {
    let roots = [old, new].map(|commit| objects.commit(commit).map(|commit| commit.tree_id()));
    let [old, new] = roots;
    let mut pending = vec![PendingPair { path: Vec::new(), trees: [Some(old?), Some(new?)] }];
    let mut changed = Changed { paths: Vec::new(), bytes: 0 };
    let mut read = 0;
    // A list in place of recursion, because trees may be nested deeper than a small stack allows.
    while let Some(PendingPair { path, trees: [old, new] }) = pending.pop() {
        if old == new {
            continue;
        }
        let mut data = [None, None];
        for (place, tree) in data.iter_mut().zip([old, new]) {
            let Some(tree) = tree else { continue };
            let Some(object) = of_its_type(objects.tree(odb, tree))? else { return Ok(None) };
            read += object.len() + TREE_BYTES;
            *place = Some((tree, object));
        }
        if read > MAX_READ_BYTES {
            return Ok(None);
        }
        let [old, new] = data.each_ref().map(|data| match data {
            Some((tree, object)) => entries(*tree, object.data()),
            None => Ok(Vec::new()),
        });
        // By name, and not side by side: a tree that git did not write may be in any order.
        let mut gone: HashMap<&[u8], TreeEntry<'_>> = old?.into_iter().map(|entry| (entry.name, entry)).collect();
        for entry in new? {
            match gone.remove(entry.name) {
                Some(before) if before.id == entry.id && before.kind == entry.kind => {}
                before => changed.add(&path, before, Some(entry), &mut pending),
            }
        }
        for before in gone.into_values() {
            changed.add(&path, Some(before), None, &mut pending);
        }
        if changed.paths.len() > MAX_CHANGED_PATHS || changed.bytes > MAX_PATH_BYTES {
            return Ok(None);
        }
    }
    changed.paths.sort_unstable();
    Ok(Some(changed.paths))
}

struct Changed {
    paths: Vec<String>,
    bytes: usize,
}

impl Changed {
    /// Adds the path of an entry that changed, or what is below it to the pending trees.
    fn add(
        &mut self,
        directory: &[u8],
        old: Option<TreeEntry<'_>>,
        new: Option<TreeEntry<'_>>,
        pending: &mut Vec<PendingPair>,
    ) {
        let Some(name) = old.or(new).map(|entry| entry.name) else { return };
        let path = if directory.is_empty() { name.to_vec() } else { [directory, b"/", name].concat() };
        let tree = |entry: Option<TreeEntry<'_>>| entry.filter(|entry| entry.kind == EntryKind::Tree).map(|it| it.id);
        let is_file = |entry: Option<TreeEntry<'_>>| entry.is_some_and(|entry| entry.kind != EntryKind::Tree);
        if is_file(old) || is_file(new) {
            self.bytes += path.len();
            self.paths.push(String::from_utf8_lossy(&path).into_owned());
        }
        let trees = [tree(old), tree(new)];
        if trees != [None, None] {
            pending.push(PendingPair { path, trees });
        }
    }
}
