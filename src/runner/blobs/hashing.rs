//! Reads files of a work tree, on two threads, for the names of their blobs.

use std::fs::File;
use std::io;
use std::slice::ChunksMut;
use std::sync::{Mutex, PoisonError};

use crossbeam_channel::Receiver;
use rustix::fs::Stat;

use crate::blobs::{BlobCopies, Entry, EntryKind, PathTrouble, sum_with};
use crate::error_chain::chain;
use crate::model::BlobId;
use crate::threads;

/// The most files that a thread takes at a time. They mostly lie in one directory.
const BATCH: usize = 64;
/// The least number of times that each of two threads takes files, so that both end at about the same time.
const SHARES: usize = 8;

/// The reason why an artifact or a cache could not be collected.
#[derive(Debug)]
pub(super) enum CollectError {
    /// The task, its globs or a limit are to blame. In words for people.
    Problem(String),
    Cancelled,
}

impl From<PathTrouble> for CollectError {
    fn from(trouble: PathTrouble) -> Self {
        Self::Problem(chain(&trouble))
    }
}

/// Opens the file of a path.
pub(super) type OpenFile<'a> = &'a (dyn Fn(&str) -> io::Result<(File, Stat)> + Sync);

/// Reads a file and returns its blob. A file that changes meanwhile is a problem.
pub(super) fn hash(open: OpenFile<'_>, path: &str) -> Result<(BlobId, u64), String> {
    read(open, path, &mut Vec::new()).map(|(_, blob, bytes)| (blob, bytes))
}

fn read(open: OpenFile<'_>, path: &str, buffer: &mut Vec<u8>) -> Result<(File, BlobId, u64), String> {
    let unreadable = |error: io::Error| format!("could not read `{path}`: {error}");
    let (file, before) = open(path).map_err(unreadable)?;
    let (blob, bytes) = sum_with(&file, buffer).map_err(unreadable)?;
    let after = file.metadata().map_err(unreadable)?;
    if u64::try_from(before.st_size) != Ok(bytes) || after.len() != bytes {
        return Err(changed(path));
    }
    Ok((file, blob, bytes))
}

fn changed(path: &str) -> String {
    format!("`{path}` changed while it was read")
}

/// Files whose blobs are not known yet.
pub(super) struct Hashing<'a> {
    pub(super) open: OpenFile<'a>,
    /// The place for copies of the files; `None` to keep none.
    pub(super) copies: Option<&'a BlobCopies>,
    pub(super) cancelled: &'a Receiver<()>,
}

impl Hashing<'_> {
    /// Sets the blobs of all entries that are files. A file with another length than its entry is a problem.
    pub(super) fn run(&self, entries: &mut [Entry]) -> Result<(), CollectError> {
        let is_single = entries.len() < 2;
        let batch = (entries.len() / (2 * SHARES)).clamp(1, BATCH);
        let left = Mutex::new(entries.chunks_mut(batch));
        let result = Mutex::new(Ok(()));
        let work = || {
            if let Err(error) = self.batches(&left) {
                // The other thread stops, too.
                threads::lock(&left).by_ref().for_each(drop);
                *threads::lock(&result) = Err(error);
            }
        };
        if is_single {
            work()
        } else {
            threads::on_two("hashing", &work)
        }
        result.into_inner().unwrap_or_else(PoisonError::into_inner)
    }

    fn batches(&self, left: &Mutex<ChunksMut<'_, Entry>>) -> Result<(), CollectError> {
        let mut buffer = Vec::new();
        loop {
            let Some(batch) = threads::lock(left).next() else { return Ok(()) };
            if self.cancelled.try_recv().is_ok() {
                return Err(CollectError::Cancelled);
            }
            for Entry { path, kind, .. } in batch {
                let EntryKind::File { blob, bytes, .. } = kind else { continue };
                let (file, found, length) = read(self.open, path, &mut buffer).map_err(CollectError::Problem)?;
                if length != *bytes {
                    return Err(CollectError::Problem(changed(path)));
                }
                *blob = found;
                if let Some(copies) = self.copies.filter(|copies| !copies.has(found, length))
                    && let Err(error) = copies.keep_file(found, &file)
                {
                    log::debug!("no copy of `{path}`: {error}");
                }
            }
        }
    }
}
