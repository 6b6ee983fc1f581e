//! The optional `git` program: fetches from remote URLs and lists refs that libgit2 cannot read. It is started so that
//! nothing that a watched repository configures is executed: no hooks, no file-system monitor, no programs as
//! transports. A fetch goes into a mirror of our own, with the user's configuration and never with a watched
//! repository's. The program is never allowed to ask a question, and always has a time limit.

use std::ffi::OsString;
use std::io::{self, Read};
use std::os::fd::AsFd;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process_group, pidfd_open};

use super::credentials::{masked, masked_word};
use super::error::GitError;
use super::local_env::is_local_variable;
use crate::clock;

/// Time limit of a fetch. A first mirror of a large repository over a slow line takes minutes; a fetch that takes
/// longer than this hangs.
const FETCH_LIMIT: Duration = Duration::from_secs(10 * 60);

/// Time limit for reading refs, which is local.
const READ_LIMIT: Duration = Duration::from_secs(30);

/// Number of a failed program's last lines that are told, and their length.
const REASON_LINES: usize = 4;
const REASON_LINE_CHARS: usize = 300;

/// Limit of a program's output. The refs of a repository with a million of them fit; a program that prints more has
/// gone wrong.
const OUTPUT_BYTES_MAX: usize = 256 * 1024 * 1024;

/// Makes or updates a local bare mirror of a remote URL, or of a repository at an absolute path, with the hardened
/// `git` program. Open the mirror with [`Watched::open`](super::Watched::open).
pub fn fetch_mirror(url: &str, mirror: &Path) -> Result<(), GitError> {
    if mirror.join("HEAD").exists() {
        update(url, mirror)?;
        return follow_head(url, mirror);
    }
    let action = format!("clone {} into {}", masked_word(url), mirror.display());
    if let Some(parent) = mirror.parent() {
        std::fs::create_dir_all(parent).map_err(GitError::io("make directory", parent))?;
    }
    // Cloned into a directory beside the mirror's place, so that an existing mirror is whole.
    let mut partial = OsString::from(mirror);
    partial.push(".partial");
    let partial = PathBuf::from(partial);
    if partial.exists() {
        std::fs::remove_dir_all(&partial).map_err(GitError::io("remove", &partial))?;
    }
    let mut command = network_git()?;
    // `--no-local`: the mirror shares no files even with a repository on this machine.
    command.args(["-c", "clone.defaultRemoteName=origin"]);
    command.args(["clone", "--quiet", "--mirror", "--no-local", "--end-of-options", url]).arg(&partial);
    run(command, &action, FETCH_LIMIT)?;
    // Each fetch is given the URL, whose credentials may have changed by then, so none need be kept in a file.
    read(&partial, &["config", "--remove-section", "remote.origin"])?;
    std::fs::rename(&partial, mirror).map_err(GitError::io("move into place", mirror))
}

/// Makes the refs of a mirror equal to those of the remote.
fn update(url: &str, mirror: &Path) -> Result<(), GitError> {
    let mut command = network_git()?;
    command.arg("--git-dir").arg(mirror);
    command.args(["fetch", "--quiet", "--prune", "--no-auto-maintenance", "--no-recurse-submodules"]);
    command.args(["--no-write-fetch-head", "--end-of-options", url, "+refs/*:refs/*"]);
    run(command, &format!("fetch {} into {}", masked_word(url), mirror.display()), FETCH_LIMIT).map(drop)
}

/// If the branch that a mirror's HEAD names is gone, points HEAD at the branch that the remote's HEAD names now: a
/// fetch leaves HEAD as it was.
fn follow_head(url: &str, mirror: &Path) -> Result<(), GitError> {
    if read(mirror, &["rev-parse", "--verify", "--quiet", "HEAD"])?.is_some() {
        return Ok(());
    }
    let mut command = network_git()?;
    // Without a directory, git would read the configuration of the repository that this process was started in.
    command.arg("--git-dir").arg(mirror);
    command.args(["ls-remote", "--quiet", "--symref", "--end-of-options", url, "HEAD"]);
    let answer = run(command, &format!("ask {} for its main branch", masked_word(url)), FETCH_LIMIT)?;
    let answer = String::from_utf8_lossy(&answer);
    let named = answer.lines().find_map(|line| line.strip_prefix("ref: ")?.strip_suffix("\tHEAD"));
    if let Some(named) = named.filter(|name| name.starts_with("refs/heads/")) {
        read(mirror, &["symbolic-ref", "HEAD", named])?;
    }
    Ok(())
}

/// Returns the object format of the repository at `path`: `sha1` or `sha256`. git looks for the repository as for a
/// user, and so refuses it if its owner is not trusted.
pub(super) fn object_format(path: &Path) -> Result<String, GitError> {
    let mut command = git();
    // Only the repository at this very path, not one further up.
    if let Some(parent) = path.parent() {
        command.env("GIT_CEILING_DIRECTORIES", parent);
    }
    command.arg("-C").arg(path).args(["rev-parse", "--show-object-format"]);
    let output = run(command, &format!("open {} as a git repository", path.display()), READ_LIMIT)?;
    Ok(String::from_utf8_lossy(&output).trim_end().to_owned())
}

/// Returns the output of `git --git-dir=… <arguments>`; `None` if it ended with exit code 1 and no message, which the
/// commands used here mean as "there is none".
pub(super) fn read(git_dir: &Path, arguments: &[&str]) -> Result<Option<Vec<u8>>, GitError> {
    let action = format!("read refs of {}", git_dir.display());
    let mut command = git();
    command.arg("--git-dir").arg(git_dir).args(arguments);
    let (status, output, errors) = finish(command, &action, READ_LIMIT)?;
    match status.code() {
        Some(0) => Ok(Some(output)),
        Some(1) if errors.is_empty() => Ok(None),
        _ => Err(refused(action, status, &errors)),
    }
}

/// The program for talking to a remote. ssh would ask for host keys and passphrases on the terminal, beside stdin,
/// where the question stops it for ever. So it is told to fail instead, unless the person has chosen how ssh is called.
fn network_git() -> Result<Command, GitError> {
    let mut command = git();
    let is_chosen = ["GIT_SSH_COMMAND", "GIT_SSH"].iter().any(|variable| std::env::var_os(variable).is_some());
    // Without a repository, git reads only the configuration of the person and of the system.
    if !is_chosen && read(Path::new("/dev/null"), &["config", "--get", "core.sshCommand"])?.is_none() {
        command.args(["-c", "core.sshCommand=ssh -o BatchMode=yes"]);
    }
    Ok(command)
}

/// The program, with everything switched off by which a repository could have something executed.
fn git() -> Command {
    let mut command = Command::new("git");
    for setting in [
        "core.hooksPath=/dev/null",
        "core.fsmonitor=false",
        "core.alternateRefsCommand=",
        "protocol.ext.allow=never",
        "maintenance.auto=false",
        "gc.auto=0",
    ] {
        command.args(["-c", setting]);
    }
    // Surveil may have been started by a hook.
    for (variable, _) in std::env::vars_os().filter(|(variable, _)| is_local_variable(variable)) {
        command.env_remove(variable);
    }
    command.env("GIT_TERMINAL_PROMPT", "0").env("GIT_OPTIONAL_LOCKS", "0").env("GIT_ASKPASS", "").env("LC_ALL", "C");
    command.env("SSH_ASKPASS_REQUIRE", "never");
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn run(command: Command, action: &str, limit: Duration) -> Result<Vec<u8>, GitError> {
    let (status, output, errors) = finish(command, action, limit)?;
    if status.success() { Ok(output) } else { Err(refused(action.to_owned(), status, &errors)) }
}

/// Makes the error of a program that failed.
fn refused(action: String, status: ExitStatus, errors: &[u8]) -> GitError {
    let said = reason(&String::from_utf8_lossy(errors));
    let detail = said.unwrap_or_else(|| format!("git ended with {status} and said nothing"));
    GitError::Program { action, detail: masked(&detail) }
}

/// Returns the lines that say why git failed: the last few, without advice, progress and decoration. The line of a
/// transport such as ssh comes before git's own, and is the one that names the cause.
fn reason(said: &str) -> Option<String> {
    let lines = said.split(['\n', '\r']).map(str::trim);
    let lines: Vec<&str> = lines.filter(|line| !line.is_empty() && !is_advice(line) && !is_progress(line)).collect();
    let last = &lines[lines.len().saturating_sub(REASON_LINES)..];
    let cut = |line: &&str| -> String {
        match line.char_indices().nth(REASON_LINE_CHARS) {
            Some((end, _)) => format!("{}…", &line[..end]),
            None => (*line).to_owned(),
        }
    };
    (!last.is_empty()).then(|| last.iter().map(cut).collect::<Vec<_>>().join("; "))
}

/// Whether a line says nothing about the cause: git's general advice after a failure, and frames around warnings.
fn is_advice(line: &str) -> bool {
    line.starts_with("hint:")
        || line == "Please make sure you have the correct access rights"
        || line == "and the repository exists."
        || line.starts_with("Cloning into")
        || line.chars().all(|c| "@*-=# ".contains(c))
}

/// Whether a line tells how far git or the other side has come.
fn is_progress(line: &str) -> bool {
    let line = line.strip_prefix("remote: ").unwrap_or(line);
    line.contains("% (") || line.ends_with(", done.") || line.starts_with("Enumerating objects:") || {
        line.starts_with("Total ") && line.contains("(delta ")
    }
}

/// Runs the program to its end. At the time limit ends it, with everything that it started.
fn finish(mut command: Command, action: &str, limit: Duration) -> Result<(ExitStatus, Vec<u8>, Vec<u8>), GitError> {
    let failed = |source| GitError::NoProgram { action: action.to_owned(), source };
    let deadline = clock::instant() + limit;
    // A process group of its own, so that its transports end with it.
    let mut child = command.process_group(0).spawn().map_err(failed)?;
    let mut streams = [Vec::new(), Vec::new()];
    let finished = drain(&mut child, &mut streams, deadline);
    if !matches!(finished, Ok(true)) {
        // The group may have ended already, so a failure to kill it is ignored.
        let _gone = kill_process_group(Pid::from_child(&child), Signal::KILL);
    }
    let status = child.wait().map_err(failed)?;
    // Checked after the child was reaped, so that no zombie is left behind an error.
    if !finished.map_err(failed)? {
        return Err(GitError::TooLong { action: action.to_owned(), seconds: limit.as_secs() });
    }
    let [output, errors] = streams;
    Ok((status, output, errors))
}

/// Reads stdout and stderr to their ends and waits for the process. Returns false if the deadline has passed.
fn drain(child: &mut Child, streams: &mut [Vec<u8>; 2], deadline: Instant) -> io::Result<bool> {
    // A pidfd can be polled with a time limit; waiting for a child cannot.
    let ended = pidfd_open(Pid::from_child(child), PidfdFlags::empty())?;
    let mut stdout = child.stdout.take();
    let mut stderr = child.stderr.take();
    let mut buffer = vec![0; 64 * 1024];
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
        let Some(left) = deadline.checked_duration_since(clock::instant()) else { return Ok(false) };
        let left = Timespec { tv_sec: left.as_secs().cast_signed(), tv_nsec: left.subsec_nanos().into() };
        match poll(&mut waits, Some(&left)) {
            Ok(0) | Err(rustix::io::Errno::INTR) => continue,
            Ok(_) if !is_draining => return Ok(true),
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
    }
}

/// Reads the available bytes. Closes the pipe at the end of the stream.
fn take_some(pipe: &mut Option<impl Read>, into: &mut Vec<u8>, buffer: &mut [u8]) -> io::Result<()> {
    let Some(open) = pipe else { return Ok(()) };
    let count = open.read(buffer)?;
    if count == 0 {
        *pipe = None;
    }
    if into.len() + count > OUTPUT_BYTES_MAX {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, "git printed too much"));
    }
    into.extend_from_slice(&buffer[..count]);
    Ok(())
}

#[cfg(test)]
mod tests;
