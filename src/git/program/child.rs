//! One process of the git program, and its end. It never outlives this process, and never lasts longer than its limits.

use std::io::{self, ErrorKind, Read};
use std::os::fd::AsFd;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process_group, pidfd_open};

use crate::clock;
use crate::git::error::GitError;

/// Limit of a program's output. The refs of a repository with a million of them fit; a program that prints more has
/// gone wrong.
const OUTPUT_BYTES_MAX: usize = 256 * 1024 * 1024;

/// Exit code of a shell that did not find the program.
const NOT_FOUND: i32 = 127;

/// Runs the program that its arguments name, and ends the whole process group when standard input closes. That happens
/// when this process ends, however it ends, because nobody else holds the other end of that pipe. A signal that the
/// kernel sends at a parent's death would reach git, but not the transports that git has started.
const GUARDED: &str = r#"
exec 3<&0 </dev/null
( read -r line <&3; kill -KILL 0 ) >/dev/null 2>&1 &
guard=$!
"$@" 3<&-
status=$?
exec >/dev/null 2>&1
kill -KILL $guard
exit $status
"#;

/// The time that a program may take.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    pub(super) whole: Duration,
    /// The longest time without any output, such as a line about progress.
    pub(super) silence: Duration,
}

/// A program that has ended.
pub(super) struct Ended {
    pub(super) status: ExitStatus,
    pub(super) output: Vec<u8>,
    pub(super) errors: Vec<u8>,
}

/// Returns a command for `program` that ends with this process, whatever ends that. For [`finish`].
pub(super) fn guarded(program: &str) -> Command {
    let mut command = Command::new("/bin/sh");
    command.args(["-c", GUARDED, "sh", program]);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// Why a program was ended.
enum Cut {
    Whole,
    Silence,
}

/// Runs the program to its end. At a limit ends it, with everything that it started.
pub(super) fn finish(mut command: Command, action: &str, limits: Limits) -> Result<Ended, GitError> {
    let failed = |source| GitError::NoProgram { action: action.to_owned(), source };
    // A process group of its own, so that its transports end with it.
    let mut child = command.process_group(0).spawn().map_err(failed)?;
    let mut streams = [Vec::new(), Vec::new()];
    let finished = drain(&mut child, &mut streams, limits);
    if !matches!(finished, Ok(None)) {
        // The group may have ended already, so a failure to kill it is ignored.
        let _gone = kill_process_group(Pid::from_child(&child), Signal::KILL);
    }
    // This also closes the pipe that the guard reads, which has ended by now.
    let status = child.wait().map_err(failed)?;
    // Checked after the child was reaped, so that no zombie is left behind an error.
    match finished.map_err(failed)? {
        Some(Cut::Whole) => {
            return Err(GitError::TooLong { action: action.to_owned(), seconds: limits.whole.as_secs() });
        }
        Some(Cut::Silence) => {
            return Err(GitError::Stalled { action: action.to_owned(), seconds: limits.silence.as_secs() });
        }
        None => {}
    }
    if status.code() == Some(NOT_FOUND) {
        return Err(failed(ErrorKind::NotFound.into()));
    }
    let [output, errors] = streams;
    Ok(Ended { status, output, errors })
}

/// Reads stdout and stderr to their ends and waits for the process. Returns the limit that it has reached, if any.
fn drain(child: &mut Child, streams: &mut [Vec<u8>; 2], limits: Limits) -> io::Result<Option<Cut>> {
    // A pidfd can be polled with a time limit; waiting for a child cannot.
    let ended = pidfd_open(Pid::from_child(child), PidfdFlags::empty())?;
    let mut stdout = child.stdout.take();
    let mut stderr = child.stderr.take();
    let mut buffer = vec![0; 64 * 1024];
    let deadline = clock::instant() + limits.whole;
    let mut silent_until = clock::instant() + limits.silence;
    loop {
        let mut waits = Vec::with_capacity(2);
        waits.extend(stdout.as_ref().map(|pipe| PollFd::new(pipe, PollFlags::IN)));
        waits.extend(stderr.as_ref().map(|pipe| PollFd::new(pipe, PollFlags::IN)));
        // The pipes come first: a child that waits for room in a full pipe never ends. Its end is awaited after both
        // have closed.
        let is_draining = !waits.is_empty();
        if !is_draining {
            waits.push(PollFd::from_borrowed_fd(ended.as_fd(), PollFlags::IN));
        }
        let Some(left) = left_until(deadline) else { return Ok(Some(Cut::Whole)) };
        let Some(left) = left_until(silent_until).map(|until| until.min(left)) else { return Ok(Some(Cut::Silence)) };
        let left = Timespec { tv_sec: left.as_secs().cast_signed(), tv_nsec: left.subsec_nanos().into() };
        match poll(&mut waits, Some(&left)) {
            Ok(0) | Err(rustix::io::Errno::INTR) => continue,
            Ok(_) if !is_draining => return Ok(None),
            Ok(_) => {}
            Err(error) => return Err(error.into()),
        }
        // `waits` holds only the pipes that are still open, in this order.
        let mut ready = waits.iter().map(|wait| !wait.revents().is_empty());
        let of_stdout = stdout.is_some() && ready.next() == Some(true);
        let of_stderr = stderr.is_some() && ready.next() == Some(true);
        if of_stdout {
            take_some(&mut stdout, &mut streams[0], &mut buffer)?;
        }
        if of_stderr {
            take_some(&mut stderr, &mut streams[1], &mut buffer)?;
        }
        silent_until = clock::instant() + limits.silence;
    }
}

fn left_until(deadline: Instant) -> Option<Duration> {
    deadline.checked_duration_since(clock::instant())
}

/// Reads the available bytes. Closes the pipe at the end of the stream.
fn take_some(pipe: &mut Option<impl Read>, into: &mut Vec<u8>, buffer: &mut [u8]) -> io::Result<()> {
    let Some(open) = pipe else { return Ok(()) };
    let count = open.read(buffer)?;
    if count == 0 {
        *pipe = None;
    }
    if into.len() + count > OUTPUT_BYTES_MAX {
        return Err(io::Error::new(ErrorKind::FileTooLarge, "git printed too much"));
    }
    into.extend_from_slice(&buffer[..count]);
    Ok(())
}
