//! S52: exit codes follow from the verdict, also when nobody reads the output.

use std::path::Path;

use rustix::process::Signal;

use crate::harness::{World, text, until};

/// The exit code of a command whose standard output and standard error have no reader, from the start on.
#[track_caller]
fn unread(world: &World, directory: &Path, command: &str) -> i32 {
    let mut shell = world.sealed("sh");
    // A pipe that is opened for reading too can be opened for writing; then its only reader is closed.
    let pipe = text(directory).to_owned() + "/../unread";
    let line = format!(
        "test -p {pipe} || mkfifo {pipe}; exec 5<>{pipe} 6>{pipe} 5>&-; \"$SURVEIL\" {command} >&6 2>&6; echo $?"
    );
    shell.args(["-c", &line]).current_dir(directory).env("SURVEIL", env!("CARGO_BIN_EXE_surveil"));
    shell.env("SURVEIL_DATA", world.data()).env("SURVEIL_WORK", world.path("work"));
    if let Some(address) = world.known_address() {
        shell.env("SURVEIL_DISPATCH", address.to_string());
    }
    world.run(shell).ok().trim().parse().unwrap()
}

/// Sabotage tried: `run` writes without `outlive_reader`.
#[test]
fn a_local_run_returns_its_verdict_although_nobody_reads() {
    let world = World::new();
    let repository = world.repository("app");
    let tally = world.tally("runs");
    // More output than a pipe holds, so that the task would notice a closed one.
    repository.commit_tasks(&format!(
        "[task.bad]\nrun = 'seq 1 100000; exit 1'\n[task.good]\nrun = '''seq 1 100000\n{}'''\n\
         [task.absent]\nrun = ['./no-such-program']\n",
        tally.add("done")
    ));
    assert_eq!(unread(&world, &repository.path, "run bad"), 1);
    assert_eq!(unread(&world, &repository.path, "run good"), 0);
    assert_eq!(unread(&world, &repository.path, "run absent"), 3);
    assert_eq!(unread(&world, &repository.path, "run"), 1);
    assert_eq!(tally.lines().len(), 2, "the work goes on without a reader");
}

#[test]
fn a_build_that_is_awaited_has_its_verdict_although_nobody_reads() {
    let world = World::new();
    let repository = world.repository("app");
    repository.commit_script("seq 1 100000; exit 1");
    assert_eq!(unread(&world, &repository.path, "up --once --port=0"), 1);
    assert_eq!(unread(&world, &repository.path, "up --once --port=0"), 1, "it was built before");
    let _roles = world.roles(&[&repository]);
    assert_eq!(unread(&world, &repository.path, "show latest --wait"), 1);
    assert_eq!(unread(&world, &repository.path, "show latest --wait --format json"), 1);
    let green = repository.commit_script("true");
    world.expect(&green, "passed");
    assert_eq!(unread(&world, &repository.path, "show latest --wait"), 0);
}

#[test]
fn an_answer_that_nobody_reads_is_not_0_but_an_order_is_done() {
    let world = World::new();
    let repository = world.repository("app");
    let commit = repository.commit_script("seq 1 100000; exit 1");
    let _roles = world.roles(&[&repository]);
    world.expect(&commit, "failed");
    for question in ["logs latest", "logs -f latest", "status", "why latest", "show latest", "runners"] {
        assert_eq!(unread(&world, &repository.path, question), 141, "{question}");
    }
    assert_eq!(unread(&world, &repository.path, "check"), 0);
    assert_eq!(unread(&world, &repository.path, "rerun latest"), 0);
    world.build_that("has run twice", |build| build.finished_ms.is_some() && build.jobs[0].attempts.len() == 2);
}

#[test]
fn a_command_that_a_signal_ends_names_it_in_its_exit_code() {
    let world = World::new();
    let begun = world.tally("begun");
    let repository = world.repository("app");
    repository.commit_script(&format!("{}\nsleep 1000", begun.add("begun")));
    let commands: [&[&str]; 2] = [&["run", "--grace=300ms", "--dir"], &["up", "--once", "--port=0"]];
    let mut count = 0;
    for command in commands {
        for (signal, code) in [(Signal::INT, 130), (Signal::TERM, 143), (Signal::HUP, 129)] {
            let mut process = world.start("run", &[command, &[text(&repository.path)]].concat());
            count += 1;
            begun.reaches(count);
            process.signal(signal);
            assert_eq!(process.exit_code(), code, "{command:?}");
            until("nothing is left", || world.processes(&[]).is_empty());
        }
    }
}
