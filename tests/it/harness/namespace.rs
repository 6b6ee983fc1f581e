//! A namespace of the kernel that a test makes for itself: nothing of it is left, and no privilege is needed but to
//! make it. [`super::volume`] has a disk in one, [`World::beyond_loopback`] a network.

use std::process::Command;

use super::{Process, World, text};

/// The namespace. It lasts as long as the process that holds it.
pub(crate) struct Namespace {
    holder: Process,
    /// The option of `nsenter` for its kind.
    kind: &'static str,
    is_root: bool,
}

impl World {
    /// A namespace that `unshare` makes with these options, in which `setup` has run. Returns `None`, and says so, if
    /// this machine does not permit it.
    #[expect(clippy::print_stderr, reason = "a test that could not be made says why")]
    pub(crate) fn namespace(&self, kind: &'static str, options: &[&str], setup: &str) -> Option<Namespace> {
        let is_root = rustix::process::geteuid().is_root();
        let user: &[&str] = if is_root { &[] } else { &["--user", "--map-root-user"] };
        let unshare = |script: &str| {
            let mut command = self.sealed("unshare");
            command.args(user).args(options).args(["sh", "-c", script]);
            command
        };
        // A missing program or privilege shows at the first try.
        let refused = match unshare(setup).output() {
            Ok(output) if output.status.success() => None,
            Ok(output) => Some(String::from_utf8_lossy(&output.stderr).into_owned()),
            Err(error) => Some(error.to_string()),
        };
        if let Some(why) = refused {
            eprintln!("no namespace ({kind}) on this machine, so nothing is tried in one: {why}");
            return None;
        }
        let holder = Process::start("namespace", unshare(&format!("{setup} && echo ready && exec sleep 3600")));
        holder.says("ready");
        Some(Namespace { holder, kind, is_root })
    }
}

impl Namespace {
    /// Makes the command one that runs inside.
    pub(crate) fn inside(&self, command: &Command) -> Command {
        let mut inside = Command::new("nsenter");
        inside.arg(format!("--target={}", self.holder.pid())).arg(self.kind);
        if !self.is_root {
            inside.args(["--user", "--preserve-credentials"]);
        }
        if let Some(directory) = command.get_current_dir() {
            inside.arg(format!("--wd={}", text(directory)));
        }
        inside.arg("--").arg(command.get_program()).args(command.get_args()).env_clear();
        inside.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
        inside
    }

    /// A namespace of the same kind beside this one, that this command makes from inside: a program that says `ready`.
    pub(super) fn beside(&self, command: &Command) -> Self {
        let holder = Process::start("namespace", self.inside(command));
        holder.says("ready");
        Self { holder, kind: self.kind, is_root: self.is_root }
    }

    /// The process that holds it.
    pub(crate) fn pid(&self) -> u32 {
        self.holder.pid()
    }
}
