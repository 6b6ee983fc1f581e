//! The `spawner` thread: starts runners on the dispatcher's own machine when the core asks for one, and ends them with
//! the dispatcher.

use std::net::SocketAddr;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, bounded};
use rustix::process::{Pid, Resource, Rlimit, Signal, kill_process, prlimit};

use super::data_dir::DataDir;
use super::{DispatcherError, tokens};
use crate::config::defaults;
use crate::threads::{self, Thread};

/// How often ended runners are looked for.
const REAP_EVERY: Duration = Duration::from_secs(1);
/// How long a runner may take to end after each signal.
const END_WAIT: Duration = Duration::from_secs(3);

/// The thread that starts runners. Dropping it ends them.
pub(crate) struct Spawner {
    stop: Option<Sender<()>>,
    thread: Option<Thread<()>>,
}

impl Spawner {
    /// `descriptors` is the limit of open files that runners get: not the one that was raised for connections, because
    /// tasks inherit it, and some programs close every descriptor that they might have.
    pub(crate) fn start(
        address: SocketAddr,
        data: &DataDir,
        descriptors: Rlimit,
        asked: Receiver<()>,
    ) -> Result<Self, DispatcherError> {
        let (stop, stopped) = bounded(0);
        let data = data.clone();
        let thread = threads::spawn("spawner", move || run(address, &data, &descriptors, &asked, &stopped))
            .map_err(|source| DispatcherError::Thread { name: "spawner", source })?;
        Ok(Self { stop: Some(stop), thread: Some(thread) })
    }
}

impl Drop for Spawner {
    fn drop(&mut self) {
        drop(self.stop.take());
        drop(self.thread.take());
    }
}

fn run(address: SocketAddr, data: &DataDir, descriptors: &Rlimit, asked: &Receiver<()>, stopped: &Receiver<()>) {
    let mut runners: Vec<Child> = Vec::new();
    let mut count = 0u32;
    loop {
        crossbeam_channel::select! {
            recv(asked) -> ask => {
                if ask.is_err() {
                    break;
                }
                count += 1;
                match spawn(address, data, count) {
                    Ok(child) => {
                        // It starts its first process long after this; where it is not allowed, the limit is higher.
                        prlimit(pid_of(&child), Resource::Nofile, *descriptors).ok();
                        log::info!("runner started on this machine, process {}", child.id());
                        runners.push(child);
                    }
                    Err(error) => log::error!("could not start a runner on this machine: {error}"),
                }
            }
            recv(stopped) -> _ => break,
            default(REAP_EVERY) => {}
        }
        runners.retain_mut(|child| matches!(child.try_wait(), Ok(None)));
    }
    end_all(runners);
}

fn spawn(address: SocketAddr, data: &DataDir, count: u32) -> std::io::Result<Child> {
    // Bound to every address, it is reached over loopback.
    let host = if address.ip().is_unspecified() { "127.0.0.1".to_owned() } else { address.ip().to_string() };
    let host = if host.contains(':') { format!("[{host}]") } else { host };
    // The file itself may have been replaced by a newer one meanwhile; this is the program that runs.
    Command::new("/proc/self/exe")
        .arg("runner")
        .arg("--spawned")
        .arg(format!("--dispatch={host}:{}", address.port()))
        .arg(format!("--name={}-spawned-{count}", crate::config::default_runner_name()))
        .arg(format!("--idle-exit={}s", defaults::SPAWNED_IDLE_EXIT_MS / 1000))
        .arg("--token-file")
        .arg(tokens::runner_file(data))
        .arg("--work")
        .arg(data.root().join("spawned").join(count.to_string()))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        // A Ctrl-C at the dispatcher's terminal is the dispatcher's to pass on.
        .process_group(0)
        .spawn()
}

/// Asks all to end, twice (finish; then now), then makes them.
fn end_all(mut runners: Vec<Child>) {
    for signal in [Signal::TERM, Signal::TERM, Signal::KILL] {
        for child in &runners {
            // One that ended just now needs no signal.
            if let Some(pid) = pid_of(child) {
                kill_process(pid, signal).ok();
            }
        }
        let tries = if signal == Signal::TERM { END_WAIT.as_millis() / 20 } else { 250 };
        for _ in 0..tries {
            runners.retain_mut(|child| matches!(child.try_wait(), Ok(None)));
            if runners.is_empty() {
                return;
            }
            pause(Duration::from_millis(20));
        }
    }
}

fn pid_of(child: &Child) -> Option<Pid> {
    i32::try_from(child.id()).ok().and_then(Pid::from_raw)
}

fn pause(length: Duration) {
    // Nothing ever arrives: the timeout is the point.
    crossbeam_channel::never::<()>().recv_timeout(length).ok();
}
