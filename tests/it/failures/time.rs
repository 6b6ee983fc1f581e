//! S31 to S33, D1: a slow peer is not dead, a suspended dispatcher does not judge its peers, and wall clocks decide
//! nothing.

use std::fs;
use std::path::Path;
use std::time::Duration;

use rustix::process::Signal;

use crate::harness::{Gate, Process, Repository, Tally, World, job, now, until};

/// A task that records its start, and waits at the gate.
fn waiting_commit(world: &World, repository: &Repository) -> (String, Tally, Gate) {
    let (begun, gate) = (world.tally("begun"), world.gate("gate"));
    (repository.commit_script(&format!("{}\n{}", begun.add("$SURVEIL_RUNNER"), gate.wait())), begun, gate)
}

/// Checks that the job needed one attempt, which was not lost in between.
fn passes_at_once(world: &World, commit: &str) {
    let build = world.expect(commit, "passed");
    assert_eq!(job(&build, "test").attempts.len(), 1, "{build:#?}");
}

fn pass_the_time(time: Duration) {
    let end = now() + time;
    until("time passes", || now() >= end);
}

/// S12. With a timeout of one second the attempt would be lost and run again.
#[test]
fn a_runner_that_is_frozen_for_less_than_the_timeout_keeps_its_work() {
    let world = World::new();
    let repository = world.repository("app");
    let (commit, begun, gate) = waiting_commit(&world, &repository);
    let _dispatcher = world.dispatcher(&["--heartbeat-interval=250ms", "--heartbeat-timeout=30s"]);
    let _observer = world.observer(&[&repository], &[]);
    let frozen = world.runner("w1", &[]);
    begun.reaches(1);
    let _other = world.runner("w2", &[]);
    world.connected("w2");
    frozen.signal(Signal::STOP);
    world.runner_that("w1", |runner| runner.silent_ms > 2_000);
    frozen.signal(Signal::CONT);
    world.runner_that("w1", |runner| runner.silent_ms < 1_000);
    gate.open();
    passes_at_once(&world, &commit);
}

/// S33: the dispatcher's runners gave it up meanwhile and dial again, and their messages wait in its socket. Tried
/// without forgiving gaps: the first tick finds the runner silent for too long, and the job goes to `w2`.
#[test]
fn a_dispatcher_that_was_stopped_for_longer_than_the_timeout_declares_nobody_dead() {
    let world = World::new();
    let repository = world.repository("app");
    let (commit, begun, gate) = waiting_commit(&world, &repository);
    let dispatcher = world.dispatcher(&["--heartbeat-interval=250ms", "--heartbeat-timeout=2s"]);
    let _observer = world.observer(&[&repository], &[]);
    let runner = world.runner("w1", &[]);
    begun.reaches(1);
    let other = world.runner("w2", &[]);
    world.connected("w2");
    dispatcher.signal(Signal::STOP);
    runner.says(" ended: ");
    other.says(" ended: ");
    pass_the_time(Duration::from_millis(500));
    dispatcher.signal(Signal::CONT);
    dispatcher.says("the dispatcher was held up for");
    until("both are back", || dispatcher.log().matches(" joined as ").count() >= 4);
    gate.open();
    passes_at_once(&world, &commit);
}

/// S32: the heartbeat is a thread of its own that needs little processor time. All processes of the test share one
/// core. Tried with a heartbeat that burns 20 ms for each ping: it is silent for longer than the timeout.
#[test]
fn a_runner_that_gets_hardly_any_processor_keeps_its_work() {
    let world = World::new();
    let repository = world.repository("app");
    let (commit, begun, gate) = waiting_commit(&world, &repository);
    let dispatcher = world.dispatcher(&["--heartbeat-interval=250ms", "--heartbeat-timeout=6s"]);
    let _observer = world.observer(&[&repository], &[]);
    let on_one_core = |words: &[&str]| {
        let mut command = world.sealed("taskset");
        command.args(["-c", "0"]).args(words);
        command
    };
    let surveil = env!("CARGO_BIN_EXE_surveil");
    let mut starved = on_one_core(&["nice", "-n", "19", surveil, "runner", "--name=w1", "--min-free=1MiB"]);
    starved.env("SURVEIL_DATA", world.data()).env("SURVEIL_WORK", world.path("work-w1"));
    starved.env("SURVEIL_DISPATCH", world.address().to_string());
    let _starved = world.start_command("w1", starved);
    begun.reaches(1);
    let _other = world.runner("w2", &[]);
    world.connected("w2");
    let busy = |n| world.start_command(&format!("busy{n}"), on_one_core(&["sh", "-c", "while :; do :; done"]));
    let busy: Vec<Process> = (0..3).map(busy).collect();
    pass_the_time(Duration::from_secs(8));
    drop(busy);
    gate.open();
    passes_at_once(&world, &commit);
    assert!(!dispatcher.log().contains("is away"), "{}", dispatcher.log());
}

/// S31. One function reads the wall clock, and the list below names its callers. They need it for times in records, for
/// the age of things that are shown and of leftover files, for a number if there is no random one, for the time of a
/// restoration, for the age beyond which builds are removed, for which it is read once, and for the order in which
/// caches were used. The simulation makes the clock jump.
#[test]
fn the_wall_clock_is_asked_for_people_only() {
    let allowed = [
        // The age of what is removed: blobs and artifacts that nobody has used for long, like builds.
        "blobs/store.rs",
        // When a cache and a copy of a blob were last used: by that alone it is chosen which one makes room.
        "blobs/copies.rs",
        "dispatcher/caches/mod.rs",
        "dispatcher/caches/tools.rs",
        "dispatcher/session/caches.rs",
        "dispatcher/session/tool_entries.rs",
        "cli/artifacts.rs",
        "cli/cache.rs",
        "cli/check.rs",
        "cli/runners.rs",
        "cli/secret.rs",
        "cli/show/mod.rs",
        "cli/status.rs",
        "cli/submit.rs",
        "cli/token.rs",
        "cli/try_work.rs",
        "cli/up/display.rs",
        "dispatcher/backup.rs",
        "dispatcher/core/batch.rs",
        "dispatcher/retention/keeper.rs",
        "dispatcher/operations/find.rs",
        "git/program/mirror.rs",
        "dispatcher/operations/questions.rs",
        "cli/stored.rs",
        "dispatcher/secrets/mod.rs",
        // A schedule is the one thing besides that a wall clock decides.
        "dispatcher/schedules.rs",
        "dispatcher/session/credentials/mod.rs",
        "dispatcher/session/report.rs",
        "dispatcher/session/runner.rs",
        "dispatcher/start.rs",
        "observer/run.rs",
        "transport/tls/mod.rs",
        "transport/tls/server.rs",
    ];
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let (mut open, mut found) = (vec![source.clone()], Vec::new());
    while let Some(directory) = open.pop() {
        for entry in fs::read_dir(&directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                open.push(path);
                continue;
            }
            let text = fs::read_to_string(&path).unwrap_or_default();
            let name = path.strip_prefix(&source).unwrap().display().to_string();
            let asks = ["clock::wall()", "SystemTime::now", "ClockId::Realtime"].iter().any(|call| text.contains(call));
            if asks && !name.contains("tests") && name != "clock.rs" && !allowed.contains(&&*name) {
                found.push(name);
            }
        }
    }
    assert!(found.is_empty(), "{found:?} ask the wall clock");
    // The dispatcher's core only passes the time on to be recorded, and the scheduler compares it with nothing.
    let core = fs::read_to_string(source.join("dispatcher/core/batch.rs")).unwrap();
    assert_eq!(core.matches("clock::wall()").count(), 1, "one place, for the scheduler's records");
}
