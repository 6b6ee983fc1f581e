//! The supervising process as a child of the runner: how it starts, and how its end is waited for.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{self, ExitStatus, Stdio};

use rustix::io::Errno;
use rustix::process::{Pid, WaitOptions};

use super::{ProcessError, kernel};
use crate::model::Isolation;

/// The hidden subcommand.
pub(super) const SUBCOMMAND: &str = "supervise";

/// Starts the supervising process from this thread, which must live as long as that process. It has a process group of
/// its own, so that it does not get the signals that a terminal sends to the runner. It never prints, so its stdout is
/// free to keep a file open.
pub(super) fn start_child(
    program: &Path,
    isolation: Isolation,
    in_user_namespace: bool,
    socket: UnixStream,
    kept_open: Option<File>,
) -> Result<Pid, ProcessError> {
    if in_user_namespace {
        let output = kept_open.map_or_else(|| File::options().write(true).open("/dev/null"), Ok);
        let started = output.and_then(|output| {
            kernel::start_in_user_namespace(program, SUBCOMMAND, &OwnedFd::from(socket), &output.into())
        });
        return started.map_err(|source| ProcessError::Isolate { isolation, source });
    }
    if isolation == Isolation::PidNamespace {
        kernel::unshare_pids().map_err(|source| ProcessError::Isolate { isolation, source })?;
    }
    let mut command = process::Command::new(program);
    command.arg(SUBCOMMAND).stdin(OwnedFd::from(socket)).process_group(0);
    command.stdout(kept_open.map_or_else(Stdio::null, Stdio::from));
    let child = command.spawn().map_err(|source| ProcessError::StartSupervisor { program: program.into(), source })?;
    Ok(Pid::from_child(&child))
}

/// Waits for the end of a child of this process.
pub(super) fn wait(child: Pid) -> io::Result<ExitStatus> {
    loop {
        match rustix::process::waitpid(Some(child), WaitOptions::empty()) {
            Ok(Some((_, status))) => return Ok(ExitStatus::from_raw(status.as_raw())),
            Ok(None) | Err(Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
}
