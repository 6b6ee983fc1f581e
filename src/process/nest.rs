//! Several commands side by side, which see one another: the services of an attempt, and its task.
//!
//! A supervising process ends everything below it when its command has ended, so it cannot execute a second one
//! meanwhile. A nest is a supervising process that executes none, and starts others of its kind below itself, in its
//! namespaces: one for each command that runs at the same time. Each of them ends the processes of its own command. The
//! one above ends all of them with everything that is left, also when one of them was killed, or the runner.

use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;

use crossbeam_channel::Receiver;

use super::conversation::{Conversation, answer};
use super::groups::Groups;
use super::messages::{self, Order, Report};
use super::supervising_process::{End, Process};
use super::{Command, Ended, Exit, ProcessError, ProgressCallbacks, View};
use crate::model::Isolation;

/// The supervising process above those of an attempt. Dropping it ends everything below it.
pub struct Nest {
    /// `None` once it has ended.
    process: Option<Process>,
}

/// A supervising process in a nest. It executes one command after the other.
pub struct NestedSupervisor {
    conversation: Conversation,
    groups: Option<Arc<Groups>>,
    /// Whether each command enters its view by itself, because the nest cannot for all of them.
    is_view_of_command: bool,
}

impl Nest {
    /// Makes `count` supervising processes below one that has just been started, with this view.
    pub(super) fn fill(
        process: Process,
        view: Option<&View>,
        count: usize,
        groups: Option<&Arc<Groups>>,
    ) -> Result<(Self, Vec<NestedSupervisor>), ProcessError> {
        match nested(&process, view, count, groups) {
            Ok(nested) => Ok((Self { process: Some(process) }, nested)),
            Err(error) => Err(process.give_up(error)),
        }
    }

    /// Ends everything in the nest, and waits until it is gone.
    pub fn end(mut self) -> Result<(), ProcessError> {
        self.process.take().map_or(Ok(()), |process| process.end(End::WhenIdle).map(drop))
    }
}

impl Drop for Nest {
    fn drop(&mut self) {
        if let Some(process) = self.process.take()
            && let Err(error) = process.end(End::WhenIdle)
        {
            log::warn!("could not end a supervisor and those below it: {error}");
        }
    }
}

fn nested(
    process: &Process,
    view: Option<&View>,
    count: usize,
    groups: Option<&Arc<Groups>>,
) -> Result<Vec<NestedSupervisor>, ProcessError> {
    let pairs: Vec<(UnixStream, UnixStream)> =
        (0..count).map(|_| UnixStream::pair()).collect::<io::Result<_>>().map_err(ProcessError::Prepare)?;
    let (ours, theirs): (Vec<_>, Vec<_>) = pairs.into_iter().unzip();
    let descriptors: Vec<_> = theirs.iter().map(AsFd::as_fd).collect();
    let order = Order::Nest(view.cloned()).encode();
    messages::send_with(&process.conversation.socket, &order, &descriptors).map_err(ProcessError::Talk)?;
    let answered = process.conversation.next_report()?;
    if answered != Report::Started {
        return Err(answer(answered).map_or_else(|error| error, unexpected));
    }
    // Copies that stay open here would hide the end of a process.
    drop(theirs);
    // Landlock confines a process and what it starts, so each process needs it. Mounts are those of the nest.
    let landlock = view.map(|view| &view.guard).filter(|guard| guard.by_landlock);
    let begin = |socket| {
        let (conversation, ()) = Conversation::begin(socket, || Ok(()))?;
        conversation.greet(Isolation::Subreaper, landlock.cloned())?;
        Ok(NestedSupervisor { conversation, groups: groups.cloned(), is_view_of_command: landlock.is_some() })
    };
    ours.into_iter().map(begin).collect()
}

fn unexpected(ended: Ended) -> ProcessError {
    ProcessError::Unexpected { report: format!("{ended:?}") }
}

impl NestedSupervisor {
    /// Executes a command as [`Supervisor::run`](super::Supervisor::run) does. After an error no further command can be
    /// executed here.
    pub fn run(
        &mut self,
        command: &Command,
        output: File,
        cancel: &Receiver<()>,
        progress: ProgressCallbacks<'_>,
    ) -> Result<Ended, ProcessError> {
        let groups = self.groups.as_ref();
        if self.is_view_of_command || command.view.is_none() {
            return self.conversation.execute(groups, command, output, cancel, progress);
        }
        let command = Command { view: None, ..command.clone() };
        self.conversation.execute(groups, &command, output, cancel, progress)
    }

    /// Whether a process takes connections on this port of the loopback interface.
    pub fn accepts(&mut self, port: u16) -> Result<bool, ProcessError> {
        messages::send(&self.conversation.socket, &Order::Probe(port).encode()).map_err(ProcessError::Talk)?;
        answer(self.conversation.next_report()?).map(|ended| ended.exit == Exit::Code(0))
    }
}
