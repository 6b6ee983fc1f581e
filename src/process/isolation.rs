//! The two tiers: which one this process may use, and how a supervising process enters its own.

use std::io;

use rustix::mount::{MountFlags, MountPropagationFlags};
use rustix::process::Signal;

use super::kernel;
use crate::model::Isolation;
use crate::threads;

/// The strongest tier that this process may use on this kernel. Finds out by doing, in a thread whose namespaces end
/// with it: capabilities alone do not tell, because a container, a security module or a limit may refuse all the same.
pub fn detect() -> Isolation {
    let attempt = threads::spawn("isolation", || {
        kernel::unshare_pids()?;
        mount_own_proc()
    });
    match attempt.map(threads::Thread::join) {
        Ok(Ok(Ok(()))) => Isolation::PidNamespace,
        Ok(Ok(Err(why))) => {
            log::debug!("no PID namespaces here: {why}");
            Isolation::Subreaper
        }
        Ok(Err(_)) | Err(_) => Isolation::Subreaper,
    }
}

/// Makes this process the supervisor of its tier. In a PID namespace it is PID 1 already.
pub(super) fn enter(isolation: Isolation) -> io::Result<()> {
    // Where something has stopped this process, it must go on to see the runner vanish. It is not to be killed in a
    // namespace of its own either: the kernel would end everything there, but only after closing what is kept open.
    rustix::process::set_parent_process_death_signal(Some(Signal::CONT))?;
    match isolation {
        Isolation::PidNamespace => {
            if rustix::process::getpid() != rustix::process::Pid::INIT {
                return Err(io::Error::other("not the first process of a PID namespace"));
            }
            mount_own_proc()
        }
        Isolation::Subreaper => become_subreaper(),
    }
}

/// From now on, orphans below this process become its children.
pub(super) fn become_subreaper() -> io::Result<()> {
    Ok(rustix::process::set_child_subreaper(Some(rustix::process::getpid()))?)
}

/// A /proc that shows this PID namespace, which nobody outside sees.
fn mount_own_proc() -> io::Result<()> {
    kernel::unshare_mounts()?;
    // What the machine mounts or unmounts later is to arrive here, so that no disk is held busy, but nothing leaves.
    rustix::mount::mount_change("/", MountPropagationFlags::DOWNSTREAM | MountPropagationFlags::REC)?;
    let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    Ok(rustix::mount::mount("proc", "/proc", "proc", flags, None)?)
}
