//! What goes into a pack: the asked-for commits, and what their trees have that the receiver's trees lack. Enumerates
//! trees itself rather than walking history, so that a pack never holds an ancestor, and costs what the difference
//! costs.

use std::cmp::Ordering;
use std::collections::HashSet;

use git2::{Odb, Oid};

use super::GitError;
use super::objects::{Entry, EntryKind, Objects, entries};
use crate::model::CommitId;

/// The objects to send, commits and trees before what is in them. `commits` are from oldest to newest.
pub(super) fn select(objects: &Objects, commits: &[CommitId], haves: &[CommitId]) -> Result<Vec<Oid>, GitError> {
    let odb = objects.odb()?;
    let mut peers = Vec::new();
    for have in haves {
        // What the receiver has and this side lacks is no help.
        if let Ok(commit) = objects.commit(*have) {
            push_new(&mut peers, commit.tree_id());
        }
    }
    let mut selection = Selection { objects, odb: &odb, seen: HashSet::new(), list: Vec::new() };
    for commit in commits {
        let found = objects.commit(*commit)?;
        if selection.seen.insert(found.id()) {
            selection.list.push(found.id());
        }
        selection.add_tree(found.tree_id(), &peers)?;
        push_new(&mut peers, found.tree_id());
    }
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

/// A tree still to be looked at, and the receiver's trees at the same path.
struct Pending {
    tree: Oid,
    peers: Vec<Oid>,
}

impl Selection<'_> {
    /// Selects what is in `root` and not at the same path in one of `peers`. A list of pending trees rather than
    /// recursion, because trees may be nested deeper than a small stack allows.
    fn add_tree(&mut self, root: Oid, peers: &[Oid]) -> Result<(), GitError> {
        let mut pending = vec![Pending { tree: root, peers: peers.to_vec() }];
        while let Some(Pending { tree, peers }) = pending.pop() {
            if peers.contains(&tree) || !self.seen.insert(tree) {
                continue;
            }
            self.list.push(tree);
            let data = self.objects.tree(self.odb, tree)?;
            let mut of_peers = Vec::with_capacity(peers.len());
            for peer in &peers {
                of_peers.push((*peer, self.objects.tree(self.odb, *peer)?));
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

    fn add_entry(&mut self, entry: &Entry<'_>, columns: &mut [Column<'_>], pending: &mut Vec<Pending>) {
        let mut subtrees = Vec::new();
        for column in columns {
            match column.at(entry) {
                Some(peer) if peer.id == entry.id => return,
                Some(peer) if peer.kind == EntryKind::Tree => push_new(&mut subtrees, peer.id),
                _ => {}
            }
        }
        match entry.kind {
            EntryKind::Tree => pending.push(Pending { tree: entry.id, peers: subtrees }),
            EntryKind::File | EntryKind::Executable | EntryKind::Link => {
                if self.seen.insert(entry.id) {
                    self.list.push(entry.id);
                }
            }
            // Its commit is in another repository.
            EntryKind::Submodule => {}
        }
    }
}

/// One peer's tree, read along with the tree that is being sent.
struct Column<'a> {
    entries: Vec<Entry<'a>>,
    at: usize,
}

impl<'a> Column<'a> {
    /// The entry of the same name and sort. Trees are sorted, so each is read once; in a tree that is not, an entry may
    /// be overlooked, and then is sent needlessly.
    fn at(&mut self, wanted: &Entry<'_>) -> Option<Entry<'a>> {
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

/// git sorts a tree's entries as if subtrees' names ended in a slash.
fn in_tree_order(left: &Entry<'_>, right: &Entry<'_>) -> Ordering {
    let slash = |entry: &Entry<'_>| (entry.kind == EntryKind::Tree).then_some(&b'/');
    left.name.iter().chain(slash(left)).cmp(right.name.iter().chain(slash(right)))
}
