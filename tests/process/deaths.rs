//! The runner or a supervisor dies or stops while a command runs.

use std::fs::File;
use std::process::{Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal};
use surveil::model::Isolation;
use surveil::process::{Exit, ProcessError, ProgressCallbacks};

use crate::harness::{Slot, in_both_tiers, now, wait_for_line, wait_until_gone};

const TIER: &str = "SURVEIL_TEST_TIER";
const TEXT: &str = "SURVEIL_TEST_TEXT";

/// Commands that try to outlive their runner, each once it has said `ready`.
const CLINGING: [&str; 4] = [
    "echo ready; sleep 1000",
    "trap '' HUP TERM INT; setsid sleep 1000 & nohup sleep 1000 >/dev/null 2>&1 & echo ready; sleep 1000",
    "( ( setsid sleep 1000 >/dev/null 2>&1 & ) & ); sleep 0.1; echo ready; exec >/dev/null 2>&1; sleep 1000",
    "echo ready; kill -STOP $$; sleep 1000",
];

/// This test as a process of its own, which runs one command in a slot and waits for its end.
fn runner(slot: &Slot, text: &str) -> (std::process::Child, std::io::PipeReader) {
    let (name, value) = slot.mark.split_once('=').unwrap();
    let (reader, writer) = std::io::pipe().unwrap();
    let child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "deaths::a_runner_for_other_tests_to_kill", "--nocapture"])
        .env(TIER, slot.tier.word())
        .env("TMPDIR", slot.place.path())
        .env(TEXT, text)
        .env(name, value)
        .stdin(Stdio::null())
        .stdout(writer)
        .spawn()
        .unwrap();
    (child, reader)
}

#[test]
fn a_runner_for_other_tests_to_kill() {
    let Ok(tier) = std::env::var(TIER) else { return };
    let tier = if tier == Isolation::Subreaper.word() { Isolation::Subreaper } else { Isolation::PidNamespace };
    let mut slot = Slot::new(tier);
    let mut command = slot.shell(&std::env::var(TEXT).unwrap());
    command.env.push(("SURVEIL_TEST_MARK".into(), std::env::var_os("SURVEIL_TEST_MARK").unwrap()));
    command.env.remove(0);
    let output = File::from(rustix::io::dup(rustix::stdio::stdout()).unwrap());
    drop(slot.supervisor.run(&command, output, &crossbeam_channel::never(), ProgressCallbacks::default()));
}

fn kill(pid: u32, signal: Signal) {
    rustix::process::kill_process(Pid::from_raw(pid.cast_signed()).unwrap(), signal).unwrap();
}

in_both_tiers! {
    fn a_runner_killed_with_9_leaves_nothing_running(slot) {
        for text in CLINGING {
            let (mut runner, mut output) = runner(slot, text);
            wait_for_line(&mut output, "ready");
            runner.kill().unwrap();
            runner.wait().unwrap();
            wait_until_gone(&slot.mark);
        }
    }

    fn a_runner_killed_with_9_while_its_supervisor_is_stopped_leaves_nothing_running(slot) {
        let text = "kill -STOP $PPID; echo ready; sleep 1000";
        let (mut runner, mut output) = runner(slot, text);
        wait_for_line(&mut output, "ready");
        runner.kill().unwrap();
        runner.wait().unwrap();
        wait_until_gone(&slot.mark);
    }

    fn a_supervisor_killed_with_9_is_an_error_and_leaves_nothing(slot) {
        for text in CLINGING {
            slot.check_next();
            let supervisor = slot.supervisor.pid().unwrap();
            let (result, _) = slot.run_until_ready(&slot.shell(text), |cancel| {
                kill(supervisor, Signal::KILL);
                std::mem::forget(cancel);
            });
            let Err(ProcessError::SupervisorEnded { how }) = result else { panic!("{result:?}") };
            assert!(how.contains("SIGKILL"), "{how}");
        }
        slot.check_next();
    }

    fn a_supervisor_killed_while_idle_is_replaced(slot) {
        slot.check_next();
        let first = slot.supervisor.pid().unwrap();
        kill(first, Signal::KILL);
        let zombie = rustix::process::pidfd_open(
            Pid::from_raw(first.cast_signed()).unwrap(), rustix::process::PidfdFlags::empty()).unwrap();
        assert!(crate::harness::poll_until(&zombie, now() + crate::harness::PATIENCE));
// The reader's thread may not have seen the end yet; then this call returns the error.
        let (result, _) = slot.try_run(&slot.shell("true"));
        assert!(matches!(result, Ok(_) | Err(ProcessError::SupervisorEnded { .. } | ProcessError::Talk(_))));
        slot.check_next();
        assert_ne!(slot.supervisor.pid(), Some(first));
    }

    fn signals_that_are_meant_for_the_runner_do_not_end_a_supervisor(slot) {
        slot.check_next();
        let supervisor = slot.supervisor.pid();
        for signal in [Signal::INT, Signal::TERM, Signal::HUP, Signal::QUIT, Signal::PIPE, Signal::USR1] {
            kill(supervisor.unwrap(), signal);
            slot.check_next();
        }
        assert_eq!(slot.supervisor.pid(), supervisor);
    }

    fn a_task_may_try_to_kill_its_supervisor(slot) {
        let (result, _) = slot.try_run(&slot.shell("setsid sleep 1000 & kill -9 $PPID; sleep 1"));
        match slot.tier {
            // PID 1 of a namespace hears no KILL from inside.
            Isolation::PidNamespace => assert_eq!(result.unwrap().exit, Exit::Code(0)),
            Isolation::Subreaper => assert!(matches!(result, Err(ProcessError::SupervisorEnded { .. })), "{result:?}"),
        }
        slot.check_next();
    }

    fn a_cancel_ends_in_time_although_the_supervisor_is_stopped(slot) {
        slot.check_next();
        let supervisor = slot.supervisor.pid().unwrap();
        let mut asked = now();
        let (result, _) = slot.run_until_ready(&slot.shell("echo ready; sleep 1000"), |cancel| {
            kill(supervisor, Signal::STOP);
            asked = now();
            cancel.send(()).unwrap();
        });
        assert!(matches!(result, Err(ProcessError::SupervisorSilent)), "{result:?}");
        assert!(asked.elapsed() < Duration::from_millis(5_300));
        slot.check_next();
    }

    fn a_dropped_supervisor_is_gone(slot) {
        slot.check_next();
        let pid = Pid::from_raw(slot.supervisor.pid().unwrap().cast_signed()).unwrap();
        slot.supervisor = surveil::process::Supervisor::new(crate::harness::program(), slot.tier);
        assert_eq!(rustix::process::test_kill_process(pid), Err(rustix::io::Errno::SRCH));
    }
}
