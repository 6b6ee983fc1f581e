//! The tier behind the disk tier: entries that the dispatcher keeps for all runners. An entry that is not on this
//! runner's disk is asked for over the session; what tools store is sent in the background (`sending.rs`). A dispatcher
//! that is away, silent or slow is a miss, within two seconds, and is then left alone for a while (`patience.rs`).
//!
//! The dispatcher decides which scopes an attempt reads, and into which it writes.

// Compiled as a part of this module, so that it sees what is private here.
#[cfg(any(test, fuzzing))]
#[path = "../../../fuzz/tool_cache_answers.rs"]
pub(crate) mod fuzz;
mod patience;
mod sending;

use std::io;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};

use super::disk::{DiskTier, NewEntry};
use super::entry::About;
use super::index::Place;
use super::limits::{ASKED_AT_ONCE, SHARED_BYTES_MS, SHARED_TIME};
use super::rights::Rights;
use super::tool::Name;
use crate::blobs::{Form, Unpacking};
use crate::clock;
use crate::model::AttemptId;
use crate::runner::entry_routes::{EntryAnswer, EntryFacts};
use crate::runner::session::{CurrentSession, Session};
use crate::runner::translate::find_entry;
use crate::threads;
use patience::Patience;

pub(super) use sending::Sending;

/// The way to the entries of the dispatcher, for all attempts of a runner.
#[derive(Debug)]
pub(super) struct SharedTier {
    current: Arc<CurrentSession>,
    patience: Mutex<Patience>,
    /// A place for each request that waits. A dispatcher must not have to send more at a time than a slow connection
    /// carries.
    permits: (Sender<()>, Receiver<()>),
}

/// Why there is no answer.
enum NoAnswer {
    /// It did not come in time.
    Silent,
    /// The session has ended, or the attempt has lost its lease.
    Ended,
}

/// An entry that is being received.
struct Received {
    facts: Box<EntryFacts>,
    new: NewEntry,
    sum: Unpacking<io::Sink>,
    bytes: u64,
}

impl SharedTier {
    pub(super) fn new() -> Self {
        Self { current: Arc::default(), patience: Mutex::default(), permits: bounded(ASKED_AT_ONCE) }
    }

    /// The session that is used, which the runner sets.
    pub(super) fn current(&self) -> &Arc<CurrentSession> {
        &self.current
    }

    /// Returns the session if the dispatcher may be asked now.
    fn admit(&self) -> Option<Arc<Session>> {
        self.current.get().filter(|_| threads::lock(&self.patience).admits(clock::now()))
    }

    fn answered(&self) {
        threads::lock(&self.patience).answered();
    }

    fn silent(&self) {
        threads::lock(&self.patience).silent(clock::now());
    }

    /// Asks for an entry, and keeps it on the disk. Returns its place there; `None` is a miss.
    pub(super) fn fetch(&self, rights: &Rights, name: &Name, disk: &DiskTier) -> Option<Place> {
        let session = self.admit().filter(|_| is_shared(name))?;
        let began = clock::instant();
        // All places are taken by requests that wait, for an answer that is late if this one does not get its turn.
        self.permits.0.send_deadline((), began + SHARED_TIME).ok()?;
        let received = self.receive(&session, rights, name, (disk, began + SHARED_TIME));
        // It is not empty: this request has a place there.
        let _ = self.permits.1.try_recv();
        match received {
            Ok(place) => place,
            Err(NoAnswer::Ended) => None,
            Err(NoAnswer::Silent) => {
                self.silent();
                let silence = began.elapsed().as_millis();
                log::debug!("the dispatcher did not answer a question about the tool cache for {silence} ms");
                None
            }
        }
    }

    fn receive(
        &self,
        session: &Session,
        rights: &Rights,
        name: &Name,
        (disk, mut deadline): (&DiskTier, Instant),
    ) -> Result<Option<Place>, NoAnswer> {
        let route = session.entries.open(AttemptId(rights.attempt), 1);
        let mut received: Option<Received> = None;
        loop {
            let offset = received.as_ref().map_or(0, |received| received.bytes);
            let named = (name.tool.word(), &*name.text);
            session.say(&find_entry((AttemptId(rights.attempt), route.request), named, offset));
            let answer = route.answers.recv_deadline(deadline).map_err(|error| match error {
                RecvTimeoutError::Timeout => NoAnswer::Silent,
                RecvTimeoutError::Disconnected => NoAnswer::Ended,
            })?;
            self.answered();
            let EntryAnswer::Piece { facts, offset: at, bytes } = answer else { return Ok(None) };
            let mut entry = match received.take() {
                Some(entry) if entry.facts.blob == facts.blob => entry,
                // Another attempt's entry took its place meanwhile.
                Some(_) => return Ok(None),
                None => {
                    deadline += Duration::from_millis(facts.size / SHARED_BYTES_MS);
                    let Some(entry) = Received::begin(facts, rights, disk) else { return Ok(None) };
                    entry
                }
            };
            if at != offset || (bytes.is_empty() && entry.facts.size > 0) || entry.take(&bytes).is_err() {
                return Ok(None);
            }
            if entry.bytes < entry.facts.size {
                received = Some(entry);
                continue;
            }
            return Ok(entry.finish(rights, name, disk));
        }
    }
}

impl Received {
    /// Begins an entry that the attempt may read, and for which there is room.
    fn begin(facts: Box<EntryFacts>, rights: &Rights, disk: &DiskTier) -> Option<Self> {
        if facts.size > disk.longest() || !rights.reads.contains(&facts.scope) {
            return None;
        }
        let sum = Unpacking::new(Form::Plain, io::sink(), facts.size).ok()?;
        Some(Self { new: disk.begin().ok()?, facts, sum, bytes: 0 })
    }

    fn take(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.sum.take(bytes)?;
        self.bytes += bytes.len() as u64;
        self.new.take(bytes)
    }

    /// Keeps the entry if its bytes are those that the dispatcher named.
    fn finish(self, rights: &Rights, name: &Name, disk: &DiskTier) -> Option<Place> {
        let Self { facts, new, sum, .. } = self;
        let EntryFacts { scope, blob, size, headers, build, task, by } = *facts;
        let (_, found, length) = sum.finish().ok()?;
        if (found, length) != (blob, size) {
            log::warn!("an entry of {} came damaged from the dispatcher, and is a miss", name.tool.word());
            return None;
        }
        let kept = name.tool.kept_headers();
        let is_header = |(name, value): &(String, String)| {
            kept.contains(&&**name) && value.bytes().all(|byte| byte.is_ascii_graphic() || byte == b' ')
        };
        let about = About {
            build,
            task,
            attempt: by,
            scope: scope.to_string(),
            ..rights.about(name, headers.into_iter().filter(is_header).collect())
        };
        let place = rights.place(&scope, name);
        disk.keep(new, place, &about).ok().map(|_| place)
    }
}

/// Whether the dispatcher takes such a name: it has visible characters alone.
fn is_shared(name: &Name) -> bool {
    name.text.bytes().all(|byte| byte.is_ascii_graphic())
}
