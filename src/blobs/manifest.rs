//! Manifests: the paths of an artifact, each with its blob. A manifest is JSON, a line for each entry, so that it is
//! read entry by entry whatever its length. The entries ascend by path, name by name.

use std::io::{self, BufRead, Write};

use serde::{Deserialize, Serialize};

use crate::model::BlobId;

/// The longest path, in bytes: Linux takes no longer one.
const MAX_PATH_BYTES: usize = 4095;
/// The bytes of a path that people are told, if it cannot be in a manifest.
const TOLD_BYTES: usize = 100;
/// The longest line of a manifest: a path and a link target of which each byte is escaped.
const MAX_LINE_BYTES: u64 = 64 * 1024;

/// One path of an artifact.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Names below the root of the work tree, with slashes between.
    pub path: String,
    /// The time of its last modification, in nanoseconds since the Unix epoch.
    pub mtime_ns: i64,
    pub kind: EntryKind,
}

impl Entry {
    /// The blob of a file.
    #[must_use]
    pub fn blob(&self) -> Option<BlobId> {
        match self.kind {
            EntryKind::File { blob, .. } => Some(blob),
            EntryKind::Link { .. } | EntryKind::EmptyDirectory => None,
        }
    }
}

/// The content of an entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EntryKind {
    File {
        blob: BlobId,
        bytes: u64,
        executable: bool,
    },
    /// A symbolic link, whose target stays inside of the work tree.
    Link {
        target: String,
    },
    /// A directory without entries. Other directories follow from the paths.
    EmptyDirectory,
}

/// The reason why a manifest cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    #[error("could not read a manifest")]
    Read(#[from] io::Error),
    #[error("line {line} of a manifest is no entry: {why}")]
    Entry { line: usize, why: String },
}

/// An entry as it is written. One with a `blob` is a file, one with a `link` a symbolic link, any other an empty
/// directory.
#[derive(Serialize, Deserialize)]
struct Line {
    path: String,
    mtime_ns: i64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    blob: Option<BlobId>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    bytes: Option<u64>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    executable: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    link: Option<String>,
}

/// Writes a manifest. The entries must ascend.
pub fn write_manifest<'a>(entries: impl IntoIterator<Item = &'a Entry>, mut to: impl Write) -> io::Result<()> {
    for Entry { path, mtime_ns, kind } in entries {
        let mut line =
            Line { path: path.clone(), mtime_ns: *mtime_ns, blob: None, bytes: None, executable: false, link: None };
        match kind {
            EntryKind::File { blob, bytes, executable } => {
                (line.blob, line.bytes, line.executable) = (Some(*blob), Some(*bytes), *executable);
            }
            EntryKind::Link { target } => line.link = Some(target.clone()),
            EntryKind::EmptyDirectory => {}
        }
        serde_json::to_writer(&mut to, &line)?;
        to.write_all(b"\n")?;
    }
    Ok(())
}

/// Passes each entry of a manifest to `each`. A manifest may come from anybody, so each path is checked: it leads to a
/// place of its own below the root, and not through another entry that is no directory.
pub fn read_manifest(
    mut from: impl BufRead,
    each: &mut dyn FnMut(Entry) -> Result<(), ManifestError>,
) -> Result<(), ManifestError> {
    let mut text = Vec::new();
    let mut last = String::new();
    // The last entry that is no directory that follows from its path, with a slash.
    let mut leaf: Option<String> = None;
    for line in 1.. {
        let wrong = |why: String| ManifestError::Entry { line, why };
        text.clear();
        if io::Read::take(&mut from, MAX_LINE_BYTES).read_until(b'\n', &mut text)? == 0 {
            return Ok(());
        }
        if text.last() != Some(&b'\n') {
            return Err(wrong("it is not whole, or too long".into()));
        }
        let entry: Line = serde_json::from_slice(&text).map_err(|error| wrong(error.to_string()))?;
        let entry = entry.checked().map_err(wrong)?;
        if line > 1 && !last.split('/').lt(entry.path.split('/')) {
            return Err(wrong(format!("`{}` does not come behind `{last}`", entry.path)));
        }
        if leaf.as_ref().is_some_and(|leaf| entry.path.starts_with(leaf)) {
            return Err(wrong(format!("`{}` is below `{last}`, which is no directory with entries", entry.path)));
        }
        leaf = Some(format!("{}/", entry.path));
        last.clone_from(&entry.path);
        each(entry)?;
    }
    Ok(())
}

impl Line {
    fn checked(self) -> Result<Entry, String> {
        let Self { path, mtime_ns, blob, bytes, executable, link } = self;
        if !is_plain(&path) {
            return Err(format!("`{path}` is no path below the root"));
        }
        let kind = match (blob, bytes, link) {
            (Some(blob), Some(bytes), None) => EntryKind::File { blob, bytes, executable },
            (None, None, Some(target)) if stays_inside(&path, &target) => EntryKind::Link { target },
            (None, None, Some(target)) => return Err(format!("the link `{path}` leads out of the root: `{target}`")),
            (None, None, None) => EntryKind::EmptyDirectory,
            _ => return Err(format!("`{path}` is neither a file, a link nor a directory")),
        };
        Ok(Entry { path, mtime_ns, kind })
    }
}

/// Returns what is wrong with the path of a file that was found below a root, if no manifest can have it.
#[must_use]
pub fn path_fault(path: &str) -> Option<String> {
    let shown = &path[..path.floor_char_boundary(TOLD_BYTES)];
    if path.len() > MAX_PATH_BYTES {
        return Some(format!("the path `{shown}…` is longer than {MAX_PATH_BYTES} bytes"));
    }
    (!is_plain(path)).then(|| format!("`{shown}` is in a directory that some file systems take for `.git`"))
}

/// Whether a path consists of names, without `.` and `..`. Nothing is below `.git`, so that no artifact changes the
/// repository of a work tree.
fn is_plain(path: &str) -> bool {
    let is_name = |name: &str| !name.is_empty() && name != "." && name != ".." && !name.contains('\0');
    path.len() <= MAX_PATH_BYTES
        && path.split('/').all(is_name)
        && !path.split('/').next().is_some_and(|first| first.eq_ignore_ascii_case(".git"))
}

/// Whether a symbolic link at this path leads to a place below the root, wherever other such links lead: its target
/// goes up first, and not beyond the root, and then down.
#[must_use]
pub fn stays_inside(path: &str, target: &str) -> bool {
    let depth = path.split('/').count() - 1;
    let mut names = target.split('/').filter(|name| !name.is_empty() && *name != ".").peekable();
    let mut ups = 0;
    while names.next_if_eq(&"..").is_some() {
        ups += 1;
    }
    !target.is_empty()
        && target.len() <= MAX_PATH_BYTES
        && !target.starts_with('/')
        && !target.contains('\0')
        && ups <= depth
        && names.all(|name| name != "..")
}
