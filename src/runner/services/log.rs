//! The log of one service: a stream of its own beside the log of its attempt.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use crossbeam_channel::{Sender, bounded};

use super::running::last_lines;
use crate::model::{AttemptId, LogSummary, StreamId, StreamKind, StreamSummary};
use crate::runner::layout::Layout;
use crate::runner::masking::Masker;
use crate::runner::output::{SlotOutput, announce};
use crate::runner::spool::{Spool, SpoolWriter};
use crate::runner::upload::Upload;

/// Bytes at the end of a log in which its last lines are looked for.
const END_BYTES: u64 = 4096;

/// The log of a service that runs.
pub(super) struct ServiceLog {
    stream: StreamId,
    spool: Arc<Spool>,
    output: SlotOutput,
    uploads: Sender<Upload>,
}

impl ServiceLog {
    /// Begins a log of at most `limit` bytes. Returns the descriptor for the output of the service.
    pub(super) fn begin(
        (attempt, service): (AttemptId, &str),
        layout: &Layout,
        limit: u64,
        masker: Option<Masker>,
        uploads: &Sender<Upload>,
    ) -> io::Result<(Self, File)> {
        let stream = StreamId { attempt, kind: StreamKind::of_service(service) };
        let spool = Arc::new(Spool::new(layout.spool(&stream)));
        let mut writer = SpoolWriter::new(spool.clone(), limit);
        writer.mask_by(masker);
        let mut output = SlotOutput::new("service-out", uploads.clone())?;
        // A log that cannot be kept ends no service: what follows is read and dropped.
        let pipe = output.start(stream.clone(), writer, bounded(1).0, None)?;
        output.follow();
        Ok((Self { stream, spool, output, uploads: uploads.clone() }, File::from(OwnedFd::from(pipe))))
    }

    /// Completes the log, when no process of the service is left. `note` is a line of Surveil's own for its end.
    /// Returns its summary, and its last lines before that note.
    pub(super) fn finish(mut self, note: Option<&str>) -> (StreamSummary, Vec<String>) {
        let kind = self.stream.kind.clone();
        let Some(taken) = self.output.finish() else {
            let missing = Some("the runner could not keep it: its output thread panicked".to_owned());
            return (StreamSummary { kind, summary: LogSummary { missing, ..LogSummary::default() } }, Vec::new());
        };
        let mut writer = taken.writer;
        let was_silent = self.spool.len() == 0;
        let mut failure = taken.failure.or_else(|| writer.end_output().err());
        let end = self.spool.read(self.spool.len().saturating_sub(END_BYTES), END_BYTES);
        let lines = end.map(|end| last_lines(&end)).unwrap_or_default();
        if let Some(note) = note.filter(|_| failure.is_none()) {
            failure = writer.write_line(&format!("surveil: {note}")).err();
        }
        let (mut summary, _, finished) = writer.finish();
        announce(&self.stream, &self.spool, &self.uploads, was_silent);
        if let Some(error) = failure.or(finished.err()) {
            summary.missing = Some(format!("the runner could not keep it: {error}"));
        }
        (StreamSummary { kind, summary }, lines)
    }
}
