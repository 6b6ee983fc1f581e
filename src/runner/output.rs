//! The reader of a slot's output, or of a service's, which writes to the spool. The thread `slot<N>-out` reads the
//! output of an attempt that lasts. The slot itself reads the output of a shorter attempt afterwards, since waking the
//! thread twice costs more than reading a pipe. Neither waits for the network, so an attempt is slowed down by its own
//! disk at most. There is one thread for each slot, because starting one for each attempt would cost more still.

use std::io::{self, PipeReader, PipeWriter, Read};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};
use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};

use super::limits::{OUTPUT_END, PIPE_BYTES, READ_BYTES};
use super::spool::{Spool, SpoolWriter};
use super::upload::Upload;
use crate::model::StreamId;
use crate::threads::{self, Thread};

/// Reads the output of a slot's attempts, one after the other; or that of a service.
pub(super) struct SlotOutput {
    /// The output of the current attempt, while no thread reads it.
    unread: Option<OutputReader>,
    /// Declared before the thread, so that it is dropped before the thread is joined.
    attempts: Sender<OutputReader>,
    taken: Receiver<OutputSummary>,
    /// Wakes the thread although nothing was printed.
    wake: Arc<OwnedFd>,
    uploads: Sender<Upload>,
    _thread: Thread<()>,
}

/// Summary of an attempt's output.
pub(super) struct OutputSummary {
    pub(super) writer: SpoolWriter,
    /// The error because of which the spool is not complete.
    pub(super) failure: Option<io::Error>,
    /// A process still held the pipe open when the reader gave up.
    pub(super) is_cut: bool,
    /// Nothing was printed for so long that the attempt was ended.
    pub(super) was_quiet: bool,
}

impl SlotOutput {
    pub(super) fn new(thread: &str, uploads: Sender<Upload>) -> io::Result<Self> {
        let wake = Arc::new(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?);
        let (attempts, next) = bounded::<OutputReader>(1);
        let (done, taken) = bounded(1);
        let thread = threads::spawn(thread, move || {
            for mut taking in next {
                let is_cut = taking.read_to_end();
                if done.send(taking.taken(is_cut)).is_err() {
                    return;
                }
            }
        })?;
        Ok(Self { unread: None, attempts, taken, wake, uploads, _thread: thread })
    }

    /// Returns the pipe for an attempt's output. It is read once `follow` or `finish` is called. `end` gets a message
    /// when the spool takes nothing more; further output is read and dropped. It gets one too when nothing is printed
    /// for the time `quiet`.
    pub(super) fn start(
        &mut self,
        stream: StreamId,
        writer: SpoolWriter,
        end: Sender<()>,
        quiet: Option<Duration>,
    ) -> io::Result<PipeWriter> {
        let (reader, pipe) = io::pipe()?;
        // The reading end must not block: the thread waits with poll, for the pipe and for the wake-up.
        rustix::io::ioctl_fionbio(&reader, true)?;
        let (woken, uploads) = (self.wake.clone(), self.uploads.clone());
        let (failure, was_quiet) = (None, false);
        self.unread = Some(OutputReader { stream, reader, woken, writer, uploads, end, quiet, failure, was_quiet });
        Ok(pipe)
    }

    /// Hands the output to the thread, because the attempt lasts.
    pub(super) fn follow(&mut self) {
        if let Some(taking) = self.unread.take() {
            // If the thread has panicked, the pipe closes here, and `finish` reports it.
            drop(self.attempts.send(taking));
        }
    }

    /// Waits for the end of the output, for a bounded time. The output ends when no process holds the pipe any more.
    /// Returns `None` if the thread has panicked.
    pub(super) fn finish(&mut self) -> Option<OutputSummary> {
        if let Some(mut taking) = self.unread.take() {
            if let Some(is_cut) = taking.read_what_is_there(&mut small_buffer()) {
                return Some(taking.taken(is_cut));
            }
            // A process outside the attempt holds the pipe, or the pipe holds very much.
            self.unread = Some(taking);
            self.follow();
        }
        match self.taken.recv_timeout(OUTPUT_END) {
            Ok(taken) => Some(taken),
            Err(RecvTimeoutError::Disconnected) => None,
            Err(RecvTimeoutError::Timeout) => {
                let _ = rustix::io::write(&self.wake, &1u64.to_ne_bytes());
                let taken = self.taken.recv().ok();
                // The eventfd is reset for the next attempt.
                let _ = rustix::io::read(&self.wake, &mut [0; 8]);
                taken
            }
        }
    }
}

impl Drop for SlotOutput {
    /// Wakes a thread that still reads because the slot has panicked, so that it can be joined.
    fn drop(&mut self) {
        let _ = rustix::io::write(&self.wake, &1u64.to_ne_bytes());
    }
}

struct OutputReader {
    stream: StreamId,
    reader: PipeReader,
    woken: Arc<OwnedFd>,
    writer: SpoolWriter,
    uploads: Sender<Upload>,
    end: Sender<()>,
    quiet: Option<Duration>,
    failure: Option<io::Error>,
    was_quiet: bool,
}

impl OutputReader {
    /// Reads until the pipe closes. Returns true if it was told to stop before that.
    fn read_to_end(&mut self) -> bool {
        let mut buffer = small_buffer();
        let mut is_told = false;
        loop {
            if let Some(is_cut) = self.read_what_is_there(&mut buffer) {
                return is_cut;
            }
            if is_told {
                return true;
            }
            is_told = self.wait();
        }
    }

    /// Reads until the pipe is empty, or as much as the pipe can hold: a process that writes without a pause must not
    /// keep this thread. Returns `None` if more may come. Otherwise returns whether output was lost, which happens only
    /// if the pipe failed.
    fn read_what_is_there(&mut self, buffer: &mut Vec<u8>) -> Option<bool> {
        let mut total = 0;
        while total < PIPE_BYTES {
            match self.reader.read(buffer) {
                Ok(0) => return Some(false),
                Ok(length) => {
                    total += length;
                    self.take(&buffer[..length]);
                    if length == buffer.len() && length < READ_BYTES {
                        *buffer = vec![0; READ_BYTES];
                        // The kernel refuses this if the user's pipes are too large already. The default size works,
                        // too.
                        let _ = rustix::pipe::fcntl_setpipe_size(&self.reader, PIPE_BYTES);
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return None,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    self.fail(error);
                    return Some(true);
                }
            }
        }
        None
    }

    fn taken(self, is_cut: bool) -> OutputSummary {
        OutputSummary { writer: self.writer, failure: self.failure, is_cut, was_quiet: self.was_quiet }
    }

    /// Waits for more output. Returns true if the reader is to stop after it. Each wait has the whole quiet time, so
    /// that the time which the spool takes to keep output does not count.
    fn wait(&mut self) -> bool {
        let mut fds = [PollFd::new(&self.reader, PollFlags::IN), PollFd::new(&*self.woken, PollFlags::IN)];
        let quiet = self.quiet.and_then(|quiet| Timespec::try_from(quiet).ok());
        match poll(&mut fds, quiet.as_ref()) {
            Ok(0) => {
                (self.quiet, self.was_quiet) = (None, true);
                self.end_attempt();
                false
            }
            Ok(_) => !fds[1].revents().is_empty(),
            Err(rustix::io::Errno::INTR) => false,
            Err(_) => true,
        }
    }

    fn take(&mut self, bytes: &[u8]) {
        if self.failure.is_some() {
            return;
        }
        let is_first = self.writer.spool().len() == 0;
        if let Err(error) = self.writer.write(bytes) {
            self.fail(error);
            return;
        }
        announce(&self.stream, self.writer.spool(), &self.uploads, is_first);
    }

    fn fail(&mut self, error: io::Error) {
        log::error!("could not keep the {}: {error}", self.stream);
        self.failure = Some(error);
        self.end_attempt();
    }

    fn end_attempt(&self) {
        // A full channel means that the slot was told already.
        let _ = self.end.try_send(());
    }
}

/// The buffer for a start. Most attempts print little: the large buffer and the large pipe come when a read has filled
/// this one.
fn small_buffer() -> Vec<u8> {
    vec![0; 4096]
}

/// Tells the uploader that the spool has grown, unless it has not yet looked after the last such note.
pub(super) fn announce(stream: &StreamId, spool: &Arc<Spool>, uploads: &Sender<Upload>, is_first: bool) {
    if spool.len() == 0 || spool.is_announced.swap(true, Ordering::AcqRel) {
        return;
    }
    let stream = stream.clone();
    let note = if is_first { Upload::Opened { stream, spool: spool.clone() } } else { Upload::Grown(stream) };
    // Without an uploader the runner is ending. The next start delivers the spool.
    drop(uploads.send(note));
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;
    use crate::model::AttemptId;

    /// Longer than any pause of these tests' writers.
    const QUIET: Duration = Duration::from_millis(200);

    struct Trial {
        output: SlotOutput,
        pipe: PipeWriter,
        spool: Arc<Spool>,
        notes: Receiver<Upload>,
        ended: Receiver<()>,
        _directory: tempfile::TempDir,
    }

    fn start() -> Trial {
        let directory = tempfile::tempdir().unwrap();
        let spool = Arc::new(Spool::new(directory.path().join("a1.log")));
        let (uploads, notes) = bounded(100);
        let writer = SpoolWriter::new(spool.clone(), 1 << 30);
        let mut output = SlotOutput::new("slot0-out", uploads).unwrap();
        let (end, ended) = bounded(1);
        let pipe = output.start(StreamId::log(AttemptId(1)), writer, end, Some(QUIET)).unwrap();
        Trial { output, pipe, spool, notes, ended, _directory: directory }
    }

    #[test]
    fn everything_printed_is_in_the_spool_when_the_pipe_closes() {
        let Trial { mut output, mut pipe, spool, notes, ended: _, _directory } = start();
        output.follow();
        let printed: Vec<u8> = (0..3_000_000u32).map(|n| (n % 251) as u8).collect();
        pipe.write_all(&printed).unwrap();
        drop(pipe);
        let taken = output.finish().unwrap();
        assert!(!taken.is_cut && taken.failure.is_none());
        assert!(spool.read(0, u64::MAX).unwrap() == printed);
        assert!(matches!(notes.try_recv(), Ok(Upload::Opened { .. })));
        assert!(notes.try_recv().is_err(), "nobody looked, so nobody is told again");
    }

    #[test]
    fn what_an_attempt_that_is_soon_over_printed_is_read_afterwards() {
        let Trial { mut output, mut pipe, spool, notes, ended: _, _directory } = start();
        let printed = [b'x'; 10_000];
        pipe.write_all(&printed).unwrap();
        assert_eq!(spool.len(), 0, "nobody has read yet");
        drop(pipe);
        let taken = output.finish().unwrap();
        assert!(!taken.is_cut && taken.failure.is_none());
        assert!(spool.read(0, u64::MAX).unwrap() == printed);
        assert!(matches!(notes.try_recv(), Ok(Upload::Opened { .. })));
    }

    #[test]
    fn an_attempt_that_prints_nothing_for_its_quiet_time_is_ended_once() {
        let Trial { mut output, mut pipe, ended, _directory, .. } = start();
        output.follow();
        pipe.write_all(b"first").unwrap();
        ended.recv_timeout(Duration::from_secs(60)).unwrap();
        // It is told once, and whatever the process still says is kept.
        pipe.write_all(b" last").unwrap();
        drop(pipe);
        let summary = output.finish().unwrap();
        assert!(summary.was_quiet && ended.try_recv().is_err());
        assert_eq!(summary.writer.spool().read(0, 100).unwrap(), b"first last");
    }

    #[test]
    fn an_attempt_that_goes_on_printing_is_not_quiet() {
        let Trial { mut output, mut pipe, ended, _directory, .. } = start();
        output.follow();
        let spaced = crossbeam_channel::tick(QUIET / 8);
        for _ in 0..24 {
            spaced.recv().unwrap();
            pipe.write_all(b".").unwrap();
        }
        drop(pipe);
        assert!(!output.finish().unwrap().was_quiet && ended.try_recv().is_err());
    }

    #[test]
    fn something_outside_that_prints_without_a_pause_does_not_hold_the_slot() {
        let Trial { mut output, mut pipe, spool, _directory, .. } = start();
        let writing = threads::spawn("writes", move || while pipe.write_all(&[b'x'; 4096]).is_ok() {}).unwrap();
        assert!(output.finish().unwrap().is_cut);
        drop(writing);
        assert!(spool.len() > 0);
    }

    #[test]
    fn a_pipe_that_something_holds_open_is_given_up_with_what_it_had_and_the_next_attempt_is_served() {
        let Trial { mut output, mut pipe, spool, _directory, .. } = start();
        pipe.write_all(b"before").unwrap();
        let taken = output.finish().unwrap();
        assert!(taken.is_cut);
        assert_eq!(spool.read(0, 100).unwrap(), b"before");
        let next = Arc::new(Spool::new(_directory.path().join("a2.log")));
        let writer = SpoolWriter::new(next.clone(), 100);
        let mut again = output.start(StreamId::log(AttemptId(2)), writer, bounded(1).0, None).unwrap();
        again.write_all(b"after").unwrap();
        drop(again);
        assert!(!output.finish().unwrap().is_cut);
        assert_eq!(next.read(0, 100).unwrap(), b"after");
    }
}
