//! The thread that reads what an attempt prints, `a<N>-out`, and writes it to the spool. It never waits for the network,
//! so an attempt is slowed down by its own disk at most. A slot starts one for each attempt and ends it.

use std::io::{self, PipeReader, PipeWriter, Read};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};
use rustix::event::{EventfdFlags, PollFd, PollFlags, eventfd, poll};

use super::limits::{OUTPUT_END, PIPE_BYTES, READ_BYTES};
use super::spool::{Spool, SpoolWriter};
use super::upload::Upload;
use crate::model::AttemptId;
use crate::threads::{self, Thread};

/// An attempt's output on its way to the spool.
pub(super) struct Output {
    thread: Thread<Taken>,
    /// Closes when the thread is about to end.
    done: Receiver<()>,
    /// Wakes the thread although nothing was printed.
    wake: Arc<OwnedFd>,
}

/// What came of an attempt's output.
pub(super) struct Taken {
    pub(super) writer: SpoolWriter,
    /// Why the spool could not take all of it.
    pub(super) failure: Option<io::Error>,
    /// Something still held the pipe open when it was given up.
    pub(super) is_cut: bool,
}

impl Output {
    /// Starts to read. The pipe's other end is for the attempt. `full` is told when the spool takes nothing more, after
    /// which output is read and dropped.
    pub(super) fn start(
        attempt: AttemptId,
        writer: SpoolWriter,
        uploads: Sender<Upload>,
        full: Sender<()>,
    ) -> io::Result<(Self, PipeWriter)> {
        let (reader, pipe) = io::pipe()?;
        rustix::io::ioctl_fionbio(&reader, true)?;
        let wake = Arc::new(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?);
        let (ending, done) = bounded::<()>(0);
        let woken = wake.clone();
        let mut name = format!("{attempt}-out");
        name.truncate(15);
        let thread = threads::spawn(&name, move || {
            let mut taking = Taking { attempt, reader, woken, writer, uploads, full, failure: None };
            let is_cut = taking.read_to_end();
            drop(ending);
            Taken { writer: taking.writer, failure: taking.failure, is_cut }
        })?;
        Ok((Self { thread, done, wake }, pipe))
    }

    /// Waits for the output's end, which is there as soon as nothing holds the pipe any more, but not for ever.
    pub(super) fn finish(self) -> std::thread::Result<Taken> {
        if self.done.recv_timeout(OUTPUT_END) == Err(RecvTimeoutError::Timeout) {
            // An eventfd that is full wakes as well as one that takes the number.
            let _ = rustix::io::write(&self.wake, &1u64.to_ne_bytes());
        }
        self.thread.join()
    }
}

struct Taking {
    attempt: AttemptId,
    reader: PipeReader,
    woken: Arc<OwnedFd>,
    writer: SpoolWriter,
    uploads: Sender<Upload>,
    full: Sender<()>,
    failure: Option<io::Error>,
}

impl Taking {
    /// Reads until the pipe closes. True if it was told to stop before that.
    fn read_to_end(&mut self) -> bool {
        // Most attempts print little: the large buffer and the large pipe come when a read has filled this one.
        let mut buffer = vec![0; 4096];
        loop {
            match self.reader.read(&mut buffer) {
                Ok(0) => return false,
                Ok(length) => {
                    self.take(&buffer[..length]);
                    if length == buffer.len() && length < READ_BYTES {
                        buffer = vec![0; READ_BYTES];
                        // Refused where the user's pipes take too much already; the default does, too.
                        let _ = rustix::pipe::fcntl_setpipe_size(&self.reader, PIPE_BYTES);
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    if self.wait() {
                        return true;
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    self.fail(error);
                    return true;
                }
            }
        }
    }

    /// Waits for more. True if told to stop.
    fn wait(&self) -> bool {
        let mut fds = [PollFd::new(&self.reader, PollFlags::IN), PollFd::new(&*self.woken, PollFlags::IN)];
        match poll(&mut fds, None) {
            Ok(_) => fds[0].revents().is_empty() && !fds[1].revents().is_empty(),
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
        announce(self.attempt, self.writer.spool(), &self.uploads, is_first);
    }

    fn fail(&mut self, error: io::Error) {
        log::error!("attempt {}: could not keep its output: {error}", self.attempt);
        self.failure = Some(error);
        // The slot may have been told to end the attempt already.
        let _ = self.full.try_send(());
    }
}

/// Tells the uploader that the spool has grown, unless it has been told and has not looked yet.
pub(super) fn announce(attempt: AttemptId, spool: &Arc<Spool>, uploads: &Sender<Upload>, is_first: bool) {
    if spool.len() == 0 || spool.is_announced.swap(true, Ordering::AcqRel) {
        return;
    }
    let note = if is_first { Upload::Opened { attempt, spool: spool.clone() } } else { Upload::Grown(attempt) };
    // Without an uploader the runner is ending; what is spooled is delivered by the next one.
    drop(uploads.send(note));
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn start(directory: &tempfile::TempDir) -> (Output, PipeWriter, Arc<Spool>, Receiver<Upload>) {
        let spool = Arc::new(Spool::new(directory.path().join("a1.log")));
        let (uploads, notes) = bounded(100);
        let writer = SpoolWriter::new(spool.clone(), 1 << 30);
        let (output, pipe) = Output::start(AttemptId(1), writer, uploads, bounded(1).0).unwrap();
        (output, pipe, spool, notes)
    }

    #[test]
    fn everything_printed_is_in_the_spool_when_the_pipe_closes() {
        let directory = tempfile::tempdir().unwrap();
        let (output, mut pipe, spool, notes) = start(&directory);
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
    fn a_pipe_that_something_holds_open_is_given_up_with_what_it_had() {
        let directory = tempfile::tempdir().unwrap();
        let (output, mut pipe, spool, _notes) = start(&directory);
        pipe.write_all(b"before").unwrap();
        let taken = output.finish().unwrap();
        assert!(taken.is_cut);
        assert_eq!(spool.read(0, 100).unwrap(), b"before");
        drop(pipe);
    }
}
