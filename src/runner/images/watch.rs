//! Watches the tool's process of a command, in a thread of its own, and ends the container first when the command must
//! end, or when the tool hangs.

use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, after, never, select, tick};

use super::calls::call;
use super::control::{Control, Told};
use super::tool::Images;
use crate::process::Exit;

/// Time to remove a container whose task was told to end. Its processes are swept afterwards in any case.
pub(super) const REMOVAL: Duration = Duration::from_secs(2);
/// Time in which the tool must end after the task's command has, and its container must be gone. A tool that hangs must
/// not keep a slot.
const AFTERWARDS: Duration = Duration::from_secs(10);
/// Interval at which a watcher looks whether the task's command has ended.
const LOOK: Duration = Duration::from_secs(1);
/// Time in which the tool must end after its container was removed.
const GOODBYE: Duration = Duration::from_secs(1);

/// Why a container was removed before the tool ended.
pub(super) enum Cause {
    /// The command was cancelled, or took too long.
    Task(Exit),
    /// The tool went on for too long after the command had ended.
    Tool,
}

/// Ends a container when its command is cancelled or has taken too long, or when the tool hangs behind it.
pub(super) struct Watch {
    pub(super) images: Arc<Images>,
    pub(super) control: Arc<Control>,
    pub(super) name: String,
    pub(super) terminate: Vec<String>,
    pub(super) timeout: Duration,
    pub(super) grace: Duration,
    pub(super) cancel: Receiver<()>,
    pub(super) also_cancel: Receiver<()>,
    /// Disconnected when the tool's process has ended.
    pub(super) over: Receiver<()>,
    /// Ends the tool's process.
    pub(super) stop: Sender<()>,
}

impl Watch {
    /// Returns why the container was ended; `None` if the command ended by itself.
    pub(super) fn run(mut self) -> Option<Cause> {
        let timeout = after(self.timeout);
        let (mut looks, mut late) = (tick(LOOK), never());
        let exit = loop {
            select! {
                recv(self.over) -> _ => return None,
                recv(self.cancel) -> _ => break Exit::Cancelled,
                // Its disconnection means nothing.
                recv(self.also_cancel) -> message => match message {
                    Ok(()) => break Exit::Cancelled,
                    Err(_) => self.also_cancel = never(),
                },
                recv(timeout) -> _ => break Exit::TimedOut,
                recv(looks) -> _ => if matches!(self.control.told(), Ok(Told::Code(_) | Told::NoProgram)) {
                    (looks, late) = (never(), after(AFTERWARDS));
                },
                recv(late) -> _ => {
                    let (tool, seconds) = (self.images.name(), AFTERWARDS.as_secs());
                    log::warn!("{tool} did not end within {seconds} s of the command in {}: it is ended", self.name);
                    self.remove();
                    return Some(Cause::Tool);
                }
            }
        };
        let grace = after(self.grace);
        let asked = !self.terminate.is_empty()
            && call(&self.terminate, &self.images.run_env, self.grace, &self.over)
                .is_ok_and(|called| called.succeeded());
        if asked {
            select! {
                recv(self.over) -> _ => return Some(Cause::Task(exit)),
                recv(grace) -> _ => {}
            }
        }
        self.remove();
        Some(Cause::Task(exit))
    }

    /// Removes the container, and ends the tool if that does not end it.
    fn remove(&self) {
        self.images.remove(&self.name, REMOVAL);
        select! {
            recv(self.over) -> _ => {}
            recv(after(GOODBYE)) -> _ => self.stop.send(()).unwrap_or_default(),
        }
    }
}
