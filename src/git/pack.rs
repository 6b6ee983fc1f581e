//! What goes into a pack, and the pack as a stream. Enumerates trees itself rather than walking history: a pack holds the
//! asked-for commits and what their trees have that the receiver's trees lack, and never an ancestor.

use std::cmp::Ordering;
use std::collections::HashSet;

use git2::{Odb, Oid};

use super::GitError;
use super::objects::{Database, Entry, EntryKind, Objects, entries};
use crate::model::CommitId;

/// Smaller pieces cost a call each, larger ones delay the receiver.
const PIECE_BYTES: usize = 128 * 1024;

/// No piece is larger: it has to fit a payload of one message.
const PIECE_BYTES_MAX: usize = 512 * 1024;

/// Below this, starting threads to look for deltas takes longer than looking.
const OBJECTS_FOR_THREADS: usize = 1_000;

/// Memory for the delta search grows with each thread, the gain hardly beyond this.
const THREADS_MAX: usize = 8;

/// Builds a pack of `commits` (oldest first) for someone who has `haves`, into `sink`, which stops it by returning false.
pub(super) fn build(
    database: &Database,
    commits: &[CommitId],
    haves: &[CommitId],
    sink: &mut dyn FnMut(&[u8]) -> bool,
) -> Result<(), GitError> {
    let mut has_begun = false;
    database.with(|objects| {
        let selected = select(objects, commits, haves)?;
        // A second try is only of use to a receiver that has seen nothing of the first.
        if has_begun {
            return Err(GitError::Stopped);
        }
        stream(objects, selected, &mut |piece| {
            has_begun = true;
            sink(piece)
        })
    })
}

/// Streams a pack of these objects.
pub(super) fn stream(
    objects: &Objects,
    selected: Vec<Selected>,
    sink: &mut dyn FnMut(&[u8]) -> bool,
) -> Result<(), GitError> {
    let refuse = |source| GitError::Build { path: objects.directory().to_owned(), source };
    let mut builder = objects.repository().packbuilder().map_err(refuse)?;
    if selected.len() > OBJECTS_FOR_THREADS {
        let threads = std::thread::available_parallelism().map_or(1, |n| n.get().min(THREADS_MAX));
        builder.set_threads(threads as u32);
    }
    for (id, name) in selected {
        builder.insert_object(id, name.as_deref()).map_err(|source| objects.unreadable("object", id, source))?;
    }
    let mut pieces = Pieces { sink, buffer: Vec::new(), stopped: false };
    let built = builder.foreach(|bytes| pieces.add(bytes));
    if pieces.stopped {
        return Err(GitError::Stopped);
    }
    built.map_err(refuse)?;
    if pieces.flush() { Ok(()) } else { Err(GitError::Stopped) }
}

/// An object to send, with its file name, by which the delta search finds versions of one file.
pub(super) type Selected = (Oid, Option<String>);

fn select(objects: &Objects, commits: &[CommitId], haves: &[CommitId]) -> Result<Vec<Selected>, GitError> {
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
            selection.list.push((found.id(), None));
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
    list: Vec<Selected>,
}

/// A tree still to be looked at, and the receiver's trees at the same path.
struct Pending {
    tree: Oid,
    name: Option<String>,
    peers: Vec<Oid>,
}

impl Selection<'_> {
    /// Selects what is in `root` and not at the same path in one of `peers`. A list of pending trees rather than
    /// recursion, because trees may be nested deeper than a small stack allows.
    fn add_tree(&mut self, root: Oid, peers: &[Oid]) -> Result<(), GitError> {
        let mut pending = vec![Pending { tree: root, name: None, peers: peers.to_vec() }];
        while let Some(Pending { tree, name, peers }) = pending.pop() {
            if peers.contains(&tree) || !self.seen.insert(tree) {
                continue;
            }
            self.list.push((tree, name));
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
        let name = || Some(String::from_utf8_lossy(entry.name).into_owned());
        match entry.kind {
            EntryKind::Tree => pending.push(Pending { tree: entry.id, name: name(), peers: subtrees }),
            EntryKind::File | EntryKind::Executable | EntryKind::Link => {
                if self.seen.insert(entry.id) {
                    self.list.push((entry.id, name()));
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

/// Gathers the builder's many small writes into pieces worth sending, and cuts its large ones.
struct Pieces<'a> {
    sink: &'a mut dyn FnMut(&[u8]) -> bool,
    buffer: Vec<u8>,
    stopped: bool,
}

impl Pieces<'_> {
    fn add(&mut self, bytes: &[u8]) -> bool {
        if self.buffer.len() + bytes.len() <= PIECE_BYTES {
            self.buffer.extend_from_slice(bytes);
            return true;
        }
        self.flush() && bytes.chunks(PIECE_BYTES_MAX).all(|piece| self.give(piece))
    }

    fn flush(&mut self) -> bool {
        let buffer = std::mem::take(&mut self.buffer);
        let more = buffer.is_empty() || self.give(&buffer);
        self.buffer = buffer;
        self.buffer.clear();
        more
    }

    fn give(&mut self, piece: &[u8]) -> bool {
        self.stopped = !(self.sink)(piece);
        !self.stopped
    }
}
