//! Selects the objects of a pack: the requested commits, and the parts of their trees that the receiver's trees lack.
//! Compares trees and walks no history: its cost depends on the difference alone. Which commits of a history belong to
//! a pack is found by [`super::history`].

use std::cmp::Ordering;
use std::collections::{HashMap, HashSet};

use git2::{Odb, Oid};

use super::error::GitError;
use super::history::Extra;
use super::objects::{EntryKind, Objects, TreeEntry, commit_id, entries};
use crate::model::CommitId;

/// Returns the objects to send: those of the history first, then those of `commits`, which are ordered from oldest to
/// newest, with commits and trees before their content.
pub(super) fn select(
    objects: &Objects,
    commits: &[CommitId],
    haves: &[CommitId],
    extra: &Extra,
) -> Result<Vec<Oid>, GitError> {
    let odb = objects.odb()?;
    let mut peers = Vec::new();
    for have in haves {
        // A commit that the receiver has and this side lacks cannot be compared with.
        if let Ok(commit) = objects.commit(*have) {
            push_new(&mut peers, commit.tree_id());
        }
    }
    let mut selection = Selection { objects, odb: &odb, seen: HashSet::new(), list: Vec::new() };
    selection.add_past(extra, &peers)?;
    for commit in commits {
        let found = objects.commit(*commit)?;
        if selection.seen.insert(found.id()) {
            selection.list.push(found.id());
        }
        selection.add_tree(found.tree_id(), &peers)?;
        // The next commit's tree is compared with this one as well, because the receiver then has it.
        push_new(&mut peers, found.tree_id());
    }
    for (module, had) in &extra.modules {
        let found = objects.commit(commit_id(*module))?;
        // A commit that this side lacks cannot be compared with.
        let had = had.and_then(|had| objects.commit(commit_id(had)).ok()).map(|had| had.tree_id());
        if selection.seen.insert(*module) {
            selection.list.push(*module);
            selection.add_tree(found.tree_id(), had.as_slice())?;
        }
    }
    let more = extra.objects.iter().copied().filter(|id| selection.seen.insert(*id));
    selection.list.extend(more);
    Ok(selection.list)
}

fn push_new(ids: &mut Vec<Oid>, id: Oid) {
    if !ids.contains(&id) {
        ids.push(id);
    }
}

struct Selection<'a> {
    objects: &'a Objects,
    odb: &'a Odb<'a>,
    seen: HashSet<Oid>,
    list: Vec<Oid>,
}

/// A tree that is still to be compared, and the receiver's trees at the same path.
struct PendingTree {
    tree: Oid,
    peers: Vec<Oid>,
}

impl Selection<'_> {
    /// Selects the commits of a history. Each is compared with its parents, whose trees the receiver has by then, or
    /// with `haves` if it has none of them.
    fn add_past(&mut self, extra: &Extra, haves: &[Oid]) -> Result<(), GitError> {
        let mut trees: HashMap<Oid, Oid> = HashMap::new();
        for id in &extra.past {
            let commit = self.objects.commit(commit_id(*id))?;
            let mut peers = Vec::new();
            for parent in commit.parents() {
                match trees.get(parent) {
                    Some(tree) => push_new(&mut peers, *tree),
                    None if extra.had.contains(parent) => {
                        let tree = self.objects.commit(commit_id(*parent))?.tree_id();
                        trees.insert(*parent, tree);
                        push_new(&mut peers, tree);
                    }
                    None => {}
                }
            }
            self.seen.insert(*id);
            self.list.push(*id);
            self.add_tree(commit.tree_id(), if peers.is_empty() { haves } else { &peers })?;
            trees.insert(*id, commit.tree_id());
        }
        Ok(())
    }

    /// Selects the objects in `root` that are not at the same path in one of `peers`. Keeps a list of pending trees
    /// instead of recursing, because trees may be nested deeper than a small stack allows.
    fn add_tree(&mut self, root: Oid, peers: &[Oid]) -> Result<(), GitError> {
        let mut pending = vec![PendingTree { tree: root, peers: peers.to_vec() }];
        while let Some(PendingTree { tree, peers }) = pending.pop() {
            if peers.contains(&tree) || !self.seen.insert(tree) {
                continue;
            }
            self.list.push(tree);
            let data = match self.objects.tree(self.odb, tree) {
                // The object goes along as what it is. The checkout then tells what is wrong with the commit.
                Err(GitError::WrongType { .. }) => continue,
                data => data?,
            };
            let mut of_peers = Vec::with_capacity(peers.len());
            for peer in &peers {
                match self.objects.tree(self.odb, *peer) {
                    Err(GitError::WrongType { .. }) => {}
                    data => of_peers.push((*peer, data?)),
                }
            }
            let mut columns = Vec::with_capacity(peers.len());
            for (peer, data) in &of_peers {
                columns.push(Column { entries: entries(*peer, data.data())?, at: 0 });
            }
            for entry in entries(tree, data.data())? {
                self.add_entry(&entry, &mut columns, &mut pending);
            }
        }
        Ok(())
    }

    fn add_entry(&mut self, entry: &TreeEntry<'_>, columns: &mut [Column<'_>], pending: &mut Vec<PendingTree>) {
        let mut subtrees = Vec::new();
        for column in columns {
            match column.at(entry) {
                // The receiver has this very entry at the same path, with everything below it.
                Some(peer) if peer.id == entry.id => return,
                Some(peer) if peer.kind == EntryKind::Tree => push_new(&mut subtrees, peer.id),
                _ => {}
            }
        }
        match entry.kind {
            EntryKind::Tree => pending.push(PendingTree { tree: entry.id, peers: subtrees }),
            EntryKind::File | EntryKind::Executable | EntryKind::Link => {
                if self.seen.insert(entry.id) {
                    self.list.push(entry.id);
                }
            }
            // A submodule's commit is in another repository.
            EntryKind::Submodule => {}
        }
    }
}

/// One of the receiver's trees, read in step with the tree that is being sent.
struct Column<'a> {
    entries: Vec<TreeEntry<'a>>,
    at: usize,
}

impl<'a> Column<'a> {
    /// Returns the entry of the same name and kind. Trees are sorted, so each is read once. In a tree that is not
    /// sorted an entry may be overlooked; then it is sent although the receiver has it.
    fn at(&mut self, wanted: &TreeEntry<'_>) -> Option<TreeEntry<'a>> {
        while let Some(entry) = self.entries.get(self.at) {
            match in_tree_order(entry, wanted) {
                Ordering::Less => self.at += 1,
                Ordering::Equal => return Some(*entry),
                Ordering::Greater => return None,
            }
        }
        None
    }
}

/// Compares as git does, which sorts a tree's entries as if the names of subtrees ended in a slash.
fn in_tree_order(left: &TreeEntry<'_>, right: &TreeEntry<'_>) -> Ordering {
    let slash = |entry: &TreeEntry<'_>| (entry.kind == EntryKind::Tree).then_some(&b'/');
    left.name.iter().chain(slash(left)).cmp(right.name.iter().chain(slash(right)))
}
