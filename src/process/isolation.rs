//! The two tiers of isolation: detects the tier that this process may use, and enters it in a supervising process.

use std::io;

use rustix::mount::{MountFlags, MountPropagationFlags};
use rustix::process::Signal;

use super::kernel;
use crate::model::Isolation;
use crate::threads;

/// Returns the strongest tier that this process may use on this kernel. Tries it, in a thread whose namespaces end with
/// it: capabilities alone prove nothing, because a container, a security module or a limit may still refuse.
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
        // The thread panicked or could not start. The weaker tier works everywhere.
        Ok(Err(_)) | Err(_) => Isolation::Subreaper,
    }
}

/// Makes this process the supervisor of its tier. In a PID namespace it is PID 1 already.
pub(super) fn enter(isolation: Isolation) -> io::Result<()> {
    // CONT, because a stopped process must continue to see that the runner is gone. Not KILL, not even in a namespace
    // of its own: the kernel would end everything in it, but only after it has closed the file that is kept open.
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

/// Makes the orphans below this process its children, from now on.
pub(super) fn become_subreaper() -> io::Result<()> {
    Ok(rustix::process::set_child_subreaper(Some(rustix::process::getpid()))?)
}

/// Mounts a /proc that shows this PID namespace, invisible outside of it.
fn mount_own_proc() -> io::Result<()> {
    kernel::unshare_mounts()?;
    // Later mounts and unmounts of the machine propagate into this namespace, so that it keeps no disk busy, but none
    // propagates out of it.
    rustix::mount::mount_change("/", MountPropagationFlags::DOWNSTREAM | MountPropagationFlags::REC)?;
    let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    Ok(rustix::mount::mount("proc", "/proc", "proc", flags, None)?)
}
