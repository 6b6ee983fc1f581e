//! Short calls of a container tool: each ends within its time, whatever the tool does, and its output is kept in
//! memory.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::time::Duration;

use crossbeam_channel::{Receiver, after, bounded, select};
use rustix::fs::MemfdFlags;
use rustix::process::{Pid, Signal, kill_process_group};

use crate::model::visible;
use crate::threads;

/// The bytes that are read of each output. A list of containers is longer than any other answer.
const OUTPUT_BYTES: u64 = 256 * 1024;
/// The characters of a tool's message that an error repeats.
const MESSAGE_CHARS: usize = 300;

/// A call that has ended.
#[derive(Debug)]
pub(super) struct Called {
    /// `None` if a signal ended it.
    pub(super) code: Option<i32>,
    /// Its standard output.
    pub(super) output: String,
    /// The last line of its standard error, or the first part of a long one.
    pub(super) message: String,
}

impl Called {
    pub(super) fn succeeded(&self) -> bool {
        self.code == Some(0)
    }
}

/// The reason why a call has no result.
#[derive(Debug, thiserror::Error)]
pub(super) enum CallError {
    #[error("{program} could not be started")]
    Start { program: String, source: io::Error },
    #[error("{program} did not end within {} s", .patience.as_secs())]
    TooLong { program: String, patience: Duration },
    #[error("cancelled")]
    Cancelled,
}

/// Executes a command with exactly these variables, and waits for its end. A message on `cancel`, or its
/// disconnection, ends it.
pub(super) fn call(
    words: &[String],
    env: &[(OsString, OsString)],
    patience: Duration,
    cancel: &Receiver<()>,
) -> Result<Called, CallError> {
    let program = words.first().cloned().unwrap_or_default();
    let failed = |source: io::Error| CallError::Start { program: program.clone(), source };
    let [mut output, mut errors] = [memory().map_err(failed)?, memory().map_err(failed)?];
    let mut command = Command::new(&program);
    command.args(words.get(1..).unwrap_or_default()).env_clear().envs(env.iter().cloned()).current_dir("/");
    command.stdin(Stdio::null()).stdout(output.try_clone().map_err(failed)?);
    // A group of its own, so that its helpers end with it; the session stays, so that no supervisor takes it for an
    // orphan.
    let mut child = command.stderr(errors.try_clone().map_err(failed)?).process_group(0).spawn().map_err(failed)?;
    let group = Pid::from_child(&child);
    let (over, ended) = bounded(1);
    let waiting = threads::spawn("image-call", move || over.send(child.wait()));
    let waiting = waiting.map_err(|source| {
        let _ = kill_process_group(group, Signal::KILL);
        failed(source)
    })?;
    let status = select! {
        recv(ended) -> status => Ok(status),
        recv(cancel) -> _ => Err(CallError::Cancelled),
        recv(after(patience)) -> _ => Err(CallError::TooLong { program: program.clone(), patience }),
    };
    if status.is_err() {
        let _ = kill_process_group(group, Signal::KILL);
    }
    drop(waiting.join());
    let status = status?.map_err(|_| failed(io::ErrorKind::BrokenPipe.into()))?.map_err(failed)?;
    let message = tail(&text(&mut errors).map_err(failed)?);
    Ok(Called { code: status.code(), output: text(&mut output).map_err(failed)?, message })
}

fn memory() -> io::Result<File> {
    Ok(rustix::fs::memfd_create("surveil-call", MemfdFlags::CLOEXEC)?.into())
}

fn text(file: &mut File) -> io::Result<String> {
    let mut bytes = Vec::new();
    file.seek(SeekFrom::Start(0))?;
    file.take(OUTPUT_BYTES).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// Returns the last line that says something, as it may be shown.
fn tail(text: &str) -> String {
    let line = text.lines().map(str::trim).rfind(|line| !line.is_empty()).unwrap_or_default();
    let line = visible(line.strip_prefix("Error: ").unwrap_or(line));
    match line.char_indices().nth(MESSAGE_CHARS) {
        Some((at, _)) => format!("{}…", &line[..at]),
        None => line,
    }
}

#[cfg(test)]
mod tests {
    use crossbeam_channel::never;

    use super::*;

    fn shell(text: &str, patience: Duration, cancel: &Receiver<()>) -> Result<Called, CallError> {
        let env = [("PATH".into(), std::env::var_os("PATH").unwrap()), ("A".into(), "b".into())];
        call(&["sh", "-c", text].map(String::from), &env, patience, cancel)
    }

    const LONG: Duration = Duration::from_secs(20);

    #[test]
    fn a_call_gives_its_output_its_message_and_its_code() {
        let called = shell("echo $A; printf 'x\\nError: why \\033[1m\\n\\n' >&2; exit 3", LONG, &never()).unwrap();
        assert_eq!((called.code, &*called.output), (Some(3), "b\n"));
        assert_eq!(called.message, "why \u{fffd}[1m");
        assert!(shell("true", LONG, &never()).unwrap().succeeded());
        let missing = call(&["/no/such/tool".into()], &[], LONG, &never()).unwrap_err();
        assert_eq!(missing.to_string(), "/no/such/tool could not be started");
    }

    #[test]
    fn a_call_that_hangs_ends_with_its_helpers() {
        let hangs = "sleep 1000 & sleep 1000";
        let error = shell(hangs, Duration::from_millis(20), &never()).unwrap_err();
        assert_eq!(error.to_string(), "sh did not end within 0 s");
        let (cancel, cancelled) = bounded(1);
        cancel.send(()).unwrap();
        assert!(matches!(shell(hangs, LONG, &cancelled), Err(CallError::Cancelled)));
    }
}
