//! Starts and ends a dispatcher: the data directory, the restored state, and the threads in their order.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};

use super::authority::Authority;
use super::capacity::Capacity;
use super::core::{Core, CoreHandle, ToCore};
use super::data_dir::DataDir;
use super::listening::Listening;
use super::logs::{self, KeptLogs, LogSender, Logs, Syncing};
use super::pools::{self, Local, Pools, Provider};
use super::retention::{self, Keeper};
use super::schedules::Schedules;
use super::session::credentials::{Credentials, NewToken};
use super::session::{Gate, Shared};
use super::tokens::Tokens;
use super::watchdog::{self, Pulse};
use super::{DispatcherError, fatal, limits, trust};
use crate::clock;
use crate::config::DispatcherSettings;
use crate::model::{AccessRole, Pin, PoolId};
use crate::scheduler::{Event, Policy, Pool, Scheduler};
use crate::shutdown::Stop;
use crate::store::{Store, StoreError, sqlite};
use crate::threads::{self, Thread};
use crate::transport::Listener;

/// A dispatcher that runs in threads of this process. Dropping it stops it.
pub struct Dispatcher {
    shared: Option<Arc<Shared>>,
    listener: Arc<Listener>,
    authority: Authority,
    core: Sender<ToCore>,
    /// Receives the store, or the core's error, when the core ends.
    ended: Receiver<Result<Box<dyn Store>, StoreError>>,
    /// Ends the threads that wait for intervals when it is closed.
    ticking: Option<Sender<()>>,
    pools: Option<Pools>,
    accept: Option<Thread<()>>,
    /// The threads `core`, `logs` and those that wait for intervals. Each ends when its senders are gone.
    threads: Vec<Thread<()>>,
}

impl Dispatcher {
    /// Opens the data directory, draws the tokens and the authority's key, restores the unfinished builds, and then
    /// listens: whoever finds the port open finds the tokens, too.
    pub fn start(settings: DispatcherSettings) -> Result<Self, DispatcherError> {
        let (capacity, descriptors) = Capacity::prepare(settings.max_connections);
        let data = DataDir::open(&settings.data)?;
        trust::check(&data)?;
        let store = sqlite::open(&data.store())?;
        // After the store is opened, whose lock keeps out a second dispatcher that would draw other tokens.
        let tokens = Tokens::load(&data)?;
        let authority = Authority::load(&data)?;
        let readers = store.readers();
        let reader = readers.open()?;
        let credentials = store.credentials()?;
        let scheduler = restore(&settings, &*store)?;
        // Scripts wait for the port and go on, so nothing that they may need is made after this.
        let listener = Arc::new(Listener::bind(&settings.listen).map_err(DispatcherError::Listen)?);
        let address = listener.local_addr();
        let listening = Listening { address, plain_text_from: settings.plain_text_from.clone() };
        let gate = Gate::new(tokens, authority.clone(), listening);

        let (core, core_inbox) = bounded(limits::CORE_CAPACITY);
        let (logs, logs_inbox) = bounded(limits::LOGS_CAPACITY);
        let (kept, keeping) = KeptLogs::new();
        logs::bring_back(&data, &*store, &kept)?;
        let logs = LogSender::new(logs, kept);
        let (spawn, spawn_inbox) = bounded(pools::CAPACITY);
        let local: Box<dyn Provider> = Box::new(Local::new(address, authority.clone(), &data, descriptors));
        let pools = Pools::start(BTreeMap::from([(PoolId::LOCAL, local)]), spawn_inbox, core.clone())?;
        let (said, ended) = bounded(1);
        let handle = CoreHandle::new(core.clone());
        let gate = (gate, Credentials::new(credentials, handle.clone()));
        let (place, reading, writing) = (data.clone(), readers.clone(), logs.clone());
        let shared = Arc::new(Shared::new(&settings, capacity, place, gate, reading, handle.clone(), writing)?);
        let (ticking, tick_stop) = bounded(0);

        let keeper = Keeper {
            limits: settings.retention,
            data: data.clone(),
            readers: readers.clone(),
            core: core.clone(),
            mirrors: shared.mirrors.clone(),
            blobs: shared.blobs.clone(),
            caches: shared.caches.clone(),
            observers: shared.observers.clone(),
            warnings: shared.warnings.clone(),
            credentials: shared.credentials.clone(),
        };
        let the_core = Core::new(scheduler, store, reader, data.clone(), logs, spawn, core_inbox);
        let mut pulses = vec![the_core.pulse.clone()];
        let syncing = Syncing::new(keeping, handle.clone(), &data)
            .map_err(|source| DispatcherError::DataDir { path: data.logs(), source })?;
        let logs_thread = Logs::new(data, core.clone());
        let mut threads = vec![start_core(the_core, said)?];
        threads.push(fatal::start("logs", move || logs_thread.run(&logs_inbox))?);
        threads.push(fatal::start("kept-logs", move || syncing.run())?);
        // These two threads turn time into events, and do nothing more: `heartbeat` asks which runners have fallen
        // silent, `redistribute` which leases have expired. The core decides.
        for (name, interval_ms, event) in [
            ("heartbeat", settings.heartbeat_interval_ms, Event::HeartbeatCheck),
            ("redistribute", limits::LEASE_CHECK_MS, Event::LeaseCheck),
        ] {
            let pulse = Pulse::new(name, interval_ms);
            pulses.push(pulse.clone());
            let (core, stop) = (core.clone(), tick_stop.clone());
            let interval = Duration::from_millis(interval_ms.max(1));
            threads.push(fatal::start(name, move || {
                while stop.recv_timeout(interval) == Err(RecvTimeoutError::Timeout) {
                    pulse.beat();
                    // A busy core has ticks in its queue already; one more would tell it nothing.
                    if core.try_send(ToCore::Event(event.clone())).is_err_and(|error| error.is_disconnected()) {
                        return;
                    }
                }
            })?);
        }
        threads.push(watchdog::start(pulses, tick_stop.clone())?);
        let schedules =
            Schedules::new(handle, shared.mirrors.clone(), shared.observers.clone(), (readers, shared.trust.clone()));
        threads.push(schedules.start(tick_stop.clone())?);
        threads.push(retention::start(keeper, tick_stop)?);
        let accept = Some(start_accept(shared.clone(), listener.clone())?);
        log::info!("listening at {address}");
        let (shared, ticking, pools) = (Some(shared), Some(ticking), Some(pools));
        Ok(Self { shared, listener, authority, core, ended, ticking, pools, accept, threads })
    }

    /// Returns the address at which the dispatcher listens.
    pub fn address(&self) -> SocketAddr {
        self.listener.local_addr()
    }

    /// Returns the pin by which peers know this dispatcher.
    pub fn pin(&self) -> Pin {
        self.authority.pin()
    }

    /// Creates a join token for one runner, which is good for so long.
    pub fn runner_token(&self, ttl: Duration) -> Result<String, DispatcherError> {
        let shared = self.shared.as_ref().expect("it is taken when the dispatcher is dropped");
        let new = NewToken {
            role: AccessRole::Runner,
            name: None,
            labels: Vec::new(),
            repos: Vec::new(),
            ttl_ms: u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX),
            uses: 1,
        };
        let created = shared.credentials.create(new, None, self.authority.pin_texts());
        created.map(|(_, token)| token).map_err(|denied| DispatcherError::JoinToken { why: denied.to_string() })
    }

    /// Runs until there is a message on `stop`, then ends in order.
    pub fn run(self, stop: &Receiver<Stop>) -> Result<(), DispatcherError> {
        crossbeam_channel::select! {
            // A closed channel means the same: nobody is left to send a message.
            recv(stop) -> _ => Ok(()),
            recv(self.ended) -> result => Ok(result.map_or(Ok(()), |result| result.map(drop))?),
        }
    }
}

impl Drop for Dispatcher {
    /// The order matters. First no connection is accepted any more, so that nothing more is promised. Then the
    /// dispatcher's own runners end, while they can still report. Then the core ends and says goodbye, then sessions
    /// and logs. The store is closed last, because sessions and retention read it.
    fn drop(&mut self) {
        self.listener.close();
        drop(self.pools.take());
        drop(self.ticking.take());
        // The send fails if the core has ended already.
        drop(self.core.send(ToCore::Stop));
        let store = self.ended.recv();
        drop(self.accept.take());
        if let Some(shared) = self.shared.take() {
            shared.close_all();
            // The last sender to the logs thread goes with it.
        }
        self.threads.clear();
        drop(store);
    }
}

fn restore(settings: &DispatcherSettings, store: &dyn Store) -> Result<Scheduler, DispatcherError> {
    let policy = Policy {
        heartbeat_interval_ms: settings.heartbeat_interval_ms,
        tick_ms: limits::LEASE_CHECK_MS,
        heartbeat_timeout_ms: settings.heartbeat_timeout_ms,
        reconnect_ms: settings.reconnect_ms,
        max_losses: settings.max_losses,
        queue_timeout_ms: settings.queue_timeout_ms,
        pools: vec![Pool {
            id: PoolId::LOCAL,
            labels: crate::config::own_facts(),
            slots: crate::config::defaults::slots(),
            max: settings.spawn,
        }],
        // JSON carries whole numbers up to 2^53 in every language, and this leaves room to count on.
        last_spawn: getrandom::u64().map_or_else(|_| clock::wall().0.unsigned_abs(), |random| random >> 12),
    };
    let snapshot = store.snapshot()?;
    let attempts: usize = snapshot.builds.iter().map(|build| build.attempts.len()).sum();
    if !snapshot.builds.is_empty() {
        log::info!("restored {} unfinished builds, with {attempts} attempts on runners", snapshot.builds.len());
    }
    Ok(Scheduler::restore(policy, clock::now(), snapshot))
}

fn start_core(core: Core, said: Sender<Result<Box<dyn Store>, StoreError>>) -> Result<Thread<()>, DispatcherError> {
    threads::spawn_large("core", move || {
        fatal::guard("core", || {
            let result = core.run();
            if let Err(error) = &result {
                log::error!("the store cannot be trusted any more, so the dispatcher ends: {error}");
            }
            // The channel has room for this one message.
            drop(said.send(result));
        });
    })
    .map_err(|source| DispatcherError::Thread { name: "core", source })
}

fn start_accept(shared: Arc<Shared>, listener: Arc<Listener>) -> Result<Thread<()>, DispatcherError> {
    fatal::start("accept", move || {
        loop {
            match listener.accept() {
                Ok(Some(stream)) => shared.clone().take_in(stream),
                Ok(None) => return,
                Err(error) => return log::error!("could not accept connections any more: {error}"),
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::defaults;
    use crate::model::Address;

    /// A script that waits for the port and goes on reads the tokens at that moment.
    #[test]
    fn the_tokens_are_there_before_the_port_answers() {
        let taken = Listener::bind(&"127.0.0.1:0".parse().unwrap()).unwrap();
        let place = tempfile::tempdir().unwrap();
        let listen = Address { host: "127.0.0.1".into(), port: taken.local_addr().port() };
        let settings = defaults::local_dispatcher(listen, place.path().join("data"));
        // The start ends where it would begin to listen.
        let error = Dispatcher::start(settings).err().unwrap();
        assert!(matches!(error, DispatcherError::Listen(_)), "{error}");
        for role in ["observer", "runner", "operator"] {
            assert!(place.path().join("data/tokens").join(role).is_file(), "{role}");
        }
    }
}
