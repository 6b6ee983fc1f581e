//! The artifacts of attempts, read as an operator would, and compared with the copies that the tasks made.

use std::collections::BTreeMap;
use std::fs;
use std::io::Read;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use surveil::blobs::{BlobStore, Entry, EntryKind};
use surveil::model::{AttemptId, BlobId, BuildId, Outcome};

use super::{Inner, Leased};
use crate::promises::history::{Fact, FilesFound};

/// Artifacts that are read again after each crash of the dispatcher.
const READ_AGAIN: usize = 12;

impl Inner {
    /// Reads what an attempt left that has an outcome.
    pub(super) fn read_files(&mut self, attempt: AttemptId) {
        let Some(Leased { attempt: record, task, .. }) = self.leased.get(&attempt) else { return };
        if task.file_bytes == 0 {
            return;
        }
        let is_due = self.eyes.attempts().get(&attempt) == Some(&Some(Outcome::Passed));
        // The store may be locked out just now; it is read once more in the end.
        if let Ok(found) = self.files_of(record.build, attempt) {
            self.note(Fact::FilesRead { attempt, is_due, found });
        }
    }

    /// Reads some of what was readable before.
    pub(super) fn read_files_again(&mut self) {
        let ended = self.eyes.attempts().iter().filter(|(_, outcome)| outcome.is_some());
        let newest: Vec<AttemptId> = ended.map(|(attempt, _)| *attempt).rev().take(READ_AGAIN).collect();
        newest.into_iter().for_each(|attempt| self.read_files(attempt));
    }

    /// Reads the artifacts of all attempts.
    pub(super) fn read_all_files(&mut self) {
        let all: Vec<AttemptId> = self.leased.keys().copied().collect();
        all.into_iter().for_each(|attempt| self.read_files(attempt));
    }

    fn files_of(&self, build: BuildId, attempt: AttemptId) -> Result<FilesFound, surveil::store::StoreError> {
        let artifacts = self.eyes.artifacts(build)?;
        let Some((_, records)) = artifacts.iter().find(|(of, _)| *of == attempt) else {
            return Ok(FilesFound::Nothing);
        };
        let [record] = records.as_slice() else { return Ok(FilesFound::Other) };
        if record.removed.is_some() {
            return Ok(FilesFound::Removed);
        }
        let blobs = BlobStore::at(&self.data.join("blobs"));
        let mut entries = Vec::new();
        let is_there = blobs.manifest(record.manifest, &mut |entry| {
            entries.push(entry);
            Ok(())
        });
        let found = is_there.is_ok_and(|is_there| is_there).then(|| entries.iter().map(|entry| told(&blobs, entry)));
        let found: Option<BTreeMap<String, String>> = found.and_then(Iterator::collect);
        let due = copied(&self.place.copy(attempt));
        Ok(if found == Some(due) { FilesFound::Same } else { FilesFound::Other })
    }
}

/// An entry of a manifest with its content, as a path and a text. `None` if a blob is not there, or is damaged.
fn told(blobs: &BlobStore, entry: &Entry) -> Option<(String, String)> {
    let text = match &entry.kind {
        EntryKind::File { blob, bytes, executable } => {
            let mut content = Vec::new();
            blobs.read(*blob).ok()??.bytes().ok()?.read_to_end(&mut content).ok()?;
            let (id, length) = surveil::blobs::sum(content.as_slice()).ok()?;
            ((id, length) == (*blob, *bytes)).then(|| file_text(*executable, entry.mtime_ns, id))?
        }
        EntryKind::Link { target } => format!("link to {target}"),
        EntryKind::EmptyDirectory => "empty directory".to_owned(),
    };
    Some((entry.path.clone(), text))
}

/// The same of the files below a directory.
fn copied(directory: &Path) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    let mut open: Vec<(PathBuf, String)> = vec![(directory.to_owned(), "out".to_owned())];
    while let Some((path, name)) = open.pop() {
        let Ok(meta) = path.symlink_metadata() else { continue };
        let text = if meta.is_dir() {
            let entries = fs::read_dir(&path).unwrap().flatten().map(|entry| entry.path());
            let below: Vec<_> = entries
                .map(|path| {
                    let name = format!("{name}/{}", path.file_name().unwrap().to_string_lossy());
                    (path, name)
                })
                .collect();
            if !below.is_empty() {
                open.extend(below);
                continue;
            }
            "empty directory".to_owned()
        } else if meta.is_symlink() {
            format!("link to {}", fs::read_link(&path).unwrap().display())
        } else {
            let (id, _) = surveil::blobs::sum(fs::File::open(&path).unwrap()).unwrap();
            file_text(meta.permissions().mode() & 0o100 != 0, meta.mtime() * 1_000_000_000 + meta.mtime_nsec(), id)
        };
        found.insert(name, text);
    }
    found
}

fn file_text(is_executable: bool, mtime_ns: i64, blob: BlobId) -> String {
    format!("file {blob}, {}, {mtime_ns}", if is_executable { "executable" } else { "plain" })
}
