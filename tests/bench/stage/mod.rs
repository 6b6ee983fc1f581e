//! Shared parts of the benchmarks: real `surveil` processes in a directory of their own on the disk of the target
//! directory, the repositories that they watch, scripted peers, and figures. Processes end with the stage that started
//! them.
#![allow(dead_code, reason = "each bench is a program of its own and uses a part of this")]

pub(crate) mod figures;
pub(crate) mod project;
pub(crate) mod repo;
pub(crate) mod scripted;

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use self::repo::Repo;
use surveil::clock;
use surveil::model::{Address, Build, BuildId, CommitId, Pin};
use surveil::protocol::hello::Role;
use surveil::store::{Reader, sqlite};
use tempfile::TempDir;

/// The longest wait before a benchmark gives up.
const PATIENCE: Duration = Duration::from_secs(600);

/// Whether figures are wanted. `cargo test --all-targets` runs the benchmarks too, but only to see that they work.
pub(crate) fn is_measuring() -> bool {
    std::env::args().any(|argument| argument == "--bench")
}

/// A number from the environment, for trying other sizes by hand.
pub(crate) fn setting(name: &str, usual: usize) -> usize {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(usual)
}

/// Lets time pass.
pub(crate) fn pause(length: Duration) {
    let _ = crossbeam_channel::never::<()>().recv_timeout(length);
}

/// Polls every millisecond until the function returns a value.
pub(crate) fn wait_for<T>(what: &str, look: impl FnMut() -> Option<T>) -> T {
    look_every(Duration::from_millis(1), what, look)
}

pub(crate) fn look_every<T>(step: Duration, what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = clock::instant() + PATIENCE;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(clock::instant() < deadline, "waited in vain for {what}");
        pause(step);
    }
}

/// A dispatcher and its peers, in a directory of their own.
pub(crate) struct Stage {
    /// Declared first, so that the processes are gone before their directory.
    processes: Vec<Process>,
    address: Option<Address>,
    dir: TempDir,
}

/// A process that ends when this is dropped.
pub(crate) struct Process {
    child: Child,
    log: PathBuf,
}

impl Stage {
    /// An empty stage. `SURVEIL_BENCH_DIR` names another disk, `SURVEIL_BENCH_KEEP` keeps the files afterwards.
    pub(crate) fn new() -> Self {
        let place = std::env::var_os("SURVEIL_BENCH_DIR").unwrap_or_else(|| env!("CARGO_TARGET_TMPDIR").into());
        fs::create_dir_all(&place).expect("the target directory can be written");
        let mut dir = tempfile::tempdir_in(place).expect("the target directory can be written");
        dir.disable_cleanup(std::env::var_os("SURVEIL_BENCH_KEEP").is_some());
        Self { processes: Vec::new(), address: None, dir }
    }

    /// A stage with a dispatcher that starts no runners.
    pub(crate) fn with_dispatcher(flags: &[&str]) -> Self {
        let mut stage = Self::new();
        stage.start_dispatcher(flags);
        stage
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Makes a fifo into which tasks write as soon as they run. It is opened for both, so that neither end waits for
    /// the other to open.
    pub(crate) fn fifo(&self) -> (PathBuf, File) {
        let fifo = self.path("fifo");
        rustix::fs::mknodat(rustix::fs::CWD, &fifo, rustix::fs::FileType::Fifo, 0o600.into(), 0).expect("a fifo");
        let signals = File::options().read(true).write(true).open(&fifo).expect("the fifo");
        (fifo, signals)
    }

    pub(crate) fn data(&self) -> PathBuf {
        self.path("data")
    }

    /// The address at which the dispatcher listens.
    pub(crate) fn address(&self) -> Address {
        self.address.clone().expect("a dispatcher was started")
    }

    /// Starts the dispatcher and waits until it listens, at the address of the one before it. Returns how long that
    /// took.
    pub(crate) fn start_dispatcher(&mut self, flags: &[&str]) -> (usize, Duration) {
        let begun = clock::instant();
        let port = self.address.as_ref().map_or(0, |address| address.port).to_string();
        let at = self.start("dispatcher", &[&["dispatcher", "--port", &port, "--spawn", "0"], flags].concat());
        let log = self.processes[at].log.clone();
        let port = wait_for("the dispatcher", || {
            let text = fs::read_to_string(&log).ok()?;
            let (_, rest) = text.split_once("listening at ")?;
            let (address, _) = rest.split_once('\n')?;
            address.rsplit_once(':')?.1.parse().ok()
        });
        let took = begun.elapsed();
        self.address = Some(Address { host: "127.0.0.1".into(), port });
        (at, took)
    }

    /// Starts an observer of a repository.
    pub(crate) fn start_observer(&mut self, repo: &Path) -> usize {
        let address = self.address().to_string();
        let repo = repo.to_str().expect("a path of plain letters");
        self.start("observer", &["observer", repo, "--name", "app", "--dispatch", &address])
    }

    /// Starts an observer of several repositories, which have the names of their directories.
    pub(crate) fn start_observer_of(&mut self, repos: &[Repo]) -> usize {
        let address = self.address().to_string();
        let paths = repos.iter().map(|repo| repo.path.to_str().expect("a path of plain letters"));
        let arguments: Vec<&str> = ["observer", "--dispatch", &address].into_iter().chain(paths).collect();
        self.start("observer", &arguments)
    }

    /// Starts a runner and waits until it has registered.
    pub(crate) fn start_runner(&mut self, name: &str, flags: &[&str]) -> usize {
        let address = self.address().to_string();
        let work = self.path(&format!("work-{name}"));
        let work = work.to_str().expect("a path of plain letters");
        let own = ["runner", "--name", name, "--dispatch", &address, "--work", work, "--min-free", "1M"];
        let at = self.start(name, &[&own, flags].concat());
        let joined = format!("runner {name} joined");
        let log = self.path("dispatcher.log");
        wait_for("the runner", || fs::read_to_string(&log).ok()?.contains(&joined).then_some(()));
        at
    }

    /// Starts `surveil` with a log of that name.
    fn start(&mut self, name: &str, arguments: &[&str]) -> usize {
        let log = self.path(&format!("{name}.log"));
        let child = self
            .command(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::create(&log).expect("the directory can be written"))
            .spawn()
            .expect("surveil starts");
        self.processes.push(Process { child, log });
        self.processes.len() - 1
    }

    /// A `surveil` command that finds this dispatcher's tokens and no settings of the person who measures.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        // Another program may be named, so that two programs can be measured in turns.
        let program = std::env::var_os("SURVEIL_BENCH_PROGRAM").unwrap_or(env!("CARGO_BIN_EXE_surveil").into());
        let mut command = Command::new(program);
        command.args(arguments).env_clear().env("PATH", "/usr/bin:/bin").env("HOME", self.dir.path());
        command.env("SURVEIL_DATA", self.data());
        // All connections are encrypted if this is set, so that both can be measured in turns.
        if std::env::var_os("SURVEIL_BENCH_TLS").is_some()
            && let Some(pin) = self.pin()
        {
            command.env("SURVEIL_PIN", pin.to_string());
        }
        for name in ["RUST_LOG", "RUST_BACKTRACE"] {
            command.envs(std::env::var_os(name).map(|value| (name, value)));
        }
        command
    }

    pub(crate) fn pid(&self, at: usize) -> u32 {
        self.processes[at].child.id()
    }

    /// Ends a process at once.
    pub(crate) fn kill(&mut self, at: usize) {
        self.processes[at].end();
    }

    /// Lets a process stand still, until it is killed.
    pub(crate) fn freeze(&self, at: usize) {
        let pid = rustix::process::Pid::from_child(&self.processes[at].child);
        rustix::process::kill_process(pid, rustix::process::Signal::STOP).expect("it lives");
    }

    /// Tells a process to end, and waits for that.
    pub(crate) fn stop(&mut self, at: usize) {
        let process = &mut self.processes[at];
        let pid = rustix::process::Pid::from_child(&process.child);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).expect("it lives");
        wait_for("an orderly end", || process.child.try_wait().ok().flatten());
    }

    /// The dispatcher's pin. `None` before its first start, and for a program that does not encrypt.
    pub(crate) fn pin(&self) -> Option<Pin> {
        fs::read_to_string(self.data().join("tls/pin")).ok()?.parse().ok()
    }

    pub(crate) fn token(&self, role: Role) -> String {
        let name = match role {
            Role::Observer => "observer",
            Role::Runner => "runner",
            Role::Operator => "operator",
        };
        fs::read_to_string(self.data().join("tokens").join(name)).expect("a token").trim().to_owned()
    }

    /// Reads the dispatcher's store beside it.
    pub(crate) fn reader(&self) -> Box<dyn Reader> {
        sqlite::readers(&self.data().join("surveil.db")).open().expect("the store can be read")
    }
}

impl Process {
    fn end(&mut self) {
        // A process that has already ended is fine.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.end();
        if std::thread::panicking() {
            let text = fs::read_to_string(&self.log).unwrap_or_default();
            let tail: Vec<&str> = text.lines().rev().take(20).collect();
            let tail: Vec<&str> = tail.into_iter().rev().collect();
            log_to_stderr(&format!("{}:\n{}", self.log.display(), tail.join("\n")));
        }
    }
}

#[expect(clippy::print_stderr, reason = "a bench that fails says what its processes said")]
fn log_to_stderr(text: &str) {
    eprintln!("{text}");
}

/// Waits until the commit's build has a verdict.
pub(crate) fn finished(reader: &dyn Reader, commit: &git2::Oid) -> Build {
    finished_every(Duration::from_millis(1), reader, commit)
}

/// Like [`finished`], but polls at this interval, if polling would disturb the measurement.
pub(crate) fn finished_every(step: Duration, reader: &dyn Reader, commit: &git2::Oid) -> Build {
    let commit: CommitId = commit.to_string().parse().expect("an id of a commit");
    look_every(step, "a verdict", || {
        let newest = reader.finished_builds(None, 1).expect("the store can be read").pop()?;
        (newest.source.commit == commit).then_some(newest)
    })
}

/// Waits until the build of that number has a verdict.
pub(crate) fn finished_build(reader: &dyn Reader, id: BuildId) -> Build {
    wait_for("a verdict", || reader.build(id).expect("the store can be read").filter(|build| build.verdict.is_some()))
}

/// The time since that moment, in milliseconds.
pub(crate) fn ms_since(then: Instant) -> f64 {
    then.elapsed().as_secs_f64() * 1000.0
}
