//! What a runner finds when it starts: attempts that ended and were not delivered, attempts that died with the runner
//! before, spools nobody needs, trees in quarantine. The core calls it once.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crossbeam_channel::{Receiver, Sender, TryRecvError, bounded};

use super::RunnerError;
use super::assignment::AttemptResult;
use super::journal::{Journal, Undone};
use super::layout::Layout;
use super::spool::{self, Spool};
use super::translate;
use super::upload::Upload;
use crate::model::{AttemptId, LogSummary};
use crate::threads::{self, Thread};

/// Reads what earlier runs left. What was executing then is lost; its log is what was spooled.
pub(super) fn recover(
    layout: &Layout,
    uploads: &Sender<Upload>,
) -> Result<(Journal, Vec<(AttemptId, AttemptResult)>), RunnerError> {
    let failed = |source| RunnerError::Journal { path: layout.journal(), source };
    let (mut journal, Undone { ended, executing }) = Journal::open(layout.journal()).map_err(failed)?;
    let mut undelivered = Vec::new();
    for (attempt, mut report) in ended {
        match Spool::recover(layout.spool(attempt)).map_err(failed)? {
            Some((spool, log)) if log.bytes == report.log.bytes && log.crc32 == report.log.crc32 => {
                open_again(attempt, spool, &report, uploads);
            }
            // The spool is not what the journal says: what there is goes, and says so.
            Some((spool, log)) => {
                report.log = log;
                report.log.missing = Some("the runner's spool was damaged".into());
                open_again(attempt, spool, &report, uploads);
            }
            None if report.has_log() => {
                report.log = LogSummary::default();
                report.log.missing = Some("the runner's spool was deleted".into());
            }
            None => {}
        }
        undelivered.push((attempt, report));
    }
    for attempt in executing {
        let mut report = AttemptResult::lost("the runner restarted");
        if let Some((spool, log)) = Spool::recover(layout.spool(attempt)).map_err(failed)? {
            report.log = log;
            report.log.missing = Some("the runner restarted".into());
            open_again(attempt, spool, &report, uploads);
        }
        log::warn!("attempt {attempt} was executing when this runner last ended: lost");
        journal.end(attempt, &report).map_err(failed)?;
        undelivered.push((attempt, report));
    }
    sweep_spools(layout, &undelivered);
    Ok((journal, undelivered))
}

fn open_again(attempt: AttemptId, spool: Spool, report: &AttemptResult, uploads: &Sender<Upload>) {
    // The uploader has just been started; it takes everything.
    drop(uploads.send(Upload::Opened { attempt, spool: Arc::new(spool) }));
    drop(uploads.send(Upload::Ended { attempt, results: translate::results(attempt, report) }));
}

/// Deletes spools that no attempt needs: the runner ended between the last word and the deletion.
fn sweep_spools(layout: &Layout, undelivered: &[(AttemptId, AttemptResult)]) {
    let wanted: Vec<_> = undelivered.iter().map(|(attempt, _)| layout.spool(*attempt)).collect();
    for entry in std::fs::read_dir(layout.spools()).into_iter().flatten().flatten() {
        if !wanted.contains(&entry.path()) {
            spool::remove(&entry.path());
        }
    }
}

/// Deletes what is in quarantine, beside everything else. Dropped, it stops.
pub(super) struct Sweep {
    /// Declared first, so that it is dropped before the thread is joined.
    _running: Sender<()>,
    _thread: Thread<()>,
}

impl Sweep {
    /// `None` where there is nothing to delete, or no thread to be had, which can wait until the next start.
    pub(super) fn start(layout: &Layout) -> Option<Self> {
        let quarantined: Vec<PathBuf> = entries(&layout.quarantined()).collect();
        if quarantined.is_empty() {
            return None;
        }
        let (running, stopped) = bounded(0);
        let thread = threads::spawn("sweep", move || {
            for path in quarantined {
                // Piece by piece, so that stopping takes no longer than one of them.
                for piece in entries(&path).chain([path.clone()]) {
                    delete(&piece, &stopped);
                }
            }
        });
        Some(Self { _running: running, _thread: thread.ok()? })
    }
}

fn entries(directory: &Path) -> impl Iterator<Item = PathBuf> + use<> {
    fs::read_dir(directory).into_iter().flatten().flatten().map(|entry| entry.path())
}

fn delete(path: &Path, stopped: &Receiver<()>) {
    if stopped.try_recv() == Err(TryRecvError::Disconnected) {
        return;
    }
    let is_directory = path.symlink_metadata().is_ok_and(|metadata| metadata.is_dir());
    if let Err(error) = if is_directory { fs::remove_dir_all(path) } else { fs::remove_file(path) } {
        log::debug!("{} stays in quarantine: {error}", path.display());
    }
}
