//! The log of an attempt while its commands are executed one after the other: their output, and the lines of Surveil's
//! own between and behind it.

use std::io;

use crossbeam_channel::Sender;

use super::assignment::AttemptResult;
use super::output::{OutputSummary, announce};
use super::spool::SpoolWriter;
use super::upload::Upload;
use crate::model::reason::{LossReason, TimeoutReason};
use crate::model::{AttemptId, Outcome, StepRecord, StreamId};
use crate::process::{Ended, Exit, ProcessError};

/// The log of an attempt that is being executed.
pub(super) struct AttemptLog {
    stream: StreamId,
    /// `None` while a command's output is taken.
    writer: Option<SpoolWriter>,
    uploads: Sender<Upload>,
    /// The error because of which the log is not complete.
    pub(super) failure: Option<io::Error>,
    /// Something outside of the attempt held its output open.
    is_cut: bool,
    /// Whether a process of the attempt has started.
    pub(super) has_started: bool,
}

impl AttemptLog {
    pub(super) fn new(attempt: AttemptId, writer: SpoolWriter, uploads: Sender<Upload>) -> Self {
        Self {
            stream: StreamId::log(attempt),
            writer: Some(writer),
            uploads,
            failure: None,
            is_cut: false,
            has_started: false,
        }
    }

    /// The number of bytes that were written so far, those included that are left out in the end.
    pub(super) fn position(&self) -> u64 {
        self.writer.as_ref().map_or(0, SpoolWriter::position)
    }

    /// Writes a line of Surveil's own.
    pub(super) fn line(&mut self, text: &str) {
        let Some(writer) = self.writer.as_mut().filter(|_| self.failure.is_none()) else { return };
        let was_silent = writer.spool().len() == 0;
        self.failure = writer.write_line(text).err();
        announce(&self.stream, writer.spool(), &self.uploads, was_silent);
    }

    /// Hands over the writer, for the output of a command.
    pub(super) fn take_writer(&mut self) -> SpoolWriter {
        self.writer.take().expect("the output of the command before was given back")
    }

    /// Takes the writer back. Returns whether nothing was printed for the quiet time.
    pub(super) fn take_output(&mut self, taken: OutputSummary) -> bool {
        let mut writer = taken.writer;
        let before = writer.spool().len();
        self.failure = self.failure.take().or(taken.failure).or_else(|| writer.end_output().err());
        if writer.spool().len() > before {
            announce(&self.stream, writer.spool(), &self.uploads, before == 0);
        }
        self.writer = Some(writer);
        self.is_cut |= taken.is_cut;
        taken.was_quiet
    }

    /// Completes the log. The outcome is the attempt's, unless its output could not be kept.
    pub(super) fn report(
        mut self,
        outcome: Outcome,
        duration_ms: Option<u64>,
        mut steps: Vec<StepRecord>,
    ) -> AttemptResult {
        if self.is_cut {
            self.line("surveil: something outside the task holds its output open; what comes of that is left out");
        }
        let Some(writer) = self.writer.take() else {
            return AttemptResult::lost("the attempt's log is gone");
        };
        let spool = writer.spool().clone();
        let was_silent = spool.len() == 0;
        let (mut log, kept, finished) = writer.finish();
        announce(&self.stream, &spool, &self.uploads, was_silent);
        let failure = self.failure.or(finished.err());
        if let Some(error) = &failure {
            log.missing = Some(format!("the runner could not keep it: {error}"));
        }
        let outcome = match failure {
            Some(error) if error.kind() == io::ErrorKind::StorageFull => Outcome::Lost(LossReason::disk_full()),
            Some(error) => Outcome::Lost(format!("could not keep the output: {error}").into()),
            None => outcome,
        };
        for step in &mut steps {
            // If the log could not be kept, it ends before the output did.
            let offset = |position| kept.offset(position).min(log.bytes);
            step.log = offset(step.log.start)..offset(step.log.end);
        }
        AttemptResult { steps, ..AttemptResult::new(outcome, duration_ms, log) }
    }
}

/// Returns the lines that Surveil itself adds behind the output of a command.
pub(super) fn notes(noun: &str, ended: &Result<Ended, ProcessError>, quiet: Option<&TimeoutReason>) -> Vec<String> {
    let mut notes = Vec::new();
    match ended {
        // If a task is ended for another reason, its running processes are no leftovers.
        Ok(Ended { exit: Exit::Code(_) | Exit::Signal(_), leftovers: 1, .. }) => {
            notes.push(format!("surveil: ended 1 process that the {noun} left behind"));
        }
        Ok(Ended { exit: Exit::Code(_) | Exit::Signal(_), leftovers, .. }) if *leftovers > 0 => {
            notes.push(format!("surveil: ended {leftovers} processes that the {noun} left behind"));
        }
        Ok(Ended { exit: Exit::TimedOut, duration_ms, .. }) => {
            notes.push(format!("surveil: the {noun} reached its timeout and was ended after {duration_ms} ms"));
        }
        Ok(Ended { exit: Exit::Cancelled, .. }) => {
            notes.extend(quiet.map(|reason| format!("surveil: the {noun} was ended: {reason}")));
        }
        Ok(_) | Err(_) => {}
    }
    notes
}
