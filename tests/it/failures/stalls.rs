//! L2: an essential thread panics or stalls. The process ends at once, and the next start
//! continues its work. Provoked in the binary itself, by a hook that only debug builds have.

use crate::harness::{World, job, text};

/// Exit status of an aborted process.
const ABORTED: i32 = 128 + 6;

/// A busy dispatcher, one of whose threads panics or stalls; then another dispatcher on the same data.
fn survives(thread: &str, kind: &str) {
    let world = World::new();
    let trigger = world.path("trigger");
    let gate = world.gate("gate");
    let repository = world.repository("app");
    let begun = world.tally("begun");
    let first = repository.commit_script(&format!("{}\n{}", begun.add("begun"), gate.wait()));
    let fault = format!("{thread}:{kind}:{}", text(&trigger));
    let mut dispatcher = world.dispatcher_with(&[], &[("SURVEIL_FAULT", &fault)]);
    let _observer = world.observer(&[&repository], &[]);
    let _runner = world.runner("w1", &[]);
    begun.reaches(1);

    std::fs::write(&trigger, "").unwrap();
    assert_eq!(dispatcher.exit_code(), ABORTED, "{}", dispatcher.log());
    let word = if kind == "panic" { "panicked" } else { "has made no progress" };
    dispatcher.says(&format!("thread {thread} {word}"));

    let _dispatcher = world.dispatcher(&[]);
    gate.open();
    let build = world.expect(&first, "passed");
    assert_eq!(job(&build, "test").attempts.len(), 1, "{build:#?}");
    assert_eq!(begun.lines().len(), 1, "nothing ran twice");
    world.expect(&repository.commit_tasks("[task.test]\nrun = 'true'\n"), "passed");
}

/// Without the guard of each thread the dispatcher would go on without it, and not end.
#[test]
fn a_panic_in_the_core_ends_the_process_and_the_next_start_goes_on() {
    survives("core", "panic");
}

#[test]
fn a_panic_in_the_heartbeat_thread_ends_the_process_and_the_next_start_goes_on() {
    survives("heartbeat", "panic");
}

#[test]
fn a_panic_in_the_redistribute_thread_ends_the_process_and_the_next_start_goes_on() {
    survives("redistribute", "panic");
}

/// Tried with a watchdog that never judges: the dispatcher does not end.
#[test]
fn an_endless_loop_in_the_core_ends_the_process_and_the_next_start_goes_on() {
    survives("core", "loop");
}

#[test]
fn an_endless_loop_in_the_heartbeat_thread_ends_the_process_and_the_next_start_goes_on() {
    survives("heartbeat", "loop");
}

#[test]
fn an_endless_loop_in_the_redistribute_thread_ends_the_process_and_the_next_start_goes_on() {
    survives("redistribute", "loop");
}
