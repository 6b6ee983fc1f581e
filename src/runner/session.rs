//! The connection to the dispatcher. Dials or is called, greets, reads until the session ends, and starts over, as long
//! as the runner lives. Passes messages to the core, acknowledgements to the uploader and pack pieces to the slot that
//! waits for them. Decides nothing about attempts. The core starts its thread.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, bounded};

use super::blobs::BlobRoutes;
use super::bulk::{BulkFrame, OrderedBulk, bulk, write_bulk};
use super::entry_routes::EntryRoutes;
use super::error::RunnerError;
use super::event::Event;
use super::greeting::{Identity, Setback, greet};
use super::limits::{DIAL, REAL_SESSION_MS, REDIAL_FIRST_MS, REDIAL_MAX_MS};
use super::listening::{Callers, IncomingCall};
use super::redial::{longest_pause_ms, longest_pause_without_name_ms};
use super::routes::Routes;
use super::translate::{self, Heard};
use super::upload::Upload;
use crate::config::KnownPins;
use crate::error_chain::chain;
use crate::model::words::drained_words;
use crate::model::{Address, AttemptId, Moment, SessionId};
use crate::transport::{Absence, Backoff, Frame, FrameReader, Outbox, REFUSED_PAUSE, Stream, TransportError};
use crate::{clock, threads};

/// One session, as its threads share it.
#[derive(Debug)]
pub(super) struct Session {
    outbox: Outbox,
    /// Takes pieces of streams, and results that must follow them. Its frames wait for all frames of the outbox.
    pub(super) bulk: Sender<BulkFrame>,
    pub(super) routes: Routes,
    pub(super) blobs: BlobRoutes,
    pub(super) entries: EntryRoutes,
    /// The send times of the pings that are not answered yet.
    pings: Mutex<VecDeque<Moment>>,
    pub(super) ping_interval_ms: u64,
    takes_entries: bool,
}

/// The session over which entries of the tool cache come and go, if there is one: the dispatcher keeps some, and knows
/// over it which attempts this runner holds.
#[derive(Debug, Default)]
pub(super) struct CurrentSession {
    session: Mutex<Option<Arc<Session>>>,
    /// Whether there ever was one.
    was_set: AtomicBool,
}

impl CurrentSession {
    pub(super) fn get(&self) -> Option<Arc<Session>> {
        threads::lock(&self.session).clone()
    }

    /// Whether there is no such session because the dispatcher keeps no entries.
    pub(super) fn is_unknown(&self) -> bool {
        !self.was_set.load(Ordering::Relaxed)
    }

    pub(super) fn set(&self, session: Option<Arc<Session>>) {
        if session.is_some() {
            self.was_set.store(true, Ordering::Relaxed);
        }
        *threads::lock(&self.session) = session;
    }
}

/// News about sessions for the core. The queue has its full length from the start, so variants that are large and rare
/// are boxed.
#[derive(Debug)]
pub(super) enum SessionNews {
    /// The dispatcher answered `hello` with `welcome`.
    Connected(Arc<Session>),
    /// A message of the dispatcher.
    ForCore(Event),
    /// The session has ended.
    Disconnected,
    /// There will never be a session.
    Hopeless(Box<RunnerError>),
}

impl Session {
    /// Sends a frame without waiting. The session ends if the dispatcher lets too much pile up.
    pub(super) fn say(&self, frame: &Frame) {
        self.outbox.send(frame);
    }

    /// Sends a ping and remembers the time.
    pub(super) fn ping(&self, now: Moment, holding: &[AttemptId]) {
        threads::lock(&self.pings).push_back(now);
        self.say(&translate::ping(holding));
    }

    /// Returns the uploader's way to the dispatcher.
    pub(super) fn ordered_bulk(&self) -> OrderedBulk {
        OrderedBulk::new(self.bulk.clone(), self.outbox.downgrade())
    }
}

/// Lets the core end a session's thread, whatever the thread is doing.
#[derive(Debug, Default)]
pub(super) struct Hangup {
    state: Mutex<HangupState>,
}

#[derive(Debug, Default)]
struct HangupState {
    is_over: bool,
    /// The connection that a hang-up closes.
    stream: Option<Stream>,
}

impl Hangup {
    /// Ends the current session, and prevents all further ones.
    pub(super) fn hang_up(&self) {
        let stream = {
            let mut state = threads::lock(&self.state);
            state.is_over = true;
            state.stream.take()
        };
        if let Some(stream) = stream {
            stream.close();
        }
    }

    fn is_over(&self) -> bool {
        threads::lock(&self.state).is_over
    }

    /// Sets the connection that a hang-up closes. Returns false if the hang-up has happened.
    fn watch(&self, stream: &Stream) -> bool {
        let mut state = threads::lock(&self.state);
        state.stream = Some(stream.clone());
        !state.is_over
    }
}

/// Opens sessions, one after the other.
pub(super) struct Dialler {
    pub(super) who: Identity,
    pub(super) dispatch: Vec<Address>,
    pub(super) pins: KnownPins,
    /// The incoming calls, if the runner listens.
    pub(super) callers: Option<Callers>,
    pub(super) news: Sender<SessionNews>,
    pub(super) uploads: Sender<Upload>,
    pub(super) hangup: Arc<Hangup>,
    pub(super) current: Arc<CurrentSession>,
    /// Closes when the runner ends, which cuts short every pause.
    pub(super) closing: Receiver<()>,
    /// The length of the last session.
    pub(super) stayed_ms: u64,
    /// What was logged about each address without a session, in the order of `dispatch`.
    pub(super) absences: Vec<Absence>,
    /// The first of the latest tries that all ended because another runner has the name.
    pub(super) taken_since: Option<Moment>,
    /// Whether the dispatcher said last that this runner is drained.
    pub(super) is_drained: bool,
}

impl Dialler {
    /// Runs until the runner ends.
    pub(super) fn run(mut self) {
        let mut backoff = Backoff::new(REDIAL_FIRST_MS, REDIAL_MAX_MS, self.who.incarnation);
        let mut patience_ms = None;
        self.absences.resize_with(self.dispatch.len(), Absence::default);
        loop {
            backoff.limit(match self.taken_since {
                Some(since) => longest_pause_without_name_ms(patience_ms, clock::now().since(since)),
                None => longest_pause_ms(patience_ms),
            });
            let delay = backoff.next_delay();
            if self.closing_within(delay) {
                return;
            }
            self.stayed_ms = 0;
            match self.one_round(&mut patience_ms) {
                Ok(()) => {}
                Err(setback) if setback.is_for_good() => {
                    if patience_ms.is_none() {
                        let error = RunnerError::Refused(chain(&setback));
                        drop(self.news.send(SessionNews::Hopeless(Box::new(error))));
                        return;
                    }
                    if self.closing_within(REFUSED_PAUSE) {
                        return;
                    }
                }
                Err(Setback::NameTaken(_)) => {
                    self.taken_since.get_or_insert_with(clock::now);
                    continue;
                }
                Err(_) => {}
            }
            self.taken_since = None;
            if self.stayed_ms >= REAL_SESSION_MS {
                backoff.reset();
            }
        }
    }

    fn closing_within(&self, delay: Duration) -> bool {
        self.closing.recv_timeout(delay) != Err(crossbeam_channel::RecvTimeoutError::Timeout)
    }

    /// Tries the addresses in order until one gives a session, and stays in that session until it ends. The
    /// dispatcher's answer sets `patience_ms`, its timeout for a runner. If all addresses fail, returns the first
    /// setback, unless only a later one needs a person.
    fn one_round(&mut self, patience_ms: &mut Option<u64>) -> Result<(), Setback> {
        let mut worst: Option<Setback> = None;
        for at in 0..self.dispatch.len() {
            if self.closing_within(Duration::ZERO) {
                return Ok(());
            }
            let address = self.dispatch[at].clone();
            let Err(setback) = self.one_session(&address, patience_ms) else {
                self.absences.iter_mut().for_each(Absence::over);
                return Ok(());
            };
            let text = chain(&setback);
            if self.absences[at].is_news(&text, clock::now()) {
                log::warn!("no session with {address}: {text}; trying again");
            }
            worst = Some(worst.filter(|worst| worst.is_for_good() || !setback.is_for_good()).unwrap_or(setback));
        }
        worst.map_or(Ok(()), Err)
    }

    fn one_session(&mut self, address: &Address, patience_ms: &mut Option<u64>) -> Result<(), Setback> {
        let stream = Stream::dial_pinned(address, DIAL, &self.pins.list())?;
        let mut reader = FrameReader::new(stream.clone());
        if !self.hangup.watch(&stream) {
            return Ok(());
        }
        let Some(callers) = &self.callers else { return self.stay(stream, reader, patience_ms) };
        let welcome = greet(&stream, &mut reader, &self.who, (&self.pins, true));
        stream.close();
        *patience_ms = Some(welcome?.timeout_ms);
        log::debug!("announced to the dispatcher at {address}; waiting for its call");
        let Some(IncomingCall { stream, reader }) = callers.next_call(&self.closing) else { return Ok(()) };
        if !self.hangup.watch(&stream) {
            return Ok(());
        }
        self.stay(stream, reader, patience_ms)
    }

    /// Greets, then reads until the session ends.
    fn stay(&mut self, stream: Stream, mut reader: FrameReader, patience_ms: &mut Option<u64>) -> Result<(), Setback> {
        let welcome = greet(&stream, &mut reader, &self.who, (&self.pins, false));
        if welcome.is_err() {
            stream.close();
        }
        let welcome = welcome?;
        if self.pins.learn(&welcome.pins) {
            // The next `hello` has the stored pins.
            stream.close();
            return Ok(());
        }
        *patience_ms = Some(welcome.timeout_ms);
        // A dispatcher that does not answer a ping within its own timeout is given up. Time that the reader spends
        // elsewhere does not count, for instance waiting for a slot that is slow to take a pack.
        reader.set_timeout(Some(Duration::from_millis(welcome.timeout_ms.max(1))))?;
        let (outbox, last_word) = Outbox::new(SessionId(welcome.session), stream.clone());
        let (bulk, pieces) = bulk();
        let session = Arc::new(Session {
            outbox: outbox.clone(),
            bulk,
            routes: Routes::new(),
            blobs: BlobRoutes::default(),
            entries: EntryRoutes::default(),
            pings: Mutex::default(),
            ping_interval_ms: welcome.ping_interval_ms.max(1),
            takes_entries: welcome.takes_entries,
        });
        let (ending, ended) = bounded::<()>(0);
        let writer = match threads::spawn("s-logs", move || write_bulk(&outbox, &pieces, &ended)) {
            Ok(writer) => writer,
            Err(error) => {
                log::error!("could not start the session's writer: {error}");
                stream.close();
                return Ok(());
            }
        };
        let begin = format!("session s{} with the dispatcher at {}", welcome.session, stream.peer());
        let begun = clock::now();
        let mut result = Ok(());
        if self.news.send(SessionNews::Connected(session.clone())).is_ok() {
            match self.read(&session, &mut reader, &begin) {
                _ if self.hangup.is_over() => log::info!("session s{} ended by this runner", welcome.session),
                Ok(()) => log::warn!("session s{} ended: the dispatcher closed it", welcome.session),
                Err(refused @ (Setback::NameTaken(_) | Setback::ForGood(_))) => result = Err(refused),
                Err(error) => log::warn!("session s{} ended: {}", welcome.session, chain(&error)),
            }
        }
        self.stayed_ms = clock::now().since(begun);
        stream.close();
        session.routes.close();
        session.blobs.close();
        session.entries.close();
        self.current.set(None);
        // The last word ends the outbox, and `ending` the writer, which is joined before the core hears of the end: a
        // new session must not meet the threads of this one.
        drop(last_word);
        drop(ending);
        drop(writer);
        drop(self.news.send(SessionNews::Disconnected));
        result
    }

    /// Tells the core of a message. Returns false if the core is gone.
    fn tell(&self, event: Event) -> bool {
        self.news.send(SessionNews::ForCore(event)).is_ok()
    }

    /// Tells whoever reads this runner's log that it waits for no job, once and not for each session.
    fn say_drained(&mut self, drained: bool) {
        let was_drained = std::mem::replace(&mut self.is_drained, drained);
        if drained && !was_drained {
            log::warn!("this runner is {}", drained_words(&self.who.name, None));
        }
    }

    /// Passes the dispatcher's messages on until the session ends. Logs `begin` when the dispatcher has registered the
    /// runner.
    fn read(&mut self, session: &Arc<Session>, reader: &mut FrameReader, begin: &str) -> Result<(), Setback> {
        loop {
            let heard = match translate::hear(reader) {
                Ok(Some(heard)) => heard,
                Ok(None) => return Ok(()),
                Err(TransportError::UnknownType { name }) => {
                    log::warn!("the dispatcher sent a message of the unknown type `{name}`: ignored");
                    continue;
                }
                Err(error) => return Err(error.into()),
            };
            let is_taken = match heard {
                Heard::LogAck { stream, offset } => self.uploads.send(Upload::Acknowledged { stream, offset }).is_ok(),
                Heard::Source { attempt, piece } => {
                    session.routes.deliver(attempt, piece);
                    true
                }
                Heard::Blobs { attempt, answer } => {
                    session.blobs.deliver(attempt, answer);
                    true
                }
                Heard::Entry { request, answer } => {
                    session.entries.deliver(request, answer);
                    true
                }
                Heard::Ack { gone } => {
                    let since = threads::lock(&session.pings).pop_front();
                    since.is_none_or(|since| self.tell(Event::Renewed { since, gone }))
                }
                Heard::Registered { event, drained } => {
                    log::info!("{begin}");
                    self.say_drained(drained);
                    self.current.set(session.takes_entries.then(|| session.clone()));
                    self.tell(event)
                }
                Heard::Fenced(attempt) => {
                    session.entries.end(attempt);
                    self.tell(Event::Fenced(attempt))
                }
                Heard::ForCore(event) => self.tell(event),
                Heard::NameTaken(text) => return Err(Setback::NameTaken(text)),
                Heard::NotAllowed(text) => return Err(Setback::ForGood(text)),
                Heard::BadAhead => {
                    log::warn!("the dispatcher sent source with an invalid repository name or commit: ignored");
                    true
                }
                Heard::ShuttingDown => {
                    log::info!("the dispatcher is shutting down");
                    true
                }
                Heard::Error(text) => {
                    log::error!("the dispatcher refused a message: {text}");
                    true
                }
            };
            if !is_taken {
                // The core or the uploader is gone: the runner is ending.
                return Ok(());
            }
        }
    }
}

#[cfg(any(test, fuzzing))]
impl Session {
    /// A session over a stream, without a thread of its own: the owner of its end, and the large pieces that it sends.
    pub(super) fn over(stream: Stream) -> (Arc<Self>, crate::transport::LastWord, Receiver<BulkFrame>) {
        let (outbox, last_word) = Outbox::new(SessionId(1), stream);
        let (bulk, pieces) = bulk();
        let session = Self {
            outbox,
            bulk,
            routes: Routes::new(),
            blobs: BlobRoutes::default(),
            entries: EntryRoutes::default(),
            pings: Mutex::default(),
            ping_interval_ms: 1000,
            takes_entries: true,
        };
        (Arc::new(session), last_word, pieces)
    }
}
