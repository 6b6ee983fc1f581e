//! A small disk for one test: a tmpfs in a mount namespace of its own, so that nothing of it is left, and no
//! privilege is needed but to make a namespace.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::{Process, World, text};

/// The disk. It lasts as long as the process that holds its namespace.
pub(crate) struct Volume {
    holder: Process,
    place: PathBuf,
    is_root: bool,
}

impl World {
    /// A disk of `size` at a directory of this world. Returns `None`, and says so, if this machine does not permit it.
    #[expect(clippy::print_stderr, reason = "a test that could not be made says why")]
    pub(crate) fn volume(&self, name: &str, size: &str) -> Option<Volume> {
        let place = self.path(name);
        fs::create_dir_all(&place).unwrap();
        let is_root = rustix::process::geteuid().is_root();
        let user: &[&str] = if is_root { &[] } else { &["--user", "--map-root-user"] };
        let unshare = |script: String| {
            let mut command = self.sealed("unshare");
            command.args(user).args(["--mount", "--propagation=private", "sh", "-c", &script]);
            command
        };
        let mount = format!("mount -t tmpfs -o size={size} none {}", text(&place));
        // A missing program or privilege shows at the first try.
        let tried = unshare(mount.clone()).output();
        let refused = match tried {
            Ok(output) if output.status.success() => None,
            Ok(output) => Some(String::from_utf8_lossy(&output.stderr).into_owned()),
            Err(error) => Some(error.to_string()),
        };
        if let Some(why) = refused {
            eprintln!("no small disk on this machine, so nothing is tried with one: {why}");
            return None;
        }
        let holder = Process::start("volume", unshare(format!("{mount} && echo mounted && exec sleep 3600")));
        holder.says("mounted");
        Some(Volume { holder, place, is_root })
    }
}

impl Volume {
    /// Makes the command one that sees the disk.
    pub(crate) fn inside(&self, command: &Command) -> Command {
        let mut inside = Command::new("nsenter");
        inside.arg(format!("--target={}", self.holder.pid())).arg("--mount");
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

    /// Path of a file of the disk for processes that do not see the disk.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        let root = PathBuf::from(format!("/proc/{}/root", self.holder.pid()));
        root.join(self.place.strip_prefix("/").unwrap()).join(name)
    }

    /// Fills the disk, including room that became free since the last time.
    pub(crate) fn fill(&self) {
        let mut filler = File::options().create(true).append(true).open(self.path("filler")).unwrap();
        while filler.write_all(&[b'x'; 4096]).is_ok() {}
    }

    #[track_caller]
    pub(crate) fn enlarge(&self, world: &World, size: &str) {
        let mut mount = world.sealed("mount");
        mount.args(["-o", &format!("remount,size={size}"), text(&self.place)]);
        world.run(self.inside(&mount)).ok();
    }

    /// Path of a file for processes that see the disk.
    pub(crate) fn place(&self) -> &Path {
        &self.place
    }
}
