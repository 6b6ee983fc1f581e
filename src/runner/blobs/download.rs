//! Receives blobs from the dispatcher, in the order in which they are wanted. Asks for pieces ahead, as many as the
//! window has room for, so that what has arrived and was not taken is bounded. Whatever interrupts it, it goes on at
//! the byte where it was. A blob is taken only if its bytes are those of its name.

use std::collections::VecDeque;
use std::io::{self, Write};
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, select};

use super::super::limits::{BLOB_RETRY, BLOB_TRIES};
use super::super::slot_common::SlotReport;
use super::line::Line;
use super::line_request::{NoLine, wait_for_line};
use super::routes::{BlobAnswer, BlobBytes};
use super::translate;
use super::window::Window;
use crate::blobs::{Form, Unpacking};
use crate::clock;
use crate::model::reason::LossReason;
use crate::model::{AttemptId, BlobId};

/// Pieces that one message asks for.
const ASKED_AT_ONCE: usize = 256;
/// Bytes of a blob of unknown length that are asked for before its next one.
const UNKNOWN_BYTES: u64 = 64 * 1024;

/// A blob that is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct WantedBlob {
    pub(super) blob: BlobId,
    /// Its length, if that is known.
    pub(super) bytes: Option<u64>,
    /// The most bytes that are taken.
    pub(super) limit: u64,
}

/// Why a blob was not received. `at` is its place in the list of those that are wanted.
#[derive(Debug)]
pub(super) enum DownloadError {
    Cancelled,
    /// The dispatcher does not have it.
    Missing {
        at: usize,
        reason: String,
    },
    /// It could not be written.
    Write {
        at: usize,
        error: io::Error,
    },
    /// The dispatcher cannot send it now.
    Lost(LossReason),
}

impl DownloadError {
    /// Returns the error with the place that the blob has in another list.
    pub(super) fn of(self, places: &[usize]) -> Self {
        match self {
            Self::Missing { at, reason } => Self::Missing { at: places[at], reason },
            Self::Write { at, error } => Self::Write { at: places[at], error },
            Self::Cancelled | Self::Lost(_) => self,
        }
    }
}

/// A receiver of blobs: it has a writer for each of them.
pub(super) trait Places {
    type Writer: Write + 'static;

    /// Returns the writer for the bytes of a blob, which are not verified yet. It is called again if they are wrong.
    fn begin(&mut self, at: usize) -> io::Result<Self::Writer>;

    /// Takes a blob that is verified.
    fn end(&mut self, at: usize, writer: Self::Writer) -> io::Result<()>;
}

/// The reason why one try ended early.
enum Interruption {
    SessionEnded,
    Refused(String),
    Final(DownloadError),
}

/// A piece that was asked for and has not come.
#[derive(Debug)]
struct Asked {
    at: usize,
    offset: u64,
    /// Whether its answer counts for nothing any more.
    is_void: bool,
}

/// Receives blobs for an attempt.
pub(super) struct Download<'a, P: Places> {
    attempt: AttemptId,
    reports: &'a Sender<SlotReport>,
    cancelled: &'a Receiver<()>,
    wanted: &'a [WantedBlob],
    places: P,
    window: Window,
    asked: VecDeque<Asked>,
    /// The next piece to ask for: the place of its blob, and its offset.
    next: (usize, u64),
    /// The blob that is being received, and what has arrived of its stored form.
    at: usize,
    received: u64,
    open: Option<(Form, Unpacking<P::Writer>)>,
    /// Whether the stored form of this blob is longer than was to be expected, so that its end is not known.
    is_endless: bool,
    /// Whether this blob came wrong once, so that the dispatcher checks it.
    is_doubtful: bool,
    /// Tries without success.
    tries: u32,
    /// How long the dispatcher may be away or silent.
    patience: Option<Duration>,
}

impl<'a, P: Places> Download<'a, P> {
    pub(super) fn new(
        attempt: AttemptId,
        (reports, cancelled): (&'a Sender<SlotReport>, &'a Receiver<()>),
        wanted: &'a [WantedBlob],
        places: P,
    ) -> Self {
        Self {
            attempt,
            reports,
            cancelled,
            wanted,
            places,
            window: Window::new(),
            asked: VecDeque::new(),
            next: (0, 0),
            at: 0,
            received: 0,
            open: None,
            is_endless: false,
            is_doubtful: false,
            tries: 0,
            patience: None,
        }
    }

    /// Gives up if the dispatcher is away or silent for so long.
    pub(super) fn with_patience(self, patience: Duration) -> Self {
        Self { patience: Some(patience), ..self }
    }

    fn too_long(&self) -> DownloadError {
        let seconds = self.patience.unwrap_or_default().as_secs();
        DownloadError::Lost(format!("nothing came from the dispatcher for {seconds} s").into())
    }

    /// Receives all blobs. Returns the places.
    pub(super) fn run(mut self) -> Result<P, DownloadError> {
        while self.at < self.wanted.len() {
            let line = match wait_for_line(self.attempt, (self.reports, self.cancelled), self.patience) {
                Ok(line) => line,
                Err(NoLine::Cancelled) => return Err(DownloadError::Cancelled),
                Err(NoLine::Late) => return Err(self.too_long()),
            };
            // An answer to an earlier try is told by its blob and its offset.
            self.asked.clear();
            self.window = Window::new();
            self.next = (self.at, self.received);
            match self.receive_over(&line) {
                Ok(()) | Err(Interruption::SessionEnded) => {}
                Err(Interruption::Final(error)) => return Err(error),
                Err(Interruption::Refused(reason)) => {
                    self.tries += 1;
                    if self.tries == BLOB_TRIES {
                        return Err(DownloadError::Lost(reason.into()));
                    }
                    select! {
                        recv(self.cancelled) -> _ => return Err(DownloadError::Cancelled),
                        default(BLOB_RETRY) => {}
                    }
                }
            }
        }
        Ok(self.places)
    }

    fn receive_over(&mut self, line: &Line) -> Result<(), Interruption> {
        while self.at < self.wanted.len() {
            if self.asked.is_empty() || self.window.is_low() {
                self.ask(line)?;
            }
            let answer = select! {
                recv(line.answers) -> answer => answer.map_err(|_| Interruption::SessionEnded)?,
                recv(self.cancelled) -> _ => return Err(Interruption::Final(DownloadError::Cancelled)),
                default(self.patience.unwrap_or(Duration::MAX)) => return Err(Interruption::Final(self.too_long())),
            };
            match answer {
                BlobAnswer::Piece(piece) => self.take(piece)?,
                BlobAnswer::Missing { blob, reason } => self.miss(blob, reason)?,
                BlobAnswer::Refused { reason, .. } => return Err(Interruption::Refused(reason)),
                // Answers to what a slot sends.
                BlobAnswer::Lacks(_)
                | BlobAnswer::Taken
                | BlobAnswer::Settled
                | BlobAnswer::Cache { .. }
                | BlobAnswer::CacheSaved { .. } => {}
            }
        }
        Ok(())
    }

    /// Asks for further pieces, as many as there is room for.
    fn ask(&mut self, line: &Line) -> Result<(), Interruption> {
        let mut pieces = Vec::new();
        while pieces.len() < ASKED_AT_ONCE
            && let Some(wanted) = self.wanted.get(self.next.0)
            && let room @ 1.. = self.window.room()
        {
            let (at, offset) = self.next;
            let is_endless = at == self.at && self.is_endless;
            let end = if is_endless { u64::MAX } else { longest_form(wanted.bytes.unwrap_or(UNKNOWN_BYTES)) };
            if offset >= end {
                self.next = (at + 1, 0);
                continue;
            }
            let bytes = room.min(end - offset);
            let check = at == self.at && self.is_doubtful && offset == 0;
            pieces.push((wanted.blob, offset, bytes, check));
            self.asked.push_back(Asked { at, offset, is_void: false });
            self.window.sent(clock::now(), bytes);
            self.next = (at, offset + bytes);
        }
        if pieces.is_empty() {
            return Ok(());
        }
        let frame = translate::want(self.attempt, &pieces);
        select! {
            send(line.session.bulk, frame.into()) -> sent => sent.map_err(|_| Interruption::SessionEnded),
            recv(self.cancelled) -> _ => Err(Interruption::Final(DownloadError::Cancelled)),
        }
    }

    /// Returns what was asked for, if an answer is to the oldest piece and counts.
    fn answered(&mut self, blob: BlobId, offset: Option<u64>) -> Option<Asked> {
        let is_it =
            |asked: &Asked| self.wanted[asked.at].blob == blob && offset.is_none_or(|offset| offset == asked.offset);
        if !self.asked.front().is_some_and(is_it) {
            return None;
        }
        self.window.answered(clock::now());
        self.asked.pop_front().filter(|asked| !asked.is_void)
    }

    fn miss(&mut self, blob: BlobId, reason: String) -> Result<(), Interruption> {
        match self.answered(blob, None) {
            Some(Asked { at, .. }) if at >= self.at => Err(Interruption::Final(DownloadError::Missing { at, reason })),
            Some(_) | None => Ok(()),
        }
    }

    fn take(&mut self, piece: BlobBytes) -> Result<(), Interruption> {
        let BlobBytes { blob, form, offset, last, bytes } = piece;
        // A piece behind the end of a blob was asked for before the end was known.
        let Some(asked) = self.answered(blob, Some(offset)).filter(|asked| asked.at == self.at) else { return Ok(()) };
        let (at, wanted) = (asked.at, self.wanted[asked.at]);
        let is_other_form = self.open.as_ref().is_some_and(|(known, _)| *known != form);
        if offset != self.received || is_other_form {
            // A dispatcher that was restarted may have another form of it.
            if is_other_form {
                self.begin_anew();
            }
            self.go_back();
            return Ok(());
        }
        if bytes.is_empty() && !last {
            // Otherwise it would be asked for without end.
            return self.doubt();
        }
        let failed = |error| Interruption::Final(DownloadError::Write { at, error });
        let mut unpacking = match self.open.take() {
            Some((_, unpacking)) => unpacking,
            None => {
                let writer = self.places.begin(at).map_err(failed)?;
                Unpacking::new(form, writer, wanted.limit).map_err(failed)?
            }
        };
        if let Err(error) = unpacking.take(&bytes) {
            return if is_damage(&error) { self.doubt() } else { Err(failed(error)) };
        }
        self.tries = 0;
        self.received += bytes.len() as u64;
        if !last {
            self.open = Some((form, unpacking));
            let here = (self.at, self.received);
            let comes_next = self.asked.front().map_or(self.next, |asked| (asked.at, asked.offset));
            if comes_next != here {
                self.is_endless = true;
                self.go_back();
            }
            return Ok(());
        }
        match unpacking.finish() {
            Ok((writer, found, length)) if found == blob && wanted.bytes.is_none_or(|bytes| bytes == length) => {
                self.places.end(at, writer).map_err(failed)?;
                self.begin_anew();
                (self.at, self.is_endless, self.is_doubtful) = (at + 1, false, false);
                if self.next.0 == at {
                    self.next = (self.at, 0);
                }
                Ok(())
            }
            Err(error) if !is_damage(&error) => Err(failed(error)),
            Ok(_) | Err(_) => self.doubt(),
        }
    }

    /// The blob came wrong. It is asked for once more, and then the dispatcher verifies it first.
    fn doubt(&mut self) -> Result<(), Interruption> {
        if self.is_doubtful {
            let text = format!("blob {} does not arrive as the dispatcher has it", self.wanted[self.at].blob);
            return Err(Interruption::Final(DownloadError::Lost(text.into())));
        }
        self.is_doubtful = true;
        self.begin_anew();
        self.go_back();
        Ok(())
    }

    fn begin_anew(&mut self) {
        (self.open, self.received) = (None, 0);
    }

    /// Asks for everything again that was asked for and has not come.
    fn go_back(&mut self) {
        self.asked.iter_mut().for_each(|asked| asked.is_void = true);
        self.next = (self.at, self.received);
    }
}

/// Returns the length that the stored form of so many bytes has at most, if it was made as this program makes it.
fn longest_form(bytes: u64) -> u64 {
    bytes + bytes / 256 + 1024
}

/// Whether an error is about the bytes of a blob, and not about the place where they are written.
fn is_damage(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::InvalidData | io::ErrorKind::Other)
}
