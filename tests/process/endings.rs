//! The endings of undisturbed commands, and the environment in which they run.

use surveil::process::{Exit, ProgressCallbacks};

use crate::harness::in_both_tiers;

in_both_tiers! {
    fn an_exit_code_is_told_as_it_was(slot) {
        for code in [0, 1, 42, 255] {
            let (ended, _) = slot.run_shell(&format!("exit {code}"));
            assert_eq!((ended.exit, ended.leftovers), (Exit::Code(code), 0));
        }
    }

    fn an_end_by_a_signal_is_told_with_its_number(slot) {
        for signal in [1, 2, 6, 9, 11, 15] {
            let (ended, _) = slot.run_shell(&format!("kill -{signal} $$; sleep 60"));
            assert_eq!(ended.exit, Exit::Signal(signal));
            slot.check_next();
        }
    }

    fn the_duration_is_that_of_the_leader(slot) {
        let (ended, _) = slot.run_shell("sleep 0.3");
        assert!((300..5_000).contains(&ended.duration_ms), "{ended:?}");
    }

    fn the_memory_that_one_process_had_for_a_moment_is_told(slot) {
        // `tail` keeps a line without an end in memory.
        let (ended, _) = slot.run_shell("head -c 200000000 /dev/zero | tail -n 1 | wc -c");
        let told = ended.usage.memory_bytes;
        assert!((190_000_000..400_000_000).contains(&told), "{ended:?}");
        let (ended, _) = slot.run_shell("true");
        assert!((1..100_000_000).contains(&ended.usage.memory_bytes), "that of the next command alone: {ended:?}");
    }

    fn the_memory_of_several_processes_is_told_together(slot) {
        let one = "(head -c 60000000 /dev/zero; sleep 2) | tail -n 1 > /dev/null &";
        let (ended, _) = slot.run_shell(&format!("{one} {one} {one} wait"));
        assert!((170_000_000..500_000_000).contains(&ended.usage.memory_bytes), "{ended:?}");
    }

    fn the_processor_time_of_all_processes_is_told(slot) {
        let count = "i=0; while [ $i -lt 300000 ]; do i=$((i + 1)); done";
        let (ended, _) = slot.run_shell(&format!("({count}) & {count}; wait"));
        assert!((20..60_000).contains(&ended.usage.cpu_ms), "{ended:?}");
        let (ended, _) = slot.run_shell("sleep 0.3");
        assert!(ended.usage.cpu_ms < 200, "a command that waits takes none: {ended:?}");
    }

    fn stdout_and_stderr_are_one_stream_in_order(slot) {
        let (_, output) = slot.run_shell("echo one; echo two >&2; echo three");
        assert_eq!(output, "one\ntwo\nthree\n");
    }

    fn stdin_is_empty(slot) {
        let (ended, output) = slot.run_shell("cat; echo done");
        assert_eq!((ended.exit, output.as_str()), (Exit::Code(0), "done\n"));
    }

    fn the_environment_is_exactly_what_was_given(slot) {
        let mut command = slot.program(&["env"]);
        command.env.push(("LAST".into(), "a b\nc".into()));
        let expected: String = command.env.iter()
            .map(|(name, value)| format!("{}={}\n", name.display(), value.display())).collect();
        assert_eq!(slot.run(&command).1, expected);
    }

    fn it_runs_in_its_directory(slot) {
        let here = slot.place.path().canonicalize().unwrap();
        assert_eq!(slot.run_shell("pwd -P").1.trim_end(), here.to_str().unwrap());
    }

    fn it_leads_its_own_session_and_has_no_terminal(slot) {
        let (_, output) = slot.run_shell("set -- $(cat /proc/$$/stat); echo $1 $5 $6 $7");
        let fields: Vec<&str> = output.split_whitespace().collect();
        assert_eq!((fields[1], fields[2], fields[3]), (fields[0], fields[0], "0"));
    }

    fn it_ignores_and_blocks_no_signal(slot) {
        let (_, output) = slot.run(&slot.program(&["cat", "/proc/self/status"]));
        for name in ["SigBlk:\t", "SigIgn:\t", "SigCgt:\t"] {
            let value = output.lines().find_map(|line| line.strip_prefix(name)).unwrap();
            // Only the first 31 signals: the C library reserves some of the later ones.
            assert_eq!(u64::from_str_radix(value, 16).unwrap() & 0x7fff_ffff, 0, "{name}{value}");
        }
    }

    fn it_inherits_no_descriptor(slot) {
        let (_, output) = slot.run(&slot.program(&["ls", "/proc/self/fd"]));
        // The fourth is the directory that is being listed.
        assert_eq!(output.split_whitespace().collect::<Vec<_>>(), ["0", "1", "2", "3"]);
    }

    fn a_supervisor_keeps_no_descriptor_of_a_command(slot) {
        let count = |slot: &crate::harness::Slot| {
            std::fs::read_dir(format!("/proc/{}/fd", slot.supervisor.pid().unwrap())).unwrap().count()
        };
        slot.check_next();
        let before = count(slot);
        for _ in 0..20 {
            slot.run_shell("true");
            slot.run(&slot.program(&["no-such-program"]));
        }
        assert_eq!(count(slot), before);
    }

    fn a_supervisor_serves_one_command_after_the_other(slot) {
        slot.check_next();
        let first = slot.supervisor.pid();
        slot.run_shell("kill -9 $$");
        slot.run_shell("sleep 60 &");
        slot.check_next();
        assert_eq!(slot.supervisor.pid(), first);
    }

    fn it_sees_a_process_table_that_it_is_in(slot) {
        let (ended, _) = slot.run_shell("test -e /proc/$$/stat && kill -0 $$ && [ \"$(cat /proc/$$/comm)\" = sh ]");
        assert_eq!(ended.exit, Exit::Code(0));
    }

    fn a_command_that_lasts_says_so_once(slot) {
        let go = slot.place.path().join("go");
        let mut lasts = 0;
        let mut lasting = || {
            lasts += 1;
            drop(std::fs::File::create(&go).unwrap());
        };
        let progress = ProgressCallbacks { lasting: Some(&mut lasting), ..ProgressCallbacks::default() };
        let (output, never) = (std::fs::File::open("/dev/null").unwrap(), crossbeam_channel::never());
        // Without the call it would reach its timeout.
        let command = slot.shell("while ! [ -e go ]; do sleep 0.01; done");
        let ended = slot.supervisor.run(&command, output, &never, progress).unwrap();
        assert_eq!((ended.exit, lasts), (Exit::Code(0), 1));
    }

    fn started_is_called_before_the_end_and_not_for_a_command_that_never_starts(slot) {
        let go = slot.place.path().join("go");
        // The first would reach its timeout without the call. A short command may have none.
        let commands = [
            (slot.shell("while ! [ -e go ]; do sleep 0.01; done"), 1..=1),
            (slot.shell("true"), 0..=1),
            (slot.program(&["no-such-program"]), 0..=0),
        ];
        for (command, expected) in commands {
            let (call, calls) = crossbeam_channel::unbounded();
            let output = std::fs::File::options().write(true).open("/dev/null").unwrap();
            let never = crossbeam_channel::never();
            let go = go.clone();
            let started = Some(Box::new(move || {
                drop(std::fs::File::create(&go).unwrap());
                call.send(()).unwrap();
            }) as Box<dyn FnOnce() + Send>);
            let progress = ProgressCallbacks { started, ..ProgressCallbacks::default() };
            slot.supervisor.run(&command, output, &never, progress).unwrap();
            assert!(expected.contains(&calls.iter().count()), "{expected:?}");
        }
    }
}
