//! The plan of a work tree: what it should hold, with what is known of what it holds. It is made from a commit's tree
//! by the difference to the tree before, and touches no disk. Anything that a tree may not hold is refused here, before
//! anything is written.

use std::collections::BTreeMap;
use std::mem::take;

use git2::{Odb, Oid};
use rustix::fs::Stat;

use crate::git::error::GitError;
use crate::git::objects::{EntryKind, Objects, entries};
use crate::model::CommitId;

/// Trees nested deeper are refused: each level takes a descriptor and some stack.
const DEPTH_MAX: usize = 100;

/// A directory that should be there.
#[derive(Debug, Default)]
pub(super) struct Directory {
    /// The tree that the entries were made from. `None` for a submodule's directory, which is empty, and for an unknown
    /// state.
    tree: Option<Oid>,
    pub(super) entries: BTreeMap<Vec<u8>, Planned>,
    /// The permissions that the directory was made with.
    pub(super) mode: Option<u32>,
}

/// An entry that should be there.
#[derive(Debug)]
pub(super) struct Planned {
    pub(super) node: Node,
    /// Whether the current pass has found the entry.
    pub(super) is_found: bool,
}

#[derive(Debug)]
pub(super) enum Node {
    Directory(Directory),
    File(FileRecord),
    Link(FileRecord),
}

impl Default for Node {
    fn default() -> Self {
        Self::Directory(Directory::default())
    }
}

/// A file or symbolic link that should be there.
#[derive(Debug)]
pub(super) struct FileRecord {
    pub(super) blob: Oid,
    pub(super) is_executable: bool,
    /// How the file looked when its content was last known to be right.
    pub(super) seen: Option<Stamp>,
    /// Whether the plan before had other content here, so that comparing the file is not worth the time.
    pub(super) is_changed: bool,
}

/// Metadata that shows if a file was touched. The change time (ctime) cannot be set back by a program that changes the
/// file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stamp {
    pub(super) device: u64,
    pub(super) inode: u64,
    pub(super) mode: u32,
    pub(super) links: u64,
    pub(super) size: i64,
    pub(super) modified: Time,
    pub(super) changed: Time,
}

/// Seconds and nanoseconds of a file system's clock.
pub(super) type Time = (i64, u64);

impl Stamp {
    pub(super) fn of(stat: &Stat) -> Self {
        Self {
            device: stat.st_dev,
            inode: stat.st_ino,
            mode: stat.st_mode,
            links: stat.st_nlink,
            size: stat.st_size,
            modified: (stat.st_mtime, stat.st_mtime_nsec),
            changed: (stat.st_ctime, stat.st_ctime_nsec),
        }
    }
}

/// The source of the trees, and the commit that is planned.
pub(super) struct Planner<'a> {
    pub(super) objects: &'a Objects,
    pub(super) odb: &'a Odb<'a>,
    pub(super) commit: CommitId,
}

/// A directory that is being planned.
struct Level {
    name: Vec<u8>,
    directory: Directory,
    /// Its subdirectories that are still to be planned: name, tree, and the plan before.
    left: Vec<(Vec<u8>, Oid, Directory)>,
}

impl Planner<'_> {
    /// Plans the directory for `tree`, keeping the parts of `before` that are the same. Keeps a list of levels instead
    /// of recursing, because stacks are small.
    pub(super) fn plan(&self, tree: Oid, before: Directory) -> Result<Directory, GitError> {
        let mut levels = vec![self.level(Vec::new(), tree, before)?];
        loop {
            let depth = levels.len();
            let level = levels.last_mut().expect("the last one returns");
            if let Some((name, tree, before)) = level.left.pop() {
                if depth >= DEPTH_MAX {
                    return Err(self.refuse(tree, &name, "is nested too deep"));
                }
                levels.push(self.level(name, tree, before)?);
                continue;
            }
            let done = levels.pop().expect("it was looked at just now");
            let Some(above) = levels.last_mut() else { return Ok(done.directory) };
            if let Some(planned) = above.directory.entries.get_mut(&done.name) {
                planned.node = Node::Directory(done.directory);
            }
        }
    }

    /// Plans one directory without its subdirectories.
    fn level(&self, name: Vec<u8>, tree: Oid, before: Directory) -> Result<Level, GitError> {
        if before.tree == Some(tree) {
            return Ok(Level { name, directory: before, left: Vec::new() });
        }
        let Directory { entries: mut known, mode, .. } = before;
        let data = self.objects.tree(self.odb, tree)?;
        let found = entries(tree, data.data())?;
        let mut planned = Vec::with_capacity(found.len());
        let mut left = Vec::new();
        for entry in found {
            if let Some(why) = fault_of_name(entry.name) {
                return Err(self.refuse(tree, entry.name, why));
            }
            // Taken out of the map's value, which costs less than removing the entry.
            let before = known.get_mut(entry.name).map(|known| take(&mut known.node));
            let is_executable = entry.kind == EntryKind::Executable;
            let node = match (entry.kind, before) {
                (EntryKind::Tree, before) => {
                    let before = if let Some(Node::Directory(before)) = before { before } else { Directory::default() };
                    left.push((entry.name.to_vec(), entry.id, before));
                    Node::default()
                }
                // git leaves an empty directory for a submodule that is not initialised.
                (EntryKind::Submodule, _) => Node::default(),
                (EntryKind::File | EntryKind::Executable, Some(Node::File(before))) => {
                    Node::File(before.or_new(entry.id, is_executable))
                }
                (EntryKind::File | EntryKind::Executable, _) => Node::File(FileRecord::new(entry.id, is_executable)),
                (EntryKind::Link, Some(Node::Link(before))) => Node::Link(before.or_new(entry.id, false)),
                (EntryKind::Link, _) => Node::Link(FileRecord::new(entry.id, false)),
            };
            planned.push((entry.name.to_vec(), Planned { node, is_found: false }));
        }
        // A tree is already sorted except for directories, so sorting costs little, and makes building the map cheap.
        planned.sort_by(|(left, _), (right, _)| left.cmp(right));
        if let Some(twice) = planned.windows(2).find(|two| two[0].0 == two[1].0) {
            return Err(self.refuse(tree, &twice[0].0, "is there twice"));
        }
        let entries = planned.into_iter().collect();
        Ok(Level { name, directory: Directory { tree: Some(tree), entries, mode }, left })
    }

    fn refuse(&self, tree: Oid, name: &[u8], why: &'static str) -> GitError {
        let name = String::from_utf8_lossy(name).into_owned();
        GitError::Hostile { commit: self.commit, tree: tree.to_string(), name, why }
    }
}

impl FileRecord {
    fn new(blob: Oid, is_executable: bool) -> Self {
        Self { blob, is_executable, seen: None, is_changed: false }
    }

    /// Returns the record itself if it is for the same content, else a fresh one.
    fn or_new(self, blob: Oid, is_executable: bool) -> Self {
        if self.blob == blob && self.is_executable == is_executable {
            return self;
        }
        Self { is_changed: self.blob != blob, ..Self::new(blob, is_executable) }
    }
}

/// Why an entry of this name cannot be in a work tree, by git's rules.
fn fault_of_name(name: &[u8]) -> Option<&'static str> {
    match name {
        b"" => Some("has no name"),
        b"." | b".." => Some("leads out of its directory"),
        _ if name.contains(&b'/') => Some("leads out of its directory"),
        // A program that looks for a repository would find one that the commit brought, with its hooks.
        _ if name.eq_ignore_ascii_case(b".git") || name.eq_ignore_ascii_case(b"git~1") => {
            Some("would be taken for a repository")
        }
        _ if name.len() > 255 => Some("has a name that is too long"),
        _ => None,
    }
}
