//! Ends processes and proves that none is left.
//!
//! [`Family`] is everything below a supervising process. Its proof of emptiness is the kernel's word that there is no
//! child to wait for: orphans become children of PID 1 of their namespace or of the nearest subreaper, so whoever is
//! left is a child or a child's descendant. Only the supervising process may use it: it waits for any child, which in
//! another process would steal a `Child`'s status. [`end_orphans`] is for the runner, after its supervisor has died.

use std::collections::HashSet;
use std::io::{self, Read};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::io::Errno;
use rustix::process::{Pid, Signal, WaitOptions, WaitStatus};

use super::table::{self, Entry};
use crate::clock;
use crate::model::Isolation;

/// After this long, processes that do not end are reported rather than waited for. With the runner's own patience it
/// stays below the five seconds after the grace within which a cancel ends.
const SWEEP_PATIENCE: Duration = Duration::from_secs(2);

/// The same for the runner's orphans.
const ORPHAN_PATIENCE: Duration = Duration::from_millis(1500);

/// How long to wait for an end before looking again who is there.
const LOOK_AGAIN: Duration = Duration::from_millis(10);

/// So often the lists of children are gone through before the whole table is read again.
const CHASES: u32 = 20;

/// Nobody is given up before so many looks, however late it is: the whole machine may have stood still.
const MIN_LOOKS: u32 = 30;

/// So many processes could not be ended.
#[derive(Debug)]
pub(super) struct Remaining(pub u32);

/// How the leader of a command ended, and when that was noticed.
#[derive(Debug, Clone, Copy)]
pub(super) struct LeaderEnd {
    pub status: WaitStatus,
    pub at: Instant,
}

/// Everything below this process. At most one command at a time.
pub(super) struct Family {
    isolation: Isolation,
    /// Readable after a child has changed.
    child_news: UnixStream,
    /// The process that was started last.
    leader: Option<Pid>,
    leader_end: Option<LeaderEnd>,
    /// Others that ended by KILL since this was last set to zero.
    killed: u32,
}

impl Family {
    /// `child_news` must become readable whenever a child ends.
    pub(super) fn new(isolation: Isolation, child_news: UnixStream) -> Self {
        Self { isolation, child_news, leader: None, leader_end: None, killed: 0 }
    }

    /// A command was started, with this process.
    pub(super) fn adopt(&mut self, leader: Pid) {
        self.leader = Some(leader);
        self.leader_end = None;
        self.killed = 0;
    }

    /// Takes note of every child that has ended. True if there is no child left.
    pub(super) fn reap(&mut self) -> bool {
        loop {
            match rustix::process::wait(WaitOptions::NOHANG) {
                Ok(Some((pid, status))) => self.note(pid, status),
                Err(Errno::INTR) => {}
                Ok(None) => return false,
                // ECHILD; with these arguments there is no other error.
                Err(_) => return true,
            }
        }
    }

    fn note(&mut self, pid: Pid, status: WaitStatus) {
        if self.leader == Some(pid) {
            self.leader = None;
            self.leader_end = Some(LeaderEnd { status, at: clock::instant() });
        } else if status.terminating_signal() == Some(Signal::KILL.as_raw()) {
            self.killed += 1;
        }
    }

    /// How and when the leader ended, if it has.
    pub(super) fn leader_end(&self) -> Option<LeaderEnd> {
        self.leader_end
    }

    /// Waits for a child's end, for something to read, or for the deadline. True if there is something to read.
    pub(super) fn wait(&mut self, socket: &UnixStream, deadline: Option<Instant>) -> io::Result<bool> {
        let mut polled =
            [PollFd::new(&self.child_news, PollFlags::IN), PollFd::from_borrowed_fd(socket.as_fd(), PollFlags::IN)];
        poll(&mut polled, deadline)?;
        let (child, socket) = (!polled[0].revents().is_empty(), !polled[1].revents().is_empty());
        if child {
            self.drain_news()?;
        }
        Ok(socket)
    }

    /// Asks everything to end; whoever is stopped goes on so that it hears it.
    pub(super) fn terminate(&self) {
        match self.isolation {
            Isolation::PidNamespace => {
                signal_namespace(Signal::TERM);
                signal_namespace(Signal::CONT);
            }
            Isolation::Subreaper => {
                for entry in own_descendants() {
                    table::signal(&entry, Signal::TERM);
                    table::signal(&entry, Signal::CONT);
                }
            }
        }
    }

    /// Kills everything that is left and waits until it is gone. Says how many it had to kill, the leader not counted.
    pub(super) fn sweep(&mut self) -> Result<u32, Remaining> {
        if self.reap() {
            return Ok(0);
        }
        // What was killed so far was so by somebody else's doing.
        self.killed = 0;
        let deadline = clock::instant() + SWEEP_PATIENCE;
        let leader = self.leader.map(|pid| pid.as_raw_nonzero().get());
        let mut hunt = Hunt::default();
        let mut looks = 0;
        loop {
            looks += 1;
            let found_more = match self.isolation {
                // The kernel does this in one step; nobody can fork away from it.
                Isolation::PidNamespace => {
                    signal_namespace(Signal::KILL);
                    false
                }
                Isolation::Subreaper => {
                    for _ in 0..CHASES {
                        if self.reap() {
                            return Ok(self.killed.max(hunt.killed()));
                        }
                        if !hunt.chase(leader, |_| true) {
                            break;
                        }
                    }
                    hunt.kill(&own_descendants(), leader)
                }
            };
            let now = clock::instant();
            let look_again = if found_more { now } else { now + LOOK_AGAIN };
            // Children may end faster than this loop turns: the clock ends it, not their silence.
            loop {
                if self.reap() {
                    return Ok(self.killed.max(hunt.killed()));
                }
                if clock::instant() >= look_again {
                    break;
                }
                self.await_child(look_again);
            }
            if looks >= MIN_LOOKS && clock::instant() >= deadline {
                return Err(Remaining(count_of(&own_descendants())));
            }
        }
    }

    /// Waits for a child's end until the deadline. An error is as good as a wait that was short.
    fn await_child(&mut self, deadline: Instant) {
        let mut polled = [PollFd::new(&self.child_news, PollFlags::IN)];
        if poll(&mut polled, Some(deadline)).is_ok() {
            drop(self.drain_news());
        }
    }

    fn drain_news(&mut self) -> io::Result<()> {
        let mut sink = [0; 64];
        loop {
            match self.child_news.read(&mut sink) {
                Ok(count) if count == sink.len() => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() != io::ErrorKind::WouldBlock => return Err(error),
                Ok(_) | Err(_) => return Ok(()),
            }
        }
    }
}

/// Returns once something is ready, a signal came, or the deadline.
fn poll(polled: &mut [PollFd<'_>], deadline: Option<Instant>) -> io::Result<()> {
    let left = deadline.map(|deadline| deadline.saturating_duration_since(clock::instant()));
    // Longer than the kernel can count is as good as never.
    let left = left.and_then(|left| Timespec::try_from(left).ok());
    match rustix::event::poll(polled, left.as_ref()) {
        Ok(_) | Err(Errno::INTR) => Ok(()),
        Err(errno) => Err(errno.into()),
    }
}

/// To everything in the PID namespace of which this process is PID 1, but for itself.
fn signal_namespace(signal: Signal) {
    // The group of PID 1 is how kill(2) spells everyone. That there is nobody shows in the next wait.
    let _ = rustix::process::kill_process_group(Pid::INIT, signal);
}

/// Without a readable /proc nobody is found, nobody is killed, and the sweep says so by not ending. Every one of them
/// is in a session that a command began, and so is everybody in its process group.
fn own_descendants() -> Vec<Entry> {
    let table = table::read_all().unwrap_or_default();
    table::descendants(&table, [own_pid()])
}

fn own_pid() -> i32 {
    rustix::process::getpid().as_raw_nonzero().get()
}

fn count_of(entries: &[Entry]) -> u32 {
    u32::try_from(entries.len()).unwrap_or(u32::MAX).max(1)
}

/// Kills by process groups: the kernel signals a group in one step, so that nobody in it can fork away. Only a process
/// that makes a new group for each child can, until a look finds it before it has ended. To read the whole table takes
/// about as long as such a process lives, and far longer where the processors are busy; so those that are found through
/// the lists of children are killed one by one, each as soon as it is seen.
#[derive(Default)]
struct Hunt {
    groups: HashSet<i32>,
    /// By id and birth: the parent changes when the old one dies.
    processes: HashSet<(i32, u64)>,
}

impl Hunt {
    /// Kills the groups of these processes. True if some were not there the last time, so that there may be more.
    /// The leader is not counted.
    fn kill(&mut self, found: &[Entry], leader: Option<i32>) -> bool {
        let first = self.groups.is_empty();
        let groups: HashSet<i32> = found.iter().map(|entry| entry.group).collect();
        groups.iter().copied().for_each(kill_group);
        let fresh = groups.difference(&self.groups).count() > 0;
        self.groups.extend(groups);
        found.iter().for_each(|entry| self.count(entry, leader));
        fresh && !first
    }

    /// Kills this process's children of which `is_meant` is true, and everybody below them, as it goes from list to
    /// list. True if anyone was alive. The leader is not counted.
    fn chase(&mut self, leader: Option<i32>, is_meant: impl Fn(&Entry) -> bool) -> bool {
        let own = own_pid();
        let mut parents = vec![own];
        let mut is_alive = false;
        while let Some(parent) = parents.pop() {
            for child in table::children(parent) {
                // Whoever has another parent by now may be a stranger who got the number; orphans are this process's.
                let entry = table::read(child).filter(|entry| entry.parent == parent || entry.parent == own);
                let Some(entry) = entry.filter(|entry| entry.parent != own || is_meant(entry)) else { continue };
                kill_group(entry.group);
                self.groups.insert(entry.group);
                self.count(&entry, leader);
                is_alive |= !entry.is_zombie;
                parents.push(child);
            }
        }
        is_alive
    }

    fn count(&mut self, entry: &Entry, leader: Option<i32>) {
        if !entry.is_zombie && Some(entry.pid) != leader {
            self.processes.insert((entry.pid, entry.born));
        }
    }

    /// How many. Those that were killed through a group before they were seen are missing; and of those that the
    /// supervising process took note of, the ones that their own parents did.
    fn killed(&self) -> u32 {
        u32::try_from(self.processes.len()).unwrap_or(u32::MAX)
    }
}

/// That it is gone already shows in the next look. Its number cannot have come round again within the moment since this
/// one: the kernel hands out all the others before.
fn kill_group(group: i32) {
    if let Some(group) = Pid::from_raw(group) {
        let _ = rustix::process::kill_process_group(group, Signal::KILL);
    }
}

/// Ends what a dead supervisor left to this process, which is a subreaper: each child born since then that leads or
/// belongs to another session, with its descendants. Commands always have a session of their own, while whatever this
/// process starts by other means, other supervisors included, stays in this one.
pub(super) fn end_orphans(born_since: u64) -> Result<(), Remaining> {
    let deadline = clock::instant() + ORPHAN_PATIENCE;
    let Some(session) = table::read(own_pid()).map(|own| own.session) else { return Err(Remaining(1)) };
    let is_orphan = |entry: &Entry| entry.parent == own_pid() && entry.session != session && entry.born >= born_since;
    let mut hunt = Hunt::default();
    let mut looks = 0;
    loop {
        looks += 1;
        // Those that have ended stay in the lists, as ended ones, until they are awaited below.
        for _ in 0..CHASES {
            if !hunt.chase(None, is_orphan) {
                break;
            }
        }
        let table = table::read_all().unwrap_or_default();
        let orphans: Vec<Entry> = table.iter().filter(|entry| is_orphan(entry)).copied().collect();
        if orphans.is_empty() {
            return Ok(());
        }
        if looks > MIN_LOOKS && clock::instant() >= deadline {
            return Err(Remaining(count_of(&orphans)));
        }
        let mut found = table::descendants(&table, orphans.iter().map(|orphan| orphan.pid));
        found.extend(&orphans);
        let found_more = hunt.kill(&found, None);
        let look_again = clock::instant() + if found_more { Duration::ZERO } else { LOOK_AGAIN };
        orphans.iter().for_each(|orphan| await_orphan(orphan, look_again));
    }
}

/// Takes note of an orphan's end, if it comes in time.
fn await_orphan(orphan: &Entry, deadline: Instant) {
    let Some(pid) = Pid::from_raw(orphan.pid) else { return };
    if let Ok(descriptor) = rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty()) {
        drop(poll(&mut [PollFd::new(&descriptor, PollFlags::IN)], Some(deadline)));
    }
    let _ = rustix::process::waitpid(Some(pid), WaitOptions::NOHANG);
}
