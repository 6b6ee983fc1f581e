//! Resources of a process, as the kernel counts them, and processes with low limits.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use super::{Process, World, until};

/// Resources that a process uses at a moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Usage {
    pub(crate) threads: u64,
    pub(crate) descriptors: usize,
}

impl World {
    /// This command, started by a shell after these words, such as `ulimit -n 64`.
    pub(crate) fn limited(&self, limit: &str, command: &Command) -> Command {
        let mut limited = self.sealed("sh");
        limited.envs(command.get_envs().map(|(name, value)| (name, value.unwrap())));
        limited.arg("-c").arg(format!("{limit} && exec \"$0\" \"$@\"")).arg(command.get_program());
        limited.args(command.get_args());
        limited
    }

    /// A dispatcher that a shell starts after these words, such as `ulimit -n 64`.
    pub(crate) fn limited_dispatcher(&self, limit: &str, more: &[&str]) -> Process {
        let mut command = self.command(&["dispatcher"]);
        let (host, port) = self.listening();
        command.args([&format!("--host={host}"), &format!("--port={port}"), "--spawn=0"]).args(more);
        let dispatcher = self.start_command("dispatcher", self.limited(limit, &command));
        self.listens_at(dispatcher.listening_at());
        dispatcher
    }
}

impl Process {
    /// A field of `/proc/PID/status`, in its own unit.
    fn status_field(&self, name: &str) -> u64 {
        let path = format!("/proc/{}/status", self.pid());
        let status = fs::read_to_string(&path).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).unwrap();
        line.split_whitespace().next().unwrap().parse().unwrap()
    }

    /// Descriptors of the store itself are not counted: SQLite closes one only when no connection of the process holds
    /// a lock on the file, so there may be one more for a while or for long.
    pub(crate) fn usage(&self) -> Usage {
        let entries = fs::read_dir(format!("/proc/{}/fd", self.pid())).unwrap().map(Result::unwrap);
        let is_store = |to: PathBuf| to.ends_with("surveil.db");
        let descriptors = entries.filter(|entry| !fs::read_link(entry.path()).is_ok_and(is_store)).count();
        Usage { threads: self.status_field("Threads"), descriptors }
    }

    /// The most memory that was ever resident, in MiB.
    pub(crate) fn peak_mib(&self) -> u64 {
        self.status_field("VmHWM") / 1024
    }

    /// The address space in use, in bytes.
    pub(crate) fn address_space(&self) -> u64 {
        self.status_field("VmSize") * 1024
    }

    /// Processor time used so far, in milliseconds.
    pub(crate) fn cpu_ms(&self) -> u64 {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.pid())).unwrap();
        // The name in parentheses may hold spaces; user and system time are the 14th and 15th field.
        let fields: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
        let ticks: u64 = fields[11..13].iter().map(|field| field.parse::<u64>().unwrap()).sum();
        ticks * 1000 / rustix::param::clock_ticks_per_second()
    }

    /// Waits until its use has fallen to this.
    #[track_caller]
    pub(crate) fn is_back_to(&self, before: Usage) {
        let mut last = before;
        until(&format!("{before:?} again"), || {
            last = self.usage();
            last.threads <= before.threads && last.descriptors <= before.descriptors
        });
    }
}
