//! The limits of a command: the most that its processes may use, and what is enforced of that by which means.
//!
//! A control group (`groups`) enforces each limit for all processes together. What it does not, resource limits do as
//! far as they can: for memory, the supervising process also looks at the sum now and then.

use std::io;
use std::os::fd::BorrowedFd;

use rustix::process::{Resource, Rlimit};
use rustix::thread::{CapabilitySet, CpuSet};

use crate::model::Recipe;

/// The most that the processes of a command may use together.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Limits {
    pub memory_bytes: Option<u64>,
    /// Processes and threads.
    pub processes: Option<u32>,
    /// Processor time, in thousandths of a processor.
    pub millicpus: Option<u32>,
}

/// The result of the limits of a command.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Enforcement {
    /// Whether a process was ended because all together used more memory than they may.
    pub is_over_memory: bool,
    /// The limits that are not enforced, or not wholly, each in words that begin with its key.
    pub gaps: Vec<String>,
}

/// The kinds of limits that a control group enforces.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Controllers {
    pub memory: bool,
    pub processes: bool,
    pub cpus: bool,
}

impl Enforcement {
    /// The result of the limits of this command and of a later one.
    #[must_use]
    pub fn and(self, later: Self) -> Self {
        Self { is_over_memory: self.is_over_memory || later.is_over_memory, gaps: later.gaps }
    }
}

impl Limits {
    /// The limits that a task asks for.
    #[must_use]
    pub fn of(recipe: &Recipe) -> Self {
        let Recipe { memory_bytes, processes, millicpus, .. } = *recipe;
        Self { memory_bytes, processes, millicpus }
    }

    /// Whether there is no limit.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Returns the limits that a control group with these controllers does not enforce.
    pub(super) fn without(self, controllers: Controllers) -> Self {
        Self {
            memory_bytes: self.memory_bytes.filter(|_| !controllers.memory),
            processes: self.processes.filter(|_| !controllers.processes),
            millicpus: self.millicpus.filter(|_| !controllers.cpus),
        }
    }

    /// Returns the limits that resource limits do not enforce wholly, in words. Processes are counted only in a user
    /// namespace of the command's own, because outside of one they are counted with all others of the user.
    pub(super) fn gaps(self, has_user_namespace: bool, is_root: bool) -> Vec<String> {
        let memory = self.memory_bytes.map(|_| "memory (for each process, and for the sum only now and then)");
        let processes = match (self.processes, has_user_namespace) {
            (None, _) => None,
            (Some(_), _) if is_root => Some("processes (root has no such limit without a control group)"),
            (Some(_), false) => Some("processes (without a control group, only for attempts in a user namespace)"),
            (Some(_), true) => None,
        };
        let cpus = match self.millicpus {
            None => None,
            Some(millicpus) if millicpus.is_multiple_of(1000) => Some("cpus (a task can leave its processors)"),
            Some(_) => Some("cpus (whole processors only, and a task can leave them)"),
        };
        memory.into_iter().chain(processes).chain(cpus).map(str::to_owned).collect()
    }

    /// Puts this process under the limits, and into a control group: everything that it executes is under them. `group`
    /// is the open list of the group's processes.
    pub(super) fn enter(self, group: Option<BorrowedFd<'_>>) -> io::Result<()> {
        if let Some(group) = group {
            // The writing process, in whatever PID namespace it is.
            rustix::io::write(group, b"0")?;
        }
        if let Some(millicpus) = self.millicpus {
            stay_on(millicpus.div_ceil(1000) as usize)?;
        }
        if self.memory_bytes.is_some() || self.processes.is_some() {
            // A process of root could raise its limits with it. A process that may not do this does not have it.
            let _ = rustix::thread::remove_capability_from_bounding_set(CapabilitySet::SYS_RESOURCE);
        }
        if let Some(processes) = self.processes {
            // The supervising process counts in the user namespace, too.
            lower(Resource::Nproc, u64::from(processes) + 1)?;
        }
        if let Some(bytes) = self.memory_bytes {
            // The last step, because this process needs memory itself.
            lower(Resource::Data, bytes)?;
        }
        Ok(())
    }
}

/// Lowers a resource limit of this process for good.
fn lower(resource: Resource, most: u64) -> io::Result<()> {
    let maximum = rustix::process::getrlimit(resource).maximum;
    let most = Some(maximum.map_or(most, |maximum| maximum.min(most)));
    Ok(rustix::process::setrlimit(resource, Rlimit { current: most, maximum: most })?)
}

/// Leaves this process so many of its processors. Which ones depends on its id, so that commands that run side by side
/// do not all get the same.
fn stay_on(count: usize) -> io::Result<()> {
    let present = rustix::thread::sched_getaffinity(None)?;
    let usable: Vec<usize> = (0..CpuSet::MAX_CPU).filter(|cpu| present.is_set(*cpu)).collect();
    if count >= usable.len() {
        return Ok(());
    }
    let first = rustix::process::getpid().as_raw_nonzero().get().unsigned_abs() as usize * count;
    let mut chosen = CpuSet::new();
    (first..first + count).for_each(|at| chosen.set(usable[at % usable.len()]));
    Ok(rustix::thread::sched_setaffinity(None, &chosen)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: Limits = Limits { memory_bytes: Some(1 << 20), processes: Some(5), millicpus: Some(1500) };

    #[test]
    fn what_a_group_enforces_is_left_to_it_and_the_rest_to_resource_limits() {
        let group = |memory, processes, cpus| ALL.without(Controllers { memory, processes, cpus });
        assert_eq!(group(false, false, false), ALL);
        assert!(group(true, true, true).is_empty());
        assert_eq!(group(true, false, true), Limits { processes: Some(5), ..Limits::default() });
        assert_eq!(group(true, true, true).gaps(false, true), [] as [String; 0]);
    }

    #[test]
    fn what_resource_limits_do_not_enforce_is_said() {
        let keys = |limits: Limits, has_user_namespace, is_root| -> Vec<String> {
            let gaps = limits.gaps(has_user_namespace, is_root);
            gaps.iter().map(|gap| gap.split_once(" (").unwrap().0.to_owned()).collect()
        };
        assert_eq!(keys(ALL, true, false), ["memory", "cpus"]);
        assert_eq!(keys(ALL, false, false), ["memory", "processes", "cpus"]);
        assert_eq!(keys(ALL, true, true), ["memory", "processes", "cpus"], "root has no limit in a namespace either");
        assert_eq!(keys(Limits::default(), false, true), [] as [&str; 0]);
        let whole = Limits { millicpus: Some(2000), ..Limits::default() };
        assert_eq!(whole.gaps(true, false), ["cpus (a task can leave its processors)"]);
    }
}
