//! Limits by real control groups. The tests need one that is this process's alone, as a runner does: where there is
//! none, each says so and tests nothing. `docs/testing.md` says how to give them one.

use std::io::Write;
use std::path::Path;
use std::sync::{Arc, OnceLock};

use surveil::model::Isolation;
use surveil::process::{Ended, Exit, Groups, Limits, Supervisor};

use crate::escapes::{fenced, machines};
use crate::harness::{Slot, in_both_tiers, program};

const MIB: u64 = 1 << 20;

/// Prints the directory of the command's own group.
const OWN: &str = "own=/sys/fs/cgroup$(sed -n 's/^0:://p' /proc/self/cgroup)";

/// The control groups of this process, or the reason why it may have none. Asked for before the first process is
/// started, because no other process may be in its group then.
pub(crate) fn detected() -> &'static Result<Arc<Groups>, String> {
    static DETECTED: OnceLock<Result<Arc<Groups>, String>> = OnceLock::new();
    DETECTED.get_or_init(|| Groups::detect().map(Arc::new))
}

/// Makes commands of the slot with limits run in groups of their own. Returns false, and says why, if there are none.
fn limit(slot: &mut Slot) -> bool {
    match detected() {
        Ok(groups) => slot.supervisor = Supervisor::new(program(), slot.tier).limited_by(Some(groups.clone())),
        Err(why) => {
            let said = format!("nothing is tested with control groups here: {why}\n");
            std::io::stderr().write_all(said.as_bytes()).unwrap();
        }
    }
    detected().is_ok()
}

/// Runs a script within limits. Returns its end, its output, and its group, which must be gone.
fn run(slot: &mut Slot, script: &str, limits: Limits) -> (Ended, String) {
    let mut command = slot.shell(&format!("{OWN}; echo $own; {script}"));
    command.limits = limits;
    let (ended, output) = slot.run(&command);
    let (own, output) = output.split_once('\n').unwrap();
    assert!(own.contains("/surveil-"), "{own}");
    assert!(!Path::new(own).exists(), "{own} is left");
    assert_eq!(ended.enforcement.gaps, [] as [&str; 0]);
    (ended, output.to_owned())
}

in_both_tiers! {
    fn a_command_over_its_memory_is_ended_whole_and_told_so(slot) {
        if !limit(slot) {
            return;
        }
        let limits = Limits { memory_bytes: Some(24 * MIB), ..Limits::default() };
        let (ended, output) = run(slot, "(head -c 100000000 /dev/zero | tail >/dev/null) || true; echo on", limits);
        assert_eq!((&ended.exit, output.as_str()), (&Exit::Signal(9), ""));
        assert!(ended.enforcement.is_over_memory && ended.usage.memory_bytes > 8 * MIB, "{ended:?}");
        let (ended, output) = run(slot, "head -c 1000000 /dev/zero | tail | wc -c", limits);
        assert_eq!((ended.exit, output.trim(), ended.enforcement.is_over_memory), (Exit::Code(0), "1000000", false));
        // Its own end is no sign of a limit.
        let (ended, _) = run(slot, "kill -9 $$", limits);
        assert_eq!((ended.exit, ended.enforcement.is_over_memory), (Exit::Signal(9), false));
        slot.check_next();
    }

    fn a_command_that_forks_for_ever_has_as_many_processes_as_it_may(slot) {
        if !limit(slot) {
            return;
        }
        let limits = Limits { processes: Some(20), ..Limits::default() };
        let bomb = "exec 2>/dev/null; bomb() { bomb | bomb & }; bomb; \
                    until grep -q 'max [1-9]' $own/pids.events; do :; done; cat $own/pids.max; exit 3";
        let (ended, output) = run(slot, bomb, limits);
        // The shell itself may be the one that gets no further process.
        assert!(matches!(ended.exit, Exit::Code(code) if code != 0), "{ended:?}");
        assert!(output.is_empty() || output == "20\n", "{output}");
        slot.check_next();
    }

    fn a_command_that_computes_for_ever_has_as_much_time_as_it_may(slot) {
        if !limit(slot) {
            return;
        }
        let limits = Limits { millicpus: Some(250), ..Limits::default() };
        let (ended, output) = run(
            slot,
            "cat $own/cpu.max; until grep -q 'nr_throttled [1-9]' $own/cpu.stat; do :; done; echo throttled",
            limits,
        );
        assert_eq!((ended.exit, output.as_str()), (Exit::Code(0), "25000 100000\nthrottled\n"));
    }

    fn nothing_of_a_limited_command_is_left_whatever_it_leaves(slot) {
        if !limit(slot) {
            return;
        }
        let limits = Limits { processes: Some(50), ..Limits::default() };
        let script = "(setsid sh -c 'sleep 1000 & exec sleep 1000' &); setsid -f sleep 1000; mkdir -p $own/a/b/c; \
                      sleep 1000 & echo $! >$own/a/b/cgroup.procs; echo left";
        let (ended, output) = run(slot, script, limits);
        assert_eq!((&ended.exit, output.as_str()), (&Exit::Code(0), "left\n"));
        assert!(ended.leftovers > 0, "{ended:?}");
        slot.check_next();
    }
}

/// Each prints that it did something that lifts a limit, or reaches another group.
const TRIES: &[(&str, &str)] = &[
    ("its own limits", "echo max >$own/memory.max && echo escaped; echo max >$own/pids.max && echo escaped"),
    ("a group below its own", "mkdir $own/a && echo escaped"),
    ("a group beside its own", "mkdir ${own%/*}/other && echo escaped"),
    ("the group of the runner", "echo 0 >${own%/*}/surveil-runner/cgroup.procs && echo escaped"),
    ("the end of the runner", "(exec 3>${own%/*}/surveil-runner/cgroup.kill) && echo escaped"),
    (
        "another mount",
        "mkdir m; mount -t cgroup2 x m && echo escaped; mount -o remount,rw /sys/fs/cgroup && echo escaped",
    ),
    (
        "a user namespace",
        "unshare -Urm sh -c \"mount -o remount,rw,bind /sys/fs/cgroup && echo escaped; umount /sys/fs/cgroup && \
         echo escaped; echo max >$own/memory.max && echo escaped\"",
    ),
];

/// The kernel stands against this one only with the mount option `nsdelegate`.
const TRY_IN_NAMESPACE: (&str, &str) = (
    "a namespace of control groups",
    "mkdir n; unshare -UrmC sh -c 'mount -t cgroup2 x n; echo max >n/memory.max && echo escaped; \
     echo max >n/pids.max && echo escaped'",
);

#[test]
fn no_try_gets_out_of_a_control_group() {
    for mut machine in machines().into_iter().chain(fenced(Isolation::PidNamespace)) {
        if !limit(&mut machine.slot) {
            return;
        }
        machine.limits = Limits { memory_bytes: Some(200 * MIB), processes: Some(50), ..Limits::default() };
        let keeps_limits = detected().as_ref().is_ok_and(|groups| groups.keeps_limits());
        let in_namespace = keeps_limits.then_some(&TRY_IN_NAMESPACE);
        for (name, script) in TRIES.iter().chain(in_namespace) {
            machine.withstands(&[(name, &format!("{OWN}; test -d $own || echo escaped; {script}"))]);
        }
    }
}
