//! The certificate authority is replaced while peers are connected: those that joined store the next pin, and those
//! that were away hear what to do.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::process::Signal;
use serde_json::{Value, json};
use surveil::protocol::operator::RotationReport;

use crate::harness::{Process, Wire, World, job, text, until};

/// A new join token with these flags.
#[track_caller]
fn token(world: &World, flags: &[&str]) -> String {
    let created = world.surveil(&[&["token", "create", "--json"], flags].concat()).ok();
    let created: Value = serde_json::from_str(&created).unwrap();
    created["token"].as_str().unwrap().to_owned()
}

/// A command on a machine that has nothing of the dispatcher's but what is pasted.
fn on(world: &World, machine: &str, arguments: &[&str]) -> Command {
    fs::create_dir_all(world.path(machine)).unwrap();
    let mut command = world.command(arguments);
    command.env_remove("SURVEIL_PIN").env_remove("SURVEIL_WORK");
    command.env("HOME", world.path(machine)).env("SURVEIL_DATA", world.path(machine).join("nothing"));
    command
}

/// A role on such a machine. The machine has the same files when it is started again.
fn start(world: &World, machine: &str, arguments: &[&str]) -> Process {
    let work = format!("--work={}", text(&world.path(machine).join("work")));
    world.start_command(machine, on(world, machine, &[arguments, &[&work]].concat()))
}

fn start_runner(world: &World, name: &str, more: &[&str]) -> Process {
    start(world, name, &[&["runner", "--min-free=1MiB"], more].concat())
}

/// A runner that joins with a new token.
fn join(world: &World, name: &str, label: &str, more: &[&str]) -> Process {
    let token = token(world, &["--role=runner", "--label", label]);
    start_runner(world, name, &[more, &["--name", name, "--join", &token]].concat())
}

/// A command of a user with a login.
fn types(world: &World, user: &str, arguments: &[&str]) -> crate::harness::Done {
    let mut command = on(world, user, arguments);
    command.env_remove("SURVEIL_DISPATCH").env_remove("SURVEIL_DATA");
    world.run(command)
}

/// The directory in which a peer has its credential and pins, within the place of the world.
fn joined(peer: &str) -> PathBuf {
    [peer, "work", "joined"].iter().collect()
}

fn login_of_ann() -> PathBuf {
    PathBuf::from("ann/.config/surveil/logins")
}

/// The pins that a machine has stored, in one line.
#[track_caller]
fn stored(world: &World, files: &Path) -> String {
    let paths = fs::read_dir(world.path("").join(files)).unwrap().map(|entry| entry.unwrap().path());
    let shown: Vec<_> = paths.filter(|path| !path.file_name().unwrap().to_str().unwrap().starts_with('.')).collect();
    let file = fs::read_to_string(&shown[0]).unwrap();
    file.lines().find_map(|line| line.strip_prefix("pins ")).unwrap().to_owned()
}

/// How far the replacement has come.
fn rotation(world: &World) -> Option<RotationReport> {
    world.status().network.unwrap().rotation
}

fn missing(world: &World) -> Vec<String> {
    rotation(world).unwrap().missing
}

fn stop(mut process: Process) {
    process.signal(Signal::TERM);
    assert_eq!(process.exit_code(), 0);
}

#[test]
fn an_authority_is_replaced_while_peers_are_connected_and_a_peer_that_was_away_hears_what_to_do() {
    let world = World::new();
    let repository = world.repository("app");
    let dispatcher = world.dispatcher(&[]);
    let first = world.pin().unwrap();
    let near = join(&world, "near", "near", &[]);
    // The dispatcher dials this one.
    let called = join(&world, "called", "called", &["--host=127.0.0.1", "--port=0"]);
    let watching = token(&world, &["--role=observer", "--repo=app"]);
    let observing = ["observer", text(&repository.path), "--name=app", "--join", &watching];
    let eyes = start(&world, "eyes", &observing);
    let away = join(&world, "away", "away", &[]);
    world.connected("away");
    away.kill();
    let line = token(&world, &["--role=admin", "--name=ann"]);
    types(&world, "ann", &["login", &world.address().to_string(), "--name=ci", "--join", &line]).ok();
    let [early, late] = ["early", "late"].map(|name| token(&world, &["--role=runner", "--name", name]));
    for name in ["near", "called"] {
        world.connected(name);
    }
    world.expect(&repository.commit_script("true"), "passed");
    // A peer that knows nothing of pins, in plain text.
    let mut old = Wire::quiet(&world, "operator", "old");
    assert_eq!(world.surveil(&["authority", "show"]).ok(), format!("pin {first}\n"));
    let refused = world.surveil(&["authority", "rotate", "--finish"]).error(7);
    assert!(refused.contains("the authority is not being replaced: begin with"), "{refused}");

    // Both pins are valid, and the peers that are connected come back and store both.
    let said = types(&world, "ann", &["authority", "rotate"]).ok();
    let next = rotation(&world).unwrap().next_pin;
    assert!(said.starts_with(&format!("the next authority is made, with the pin {next}\n")), "{said}");
    assert!(said.ends_with("`surveil authority rotate --finish` makes the next pin the only one\n"), "{said}");
    dispatcher.says("ann ordered: replace the authority");
    types(&world, "ann", &["authority", "rotate"]).ok();
    assert!(!missing(&world).contains(&"admin ann".to_owned()), "the login that gave the order knows");
    assert_eq!(rotation(&world).unwrap().next_pin, next, "there is one next authority");
    assert_eq!(old.ask(&json!({"type": "status", "limit": 1}))["type"], "status");
    until("the connected peers have the next pin", || missing(&world) == ["runner away"]);
    let both = format!("{first} {next}");
    for files in [joined("near"), joined("called"), joined("eyes"), login_of_ann()] {
        assert_eq!(stored(&world, &files), both, "{}", files.display());
    }
    assert_eq!(stored(&world, &joined("away")), first);
    let shown = types(&world, "ann", &["authority", "show"]).ok();
    assert!(
        shown.contains("4 of 5 peers that joined have the next pin; not yet:\n  runner away\n")
            && shown.lines().all(|line| line.len() <= 80),
        "{shown}"
    );
    let warning = "the authority is being replaced: 4 of 5 peers that joined have the next pin";
    assert!(world.surveil(&["status"]).ok().contains(warning));
    for pin in [&first, &next] {
        world.surveil(&["status", &format!("--pin={pin}")]).ok();
    }
    let other = world.surveil(&["status", &format!("--pin={}", "ab".repeat(32))]).error(7);
    assert!(other.contains(&format!("its own is {next} or {first}; if its authority was replaced")), "{other}");
    // A token from before works still, and a new one has both pins.
    let early = start_runner(&world, "early", &["--join", &early]);
    let new = join(&world, "new", "new", &[]);
    until("those who join have the next pin", || {
        rotation(&world).is_some_and(|rotation| rotation.taken == 6 && rotation.missing == ["runner away"])
    });
    assert_eq!((stored(&world, &joined("early")), stored(&world, &joined("new"))), (both.clone(), both));
    stop(early);
    stop(new);

    // A restart, and a backup that is brought back, go on with the replacement.
    let (backup, restored) = (world.path("backup"), world.path("restored"));
    world.surveil(&["backup", text(&backup)]).ok();
    world.surveil(&["restore", text(&backup), "--data", text(&restored)]).ok();
    for file in ["authority.key", "next.key", "pin", "taken"] {
        let [one, other] = [world.data(), restored.clone()].map(|data| fs::read(data.join("tls").join(file)).unwrap());
        assert!(one == other, "{file}");
    }
    stop(dispatcher);
    let dispatcher = world.dispatcher(&[]);
    assert_eq!(missing(&world), ["runner away"]);
    let called_only = "[task.t]\nlabels = ['called']\nrun = 'true'\n";
    world.expect(&repository.commit_tasks(called_only), "passed");

    // The end leaves nobody behind, unless it is forced.
    let refused = world.surveil(&["authority", "rotate", "--finish"]).error(7);
    assert!(
        refused.contains("1 peer that joined does not have the next pin yet: runner away; wait")
            && refused.contains("--force"),
        "{refused}"
    );
    assert_eq!(world.pin().unwrap(), first);
    let said = types(&world, "ann", &["authority", "rotate", "--finish", "--force"]).ok();
    assert_eq!(said, format!("the authority is replaced by the one with the pin {next}\n"));
    assert_eq!((world.pin().unwrap(), rotation(&world)), (next.clone(), None));
    for files in ["near", "called", "eyes"].map(joined) {
        until("the pin before is dropped", || stored(&world, &files) == next);
    }
    assert_eq!(types(&world, "ann", &["authority", "show"]).ok(), format!("pin {next}\n"));
    assert_eq!(stored(&world, &login_of_ann()), next);
    // Running as before, also after a restart of all of them.
    world.expect(&repository.commit_tasks(called_only), "passed");
    stop(near);
    stop(called);
    stop(eyes);
    stop(dispatcher);
    let _dispatcher = world.dispatcher(&[]);
    let dispatch = format!("--dispatch={}", world.address());
    let _eyes = start(&world, "eyes", &["observer", text(&repository.path), "--name=app", &dispatch]);
    let _near = start_runner(&world, "near", &[&dispatch]);
    world.connected("near");
    let build = world.expect(&repository.commit_script("echo after"), "passed");
    assert_eq!(job(&build, "test").attempts[0].runner, "near");

    // The peer that was away, and the token from before, are refused with what to do; and that works.
    let hint =
        "if its authority was replaced, give --pin with the pin that `surveil authority show` prints there, once";
    let refused = start_runner(&world, "away", &[&dispatch]).finish_with(7);
    assert!(refused.contains(&format!("given is {first}, its own is {next}; {hint}")), "{refused}");
    let pin = format!("--pin={next}");
    let back = start_runner(&world, "away", &[&dispatch, &pin]);
    world.connected("away");
    stop(back);
    assert_eq!(stored(&world, &joined("away")), next);
    let _back = start_runner(&world, "away", &[&dispatch]);
    world.connected("away");
    let refused = start_runner(&world, "late", &["--join", &late]).finish_with(7);
    assert!(refused.contains(hint), "{refused}");
    let _late = start_runner(&world, "late", &["--join", &late, &pin]);
    world.connected("late");
}
