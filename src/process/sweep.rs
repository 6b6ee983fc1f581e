//! Ends processes and proves that none is left.
//!
//! [`Family`] is everything below a supervising process. The proof that it is empty comes from the kernel: there is no
//! child to wait for. Orphans become children of PID 1 of their namespace or of the nearest subreaper, so every process
//! that is left is a child or a child's descendant. Only the supervising process may use it: it waits for any child,
//! which in another process would steal a `Child`'s status. [`end_orphans`] is for the runner, after its supervising
//! process has died.

use std::collections::HashSet;
use std::io::{self, Read};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::io::Errno;
use rustix::process::{Pid, Signal, WaitOptions};

use super::Usage;
use super::kernel::{self, Reaped};
use super::table::{self, ProcessEntry};
use crate::clock;
use crate::model::Isolation;

/// Time after which remaining processes are reported and no longer waited for. Together with the runner's patience it
/// is less than the five seconds after the grace within which a cancel is over.
const SWEEP_PATIENCE: Duration = Duration::from_secs(2);

/// Like [`SWEEP_PATIENCE`], for the runner's orphans.
const ORPHAN_PATIENCE: Duration = Duration::from_millis(1500);

/// Time to wait for ends before the next scan of the processes.
const SCAN_INTERVAL: Duration = Duration::from_millis(10);

/// Passes over the lists of children before the next full scan of `/proc`.
const CHASES: u32 = 20;

/// Scans before any process is given up, even after the deadline: the whole machine may have stood still.
const MIN_SCANS: u32 = 30;

/// The number of processes that could not be ended.
#[derive(Debug)]
pub(super) struct Remaining(pub u32);

/// How the leader of a command ended, and when that was noticed.
#[derive(Debug, Clone, Copy)]
pub(super) struct LeaderEnd {
    /// As wait4(2) tells it.
    pub status: i32,
    pub at: Instant,
}

/// Everything below this process. At most one command at a time.
pub(super) struct Family {
    isolation: Isolation,
    /// Readable after a child has changed.
    child_news: UnixStream,
    /// The process of the last command, until it has ended.
    leader: Option<Pid>,
    leader_end: Option<LeaderEnd>,
    /// The number of other processes that KILL ended since this was last set to zero.
    killed: u32,
    /// The most memory of the command's processes, as far as it was seen.
    memory_bytes: u64,
    /// The processor time of its processes that have ended.
    cpu: Duration,
}

impl Family {
    /// `child_news` must become readable whenever a child ends.
    pub(super) fn new(isolation: Isolation, child_news: UnixStream) -> Self {
        Self { isolation, child_news, leader: None, leader_end: None, killed: 0, memory_bytes: 0, cpu: Duration::ZERO }
    }

    pub(super) fn isolation(&self) -> Isolation {
        self.isolation
    }

    /// Records that this process of a new command was started.
    pub(super) fn adopt(&mut self, leader: Pid) {
        self.leader = Some(leader);
        self.leader_end = None;
        self.killed = 0;
        (self.memory_bytes, self.cpu) = (0, Duration::ZERO);
    }

    /// Looks how much memory the command's processes have together now. What two of them share counts twice. A peak
    /// between two looks is seen only as far as one process had it, because the kernel tells the peak of each. Returns
    /// whether it is more than they may have; what they share counts once for that.
    pub(super) fn look_at_memory(&mut self, limit: Option<u64>) -> bool {
        let resident = table::resident_below(own_pid());
        self.memory_bytes = self.memory_bytes.max(resident);
        // Shares take the kernel longer to find out, and are never more.
        limit.is_some_and(|limit| resident > limit && table::shares_below(own_pid()) > limit)
    }

    /// The resources that the command's processes that have ended used.
    pub(super) fn usage(&self) -> Usage {
        let cpu_ms = u64::try_from(self.cpu.as_millis()).unwrap_or(u64::MAX);
        Usage { memory_bytes: self.memory_bytes, cpu_ms }
    }

    /// Waits for every child that has ended. Returns whether no child is left.
    pub(super) fn reap(&mut self) -> bool {
        loop {
            match kernel::wait_any() {
                Ok(Some(child)) => self.record(&child),
                Err(Errno::INTR) => {}
                Ok(None) => return false,
                // ECHILD; with these arguments there is no other error.
                Err(_) => return true,
            }
        }
    }

    fn record(&mut self, child: &Reaped) {
        self.memory_bytes = self.memory_bytes.max(child.memory_bytes);
        self.cpu += child.cpu;
        if self.leader == Some(child.pid) {
            self.leader = None;
            self.leader_end = Some(LeaderEnd { status: child.status, at: clock::instant() });
        } else if libc::WIFSIGNALED(child.status) && libc::WTERMSIG(child.status) == Signal::KILL.as_raw() {
            self.killed += 1;
        }
    }

    /// How and when the leader ended, if it has.
    pub(super) fn leader_end(&self) -> Option<LeaderEnd> {
        self.leader_end
    }

    /// Waits for a child's end, for input, or for the deadline. Returns whether there is input.
    pub(super) fn wait(&mut self, socket: &UnixStream, deadline: Option<Instant>) -> io::Result<bool> {
        let mut polled =
            [PollFd::new(&self.child_news, PollFlags::IN), PollFd::from_borrowed_fd(socket.as_fd(), PollFlags::IN)];
        poll(&mut polled, deadline)?;
        // A hang-up counts as input, so that the next read sees that the runner is gone.
        let (child, socket) = (!polled[0].revents().is_empty(), !polled[1].revents().is_empty());
        if child {
            self.drain_news()?;
        }
        Ok(socket)
    }

    /// Sends TERM to every process, and CONT, so that stopped processes get it too.
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

    /// Kills every process that is left and waits until all are gone. Returns how many it had to kill, without the
    /// leader.
    pub(super) fn sweep(&mut self) -> Result<u32, Remaining> {
        if self.reap() {
            return Ok(0);
        }
        // Processes that KILL ended so far were not killed by this sweep.
        self.killed = 0;
        let deadline = clock::instant() + SWEEP_PATIENCE;
        let leader = self.leader.map(|pid| pid.as_raw_nonzero().get());
        let mut hunt = Hunt::default();
        let mut scans = 0;
        loop {
            scans += 1;
            let found_more = match self.isolation {
                // The kernel signals all of them in one step, so no fork can escape.
                Isolation::PidNamespace => {
                    signal_namespace(Signal::KILL);
                    false
                }
                Isolation::Subreaper => {
                    for _ in 0..CHASES {
                        if self.reap() {
                            // Each count lacks some processes, so the larger one is the better.
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
            let next_scan = if found_more { now } else { now + SCAN_INTERVAL };
            // Children may end faster than this loop turns, so the clock ends it, not a lack of ends.
            loop {
                if self.reap() {
                    return Ok(self.killed.max(hunt.killed()));
                }
                if clock::instant() >= next_scan {
                    break;
                }
                self.await_child(next_scan);
            }
            if scans >= MIN_SCANS && clock::instant() >= deadline {
                return Err(Remaining(count_of(&own_descendants())));
            }
        }
    }

    /// Waits for a child's end until the deadline. An error is treated like an early return.
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

/// Returns when a descriptor is ready, a signal came, or the deadline has passed.
fn poll(polled: &mut [PollFd<'_>], deadline: Option<Instant>) -> io::Result<()> {
    let left = deadline.map(|deadline| deadline.saturating_duration_since(clock::instant()));
    // A deadline beyond the kernel's range never comes.
    let left = left.and_then(|left| Timespec::try_from(left).ok());
    match rustix::event::poll(polled, left.as_ref()) {
        Ok(_) | Err(Errno::INTR) => Ok(()),
        Err(errno) => Err(errno.into()),
    }
}

/// Sends a signal to every process in the PID namespace of which this process is PID 1, except to itself.
fn signal_namespace(signal: Signal) {
    // In kill(2) the group of PID 1 means every process. If there is none, the next wait shows it.
    let _ = rustix::process::kill_process_group(Pid::INIT, signal);
}

/// Returns the descendants of this process. Each is in a session that a command began, and so is every process of its
/// group. Without a readable /proc none is found and killed, and the sweep reports that processes remain.
fn own_descendants() -> Vec<ProcessEntry> {
    let table = table::read_all().unwrap_or_default();
    table::descendants(&table, [own_pid()])
}

fn own_pid() -> i32 {
    rustix::process::getpid().as_raw_nonzero().get()
}

fn count_of(entries: &[ProcessEntry]) -> u32 {
    // A caller knows that something is left, even if /proc does not show it.
    u32::try_from(entries.len()).unwrap_or(u32::MAX).max(1)
}

/// Kills by process groups: the kernel signals a group in one step, so that no process in it can escape by a fork. Only
/// a process that makes a new group for each child can escape, until a scan finds it before it has ended. A scan of the
/// whole table takes about as long as such a process lives, and far longer if the processors are busy. So processes
/// that are found through the lists of children are killed one by one, each as soon as it is seen.
#[derive(Default)]
struct Hunt {
    groups: HashSet<i32>,
    /// Ids and births; not parents, because a parent changes when the old one dies.
    processes: HashSet<(i32, u64)>,
}

impl Hunt {
    /// Kills the groups of these processes. Returns whether some groups are new since the last call, so that there may
    /// be more. The leader is not counted.
    fn kill(&mut self, found: &[ProcessEntry], leader: Option<i32>) -> bool {
        // At the first call every group is new, which does not mean that there are more.
        let first = self.groups.is_empty();
        let groups: HashSet<i32> = found.iter().map(|entry| entry.group).collect();
        groups.iter().copied().for_each(kill_group);
        let fresh = groups.difference(&self.groups).count() > 0;
        self.groups.extend(groups);
        found.iter().for_each(|entry| self.count(entry, leader));
        fresh && !first
    }

    /// Kills the children of this process for which `is_meant` is true, and every process below them, while it goes
    /// from list to list. Returns whether any was alive. The leader is not counted.
    fn chase(&mut self, leader: Option<i32>, is_meant: impl Fn(&ProcessEntry) -> bool) -> bool {
        let own = own_pid();
        let mut parents = vec![own];
        let mut is_alive = false;
        while let Some(parent) = parents.pop() {
            for child in table::children(parent) {
                // A process with another parent by now may be an unrelated one with a reused id. The parent of an
                // orphan is this process.
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

    fn count(&mut self, entry: &ProcessEntry, leader: Option<i32>) {
        if !entry.is_zombie && Some(entry.pid) != leader {
            self.processes.insert((entry.pid, entry.born));
        }
    }

    /// The number of killed processes that were seen. A process that died with its group before it was seen is missing.
    /// ([`Family::killed`] counts in another way: it lacks the processes for which their own parents waited.)
    fn killed(&self) -> u32 {
        u32::try_from(self.processes.len()).unwrap_or(u32::MAX)
    }
}

/// Kills a process group. If it is gone already, the next scan shows it. Its id cannot have been reused in the moment
/// since the scan, because the kernel hands out all other ids first.
fn kill_group(group: i32) {
    if let Some(group) = Pid::from_raw(group) {
        let _ = rustix::process::kill_process_group(group, Signal::KILL);
    }
}

/// Ends the orphans that a dead supervising process left to this process, which is a subreaper: each child born since
/// then that is in another session, with its descendants. Commands always have a session of their own, while everything
/// else that this process starts, other supervising processes included, stays in this one.
pub(super) fn end_orphans(born_since: u64) -> Result<(), Remaining> {
    let deadline = clock::instant() + ORPHAN_PATIENCE;
    let Some(session) = table::read(own_pid()).map(|own| own.session) else { return Err(Remaining(1)) };
    let is_orphan =
        |entry: &ProcessEntry| entry.parent == own_pid() && entry.session != session && entry.born >= born_since;
    let mut hunt = Hunt::default();
    let mut scans = 0;
    loop {
        scans += 1;
        // Ended processes stay in the lists, as zombies, until they are waited for below.
        for _ in 0..CHASES {
            if !hunt.chase(None, is_orphan) {
                break;
            }
        }
        let table = table::read_all().unwrap_or_default();
        let orphans: Vec<ProcessEntry> = table.iter().filter(|entry| is_orphan(entry)).copied().collect();
        if orphans.is_empty() {
            return Ok(());
        }
        if scans > MIN_SCANS && clock::instant() >= deadline {
            return Err(Remaining(count_of(&orphans)));
        }
        let mut found = table::descendants(&table, orphans.iter().map(|orphan| orphan.pid));
        found.extend(&orphans);
        let found_more = hunt.kill(&found, None);
        let next_scan = clock::instant() + if found_more { Duration::ZERO } else { SCAN_INTERVAL };
        orphans.iter().for_each(|orphan| await_orphan(orphan, next_scan));
    }
}

/// Waits for an orphan's end, until the deadline.
fn await_orphan(orphan: &ProcessEntry, deadline: Instant) {
    let Some(pid) = Pid::from_raw(orphan.pid) else { return };
    if let Ok(descriptor) = rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty()) {
        drop(poll(&mut [PollFd::new(&descriptor, PollFlags::IN)], Some(deadline)));
    }
    // Removes the zombie. Waiting for any child would take the status of a process that has another owner.
    let _ = rustix::process::waitpid(Some(pid), WaitOptions::NOHANG);
}
