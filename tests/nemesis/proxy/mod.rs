//! A network with faults: each observer and runner reaches the dispatcher through a link of its own, which
//! reads the messages that pass and applies the faults that it is told.
//!
//! A link shows every message to a [`Tap`] before it forwards it. It never invents a message; it delays, tears, doubles
//! and repeats. If a peer encrypts, the link acts as the dispatcher towards it, with the key of the dispatcher's
//! authority, and as a peer with the right pin towards the dispatcher. So it reads the messages, and also tears and
//! changes encrypted bytes. It cuts and resets the connections below the encryption.

mod connection;
mod end;
mod frames;
mod pump;

use std::collections::VecDeque;
use std::fs;
use std::net::{SocketAddr, SocketAddrV4, TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Instant;

use surveil::model::Pin;
use surveil::threads::{self, Thread};
use surveil::transport::{AuthorityKey, TlsServer};

use crate::harness::{World, now};

pub(crate) use connection::{Connection, Cut};
pub(crate) use frames::Frame;

/// Number of messages that a link remembers for a repetition.
const REMEMBERED: usize = 60;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    /// To the dispatcher.
    Up,
    /// From it.
    Down,
}

/// The fate of a message, as its tap sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    Pass,
    /// It is forwarded twice.
    Twice,
    /// It does not arrive, and the connection is reset.
    Lose,
    /// This many of its bytes arrive, and the connection is reset.
    Tear(usize),
    /// One of its encrypted bytes arrives changed: the one at this place, where 0 and 1 are the length of its first
    /// record, counted around.
    Flip(usize),
}

/// An observer of all messages of a link.
pub(crate) trait Tap: Send + Sync {
    /// A message is about to be forwarded or lost.
    fn passes(&self, _connection: u64, _link: &str, _way: Way, _frame: &Frame) -> Verdict {
        Verdict::Pass
    }

    /// The dispatcher's side of a connection is about to end, or has ended.
    fn ends(&self, _connection: u64) {}
}

/// The link of one process to the dispatcher.
pub(crate) struct Link {
    pub(crate) address: SocketAddrV4,
    shared: Arc<Shared>,
    accepting: Option<Thread<()>>,
}

/// State that the threads of a link share.
pub(crate) struct Shared {
    name: String,
    dispatcher: SocketAddrV4,
    /// The file with the key of the dispatcher's authority.
    authority: PathBuf,
    /// The dispatcher's half of encrypted connections.
    tls: OnceLock<(TlsServer, Pin)>,
    tap: Arc<dyn Tap>,
    spoil: Mutex<Spoil>,
    /// Time until which nothing passes on any connection.
    blocked: Mutex<Option<Instant>>,
    connections: Mutex<Vec<Arc<Connection>>>,
    /// Recent messages to the dispatcher that may be repeated.
    said: Mutex<VecDeque<Frame>>,
    /// Number of connections in plain text, and of those that are encrypted, so far.
    kinds: [AtomicUsize; 2],
    /// Number of changed bytes that were delivered.
    flipped: AtomicUsize,
    is_over: AtomicBool,
}

/// The faults of a link, and when they end.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Spoil {
    pub(crate) until: Instant,
    /// Delay of each message.
    pub(crate) delay_ms: u64,
    /// Bytes come in small pieces.
    pub(crate) trickles: bool,
    /// Percentage of messages that are doubled, of those that may be.
    pub(crate) doubles: u64,
    /// Dice that decide which.
    pub(crate) dice: u64,
}

impl Link {
    /// Opens a way to the world's dispatcher.
    pub(crate) fn open(name: &str, world: &World, tap: Arc<dyn Tap>) -> Self {
        let dispatcher = world.address();
        let listener = TcpListener::bind((*dispatcher.ip(), 0)).unwrap();
        let SocketAddr::V4(address) = listener.local_addr().unwrap() else { unreachable!("it was bound to one") };
        let spoil = Spoil { until: now(), delay_ms: 0, trickles: false, doubles: 0, dice: 0 };
        let shared = Arc::new(Shared {
            name: name.to_owned(),
            dispatcher,
            authority: world.data().join("tls/authority.key"),
            tls: OnceLock::new(),
            tap,
            spoil: Mutex::new(spoil),
            blocked: Mutex::default(),
            connections: Mutex::default(),
            said: Mutex::default(),
            kinds: Default::default(),
            flipped: AtomicUsize::new(0),
            is_over: AtomicBool::new(false),
        });
        let accepting = {
            let shared = shared.clone();
            threads::spawn("link-accept", move || accept(&listener, &shared)).unwrap()
        };
        Self { address, shared, accepting: Some(accepting) }
    }

    /// The address for a command line.
    pub(crate) fn flag(&self) -> String {
        format!("--dispatch={}", self.address)
    }

    pub(crate) fn spoil(&self, spoil: Spoil) {
        *lock(&self.shared.spoil) = spoil;
    }

    /// Applies this to every present connection; returns their number.
    pub(crate) fn cut(&self, cut: Cut) -> usize {
        let connections = lock(&self.shared.connections);
        let whole = connections.iter().filter(|connection| connection.is_whole());
        whole.map(|connection| connection.cut(cut)).count()
    }

    /// Nothing passes until then, not even on connections that are made meanwhile.
    pub(crate) fn block(&self, until: Instant) -> usize {
        *lock(&self.shared.blocked) = Some(until);
        self.cut(Cut::Hole(until))
    }

    /// Repeats earlier messages of this link on the newest connection; returns whether there was one.
    pub(crate) fn say_again(&self, pick: impl FnOnce(&[Frame]) -> Option<Frame>) -> bool {
        let frame = pick(lock(&self.shared.said).make_contiguous());
        let newest = lock(&self.shared.connections).iter().rfind(|connection| connection.is_whole()).cloned();
        let (Some(frame), Some(newest)) = (frame, newest) else { return false };
        newest.inject(frame);
        true
    }

    /// Number of connections so far in plain text, and encrypted.
    pub(crate) fn kinds(&self) -> [usize; 2] {
        [0, 1].map(|kind: usize| self.shared.kinds[kind].load(Ordering::Acquire))
    }

    /// Number of changed bytes that were delivered; `None` while a connection that got one goes on.
    pub(crate) fn flipped(&self) -> Option<usize> {
        let connections = lock(&self.shared.connections);
        let goes_on = connections.iter().any(|connection| connection.is_flipped() && !connection.is_over());
        (!goes_on).then(|| self.shared.flipped.load(Ordering::Acquire))
    }

    /// Ends all faults of the link. Connections that are cut stay cut.
    pub(crate) fn heal(&self) {
        lock(&self.shared.spoil).until = now();
        *lock(&self.shared.blocked) = None;
        for connection in lock(&self.shared.connections).iter() {
            connection.heal();
        }
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.shared.is_over.store(true, Ordering::Release);
        // Wakes the thread that accepts.
        drop(TcpStream::connect(self.address));
        drop(self.accepting.take());
        for connection in lock(&self.shared.connections).drain(..) {
            connection.cut(Cut::Reset);
        }
    }
}

fn accept(listener: &TcpListener, shared: &Arc<Shared>) {
    static NUMBER: AtomicU64 = AtomicU64::new(1);
    for client in listener.incoming() {
        if shared.is_over.load(Ordering::Acquire) {
            return;
        }
        let Ok(client) = client else { continue };
        // No dispatcher: the client sees the end of its connection.
        let Ok(server) = TcpStream::connect(shared.dispatcher) else { continue };
        let connection = Connection::begin(NUMBER.fetch_add(1, Ordering::Relaxed), client, server, shared);
        if let Some(until) = *lock(&shared.blocked) {
            connection.cut(Cut::Hole(until));
        }
        let mut connections = lock(&shared.connections);
        connections.retain(|connection| !connection.is_over());
        connections.push(connection);
    }
}

impl Shared {
    /// The dispatcher's half of encrypted connections, and the pin. Its certificate is the link's own, under the same
    /// authority.
    fn tls(&self) -> &(TlsServer, Pin) {
        self.tls.get_or_init(|| {
            let key = AuthorityKey::from_der(&fs::read(&self.authority).unwrap()).unwrap();
            let pin = key.pin();
            (TlsServer::new(Arc::new(key), None).unwrap(), pin)
        })
    }

    fn remember(&self, frame: &Frame) {
        let mut said = lock(&self.said);
        if said.len() == REMEMBERED {
            said.pop_front();
        }
        said.push_back(frame.clone());
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
