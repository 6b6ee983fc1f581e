//! The plan of a work tree: what it should hold, with what is known of what it holds. It is made from a commit's tree
//! by the difference to the tree before, and touches no disk. Anything that a tree may not hold is refused here, before
//! anything is written.

use std::collections::BTreeMap;
use std::mem::take;

use git2::{Odb, Oid};

use super::dot_git::{DOT_GIT, DotGit};
use super::stamp::Stamp;
use crate::git::attributes::{Attributes, Conversion, Treatment, attributes_in};
use crate::git::error::{GitError, shown_path};
use crate::git::facts::Module;
use crate::git::objects::{EntryKind, Objects, commit_id, entries};
use crate::git::pointer::pointer_file;
use crate::model::CommitId;

/// The longest path below the directory, as Linux and git take it (`PATH_MAX` without its NUL). Also bounds the depth:
/// 2,047 directories with names of one letter.
const PATH_BYTES_MAX: usize = 4_095;

/// The longest name of an entry, on all usual file systems of Linux.
const NAME_BYTES_MAX: usize = 255;

/// A directory that should be there.
#[derive(Debug, Default)]
pub(super) struct Directory {
    /// The tree that the entries were made from. `None` for a submodule's directory that stays empty, and for an
    /// unknown state.
    pub(super) tree: Option<Oid>,
    /// The commit of a submodule, whose root this is.
    pub(super) submodule: Option<Oid>,
    pub(super) entries: BTreeMap<Vec<u8>, Planned>,
    /// Whether a file in it or below it is in Git LFS.
    pub(super) has_pointers: bool,
    /// The attributes of the directories above it, by which its files were planned.
    inherited: Attributes,
    /// The permissions that the directory was made with.
    pub(super) mode: Option<u32>,
}

/// Without this, dropping a deep tree would take a deep stack.
impl Drop for Directory {
    fn drop(&mut self) {
        let mut pending = vec![take(&mut self.entries)];
        while let Some(entries) = pending.pop() {
            for mut planned in entries.into_values() {
                if let Node::Directory(inner) = &mut planned.node {
                    pending.push(take(&mut inner.entries));
                }
            }
        }
    }
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
    /// The `.git` of the tree or of a submodule. No commit has such an entry.
    Repository(DotGit),
}

impl Default for Node {
    fn default() -> Self {
        Self::Directory(Directory::default())
    }
}

impl Node {
    fn submodule(commit: Oid) -> Self {
        let mut directory = Directory::default();
        directory.submodule = Some(commit);
        Self::Directory(directory)
    }
}

/// A file or symbolic link that should be there.
#[derive(Debug)]
pub(super) struct FileRecord {
    pub(super) blob: Oid,
    /// The blob that is written in its place: the content in Git LFS that it points to.
    pub(super) content: Option<Oid>,
    pub(super) is_executable: bool,
    /// How the content is written.
    pub(super) conversion: Conversion,
    /// How the file looked when its content was last known to be right.
    pub(super) seen: Option<Stamp>,
    /// Whether the plan before had other content here, so that comparing the file is not worth the time.
    pub(super) is_changed: bool,
}

/// The source of the trees, and the commit that is planned.
pub(super) struct Planner<'a> {
    pub(super) objects: &'a Objects,
    pub(super) odb: &'a Odb<'a>,
    pub(super) commit: CommitId,
    /// The attributes of the watched repository: the blob and its content.
    pub(super) attributes: Option<&'a (Oid, Vec<u8>)>,
    /// The submodules that the tree gets, by their paths, and whether they are others than in the plan before.
    pub(super) modules: &'a BTreeMap<String, Module>,
    pub(super) has_other_modules: bool,
    /// The contents that the tree gets in place of pointers, and whether they are others than in the plan before.
    pub(super) lfs: &'a BTreeMap<Oid, Oid>,
    pub(super) has_other_lfs: bool,
}

/// A directory that is being planned.
struct Level {
    name: Vec<u8>,
    /// Length of its path, with the slash at the end.
    path_bytes: usize,
    /// The attributes of its files.
    attributes: Attributes,
    directory: Directory,
    /// Its subdirectories that are still to be planned.
    left: Vec<Subdirectory>,
}

/// A directory that is still to be planned.
struct Subdirectory {
    name: Vec<u8>,
    tree: Oid,
    /// The plan before.
    before: Directory,
    /// The commit of a submodule, whose root it is.
    submodule: Option<Oid>,
}

impl Planner<'_> {
    /// Plans the directory for `tree`, keeping the parts of `before` that are the same. Keeps a list of levels instead
    /// of recursing, because stacks are small.
    pub(super) fn plan(&self, tree: Oid, before: Directory) -> Result<Directory, GitError> {
        let mut levels = Vec::new();
        levels.push(self.level(&levels, Subdirectory { name: Vec::new(), tree, before, submodule: None })?);
        loop {
            let level = levels.last_mut().expect("the last one returns");
            if let Some(next) = level.left.pop() {
                levels.push(self.level(&levels, next)?);
                continue;
            }
            let done = levels.pop().expect("it was looked at just now");
            let Some(above) = levels.last_mut() else { return Ok(done.directory) };
            above.directory.has_pointers |= done.directory.has_pointers;
            if let Some(planned) = above.directory.entries.get_mut(&done.name) {
                planned.node = Node::Directory(done.directory);
            }
        }
    }

    /// Plans one directory without its subdirectories.
    fn level(&self, above: &[Level], directory: Subdirectory) -> Result<Level, GitError> {
        let Subdirectory { name, tree, mut before, submodule } = directory;
        let path_bytes = above.last().map_or(0, |above| above.path_bytes + name.len() + 1);
        let inherited = match above.last() {
            // A submodule has attributes of its own.
            Some(_) if submodule.is_some() => Attributes::default(),
            Some(above) => above.attributes.clone(),
            None => self.attributes_of_repository(),
        };
        // The directory was planned with this path, so what is below it fits as well.
        let is_same = (before.tree, before.submodule) == (Some(tree), submodule) && before.inherited == inherited;
        let is_other = self.has_other_modules || self.has_other_lfs && before.has_pointers;
        if is_same && !is_other {
            return Ok(Level { name, path_bytes, attributes: inherited, directory: before, left: Vec::new() });
        }
        let (mut known, mode) = (take(&mut before.entries), before.mode);
        let read = self.objects.tree(self.odb, tree);
        if let Err(GitError::WrongType { .. }) = read {
            return Err(self.refuse(above, &name, "is a directory by its mode, and no tree by its content"));
        }
        let data = read?;
        let found = entries(tree, data.data())?;
        let is_root = above.is_empty() || submodule.is_some();
        let attributes = attributes_in((self.objects, self.odb), &found, &inherited, (path_bytes, is_root))?;
        let mut path = Vec::new();
        let has_path = !attributes.is_empty() || !self.modules.is_empty();
        if has_path {
            // The root has no name.
            let names = above.iter().map(|above| &above.name).chain([&name]).skip(1);
            names.for_each(|name| path.extend_from_slice(&[&name[..], b"/"].concat()));
        }
        let mut planned = Vec::with_capacity(found.len());
        let (mut left, mut has_pointers) = (Vec::new(), false);
        for entry in found {
            let fault = fault_of_name(entry.name).or_else(|| {
                let is_too_long = path_bytes + entry.name.len() > PATH_BYTES_MAX;
                is_too_long.then_some("has a path of more than 4,095 bytes, which no program could open")
            });
            if let Some(why) = fault {
                return Err(self.refuse_below(above, &name, entry.name, why));
            }
            // Taken out of the map's value, which costs less than removing the entry.
            let before = known.get_mut(entry.name).map(|known| take(&mut known.node));
            let is_executable = entry.kind == EntryKind::Executable;
            let mut written = Written { blob: entry.id, content: None, conversion: Conversion::default() };
            if has_path {
                path.truncate(path_bytes);
                path.extend_from_slice(entry.name);
            }
            if !attributes.is_empty() {
                let Treatment { conversion, is_lfs } = attributes.treatment(&path);
                written.conversion = conversion;
                if is_lfs && matches!(entry.kind, EntryKind::File | EntryKind::Executable) {
                    written = self.in_lfs(written);
                    has_pointers = has_pointers || written.content.is_some() || self.is_pointer(entry.id)?;
                }
            }
            let node = match (entry.kind, before) {
                (EntryKind::Tree, before) => {
                    let before = if let Some(Node::Directory(before)) = before { before } else { Directory::default() };
                    let (name, tree) = (entry.name.to_vec(), entry.id);
                    left.push(Subdirectory { name, tree, before, submodule: None });
                    Node::default()
                }
                (EntryKind::Submodule, before) if self.is_module(&path, entry.id) => {
                    let before = if let Some(Node::Directory(before)) = before { before } else { Directory::default() };
                    let (name, tree) = (entry.name.to_vec(), self.objects.commit(commit_id(entry.id))?.tree_id());
                    left.push(Subdirectory { name, tree, before, submodule: Some(entry.id) });
                    Node::default()
                }
                // git leaves an empty directory for a submodule that is not initialised.
                (EntryKind::Submodule, _) => Node::submodule(entry.id),
                (EntryKind::File | EntryKind::Executable, Some(Node::File(before))) => {
                    Node::File(before.or_new(written, is_executable))
                }
                (EntryKind::File | EntryKind::Executable, _) => Node::File(FileRecord::new(written, is_executable)),
                (EntryKind::Link, Some(Node::Link(before))) => {
                    Node::Link(before.or_new(Written::link(entry.id), false))
                }
                (EntryKind::Link, _) => Node::Link(FileRecord::new(Written::link(entry.id), false)),
            };
            planned.push((entry.name.to_vec(), Planned { node, is_found: false }));
        }
        if is_root {
            let before = known.get_mut(DOT_GIT).map(|known| take(&mut known.node));
            let before = if let Some(Node::Repository(before)) = before { before } else { DotGit::default() };
            planned.push((DOT_GIT.to_vec(), Planned { node: Node::Repository(before), is_found: false }));
        }
        // A tree is already sorted except for directories, so sorting costs little, and makes building the map cheap.
        planned.sort_by(|(left, _), (right, _)| left.cmp(right));
        if let Some(twice) = planned.windows(2).find(|two| two[0].0 == two[1].0) {
            return Err(self.refuse_below(above, &name, &twice[0].0, "is there twice"));
        }
        let entries = planned.into_iter().collect();
        let directory = Directory { tree: Some(tree), submodule, entries, has_pointers, inherited, mode };
        Ok(Level { name, path_bytes, attributes, directory, left })
    }

    /// Whether the tree gets the submodule at a path, at this commit.
    fn is_module(&self, path: &[u8], commit: Oid) -> bool {
        let module = str::from_utf8(path).ok().and_then(|path| self.modules.get(path));
        module.is_some_and(|module| module.commit == commit)
    }

    fn attributes_of_repository(&self) -> Attributes {
        self.attributes.map(|(blob, content)| Attributes::of_repository(*blob, content)).unwrap_or_default()
    }

    /// Puts the content in Git LFS in the place of its pointer, if the tree gets it. It is written as it is: other
    /// attributes are about the pointer.
    fn in_lfs(&self, written: Written) -> Written {
        match self.lfs.get(&written.blob) {
            Some(content) => Written { content: Some(*content), conversion: Conversion::default(), ..written },
            None => written,
        }
    }

    fn is_pointer(&self, blob: Oid) -> Result<bool, GitError> {
        Ok(pointer_file(self.objects, self.odb, blob)?.is_some())
    }

    /// Refuses an entry of the directory `name` of the last of these levels.
    fn refuse_below(&self, above: &[Level], name: &[u8], entry: &[u8], why: &str) -> GitError {
        match above {
            [] => self.refuse(above, entry, why),
            _ => self.refuse(above, &[name, entry].join(&b'/'), why),
        }
    }

    /// Refuses an entry of the last of these levels.
    fn refuse(&self, above: &[Level], entry: &[u8], why: &str) -> GitError {
        // The root has no name.
        let parts = above.iter().skip(1).map(|level| &level.name[..]).chain([entry]);
        unfit(self.commit, &parts.collect::<Vec<_>>().join(&b'/'), why)
    }
}

/// The content that a file gets.
#[derive(Clone, Copy)]
struct Written {
    /// The blob that the commit has.
    blob: Oid,
    /// The one in its place.
    content: Option<Oid>,
    conversion: Conversion,
}

impl Written {
    fn link(blob: Oid) -> Self {
        Self { blob, content: None, conversion: Conversion::default() }
    }
}

impl FileRecord {
    fn new(written: Written, is_executable: bool) -> Self {
        let Written { blob, content, conversion } = written;
        Self { blob, content, is_executable, conversion, seen: None, is_changed: false }
    }

    /// The blob that is written.
    pub(super) fn written(&self) -> Oid {
        self.content.unwrap_or(self.blob)
    }

    /// Returns the record itself if it is for the same content, else a fresh one.
    fn or_new(self, written: Written, is_executable: bool) -> Self {
        let is_changed =
            (self.blob, self.content, self.conversion) != (written.blob, written.content, written.conversion);
        if !is_changed && self.is_executable == is_executable {
            return self;
        }
        Self { is_changed, ..Self::new(written, is_executable) }
    }
}

/// The error of content that cannot be put on a disk.
pub(super) fn unfit(commit: CommitId, path: &[u8], why: impl Into<String>) -> GitError {
    GitError::Content { commit, path: shown_path(path), why: why.into() }
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
        _ if name.len() > NAME_BYTES_MAX => Some("has a name of more than 255 bytes, which no file can have"),
        _ => None,
    }
}
