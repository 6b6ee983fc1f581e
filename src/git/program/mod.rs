//! The optional `git` program: fetches from remote URLs and lists refs that libgit2 cannot read. It is started so that
//! nothing that a watched repository configures is executed: no hooks, no file-system monitor, no programs as
//! transports. A fetch goes into a mirror of our own, with the user's configuration and never with a watched
//! repository's. The program is never allowed to ask a question, always has a time limit, and
//! ends with this process.

mod child;
mod lfs;
mod mirror;

use std::path::Path;
use std::process::{Command, ExitStatus};
use std::time::Duration;

use super::credentials::masked;
use super::error::GitError;
use super::local_env::is_local_variable;
use child::{Ended, Limits, finish, guarded};

pub(super) use lfs::{LfsRemote, fetch_lfs};
pub(super) use mirror::fetch_commit;
pub use mirror::fetch_mirror;

/// Time limit for reading refs, which is local.
const READ_LIMIT: Duration = Duration::from_secs(30);

/// Number of a failed program's last lines that are told, and their length.
const REASON_LINES: usize = 4;
const REASON_LINE_CHARS: usize = 300;

/// Returns the object format of the repository at `path`: `sha1` or `sha256`. git looks for the repository as for a
/// user, and so refuses it if its owner is not trusted.
pub(super) fn object_format(path: &Path) -> Result<String, GitError> {
    let mut command = git();
    // Only the repository at this very path, not one further up.
    if let Some(parent) = path.parent() {
        command.env("GIT_CEILING_DIRECTORIES", parent);
    }
    command.arg("-C").arg(path).args(["rev-parse", "--show-object-format"]);
    let output = run(command, &format!("open {} as a git repository", path.display()), within(READ_LIMIT))?;
    Ok(String::from_utf8_lossy(&output).trim_end().to_owned())
}

/// Returns the output of `git --git-dir=… <arguments>`; `None` if it ended with exit code 1 and no message, which the
/// commands used here mean as "there is none".
pub(super) fn read(git_dir: &Path, arguments: &[&str]) -> Result<Option<Vec<u8>>, GitError> {
    read_within(git_dir, arguments, READ_LIMIT)
}

fn read_within(git_dir: &Path, arguments: &[&str], limit: Duration) -> Result<Option<Vec<u8>>, GitError> {
    let action = format!("read refs of {}", git_dir.display());
    let mut command = git();
    command.arg("--git-dir").arg(git_dir).args(arguments);
    let Ended { status, output, errors } = finish(command, &action, within(limit))?;
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
    let mut command = guarded("git");
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
    // Tests pass whatever the person who runs them has configured.
    if cfg!(test) {
        command.env("GIT_CONFIG_GLOBAL", "/dev/null").env("GIT_CONFIG_NOSYSTEM", "1");
    }
    command
}

/// The limits of a program that prints nothing before its end.
fn within(limit: Duration) -> Limits {
    Limits { whole: limit, silence: limit }
}

fn run(command: Command, action: &str, limits: Limits) -> Result<Vec<u8>, GitError> {
    let Ended { status, output, errors } = finish(command, action, limits)?;
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

#[cfg(test)]
mod tests;
