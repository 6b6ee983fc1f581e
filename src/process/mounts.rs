//! The mounts of a supervising process that guards its commands. They live in its own mount namespace, so that nothing
//! outside sees them, and they end with it.
//!
//! A hidden directory lies below an empty read-only file system, in which there is a mount point for each directory
//! that the command is given nonetheless. The directory itself stays open here, as the source of those mounts. The
//! command cannot undo a mount: it lacks the capability, and in a user namespace that it makes itself, the mounts that
//! it finds are locked (mount_namespaces(7)). Only `supervise_main` uses this.

use std::ffi::OsString;
use std::fs;
use std::io::{self, ErrorKind};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, Mode, OFlags, StatVfsMountFlags};
use rustix::io::Errno;
use rustix::mount::{MountFlags, UnmountFlags};
use rustix::thread::{CapabilitySet, CapabilitySets};

use super::{Given, Guard, View, kernel};

/// The capabilities that commands of root keep: those that build tools use. The others change the machine, look past
/// the permissions of files and processes, or undo mounts.
const KEPT_CAPABILITIES: CapabilitySet = CapabilitySet::CHOWN
    .union(CapabilitySet::DAC_OVERRIDE)
    .union(CapabilitySet::FOWNER)
    .union(CapabilitySet::FSETID)
    .union(CapabilitySet::KILL)
    .union(CapabilitySet::SETGID)
    .union(CapabilitySet::SETUID)
    .union(CapabilitySet::SETPCAP)
    .union(CapabilitySet::NET_BIND_SERVICE)
    .union(CapabilitySet::IPC_LOCK)
    .union(CapabilitySet::SYS_CHROOT)
    .union(CapabilitySet::SYS_NICE)
    .union(CapabilitySet::SYS_RESOURCE)
    .union(CapabilitySet::LEASE)
    .union(CapabilitySet::AUDIT_WRITE)
    .union(CapabilitySet::SETFCAP);

/// Files of the kernel by which root changes the machine without any capability.
const KERNEL_FILES: [&str; 6] =
    ["/proc/sys", "/proc/sysrq-trigger", "/proc/irq", "/proc/bus", "/proc/acpi", "/proc/scsi"];

/// Tries to hide a path that others remove and make again meanwhile.
const HIDE_TRIES: u32 = 20;

/// The directories below `/dev` that are searched for disks.
const DEVICE_DEPTH: u32 = 3;

const SHARED_MEMORY: &str = "/dev/shm";
const TMP: &str = "/tmp";
const VAR_TMP: &str = "/var/tmp";

/// Mount points that stay writable in a sealed view: what is below them is of this process alone.
const OWN_MOUNT_POINTS: [&str; 3] = ["/proc", "/dev/pts", SHARED_MEMORY];

/// The mounts of this process.
pub(super) struct Mounts {
    is_sealed: bool,
    hidden: Vec<Hidden>,
    /// The mounts of the last view, in the order in which they were made.
    shown: Vec<Shown>,
    /// The size of the directory of this process's own shared memory while it is empty, in bytes.
    empty_bytes: Option<i64>,
}

/// A path below which commands see something else.
struct Hidden {
    path: PathBuf,
    /// The file or directory that is hidden.
    beneath: OwnedFd,
}

/// A directory that a command sees at a path.
#[derive(PartialEq, Eq)]
struct Shown {
    at: PathBuf,
    from: PathBuf,
    is_read_only: bool,
    /// Device and inode: another directory may have taken the path since.
    identity: (u64, u64),
}

impl Shown {
    /// Whether the directory is at its path. A mount is gone if its mount point was removed from outside.
    fn is_there(&self) -> bool {
        fs::metadata(&self.at).is_ok_and(|meta| (meta.dev(), meta.ino()) == self.identity)
    }
}

impl Mounts {
    /// Hides everything that no command may see, in the mount namespace of this process, and gives away what a command
    /// could undo that with.
    pub(super) fn enter(guard: &Guard) -> io::Result<Self> {
        let is_sealed = guard.is_sealed;
        let mut mounts = Self { is_sealed, hidden: Vec::new(), shown: Vec::new(), empty_bytes: None };
        let mut hidden: Vec<&PathBuf> = guard.hidden.iter().collect();
        // A directory comes before those in it, which need not be hidden again.
        hidden.sort();
        for path in hidden {
            if !mounts.hidden.iter().any(|above| path.starts_with(&above.path)) {
                mounts.hide(path)?;
            }
        }
        for path in [TMP, VAR_TMP].map(Path::new) {
            // A link to the other one needs no mount of its own.
            if path.canonicalize().is_ok_and(|real| real == path) {
                mounts.hidden.push(Hidden { path: path.into(), beneath: open(path)? });
            }
        }
        if Path::new(SHARED_MEMORY).is_dir() {
            let beneath = open(Path::new(SHARED_MEMORY))?;
            mounts.empty_bytes = Some(mount_shared_memory()?);
            mounts.hidden.push(Hidden { path: SHARED_MEMORY.into(), beneath });
        }
        mount_terminals()?;
        if rustix::process::geteuid().is_root() {
            hide_disks(Path::new("/dev"), DEVICE_DEPTH)?;
            protect_kernel()?;
        }
        for point in control_groups()? {
            make_read_only(&point)?;
        }
        if is_sealed {
            seal()?;
        }
        if guard.is_offline {
            kernel::unshare_network()?;
        }
        reduce_capabilities()?;
        Ok(mounts)
    }

    fn hide(&mut self, path: &Path) -> io::Result<()> {
        for _ in 1..HIDE_TRIES {
            match self.try_hide(path) {
                // The new mount was gone already: the directory was removed, and made again.
                Err(error) if error.kind() == ErrorKind::InvalidInput => {}
                done => return unless_gone(done),
            }
        }
        unless_gone(self.try_hide(path))
    }

    fn try_hide(&mut self, path: &Path) -> io::Result<()> {
        let beneath = open(path)?;
        if fs::symlink_metadata(path)?.is_dir() {
            let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
            rustix::mount::mount("surveil", path, "tmpfs", flags, Some(c"mode=755,size=1m"))?;
            change(path, MountFlags::RDONLY)?;
        } else {
            rustix::mount::mount_bind("/dev/null", path)?;
        }
        self.hidden.push(Hidden { path: path.into(), beneath });
        Ok(())
    }

    /// Gives the next command its view. The directories that the last one saw are mounted again only if they differ.
    pub(super) fn show(&mut self, view: &View) -> io::Result<()> {
        // A machine may lack `/var/tmp`, or it is a link to the other one.
        let is_there = |given: &&Given| given.at != Path::new(VAR_TMP) || self.is_hidden(Path::new(VAR_TMP));
        let mut given: Vec<&Given> = view.given.iter().filter(is_there).collect();
        // A directory comes before those in it.
        given.sort();
        let wanted: Vec<Shown> = given.into_iter().map(|given| self.shown_at(given)).collect::<io::Result<_>>()?;
        if wanted == self.shown && wanted.iter().all(Shown::is_there) {
            return Ok(());
        }
        while let Some(shown) = self.shown.pop() {
            match rustix::mount::unmount(&shown.at, UnmountFlags::DETACH) {
                // It went with its mount point, which was in a temporary directory that the runner has emptied.
                Ok(()) | Err(Errno::NOENT | Errno::INVAL) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
        for shown in wanted {
            self.make_mount_point(&shown.at)?;
            rustix::mount::mount_bind_recursive(&shown.from, &shown.at)?;
            let (at, is_read_only) = (shown.at.clone(), shown.is_read_only);
            self.shown.push(shown);
            // A command may leave a file there that would be more than its user for whoever executes it.
            let mut added = MountFlags::NOSUID | MountFlags::NODEV;
            let mut removed = MountFlags::empty();
            match is_read_only {
                true => added |= MountFlags::RDONLY,
                // The mount is a copy of one that was sealed.
                false if self.is_sealed => removed |= MountFlags::RDONLY,
                false => {}
            }
            let flags = flags_of(&at)?.difference(removed) | added;
            rustix::mount::mount_remount(&at, MountFlags::BIND | flags, "")?;
        }
        Ok(())
    }

    /// Empties what a command left in memory. Called when no process of it is left.
    pub(super) fn clear(&self) -> io::Result<()> {
        // A directory of this file system is the larger, the more entries it has.
        let Some(empty_bytes) = self.empty_bytes else { return Ok(()) };
        if rustix::fs::stat(SHARED_MEMORY)?.st_size != empty_bytes {
            rustix::mount::unmount(SHARED_MEMORY, UnmountFlags::DETACH)?;
            mount_shared_memory()?;
        }
        Ok(())
    }

    fn is_hidden(&self, path: &Path) -> bool {
        self.hidden.iter().any(|hidden| hidden.path == path)
    }

    fn shown_at(&self, given: &Given) -> io::Result<Shown> {
        // From the open directory, because a path by way of `/proc` is slow to look up.
        let found = match self.above(&given.from) {
            Some(hidden) => match within(&given.from, hidden) {
                Some(rest) => rustix::fs::statat(&hidden.beneath, rest, AtFlags::empty())?,
                None => rustix::fs::fstat(&hidden.beneath)?,
            },
            None => rustix::fs::stat(&given.from)?,
        };
        let (at, from) = (given.at.clone(), self.source(&given.from));
        Ok(Shown { at, from, is_read_only: given.is_read_only, identity: (found.st_dev, found.st_ino) })
    }

    /// The innermost hidden directory that holds the path.
    fn above(&self, path: &Path) -> Option<&Hidden> {
        let above = self.hidden.iter().filter(|hidden| path.starts_with(&hidden.path));
        above.max_by_key(|hidden| hidden.path.as_os_str().len())
    }

    /// Returns a path of a file as it is without the mounts of this process.
    fn source(&self, path: &Path) -> PathBuf {
        let Some(hidden) = self.above(path) else { return path.into() };
        let beneath = PathBuf::from(format!("/proc/self/fd/{}", hidden.beneath.as_raw_fd()));
        within(path, hidden).map_or_else(|| beneath.clone(), |rest| beneath.join(rest))
    }

    fn make_mount_point(&self, at: &Path) -> io::Result<()> {
        match fs::create_dir_all(at) {
            Err(error) if error.kind() == ErrorKind::ReadOnlyFilesystem => {}
            made => return made,
        }
        let Some(hidden) = self.above(at) else { return Err(ErrorKind::ReadOnlyFilesystem.into()) };
        let flags = flags_of(&hidden.path)?.difference(MountFlags::RDONLY);
        rustix::mount::mount_remount(&hidden.path, MountFlags::BIND | flags, "")?;
        let made = fs::create_dir_all(at);
        change(&hidden.path, MountFlags::RDONLY)?;
        made
    }
}

/// Returns the path within a hidden directory; `None` for the directory itself.
fn within<'a>(path: &'a Path, hidden: &Hidden) -> Option<&'a Path> {
    path.strip_prefix(&hidden.path).ok().filter(|rest| !rest.as_os_str().is_empty())
}

/// Accepts that something was not done at a path because nothing is there: other programs' files come and go, data
/// directories of other dispatchers among them.
fn unless_gone(done: io::Result<()>) -> io::Result<()> {
    match done {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        done => done,
    }
}

fn open(path: &Path) -> io::Result<OwnedFd> {
    Ok(rustix::fs::open(path, OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())?)
}

/// Adds flags to a mount. The flags that it has stay, because a user namespace may not remove them.
fn change(path: &Path, added: MountFlags) -> io::Result<()> {
    Ok(rustix::mount::mount_remount(path, MountFlags::BIND | flags_of(path)? | added, "")?)
}

fn flags_of(path: &Path) -> io::Result<MountFlags> {
    let found = rustix::fs::statvfs(path)?.f_flag;
    let pairs = [
        (StatVfsMountFlags::RDONLY, MountFlags::RDONLY),
        (StatVfsMountFlags::NOSUID, MountFlags::NOSUID),
        (StatVfsMountFlags::NODEV, MountFlags::NODEV),
        (StatVfsMountFlags::NOEXEC, MountFlags::NOEXEC),
        (StatVfsMountFlags::NOATIME, MountFlags::NOATIME),
        (StatVfsMountFlags::NODIRATIME, MountFlags::NODIRATIME),
        (StatVfsMountFlags::RELATIME, MountFlags::RELATIME),
    ];
    Ok(pairs.into_iter().filter(|(flag, _)| found.contains(*flag)).map(|(_, flag)| flag).collect())
}

/// Returns the size of the new directory.
fn mount_shared_memory() -> io::Result<i64> {
    let flags = MountFlags::NOSUID | MountFlags::NODEV;
    rustix::mount::mount("surveil", SHARED_MEMORY, "tmpfs", flags, Some(c"mode=1777"))?;
    Ok(rustix::fs::stat(SHARED_MEMORY)?.st_size)
}

/// Mounts terminals of this process's own: root could read and write those of others.
fn mount_terminals() -> io::Result<()> {
    if !Path::new("/dev/pts").is_dir() {
        return Ok(());
    }
    let flags = MountFlags::NOSUID | MountFlags::NOEXEC;
    rustix::mount::mount("devpts", "/dev/pts", "devpts", flags, Some(c"newinstance,ptmxmode=0666,mode=0600"))?;
    // Elsewhere it is a link to this file.
    if fs::symlink_metadata("/dev/ptmx").is_ok_and(|meta| !meta.is_symlink()) {
        rustix::mount::mount_bind("/dev/pts/ptmx", "/dev/ptmx")?;
    }
    Ok(())
}

/// Hides the disks, whose bytes root could read past every mount.
fn hide_disks(directory: &Path, depth: u32) -> io::Result<()> {
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        let Ok(meta) = fs::symlink_metadata(&path) else { continue };
        if meta.is_dir() && depth > 1 && path != Path::new(SHARED_MEMORY) {
            unless_gone(hide_disks(&path, depth - 1))?;
        } else if meta.file_type().is_block_device() || is_raw_disk(&path, &meta) {
            unless_gone(rustix::mount::mount_bind("/dev/null", &path).map_err(io::Error::from))?;
        }
    }
    Ok(())
}

/// Whether it is a device by which a disk takes commands: SCSI's and NVMe's generic ones.
fn is_raw_disk(path: &Path, meta: &fs::Metadata) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let is_named = name.starts_with("sg") || name.starts_with("ng") || name.starts_with("nvme");
    meta.file_type().is_char_device() && (is_named || path.starts_with("/dev/bsg"))
}

/// Makes the files read-only by which root changes the machine.
fn protect_kernel() -> io::Result<()> {
    for path in KERNEL_FILES.map(Path::new).into_iter().filter(|path| path.exists()) {
        rustix::mount::mount_bind(path, path)?;
        change(path, MountFlags::RDONLY)?;
    }
    for path in mount_points(|point, _| point.starts_with("/sys"))? {
        unless_gone(change(&path, MountFlags::RDONLY))?;
    }
    Ok(())
}

/// The mount point of control groups. A command of the runner's user could leave its own there, and lift its limits.
pub(super) fn control_groups() -> io::Result<Vec<PathBuf>> {
    mount_points(|_, file_system| file_system.starts_with("cgroup"))
}

/// The mount points for which `is_wanted` is true, given the path and the kind of file system; the outermost first.
fn mount_points(is_wanted: impl Fn(&Path, &str) -> bool) -> io::Result<Vec<PathBuf>> {
    let mounts = fs::read_to_string("/proc/self/mountinfo")?;
    let points = mounts.lines().filter_map(|line| {
        let (before, after) = line.split_once(" - ")?;
        let point = unescaped(before.split(' ').nth(4)?);
        (is_wanted(&point, after.split(' ').next()?) && point.exists()).then_some(point)
    });
    Ok(points.collect())
}

/// Returns a field of proc_pid_mountinfo(5), in which blanks and a few others are three octal digits behind `\`.
fn unescaped(field: &str) -> PathBuf {
    let mut bytes = Vec::new();
    let mut rest = field.as_bytes();
    while let [first, tail @ ..] = rest {
        let code = tail.first_chunk::<3>().filter(|_| *first == b'\\').and_then(|digits| str::from_utf8(digits).ok());
        match code.and_then(|digits| u8::from_str_radix(digits, 8).ok()) {
            Some(byte) => {
                bytes.push(byte);
                rest = &tail[3..];
            }
            None => {
                bytes.push(*first);
                rest = tail;
            }
        }
    }
    OsString::from_vec(bytes).into()
}

/// Makes everything read-only that is mounted by now, except for what is this process's own.
fn seal() -> io::Result<()> {
    for point in mount_points(|point, _| !OWN_MOUNT_POINTS.iter().any(|own| point == Path::new(own)))? {
        make_read_only(&point)?;
    }
    Ok(())
}

/// Makes a mount read-only, if this process sees it.
fn make_read_only(point: &Path) -> io::Result<()> {
    match change(point, MountFlags::RDONLY) {
        // Another mount covers it, or its user alone may look at it.
        Err(error)
            if matches!(error.raw_os_error().map(Errno::from_raw_os_error), Some(Errno::INVAL | Errno::ACCESS)) =>
        {
            Ok(())
        }
        changed => unless_gone(changed),
    }
}

/// Takes the other capabilities from what this process executes. This process keeps them, so that its commands may not
/// trace it.
pub(super) fn reduce_capabilities() -> io::Result<()> {
    for bit in 0..u64::BITS {
        let capability = CapabilitySet::from_bits_retain(1 << bit);
        if KEPT_CAPABILITIES.contains(capability) {
            continue;
        }
        match rustix::thread::remove_capability_from_bounding_set(capability) {
            Ok(()) => {}
            // The kernel knows no more.
            Err(Errno::INVAL) => break,
            Err(errno) => return Err(errno.into()),
        }
    }
    rustix::thread::clear_ambient_capability_set()?;
    let own = rustix::thread::capabilities(None)?;
    Ok(rustix::thread::set_capabilities(None, CapabilitySets { inheritable: CapabilitySet::empty(), ..own })?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mount_point_with_any_name_is_read() {
        for (field, path) in [("/a", "/a"), ("/a\\040b\\134c\\", "/a b\\c\\"), ("/\\011", "/\t"), ("/\\9", "/\\9")] {
            assert_eq!(unescaped(field), Path::new(path));
        }
    }
}
