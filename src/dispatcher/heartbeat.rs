//! The two threads that turn time into events, and nothing more: `heartbeat` asks who has fallen silent, `redistribute`
//! which leases have run out. The core decides.

use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender};

use super::core::ToCore;
use super::watchdog::Pulse;
use super::{DispatcherError, fatal};
use crate::scheduler::Event;
use crate::threads::{self, Thread};

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
    threads::spawn(name, move || {
        fatal::guard(name, || {
            while stop.recv_timeout(interval) == Err(RecvTimeoutError::Timeout) {
                pulse.beat();
                // A core that is busy has ticks waiting already; one more would tell it nothing.
                if core.try_send(ToCore::Event(event.clone())).is_err_and(|error| error.is_disconnected()) {
                    return;
                }
            }
        });
    })
    .map_err(|source| DispatcherError::Thread { name, source })
}
