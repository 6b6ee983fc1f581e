//! Control groups (cgroups(7), version 2): each command with limits gets one of its own, below that of this process.
//!
//! That takes a group that is this process's alone: one that a service manager delegates to it, or a container's. This
//! process moves into a group below it first, because the kernel lets no group have both processes and limited groups.
//! No other process is moved.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use super::{Controllers, Limits};

/// The file system of control groups of version 2.
const FILE_SYSTEM: &str = "cgroup2";
/// The start of the names of all groups that are made here.
const OWN: &str = "surveil-";
/// The group of this process itself.
const RUNNER: &str = "surveil-runner";
/// The time over which processor time is measured, in microseconds.
const PERIOD_US: u64 = 100_000;
/// The groups that a command may make below its own, and how deep: they have to be removed after it.
const BELOW: [(&str, &str); 2] = [("cgroup.max.descendants", "1000"), ("cgroup.max.depth", "16")];
/// The depth to which groups are removed. The kernel's limit of a path is about as deep.
const REMOVED_DEPTH: u32 = 2_000;

/// The control group below which commands have theirs.
#[derive(Debug)]
pub struct Groups {
    base: PathBuf,
    controllers: Controllers,
    /// Whether a command in a namespace of its own is kept from changing the limits of its group.
    keeps_limits: bool,
    /// The id of this process, for the names of groups.
    pid: u32,
    made: AtomicU64,
}

/// The group of one command. It is removed with this value.
#[derive(Debug)]
pub(super) struct Leaf {
    path: PathBuf,
    /// The list of its processes. Whoever writes into it moves there.
    pub(super) processes: File,
}

impl Groups {
    /// Takes the control group of this process, if it may. Returns the reason why it may not.
    pub fn detect() -> Result<Self, String> {
        let read = |path: &str| fs::read_to_string(path).map_err(|error| format!("{path} cannot be read: {error}"));
        let mountinfo = read("/proc/self/mountinfo")?;
        let base = own_group(&read("/proc/self/cgroup")?, &mountinfo);
        let base = base.ok_or("this process is in no control group of version 2")?;
        let is_root = rustix::process::geteuid().is_root();
        // systemd gives a group to another user only if it is delegated. To root it belongs anyway.
        if is_root && Path::new("/run/systemd/system").exists() && !is_marked(&base) {
            return Err(format!("the service manager does not delegate {} (`Delegate=yes`)", base.display()));
        }
        let groups = Self::take(base, std::process::id())?;
        Ok(Self { keeps_limits: has_nsdelegate(&mountinfo), ..groups })
    }

    fn take(base: PathBuf, pid: u32) -> Result<Self, String> {
        let shown = base.display();
        // The root of all groups has no such file.
        if !base.join("cgroup.events").exists() {
            return Err(format!("{shown} is the machine's own control group"));
        }
        let failed = |what: &str, error: io::Error| format!("{shown}: {what}: {error}");
        let list = |name: &str| fs::read_to_string(base.join(name)).map_err(|error| failed(name, error));
        let present = list("cgroup.controllers")?;
        let wanted: Vec<&str> = ["memory", "pids", "cpu"]
            .into_iter()
            .filter(|word| present.split_whitespace().any(|it| it == *word))
            .collect();
        if wanted.is_empty() {
            return Err(format!("{shown} has no controllers for memory, processes or processors"));
        }
        let own = pid.to_string();
        if list("cgroup.procs")?.split_whitespace().any(|process| process != own) {
            return Err(format!("other processes are in {shown}"));
        }
        let runner = base.join(RUNNER);
        let move_to = |group: &Path| fs::write(group.join("cgroup.procs"), &own);
        fs::create_dir(&runner)
            .or_else(|error| if runner.is_dir() { Ok(()) } else { Err(error) })
            .and_then(|()| move_to(&runner))
            .map_err(|error| failed("no group can be made in it", error))?;
        let enable = |word: &&str| fs::write(base.join("cgroup.subtree_control"), format!("+{word}")).is_ok();
        let enabled: Vec<&str> = wanted.into_iter().filter(enable).collect();
        if enabled.is_empty() {
            // As it was before. If that fails, this process stays in a group without limits.
            drop(move_to(&base).and_then(|()| fs::remove_dir(&runner)));
            return Err(format!("no controller can be enabled in {shown}"));
        }
        let has = |word| enabled.contains(&word);
        let controllers = Controllers { memory: has("memory"), processes: has("pids"), cpus: has("cpu") };
        let groups = Self { base, controllers, keeps_limits: true, pid, made: AtomicU64::new(0) };
        // Those that tasks of a killed runner made below its group. No task runs yet.
        directories_in(&runner).for_each(|path| drop(remove(&path, REMOVED_DEPTH)));
        groups.remove_abandoned(|_| true);
        Ok(groups)
    }

    /// The kinds of limits that these groups enforce.
    #[must_use]
    pub fn controllers(&self) -> Controllers {
        self.controllers
    }

    /// Whether the kernel keeps a command from changing the limits of its group in a namespace that it makes itself:
    /// the mount option `nsdelegate`, which systemd sets.
    #[must_use]
    pub fn keeps_limits(&self) -> bool {
        self.keeps_limits
    }

    /// Makes the group of a command.
    pub(super) fn make(&self, limits: Limits) -> io::Result<Leaf> {
        let own = self.pid.to_string();
        self.remove_abandoned(|pid| pid != own);
        let path = loop {
            let path = self.base.join(format!("{OWN}{own}-{}", self.made.fetch_add(1, Ordering::Relaxed)));
            match fs::create_dir(&path) {
                // A killed runner had the same process id, and its task still ends.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                made => break made.map(|()| path)?,
            }
        };
        let made = self.limit(&path, limits).and_then(|()| {
            let processes = File::options().write(true).open(path.join("cgroup.procs"))?;
            Ok(Leaf { path: path.clone(), processes })
        });
        if made.is_err() {
            drop(fs::remove_dir(&path));
        }
        made
    }

    fn limit(&self, path: &Path, limits: Limits) -> io::Result<()> {
        let Controllers { memory, processes, cpus } = self.controllers;
        for (file, most) in BELOW {
            write_if_there(&path.join(file), most)?;
        }
        if let Some(bytes) = limits.memory_bytes.filter(|_| memory) {
            fs::write(path.join("memory.max"), bytes.to_string())?;
            // A kernel without swap has no such file.
            write_if_there(&path.join("memory.swap.max"), "0")?;
            // If one process has to go, all of them do: a task that lost one would go on as if nothing had happened.
            write_if_there(&path.join("memory.oom.group"), "1")?;
        }
        if let Some(most) = limits.processes.filter(|_| processes) {
            fs::write(path.join("pids.max"), most.to_string())?;
        }
        if let Some(millicpus) = limits.millicpus.filter(|_| cpus) {
            let quota = u64::from(millicpus) * PERIOD_US / 1000;
            fs::write(path.join("cpu.max"), format!("{quota} {PERIOD_US}"))?;
        }
        Ok(())
    }

    /// Removes the groups that killed runners left, of those whose process ids are meant. One with processes stays
    /// until they have ended.
    fn remove_abandoned(&self, is_meant: impl Fn(&str) -> bool) {
        for path in directories_in(&self.base) {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            let pid = name.strip_prefix(OWN).and_then(|rest| rest.split_once('-')).map(|(pid, _)| pid);
            if pid.is_some_and(&is_meant) {
                drop(remove(&path, REMOVED_DEPTH));
            }
        }
    }
}

/// Writes into a file of a group. Older kernels lack some of them.
fn write_if_there(path: &Path, text: &str) -> io::Result<()> {
    match fs::write(path, text) {
        // The kernel lets nobody make a file.
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied) => Ok(()),
        written => written,
    }
}

fn directories_in(path: &Path) -> impl Iterator<Item = PathBuf> {
    let entries = fs::read_dir(path).into_iter().flatten().flatten();
    entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())).map(|entry| entry.path())
}

/// Removes a group, and before it those below it, which a command may have made.
fn remove(path: &Path, depth: u32) -> io::Result<()> {
    if depth > 0 {
        directories_in(path).for_each(|below| drop(remove(&below, depth - 1)));
    }
    fs::remove_dir(path)
}

impl Leaf {
    /// Whether the kernel ended processes of the group because they needed more memory than the group may have.
    pub(super) fn is_over_memory(&self) -> bool {
        let events = fs::read_to_string(self.path.join("memory.events")).unwrap_or_default();
        let has = |event: &str| {
            let mut counts = events.lines().filter_map(|line| line.strip_prefix(event)?.strip_prefix(' '));
            counts.any(|count| count.trim() != "0")
        };
        // The second one alone: the machine had too little, or a group above this one.
        has("oom") && has("oom_kill")
    }
}

impl Drop for Leaf {
    fn drop(&mut self) {
        if let Err(error) = remove(&self.path, REMOVED_DEPTH) {
            // The next start of a runner tries it again.
            log::debug!("could not remove the control group {}: {error}", self.path.display());
        }
    }
}

/// Whether systemd has marked a group as delegated.
fn is_marked(group: &Path) -> bool {
    ["trusted.delegate", "user.delegate"].into_iter().any(|name| {
        let mut value = [0; 8];
        rustix::fs::getxattr(group, name, &mut value).is_ok_and(|length| value[..length] == *b"1")
    })
}

/// Whether control groups of version 2 are mounted so that a namespace keeps its own limits.
fn has_nsdelegate(mountinfo: &str) -> bool {
    let mut options = mountinfo.lines().filter_map(|line| {
        let mut fields = line.split_once(" - ")?.1.split(' ');
        (fields.next()? == FILE_SYSTEM).then(|| fields.nth(1).unwrap_or_default())
    });
    options.any(|options| options.split(',').any(|option| option == "nsdelegate"))
}

/// Returns the directory of the control group of version 2 that this process is in, from `/proc/self/cgroup` and
/// `/proc/self/mountinfo`.
fn own_group(cgroup: &str, mountinfo: &str) -> Option<PathBuf> {
    let path = cgroup.lines().find_map(|line| line.strip_prefix("0::"))?;
    let mount = mountinfo.lines().find_map(|line| {
        let (fields, rest) = line.split_once(" - ")?;
        let mut fields = fields.split(' ').skip(3);
        let (root, point) = (fields.next()?, fields.next()?);
        rest.starts_with(&format!("{FILE_SYSTEM} ")).then_some((root, point))
    })?;
    // A group outside of what is mounted, or of this process's namespace, is of no use.
    let below = Path::new(path).strip_prefix(mount.0).ok().filter(|_| !path.contains("/.."))?;
    Some(if below.as_os_str().is_empty() { mount.1.into() } else { Path::new(mount.1).join(below) })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A directory that looks like a control group. Its files are plain ones, so it limits nothing: this shows what is
    /// written where, and not what the kernel makes of it.
    fn group(controllers: &str, processes: &str) -> tempfile::TempDir {
        let place = tempfile::tempdir().unwrap();
        for (name, text) in [
            ("cgroup.events", "populated 1\n"),
            ("cgroup.controllers", controllers),
            ("cgroup.procs", processes),
            ("cgroup.subtree_control", ""),
        ] {
            fs::write(place.path().join(name), text).unwrap();
        }
        fs::create_dir(place.path().join(RUNNER)).unwrap();
        place
    }

    #[test]
    fn the_group_of_a_process_is_found_whatever_is_mounted_beside_it() {
        let hybrid = "30 1 0:25 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n\
                      31 1 0:26 / /sys/fs/cgroup/unified rw,relatime shared:9 - cgroup2 cgroup2 rw\n";
        let own = |cgroup: &str, mounts: &str| own_group(cgroup, mounts).map(|path| path.display().to_string());
        let unified = "/sys/fs/cgroup/unified";
        assert_eq!(own("4:memory:/a\n0::/\n", hybrid).as_deref(), Some(unified));
        assert_eq!(own("0::/a/b.service\n", hybrid), Some(format!("{unified}/a/b.service")));
        let of_container = "31 1 0:26 /docker/1 /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n";
        assert_eq!(own("0::/docker/1/x\n", of_container).as_deref(), Some("/sys/fs/cgroup/x"));
        assert_eq!(own("0::/other\n", of_container), None);
        assert_eq!(own("0::/../other\n", hybrid), None);
        assert_eq!(own("4:memory:/a\n", hybrid), None);
        assert_eq!(own("0::/\n", ""), None);
    }

    #[test]
    fn the_mount_option_that_keeps_limits_is_found() {
        let mounted = |kind: &str, options: &str| {
            has_nsdelegate(&format!("31 1 0:26 / /sys/fs/cgroup rw,nosuid shared:9 - {kind} cgroup2 {options}\n"))
        };
        assert!(mounted("cgroup2", "rw,nsdelegate,memory_recursiveprot"));
        assert!(!mounted("cgroup2", "rw") && !mounted("cgroup", "rw,nsdelegate"));
    }

    #[test]
    fn only_a_group_of_this_process_alone_is_taken() {
        let refused = |controllers: &str, processes: &str| {
            let place = group(controllers, processes);
            Groups::take(place.path().into(), 7).unwrap_err()
        };
        assert!(refused("cpuset memory", "7\n8\n").starts_with("other processes are in "));
        assert!(refused("cpuset io", "7\n").ends_with("has no controllers for memory, processes or processors"));
        let place = group("memory", "7\n");
        fs::remove_file(place.path().join("cgroup.events")).unwrap();
        let why = Groups::take(place.path().into(), 7).unwrap_err();
        assert!(why.ends_with("is the machine's own control group"), "{why}");
        let place = group("cpuset cpu io memory pids", "7\n");
        let groups = Groups::take(place.path().into(), 7).unwrap();
        assert_eq!(groups.controllers(), Controllers { memory: true, processes: true, cpus: true });
        assert_eq!(fs::read_to_string(place.path().join(RUNNER).join("cgroup.procs")).unwrap(), "7");
        let place = group("memory", "7\n");
        let groups = Groups::take(place.path().into(), 7).unwrap();
        assert_eq!(groups.controllers(), Controllers { memory: true, processes: false, cpus: false });
    }

    #[test]
    fn a_command_has_a_group_with_its_limits_and_the_groups_of_a_killed_process_are_removed() {
        let place = group("cpu memory pids", "7\n");
        let groups = Groups::take(place.path().into(), 7).unwrap();
        // With a group that a task made in its own.
        for left in ["surveil-6-0/a/b", "surveil-7-9", "other"] {
            fs::create_dir_all(place.path().join(left)).unwrap();
        }
        groups.remove_abandoned(|pid| pid != "7");
        let exists = |name: &str| place.path().join(name).exists();
        assert_eq!(
            [exists("surveil-6-0"), exists("surveil-7-9"), exists("other"), exists(RUNNER)],
            [false, true, true, true]
        );
        fs::create_dir_all(place.path().join(RUNNER).join("of-a-task/below")).unwrap();
        fs::write(place.path().join("cgroup.procs"), "7\n").unwrap();
        Groups::take(place.path().into(), 7).unwrap();
        assert_eq!([exists("surveil-7-9"), exists("other")], [false, true], "an earlier runner had the same id");
        assert!(!place.path().join(RUNNER).join("of-a-task").exists());
        let path = place.path().join("leaf");
        fs::create_dir(&path).unwrap();
        let limits = Limits { memory_bytes: Some(64 << 20), processes: Some(9), millicpus: Some(1500) };
        groups.limit(&path, limits).unwrap();
        let file = |name: &str| fs::read_to_string(path.join(name)).unwrap();
        let files = ["memory.max", "memory.swap.max", "memory.oom.group", "pids.max", "cpu.max"].map(file);
        assert_eq!(files, ["67108864", "0", "1", "9", "150000 100000"]);
        let leaf = Leaf { path: path.clone(), processes: File::open(path.join("pids.max")).unwrap() };
        for (events, is_over) in [
            ("low 0\noom 2\noom_kill 0\n", false),
            ("oom 2\noom_kill 1\noom_group_kill 0\n", true),
            ("oom 0\noom_kill 1\noom_group_kill 1\n", false),
        ] {
            fs::write(path.join("memory.events"), events).unwrap();
            assert_eq!(leaf.is_over_memory(), is_over);
        }
    }
}
