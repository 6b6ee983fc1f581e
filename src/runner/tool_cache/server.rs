//! The endpoint of one attempt: a port on loopback, with a path that nobody else knows. It ends with its owner, and no
//! connection outlives it (S48).

use std::io;
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use crossbeam_channel::never;

use super::connection::{Counts, Service};
use super::limits::{ACCEPT_PAUSE, CONNECTIONS, END_TIME};
use super::link::Socket;
use super::rights::Rights;
use super::shared::Sending;
use super::tiers::Tiers;
use crate::model::AttemptId;
use crate::threads::{self, Thread};

/// The endpoint of an attempt. Dropping it ends it.
#[derive(Debug)]
pub(crate) struct Endpoint {
    port: u16,
    shared: Arc<Shared>,
    /// Dropped by [`Drop`], once the listener is closed.
    accept: Option<Thread<()>>,
}

#[derive(Debug)]
struct Shared {
    listener: TcpListener,
    secret: String,
    rights: Rights,
    tiers: Arc<Tiers>,
    sending: Sending,
    counts: Counts,
    clients: Mutex<Clients>,
}

/// The connections that are open.
#[derive(Debug, Default)]
struct Clients {
    all: Vec<Arc<Client>>,
    /// No connection is taken any more.
    is_closing: bool,
}

#[derive(Debug)]
struct Client {
    stream: TcpStream,
    /// The number of its last wait for a request, from 1; 0 while it has one.
    waits: AtomicU64,
}

/// Numbers waits, so that the longest can be found without a clock.
static WAITS: AtomicU64 = AtomicU64::new(1);

impl Endpoint {
    /// Opens the endpoint of an attempt with these rights.
    pub(crate) fn open(rights: Rights, tiers: Arc<Tiers>) -> io::Result<Self> {
        tiers.disk.make()?;
        let mut secret = [0; 16];
        getrandom::fill(&mut secret).map_err(io::Error::other)?;
        let secret = secret.iter().map(|byte| format!("{byte:02x}")).collect();
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let port = listener.local_addr()?.port();
        let (counts, clients) = (Counts::default(), Mutex::default());
        let sending = Sending::start(tiers.clone(), AttemptId(rights.attempt))?;
        let shared = Arc::new(Shared { listener, secret, rights, tiers, sending, counts, clients });
        let accepting = shared.clone();
        let accept = threads::spawn("tool-cache", move || accept(&accepting))?;
        Ok(Self { port, shared, accept: Some(accept) })
    }

    /// The address of everything that it serves, without a slash at its end.
    pub(crate) fn url(&self) -> String {
        format!("http://{}:{}/{}", Ipv4Addr::LOCALHOST, self.port, self.shared.secret)
    }

    /// Waits a bounded time until the dispatcher has what was stored.
    pub(crate) fn finish(&self) {
        self.shared.sending.finish(END_TIME);
    }

    /// Returns a line about what was asked of it; `None` if nothing was.
    pub(crate) fn summary(&self) -> Option<String> {
        let Counts { reads, hits, fetched, stored, stored_bytes, not_stored } = &self.shared.counts;
        let [reads, hits, fetched, stored, bytes, not_stored] =
            [reads, hits, fetched, stored, stored_bytes, not_stored].map(|count| count.load(Ordering::Relaxed));
        if reads + stored + not_stored == 0 {
            return None;
        }
        let part = |count: u64, what: &str| if count == 0 { String::new() } else { format!(", {count} {what}") };
        let (fetched, refused) = (part(fetched, "of them from the dispatcher"), part(not_stored, "not stored"));
        let unsent = part(self.shared.sending.unsent(), "not sent to the dispatcher");
        Some(format!(
            "tool cache: {hits} of {reads} reads hit{fetched}, {stored} stored ({bytes} bytes){refused}{unsent}"
        ))
    }
}

impl Drop for Endpoint {
    fn drop(&mut self) {
        threads::lock(&self.shared.clients).is_closing = true;
        // Ends `accept`, which then ends the connections.
        rustix::net::shutdown(&self.shared.listener, rustix::net::Shutdown::Both).ok();
        drop(self.accept.take());
    }
}

fn accept(shared: &Arc<Shared>) {
    let mut serving: Vec<Thread<()>> = Vec::new();
    loop {
        let accepted = shared.listener.accept();
        if threads::lock(&shared.clients).is_closing {
            break;
        }
        serving.retain(|thread| !thread.is_finished());
        match accepted {
            Ok((stream, _)) => {
                let Some(client) = shared.admit(stream) else { continue };
                let (served, own) = (shared.clone(), client.clone());
                match threads::spawn("tool-client", move || served.serve(&own)) {
                    Ok(thread) => serving.push(thread),
                    Err(error) => {
                        log::warn!("could not serve a client of a tool cache: {error}");
                        shared.leave(&client);
                    }
                }
            }
            Err(error) => {
                // For instance too many open files, which passes.
                log::warn!("could not accept a client of a tool cache: {error}");
                let _ = never::<()>().recv_timeout(ACCEPT_PAUSE);
            }
        }
    }
    for client in &threads::lock(&shared.clients).all {
        client.stream.shutdown(Shutdown::Both).ok();
    }
}

impl Shared {
    /// Adds a connection. If there are too many, the one that has waited longest for a request is ended; if all have
    /// one, this one is.
    fn admit(&self, stream: TcpStream) -> Option<Arc<Client>> {
        let waits = AtomicU64::new(WAITS.fetch_add(1, Ordering::Relaxed));
        let client = Arc::new(Client { stream, waits });
        let mut clients = threads::lock(&self.clients);
        if clients.all.len() >= CONNECTIONS {
            let waiting = |client: &Arc<Client>| Some(client.waits.load(Ordering::Relaxed)).filter(|waits| *waits > 0);
            let longest = clients.all.iter().enumerate().filter_map(|(at, client)| Some((waiting(client)?, at))).min();
            let (_, at) = longest?;
            // Its thread notices, and finds itself taken off already.
            clients.all.swap_remove(at).stream.shutdown(Shutdown::Both).ok();
        }
        clients.all.push(client.clone());
        Some(client)
    }

    fn leave(&self, client: &Arc<Client>) {
        threads::lock(&self.clients).all.retain(|other| !Arc::ptr_eq(other, client));
    }

    fn serve(&self, client: &Arc<Client>) {
        let Self { secret, rights, tiers, sending, counts, .. } = self;
        let service = Service { secret, rights, tiers, sending, counts };
        let mut is_waiting = |is_waiting: bool| {
            let waits = if is_waiting { WAITS.fetch_add(1, Ordering::Relaxed) } else { 0 };
            client.waits.store(waits, Ordering::Relaxed);
        };
        // A client that goes away in the middle is as good as one that asked for nothing.
        let served = Socket::new(&client.stream).and_then(|mut link| service.serve(&mut link, &mut is_waiting));
        if let Err(error) = served {
            log::debug!("a client of a tool cache went away: {error}");
        }
        client.stream.shutdown(Shutdown::Both).ok();
        self.leave(client);
    }
}
