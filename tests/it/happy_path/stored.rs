//! Questions about what is stored, when no dispatcher runs (S52).

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use crate::harness::{World, text};

/// Every path below a directory, with its size and the time of its last change.
fn listed(directory: &Path) -> BTreeMap<PathBuf, (u64, SystemTime)> {
    let mut found = BTreeMap::new();
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        let meta = path.symlink_metadata().unwrap();
        found.insert(path.clone(), (meta.len(), meta.modified().unwrap()));
        if meta.is_dir() {
            found.extend(listed(&path));
        }
    }
    found
}

/// Sabotage tried: the reader opens the store as a dispatcher's reader does, and writes the log's index anew.
#[test]
fn what_is_stored_is_read_without_a_dispatcher_and_stays_as_it_is() {
    let world = World::new();
    let repository = world.repository("app");
    let commit = repository.commit_tasks("[task.good]\nrun = 'true'\n[task.bad]\nrun = 'echo all is lost; exit 1'\n");
    let [dispatcher, _observer, _runner] = world.roles(&[&repository]);
    world.expect(&commit, "failed");
    // In the midst of its work, with a log that no checkpoint has moved.
    dispatcher.kill();
    let before = listed(&world.data());

    let status = world.surveil(&["status"]);
    let first = status.stderr.lines().next().unwrap();
    assert!(first.contains("no dispatcher runs") && first.contains(text(&world.data())), "{first}");
    assert!(first.contains("last written") && first.ends_with("just now"), "{first}");
    let status = status.ok();
    assert!(status.contains("failed") && status.contains("b1"), "{status}");
    assert_eq!(world.surveil(&["logs", "b1/bad"]).ok(), "all is lost\n");
    assert_eq!(world.surveil(&["logs", "-f", "b1/bad", "--offset=4"]).ok(), "is lost\n");
    assert!(world.surveil(&["show", "latest", "--wait"]).with_code(1).contains("exit code 1"));
    assert!(world.surveil(&["why", &commit[..8]]).ok().contains("the build failed"));
    world.surveil(&["show", "b7"]).error(6);
    world.surveil(&["cancel", "b1"]).error(5);
    world.surveil(&["runners"]).error(5);
    assert_eq!(listed(&world.data()), before, "nothing was created or changed");

    // The next dispatcher finds everything, and answers itself.
    let _again = world.dispatcher(&[]);
    assert_eq!(world.surveil(&["status"]).stderr, "");
    assert_eq!(world.surveil(&["show", "latest"]).code, 0);
}

#[test]
fn unfinished_jobs_are_counted_without_a_dispatcher() {
    let world = World::new();
    let repository = world.repository("app");
    let commit = repository.commit_tasks(
        "[task.here]\nrun = 'true'\n[task.nowhere]\nlabels = ['nowhere']\nrun = 'true'\n\
         [task.later]\nneeds = ['nowhere']\nrun = 'true'\n",
    );
    let [dispatcher, _observer, _runner] = world.roles(&[&repository]);
    world.build_that("has one task left", |build| build.commit == commit && build.jobs[0].state == "passed");
    dispatcher.kill();
    let status = world.surveil(&["status"]).ok();
    assert!(status.ends_with("\n0 jobs running, 1 job queued; no runner connected\n"), "{status}");
}

#[test]
fn a_dispatcher_at_another_address_is_told_and_a_remote_one_is_never_replaced() {
    let world = World::new();
    let repository = world.repository("app");
    let commit = repository.commit_script("true");
    let _roles = world.roles(&[&repository]);
    world.expect(&commit, "passed");
    let other = format!("--dispatch={}:9", world.address().ip());
    let error = world.surveil(&["status", &other]).error(5);
    assert!(
        error.contains("process ") && error.contains("--dispatch") && error.contains(text(&world.data())),
        "{error}"
    );

    // Nothing answers at a name that does not exist, and the records here are not those of that dispatcher.
    let elsewhere = World::new();
    let up = ["up", text(&repository.path), "--once", "--port=0"];
    elsewhere.surveil(&up).ok();
    let error = elsewhere.surveil(&["status", "--dispatch=nowhere.invalid:9000"]).error(5);
    assert!(!error.contains("no dispatcher runs"), "{error}");
}

/// Every command that `up --once` prints works after it has ended, also with blanks in all paths.
#[test]
fn the_commands_that_were_printed_work_when_the_dispatcher_has_ended() {
    let world = World::new();
    let repository = world.repository("my app");
    repository.commit_script("echo all is lost; exit 1");
    let (data, work) = (world.path("my data"), world.path("my work"));
    let up = ["up", "--once", "--port=0", "--data", text(&data), "--work", text(&work)];
    let first = world.surveil_in(&repository.path, &up).with_code(1);
    let second = world.surveil_in(&repository.path, &up).with_code(1);
    let pasted = |printed: &str, name: &str, code: i32| {
        let (_, line) = printed.split_once(name).unwrap_or_else(|| panic!("no {name} in {printed}"));
        let mut shell = world.sealed("sh");
        let line = format!("{}{}", env!("CARGO_BIN_EXE_surveil"), line.lines().next().unwrap());
        shell.args(["-c", &line]).current_dir(&repository.path);
        world.run(shell).with_code(code)
    };
    assert!(pasted(&first, "ask      surveil", 0).contains("failed"));
    for printed in [&first, &second] {
        assert_eq!(pasted(printed, "the whole log: surveil", 0), "all is lost\n");
        pasted(printed, "reproduce: surveil", 1);
    }
    assert!(pasted(&second, "To build it again: surveil", 1).contains("all is lost"));
}
