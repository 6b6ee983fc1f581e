//! One `surveil` process. Its output is read all the time, its end can be waited for, and it never outlives its handle.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::SocketAddrV4;
use std::os::fd::OwnedFd;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use crossbeam_channel::{Receiver, Sender, bounded};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{Mode, OFlags, open};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process, kill_process_group, pidfd_open};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};
use surveil::threads::{self, Thread};

use super::{PATIENCE, now};

pub(crate) struct Process {
    child: Child,
    /// Becomes readable when the process has ended.
    end: OwnedFd,
    status: Option<ExitStatus>,
    record: Arc<Record>,
    readers: Vec<Thread<()>>,
}

/// The output of a process so far.
pub(crate) struct Record {
    name: String,
    said: Mutex<Said>,
    /// Gets a message when there is more output.
    wake: Sender<()>,
    woken: Receiver<()>,
}

#[derive(Default)]
pub(crate) struct Said {
    pub(crate) stdout: Vec<u8>,
    pub(crate) stderr: Vec<u8>,
    /// Number of the two outputs that have ended.
    closed: u32,
}

impl Process {
    pub(crate) fn start(name: &str, mut command: Command) -> Self {
        // A process group of its own, as a shell creates it, so that a Ctrl-C reaches this process alone.
        command.process_group(0).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let record = Record::new(name);
        let (out, err) = (child.stdout.take().unwrap(), child.stderr.take().unwrap());
        let readers = vec![read(&record, out, |said| &mut said.stdout), read(&record, err, |said| &mut said.stderr)];
        Self::of(child, record, readers)
    }

    /// Starts it with both outputs on a terminal of that width. All of it counts as standard output.
    pub(super) fn start_on_terminal(name: &str, command: Command, columns: u16) -> Self {
        Self::with_terminal(name, command, columns, false).0
    }

    /// Like [`Process::start_on_terminal`], with its input there, too. Returns the keyboard of the terminal.
    pub(super) fn start_at_terminal(name: &str, command: Command, columns: u16) -> (Self, File) {
        Self::with_terminal(name, command, columns, true)
    }

    fn with_terminal(name: &str, mut command: Command, columns: u16, has_input: bool) -> (Self, File) {
        let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
        let shown = openpt(flags).unwrap();
        grantpt(&shown).unwrap();
        unlockpt(&shown).unwrap();
        let path = ptsname(&shown, Vec::new()).unwrap();
        let terminal = open(path, OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC, Mode::empty()).unwrap();
        tcsetwinsize(&terminal, Winsize { ws_row: 50, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 }).unwrap();
        let input = if has_input { terminal.try_clone().unwrap().into() } else { Stdio::null() };
        command.process_group(0).stdin(input).stdout(terminal.try_clone().unwrap()).stderr(terminal);
        let keyboard = File::from(shown.try_clone().unwrap());
        let child = command.spawn().unwrap();
        // It holds the terminal as well, and its output ends when nobody does.
        drop(command);
        let record = Record::new(name);
        record.lock().closed = 1;
        let readers = vec![read(&record, File::from(shown), |said| &mut said.stdout)];
        (Self::of(child, record, readers), keyboard)
    }

    fn of(child: Child, record: Arc<Record>, readers: Vec<Thread<()>>) -> Self {
        let end = pidfd_open(pid(&child), PidfdFlags::empty()).unwrap();
        Self { child, end, status: None, record, readers }
    }

    pub(super) fn record(&self) -> Arc<Record> {
        self.record.clone()
    }

    /// Waits until either output contains this text, however early it was written.
    #[track_caller]
    pub(crate) fn says(&self, text: &str) {
        self.record.wait(text, |said| {
            let has = |bytes: &[u8]| String::from_utf8_lossy(bytes).contains(text);
            has(&said.stderr) || has(&said.stdout)
        });
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Its standard error so far.
    pub(crate) fn log(&self) -> String {
        String::from_utf8_lossy(&self.record.lock().stderr).into_owned()
    }

    /// The address in a dispatcher's first lines.
    #[track_caller]
    pub(crate) fn listening_at(&self) -> SocketAddrV4 {
        const WORDS: &str = "listening at ";
        self.record.wait(WORDS, |said| {
            String::from_utf8_lossy(&said.stderr).split_once(WORDS).is_some_and(|(_, rest)| rest.contains('\n'))
        });
        let log = self.log();
        let (_, rest) = log.split_once(WORDS).unwrap();
        rest.lines().next().unwrap().trim().parse().unwrap()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        assert!(self.status.is_none(), "{} has ended already", self.record.name);
        kill_process(pid(&self.child), signal).unwrap();
    }

    /// Sends a signal to its whole group, as a terminal does for Ctrl-C.
    pub(crate) fn signal_group(&self, signal: Signal) {
        assert!(self.status.is_none(), "{} has ended already", self.record.name);
        kill_process_group(pid(&self.child), signal).unwrap();
    }

    /// Kills it without warning, and waits for its end.
    pub(crate) fn kill(mut self) {
        self.signal(Signal::KILL);
        self.status();
    }

    /// Waits for its end. The exit code, or 128 and the signal.
    #[track_caller]
    pub(crate) fn exit_code(&mut self) -> i32 {
        let status = self.status();
        status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0))
    }

    #[track_caller]
    fn status(&mut self) -> ExitStatus {
        if let Some(status) = self.status {
            return status;
        }
        let ended = wait_for_end(&self.end, now() + PATIENCE);
        assert!(ended, "{} does not end", self.record.name);
        *self.status.insert(self.child.wait().unwrap())
    }

    /// Waits for its end and for that of its output.
    #[track_caller]
    pub(crate) fn finish(mut self) -> (i32, Said) {
        let code = self.exit_code();
        self.record.wait("its output's end", |said| said.closed == 2);
        let said = std::mem::take(&mut *self.record.lock());
        // Printed once more if the test fails.
        (self.record.lock().stdout, self.record.lock().stderr) = (said.stdout.clone(), said.stderr.clone());
        (code, said)
    }

    /// Waits until it ends with this exit code by itself, and returns its standard error.
    #[track_caller]
    pub(crate) fn finish_with(self, code: i32) -> String {
        let (ended, said) = self.finish();
        let log = String::from_utf8_lossy(&said.stderr).into_owned();
        assert_eq!(ended, code, "{log}");
        log
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if self.status.is_none() {
            // Processes that left its group are ended by the world.
            kill_process_group(pid(&self.child), Signal::KILL).ok();
            drop(self.child.wait());
        }
        for reader in self.readers.drain(..) {
            // Its children may still hold its output open.
            reader.detach();
        }
    }
}

impl Record {
    fn new(name: &str) -> Arc<Self> {
        let (wake, woken) = bounded(1);
        Arc::new(Self { name: name.to_owned(), said: Mutex::default(), wake, woken })
    }

    fn lock(&self) -> MutexGuard<'_, Said> {
        self.said.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The name of the process, and all that it has printed so far.
    pub(super) fn so_far(&self) -> (String, Vec<u8>) {
        let said = self.lock();
        (self.name.clone(), [&*said.stdout, &*said.stderr].concat())
    }

    #[track_caller]
    fn wait(&self, what: &str, is_so: impl Fn(&Said) -> bool) {
        let deadline = now() + PATIENCE;
        while !is_so(&self.lock()) {
            assert!(self.woken.recv_deadline(deadline).is_ok(), "{} does not say in time: {what}", self.name);
        }
    }

    fn add(&self, change: impl FnOnce(&mut Said)) {
        change(&mut self.lock());
        // If a message is waiting already, another one adds nothing.
        let _ = self.wake.try_send(());
    }

    #[expect(clippy::print_stderr, reason = "this is the report of a test that failed")]
    pub(super) fn print(&self) {
        let said = self.lock();
        for (stream, bytes) in [("stdout", &said.stdout), ("stderr", &said.stderr)] {
            if !bytes.is_empty() {
                eprintln!("--- {} {stream}\n{}", self.name, String::from_utf8_lossy(bytes));
            }
        }
    }
}

fn read(record: &Arc<Record>, from: impl Read + Send + 'static, part: fn(&mut Said) -> &mut Vec<u8>) -> Thread<()> {
    let record = record.clone();
    let body = move || {
        let mut from = BufReader::new(from);
        while let Ok(bytes @ [_, ..]) = from.fill_buf() {
            record.add(|said| part(said).write_all(bytes).unwrap());
            let len = bytes.len();
            from.consume(len);
        }
        record.add(|said| said.closed += 1);
    };
    threads::spawn("it-read", body).unwrap()
}

/// Whether the process of this descriptor ended in time.
fn wait_for_end(end: &OwnedFd, deadline: Instant) -> bool {
    let left = Timespec::try_from(deadline.saturating_duration_since(now())).unwrap();
    poll(&mut [PollFd::new(end, PollFlags::IN)], Some(&left)).unwrap() > 0
}

fn pid(child: &Child) -> Pid {
    Pid::from_raw(i32::try_from(child.id()).unwrap()).unwrap()
}
