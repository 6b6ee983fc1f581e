//! Limits of commands by resource limits, which every machine has. A control group would enforce them too, but a test
//! cannot count on one.

use surveil::process::{Exit, Limits};

use crate::harness::in_both_tiers;

const MIB: u64 = 1 << 20;

/// Needs about twice as much memory as it reads.
const HOARD: &str = "hoard() { kept=$(head -c \"$1\" /dev/zero | tr '\\0' a); }";

in_both_tiers! {
    fn a_process_that_needs_more_memory_than_it_may_have_fails_and_one_that_needs_less_passes(slot) {
        for (limit, passes) in [(20 * MIB, false), (400 * MIB, true)] {
            let mut command = slot.shell(&format!("{HOARD}; hoard 50000000 2>/dev/null; echo done"));
            command.limits = Limits { memory_bytes: Some(limit), ..Limits::default() };
            let (ended, output) = slot.run(&command);
            assert_eq!((ended.exit == Exit::Code(0), output == "done\n"), (passes, passes), "{limit}");
            assert!(!ended.enforcement.is_over_memory);
            assert_eq!(ended.enforcement.gaps, ["memory (for each process, and for the sum only now and then)"]);
        }
        slot.check_next();
    }

    fn processes_that_have_too_much_memory_together_are_ended_and_that_is_said(slot) {
        let script = format!("{HOARD}; for n in 1 2 3 4 5 6 7 8; do (hoard 30000000; sleep 1000; true) & done; wait");
        let mut command = slot.shell(&script);
        command.limits = Limits { memory_bytes: Some(120 * MIB), ..Limits::default() };
        let (ended, _) = slot.run(&command);
        assert_eq!((ended.exit, ended.enforcement.is_over_memory), (Exit::Signal(9), true));
        assert!(ended.usage.memory_bytes > 120 * MIB, "{:?}", ended.usage);
        slot.check_next();
    }

    fn memory_that_processes_share_counts_once(slot) {
        let script = format!(
            "{HOARD}; hoard 30000000; for n in 1 2 3 4 5 6; do (sleep 0.8; true) & done; wait; echo ${{#kept}}"
        );
        let mut command = slot.shell(&script);
        command.limits = Limits { memory_bytes: Some(120 * MIB), ..Limits::default() };
        let (ended, output) = slot.run(&command);
        assert_eq!((ended.exit, output.as_str()), (Exit::Code(0), "30000000\n"));
        assert!(ended.usage.memory_bytes > 150 * MIB, "as a sum it is more: {:?}", ended.usage);
    }

    fn a_task_cannot_raise_its_limit_of_memory(slot) {
        let script = format!("{HOARD}; ulimit -d unlimited; ulimit -Hd unlimited; hoard 50000000; echo escaped");
        let mut command = slot.shell(&script);
        command.limits = Limits { memory_bytes: Some(20 * MIB), ..Limits::default() };
        let (ended, output) = slot.run(&command);
        assert_ne!(ended.exit, Exit::Code(0));
        assert!(!output.contains("escaped"), "{output}");
    }

    fn a_command_has_as_many_processors_as_it_may(slot) {
        let count = |slot: &mut crate::harness::Slot, millicpus| {
            let mut command = slot.program(&["nproc"]);
            command.limits = Limits { millicpus, ..Limits::default() };
            let (ended, output) = slot.run(&command);
            (output.trim().parse::<usize>().unwrap(), ended.enforcement.gaps.len())
        };
        let (all, gaps) = count(slot, None);
        assert_eq!(gaps, 0);
        assert_eq!(count(slot, Some(500)), (1, 1));
        assert_eq!(count(slot, Some(1000)), (1, 1));
        assert_eq!(count(slot, Some(1_000_000)), (all, 1));
    }

    fn a_limited_command_starts_like_any_other(slot) {
        let limits = Limits { memory_bytes: Some(400 * MIB), ..Limits::default() };
        let mut command = slot.shell("echo out; echo err >&2; kill -0 -$$ && echo leads; pwd; trap; exit 7");
        command.limits = limits;
        let (ended, output) = slot.run(&command);
        let lines: Vec<&str> = output.lines().collect();
        let place = slot.place.path().canonicalize().unwrap();
        assert_eq!((ended.exit, lines), (Exit::Code(7), vec!["out", "err", "leads", place.to_str().unwrap()]));
        for words in [&["./nothing"][..], &["surveil-has-no-such-program"]] {
            let plain = slot.program(words);
            let mut limited = plain.clone();
            limited.limits = limits;
            let (wanted, found) = (slot.run(&plain).0.exit, slot.run(&limited).0.exit);
            assert!(matches!(wanted, Exit::CouldNotStart(_)), "{wanted:?}");
            assert_eq!(found, wanted);
        }
    }
}
