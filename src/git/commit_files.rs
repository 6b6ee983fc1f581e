//! Files and directories of a commit, by their paths.

use git2::{Odb, Oid};

use super::error::GitError;
use super::objects::{EntryKind, Objects, entries, of_its_type};
use crate::model::CommitId;

/// Reads a file of a commit, given its path. `None` if there is no such file. Refuses one with more than `limit` bytes.
pub(super) fn read_file(
    objects: &Objects,
    odb: &Odb<'_>,
    (commit, path): (CommitId, &str),
    limit: usize,
) -> Result<Option<Vec<u8>>, GitError> {
    let (directory, name) = path.rsplit_once('/').unwrap_or(("", path));
    let Some(tree) = find_directory(objects, odb, commit, directory)? else { return Ok(None) };
    let Some((kind, id)) = find_entry(objects, odb, tree, name)? else { return Ok(None) };
    if !matches!(kind, EntryKind::File | EntryKind::Executable) {
        return Ok(None);
    }
    let (size, _) = objects.header(odb, id)?;
    if size > limit {
        return Err(GitError::TooLarge { commit, file: path.to_owned(), size, limit });
    }
    Ok(of_its_type(objects.blob(odb, id))?.map(|blob| blob.data().to_vec()))
}

/// Whether the commit has anything at this path: a file, a directory, a symbolic link or a submodule.
pub(super) fn has_entry(objects: &Objects, odb: &Odb<'_>, (commit, path): (CommitId, &str)) -> Result<bool, GitError> {
    let (directory, name) = path.rsplit_once('/').unwrap_or(("", path));
    let Some(tree) = find_directory(objects, odb, commit, directory)? else { return Ok(false) };
    Ok(find_entry(objects, odb, tree, name)?.is_some())
}

/// Returns the tree at a path of the commit; the root tree for an empty path.
pub(super) fn find_directory(
    objects: &Objects,
    odb: &Odb<'_>,
    commit: CommitId,
    path: &str,
) -> Result<Option<Oid>, GitError> {
    let mut tree = objects.commit(commit)?.tree_id();
    for name in path.split('/').filter(|name| !name.is_empty() && *name != ".") {
        match find_entry(objects, odb, tree, name)? {
            Some((EntryKind::Tree, id)) => tree = id,
            _ => return Ok(None),
        }
    }
    Ok(Some(tree))
}

fn find_entry(objects: &Objects, odb: &Odb<'_>, tree: Oid, name: &str) -> Result<Option<(EntryKind, Oid)>, GitError> {
    let Some(data) = of_its_type(objects.tree(odb, tree))? else { return Ok(None) };
    let found = entries(tree, data.data())?.into_iter().find(|entry| entry.name == name.as_bytes());
    Ok(found.map(|entry| (entry.kind, entry.id)))
}
