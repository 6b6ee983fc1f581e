//! Sends the blobs of an attempt that the dispatcher lacks. Whatever interrupts it, it asks again what is lacking and
//! goes on there. It waits for a dispatcher that is away: the attempt's result is worth nothing without its artifacts.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Cursor, Read, Seek, SeekFrom};
use std::os::unix::fs::FileExt;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, select};

use super::super::limits::{BLOB_PATIENCE_MS, BLOB_RETRY, BLOB_TRIES};
use super::super::slot_common::SlotReport;
use super::hashing::{OpenFile, hash};
use super::line::Line;
use super::line_request::{NoLine, wait_for_line};
use super::routes::{BlobAnswer, RefusedCause};
use super::translate::{self, Piece};
use super::window::Window;
use crate::blobs::{Form, pack_pays, packing};
use crate::clock;
use crate::model::reason::LossReason;
use crate::model::{AttemptId, BlobId, Moment};
use crate::transport::Frame;

/// Blobs that one question names.
const ASKED_AT_ONCE: usize = 1000;
/// Bytes at the beginning and in the middle of a file that decide whether it is compressed.
const SAMPLE_BYTES: usize = 16 * 1024;
/// Bytes that are read at a time.
const READ_BYTES: usize = 64 * 1024;
/// Shorter blobs are not compressed: they take a block of the disk either way.
const SMALL_BYTES: u64 = 512;

/// Why an upload ended without success.
#[derive(Debug)]
pub(super) enum UploadError {
    Cancelled,
    /// A file is not what it was when it was collected, or cannot be read.
    Changed(String),
    /// The dispatcher cannot take the blobs.
    Lost(LossReason),
}

/// A file that is sent for an attempt.
pub(super) struct Upload<'a> {
    pub(super) attempt: AttemptId,
    pub(super) open: OpenFile<'a>,
    /// The blobs of files, each with the path and the length of a file that has it.
    pub(super) files: &'a BTreeMap<BlobId, (&'a str, u64)>,
    pub(super) manifests: &'a BTreeMap<BlobId, Vec<u8>>,
    pub(super) reports: &'a Sender<SlotReport>,
    pub(super) cancelled: &'a Receiver<()>,
    /// How long the dispatcher may be away or silent. With a limit, its first refusal is the last, too.
    pub(super) patience: Option<Duration>,
}

/// The reason why one try ended early.
enum Interruption {
    SessionEnded,
    Refused { reason: String, cause: RefusedCause },
    Final(UploadError),
}

impl Upload<'_> {
    /// Sends everything that the dispatcher lacks, and has it made durable.
    pub(super) fn run(&self) -> Result<(), UploadError> {
        let (mut full_since, mut tries) = (None, 0);
        loop {
            let line = self.line()?;
            let (reason, cause) = match Try::new(self, line).run() {
                Ok(()) => return Ok(()),
                Err(Interruption::SessionEnded) => continue,
                Err(Interruption::Final(error)) => return Err(error),
                Err(Interruption::Refused { reason, cause }) => (reason, cause),
            };
            if self.patience.is_some() {
                return Err(UploadError::Lost(reason.into()));
            }
            match cause {
                RefusedCause::DiskFull => {
                    let since: Moment = *full_since.get_or_insert_with(clock::now);
                    if clock::now().since(since) > BLOB_PATIENCE_MS {
                        return Err(UploadError::Lost(LossReason::DiskFull { text: reason }));
                    }
                }
                RefusedCause::WrongBytes | RefusedCause::Other => {
                    self.check_files()?;
                    tries += 1;
                    if tries == BLOB_TRIES {
                        let text = format!("the dispatcher did not take its artifacts: {reason}");
                        return Err(UploadError::Lost(text.into()));
                    }
                }
            }
            self.pause(BLOB_RETRY)?;
        }
    }

    /// Waits for a session.
    fn line(&self) -> Result<Line, UploadError> {
        match wait_for_line(self.attempt, (self.reports, self.cancelled), self.patience) {
            Ok(line) => Ok(line),
            Err(NoLine::Cancelled) => Err(UploadError::Cancelled),
            Err(NoLine::Late) => Err(self.too_long()),
        }
    }

    fn longest_wait(&self) -> Duration {
        self.patience.unwrap_or(Duration::MAX)
    }

    fn too_long(&self) -> UploadError {
        UploadError::Lost(format!("nothing came from the dispatcher for {} s", self.longest_wait().as_secs()).into())
    }

    fn pause(&self, time: Duration) -> Result<(), UploadError> {
        select! {
            recv(self.cancelled) -> _ => Err(UploadError::Cancelled),
            default(time) => Ok(()),
        }
    }

    /// Checks that each file is still what it was when it was collected.
    fn check_files(&self) -> Result<(), UploadError> {
        for (blob, (path, bytes)) in self.files {
            let found = hash(self.open, path).map_err(UploadError::Changed)?;
            if found != (*blob, *bytes) {
                return Err(UploadError::Changed(format!("`{path}` changed after it was read")));
            }
        }
        Ok(())
    }
}

/// One try, over one session.
struct Try<'a> {
    upload: &'a Upload<'a>,
    line: Line,
    window: Window,
    /// Messages that are not answered yet, pieces included.
    unanswered: usize,
}

impl<'a> Try<'a> {
    fn new(upload: &'a Upload<'a>, line: Line) -> Self {
        Self { upload, line, window: Window::new(), unanswered: 0 }
    }

    fn run(mut self) -> Result<(), Interruption> {
        let result = self.send_all();
        if matches!(result, Err(Interruption::Refused { .. })) {
            // The answers to what is on the way must not be taken for answers to the next try.
            while self.unanswered > 0 {
                self.receive()?;
            }
        }
        result
    }

    fn send_all(&mut self) -> Result<(), Interruption> {
        let (attempt, manifests) = (self.upload.attempt, self.upload.manifests);
        let all: Vec<BlobId> = self.upload.files.keys().chain(manifests.keys()).copied().collect();
        for asked in all.chunks(ASKED_AT_ONCE) {
            self.send(translate::have(attempt, asked))?;
            let lacking = loop {
                if let BlobAnswer::Lacks(lacking) = self.answer()? {
                    break lacking;
                }
            };
            for (blob, offset) in lacking {
                self.send_blob(blob, offset)?;
            }
        }
        self.send(translate::settle(attempt, &manifests.keys().copied().collect::<Vec<_>>()))?;
        while self.answer()? != BlobAnswer::Settled {}
        Ok(())
    }

    /// Sends a blob from this offset of its form on.
    fn send_blob(&mut self, blob: BlobId, offset: u64) -> Result<(), Interruption> {
        if let Some(manifest) = self.upload.manifests.get(&blob) {
            let size = manifest.len() as u64;
            return self.send_form(
                blob,
                size,
                offset,
                &manifest[..manifest.len().min(SAMPLE_BYTES)],
                Cursor::new(manifest),
            );
        }
        // The dispatcher asks for nothing but what it was offered; a foreign program may.
        let Some((path, size)) = self.upload.files.get(&blob).copied() else { return Ok(()) };
        let changed =
            |error: io::Error| Interruption::Final(UploadError::Changed(format!("could not read `{path}`: {error}")));
        let (file, _) = (self.upload.open)(path).map_err(changed)?;
        let sample = sample(&file, size).map_err(changed)?;
        self.send_form(blob, size, offset, &sample, file)
    }

    fn send_form(
        &mut self,
        blob: BlobId,
        size: u64,
        offset: u64,
        sample: &[u8],
        mut bytes: impl Read + Seek,
    ) -> Result<(), Interruption> {
        let unreadable = |error: io::Error| {
            Interruption::Final(UploadError::Changed(format!("could not read a file again: {error}")))
        };
        if size < SMALL_BYTES || !pack_pays(sample) {
            bytes.seek(SeekFrom::Start(offset)).map_err(unreadable)?;
            let reader = BufReader::with_capacity(READ_BYTES, bytes);
            return self.send_pieces((blob, size), Form::Plain, offset, reader);
        }
        let mut packed = packing(BufReader::with_capacity(READ_BYTES, bytes), size).map_err(unreadable)?;
        io::copy(&mut packed.by_ref().take(offset), &mut io::sink()).map_err(unreadable)?;
        let reader = BufReader::with_capacity(READ_BYTES, packed);
        self.send_pieces((blob, size), Form::Packed, offset, reader)
    }

    fn send_pieces(
        &mut self,
        (blob, size): (BlobId, u64),
        form: Form,
        mut offset: u64,
        mut reader: impl BufRead,
    ) -> Result<(), Interruption> {
        let unreadable = |error: io::Error| {
            Interruption::Final(UploadError::Changed(format!("could not read a file again: {error}")))
        };
        loop {
            let room = loop {
                match self.window.room() {
                    0 => drop(self.answer()?),
                    room => break room,
                }
            };
            // A byte more, so that the end is met without more memory.
            let expected = usize::try_from(room.min(size.saturating_sub(offset) + 1)).unwrap_or_default();
            let mut bytes = Vec::with_capacity(expected);
            reader.by_ref().take(room).read_to_end(&mut bytes).map_err(unreadable)?;
            let last = reader.fill_buf().map_err(unreadable)?.is_empty();
            let length = bytes.len() as u64;
            let piece = Piece { blob, size, form, offset, last };
            self.window.sent(clock::now(), length);
            self.send(translate::piece(self.upload.attempt, &piece, bytes))?;
            offset += length;
            if last {
                return Ok(());
            }
        }
    }

    fn send(&mut self, frame: Frame) -> Result<(), Interruption> {
        select! {
            send(self.line.session.bulk, frame.into()) -> sent => sent.map_err(|_| Interruption::SessionEnded)?,
            recv(self.upload.cancelled) -> _ => return Err(Interruption::Final(UploadError::Cancelled)),
            default(self.upload.longest_wait()) => return Err(Interruption::Final(self.upload.too_long())),
        }
        self.unanswered += 1;
        Ok(())
    }

    /// Waits for an answer. A refusal is an error.
    fn answer(&mut self) -> Result<BlobAnswer, Interruption> {
        match self.receive()? {
            BlobAnswer::Refused { reason, cause } => Err(Interruption::Refused { reason, cause }),
            answer @ (BlobAnswer::Lacks(_)
            | BlobAnswer::Taken
            | BlobAnswer::Settled
            | BlobAnswer::Piece(_)
            | BlobAnswer::Missing { .. }
            | BlobAnswer::Cache { .. }
            | BlobAnswer::CacheSaved { .. }) => Ok(answer),
        }
    }

    fn receive(&mut self) -> Result<BlobAnswer, Interruption> {
        let answer = select! {
            recv(self.line.answers) -> answer => answer.map_err(|_| Interruption::SessionEnded)?,
            recv(self.upload.cancelled) -> _ => return Err(Interruption::Final(UploadError::Cancelled)),
            default(self.upload.longest_wait()) => return Err(Interruption::Final(self.upload.too_long())),
        };
        self.unanswered = self.unanswered.saturating_sub(1);
        // The dispatcher answers in order, so any other answer comes behind those to all pieces.
        if answer == BlobAnswer::Taken {
            self.window.answered(clock::now());
        }
        Ok(answer)
    }
}

/// Returns bytes of a file by which it is judged whether compressing it pays.
fn sample(file: &File, size: u64) -> io::Result<Vec<u8>> {
    let mut sample = vec![0; 2 * SAMPLE_BYTES];
    let mut filled = 0;
    for from in [0, (size / 2).max(SAMPLE_BYTES as u64)] {
        let until = filled + SAMPLE_BYTES;
        while filled < until {
            let at = from + (filled + SAMPLE_BYTES - until) as u64;
            match file.read_at(&mut sample[filled..until], at)? {
                0 => break,
                count => filled += count,
            }
        }
    }
    sample.truncate(filled);
    Ok(sample)
}
