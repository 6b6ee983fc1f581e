//! The guard of a kernel that gives no mounts: Landlock (landlock(7)). A process that is fenced in opens no file and
//! directory but those that it is granted, and reaches only processes that are fenced in with it.
//!
//! Landlock only grants, and a grant is for everything below a directory. So everything is granted beside the way from
//! the root to a hidden path. The directories of that way itself are not: nothing can be listed in them, nor made.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};

use landlock::{
    ABI, Access, AccessFs, BitFlags, CompatLevel, Compatible, PathBeneath, PathFd, Ruleset, RulesetAttr,
    RulesetCreated, RulesetCreatedAttr, RulesetStatus, Scope,
};
use rustix::fs::FileType;
use rustix::io::Errno;

use super::mounts::{control_groups, reduce_capabilities};
use super::{Guard, View};

/// The oldest interface that keeps files from being cut short, too.
const LEAST: ABI = ABI::V3;
/// The first one that also keeps signals within.
const KNOWN: ABI = ABI::V6;

/// The directories in which root changes the machine by writing into files.
const KERNEL_DIRECTORIES: [&str; 2] = ["/proc", "/sys"];
const DEVICES: &str = "/dev";

/// Commands of a supervising process are fenced in.
pub(super) struct Fence {
    hidden: Vec<PathBuf>,
}

impl Fence {
    /// Checks that the kernel has Landlock. Gives away the capabilities by which root would look past it.
    pub(super) fn new(guard: &Guard) -> io::Result<Self> {
        let least = Ruleset::default().set_compatibility(CompatLevel::HardRequirement);
        least.handle_access(AccessFs::from_all(LEAST)).and_then(Ruleset::create).map_err(refused)?;
        if rustix::process::geteuid().is_root() {
            reduce_capabilities()?;
        }
        Ok(Self { hidden: guard.hidden.clone() })
    }

    /// Makes the rules of a command with this view.
    pub(super) fn rules(&self, view: &View) -> io::Result<RulesetCreated> {
        let all = AccessFs::from_all(KNOWN);
        let mut rules = Ruleset::default()
            .handle_access(all)
            .and_then(|rules| rules.scope(Scope::from_all(KNOWN)))
            .and_then(Ruleset::create)
            .map_err(refused)?;
        // Devices are made by root alone, and no build needs to.
        let usual = all & !(AccessFs::MakeBlock | AccessFs::MakeChar);
        let is_root = rustix::process::geteuid().is_root();
        // Control groups may be read.
        let groups = control_groups()?;
        let mut beside = groups.clone();
        list_beside(Path::new("/"), &[&self.hidden[..], &groups].concat(), is_root, &mut beside);
        for path in beside {
            let is_kernel =
                is_root && KERNEL_DIRECTORIES.iter().any(|of| path.starts_with(of)) || groups.contains(&path);
            rules = grant(rules, &path, if is_kernel { AccessFs::from_read(KNOWN) } else { usual })?;
        }
        for given in &view.given {
            let access = if given.is_read_only { AccessFs::from_read(KNOWN) } else { usual };
            rules = grant(rules, &given.from, access)?;
        }
        Ok(rules)
    }
}

/// Fences this process in for good, with everything that it executes.
pub(super) fn enter(rules: &RulesetCreated) -> io::Result<()> {
    let status = rules.try_clone()?.restrict_self().map_err(refused)?;
    if status.ruleset == RulesetStatus::NotEnforced { Err(Errno::OPNOTSUPP.into()) } else { Ok(()) }
}

/// Adds a path with all that is below it. One that is gone by now is left out.
fn grant(rules: RulesetCreated, path: &Path, access: BitFlags<AccessFs>) -> io::Result<RulesetCreated> {
    let Ok(opened) = PathFd::new(path) else { return Ok(rules) };
    // The mode of the opened file, whatever is at the path by now.
    let mode = rustix::fs::fstat(opened.as_fd())?.st_mode;
    let is_directory = FileType::from_raw_mode(mode).is_dir();
    let access = if is_directory { access } else { access & AccessFs::from_file(KNOWN) };
    rules.add_rule(PathBeneath::new(opened, access)).map_err(refused)
}

/// Lists what is beside the ways to hidden paths: each entry of a directory above one that is not itself above one.
fn list_beside(directory: &Path, hidden: &[PathBuf], is_root: bool, found: &mut Vec<PathBuf>) {
    let entries: BTreeSet<PathBuf> =
        fs::read_dir(directory).into_iter().flatten().flatten().map(|entry| entry.path()).collect();
    for path in entries {
        let Ok(meta) = fs::symlink_metadata(&path) else { continue };
        // The target of a link has a path of its own. A disk would show root all files.
        if hidden.contains(&path) || meta.is_symlink() || is_root && meta.file_type().is_block_device() {
            continue;
        }
        let is_above = hidden.iter().any(|below| below.starts_with(&path)) || is_root && path == Path::new(DEVICES);
        if is_above {
            list_beside(&path, hidden, is_root, found);
        } else {
            found.push(path);
        }
    }
}

fn refused(error: impl std::fmt::Display) -> io::Error {
    log::debug!("Landlock: {error}");
    Errno::OPNOTSUPP.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_beside_the_way_to_a_hidden_path_is_granted_and_links_are_not() {
        let place = tempfile::tempdir().unwrap();
        let path = |name: &str| place.path().join(name);
        for directory in ["a/hidden/trees", "a/other", "b/data", "c/d"] {
            fs::create_dir_all(path(directory)).unwrap();
        }
        fs::write(path("b/file"), "").unwrap();
        std::os::unix::fs::symlink("hidden", path("a/link")).unwrap();
        let hidden = [path("a/hidden"), path("b/data"), path("nothing")];
        let mut found = Vec::new();
        list_beside(place.path(), &hidden, false, &mut found);
        assert_eq!(found, ["a/other", "b/file", "c"].map(path));
    }
}
