//! Commands that are cancelled or time out, cooperative or not.

use std::time::Duration;

use crossbeam_channel::bounded;
use surveil::process::{Exit, ProgressCallbacks};

use crate::harness::{in_both_tiers, now};

/// Time beyond the grace period that S20 promises. The machine under test may be slow, so the tests allow all of it.
const MARGIN: Duration = Duration::from_secs(5);

/// Tasks that are hard to end, each after it has printed `ready`.
const STUBBORN: [&str; 6] = [
    "trap '' TERM; echo ready; while :; do sleep 1; done",
    "echo ready; kill -STOP $$; sleep 1000",
    "echo ready; exec >/dev/null 2>&1; sleep 1000",
    "trap '' TERM; setsid sh -c 'trap \"\" TERM; echo ready; sleep 1000' & wait; sleep 1000",
    "trap '' TERM; sleep 1000 & kill -STOP $!; echo ready; kill -STOP $$; while :; do sleep 1; done",
    "(trap '' TERM HUP; echo ready; while :; do sleep 1; done) & sleep 1000",
];

in_both_tiers! {
    fn a_cancel_ends_what_is_willing_at_once(slot) {
        let mut command = slot.shell("echo ready; sleep 1000");
        command.grace_ms = 60_000;
        let begin = now();
        let (result, _) = slot.run_until_ready(&command, |cancel| cancel.send(()).unwrap());
        assert_eq!(result.unwrap().exit, Exit::Cancelled);
        assert!(begin.elapsed() < MARGIN);
        slot.check_next();
    }

    fn a_command_may_use_its_grace(slot) {
        let text = "trap 'sleep 0.2; echo tidied; exit 0' TERM; echo ready; while :; do sleep 0.05; done";
        let mut command = slot.shell(text);
        command.grace_ms = 60_000;
        let (result, output) = slot.run_until_ready(&command, |cancel| cancel.send(()).unwrap());
        assert_eq!(result.unwrap().exit, Exit::Cancelled);
        assert!(output.ends_with("tidied\n"), "{output}");
    }

    fn a_disconnected_cancel_is_a_cancel(slot) {
        let command = slot.shell("echo ready; sleep 1000");
        let (result, _) = slot.run_until_ready(&command, drop);
        assert_eq!(result.unwrap().exit, Exit::Cancelled);
        slot.check_next();
    }

    fn a_cancel_before_the_start_starts_nothing(slot) {
        let (cancel, cancelled) = bounded(1);
        cancel.send(()).unwrap();
        let command = slot.shell("touch was-here");
        let progress = ProgressCallbacks { started: Some(Box::new(|| panic!("started"))), ..ProgressCallbacks::default() };
        let output = std::fs::File::options().write(true).open("/dev/null").unwrap();
        let ended = slot.supervisor.run(&command, output, &cancelled, progress).unwrap();
        assert_eq!((ended.exit, ended.duration_ms), (Exit::Cancelled, 0));
        assert!(!slot.place.path().join("was-here").exists());
    }

    fn a_cancel_ends_within_the_grace_and_five_seconds_whatever_the_task_does(slot) {
        for text in STUBBORN {
            let command = slot.shell(text);
            let mut asked = now();
            let (result, _) = slot.run_until_ready(&command, |cancel| {
                asked = now();
                cancel.send(()).unwrap();
            });
            assert_eq!(result.unwrap().exit, Exit::Cancelled, "{text}");
            assert!(asked.elapsed() < MARGIN + Duration::from_millis(command.grace_ms), "{text}");
        }
        slot.check_next();
    }

    fn a_timeout_ends_within_the_grace_and_five_seconds_whatever_the_task_does(slot) {
        for text in STUBBORN {
            let mut command = slot.shell(text);
            command.timeout_ms = 200;
            let begin = now();
            let (ended, _) = slot.run(&command);
            assert_eq!(ended.exit, Exit::TimedOut, "{text}");
            assert!(begin.elapsed() >= Duration::from_millis(200));
            assert!(begin.elapsed() < MARGIN + Duration::from_millis(200 + command.grace_ms), "{text}");
        }
        slot.check_next();
    }

    fn no_grace_is_a_grace_too(slot) {
        let mut command = slot.shell("trap '' TERM; echo ready; while :; do sleep 1; done");
        command.grace_ms = 0;
        let (result, _) = slot.run_until_ready(&command, |cancel| cancel.send(()).unwrap());
        assert_eq!(result.unwrap().exit, Exit::Cancelled);
    }

    fn what_the_leader_leaves_on_its_way_out_does_not_get_the_grace(slot) {
        let mut command = slot.shell("(trap '' TERM; echo ready; while :; do sleep 1; done) & wait");
        command.grace_ms = 60_000;
        let begin = now();
        let (result, _) = slot.run_until_ready(&command, |cancel| cancel.send(()).unwrap());
        let ended = result.unwrap();
        assert_eq!(ended.exit, Exit::Cancelled);
        assert!(ended.leftovers >= 1, "{ended:?}");
        assert!(begin.elapsed() < MARGIN);
    }

    fn times_beyond_all_measure_are_never(slot) {
        let mut command = slot.shell("echo ready; sleep 1000");
        (command.timeout_ms, command.grace_ms) = (u64::MAX, u64::MAX);
        let (result, _) = slot.run_until_ready(&command, |cancel| cancel.send(()).unwrap());
        assert_eq!(result.unwrap().exit, Exit::Cancelled);
    }

    fn a_cancel_that_crosses_the_end_harms_neither_this_command_nor_the_next(slot) {
        for round in 0..100 {
            let (cancel, cancelled) = bounded(1);
            let output = std::fs::File::options().write(true).open("/dev/null").unwrap();
            let command = slot.program(&["true"]);
            let teller = cancel.clone();
            let started = Box::new(move || {
                if round % 2 == 0 {
                    teller.send(()).unwrap();
                }
            });
            let progress = ProgressCallbacks { started: Some(started), ..ProgressCallbacks::default() };
            let ended = slot.supervisor.run(&command, output, &cancelled, progress);
            assert!(matches!(ended.unwrap().exit, Exit::Code(0) | Exit::Cancelled));
            let (ended, _) = slot.run(&slot.program(&["true"]));
            assert_eq!(ended.exit, Exit::Code(0));
        }
    }
}
