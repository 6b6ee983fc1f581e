//! The state that a runner finds when it starts: results that were not delivered, attempts that died with the previous
//! process, spools that no attempt needs, trees in quarantine. The core calls it once.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::{fs, io};

use crossbeam_channel::{Receiver, Sender, TryRecvError, bounded};

use super::assignment::AttemptResult;
use super::error::RunnerError;
use super::journal::{Journal, Undone};
use super::layout::Layout;
use super::spool::{self, Spool};
use super::translate;
use super::upload::Upload;
use crate::git::remove_directory;
use crate::model::reason::LossReason;
use crate::model::{AttemptId, LogSummary, StreamId, StreamKind, StreamSummary};
use crate::threads::{self, Thread};

/// Reads the state that earlier runs left. An attempt that was executing then is lost, with the output that was
/// spooled.
pub(super) fn recover(
    layout: &Layout,
    uploads: &Sender<Upload>,
) -> Result<(Journal, Vec<(AttemptId, AttemptResult)>), RunnerError> {
    let failed = |source| RunnerError::Journal { path: layout.journal(), source };
    let (mut journal, Undone { ended, executing }) = Journal::open(layout.journal()).map_err(failed)?;
    let mut undelivered = Vec::new();
    for (attempt, mut result) in ended {
        for (kind, summary) in result.summaries() {
            let spooled = reopen(StreamId { attempt, kind }, layout, uploads).map_err(failed)?;
            let differs = |found: &LogSummary| (found.bytes, found.crc32) != (summary.bytes, summary.crc32);
            // If the spool differs from the journal, the spooled bytes are delivered and the result says so.
            match spooled {
                Some(found) if differs(&found) => {
                    *summary = LogSummary { missing: Some("the runner's spool was damaged".into()), ..found };
                }
                None if summary.bytes > 0 => {
                    let missing = Some("the runner's spool was deleted".into());
                    *summary = LogSummary { missing, ..LogSummary::default() };
                }
                Some(_) | None => {}
            }
        }
        undelivered.push((attempt, result));
    }
    for attempt in executing {
        let mut result = AttemptResult::lost(LossReason::Interrupted { text: "the runner restarted".into() });
        let stream = |kind| StreamSummary { kind, summary: LogSummary::default() };
        result.streams = spooled_beside_log(layout, attempt).map(stream).collect();
        for (kind, summary) in result.summaries() {
            if let Some(found) = reopen(StreamId { attempt, kind }, layout, uploads).map_err(failed)? {
                *summary = LogSummary { missing: Some("the runner restarted".into()), ..found };
            }
        }
        log::warn!("attempt {attempt} was executing when this runner last ended: lost");
        journal.end(attempt, &result).map_err(failed)?;
        undelivered.push((attempt, result));
    }
    for (attempt, result) in undelivered.iter().filter(|(_, result)| result.has_bytes()) {
        drop(uploads.send(Upload::Ended { attempt: *attempt, results: translate::results(*attempt, result) }));
    }
    sweep_spools(layout, &mut undelivered);
    Ok((journal, undelivered))
}

/// Returns the streams beside the log that an attempt has spooled.
fn spooled_beside_log(layout: &Layout, attempt: AttemptId) -> impl Iterator<Item = StreamKind> {
    let prefix = format!("{attempt}.");
    entries(&layout.spools()).filter_map(move |path| {
        let kind = StreamKind::new(&path.file_name()?.to_str()?.strip_prefix(&prefix)?.into()).ok()?;
        kind.service().is_some().then_some(kind)
    })
}

/// Hands a spooled stream to the uploader, and returns its summary. `None` if nothing is spooled.
fn reopen(stream: StreamId, layout: &Layout, uploads: &Sender<Upload>) -> io::Result<Option<LogSummary>> {
    let Some((spool, found)) = Spool::recover(layout.spool(&stream))? else { return Ok(None) };
    // The uploader has just been started, so the channel takes everything.
    drop(uploads.send(Upload::Opened { stream, spool: Arc::new(spool) }));
    Ok(Some(found))
}

/// Deletes spools that no attempt needs: the runner ended after the dispatcher's answer and before the deletion.
fn sweep_spools(layout: &Layout, undelivered: &mut [(AttemptId, AttemptResult)]) {
    let spools = |(attempt, result): &mut (AttemptId, AttemptResult)| {
        let attempt = *attempt;
        result.summaries().map(|(kind, _)| layout.spool(&StreamId { attempt, kind })).collect::<Vec<_>>()
    };
    let wanted: BTreeSet<_> = undelivered.iter_mut().flat_map(spools).collect();
    for entry in fs::read_dir(layout.spools()).into_iter().flatten().flatten() {
        if !wanted.contains(&entry.path()) {
            spool::remove(&entry.path());
        }
    }
}

/// Deletes the contents of the quarantine in a thread of its own. Dropping this value stops it.
pub(super) struct Sweep {
    /// Declared first, so that it is dropped before the thread is joined.
    _running: Sender<()>,
    _thread: Thread<()>,
}

impl Sweep {
    /// Starts the thread. Returns `None` if there is nothing to delete, or no thread: the next start tries again.
    pub(super) fn start(layout: &Layout) -> Option<Self> {
        let quarantined: Vec<PathBuf> = entries(&layout.quarantined()).collect();
        if quarantined.is_empty() {
            return None;
        }
        let (running, stopped) = bounded(0);
        let thread = threads::spawn("sweep", move || {
            for path in quarantined {
                // Entry by entry, so that stopping takes no longer than one of them.
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
    // Nothing is ever sent: the owner drops its end to stop the thread.
    if stopped.try_recv() == Err(TryRecvError::Disconnected) {
        return;
    }
    let is_directory = path.symlink_metadata().is_ok_and(|metadata| metadata.is_dir());
    // Not the standard library's function: a tree may be deeper than it has stack and descriptors for.
    if let Err(error) = if is_directory { remove_directory(path) } else { fs::remove_file(path) } {
        log::debug!("{} stays in quarantine: {error}", path.display());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// S42: fails with `fs::remove_dir_all`, which runs out of stack or of descriptors.
    #[test]
    fn a_tree_in_quarantine_is_deleted_however_deep_it_is() {
        let directory = tempfile::tempdir().unwrap();
        let layout = Layout::open(directory.path()).unwrap();
        let place = |name: &str| layout.quarantined().join(name);
        fs::create_dir(place("tree")).unwrap();
        for _ in 0..5_000 {
            fs::create_dir(place("above")).unwrap();
            fs::rename(place("tree"), place("above/d")).unwrap();
            fs::rename(place("above"), place("tree")).unwrap();
        }
        let Sweep { _running, _thread } = Sweep::start(&layout).unwrap();
        _thread.join().unwrap();
        assert!(!place("tree").exists());
    }
}
