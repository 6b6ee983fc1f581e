//! The local pool: runners on the dispatcher's own machine, each a process of this program. They end with the
//! dispatcher.

use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Resource, Rlimit, Signal, kill_process, prlimit};

use super::Provider;
use crate::config::defaults;
use crate::dispatcher::authority::Authority;
use crate::dispatcher::data_dir::DataDir;
use crate::dispatcher::tokens;
use crate::model::SpawnId;

/// Time that a runner may take to end after each signal.
const END_WAIT: Duration = Duration::from_secs(3);

/// The dispatcher's own machine.
pub(in crate::dispatcher) struct Local {
    address: SocketAddr,
    authority: Authority,
    data: DataDir,
    descriptors: Rlimit,
    runners: Vec<(SpawnId, Child)>,
    /// The number of runners started so far. It numbers names and work directories, so that a later runner uses the
    /// trees of an earlier one again.
    count: u32,
}

impl Local {
    /// `descriptors` is the limit of open files that runners get: not the one that was raised for connections, because
    /// tasks inherit it, and some programs close every descriptor that they might have.
    pub(in crate::dispatcher) fn new(
        address: SocketAddr,
        authority: Authority,
        data: &DataDir,
        descriptors: Rlimit,
    ) -> Self {
        Self { address, authority, data: data.clone(), descriptors, runners: Vec::new(), count: 0 }
    }

    fn command(&self, spawn: SpawnId) -> Command {
        // A dispatcher that is bound to every address is reached over loopback.
        let ip = if self.address.ip().is_unspecified() { Ipv4Addr::LOCALHOST.into() } else { self.address.ip() };
        // The file itself may have been replaced by a newer one meanwhile; this is the program that runs.
        let mut command = Command::new("/proc/self/exe");
        command
            .arg("runner")
            .arg(format!("--spawn={}", spawn.0))
            .arg(format!("--dispatch={}", SocketAddr::new(ip, self.address.port())))
            .arg(format!("--name={}-spawned-{}", crate::config::default_runner_name(), self.count))
            .arg(format!("--idle-exit={}s", defaults::SPAWNED_IDLE_EXIT_MS / 1000));
        command.arg("--token-file").arg(tokens::runner_file(&self.data));
        command.arg("--work").arg(self.data.root().join("spawned").join(self.count.to_string()));
        // Plain text is for loopback, also between processes of one machine.
        if ip.is_loopback() {
            command.env_remove("SURVEIL_PIN");
        } else {
            command.env("SURVEIL_PIN", self.authority.pin_texts().join(","));
        }
        // A Ctrl-C at the dispatcher's terminal is the dispatcher's to pass on.
        command.stdin(Stdio::null()).stdout(Stdio::null()).process_group(0);
        command
    }
}

impl Provider for Local {
    fn start(&mut self, spawn: SpawnId) -> Result<(), String> {
        self.count += 1;
        let child = self.command(spawn).spawn().map_err(|error| {
            log::error!("could not start a runner on this machine: {error}");
            error.to_string()
        })?;
        // The runner starts its first process long after this. If this is not allowed, the limit stays higher.
        prlimit(pid_of(&child), Resource::Nofile, self.descriptors).ok();
        log::info!("runner started on this machine, process {}", child.id());
        self.runners.push((spawn, child));
        Ok(())
    }

    fn ended(&mut self) -> Vec<SpawnId> {
        let ended = self.runners.extract_if(.., |(_, child)| !matches!(child.try_wait(), Ok(None)));
        ended.map(|(spawn, _)| spawn).collect()
    }

    /// Signals all runners three times: to finish their attempts, to end at once, and to be killed.
    fn stop(&mut self) {
        for signal in [Signal::TERM, Signal::TERM, Signal::KILL] {
            for pid in self.runners.iter().filter_map(|(_, child)| pid_of(child)) {
                // A runner that ended just now needs no signal.
                kill_process(pid, signal).ok();
            }
            let tries = if signal == Signal::TERM { END_WAIT.as_millis() / 20 } else { 250 };
            for _ in 0..tries {
                self.ended();
                if self.runners.is_empty() {
                    return;
                }
                // Nothing ever arrives: the timeout is the point.
                crossbeam_channel::never::<()>().recv_timeout(Duration::from_millis(20)).ok();
            }
        }
    }
}

fn pid_of(child: &Child) -> Option<Pid> {
    i32::try_from(child.id()).ok().and_then(Pid::from_raw)
}
