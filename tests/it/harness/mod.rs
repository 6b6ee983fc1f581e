//! A world for one test: a directory, a home, an address, and the processes of Surveil in it. Nothing is shared between
//! two worlds, and nothing of a world is left when it is dropped. A failed test prints the output of all its processes.

mod certificates;
mod commands;
mod link;
mod machine;
mod meter;
mod namespace;
mod operator;
mod process;
mod repository;
mod signs;
mod volume;
mod web;
mod wire;

use std::cell::{Cell, RefCell};
use std::fs;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::{Duration, Instant};

use crossbeam_channel::never;
use tempfile::TempDir;

pub(crate) use certificates::AUTHORITY;
pub(crate) use commands::Done;
pub(crate) use link::Link;
pub(crate) use operator::job;
pub(crate) use process::Process;
pub(crate) use repository::Repository;
pub(crate) use signs::{Gate, Tally};
pub(crate) use volume::Volume;
pub(crate) use web::WebServer;
pub(crate) use wire::{Wire, hello};

use namespace::Namespace;
use process::Record;

/// No wait in these tests takes longer, and none is expected to take a hundredth of it on an idle machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);
/// Interval between two checks of a condition that has no event.
const LOOK_EVERY: Duration = Duration::from_millis(10);

pub(crate) struct World {
    place: TempDir,
    /// A loopback address of this world's own, so that a port that was free once stays so.
    host: Cell<Ipv4Addr>,
    /// Port of the dispatcher; 0 before its first start.
    port: Cell<u16>,
    /// Where all of its processes run, if not on the machine of the test.
    network: Option<Namespace>,
    records: RefCell<Vec<Arc<Record>>>,
}

impl World {
    pub(crate) fn new() -> Self {
        // Not in `/tmp`: guarded tasks have one of their own, and many of them tell their test something by a file.
        let cache = std::env::home_dir().unwrap().join(".cache");
        fs::create_dir_all(&cache).unwrap();
        let place = tempfile::Builder::new().prefix(".t").tempdir_in(cache.canonicalize().unwrap()).unwrap();
        fs::create_dir(place.path().join("home")).unwrap();
        let (host, port) = (Cell::new(own_address()), Cell::new(0));
        Self { place, host, port, network: None, records: RefCell::default() }
    }

    /// A world whose processes run in a network of their own, all of whose traffic stays in it. The dispatcher listens
    /// at an address beyond loopback. Returns `None`, and says so, if this machine does not permit it.
    pub(crate) fn beyond_loopback() -> Option<Self> {
        const ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 1);
        let mut world = Self::new();
        let setup = format!("ip link set lo up && ip address add {ADDRESS}/32 dev lo");
        world.network = Some(world.namespace("--net", &["--net"], &setup)?);
        world.host.set(ADDRESS);
        Some(world)
    }

    /// Reserves a port for a test that starts other roles before the dispatcher.
    pub(crate) fn with_port(port: u16) -> Self {
        let world = Self::new();
        world.port.set(port);
        world
    }

    /// A path in this world's directory.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.place.path().join(name)
    }

    pub(crate) fn data(&self) -> PathBuf {
        self.path("data")
    }

    /// The dispatcher's pin; `None` before its first start.
    pub(crate) fn pin(&self) -> Option<String> {
        Some(fs::read_to_string(self.data().join("tls/pin")).ok()?.trim().to_owned())
    }

    /// Address at which the dispatcher listens or will listen.
    pub(crate) fn address(&self) -> SocketAddrV4 {
        assert_ne!(self.port.get(), 0, "no dispatcher was started");
        SocketAddrV4::new(self.host.get(), self.port.get())
    }

    /// Like [`World::address`]; `None` if no dispatcher was started yet.
    pub(crate) fn known_address(&self) -> Option<SocketAddrV4> {
        (self.port.get() != 0).then(|| self.address())
    }

    /// Notes the port of a dispatcher that was started without [`World::dispatcher`].
    pub(crate) fn listens_at(&self, address: SocketAddrV4) {
        self.host.set(*address.ip());
        self.port.set(address.port());
    }

    /// Address at which a dispatcher that starts now must listen.
    fn listening(&self) -> (Ipv4Addr, u16) {
        (self.host.get(), self.port.get())
    }

    /// A dispatcher that starts no runners of its own; it listens at the address of the one before it.
    pub(crate) fn dispatcher(&self, more: &[&str]) -> Process {
        self.dispatcher_with(more, &[])
    }

    /// Like [`World::dispatcher`], with variables in its environment.
    pub(crate) fn dispatcher_with(&self, more: &[&str], variables: &[(&str, &str)]) -> Process {
        let (host, port) = (format!("--host={}", self.host.get()), format!("--port={}", self.port.get()));
        let mut arguments = vec!["dispatcher", &host, &port];
        if !more.iter().any(|flag| flag.starts_with("--spawn")) {
            arguments.push("--spawn=0");
        }
        arguments.extend(more);
        let mut command = self.command(&arguments);
        command.envs(variables.iter().copied());
        let dispatcher = self.start_command("dispatcher", command);
        self.port.set(dispatcher.listening_at().port());
        dispatcher
    }

    pub(crate) fn observer(&self, repositories: &[&Repository], more: &[&str]) -> Process {
        let paths = repositories.iter().map(|repository| repository.path.to_str().unwrap());
        let arguments: Vec<&str> = ["observer"].into_iter().chain(paths).chain(more.iter().copied()).collect();
        self.start("observer", &arguments)
    }

    /// A runner of that name, with a work directory of its own: the same one when it is started again.
    pub(crate) fn runner(&self, name: &str, more: &[&str]) -> Process {
        let work = format!("--work={}", self.path(&format!("work-{name}")).display());
        let name_flag = format!("--name={name}");
        let mut arguments = vec!["runner", &name_flag, &work, "--min-free=1MiB"];
        arguments.extend(more);
        self.start(name, &arguments)
    }

    /// A dispatcher, an observer of these repositories and the runner `w1`.
    pub(crate) fn roles(&self, repositories: &[&Repository]) -> [Process; 3] {
        [self.dispatcher(&[]), self.observer(repositories, &[]), self.runner("w1", &[])]
    }

    /// A `surveil` with these arguments that goes on until it is stopped.
    pub(crate) fn start(&self, name: &str, arguments: &[&str]) -> Process {
        self.start_command(name, self.command(arguments))
    }

    /// The lines that each process of this world has printed so far, by its name.
    pub(crate) fn said(&self) -> Vec<(String, Vec<u8>)> {
        self.records.borrow().iter().map(|record| record.so_far()).collect()
    }

    /// Like [`World::start`], for a prepared command.
    pub(crate) fn start_command(&self, name: &str, command: Command) -> Process {
        let process = Process::start(name, self.placed(command));
        self.records.borrow_mut().push(process.record());
        process
    }

    /// Like [`World::start_command`], on a terminal of that width.
    pub(crate) fn start_on_terminal(&self, name: &str, command: Command, columns: u16) -> Process {
        let process = Process::start_on_terminal(name, self.placed(command), columns);
        self.records.borrow_mut().push(process.record());
        process
    }

    /// Like [`World::start_on_terminal`], with its input there, too. Returns the keyboard of the terminal.
    pub(crate) fn start_at_terminal(&self, name: &str, command: Command, columns: u16) -> (Process, fs::File) {
        let (process, keyboard) = Process::start_at_terminal(name, self.placed(command), columns);
        self.records.borrow_mut().push(process.record());
        (process, keyboard)
    }

    /// The command as it runs where the processes of this world do.
    fn placed(&self, command: Command) -> Command {
        match &self.network {
            Some(network) => network.inside(&command),
            None => command,
        }
    }

    /// A `surveil` command that is not started yet. It finds this world's dispatcher by itself.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = self.sealed(env!("CARGO_BIN_EXE_surveil"));
        command.args(arguments).env("SURVEIL_DATA", self.data()).env("SURVEIL_WORK", self.path("work"));
        if self.port.get() != 0 {
            command.env("SURVEIL_DISPATCH", self.address().to_string());
        }
        // In a network of its own a world is encrypted in any case, unless its test is about plain text.
        if is_encrypted()
            && self.network.is_none()
            && let Some(pin) = self.pin()
        {
            command.env("SURVEIL_PIN", pin);
        }
        command
    }

    /// A program that sees nothing of the machine's configuration.
    pub(crate) fn sealed(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.current_dir(self.place.path()).env_clear().envs(
            [("PATH", std::env::var_os("PATH").unwrap_or_else(|| "/usr/bin:/bin".into()))].into_iter().chain([
                ("HOME", self.path("home").into()),
                ("GIT_CONFIG_NOSYSTEM", "1".into()),
                ("LC_ALL", "C.UTF-8".into()),
                ("RUST_BACKTRACE", "1".into()),
                (MARK, self.place.path().into()),
            ]),
        );
        command
    }

    /// Processes of this world, whoever started them, as `PID: command line`; only those that carry all `variables`.
    pub(crate) fn processes(&self, variables: &[&str]) -> Vec<String> {
        self.marked(variables).into_iter().map(|(pid, line)| format!("{pid}: {line}")).collect()
    }

    fn marked(&self, variables: &[&str]) -> Vec<(i32, String)> {
        let mark = format!("{MARK}={}", self.place.path().display());
        let mut found = Vec::new();
        for entry in fs::read_dir("/proc").unwrap() {
            let path = entry.unwrap().path();
            let Some(pid) = path.file_name().and_then(|name| name.to_str()?.parse().ok()) else { continue };
            // A process that has just ended has no environment to read.
            let Ok(environ) = fs::read(path.join("environ")) else { continue };
            let environ: Vec<&[u8]> = environ.split(|byte| *byte == 0).collect();
            let has = |variable: &str| environ.contains(&variable.as_bytes());
            if has(&mark) && variables.iter().all(|variable| has(variable)) {
                let line = fs::read(path.join("cmdline")).unwrap_or_default();
                found.push((pid, String::from_utf8_lossy(&line).replace('\0', " ")));
            }
        }
        found
    }

    /// Ends every process that any process of this world started and left.
    fn sweep(&self) {
        let deadline = now() + PATIENCE;
        loop {
            let left = self.marked(&[]);
            if left.is_empty() || now() > deadline {
                return;
            }
            for (pid, _) in left {
                if let Some(pid) = rustix::process::Pid::from_raw(pid) {
                    // The process may have ended meanwhile.
                    rustix::process::kill_process(pid, rustix::process::Signal::KILL).ok();
                }
            }
            pause();
        }
    }
}

/// Variable in the environment of every process of a world. Not one of Surveil's own, because attempts do not inherit
/// those.
const MARK: &str = "IT_WORLD";

impl Drop for World {
    fn drop(&mut self) {
        self.sweep();
        if std::thread::panicking() {
            for record in self.records.borrow().iter() {
                record.print();
            }
        }
    }
}

/// Whether the connections of all processes are encrypted, once there is a dispatcher.
pub(crate) fn is_encrypted() -> bool {
    std::env::var_os("SURVEIL_TEST_TLS").is_some()
}

/// Polls until a condition holds that has no event.
#[track_caller]
pub(crate) fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = now() + PATIENCE;
    while !is_so() {
        assert!(now() < deadline, "in vain: {what}");
        pause();
    }
}

fn pause() {
    // Nothing ever arrives on this channel: the timeout is the pause.
    let _ = never::<()>().recv_timeout(LOOK_EVERY);
}

pub(crate) fn now() -> Instant {
    surveil::clock::instant()
}

/// The text of a path.
pub(crate) fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// 127.X.Y.Z, different for each world of each process.
fn own_address() -> Ipv4Addr {
    static COUNT: AtomicU8 = AtomicU8::new(1);
    let [_, _, high, low] = std::process::id().to_be_bytes();
    Ipv4Addr::new(127, 64 | (high & 0x3f), low, COUNT.fetch_add(1, Ordering::Relaxed).max(1))
}
