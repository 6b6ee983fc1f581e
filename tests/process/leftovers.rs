//! Processes that a command leaves behind when it ends by itself. The harness checks at the moment of the reported end.

use std::os::unix::fs::PermissionsExt;

use surveil::process::Exit;

use crate::harness::{Slot, in_both_tiers, now};

in_both_tiers! {
    fn a_background_process_is_ended_and_counted(slot) {
        let (ended, _) = slot.run_shell("sleep 1000 & sleep 1000 &");
        assert_eq!((ended.exit, ended.leftovers), (Exit::Code(0), 2));
        slot.check_next();
    }

    fn a_double_fork_is_ended(slot) {
// The intermediate fork is gone before the task ends.
        let text = "( sh -c 'echo $$ >between; sleep 1000 &' & ); \
            until [ -s between ] && ! kill -0 $(cat between) 2>/dev/null; do sleep 0.01; done; exit 3";
        let (ended, _) = slot.run_shell(text);
        assert_eq!((ended.exit, ended.leftovers), (Exit::Code(3), 1));
        slot.check_next();
    }

    fn a_process_in_a_session_of_its_own_is_ended(slot) {
        let text = "setsid sh -c 'setsid sleep 1000 & sleep 1000 & echo >there; wait' & \
            until [ -e there ]; do sleep 0.01; done";
        let (ended, _) = slot.run_shell(text);
        assert_eq!((ended.exit, ended.leftovers), (Exit::Code(0), 3));
        slot.check_next();
    }

    fn a_process_that_ignores_every_signal_it_can_is_ended(slot) {
        let (ended, _) = slot.run_shell("trap '' HUP INT QUIT TERM; nohup sleep 1000 >/dev/null 2>&1 &");
        assert_eq!((ended.exit, ended.leftovers), (Exit::Code(0), 1));
        slot.check_next();
    }

    fn a_stopped_process_is_ended(slot) {
        let (ended, _) = slot.run_shell("sleep 1000 & kill -STOP $!");
        assert_eq!((ended.exit, ended.leftovers), (Exit::Code(0), 1));
        slot.check_next();
    }

    fn an_orphan_that_holds_the_output_does_not_delay_the_end(slot) {
        let begin = now();
        let (ended, output) = slot.run_shell("echo said; (trap '' HUP TERM; exec sleep 1000) &");
        assert_eq!((ended.exit, output.as_str()), (Exit::Code(0), "said\n"));
        assert!(begin.elapsed().as_secs() < 5);
    }

    fn a_command_that_closed_its_output_is_awaited(slot) {
        let (ended, output) = slot.run_shell("exec >/dev/null 2>&1; sleep 0.2; exit 5");
// The exit code of the last command shows that the supervisor waited for it.
        assert_eq!((ended.exit, output.as_str()), (Exit::Code(5), ""));
    }

    fn orphans_that_ended_by_themselves_are_not_counted(slot) {
        let text = "i=0; while [ $i -lt 50 ]; do ( sh -c 'echo $$' >over.$i & ); i=$((i+1)); done; \
            until [ $(cat over.* | wc -l) = 50 ]; do sleep 0.01; done; \
            for one in $(cat over.*); do while kill -0 $one 2>/dev/null; do sleep 0.01; done; done";
        let (ended, _) = slot.run_shell(text);
        assert_eq!((ended.exit, ended.leftovers), (Exit::Code(0), 0));
    }

    fn orphans_of_a_running_command_do_not_stay_as_zombies(slot) {
        let text = "i=0; while [ $i -lt 20 ]; do (sleep 0.01 &); i=$((i+1)); done; sleep 0.3; \
            grep -sl '^State:.Z' /proc/[0-9]*/status | while read -r file; do \
            grep -sq \"^PPid:.$PPID\\$\" $file && echo zombie; done; true";
        assert_eq!(slot.run_shell(text).1, "");
    }

    fn a_crowd_is_ended(slot) {
        // 4 × 60 sleepers, half of them with a session of their own.
        let text = "crowd() { i=0; while [ $i -lt 30 ]; do i=$((i+1)); sleep 1000 & setsid sleep 1000 & done; \
            >there.$1; wait; }; crowd 1 & crowd 2 & crowd 3 & crowd 4 & \
            until [ $(ls | grep -c there) = 4 ]; do sleep 0.01; done";
        let (ended, _) = slot.run_shell(text);
        assert_eq!(ended.exit, Exit::Code(0));
        assert!(ended.leftovers >= 200, "{ended:?}");
        slot.check_next();
    }

    fn a_fork_bomb_is_ended(slot) {
        let (ended, _) = slot.run_shell(&fork_bomb(slot, 5, "", "sleep 1"));
        assert_eq!(ended.exit, Exit::Code(0));
        assert!(ended.leftovers > 0, "{ended:?}");
        slot.check_next();
    }

    fn a_fork_bomb_that_changes_sessions_all_the_time_is_ended(slot) {
        let (ended, _) = slot.run_shell(&fork_bomb(slot, 3, "setsid", "sleep 1"));
        assert_eq!(ended.exit, Exit::Code(0));
        assert!(ended.leftovers > 0, "{ended:?}");
        slot.check_next();
    }

    fn a_cancel_is_heard_while_children_end_all_the_time(slot) {
        let then = "trap '' TERM; echo ready; while :; do sleep 1; done";
        let mut command = slot.shell(&fork_bomb(slot, 4, "setsid", then));
        command.grace_ms = 500;
        let (result, _) = slot.run_until_ready(&command, |cancel| cancel.send(()).unwrap());
        assert_eq!(result.unwrap().exit, Exit::Cancelled);
        slot.check_next();
    }

    fn a_timeout_is_kept_while_children_end_all_the_time(slot) {
        let mut command = slot.shell(&fork_bomb(slot, 4, "", "trap '' TERM; while :; do sleep 1; done"));
        (command.timeout_ms, command.grace_ms) = (500, 500);
        let begin = now();
        let (result, _) = slot.run(&command);
        assert_eq!(result.exit, Exit::TimedOut);
// Half of the bomb's running time, however busy the machine is.
        assert!(begin.elapsed().as_secs() < 30);
        slot.check_next();
    }
}

/// A command that sets off a bomb and goes on with `then`. Every process of the bomb replaces itself by two, up to a
/// generation, and after that by one, each started by `by`: the number of processes is bounded, but new ones start all
/// the time, for a minute at most. All of them ignore TERM.
fn fork_bomb(slot: &Slot, generations: u32, by: &str, then: &str) -> String {
    let bomb = format!(
        "#!/bin/sh\n\
        trap '' TERM\n\
        [ $(date +%s) -lt $2 ] || exit\n\
        if [ $1 -gt 0 ]; then {by} $0 $(($1-1)) $2 & {by} $0 $(($1-1)) $2 & else {by} $0 0 $2 & fi\n"
    );
    let path = slot.place.path().join("bomb");
    std::fs::write(&path, bomb).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    format!("./bomb {generations} $(($(date +%s)+60)) & {then}")
}
