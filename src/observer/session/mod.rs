//! One session with the dispatcher: dialling, the opening exchange, and the two threads that live as long as the
//! session.
//!
//! | Thread | does |
//! |---|---|
//! | `obs-read` | turns lines into replies, and reports why the session ended |
//! | `obs-ping` | sends `ping`, and closes a session whose other side is silent |
//!
//! The threads of the repositories share the session. An `error` message does not name the request that it answers, and
//! packs must not mix, so a thread that asks something holds the [`SessionTurn`] until the answer has arrived. Nothing
//! here decides what to announce, and nothing here dials again after a failure: [`super::run()`] does.

mod error;

use std::fmt;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};

pub use error::DialError;
pub(crate) use error::{SessionError, SessionOver};

use crate::config::{KnownPins, TokenSource};
use crate::model::{Address, SessionId};
use crate::threads::{self, Thread};
use crate::transport::{Frame, FrameReader, LastWord, Outbox, Stream, TransportError, write_frame};

use super::resend::ResendRequests;
use super::translate::{self, Agreed, Heard, HelloAnswer, RefusalKind, Refused, Reply};
use super::wakes::Wakes;

/// Time limit for the connection, and again for the opening exchange.
const DIAL_TIMEOUT: Duration = Duration::from_secs(5);
/// A frame with a payload up to this size is small: the outbox takes it without waiting for the dispatcher.
const SMALL_BYTES: usize = 64 * 1024;
/// Capacity for replies that nobody has taken yet. Only one request is open at a time, so a dispatcher that sends more
/// than this is broken.
const INBOX_REPLIES: usize = 16;
/// Factor by which a dispatcher may be silent for longer while it owes an answer. Indexing a large pack, or sending it
/// over a slow line, takes a while, and giving up would only send all of it again.
const PATIENCE_WHEN_BUSY: u64 = 10;
/// Time that a living dispatcher has for one answer. Indexing a pack is always faster; after this time the answer must
/// have been lost, and a new session asks again.
const ANSWER_PATIENCE: Duration = Duration::from_secs(10 * 60);
/// Shortest ping interval that is obeyed.
const MIN_PING_INTERVAL_MS: u64 = 10;

/// The observer's identity, with which it dials.
#[derive(Debug, Clone)]
pub(crate) struct Caller {
    /// Shown in the dispatcher's logs.
    pub name: String,
    pub incarnation: u64,
    /// Read at every dial, so that the token may appear later than the observer.
    pub token: TokenSource,
    pub pins: KnownPins,
}

impl Caller {
    /// Tries the addresses in order. If all fail, returns the error that needs a person rather than one of an address
    /// that nobody listens at.
    pub(crate) fn dial(&self, addresses: &[Address]) -> Result<(Address, Live), DialError> {
        let token = self.token.read().map_err(DialError::Token)?;
        let mut worst: Option<DialError> = None;
        for address in addresses {
            match self.dial_one(address, &token) {
                Ok(live) => return Ok((address.clone(), live)),
                Err(error) => {
                    // Keeps the first error, unless only the later one is final.
                    worst = Some(worst.filter(|worst| worst.is_final() || !error.is_final()).unwrap_or(error))
                }
            }
        }
        Err(worst.expect("settings name at least one address"))
    }

    fn dial_one(&self, address: &Address, token: &str) -> Result<Live, DialError> {
        match self.dial_once(address, token)? {
            Some(live) => Ok(live),
            // The dispatcher is to hear that its pins are stored. It has no news then.
            None => self.dial_once(address, token)?.ok_or_else(|| DialError::NoAnswer { address: address.clone() }),
        }
    }

    /// Returns `None` if the session ended because the observer has stored other pins of the dispatcher.
    fn dial_once(&self, address: &Address, token: &str) -> Result<Option<Live>, DialError> {
        let stream = match Stream::dial_pinned(address, DIAL_TIMEOUT, &self.pins.list()) {
            Ok(stream) => stream,
            Err(TransportError::Dial { address, source }) => return Err(DialError::Unreachable { address, source }),
            Err(source) => return Err(DialError::Broken { address: address.clone(), source }),
        };
        self.open(stream, token, address)
    }

    /// Makes the opening exchange over a connection, then starts the threads. Returns `None` like `dial_once`.
    fn open(&self, stream: Stream, token: &str, address: &Address) -> Result<Option<Live>, DialError> {
        let broken = |source| DialError::Broken { address: address.clone(), source };
        let hello = translate::hello(&self.name, self.incarnation, token.to_owned(), self.pins.texts());
        write_frame(&stream, &hello).map_err(broken)?;
        let mut reader = FrameReader::new(stream.clone());
        reader.set_timeout(Some(DIAL_TIMEOUT)).map_err(broken)?;
        match translate::read_greeting(&mut reader).map_err(broken)? {
            // The next `hello` has the stored pins.
            HelloAnswer::Agreed(_, pins) if self.pins.learn(&pins) => {
                stream.close();
                Ok(None)
            }
            HelloAnswer::Agreed(agreed, _) => {
                // From here on `obs-ping` judges silence. It counts pings, so that neither a suspended machine nor a
                // long pack looks like a silent dispatcher.
                reader.set_timeout(None).map_err(broken)?;
                Live::start(stream, reader, agreed).map(Some).map_err(DialError::Thread)
            }
            HelloAnswer::Refused(refused) => Err(self.refused(address.clone(), refused)),
            HelloAnswer::Closed => Err(DialError::NoAnswer { address: address.clone() }),
        }
    }

    fn refused(&self, address: Address, Refused { kind, text }: Refused) -> DialError {
        match kind {
            RefusalKind::Token => DialError::WrongToken { address, path: self.token.path().to_owned(), text },
            RefusalKind::Protocol => DialError::Protocol { address, text },
            RefusalKind::Name | RefusalKind::Later | RefusalKind::Request => DialError::Later { address, text },
        }
    }
}

/// The part of a session that the repositories' threads share.
#[derive(Debug)]
pub(crate) struct Session {
    number: SessionId,
    stream: Stream,
    outbox: Outbox,
    replies: Receiver<Reply>,
    /// The two ends of a channel that holds one token while nobody has the turn.
    return_turn: Sender<()>,
    take_turn: Receiver<()>,
    vitals: Arc<Vitals>,
    /// Commits that the dispatcher asks to be sent again.
    pub(crate) resend: Arc<ResendRequests>,
    /// Where wakes go.
    pub(crate) wakes: Arc<Wakes>,
    /// Whether the dispatcher takes refs that are no branches.
    pub(crate) takes_refs: bool,
}

/// State shared by the reading and the pinging thread.
#[derive(Debug, Default)]
struct Vitals {
    /// Pings sent since the dispatcher last sent something.
    unanswered: AtomicU64,
    /// Whether an answer is due, so that the dispatcher may be busy.
    is_asked: AtomicBool,
    is_silent: AtomicBool,
}

impl Session {
    /// Waits until no other thread holds the turn, and takes it.
    pub(crate) fn turn(&self) -> SessionTurn<'_> {
        // This waits as long as another repository's exchange takes. That one ends at once when the session does.
        self.take_turn.recv().expect("the session itself keeps the channel open");
        self.vitals.is_asked.store(true, Ordering::Relaxed);
        // A late reply to an earlier question must not be taken for the answer to this one.
        while let Ok(unasked) = self.replies.try_recv() {
            log::warn!("dispatcher sent a reply that nobody asked for: {unasked:?}");
        }
        SessionTurn { session: self }
    }

    /// Ends the session. Blocked exchanges return.
    pub(crate) fn close(&self) {
        self.stream.close();
    }
}

impl fmt::Display for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.number.fmt(f)
    }
}

/// The right to use the session, from the first line of a request to its answer.
#[derive(Debug)]
pub(crate) struct SessionTurn<'a> {
    session: &'a Session,
}

impl SessionTurn<'_> {
    /// Writes a frame. Waits for the dispatcher if the frame is large.
    pub(crate) fn send(&self, frame: &Frame) -> Result<(), SessionOver> {
        let outbox = &self.session.outbox;
        if frame.payload.len() <= SMALL_BYTES {
            outbox.send(frame);
            return Ok(());
        }
        if outbox.send_bulk(frame) { Ok(()) } else { Err(SessionOver) }
    }

    /// Writes a frame. If it is small, sends it together with the next one: a small pack and its announcement then wake
    /// the dispatcher only once.
    pub(crate) fn send_with_next(&self, frame: &Frame) -> Result<(), SessionOver> {
        if frame.payload.len() > SMALL_BYTES {
            return self.send(frame);
        }
        self.session.outbox.gather(frame);
        Ok(())
    }

    /// Waits for a reply that `pick` accepts, and returns what `pick` makes of it. A reply that `pick` returns as an
    /// error is the dispatcher's mistake, and is skipped.
    pub(crate) fn answer<T>(&self, pick: impl Fn(Reply) -> Result<T, Reply>) -> Result<T, SessionOver> {
        loop {
            let reply = match self.session.replies.recv_timeout(ANSWER_PATIENCE) {
                Ok(reply) => reply,
                Err(RecvTimeoutError::Disconnected) => return Err(SessionOver),
                // The next reply might be this missing answer, so the session cannot be used any more.
                Err(RecvTimeoutError::Timeout) => {
                    log::warn!("dispatcher has not answered for {} s: dialling again", ANSWER_PATIENCE.as_secs());
                    self.session.close();
                    return Err(SessionOver);
                }
            };
            match pick(reply) {
                Ok(answer) => return Ok(answer),
                Err(other) => log::warn!("dispatcher sent a reply to another question: {other:?}"),
            }
        }
    }
}

impl Drop for SessionTurn<'_> {
    fn drop(&mut self) {
        // Cleared before the turn is passed on, because the next holder sets it again.
        self.session.vitals.is_asked.store(false, Ordering::Relaxed);
        // There is only one token, and this turn held it, so the channel has room.
        self.session.return_turn.try_send(()).unwrap_or_default();
    }
}

/// A session with its threads. Dropping it closes the session and waits for them.
#[derive(Debug)]
pub(crate) struct Live {
    pub session: Arc<Session>,
    /// Gets one message when the session has ended.
    pub ended: Receiver<SessionError>,
    /// Its end stops `obs-ping`, so it is dropped before the threads.
    _pinging: Sender<()>,
    _last_word: LastWord,
    threads: Vec<Thread<()>>,
}

impl Live {
    fn start(stream: Stream, reader: FrameReader, agreed: Agreed) -> io::Result<Self> {
        let (outbox, last_word) = Outbox::new(agreed.session, stream.clone());
        let (inbox, replies) = bounded(INBOX_REPLIES);
        let (tell_end, ended) = bounded(1);
        let (pinging, stop_pinging) = bounded(0);
        let (return_turn, take_turn) = bounded(1);
        return_turn.try_send(()).expect("the channel has room for one");
        let vitals = Arc::new(Vitals::default());

        let (resend, wakes) = (Arc::<ResendRequests>::default(), Arc::<Wakes>::default());
        let (shown, asks) = (Arc::clone(&vitals), Arc::clone(&resend));
        let read = Reading { reader, inbox, vitals: shown, resend: asks, wakes: Arc::clone(&wakes), heads: None };
        let ping = Pinging { stream: stream.clone(), outbox: outbox.clone(), vitals: Arc::clone(&vitals), agreed };
        let session = Arc::new(Session {
            number: agreed.session,
            stream,
            outbox,
            replies,
            return_turn,
            take_turn,
            vitals,
            resend,
            wakes,
            takes_refs: agreed.takes_refs,
        });
        // Made before its threads: if one of them cannot start, dropping this value ends the other.
        let mut live =
            Self { session, ended, _pinging: pinging, _last_word: last_word, threads: Vec::with_capacity(2) };
        live.threads.push(threads::spawn("obs-read", move || drop(tell_end.send(read.run())))?);
        live.threads.push(threads::spawn("obs-ping", move || ping.run(&stop_pinging))?);
        Ok(live)
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        // Dropping the fields after this waits for the threads, which end because the session is closed.
        self.session.close();
    }
}

/// The body of `obs-read`.
struct Reading {
    reader: FrameReader,
    inbox: Sender<Reply>,
    vitals: Arc<Vitals>,
    resend: Arc<ResendRequests>,
    wakes: Arc<Wakes>,
    /// The heads of an answer that is not complete yet.
    heads: Option<Reply>,
}

impl Reading {
    fn run(mut self) -> SessionError {
        loop {
            let heard = match translate::read_next(&mut self.reader) {
                // It is the answer to the open question: nothing else is that long. Only the repository that asked
                // suffers, and not the whole session.
                Err(error @ TransportError::LineTooLong { .. }) => {
                    self.reader.skip_line();
                    Ok(Heard::Reply(Reply::Refused(translate::unreadable(&error))))
                }
                other => other,
            };
            let heard = match heard {
                Err(TransportError::UnknownType { name }) => {
                    log::debug!("dispatcher sent `{name}`, which this version does not know");
                    continue;
                }
                // `obs-ping` closed the connection, and this is how the end shows here.
                Ok(Heard::Closed) | Err(_) if self.vitals.is_silent.load(Ordering::Relaxed) => {
                    return SessionError::Silent;
                }
                Ok(heard) => heard,
                Err(error) => return SessionError::Broken(error),
            };
            // Any message is a sign of life, not only the answer to a ping.
            self.vitals.unanswered.store(0, Ordering::Relaxed);
            let reply = match heard {
                Heard::Reply(reply) => match translate::join(self.heads.take(), reply) {
                    (reply, false) => reply,
                    (part, true) => {
                        self.heads = Some(part);
                        continue;
                    }
                },
                Heard::Alive => continue,
                Heard::LostSource { repo, commit } => {
                    self.resend.note(&repo, commit);
                    continue;
                }
                Heard::Wake { repo } => {
                    self.wakes.wake(&repo);
                    continue;
                }
                Heard::Malformed(error) => return SessionError::Nonsense(error),
                Heard::Closed => return SessionError::Closed,
            };
            let refused = if let Reply::Refused(refused) = &reply { Some(refused.clone()) } else { None };
            // The asker gets the reply even if it is the last message: it must know of a name that is taken.
            if self.inbox.try_send(reply).is_err() {
                return SessionError::Flooded;
            }
            if let Some(refused) = refused.filter(|refused| refused.kind.ends_session()) {
                return SessionError::Refused(refused);
            }
        }
    }
}

/// The body of `obs-ping`.
struct Pinging {
    stream: Stream,
    outbox: Outbox,
    vitals: Arc<Vitals>,
    agreed: Agreed,
}

impl Pinging {
    fn run(&self, stop: &Receiver<()>) {
        let interval_ms = self.agreed.ping_interval_ms.max(MIN_PING_INTERVAL_MS);
        let interval = Duration::from_millis(interval_ms);
        // Silence is counted in pings: a machine that was suspended for an hour has sent none in that time.
        let allowed = (self.agreed.timeout_ms / interval_ms).max(2);
        while stop.recv_timeout(interval) == Err(RecvTimeoutError::Timeout) {
            self.outbox.send(&translate::ping());
            let unanswered = self.vitals.unanswered.fetch_add(1, Ordering::Relaxed) + 1;
            let patience = if self.vitals.is_asked.load(Ordering::Relaxed) { PATIENCE_WHEN_BUSY } else { 1 };
            if unanswered > allowed.saturating_mul(patience) {
                // Set before the connection closes: `obs-read` checks it as soon as its read ends.
                self.vitals.is_silent.store(true, Ordering::Relaxed);
                self.stream.close();
                return;
            }
        }
    }
}

#[cfg(test)]
pub(super) mod tests;
