//! Two threads turn time into events, and do nothing more: `heartbeat` asks which runners have fallen silent,
//! `redistribute` which leases have expired. The core decides.

use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender};

use super::core::ToCore;
use super::watchdog::Pulse;
use super::{DispatcherError, fatal};
use crate::scheduler::Event;
use crate::threads::Thread;

/// Starts a thread that sends the event every `interval_ms` until `stop` closes.
pub(crate) fn start(
    name: &'static str,
    interval_ms: u64,
    event: Event,
    core: Sender<ToCore>,
    stop: Receiver<()>,
    pulse: Pulse,
) -> Result<Thread<()>, DispatcherError> {
    let interval = Duration::from_millis(interval_ms.max(1));
    fatal::start(name, move || {
        while stop.recv_timeout(interval) == Err(RecvTimeoutError::Timeout) {
            pulse.beat();
            // A busy core has ticks in its queue already; one more would tell it nothing.
            if core.try_send(ToCore::Event(event.clone())).is_err_and(|error| error.is_disconnected()) {
                return;
            }
        }
    })
}
