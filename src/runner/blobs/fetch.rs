//! Writes the files of manifests into a work tree: from the runner's own copies as far as these are there and sound,
//! and the others as they come from the dispatcher. Copies are made of the files that came, so that they need not come
//! again.

use std::collections::HashMap;
use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender};

use super::super::slot_common::SlotReport;
use super::copying::{CopyLine, Copying};
use super::download::{Download, DownloadError, Places, WantedBlob};
use super::wanted_file::WantedFile;
use crate::blobs::{BlobCopies, Placer, Placing};
use crate::model::{AttemptId, BlobId};
use crate::threads;

/// The longest manifest that is read.
const MANIFEST_BYTES: u64 = 256 << 20;
/// The most files that a thread takes at a time. They mostly lie in one directory.
const BATCH: usize = 64;
/// The least number of times that each of two threads takes files, so that both end at about the same time.
const SHARES: usize = 8;

/// The way of an attempt to the blobs of the dispatcher.
#[derive(Clone, Copy)]
pub(super) struct BlobSource<'a> {
    pub(super) attempt: AttemptId,
    pub(super) reports: &'a Sender<SlotReport>,
    pub(super) cancelled: &'a Receiver<()>,
    /// How long the dispatcher may be away or silent.
    pub(super) patience: Option<Duration>,
}

impl BlobSource<'_> {
    fn download<P: Places>(&self, wanted: &[WantedBlob], places: P) -> Result<P, DownloadError> {
        let download = Download::new(self.attempt, (self.reports, self.cancelled), wanted, places);
        let download = if let Some(patience) = self.patience { download.with_patience(patience) } else { download };
        download.run()
    }

    /// Returns the texts of manifests. An error names the place in the list.
    pub(super) fn manifests(&self, copies: &BlobCopies, ids: &[BlobId]) -> Result<Vec<Vec<u8>>, DownloadError> {
        let mut texts: Vec<Option<Vec<u8>>> = ids.iter().map(|id| copies.text(*id, MANIFEST_BYTES)).collect();
        let absent: Vec<usize> = (0..ids.len()).filter(|at| texts[*at].is_none()).collect();
        let wanted = |at: &usize| WantedBlob { blob: ids[*at], bytes: None, limit: MANIFEST_BYTES };
        let wanted: Vec<WantedBlob> = absent.iter().map(wanted).collect();
        let places = Texts(vec![Vec::new(); absent.len()]);
        let Texts(received) = self.download(&wanted, places).map_err(|error| error.of(&absent))?;
        for (at, text) in absent.into_iter().zip(received) {
            if let Err(error) = copies.keep_text(ids[at], &text) {
                log::debug!("no copy of manifest {}: {error}", ids[at]);
            }
            texts[at] = Some(text);
        }
        Ok(texts.into_iter().flatten().collect())
    }
}

/// Files that are wanted, and the means to write them.
pub(super) struct Fetch<'a> {
    pub(super) source: BlobSource<'a>,
    pub(super) copying: &'a Copying,
    pub(super) files: &'a [WantedFile<'a>],
    /// Bytes that copies may take of the disk.
    pub(super) room: u64,
}

impl<'a> Fetch<'a> {
    /// Writes all files. Returns the bytes of those that were received. An error names the place in the list.
    pub(super) fn run(&self) -> Result<u64, DownloadError> {
        let absent = self.write_copied()?;
        if absent.is_empty() { Ok(0) } else { self.receive(&absent) }
    }

    /// Writes the files of which there are copies. Returns the places of the others, in ascending order.
    fn write_copied(&self) -> Result<Vec<usize>, DownloadError> {
        let next = AtomicUsize::new(0);
        let done = Mutex::new((Vec::new(), Ok(())));
        let work = || {
            let mut absent = Vec::new();
            let written = self.batches(&next, &mut absent);
            let mut done = threads::lock(&done);
            done.0.append(&mut absent);
            if let Err(error) = written {
                // The other thread stops, too.
                next.store(self.files.len(), Ordering::Relaxed);
                done.1 = Err(error);
            }
        };
        if self.files.len() > 1 {
            threads::on_two("restore", &work)
        } else {
            work()
        }
        let (mut absent, written) = done.into_inner().unwrap_or_else(PoisonError::into_inner);
        written?;
        absent.sort_unstable();
        Ok(absent)
    }

    /// Takes files until none are left, and writes them from their copies.
    fn batches(&self, next: &AtomicUsize, absent: &mut Vec<usize>) -> Result<(), DownloadError> {
        let (mut placer, mut buffer) = (Placer::default(), Vec::new());
        let batch = (self.files.len() / (2 * SHARES)).clamp(1, BATCH);
        loop {
            let from = next.fetch_add(batch, Ordering::Relaxed);
            let until = (from + batch).min(self.files.len());
            if from >= until {
                return Ok(());
            }
            if self.source.cancelled.try_recv().is_ok() {
                return Err(DownloadError::Cancelled);
            }
            for at in from..until {
                let is_written = self.write_copy(at, &mut placer, &mut buffer);
                if !is_written.map_err(|error| DownloadError::Write { at, error })? {
                    absent.push(at);
                }
            }
        }
    }

    /// Writes a file from its copy. Returns false if there is no sound one.
    fn write_copy(&self, at: usize, placer: &mut Placer<'a>, buffer: &mut Vec<u8>) -> io::Result<bool> {
        let WantedFile { root, path, blob, bytes, executable, mtime_ns, .. } = self.files[at];
        let Some(copy) = self.copying.copies.find(blob) else { return Ok(false) };
        let mut placing = placer.begin(root, path, executable)?;
        let is_sound = copy.read(bytes, &mut placing, buffer)?;
        if is_sound {
            placing.finish(mtime_ns)?;
        }
        Ok(is_sound)
    }

    /// Receives files, each content once.
    fn receive(&self, absent: &[usize]) -> Result<u64, DownloadError> {
        let mut of_blob: HashMap<BlobId, usize> = HashMap::new();
        // The first file of each content, and the others with the first of theirs.
        let (mut firsts, mut others) = (Vec::new(), Vec::new());
        let mut wanted = Vec::new();
        let mut bytes: u64 = 0;
        for at in absent {
            let WantedFile { blob, bytes: length, .. } = self.files[*at];
            if let Some(first) = of_blob.get(&blob) {
                others.push((*first, *at));
                continue;
            }
            of_blob.insert(blob, *at);
            firsts.push(*at);
            wanted.push(WantedBlob { blob, bytes: Some(length), limit: length });
            bytes = bytes.saturating_add(length);
        }
        drop(of_blob);
        let makes_copies = self.copying.copies.takes(bytes) && bytes <= self.room;
        let line = if makes_copies { self.copying.begin() } else { None };
        let places = Received { files: self.files, firsts: &firsts, placer: Placer::default(), line };
        self.source.download(&wanted, places).map_err(|error| error.of(&firsts))?;
        let mut placer = Placer::default();
        for (first, at) in others {
            self.once_more(first, at, &mut placer).map_err(|error| DownloadError::Write { at, error })?;
        }
        Ok(bytes)
    }

    /// Writes a file that was written under another path once more.
    fn once_more(&self, first: usize, at: usize, placer: &mut Placer<'a>) -> io::Result<()> {
        let (from, to) = (self.files[first], self.files[at]);
        let (mut file, _) = from.root.file(from.path)?;
        let mut placing = placer.begin(to.root, to.path, to.executable)?;
        io::copy(&mut file, &mut placing)?;
        placing.finish(to.mtime_ns)
    }
}

/// Manifests that are received into memory.
struct Texts(Vec<Vec<u8>>);

impl Places for Texts {
    type Writer = Vec<u8>;

    fn begin(&mut self, _at: usize) -> io::Result<Vec<u8>> {
        Ok(Vec::new())
    }

    fn end(&mut self, at: usize, text: Vec<u8>) -> io::Result<()> {
        self.0[at] = text;
        Ok(())
    }
}

/// Files that are received into the work tree.
struct Received<'a, 'f> {
    files: &'a [WantedFile<'a>],
    firsts: &'f [usize],
    placer: Placer<'a>,
    /// Takes files of which copies are made.
    line: Option<CopyLine>,
}

impl Places for Received<'_, '_> {
    type Writer = Placing;

    fn begin(&mut self, at: usize) -> io::Result<Placing> {
        let WantedFile { root, path, executable, .. } = self.files[self.firsts[at]];
        self.placer.begin(root, path, executable)
    }

    fn end(&mut self, at: usize, placing: Placing) -> io::Result<()> {
        let wanted = &self.files[self.firsts[at]];
        let Some(line) = &self.line else { return placing.finish(wanted.mtime_ns) };
        // Without a copy, it is received again.
        let Some(file) = placing.finish_open(wanted.mtime_ns)? else { return Ok(()) };
        if !line.take(wanted, file) {
            self.line = None;
        }
        Ok(())
    }
}
