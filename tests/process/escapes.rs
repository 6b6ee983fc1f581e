//! The escape suite: what a hostile task tries against the guard, and what must happen. Each means of guarding that
//! this machine has is tried; which ones it has is what the probe says.

use std::fs;
use std::io::Write;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use surveil::model::Isolation;
use surveil::process::{Command, Exit, Given, Guard, Limits, Supervisor, View};

use crate::harness::{Slot, program};

/// What no task may read.
const SECRET: &str = "the-credential";
/// A file that every task may read, and none may change.
const OBJECT: &str = "work/stores/app.git/objects/object";
/// What a script prints when it has done what it must not be able to do.
const ESCAPED: &str = "escaped";

/// A machine with a runner's work directory, a dispatcher's data directory, and processes that are not the task's.
pub(crate) struct Machine {
    pub(crate) slot: Slot,
    pub(crate) limits: Limits,
    place: tempfile::TempDir,
    view: View,
    /// Stands for the runner and for another attempt.
    outsider: std::process::Child,
}

impl Machine {
    /// `None` if the kernel refuses this means.
    fn guarded(means: &Guard, isolation: Isolation) -> Option<Self> {
        let slot = Slot::new(isolation);
        let place = outside_of_tmp();
        let path = |name: &str| place.path().join(name);
        for directory in [
            "work/trees/app/slot0",
            "work/trees/app/slot1",
            "work/tmp/0",
            "work/t",
            "work/v",
            "work/homes/app",
            "work/stores/app.git/objects",
            "data/tokens",
        ] {
            fs::create_dir_all(path(directory)).unwrap();
        }
        for directory in ["work/t", "work/v"] {
            fs::set_permissions(path(directory), fs::Permissions::from_mode(0o1777)).unwrap();
        }
        for file in ["work/credential", "work/trees/app/slot1/source", "data/tokens/runner", "data/surveil.db", "token"]
        {
            fs::write(path(file), SECRET).unwrap();
        }
        fs::write(path(OBJECT), "an object").unwrap();
        // An attempt before may have left these.
        symlink(path("work/credential"), path("work/trees/app/slot0/link")).unwrap();
        symlink("../slot1", path("work/trees/app/slot0/up")).unwrap();
        let hidden = vec![path("work"), path("data"), path("token"), path("nothing")];
        let Guard { is_sealed, by_landlock, .. } = *means;
        let guard = Arc::new(Guard { hidden, ..means.clone() });
        if let Err(error) = Supervisor::new(program(), isolation).try_guard(&guard) {
            let said = format!("{means:?}: the kernel refuses it: {error:?}\n");
            std::io::stderr().write_all(said.as_bytes()).unwrap();
            return None;
        }
        let mut given = vec![Given::in_place(path("work/trees/app/slot0")), Given::in_place(path("work/tmp/0"))];
        given.push(Given::to_read(path("work/stores/app.git/objects")));
        if !by_landlock {
            given.push(Given { at: "/tmp".into(), ..Given::in_place(path("work/t")) });
            given.push(Given { at: "/var/tmp".into(), ..Given::in_place(path("work/v")) });
        }
        if is_sealed {
            given.push(Given { at: home(), ..Given::in_place(path("work/homes/app")) });
        }
        let view = View { guard, given };
        let outsider = std::process::Command::new("sleep")
            .arg("1000")
            .env("PASSWORD", SECRET)
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        Some(Self { slot, limits: Limits::default(), place, view, outsider })
    }

    fn path(&self, name: &str) -> PathBuf {
        self.place.path().join(name)
    }

    fn command(&self, script: &str) -> Command {
        let mut command = self.slot.shell(script);
        command.directory = self.path("work/trees/app/slot0");
        (command.view, command.limits) = (Some(self.view.clone()), self.limits);
        let variables = [
            ("WORK", self.path("work")),
            ("DATA", self.path("data")),
            ("TOKEN", self.path("token")),
            ("TREE", self.path("work/trees/app/slot0")),
            ("OBJECT", self.path(OBJECT)),
            ("OUTSIDER", self.outsider.id().to_string().into()),
            ("RUNNER", std::process::id().to_string().into()),
        ];
        command.env.extend(variables.map(|(name, value)| (name.into(), value.into())));
        command
    }

    #[track_caller]
    pub(crate) fn withstands(&mut self, tries: &[(&str, &str)]) {
        for (name, script) in tries {
            let output = self.run(&format!("exec 2>&1\n{script}\nexit 0"));
            let shown = format!("{name}, {:?}: {output}", self.view.guard);
            assert!(!output.contains(SECRET), "{shown}");
            assert!(!output.lines().any(|line| line == ESCAPED), "{shown}");
            assert!(self.outsider.try_wait().unwrap().is_none(), "{shown}");
            for file in ["work/credential", "work/trees/app/slot1/source", "data/surveil.db", "data/tokens/runner"] {
                assert_eq!(fs::read_to_string(self.path(file)).unwrap(), SECRET, "{shown}");
            }
            assert_eq!(fs::read_to_string(self.path(OBJECT)).unwrap(), "an object", "{shown}");
            assert!(!self.path("data/new").exists() && !self.path("work/new").exists(), "{shown}");
        }
    }

    #[track_caller]
    fn run(&mut self, script: &str) -> String {
        let command = self.command(script);
        let (ended, output) = self.slot.run(&command);
        assert!(matches!(ended.exit, Exit::Code(_)), "{script}: {ended:?} {output}");
        output
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        self.outsider.kill().unwrap();
        self.outsider.wait().unwrap();
    }
}

/// A directory that is not in `/tmp`, because guarded tasks have a `/tmp` of their own.
fn outside_of_tmp() -> tempfile::TempDir {
    let cache = std::env::home_dir().unwrap().join(".cache");
    fs::create_dir_all(&cache).unwrap();
    tempfile::Builder::new().prefix(".t").tempdir_in(cache.canonicalize().unwrap()).unwrap()
}

fn home() -> PathBuf {
    std::env::home_dir().unwrap().canonicalize().unwrap()
}

/// Both tiers with the means that work here, each with a machine. If there is none, that is said; what is in force then
/// is tested with whole runners.
pub(crate) fn machines() -> Vec<Machine> {
    let tiers = [false, true].into_iter().flat_map(|is_sealed| [(false, is_sealed), (true, is_sealed)]);
    let means =
        |(user_namespace, is_sealed)| Guard { user_namespace, is_sealed, is_offline: is_sealed, ..Guard::default() };
    tiers.map(means).filter_map(|means| Machine::guarded(&means, Isolation::PidNamespace)).collect()
}

/// A machine on which Landlock is the means, if the kernel has it.
pub(crate) fn fenced(isolation: Isolation) -> Option<Machine> {
    Machine::guarded(&Guard { by_landlock: true, ..Guard::default() }, isolation)
}

/// Each reads what is hidden, in another way, or prints that it did something else that it may not.
const TRIES: &[(&str, &str)] = &[
    ("the path", "cat $WORK/credential $DATA/tokens/runner $DATA/surveil.db $TOKEN"),
    ("another attempt's tree", "cat $WORK/trees/app/slot1/source $TREE/../slot1/source up/source"),
    ("a listing", "ls $WORK $WORK/trees/app $DATA | grep -E 'credential|slot1|surveil.db' && echo escaped"),
    ("a symbolic link", "cat link; ln -s $TOKEN new; cat new; ln -s $WORK w; cat w/credential"),
    ("a hard link", "ln $WORK/credential hard && cat hard; ln $TOKEN hard2 && cat hard2"),
    ("a way up", "cat ../../../credential; cd ..; cd ..; cd ..; cat credential"),
    ("a new root", "chroot / cat $WORK/credential; chroot /proc/1/root cat $WORK/credential"),
    ("roots of processes", "for p in /proc/[0-9]*; do cat $p/root$WORK/credential $p/cwd/credential; done"),
    (
        "descriptors of processes",
        "for f in /proc/[0-9]*/fd/*; do cat $f/credential; cat $f/tokens/runner; done </dev/null",
    ),
    ("leftover descriptors", "for n in 3 4 5 6 7 8 9; do eval \"true <&$n\" && echo escaped; done"),
    ("environments", "for p in /proc/[0-9]*; do tr '\\0' '\\n' <$p/environ; done"),
    ("memory of the supervisor", "(exec 3</proc/1/mem) && echo escaped; readlink /proc/1/fd/3 && echo escaped"),
    ("unmounting", "umount $WORK; umount -l $WORK; umount -l $DATA; umount $TOKEN; cat $WORK/credential $TOKEN"),
    ("a mount", "mkdir -p m; mount -t tmpfs x m && echo escaped; mount --bind / m && cat m$WORK/credential"),
    (
        "a user namespace",
        "unshare -Urm sh -c 'umount -l $WORK; umount -l $TOKEN; cat $WORK/credential $TOKEN; mkdir -p n; \
         mount --bind / n && cat n$WORK/credential; mount --rbind / n && umount -l n$WORK && cat n$WORK/credential'",
    ),
    ("another mount namespace", "nsenter -t 1 -m cat $WORK/credential; nsenter -t $RUNNER -m cat $WORK/credential"),
    (
        "the disk",
        "for d in $(find /dev -type b 2>/dev/null); do [ $(head -c 512 $d | wc -c) = 0 ] || echo escaped; done",
    ),
    ("a new disk", "mknod d b 7 0 && head -c 1 d >/dev/null && echo escaped; mknod k c 1 1 && echo escaped"),
    ("the kernel's settings", "cat /proc/sys/kernel/core_pattern >/proc/sys/kernel/core_pattern && echo escaped"),
    ("control groups", "for g in /sys/fs/cgroup /sys/fs/cgroup/*; do mkdir $g/escape && echo escaped; done"),
    ("signals by number", "kill -9 $OUTSIDER $RUNNER && echo escaped"),
    ("signals to everybody", "trap '' TERM; kill -TERM -1; kill -CONT 1"),
    ("a trace", "head -c 1 /proc/$OUTSIDER/maps >/dev/null && echo escaped"),
    (
        "the data",
        "echo x >$DATA/surveil.db && echo escaped; touch $DATA/new $WORK/new && echo escaped; rm -rf $DATA $WORK",
    ),
    (
        "an object that it may read",
        "test \"$(cat $OBJECT)\" = 'an object' || echo escaped; o=${OBJECT%/*}; chmod u+w $OBJECT; echo x >$OBJECT; \
         echo x >>$OBJECT; truncate -s 0 $OBJECT; mv $OBJECT $o/new; ln $OBJECT own && echo x >own; rm -rf $o; \
         touch $o/new && echo escaped; mount -o remount,rw,bind $o; echo x >$OBJECT; \
         unshare -Urm sh -c \"mount -o remount,rw,bind $o; umount $o; echo x >$OBJECT\"",
    ),
    (
        "a file for more than its user",
        "cp /bin/true s && chmod 4755 s; grep \" $TREE \" /proc/self/mountinfo | grep -qv nosuid && echo escaped",
    ),
    (
        "a device in the temporary directory",
        "mknod /tmp/d b 7 0 && echo escaped; grep ' /tmp ' /proc/self/mountinfo | tail -n 1 | grep -v nodev && echo escaped",
    ),
];

/// S41.
#[test]
fn no_try_gets_out() {
    // In a PID namespace of its own, so that a try that succeeds against Landlock ends nothing on this machine.
    for mut machine in machines().into_iter().chain(fenced(Isolation::PidNamespace)) {
        machine.withstands(TRIES);
    }
}

/// S41. Without a PID namespace, as on a machine that refuses them, processes outside are seen, but not reached.
#[test]
fn no_fenced_try_reaches_a_process_outside() {
    let tries = [
        ("a signal", "kill -9 $OUTSIDER && echo escaped; kill -0 $OUTSIDER && echo escaped"),
        (
            "a trace",
            "head -c 1 /proc/$OUTSIDER/maps >/dev/null && echo escaped; tr '\\0' '\\n' </proc/$OUTSIDER/environ",
        ),
        ("memory", "(exec 3<>/proc/$OUTSIDER/mem) && echo escaped; (exec 3<>/proc/$RUNNER/mem) && echo escaped"),
        (
            "its root",
            "cat /proc/$OUTSIDER/root$WORK/credential /proc/$RUNNER/root$TOKEN; for f in /proc/$RUNNER/fd/*; do readlink $f && echo escaped; done",
        ),
    ];
    if let Some(mut machine) = fenced(Isolation::Subreaper) {
        machine.withstands(&tries);
    }
}

/// Landlock hides no path for what is beside it, and gives no `/tmp`.
#[test]
fn a_fenced_command_works_in_its_tree_and_beside_what_is_hidden_but_not_above_it() {
    let script = "set -e
        echo in-tree >out; mkdir -p d/e; mv out d/e; cat d/e/out; ln d/e/out hard; cat hard
        echo own >$WORK/tmp/0/a; cat $WORK/tmp/0/a
        echo beside >$BESIDE/a; cat $BESIDE/a; ls $BESIDE
        head -c 4 /dev/zero | wc -c; echo x >/dev/null; test -r /dev/urandom
        cp /bin/echo tool; ./tool executed; sleep 1000 & kill $!
        ls -d $WORK >/dev/null; ls $WORK 2>/dev/null || echo no list
        touch $BESIDE/../new 2>/dev/null || echo no file above";
    if let Some(mut machine) = fenced(Isolation::Subreaper) {
        let beside = machine.path("beside");
        fs::create_dir(&beside).unwrap();
        let mut command = machine.command(&format!("exec 2>&1\n{script}"));
        command.env.push(("BESIDE".into(), beside.into()));
        let (ended, output) = machine.slot.run(&command);
        let said: Vec<&str> = output.lines().map(str::trim).collect();
        let wanted = ["in-tree", "in-tree", "own", "beside", "a", "4", "executed", "no list", "no file above"];
        assert_eq!((ended.exit, said), (Exit::Code(0), wanted.to_vec()));
    }
}

/// What a build needs works as without a guard.
#[test]
fn a_guarded_command_works_in_its_tree_and_its_temporary_directories() {
    let script = "set -e
        echo in-tree >out; cd $TREE; cat out
        echo in-tmp >/tmp/a; cat /tmp/a; echo in-var >/var/tmp/a; cat /var/tmp/a; echo own >$WORK/tmp/0/a
        echo in-memory >/dev/shm/a; cat /dev/shm/a
        head -c 4 /dev/zero | wc -c; echo x >/dev/null; test -r /dev/urandom
        test \"$(stat -c %u out)\" = \"$(id -u)\"
        cp /bin/echo tool; ./tool executed
        touch ~/.surveil-escape-test && rm ~/.surveil-escape-test
        if command -v script >/dev/null; then script -qec 'echo on a terminal' /dev/null; else echo on a terminal; fi
        sleep 1000 & kill $!; ls /proc/self/fd >/dev/null";
    for mut machine in machines() {
        let mut command = machine.command(&format!("exec 2>&1\n{script}"));
        command.env.push(("HOME".into(), home().into()));
        let (ended, output) = machine.slot.run(&command);
        let said: Vec<&str> = output.lines().map(str::trim).collect();
        let wanted = ["in-tree", "in-tmp", "in-var", "in-memory", "4", "executed", "on a terminal"];
        assert_eq!((ended.exit, said), (Exit::Code(0), wanted.to_vec()), "{:?}", machine.view.guard);
        for (file, text) in
            [("work/trees/app/slot0/out", "in-tree\n"), ("work/t/a", "in-tmp\n"), ("work/v/a", "in-var\n")]
        {
            assert_eq!(fs::read_to_string(machine.path(file)).unwrap(), text);
        }
        assert_eq!(fs::read_to_string(machine.path("work/tmp/0/a")).unwrap(), "own\n");
        // A step sees what the one before it left, except for memory, which belongs to processes.
        assert_eq!(machine.run("cat out /tmp/a; ls /dev/shm"), "in-tree\nin-tmp\n");
    }
}

/// The runner replaces directories between two attempts.
#[test]
fn a_directory_that_was_replaced_is_seen_by_the_next_command() {
    for mut machine in machines() {
        assert_eq!(machine.run("echo old >/tmp/a; echo old >a; cat a"), "old\n");
        for name in ["work/t", "work/trees/app/slot0"] {
            fs::remove_dir_all(machine.path(name)).unwrap();
            fs::create_dir(machine.path(name)).unwrap();
        }
        fs::write(machine.path("work/trees/app/slot0/b"), "new\n").unwrap();
        assert_eq!(machine.run("ls /tmp; ls; cat b"), "b\nnew\n");
        // Another repository.
        fs::create_dir_all(machine.path("work/trees/other/slot0")).unwrap();
        machine.view.given[0] = Given::in_place(machine.path("work/trees/other/slot0"));
        let mut command = machine.command("ls $WORK/trees/app/slot0; pwd; touch c");
        command.directory.clone_from(&machine.view.given[0].at);
        let (_, output) = machine.slot.run(&command);
        assert_eq!(output, format!("{}\n", machine.view.given[0].at.display()));
        assert!(machine.path("work/trees/other/slot0/c").exists());
    }
}

/// One slot serves attempts with and without a guard.
#[test]
fn a_command_without_a_guard_sees_the_machine_and_one_behind_it_does_not() {
    for mut machine in machines() {
        for is_guarded in [true, false, true] {
            let mut command = machine.command("cat $WORK/credential 2>/dev/null; exit 0");
            command.view = command.view.filter(|_| is_guarded);
            let (_, output) = machine.slot.run(&command);
            assert_eq!(output.contains(SECRET), !is_guarded);
        }
    }
}

/// A hidden directory may be of another dispatcher, which ends whenever it likes.
#[test]
fn a_hidden_directory_that_comes_and_goes_hinders_no_command() {
    for mut machine in machines() {
        let unstable = machine.path("unstable");
        let mut guard = (*machine.view.guard).clone();
        guard.hidden.push(unstable.clone());
        let guard = Arc::new(guard);
        let is_over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !is_over.load(Ordering::Relaxed) {
                    // A mount of the guard may hold it back for a moment.
                    drop(fs::create_dir(&unstable).and_then(|()| fs::remove_dir(&unstable)));
                }
            });
            let hindered =
                (0..100).find_map(|_| Supervisor::new(program(), Isolation::PidNamespace).try_guard(&guard).err());
            is_over.store(true, Ordering::Relaxed);
            assert!(hindered.is_none(), "{hindered:?}");
        });
        assert!(!machine.run("cat $WORK/credential $DATA/surveil.db; exit 0").contains(SECRET));
    }
}

/// A work directory in a place that guarded tasks have for themselves, as where somebody tries Surveil out.
#[test]
fn a_tree_in_a_hidden_temporary_directory_is_seen_at_its_path() {
    for (temporary, mut machine) in ["/tmp", "/var/tmp", "/dev/shm"]
        .into_iter()
        .flat_map(|place| machines().into_iter().map(move |machine| (place, machine)))
    {
        let place = tempfile::Builder::new().tempdir_in(temporary).unwrap();
        let tree = place.path().join("w/trees/a/slot0");
        fs::create_dir_all(&tree).unwrap();
        fs::write(place.path().join("w/credential"), SECRET).unwrap();
        let mut guard = (*machine.view.guard).clone();
        guard.hidden.push(place.path().join("w"));
        machine.view.guard = Arc::new(guard);
        machine.view.given[0] = Given::in_place(tree.clone());
        let script =
            "pwd; echo x >made; ls ../../..; cat ../../../credential; ls /dev/shm/left; echo x >/dev/shm/left; exit 0";
        let mut command = machine.command(script);
        command.directory.clone_from(&tree);
        for _ in 0..3 {
            let (_, output) = machine.slot.run(&command);
            assert_eq!(output.lines().next(), Some(tree.to_str().unwrap()));
            assert!(output.contains("trees") && !output.contains(SECRET), "{output}");
            assert!(!output.lines().any(|line| line == "/dev/shm/left"), "{output}");
            fs::remove_file(tree.join("made")).unwrap();
            // The runner empties the temporary directory after each attempt, and so removes the tree's mount point.
            for entry in fs::read_dir(machine.path("work/t")).unwrap() {
                fs::remove_dir_all(entry.unwrap().path()).unwrap();
            }
        }
    }
}

#[test]
fn a_sealed_command_writes_nowhere_else_and_has_a_home_directory_of_its_own() {
    let script = "exec 2>&1
        for place in /etc /usr /var /run /dev $HOME/..; do touch $place/surveil-escape && echo escaped; done
        echo kept >~/kept; ls -A ~
        echo in-tree >t; echo in-tmp >/tmp/t; cat t /tmp/t";
    for mut machine in machines().into_iter().filter(|machine| machine.view.guard.is_sealed) {
        let mut command = machine.command(script);
        command.env.push(("HOME".into(), home().into()));
        let (_, output) = machine.slot.run(&command);
        let said: Vec<&str> = output.lines().collect();
        assert_eq!(said.iter().filter(|line| line.ends_with("Read-only file system")).count(), 6, "{output}");
        // A home directory that holds the work directory holds the way to the tree too.
        assert!(said[6..].contains(&"kept"), "{output}");
        assert_eq!(said[said.len() - 2..], ["in-tree", "in-tmp"], "{output}");
        assert_eq!(fs::read_to_string(machine.path("work/homes/app/kept")).unwrap(), "kept\n");
    }
}

#[test]
fn an_offline_command_has_a_loopback_interface_of_its_own_and_no_other() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = format!("{:04X}", listener.local_addr().unwrap().port());
    for mut machine in machines() {
        let output = machine.run(&format!(
            "grep -c : /proc/net/dev; grep -c 127.0.0.1 /proc/net/fib_trie; grep -c ':{port} ' /proc/net/tcp; exit 0"
        ));
        let numbers: Vec<u32> = output.lines().map(|line| line.parse().unwrap()).collect();
        assert!(numbers[1] > 0, "it is up: {output}");
        let is_offline = machine.view.guard.is_offline;
        assert_eq!((numbers[0] == 1, numbers[2] == 0), (is_offline, is_offline), "{output}");
    }
}
