//! The pools: places where the dispatcher starts runners itself. The thread `spawner` passes the core's requests to the
//! provider of their pool, and tells the core what comes of them: a start that failed, a process that ended. A runner
//! that joins reports that itself.
//!
//! Whether and when a runner is started is decided in `scheduler/spawns.rs`.

mod local;

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, TrySendError, bounded};

use super::DispatcherError;
use super::core::ToCore;
use crate::model::{PoolId, SpawnId};
use crate::scheduler::Event;
use crate::threads::{self, Thread};
pub(super) use local::Local;

/// Interval at which the thread looks for runners that have ended.
const REAP_EVERY: Duration = Duration::from_secs(1);
/// Requests that may wait for the thread. The scheduler has one open at a time for each pool.
pub(super) const CAPACITY: usize = 16;

/// Starts and ends the runners of one pool.
pub(super) trait Provider: Send {
    /// Starts a runner that registers with this number, or says why it could not.
    fn start(&mut self, spawn: SpawnId) -> Result<(), String>;

    /// Forgets the runners that have ended since the last call, and returns their numbers.
    fn ended(&mut self) -> Vec<SpawnId>;

    /// Ends all runners and waits until they have ended.
    fn stop(&mut self);
}

/// The providers, by their pool.
type Providers = BTreeMap<PoolId, Box<dyn Provider>>;

/// The thread that has the providers. Dropping it ends their runners: the sender is dropped first, which ends the
/// thread, and then the thread is joined.
pub(super) struct Pools {
    _stop: Sender<()>,
    _thread: Thread<()>,
}

impl Pools {
    pub(super) fn start(
        providers: Providers,
        asked: Receiver<(SpawnId, PoolId)>,
        core: Sender<ToCore>,
    ) -> Result<Self, DispatcherError> {
        let (stop, stopped) = bounded(0);
        let thread = threads::spawn("spawner", move || run(providers, &asked, &core, &stopped))
            .map_err(|source| DispatcherError::Thread { name: "spawner", source })?;
        Ok(Self { _stop: stop, _thread: thread })
    }
}

fn run(mut providers: Providers, asked: &Receiver<(SpawnId, PoolId)>, core: &Sender<ToCore>, stopped: &Receiver<()>) {
    let mut reports: VecDeque<Event> = VecDeque::new();
    loop {
        crossbeam_channel::select! {
            recv(asked) -> ask => {
                let Ok((spawn, pool)) = ask else { break };
                let started = match providers.get_mut(&pool) {
                    Some(provider) => provider.start(spawn),
                    None => Err(format!("there is no pool {pool}")),
                };
                reports.extend(started.err().map(|why| Event::SpawnFailed { spawn, why }));
            }
            recv(stopped) -> _ => break,
            default(REAP_EVERY) => {}
        }
        let ended = providers.values_mut().flat_map(|provider| provider.ended());
        reports.extend(ended.map(|spawn| Event::SpawnGone { spawn }));
        report(&mut reports, core);
    }
    for provider in providers.values_mut() {
        provider.stop();
    }
}

/// Never waits for the core: while its disk is full it takes nothing, and this thread must end when it is told to.
fn report(reports: &mut VecDeque<Event>, core: &Sender<ToCore>) {
    while let Some(event) = reports.pop_front() {
        if let Err(TrySendError::Full(ToCore::Event(event))) = core.try_send(ToCore::Event(event)) {
            reports.push_front(event);
            return;
        }
    }
}
