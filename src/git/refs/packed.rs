//! `packed-refs`: the file with all refs that are not files of their own. Only the namespaces that somebody lists are
//! kept in memory, because others may hold a million refs; one of those is looked up in the file when it is asked for.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::name::is_ref_name;
use crate::git::error::GitError;
use crate::model::CommitId;

/// The file, with its refs as last read.
pub(super) struct PackedFile {
    path: PathBuf,
    content: RefCell<Content>,
}

/// What is known of the file while it is not replaced.
#[derive(Default)]
struct Content {
    /// `None` for a file that does not exist.
    stamp: Option<Stamp>,
    /// The refs of each namespace that was listed, sorted by name.
    namespaces: BTreeMap<String, Vec<(String, CommitId)>>,
    /// Other refs that were looked up; `None` for those that are not there.
    others: BTreeMap<String, Option<CommitId>>,
}

/// Identity of a file. git replaces these files by renaming, so the inode changes even if times and size do not.
#[derive(PartialEq, Eq, Clone, Copy)]
struct Stamp {
    inode: u64,
    size: u64,
    modified: (i64, i64),
}

impl Stamp {
    fn of(meta: &fs::Metadata) -> Self {
        Self { inode: meta.ino(), size: meta.size(), modified: (meta.mtime(), meta.mtime_nsec()) }
    }
}

impl PackedFile {
    pub(super) fn new(common_dir: &Path) -> Self {
        Self { path: common_dir.join("packed-refs"), content: RefCell::default() }
    }

    /// Returns the refs below a namespace by full name, sorted.
    pub(super) fn list(&self, namespace: &str) -> Result<Vec<(String, CommitId)>, GitError> {
        self.refresh()?;
        if let Some(known) = self.content.borrow().namespaces.get(namespace) {
            return Ok(known.clone());
        }
        let is_there = self.content.borrow().stamp.is_some();
        let refs = if is_there { parse_packed(&self.path, &self.read()?, namespace)? } else { Vec::new() };
        self.content.borrow_mut().namespaces.insert(namespace.to_owned(), refs.clone());
        Ok(refs)
    }

    /// Returns the commit of a ref of any namespace.
    pub(super) fn find(&self, name: &str) -> Result<Option<CommitId>, GitError> {
        self.refresh()?;
        let mut content = self.content.borrow_mut();
        // A repository may have a million refs.
        if let Some((_, known)) = content.namespaces.iter().find(|(namespace, _)| name.starts_with(namespace.as_str()))
        {
            let found = known.binary_search_by(|(known, _)| known.as_str().cmp(name));
            return Ok(found.ok().map(|at| known[at].1));
        }
        if content.stamp.is_none() {
            return Ok(None);
        }
        if let Some(known) = content.others.get(name) {
            return Ok(*known);
        }
        let mut found = None;
        each_line(&self.path, &self.read()?, |id, line_name| {
            if line_name == name.as_bytes() {
                found = parse_id(id);
            }
        })?;
        content.others.insert(name.to_owned(), found);
        Ok(found)
    }

    /// Reads the file again if it was replaced: parsing a large one at each look would cost more than everything else.
    fn refresh(&self) -> Result<(), GitError> {
        let stamp = match fs::metadata(&self.path) {
            Ok(meta) => Some(Stamp::of(&meta)),
            Err(error) if error.kind() == ErrorKind::NotFound => None,
            Err(error) => return Err(GitError::io("read", &self.path)(error)),
        };
        let mut content = self.content.borrow_mut();
        if content.stamp == stamp {
            return Ok(());
        }
        // If the file is replaced before it is read, the old stamp goes with the new content, and the file is read
        // again next time.
        *content = Content { stamp, ..Content::default() };
        Ok(())
    }

    fn read(&self) -> Result<Vec<u8>, GitError> {
        fs::read(&self.path).map_err(GitError::io("read", &self.path))
    }
}

/// Parses the refs below a namespace among lines of `<id> <name>`, sorted by name. Leaves out names that git refuses.
pub(super) fn parse_packed(path: &Path, text: &[u8], namespace: &str) -> Result<Vec<(String, CommitId)>, GitError> {
    let mut refs = Vec::new();
    each_line(path, text, |id, name| {
        if !name.starts_with(namespace.as_bytes()) {
            return;
        }
        match std::str::from_utf8(name) {
            Ok(name) if is_ref_name(name) => refs.extend(parse_id(id).map(|id| (name.to_owned(), id))),
            _ => log::debug!("a ref in {} is left out: git refuses its name", path.display()),
        }
    })?;
    refs.sort_unstable();
    Ok(refs)
}

/// Calls `take` with the id and the name of each line. `#` starts a header line; `^` starts the peeled target of the
/// tag in the line before. A line that is anything else is an error: the file is damaged, and what it lacks is unknown.
fn each_line<'a>(path: &Path, text: &'a [u8], mut take: impl FnMut(&'a [u8], &'a [u8])) -> Result<(), GitError> {
    let broken = |why| GitError::Broken { path: path.to_owned(), why };
    // If a crash cut the file, its last line could look like a ref that does not exist.
    if text.last().is_some_and(|last| *last != b'\n') {
        return Err(broken("its last line has no end"));
    }
    for line in text.split(|b| *b == b'\n') {
        if matches!(line.first(), None | Some(b'#' | b'^')) {
            continue;
        }
        let space = line.iter().position(|b| *b == b' ');
        let (id, name) =
            space.map(|at| (&line[..at], &line[at + 1..])).ok_or_else(|| broken("a line of it is no ref"))?;
        let is_id = matches!(id.len(), 40 | 64) && id.iter().all(u8::is_ascii_hexdigit);
        if !is_id || name.is_empty() {
            return Err(broken("a line of it is no ref"));
        }
        take(id, name);
    }
    Ok(())
}

/// Parses an object id. git takes capital digits too.
pub(super) fn parse_id(id: &[u8]) -> Option<CommitId> {
    std::str::from_utf8(id).ok()?.to_ascii_lowercase().parse().ok()
}
