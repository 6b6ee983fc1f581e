//! Loose refs and `packed-refs`, laid out as in gitrepository-layout(5), by the rules of git's own files backend.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, ErrorKind, Read};
use std::path::{Path, PathBuf};

use rustix::io::Errno;

use super::name::{HeadPointer, is_ref_name};
use super::packed::{PackedFile, parse_id};
use crate::git::error::GitError;
use crate::model::CommitId;

/// Number of refs that are read to resolve one: a ref may name another ref. The limit is git's.
const READS_MAX: usize = 5;

/// Ref directories nest as deep as a name has slashes; a name is at most 4 KiB.
const NESTING_MAX: usize = 200;

/// Number of directories that one listing enters by way of symbolic links. Two links to a directory above them make
/// 2⁴⁰ of them, because the kernel follows 40 links in one path. git goes through all of these.
const LINKED_DIRECTORIES_MAX: usize = 20_000;

/// Limit of a ref file. It holds an id, or the name of a ref; `FETCH_HEAD` a little more.
const FILE_BYTES_MAX: u64 = 64 * 1024;

/// Refs of which each work tree has its own.
const OF_WORK_TREES: [&str; 3] = ["refs/bisect/", "refs/worktree/", "refs/rewritten/"];

/// The refs of a repository that keeps them in files.
pub(in crate::git) struct RefFiles {
    git_dir: PathBuf,
    common_dir: PathBuf,
    packed: PackedFile,
    /// Broken refs that the log has named.
    told: RefCell<BTreeSet<String>>,
}

/// The content of one ref file.
enum RefText {
    Commit(CommitId),
    Symbolic(String),
}

/// What is at the place of a loose ref.
enum Loose {
    Ref(RefText),
    /// Nothing, or a directory: the packed refs decide.
    Absent,
    /// A symbolic link whose target is no file, or a file in the place of a directory of the name. To git such a ref
    /// does not exist, even if it is packed.
    Nowhere,
}

/// The loose refs of a namespace.
#[derive(Default)]
struct LooseRefs {
    found: Vec<(String, CommitId)>,
    /// Names of those that are broken or dangle: they hide packed ones, as for git.
    hidden: BTreeSet<String>,
    /// The number of directories that were entered by way of symbolic links.
    linked: usize,
}

/// A loose ref that was found in a directory.
enum Listed {
    At(CommitId),
    /// It names a ref that does not exist.
    Dangling,
    /// It was removed after the listing, perhaps because it was packed, so the packed refs decide.
    Removed,
}

impl RefFiles {
    pub(in crate::git) fn new(git_dir: &Path, common_dir: &Path) -> Self {
        Self {
            git_dir: git_dir.to_owned(),
            common_dir: common_dir.to_owned(),
            packed: PackedFile::new(common_dir),
            told: RefCell::default(),
        }
    }

    pub(super) fn head(&self) -> Result<HeadPointer, GitError> {
        let path = self.git_dir.join("HEAD");
        // Every repository has a HEAD. Without one the repository has vanished, which is not the same as having no
        // branches.
        match read_loose(&path)? {
            Loose::Ref(RefText::Symbolic(name)) if name.starts_with("refs/") => Ok(HeadPointer::Names(name)),
            Loose::Ref(RefText::Symbolic(_)) => Err(GitError::Broken { path, why: "it names no ref" }),
            Loose::Ref(RefText::Commit(commit)) => Ok(HeadPointer::Detached(commit)),
            Loose::Absent | Loose::Nowhere => Err(GitError::io("read", &path)(ErrorKind::NotFound.into())),
        }
    }

    /// Returns the commit that a listing has for a ref, by its full name; `None` if a listing has no such ref.
    pub(super) fn find(&self, name: &str) -> Result<Option<CommitId>, GitError> {
        let path = self.path_of(name);
        let is_listed = match fs::metadata(&path) {
            Ok(meta) => !meta.is_dir(),
            Err(error) if is_nowhere(&error) => false,
            Err(error) => return Err(GitError::io("read", &path)(error)),
        };
        // A loose ref overrides a packed one, and git packs a ref before it removes the loose one. So the loose ref is
        // read first: in the other order a ref that is packed in between would seem to be absent.
        let found = match if is_listed { self.find_listed(name)? } else { Listed::Removed } {
            Listed::At(commit) => Some(commit),
            Listed::Dangling => None,
            Listed::Removed => self.packed.find(name)?,
        };
        if found.is_none() {
            self.check_is_there()?;
        }
        Ok(found)
    }

    pub(super) fn symbolic(&self, name: &str) -> Result<Option<String>, GitError> {
        Ok(match read_loose(&self.path_of(name))? {
            Loose::Ref(RefText::Symbolic(named)) => Some(named),
            Loose::Ref(RefText::Commit(_)) | Loose::Absent | Loose::Nowhere => None,
        })
    }

    /// Resolves a ref that another ref names. `reads` counts the refs that were read on the way here, this one
    /// included.
    fn resolve(&self, name: &str, reads: usize) -> Result<Option<CommitId>, GitError> {
        let path = self.path_of(name);
        match read_loose(&path)? {
            Loose::Ref(RefText::Commit(id)) => Ok(Some(id)),
            Loose::Ref(RefText::Symbolic(_)) if reads >= READS_MAX => {
                Err(GitError::Broken { path, why: "it names a ref that names a ref, without end" })
            }
            Loose::Ref(RefText::Symbolic(other)) => self.resolve(&other, reads + 1),
            Loose::Absent => self.packed.find(name),
            Loose::Nowhere => Ok(None),
        }
    }

    /// Returns the file of a ref: most are shared by all work trees, some belong to one of them. A work tree's own refs
    /// can be named from another one.
    fn path_of(&self, name: &str) -> PathBuf {
        if let Some(rest) = name.strip_prefix("main-worktree/").filter(|rest| is_of_work_tree(rest)) {
            return self.common_dir.join(rest);
        }
        if is_of_work_tree(name) { self.git_dir.join(name) } else { self.common_dir.join(name) }
    }

    pub(super) fn list(&self, namespace: &str) -> Result<Vec<(String, CommitId)>, GitError> {
        let mut loose = LooseRefs::default();
        self.list_loose(namespace.trim_end_matches('/').to_owned(), (0, false), &mut loose)?;
        let LooseRefs { mut found, hidden, .. } = loose;
        let packed = self.packed.list(namespace)?;
        found.extend(packed.into_iter().filter(|(name, _)| !hidden.contains(name)));
        // The sort is stable, so of two entries with one name the loose one comes first and survives.
        found.sort_by(|(left, _), (right, _)| left.cmp(right));
        found.dedup_by(|(later, _), (earlier, _)| later == earlier);
        // An unmounted file system shows an empty directory, which must not look like deleted refs.
        if found.is_empty() {
            self.check_is_there()?;
        }
        Ok(found)
    }

    /// Checks that the directories in which refs live exist, before a ref is called absent.
    fn check_is_there(&self) -> Result<(), GitError> {
        for needed in ["refs", "objects"] {
            let path = self.common_dir.join(needed);
            fs::read_dir(&path).map_err(GitError::io("read", &path))?;
        }
        let head = self.git_dir.join("HEAD");
        fs::symlink_metadata(&head).map_err(GitError::io("read", &head)).map(drop)
    }

    /// Adds the refs below a directory that is so deep, and was entered by way of a symbolic link or not.
    fn list_loose(
        &self,
        name: String,
        (depth, is_linked): (usize, bool),
        loose: &mut LooseRefs,
    ) -> Result<(), GitError> {
        let path = self.common_dir.join(&name);
        loose.linked += usize::from(is_linked);
        if loose.linked > LINKED_DIRECTORIES_MAX {
            return Err(GitError::Broken { path, why: "symbolic links above it lead round in circles" });
        }
        let entries = match fs::read_dir(&path) {
            Ok(entries) => entries,
            // All refs are packed, or the directory was removed just now.
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(GitError::io("read", &path)(error)),
        };
        for entry in entries {
            let entry = entry.map_err(GitError::io("read", &path))?;
            let file_name = entry.file_name();
            let Some(last) = file_name.to_str() else {
                log::debug!("a ref below {} is left out: its name is not UTF-8", path.display());
                continue;
            };
            let full = format!("{name}/{last}");
            // git follows symbolic links below `refs`, so the target's type counts.
            let kind = entry.file_type().ok().filter(|kind| !kind.is_symlink());
            let is_linked = is_linked || kind.is_none();
            let kind = kind.or_else(|| fs::metadata(entry.path()).ok().map(|meta| meta.file_type()));
            // git lists neither links that lead nowhere nor pipes and the like.
            let Some(kind) = kind.filter(|kind| kind.is_dir() || kind.is_file()) else { continue };
            if kind.is_dir() {
                // A name may end with a dot only if more of it follows.
                if depth < NESTING_MAX && is_ref_name(&format!("{full}/x")) {
                    self.list_loose(full, (depth + 1, is_linked), loose)?;
                }
            } else if !is_ref_name(&full) {
                // Lock files, and what editors, file managers and synchronisation leave.
                log::debug!("{} is left out: git refuses it as the name of a ref", entry.path().display());
            } else {
                match self.find_listed(&full) {
                    Ok(Listed::At(commit)) => loose.found.push((full, commit)),
                    Ok(Listed::Removed) => {}
                    Ok(Listed::Dangling) => {
                        loose.hidden.insert(full);
                    }
                    Err(error @ GitError::Broken { .. }) => {
                        if self.told.borrow_mut().insert(full.clone()) {
                            log::warn!("ref left out: {error}");
                        }
                        loose.hidden.insert(full);
                    }
                    Err(error) => return Err(error),
                }
            }
        }
        Ok(())
    }

    fn find_listed(&self, name: &str) -> Result<Listed, GitError> {
        Ok(match read_loose(&self.path_of(name))? {
            Loose::Ref(RefText::Commit(id)) => Listed::At(id),
            Loose::Ref(RefText::Symbolic(other)) => self.resolve(&other, 2)?.map_or(Listed::Dangling, Listed::At),
            Loose::Absent | Loose::Nowhere => Listed::Removed,
        })
    }
}

/// Whether each work tree has its own ref of this name: `HEAD` and its like are in capitals.
fn is_of_work_tree(name: &str) -> bool {
    let is_capital = |byte: u8| byte.is_ascii_uppercase() || matches!(byte, b'-' | b'_');
    name.bytes().all(is_capital) || OF_WORK_TREES.iter().any(|start| name.starts_with(start))
}

/// Reads a loose ref as git does, which follows some symbolic links as refs and others as files.
fn read_loose(path: &Path) -> Result<Loose, GitError> {
    let broken = |why| GitError::Broken { path: path.to_owned(), why };
    let kind = match fs::symlink_metadata(path) {
        Ok(meta) => meta.file_type(),
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Loose::Absent),
        Err(error) if is_nowhere(&error) => return Ok(Loose::Nowhere),
        Err(error) => return Err(GitError::io("read", path)(error)),
    };
    if kind.is_symlink() {
        // In very old repositories a symbolic ref is a symbolic link. Any other link is followed.
        let target = fs::read_link(path).unwrap_or_default();
        let name = target.to_str().filter(|name| name.starts_with("refs/") && is_ref_name(name));
        if let Some(name) = name {
            return Ok(Loose::Ref(RefText::Symbolic(name.to_owned())));
        }
    } else if kind.is_dir() {
        return Ok(Loose::Absent);
    }
    // Reading a named pipe would wait for its writer.
    if fs::metadata(path).is_ok_and(|meta| !meta.is_file() && !meta.is_dir()) {
        return Err(broken("it is no regular file"));
    }
    let mut text = Vec::new();
    match File::open(path).and_then(|file| file.take(FILE_BYTES_MAX).read_to_end(&mut text)) {
        Ok(_) => parse(&text).map(Loose::Ref).map_err(broken),
        Err(error) if is_nowhere(&error) => Ok(if kind.is_symlink() { Loose::Nowhere } else { Loose::Absent }),
        Err(error) => Err(GitError::io("read", path)(error)),
    }
}

/// Whether an error says that there is no file at the path: nothing, a directory, a file in a directory's place, or
/// symbolic links in a circle.
fn is_nowhere(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory | ErrorKind::IsADirectory)
        || error.raw_os_error() == Some(Errno::LOOP.raw_os_error())
}

/// Parses the content of a ref file. An error says why it is broken.
fn parse(text: &[u8]) -> Result<RefText, &'static str> {
    let text = text.trim_ascii_end();
    // A crash of the machine leaves empty files.
    if text.is_empty() {
        return Err("it is empty");
    }
    if let Some(name) = text.strip_prefix(b"ref:") {
        let name = std::str::from_utf8(name).map_err(|_| "it names a ref that is not text")?.trim_ascii_start();
        // The name becomes a path, so it must not lead elsewhere. git allows `HEAD` and its like here.
        let is_fine = is_ref_name(name) || name == "HEAD";
        return if is_fine { Ok(RefText::Symbolic(name.to_owned())) } else { Err("it names no ref") };
    }
    // git ignores what follows behind a blank.
    let id = text.split(u8::is_ascii_whitespace).next().unwrap_or_default();
    match parse_id(id) {
        Some(id) if id.as_bytes().iter().any(|byte| *byte != 0) => Ok(RefText::Commit(id)),
        _ => Err("it holds no object id"),
    }
}
