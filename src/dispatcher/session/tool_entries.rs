//! A runner's messages about the tool cache. They are answered by a thread of their own for each session, because that
//! waits for the disk and for the runner. It starts with the first of them, and ends when none comes for a while. It
//! never keeps the session's reader waiting: a message for which there is no room is answered at once, and its entry is
//! a miss.

// Compiled as a part of this module, so that it sees what is private here.
#[cfg(any(test, fuzzing))]
#[path = "../../fuzz/dispatcher_entries.rs"]
pub(crate) mod fuzz;

use std::collections::HashMap;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, unbounded};

use super::caches::Asker;
use crate::clock;
use crate::dispatcher::caches::{Caches, FoundEntry, NewEntryFile, key_of};
use crate::dispatcher::{limits, translate};
use crate::error_chain::chain;
use crate::model::{AttemptId, CacheScopes, SessionId, ToolEntry};
use crate::protocol::runner::ToRunner;
use crate::protocol::tool_entries::{EntryAnswer, EntryPiece, EntryQuestion};
use crate::threads;
use crate::transport::{Frame, Outbox, WeakOutbox};

/// The reason why a message is not looked at that came with too many others.
const NO_ROOM: &str = "too many entries come at once";

/// A message about the tool cache, of an attempt that the runner holds.
pub(super) enum EntryWork {
    Find(Box<(Asker, EntryQuestion)>),
    Keep(Box<(Asker, EntryPiece)>, Vec<u8>),
}

impl EntryWork {
    /// The bytes of entries that it holds.
    fn bytes(&self) -> usize {
        if let Self::Keep(_, bytes) = self { bytes.len() } else { 0 }
    }

    /// The answer to a message that is not looked at, for this reason: its entry is a miss.
    fn passed_over(&self, reason: &str) -> Frame {
        match self {
            Self::Find(asked) => Frame::new(&miss(&asked.1)),
            Self::Keep(piece, _) => acknowledgement(&piece.1, Err(reason.to_owned())),
        }
    }
}

/// The way to the thread of a session. Dropping it ends the thread, which nobody waits for: it may be waiting for a
/// peer that takes nothing.
pub(super) struct EntryWorker {
    work: Sender<EntryWork>,
    /// Bytes of entries that wait.
    waiting: Arc<AtomicUsize>,
    /// Whether the thread has ended because nothing came.
    is_over: Arc<Mutex<bool>>,
}

impl EntryWorker {
    /// Starts the thread of a session.
    pub(super) fn start(session: SessionId, caches: Caches, outbox: WeakOutbox) -> io::Result<Self> {
        let (work, messages) = unbounded();
        let (waiting, is_over) = (Arc::<AtomicUsize>::default(), Arc::<Mutex<bool>>::default());
        let serving =
            Serving { caches, outbox, waiting: waiting.clone(), is_over: is_over.clone(), arriving: HashMap::new() };
        let body = move || serving.run(&messages);
        threads::spawn_large(&format!("s{}-tools", session.0 % 100_000), body)?.detach();
        Ok(Self { work, waiting, is_over })
    }

    /// Passes a message on. Gives it back if the thread has ended. Returns the answer if there is no room.
    fn send(&self, work: EntryWork) -> Result<Option<Frame>, EntryWork> {
        // Under the lock, so that the thread does not end between the look and the message.
        let is_over = threads::lock(&self.is_over);
        if *is_over {
            return Err(work);
        }
        let bytes = work.bytes();
        let is_full = self.work.len() >= limits::ENTRY_MESSAGES
            || self.waiting.load(Ordering::Relaxed) + bytes > limits::ENTRY_WAITING_BYTES;
        if is_full {
            return Ok(Some(work.passed_over(NO_ROOM)));
        }
        self.waiting.fetch_add(bytes, Ordering::Relaxed);
        self.work.send(work).map(|()| None).map_err(|error| error.0)
    }
}

/// Passes a message on to the thread of a session, which is started if it is not there. Without a thread the entry is a
/// miss, and the session goes on.
pub(super) fn pass_on(
    worker: &mut Option<EntryWorker>,
    outbox: &Outbox,
    start: impl FnOnce() -> io::Result<EntryWorker>,
    work: EntryWork,
) {
    let unsent = match worker {
        Some(worker) => worker.send(work),
        None => Err(work),
    };
    let answer = unsent.or_else(|work| match start() {
        Ok(started) => worker.insert(started).send(work),
        Err(error) => {
            log::warn!("no thread for the tool cache: {error}");
            Ok(Some(work.passed_over("the dispatcher has no thread left for it")))
        }
    });
    let answer = answer.unwrap_or_else(|work| Some(work.passed_over(NO_ROOM)));
    answer.iter().for_each(|answer| outbox.send(answer));
}

struct Serving {
    caches: Caches,
    /// Weak, so that the thread does not keep the session alive.
    outbox: WeakOutbox,
    /// [`EntryWorker::waiting`] and [`EntryWorker::is_over`].
    waiting: Arc<AtomicUsize>,
    is_over: Arc<Mutex<bool>>,
    /// The entry of each attempt of which a further piece is awaited.
    arriving: HashMap<AttemptId, Arriving>,
}

/// An entry of which a further piece is awaited.
struct Arriving {
    entry: ToolEntry,
    /// The offset of that piece.
    next: u64,
    /// `None` if the dispatcher has an entry of its key, so that nothing is written.
    file: Option<NewEntryFile>,
}

impl Serving {
    fn run(mut self, messages: &Receiver<EntryWork>) {
        self.serve_all(messages);
        self.commit();
        self.caches.tools().rest();
    }

    /// Serves messages until the session has ended, or until none came for a while.
    fn serve_all(&mut self, messages: &Receiver<EntryWork>) {
        let mut quiet = Duration::ZERO;
        loop {
            match messages.recv_timeout(limits::ENTRY_QUIET) {
                Ok(work) => {
                    quiet = Duration::ZERO;
                    self.waiting.fetch_sub(work.bytes(), Ordering::Relaxed);
                    if !self.serve(work) {
                        return;
                    }
                    if self.caches.tools().is_due() {
                        self.commit();
                    }
                }
                Err(RecvTimeoutError::Timeout) => {
                    self.commit();
                    quiet += limits::ENTRY_QUIET;
                    let mut is_over = threads::lock(&self.is_over);
                    if quiet >= limits::BLOB_IDLE && messages.is_empty() {
                        *is_over = true;
                        return;
                    }
                }
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    fn commit(&self) {
        if let Err(error) = self.caches.commit_tools() {
            log::warn!("entries of the tool cache are not kept for now: {}", error.told());
        }
    }

    /// Answers a message. Returns false once the session has ended.
    fn serve(&mut self, work: EntryWork) -> bool {
        let (answer, is_large) = match work {
            EntryWork::Find(asked) => match self.find(&asked.0, &asked.1) {
                Some(answer) => (answer, true),
                None => (Frame::new(&miss(&asked.1)), false),
            },
            EntryWork::Keep(piece, bytes) => {
                let (asker, piece) = *piece;
                let attempt = asker.attempt;
                let kept = self.keep(asker, &piece, &bytes).inspect_err(|why| {
                    self.arriving.remove(&attempt);
                    log::debug!("an entry of attempt {attempt} is not taken: {why}");
                });
                (acknowledgement(&piece, kept), false)
            }
        };
        let Some(outbox) = self.outbox.upgrade() else { return false };
        if is_large {
            return outbox.send_bulk(&answer);
        }
        outbox.send(&answer);
        !outbox.is_over()
    }

    /// Returns the answer with a piece of the entry that is asked for; `None` if there is none. An error is a miss.
    fn find(&self, asker: &Asker, question: &EntryQuestion) -> Option<Frame> {
        let EntryQuestion { attempt, request, tool, name, offset } = question;
        if !translate::is_entry_name(tool, name) {
            return None;
        }
        // The runner verifies the whole; a first piece of damaged bytes would only cost its time.
        let found = self.caches.tools().find(&asker.source, (tool, name), *offset == 0).unwrap_or_else(|error| {
            log::warn!("attempt {attempt} gets no entry of the tool cache: {}", error.told());
            None
        });
        let FoundEntry { entry, file } = found?;
        let left = entry.bytes.saturating_sub(*offset).min(limits::BLOB_PIECE_BYTES as u64);
        let mut piece = vec![0; usize::try_from(left).unwrap_or_default()];
        if let Err(error) = file.read_exact_at(&mut piece, *offset) {
            log::warn!("the entry {} of the tool cache cannot be read: {error}", entry.key.short());
            return None;
        }
        let (offset, bytes, found) = (*offset, piece.len() as u64, Some(translate::entry_facts(&entry)));
        let answer = EntryAnswer { attempt: *attempt, request: *request, found, offset, bytes };
        Some(Frame::with_payload(&ToRunner::Entry(answer), piece))
    }

    /// Takes a piece of an entry. Returns why it is not taken.
    fn keep(&mut self, asker: Asker, piece: &EntryPiece, bytes: &[u8]) -> Result<(), String> {
        let attempt = asker.attempt;
        let length = bytes.len() as u64;
        let mut arriving = match self.arriving.remove(&attempt) {
            Some(arriving) if piece.offset > 0 => arriving,
            _ if piece.offset > 0 => return Err("the pieces before it are not here".to_owned()),
            _ => self.begin(asker, piece)?,
        };
        let entry = &arriving.entry;
        let is_next = arriving.next == piece.offset && (&entry.tool, &entry.name) == (&piece.tool, &piece.name);
        if !is_next || (length == 0 && entry.bytes > 0) || length > entry.bytes - arriving.next {
            return Err("the piece is not the next one".to_owned());
        }
        if let Some(file) = &mut arriving.file {
            file.take(bytes).map_err(not_written)?;
        }
        arriving.next += length;
        if arriving.next < arriving.entry.bytes {
            self.arriving.insert(attempt, arriving);
            return Ok(());
        }
        let Arriving { entry, file, .. } = arriving;
        let Some(mut file) = file else { return Ok(()) };
        if file.finish().map_err(not_written)? != (entry.blob, entry.bytes) {
            return Err("its bytes are not those of its hash".to_owned());
        }
        self.caches.tools().keep(entry, &file).map_err(|error| error.told())
    }

    /// Begins an entry. Its scope is the own one of the attempt's build, whatever the runner says.
    fn begin(&self, asker: Asker, piece: &EntryPiece) -> Result<Arriving, String> {
        let new = translate::new_entry(piece).ok_or("its name, its hash or its headers make no sense")?;
        let (tools, max) = (self.caches.tools(), self.caches.max_entry_bytes());
        if piece.size > max {
            return Err(format!("it has {} bytes, and at most {max} are taken (--keep-caches)", piece.size));
        }
        let free = tools.free().map_err(not_written)?;
        if free < limits::BLOB_RESERVE_BYTES {
            return Err(format!("the dispatcher's disk has {} MiB left", free >> 20));
        }
        let Asker { attempt, source, place } = asker;
        let scope = CacheScopes::own(&source.trigger);
        let key = key_of(&source.repo, &scope, &new.tool, &new.name);
        let is_there = tools.has(&key).map_err(|error| error.told())?;
        let now = clock::wall();
        let entry = ToolEntry {
            key,
            repo: source.repo.clone(),
            scope,
            tool: new.tool,
            name: new.name,
            headers: new.headers,
            blob: new.blob,
            bytes: piece.size,
            attempt,
            build: place.build,
            task: place.task,
            number: place.number,
            saved_at: now,
            used_at: now,
        };
        let file = if is_there { None } else { Some(tools.begin(piece.size).map_err(not_written)?) };
        Ok(Arriving { entry, next: 0, file })
    }
}

/// The answer to a question for an entry that is not there.
fn miss(question: &EntryQuestion) -> ToRunner {
    let EntryQuestion { attempt, request, offset, .. } = *question;
    ToRunner::Entry(EntryAnswer { attempt, request, found: None, offset, bytes: 0 })
}

/// The answer to a piece of an entry.
fn acknowledgement(piece: &EntryPiece, kept: Result<(), String>) -> Frame {
    let EntryPiece { attempt, request, .. } = *piece;
    Frame::new(&ToRunner::EntryAck { attempt, request, reason: kept.err() })
}

fn not_written(error: io::Error) -> String {
    format!("the dispatcher could not write it: {}", chain(&error))
}

#[cfg(test)]
mod tests {
    use super::fuzz::asker;
    use super::*;
    use crate::protocol::limits::MAX_LINE_BYTES;
    use crate::transport::{FrameReader, Stream};

    #[test]
    fn without_a_thread_an_entry_is_a_miss_and_the_session_goes_on() {
        let (here, there) = Stream::pair();
        let (outbox, _last_word) = Outbox::new(SessionId(1), here);
        let mut reader = FrameReader::new(there);
        let (tool, name) = ("nx".to_owned(), "a".to_owned());
        let question = EntryQuestion { attempt: 3, request: 4, tool: tool.clone(), name: name.clone(), offset: 0 };
        let (blob, headers) = ("0".repeat(64), Vec::new());
        let piece = EntryPiece { attempt: 3, request: 5, tool, name, blob, size: 0, offset: 0, headers, bytes: 0 };
        let mut worker = None;
        for work in
            [EntryWork::Find(Box::new((asker(0), question))), EntryWork::Keep(Box::new((asker(0), piece)), Vec::new())]
        {
            pass_on(&mut worker, &outbox, || Err(io::ErrorKind::WouldBlock.into()), work);
        }
        let mut told = || reader.read::<ToRunner>(MAX_LINE_BYTES).unwrap().unwrap();
        let ToRunner::Entry(EntryAnswer { request: 4, found: None, .. }) = told() else { panic!("it is no miss") };
        let ToRunner::EntryAck { request: 5, reason: Some(reason), .. } = told() else { panic!("it is taken") };
        assert_eq!(reason, "the dispatcher has no thread left for it");
        assert!(worker.is_none());
    }
}
