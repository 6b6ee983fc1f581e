//! The short logs that the store keeps until their files are durable. Their outcomes are recorded without a sync of the
//! files: one sync of the whole file system, now and then, serves all of them.
//!
//! The kernel has all that a process wrote, though it is killed. So only after another boot, or in a directory
//! that was restored, files may lack what the store keeps, and are made anew at the start of the dispatcher.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};

use crate::dispatcher::core::{CoreHandle, ToCore};
use crate::dispatcher::data_dir::DataDir;
use crate::dispatcher::limits;
use crate::model::ShortLog;
use crate::store::{Store, StoreError};

/// The memory that a kept log takes in the store beside its bytes, roughly: its path, and the row's own.
const ROW_BYTES: usize = 100;

/// The way on which the core tells that the store keeps more.
#[derive(Clone)]
pub(crate) struct KeptLogs {
    /// Bytes that are kept, roughly, since the last sync.
    bytes: Arc<AtomicUsize>,
    wake: Sender<()>,
}

/// The other end.
pub(crate) struct Keeping {
    bytes: Arc<AtomicUsize>,
    woken: Receiver<()>,
}

impl KeptLogs {
    pub(crate) fn new() -> (Self, Keeping) {
        let (bytes, (wake, woken)) = (Arc::<AtomicUsize>::default(), bounded(1));
        (Self { bytes: bytes.clone(), wake }, Keeping { bytes, woken })
    }

    /// A way to nobody.
    pub(crate) fn nowhere() -> Self {
        Self::new().0
    }

    pub(super) fn note(&self, logs: &[ShortLog]) {
        if !logs.is_empty() {
            self.add(logs.iter().map(|log| log.bytes.len() + ROW_BYTES).sum());
        }
    }

    fn add(&self, more: usize) {
        let before = self.bytes.fetch_add(more, Ordering::Relaxed);
        // Between these two nobody needs to be woken.
        if before == 0 || (before < limits::KEPT_BYTES && before + more >= limits::KEPT_BYTES) {
            self.wake.try_send(()).ok();
        }
    }
}

/// Makes the files of the short logs that the store keeps, if they may be missing. Those that cannot be made stay kept.
pub(crate) fn bring_back(data: &DataDir, store: &dyn Store, kept: &KeptLogs) -> Result<(), StoreError> {
    if store.last_short_log()? == 0 {
        return Ok(());
    }
    kept.add(ROW_BYTES);
    if store.is_of_this_boot() {
        return Ok(());
    }
    let (mut after, mut made) = (0, 0);
    loop {
        let logs = store.short_logs(after)?;
        let Some((last, _)) = logs.last() else { break };
        after = *last;
        for (_, log) in &logs {
            match make(&data.logs().join(&log.path), &log.bytes) {
                Ok(true) => made += 1,
                Ok(false) => {}
                Err(error) => log::error!("the log {} stays in the store and has no file: {error}", log.path),
            }
        }
    }
    if made > 0 {
        log::info!("{made} short logs had not reached the disk: their files are made anew from the store");
    }
    Ok(())
}

/// Makes a file with these bytes, unless it has them. Returns whether it did not.
fn make(path: &Path, bytes: &[u8]) -> io::Result<bool> {
    let is_there = fs::read(path).is_ok_and(|found| found == bytes);
    if !is_there {
        write(path, bytes)?;
    }
    Ok(!is_there)
}

fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    path.parent().map_or(Ok(()), fs::create_dir_all)?;
    fs::write(path, bytes)
}

/// The thread `kept-logs`, which syncs the files and has the store forget the bytes.
pub(crate) struct Syncing {
    keeping: Keeping,
    core: CoreHandle,
    /// The directory of logs, opened once: the kernel tells of a failed write to whoever had a file open before it.
    place: File,
    logs: PathBuf,
}

impl Syncing {
    pub(crate) fn new(keeping: Keeping, core: CoreHandle, data: &DataDir) -> io::Result<Self> {
        let logs = data.logs();
        Ok(Self { keeping, core, place: File::open(&logs)?, logs })
    }

    /// Runs the thread, which ends when the core has ended.
    pub(crate) fn run(self) {
        while self.keeping.woken.recv().is_ok() {
            while self.keeping.bytes.load(Ordering::Relaxed) < limits::KEPT_BYTES {
                match self.keeping.woken.recv_timeout(limits::KEPT_FOR) {
                    // Perhaps it is enough now.
                    Ok(()) => {}
                    Err(RecvTimeoutError::Timeout) => break,
                    Err(RecvTimeoutError::Disconnected) => return,
                }
            }
            self.keeping.bytes.store(0, Ordering::Relaxed);
            if self.settle().is_none() {
                return;
            }
        }
    }

    /// Syncs what is kept, and has the store forget it. `None` if the core has ended.
    fn settle(&self) -> Option<()> {
        // Whatever the store keeps was written to its file before.
        let up_to = self.change(|store| store.last_short_log())?.unwrap_or(0);
        if let Err(errno) = rustix::fs::syncfs(&self.place) {
            log::error!("the files of short logs cannot be synced, and are written again: {errno}");
            return self.write_again(up_to);
        }
        while self.change(move |store| store.forget_short_logs(up_to))?.unwrap_or(false) {}
        Some(())
    }

    /// Writes the files again: the kernel tells of a failed write once, and takes the file for written from then on.
    fn write_again(&self, up_to: i64) -> Option<()> {
        let mut after = 0;
        while after < up_to {
            let logs = self.change(move |store| store.short_logs(after))?.unwrap_or_default();
            let Some((last, _)) = logs.last() else { break };
            after = *last;
            for (_, log) in &logs {
                let written = write(&self.logs.join(&log.path), &log.bytes);
                written.unwrap_or_else(|error| log::error!("could not write the log {}: {error}", log.path));
            }
        }
        // Their sync is due again.
        self.keeping.bytes.fetch_add(ROW_BYTES, Ordering::Relaxed);
        Some(())
    }

    /// Does something with the store, on the core's thread, which owns it. The inner `None`: not now.
    fn change<T: Send + 'static>(
        &self,
        change: impl FnOnce(&mut dyn Store) -> Result<T, StoreError> + Send + 'static,
    ) -> Option<Option<T>> {
        self.core.answered(|answer| {
            ToCore::Store(Box::new(move |store| {
                let done = match change(store) {
                    Err(error) if error.is_transient() => None,
                    done => Some(done?),
                };
                drop(answer.try_send(done));
                Ok(())
            }))
        })
    }
}
