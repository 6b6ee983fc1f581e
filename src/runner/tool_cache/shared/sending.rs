//! Sends what tools store to the dispatcher, in a thread of its own for each attempt. The tools do not wait for it. The
//! bytes are read from the disk tier when their turn comes, so that little waits in memory. What does not fit, or is
//! not sent when the attempt ends, is counted and forgotten: it is a miss for other runners, and never an error.

use std::collections::{BTreeSet, VecDeque};
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, TrySendError, bounded, select};

use super::super::entry::{Bytes, Entry};
use super::super::index::Place;
use super::super::limits::{SEND_PAUSE, SENT_BYTES, SHARED_TIME, UNSENT_ENTRIES};
use super::super::tiers::Tiers;
use super::super::tool::Name;
use super::is_shared;
use crate::blobs::{sum, sum_of};
use crate::clock;
use crate::model::{AttemptId, BlobId};
use crate::runner::blobs::Window;
use crate::runner::entry_routes::{EntryAnswer, EntryRoute};
use crate::runner::session::Session;
use crate::runner::translate::{SentPiece, keep_entry};
use crate::threads::{self, Thread};

/// Answers for which there is room: more than a window has pieces.
const ANSWERS: usize = 1024;

/// The entries of an attempt on their way to the dispatcher. Dropping it ends the thread at once.
#[derive(Debug)]
pub(crate) struct Sending {
    /// `None` once no more are taken.
    queue: Mutex<Option<Sender<Unsent>>>,
    tiers: Arc<Tiers>,
    counts: Arc<Counts>,
    /// Closed when the thread has ended.
    ended: Receiver<()>,
    /// Dropped to end the thread, before it is joined.
    stop: Option<Sender<()>>,
    thread: Option<Thread<()>>,
}

/// The state that the thread and its owner share.
#[derive(Debug, Default)]
struct Counts {
    /// Entries that were not sent, or not taken.
    unsent: AtomicU64,
    /// Nothing is waited for any more but answers.
    is_ending: AtomicBool,
}

/// An entry that waits.
#[derive(Debug)]
struct Unsent {
    place: Place,
    name: Name,
}

impl Sending {
    pub(crate) fn start(tiers: Arc<Tiers>, attempt: AttemptId) -> io::Result<Self> {
        let ((queue, waiting), (ending, ended), (stop, stopped)) = (bounded(UNSENT_ENTRIES), bounded(0), bounded(0));
        let counts = Arc::<Counts>::default();
        let worker = Worker { tiers: tiers.clone(), attempt, waiting, stopped, counts: counts.clone() };
        let thread = threads::spawn("tool-send", move || {
            worker.run();
            drop(ending);
        })?;
        let (queue, stop, thread) = (Mutex::new(Some(queue)), Some(stop), Some(thread));
        Ok(Self { queue, tiers, counts, ended, stop, thread })
    }

    /// Sends an entry that the disk tier has now, some time later, if the dispatcher keeps entries.
    pub(crate) fn send(&self, place: Place, name: &Name) {
        if !is_shared(name) || self.tiers.shared.current().is_unknown() {
            return;
        }
        let sent =
            threads::lock(&self.queue).as_ref().map(|queue| queue.try_send(Unsent { place, name: name.clone() }));
        if let Some(Err(TrySendError::Full(_))) = sent {
            self.counts.unsent.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Waits until all are sent, for `patience` at most, or until the dispatcher is away. Takes no more.
    pub(crate) fn finish(&self, patience: Duration) {
        self.counts.is_ending.store(true, Ordering::Relaxed);
        drop(threads::lock(&self.queue).take());
        // It is closed, and nothing comes.
        let _ = self.ended.recv_timeout(patience);
    }

    /// The entries that were not sent, or not taken.
    pub(crate) fn unsent(&self) -> u64 {
        self.counts.unsent.load(Ordering::Relaxed)
    }
}

impl Drop for Sending {
    fn drop(&mut self) {
        drop(threads::lock(&self.queue).take());
        drop(self.stop.take());
        drop(self.thread.take());
    }
}

struct Worker {
    tiers: Arc<Tiers>,
    attempt: AttemptId,
    waiting: Receiver<Unsent>,
    stopped: Receiver<()>,
    counts: Arc<Counts>,
}

/// Why the entries on their way were not all sent.
enum Interruption {
    /// No answer came in time.
    Silent,
    SessionEnded,
    /// The attempt has ended, or has lost its lease.
    AttemptEnded,
}

impl Worker {
    fn run(self) {
        while let Ok(first) = self.waiting.recv() {
            let Some(session) = self.session() else { return self.send_no_more(1) };
            let route = session.entries.open(self.attempt, ANSWERS);
            let window = Window::new();
            let mut line = Line {
                worker: &self,
                session: &session,
                route,
                window,
                flight: VecDeque::new(),
                sending: 0,
                lost: BTreeSet::new(),
            };
            if let Err(why) = line.send_all(first) {
                line.lose_the_rest();
                match why {
                    Interruption::Silent => self.tiers.shared.silent(),
                    Interruption::SessionEnded => {}
                    Interruption::AttemptEnded => return self.send_no_more(0),
                }
            }
        }
    }

    /// Counts this number of entries as not sent, and all further ones until the attempt ends.
    fn send_no_more(&self, left: u64) {
        self.counts.unsent.fetch_add(left, Ordering::Relaxed);
        for _ in &self.waiting {
            self.counts.unsent.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Waits for a session over which the dispatcher may be asked. Returns `None` if the attempt ends first.
    fn session(&self) -> Option<Arc<Session>> {
        loop {
            if let Some(session) = self.tiers.shared.admit() {
                return Some(session);
            }
            if self.counts.is_ending.load(Ordering::Relaxed) {
                return None;
            }
            select! {
                recv(self.stopped) -> _ => return None,
                default(SEND_PAUSE) => {}
            }
        }
    }
}

/// Entries on their way over one session.
struct Line<'a> {
    worker: &'a Worker,
    session: &'a Session,
    route: EntryRoute<'a>,
    window: Window,
    /// The pieces that are not answered: the number of the entry of each, from 1, and its length.
    flight: VecDeque<(u64, u64)>,
    /// The number of the last entry that was begun. It may have no piece in `flight` yet, because it waits for room.
    sending: u64,
    /// Entries that were counted as not sent, each once. Forgotten when no answer is awaited.
    lost: BTreeSet<u64>,
}

impl Line<'_> {
    /// Sends entries until none waits and all are answered.
    fn send_all(&mut self, first: Unsent) -> Result<(), Interruption> {
        let mut next = Some(first);
        for number in 1.. {
            let next = loop {
                match next.take().or_else(|| self.worker.waiting.try_recv().ok()) {
                    Some(next) => break next,
                    None if self.flight.is_empty() => return Ok(()),
                    None => self.answer()?,
                }
            };
            if self.flight.is_empty() {
                self.lost.clear();
            }
            self.sending = number;
            self.send(number, &next)?;
        }
        Ok(())
    }

    fn send(&mut self, number: u64, unsent: &Unsent) -> Result<(), Interruption> {
        let read = self.worker.tiers.disk.read(unsent.place).map(|entry| (hash(&entry.bytes), entry));
        let Some((Ok(blob), Entry { about, bytes })) = read else {
            // It was removed meanwhile.
            self.lose(number);
            return Ok(());
        };
        let (size, mut offset) = (bytes.len(), 0);
        loop {
            let room = loop {
                match self.window.room() {
                    room @ 1.. if self.flight.is_empty() || self.bytes_on_their_way() + room <= SENT_BYTES => {
                        break room;
                    }
                    _ => self.answer()?,
                }
            };
            if self.lost.contains(&number) {
                return Ok(());
            }
            let Ok(piece) = piece(&bytes, offset, room.min(size - offset)) else {
                // The dispatcher forgets what it has of it with the next entry.
                self.lose(number);
                return Ok(());
            };
            let length = piece.len() as u64;
            let (tool, name, headers) = (unsent.name.tool.word(), &*unsent.name.text, &*about.headers);
            let sent = SentPiece { tool, name, blob, size, headers, offset };
            let frame = keep_entry((self.worker.attempt, self.route.request), &sent, piece);
            self.window.sent(clock::now(), length);
            self.flight.push_back((number, length));
            select! {
                send(self.session.bulk, frame.into()) -> sent => sent.map_err(|_| Interruption::SessionEnded)?,
                recv(self.worker.stopped) -> _ => return Err(Interruption::AttemptEnded),
                default(SHARED_TIME) => return Err(Interruption::Silent),
            }
            offset += length;
            if offset == size {
                return Ok(());
            }
        }
    }

    /// Waits for the answer to the oldest piece.
    fn answer(&mut self) -> Result<(), Interruption> {
        let answer = select! {
            recv(self.route.answers) -> answer => answer.map_err(|_| self.end())?,
            recv(self.worker.stopped) -> _ => return Err(Interruption::AttemptEnded),
            default(SHARED_TIME) => return Err(Interruption::Silent),
        };
        self.worker.tiers.shared.answered();
        self.window.answered(clock::now());
        let Some((number, _)) = self.flight.pop_front() else { return Ok(()) };
        if let EntryAnswer::Taken { reason: Some(reason) } = answer
            && self.lose(number)
        {
            log::debug!("the dispatcher did not take an entry of the tool cache: {reason}");
        }
        Ok(())
    }

    /// Returns the reason why no more answers come.
    fn end(&self) -> Interruption {
        if self.session.entries.is_closed() { Interruption::SessionEnded } else { Interruption::AttemptEnded }
    }

    /// Counts an entry as not sent. Returns false if it was counted before.
    fn lose(&mut self, number: u64) -> bool {
        let is_first = self.lost.insert(number);
        if is_first {
            self.worker.counts.unsent.fetch_add(1, Ordering::Relaxed);
        }
        is_first
    }

    /// Counts the entries that were begun, and of which an answer is missing.
    fn lose_the_rest(&mut self) {
        let numbers: BTreeSet<u64> = self.flight.iter().map(|(number, _)| *number).chain([self.sending]).collect();
        for number in numbers {
            self.lose(number);
        }
    }

    fn bytes_on_their_way(&self) -> u64 {
        self.flight.iter().map(|(_, length)| length).sum()
    }
}

fn hash(bytes: &Bytes) -> io::Result<BlobId> {
    match bytes {
        Bytes::Small(bytes) => Ok(sum_of(bytes)),
        Bytes::Large(file, length) => sum(io::Read::take(file, *length)).map(|(blob, _)| blob),
    }
}

/// Returns the bytes from this offset on.
fn piece(bytes: &Bytes, offset: u64, length: u64) -> io::Result<Vec<u8>> {
    let too_long = |_| io::Error::from(io::ErrorKind::FileTooLarge);
    let (from, length) = (usize::try_from(offset).map_err(too_long)?, usize::try_from(length).map_err(too_long)?);
    match bytes {
        Bytes::Small(bytes) => Ok(bytes[from..from + length].to_vec()),
        Bytes::Large(file, _) => {
            let mut piece = vec![0; length];
            file.read_exact_at(&mut piece, offset)?;
            Ok(piece)
        }
    }
}
