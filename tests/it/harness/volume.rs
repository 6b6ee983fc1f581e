//! A small disk for one test: a tmpfs in a mount namespace of its own, so that nothing of it is left, and no
//! privilege is needed but to make a namespace.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::namespace::Namespace;
use super::{World, text};

/// The disk. It lasts as long as the process that holds its namespace.
pub(crate) struct Volume {
    namespace: Namespace,
    place: PathBuf,
}

impl World {
    /// A disk of `size` at a directory of this world. Returns `None`, and says so, if this machine does not permit it.
    pub(crate) fn volume(&self, name: &str, size: &str) -> Option<Volume> {
        let place = self.path(name);
        fs::create_dir_all(&place).unwrap();
        let mount = format!("mount -t tmpfs -o size={size} none {}", text(&place));
        let namespace = self.namespace("--mount", &["--mount", "--propagation=private"], &mount)?;
        Some(Volume { namespace, place })
    }
}

impl Volume {
    /// Makes the command one that sees the disk.
    pub(crate) fn inside(&self, command: &Command) -> Command {
        self.namespace.inside(command)
    }

    /// Path of a file of the disk for processes that do not see the disk.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        let root = PathBuf::from(format!("/proc/{}/root", self.namespace.pid()));
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
