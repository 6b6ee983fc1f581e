//! Copies of a data directory, dispatchers that are restored from one, and data that no dispatcher
//! starts on.

use std::fs::{self, OpenOptions};
use std::io::{Seek, SeekFrom, Write};
use std::path::Path;

use rustix::process::Signal;
use serde_json::json;

use crate::harness::{Process, Repository, Wire, World, job, text, until};

/// A dispatcher, an observer and a runner with two slots.
fn roles(world: &World, repository: &Repository) -> [Process; 3] {
    [world.dispatcher(&[]), world.observer(&[repository], &[]), world.runner("w1", &["--slots=2"])]
}

/// S3, S6, S7: the time since the backup is lost, and nothing else. Attempts that were executing when the backup was
/// made go on. Attempts that began later end and are ignored, and their numbers are not used again. The present head is
/// built. Sabotage: with numbers that continue from the backup's, the runner's later attempt is taken for the new one.
#[test]
fn a_dispatcher_restored_from_an_old_backup_heals_beside_runners_that_went_on() {
    let world = World::new();
    let repository = world.repository("app");
    let (held, never, runs) = (world.gate("held"), world.gate("never"), world.tally("runs"));
    let first = repository.commit_script("seq 1 20000");
    let [dispatcher, _observer, _runner] = roles(&world, &repository);
    world.expect(&first, "passed");
    let rules = "[trust]\nbranches = [\"release/*\"]\n";
    fs::write(world.data().join("surveil.toml"), rules).unwrap();
    let second = repository.commit_script(&format!("seq 1 9; {}; {}; echo end", runs.add("held"), held.wait()));
    runs.reaches(1);
    let backup = world.path("backup");
    let said = world.surveil(&["backup", text(&backup)]).ok();
    assert!(said.contains("2 builds") && said.contains("1 mirror") && said.contains("the tokens"), "{said}");

    let script = format!("{}; if [ $SURVEIL_BUILD = 3 ]; then {}; fi", runs.add("$SURVEIL_BUILD"), never.wait());
    let third = repository.commit_script(&script);
    runs.reaches(2);
    assert_eq!(world.builds().last().unwrap().build, 3);
    dispatcher.kill();
    fs::rename(world.data(), world.path("broken")).unwrap();
    let said = world.surveil(&["restore", text(&backup)]).ok();
    assert!(said.contains("next: start the dispatcher"), "{said}");
    assert_eq!(fs::read_to_string(world.data().join("surveil.toml")).unwrap(), rules);
    let pin = fs::read_to_string(world.path("broken/tls/pin")).unwrap();
    let dispatcher = world.dispatcher(&[]);
    assert_eq!(world.pin().unwrap(), pin.trim(), "peers that joined know it again");

    until("the attempt of the lost time has ended", || world.processes(&["SURVEIL_BUILD=3"]).is_empty());
    held.open();
    let build = world.expect(&second, "passed");
    assert_eq!((build.build, job(&build, "test").attempts.len()), (2, 1), "it went on");
    assert_eq!(world.log_of(&build, "test"), "1\n2\n3\n4\n5\n6\n7\n8\n9\nend\n");
    let again = world.expect(&third, "passed");
    assert!(again.build > 1000, "no number of the lost time comes back: {}", again.build);
    assert!(again.build < 10_000, "a number that people can type: {}", again.build);
    assert_eq!(runs.lines(), ["held", "3", &again.build.to_string()]);
    assert_eq!(world.surveil(&["logs", &first]).ok().lines().count(), 20_000);

    // A backup of a restored directory is an ordinary backup.
    drop(dispatcher);
    let second_backup = world.path("second");
    world.surveil(&["backup", text(&second_backup)]).ok();
    let checked = world.surveil(&["backup", "--check", text(&second_backup)]).ok();
    assert!(checked.contains("3 builds"), "{checked}");
}

#[test]
fn a_backup_without_tokens_has_none_and_the_next_dispatcher_draws_its_own() {
    let world = World::new();
    drop(world.dispatcher(&[]));
    let before = (world.token("runner"), world.pin());
    let backup = world.path("backup");
    let said = world.surveil(&["backup", "--without-tokens", text(&backup)]).ok();
    assert!(said.contains("no tokens") && !backup.join("tokens").exists(), "{said}");
    assert!(!backup.join("tls").exists(), "the authority is as secret as a token");
    fs::rename(world.data(), world.path("old")).unwrap();
    let said = world.surveil(&["restore", text(&backup)]).ok();
    assert!(said.contains("new tokens"), "{said}");
    drop(world.dispatcher(&[]));
    assert!(world.token("runner") != before.0 && world.pin().is_some() && world.pin() != before.1);
}

/// No existing data is ever overwritten, whatever is typed.
#[test]
fn what_is_in_the_way_of_a_backup_or_a_restoration_is_left_alone() {
    let world = World::new();
    let _dispatcher = world.dispatcher(&[]);
    let (backup, full) = (world.path("backup"), world.path("full"));
    fs::create_dir(&full).unwrap();
    fs::write(full.join("letter"), "dear").unwrap();
    world.surveil(&["backup", text(&backup)]).ok();
    for command in [vec!["backup", text(&full)], vec!["backup", text(&backup)]] {
        let refused = world.surveil(&command).error(7);
        assert!(refused.contains("is not empty"), "{refused}");
    }
    let refused = world.surveil(&["restore", text(&backup)]).error(7);
    assert!(refused.contains("move it away first"), "{refused}");
    let refused = world.surveil(&["restore", text(&full), "--data", text(&world.path("new"))]).error(2);
    assert!(refused.contains("no surveil.db"), "{refused}");
    let refused = world.surveil(&["backup", text(&world.path("new2")), "--data", text(&full)]).error(2);
    assert!(refused.contains("no surveil.db"), "{refused}");
    assert_eq!(fs::read_dir(&full).unwrap().count(), 1);
    // A dispatcher does not start on a backup by mistake.
    let refused = world.surveil(&["dispatcher", "--port=0", "--data", text(&backup)]).error(70);
    assert!(refused.contains("surveil restore"), "{refused}");
}

#[test]
fn a_check_names_what_is_damaged_and_which_logs_are_gone() {
    let world = World::new();
    let repository = world.repository("app");
    let [dispatcher, _observer, _runner] = roles(&world, &repository);
    let build = world.expect(&repository.commit_script("echo some words"), "passed");
    fs::remove_file(&job(&build, "test").attempts[0].log_path).unwrap();
    let said = world.surveil(&["backup", "--check"]).ok();
    assert!(said.contains("are sound") && said.contains("1 log missing") && said.contains("test.1.log"), "{said}");
    end(dispatcher);
    flip(&world.data().join("surveil.db"), 3 * 4096);
    let refused = world.surveil(&["backup", "--check"]).error(70);
    assert!(refused.contains("is damaged"), "{refused}");
    let backup = world.path("backup");
    let refused = world.surveil(&["backup", text(&backup)]).error(70);
    assert!(refused.contains("is damaged"), "{refused}");
    assert_eq!(fs::read_dir(&backup).unwrap().count(), 0, "half a backup is none");
}

fn flip(path: &Path, at: u64) {
    let mut file = OpenOptions::new().write(true).open(path).unwrap();
    file.seek(SeekFrom::Start(at)).unwrap();
    file.write_all(&[0xa5; 64]).unwrap();
}

/// Ends the dispatcher in order, which leaves the store in one file.
fn end(mut dispatcher: Process) {
    dispatcher.signal(Signal::TERM);
    assert_eq!(dispatcher.exit_code(), 0);
}

/// S4: the last process to close the store's file merges the log into it, and a reader cannot do that. Sabotage tried:
/// the core closes the store while retention may still read it. On a machine under load the log then stayed, and damage
/// to the file was not found, because the log had a newer copy of the damaged page.
#[test]
fn a_dispatcher_that_ends_in_order_leaves_one_file_whoever_reads_it_meanwhile() {
    let world = World::new();
    let repository = world.repository("app");
    let [dispatcher, _observer, _runner] = roles(&world, &repository);
    world.expect(&repository.commit_script("true"), "passed");
    let log = world.data().join("surveil.db-wal");
    assert!(log.metadata().unwrap().len() > 0);
    let mut operator = Wire::greet(&world, "operator", "reader");
    operator.ask(&json!({"type": "status", "limit": 1}));
    end(dispatcher);
    assert!(!log.exists());
}

/// S4, A5: a start that cannot vouch for the store says why and what to do, and changes nothing of it. Sabotage: with
/// a start that makes a missing store, the last two begin anew.
#[test]
fn a_dispatcher_does_not_start_on_a_store_that_it_cannot_vouch_for() {
    type Harm = fn(&Path);
    let world = World::new();
    let repository = world.repository("app");
    let [dispatcher, _observer, _runner] = roles(&world, &repository);
    world.expect(&repository.commit_script("true"), "passed");
    dispatcher.kill();
    let (killed, ended) = (world.path("killed"), world.path("ended"));
    copy(&world, &world.data(), &killed);
    end(world.dispatcher(&[]));
    copy(&world, &world.data(), &ended);
    let harms: [(&str, Harm); 6] = [
        ("acknowledged commits", |data| cut(&data.join("surveil.db-wal"))),
        ("acknowledged commits", |data| fs::remove_file(data.join("surveil.db-wal")).unwrap()),
        ("is damaged", |data| flip(&data.join("surveil.db"), 2 * 4096)),
        // The version of the tables, as a newer program writes it.
        ("start the newer surveil", |data| {
            let mut file = OpenOptions::new().write(true).open(data.join("surveil.db")).unwrap();
            file.seek(SeekFrom::Start(60)).unwrap();
            file.write_all(&99u32.to_be_bytes()).unwrap();
        }),
        ("it is empty", |data| fs::write(data.join("surveil.db"), b"").unwrap()),
        ("is missing although", |data| {
            fs::remove_file(data.join("surveil.db")).unwrap();
        }),
    ];
    for (number, (words, harm)) in harms.into_iter().enumerate() {
        let harmed = world.path(&format!("harmed{number}"));
        copy(&world, if words == "acknowledged commits" { &killed } else { &ended }, &harmed);
        harm(&harmed);
        let before = fs::read(harmed.join("surveil.db")).ok();
        // Twice: a refusal must not remove its own cause.
        for _ in 0..2 {
            let refused = world.surveil(&["dispatcher", "--port=0", "--data", text(&harmed)]).error(70);
            assert!(refused.contains(words), "harm {number}: {refused}");
        }
        assert_eq!(fs::read(harmed.join("surveil.db")).ok(), before, "harm {number}");
    }
}

fn copy(world: &World, from: &Path, to: &Path) {
    let mut command = world.sealed("cp");
    command.args(["-a", text(from), text(to)]);
    world.run(command).ok();
}

fn cut(path: &Path) {
    let file = OpenOptions::new().write(true).open(path).unwrap();
    let len = file.metadata().unwrap().len();
    file.set_len(len / 2).unwrap();
}

/// S44: a backup has the files of the artifacts, without those that are on their way, and says which artifacts are not
/// whole.
#[test]
fn a_backup_has_the_artifacts_and_names_those_that_are_not_whole() {
    let world = World::new();
    let repository = world.repository("app");
    let commit = repository.commit_tasks(
        "[task.one]\nrun = 'head -c 100000 /dev/urandom > out'\nartifacts = ['out']\n\
         [task.two]\nrun = 'mkdir -p d; echo two > d/out'\nartifacts = ['d/**', { name = 'none', paths = ['x'], required = false }]\n",
    );
    let [dispatcher, _observer, runner] = roles(&world, &repository);
    world.expect(&commit, "passed");
    let get = || world.surveil(&["artifacts", "get", "b1", "one", "out"]);
    let left = get();
    assert_eq!((left.code, left.stdout.len()), (0, 100_000));
    // An upload that was interrupted is no part of it.
    let arriving = world.data().join("blobs/arriving/a77");
    fs::create_dir_all(&arriving).unwrap();
    fs::write(arriving.join("0".repeat(64)), "part").unwrap();
    let backup = world.path("backup");
    let said = world.surveil(&["backup", text(&backup)]).ok();
    assert!(said.contains(", 4 blobs (") && !said.contains("not whole"), "{said}");
    end(dispatcher);
    fs::rename(world.data(), world.path("broken")).unwrap();
    world.surveil(&["restore", text(&backup)]).ok();
    assert!(!world.data().join("blobs/arriving/a77").exists());
    let dispatcher = world.dispatcher(&[]);
    assert_eq!(get().stdout, left.stdout);

    end(dispatcher);
    drop(runner);
    for directory in fs::read_dir(world.data().join("blobs")).unwrap() {
        for blob in fs::read_dir(directory.unwrap().path()).unwrap().map(|entry| entry.unwrap().path()) {
            if fs::metadata(&blob).unwrap().len() == 100_000 {
                fs::remove_file(blob).unwrap();
            }
        }
    }
    let said = world.surveil(&["backup", "--check"]).ok();
    assert!(said.contains("1 artifact not whole") && said.contains("artifact `files` of b1/one"), "{said}");
}
