//! The index of a work tree (gitformat-index(5), version 2), made from the plan. Every file and link stands in it with
//! the metadata that it had when its content was right, so git compares metadata alone. The extension `TREE` names the
//! tree of each directory, so git need not read the commit's trees to compare the index with them.

use std::cmp::Ordering;
use std::vec::IntoIter;

use git2::{ObjectFormat, Oid};

use super::plan::{Directory, FileRecord, Node};
use super::stamp::Stamp;
use crate::git::hash::Hash;

const MAGIC: &[u8] = b"DIRC\0\0\0\x02";

/// The length of a path stands in the low bits of the flags. All of them set: it is longer.
const LENGTH_MASK: usize = 0xfff;

const FILE: u32 = 0o100_644;
const EXECUTABLE: u32 = 0o100_755;
const LINK: u32 = 0o120_000;
const SUBMODULE: u32 = 0o160_000;

/// Entries of one directory that are still to be written, in the order of the index.
type Left<'a> = IntoIter<(&'a [u8], &'a Node)>;

/// A tree of the extension `TREE`.
struct CachedTree<'a> {
    name: &'a [u8],
    id: Oid,
    /// The number of entries of the index below it.
    entries: u32,
    /// Positions of the trees in it.
    below: Vec<usize>,
}

/// A directory whose entries are being written.
struct Level<'a> {
    left: Left<'a>,
    /// Length of its path, with the slash at the end.
    path_bytes: usize,
    /// The position of its tree.
    tree: usize,
}

/// Returns the bytes of the index. Its last ones are the hash of those before.
pub(super) fn encode(root: &Directory, format: ObjectFormat) -> Vec<u8> {
    let id = root.tree.expect("the root is planned");
    let mut bytes = MAGIC.to_vec();
    bytes.extend_from_slice(&[0; 4]);
    let mut path = Vec::new();
    let mut trees = vec![CachedTree { name: b"", id, entries: 0, below: Vec::new() }];
    let mut levels = vec![Level { left: in_order(root), path_bytes: 0, tree: 0 }];
    while let Some(level) = levels.last_mut() {
        path.truncate(level.path_bytes);
        let at = level.tree;
        let Some((name, node)) = level.left.next() else {
            levels.pop();
            if let Some(above) = levels.last() {
                trees[above.tree].entries += trees[at].entries;
            }
            continue;
        };
        path.extend_from_slice(name);
        let (mode, id, stamp) = match node {
            Node::Repository(_) => continue,
            Node::File(FileRecord { blob, is_executable, seen, .. }) => {
                (if *is_executable { EXECUTABLE } else { FILE }, *blob, *seen)
            }
            Node::Link(FileRecord { blob, seen, .. }) => (LINK, *blob, *seen),
            Node::Directory(directory) => match (directory.submodule, directory.tree) {
                (Some(commit), _) => (SUBMODULE, commit, None),
                (None, Some(id)) => {
                    path.push(b'/');
                    let tree = trees.len();
                    trees[at].below.push(tree);
                    trees.push(CachedTree { name, id, entries: 0, below: Vec::new() });
                    levels.push(Level { left: in_order(directory), path_bytes: path.len(), tree });
                    continue;
                }
                (None, None) => continue,
            },
        };
        trees[at].entries += 1;
        write_entry(&mut bytes, mode, id, stamp, &path);
    }
    bytes[MAGIC.len()..MAGIC.len() + 4].copy_from_slice(&trees[0].entries.to_be_bytes());
    write_trees(&mut bytes, &mut trees);
    let mut hash = Hash::new(format);
    hash.update(&bytes);
    bytes.extend_from_slice(hash.finish().as_bytes());
    bytes
}

/// Returns the entries of a directory in the order of whole paths: as if the names of directories ended in a slash.
fn in_order(directory: &Directory) -> Left<'_> {
    let mut entries: Vec<_> = directory.entries.iter().map(|(name, planned)| (&**name, &planned.node)).collect();
    // They are sorted by name already, and only the names of directories are taken for longer.
    if entries.iter().any(|(_, node)| is_tree(node)) {
        entries.sort_by(|left, right| in_index_order(*left, *right));
    }
    entries.into_iter()
}

fn in_index_order(left: (&[u8], &Node), right: (&[u8], &Node)) -> Ordering {
    let common = left.0.len().min(right.0.len());
    let next = |(name, node): (&[u8], &Node)| match name.get(common) {
        Some(byte) => *byte,
        None if is_tree(node) => b'/',
        None => 0,
    };
    left.0[..common].cmp(&right.0[..common]).then_with(|| next(left).cmp(&next(right)))
}

fn is_tree(node: &Node) -> bool {
    matches!(node, Node::Directory(directory) if directory.submodule.is_none())
}

/// Writes an entry. Numbers are cut to 32 bits, and git cuts those that it compares with them.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "the format has 32 bits")]
fn write_entry(bytes: &mut Vec<u8>, mode: u32, id: Oid, stamp: Option<Stamp>, path: &[u8]) {
    let start = bytes.len();
    // git looks at no metadata of a submodule.
    let (first, owner, size) = match stamp {
        None => ([0; 6], (0, 0), 0),
        Some(stamp) => {
            let (changed, modified) = (stamp.changed, stamp.modified);
            let times = [changed.0 as u32, changed.1 as u32, modified.0 as u32, modified.1 as u32];
            let size = match stamp.size as u32 {
                // An empty file is told from one of 4 GiB.
                0 if stamp.size != 0 => 1 << 31,
                size => size,
            };
            let [a, b, c, d] = times;
            ([a, b, c, d, stamp.device as u32, stamp.inode as u32], stamp.owner, size)
        }
    };
    for number in first.into_iter().chain([mode, owner.0, owner.1, size]) {
        bytes.extend_from_slice(&number.to_be_bytes());
    }
    bytes.extend_from_slice(id.as_bytes());
    bytes.extend_from_slice(&(path.len().min(LENGTH_MASK) as u16).to_be_bytes());
    bytes.extend_from_slice(path);
    // One to eight NUL bytes, so that the next entry begins at a multiple of eight.
    let length = bytes.len() - start;
    bytes.resize(start + (length / 8 + 1) * 8, 0);
}

/// Writes the extension `TREE`: each tree before those in it, which are in git's order, shorter names first.
fn write_trees(bytes: &mut Vec<u8>, trees: &mut [CachedTree<'_>]) {
    bytes.extend_from_slice(b"TREE");
    let length_at = bytes.len();
    bytes.extend_from_slice(&[0; 4]);
    let mut pending = vec![0];
    while let Some(at) = pending.pop() {
        let mut below = std::mem::take(&mut trees[at].below);
        below.sort_by_key(|tree| (trees[*tree].name.len(), trees[*tree].name));
        let tree = &trees[at];
        bytes.extend_from_slice(tree.name);
        bytes.extend_from_slice(format!("\0{} {}\n", tree.entries, below.len()).as_bytes());
        bytes.extend_from_slice(tree.id.as_bytes());
        pending.extend(below.into_iter().rev());
    }
    let length = u32::try_from(bytes.len() - length_at - 4).unwrap_or_default();
    bytes[length_at..length_at + 4].copy_from_slice(&length.to_be_bytes());
}
