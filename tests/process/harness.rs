//! A slot with a supervisor of this build, commands for it, and the proof that no process is left. The proof shares
//! nothing with the code under test: every process of a slot carries a mark in its environment.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{PipeReader, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, bounded, never};
use rustix::event::{PollFd, PollFlags, Timespec};
use surveil::model::{Isolation, Script};
use surveil::process::{Command, Ended, Limits, ProcessError, ProgressCallbacks, Supervisor, detect_isolation};

/// No wait in these tests takes longer.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// Makes a test for each tier from each function. A tier that this machine refuses is left out.
macro_rules! in_both_tiers {
    ($($(#[$meta:meta])* fn $name:ident($slot:ident) $body:block)*) => {
        mod cases {
            use super::*;
            $($(#[$meta])* pub(crate) fn $name(mut slot: $crate::harness::Slot) { let $slot = &mut slot; $body })*
        }
        mod pid_namespace {
            $(#[test] fn $name() {
                if let Some(slot) = $crate::harness::Slot::in_pid_namespace() { super::cases::$name(slot) }
            })*
        }
        mod subreaper {
            $(#[test] fn $name() {
                super::cases::$name($crate::harness::Slot::new(surveil::model::Isolation::Subreaper))
            })*
        }
    };
}
pub(crate) use in_both_tiers;

pub(crate) struct Slot {
    pub(crate) supervisor: Supervisor,
    pub(crate) tier: Isolation,
    pub(crate) mark: String,
    pub(crate) place: tempfile::TempDir,
}

impl Slot {
    pub(crate) fn new(tier: Isolation) -> Self {
        crate::groups::detected();
        let place = tempfile::tempdir().unwrap();
        let mark = format!("SURVEIL_TEST_MARK={}", place.path().display());
        Self { supervisor: Supervisor::new(program(), tier), tier, mark, place }
    }

    pub(crate) fn in_pid_namespace() -> Option<Self> {
        (detect_isolation() == Isolation::PidNamespace).then(|| Self::new(Isolation::PidNamespace))
    }

    pub(crate) fn shell(&self, text: &str) -> Command {
        self.command(Script::Shell(text.into()))
    }

    pub(crate) fn program(&self, words: &[&str]) -> Command {
        self.command(Script::Program(words.iter().map(|word| (*word).into()).collect()))
    }

    pub(crate) fn command(&self, script: Script) -> Command {
        let (name, value) = self.mark.split_once('=').unwrap();
        let path = std::env::var_os("PATH").unwrap_or_else(|| "/usr/bin:/bin".into());
        let env: Vec<(OsString, OsString)> = vec![(name.into(), value.into()), ("PATH".into(), path)];
        let (directory, limits) = (self.place.path().into(), Limits::default());
        Command { script, directory, env, timeout_ms: 60_000, grace_ms: 300, view: None, limits }
    }

    /// Runs the command to its end, and checks that no process is left at that moment.
    pub(crate) fn try_run(&mut self, command: &Command) -> (Result<Ended, ProcessError>, String) {
        self.run_with(command, &never(), |_| ())
    }

    pub(crate) fn run(&mut self, command: &Command) -> (Ended, String) {
        let (result, output) = self.try_run(command);
        (result.unwrap(), output)
    }

    pub(crate) fn run_shell(&mut self, text: &str) -> (Ended, String) {
        self.run(&self.shell(text))
    }

    /// Runs the command, and calls the function after the command has printed `ready`.
    pub(crate) fn run_until_ready(
        &mut self,
        command: &Command,
        act: impl FnOnce(Sender<()>),
    ) -> (Result<Ended, ProcessError>, String) {
        let (cancel, cancelled) = bounded(1);
        self.run_with(command, &cancelled, |output| {
            wait_for_line(output, "ready");
            act(cancel);
        })
    }

    fn run_with(
        &mut self,
        command: &Command,
        cancel: &Receiver<()>,
        meanwhile: impl FnOnce(&mut PipeReader),
    ) -> (Result<Ended, ProcessError>, String) {
        let (mut reader, writer) = std::io::pipe().unwrap();
        let supervisor = &mut self.supervisor;
        let result = std::thread::scope(|scope| {
            let output = File::from(OwnedFd::from(writer));
            let running = scope.spawn(move || supervisor.run(command, output, cancel, ProgressCallbacks::default()));
            meanwhile(&mut reader);
            running.join().unwrap()
        });
        assert_eq!(survivors(&self.mark), Vec::<String>::new(), "left after {result:?}");
        let mut output = Vec::new();
        reader.read_to_end(&mut output).unwrap();
        (result, String::from_utf8_lossy(&output).into_owned())
    }

    /// Checks that the slot works like a new one.
    pub(crate) fn check_next(&mut self) {
        let (ended, output) = self.run_shell("echo next");
        assert_eq!((ended.exit, ended.leftovers, output.as_str()), (surveil::process::Exit::Code(0), 0, "next\n"));
    }
}

pub(crate) fn program() -> PathBuf {
    env!("CARGO_BIN_EXE_surveil").into()
}

/// Reads until a line ends with this word.
pub(crate) fn wait_for_line(output: &mut PipeReader, word: &str) {
    let deadline = now() + PATIENCE;
    let mut line = String::new();
    loop {
        assert!(poll_until(output.as_fd(), deadline), "no line {word:?} in time, but {line:?}");
        let mut byte = [0];
        assert_eq!(output.read(&mut byte).unwrap(), 1, "the output ended without {word:?}, with {line:?}");
        match byte {
            [b'\n'] if line.ends_with(word) => return,
            [b'\n'] => line.clear(),
            [byte] => line.push(byte.into()),
        }
    }
}

/// Returns false after the deadline.
pub(crate) fn poll_until(descriptor: impl AsFd, deadline: Instant) -> bool {
    let left = Timespec::try_from(deadline.saturating_duration_since(now())).unwrap();
    rustix::event::poll(&mut [PollFd::new(&descriptor, PollFlags::IN)], Some(&left)).unwrap() > 0
}

/// Command lines of all processes that carry the mark.
pub(crate) fn survivors(mark: &str) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").unwrap() {
        let path = entry.unwrap().path();
        let Ok(environ) = fs::read(path.join("environ")) else { continue };
        if environ.split(|byte| *byte == 0).any(|variable| variable == mark.as_bytes()) {
            let line = fs::read(path.join("cmdline")).unwrap_or_default();
            found.push(format!("{}: {}", path.display(), String::from_utf8_lossy(&line).replace('\0', " ")));
        }
    }
    found
}

/// For processes whose end no other process reports.
pub(crate) fn wait_until_gone(mark: &str) {
    let deadline = now() + PATIENCE;
    let mut left = survivors(mark);
    while !left.is_empty() {
        assert!(now() < deadline, "still there: {left:?}");
        let pause = Timespec { tv_sec: 0, tv_nsec: 5_000_000 };
        rustix::event::poll(&mut [] as &mut [PollFd<'_>; 0], Some(&pause)).unwrap();
        left = survivors(mark);
    }
}

pub(crate) fn now() -> Instant {
    surveil::clock::instant()
}
