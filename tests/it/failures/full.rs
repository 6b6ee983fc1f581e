//! Full disks of the dispatcher (S5, S16, B1, B2).

use std::os::unix::fs::symlink;
use std::time::Duration;

use crate::harness::{Process, Volume, World, job, now, text, until};

/// A dispatcher that sees the disk, and listens at the same address as the one before it.
fn dispatcher(world: &World, volume: &Volume, more: &[&str]) -> Process {
    let arguments = [&["dispatcher", "--host=127.0.0.1", "--port=0", "--spawn=0"], more].concat();
    let dispatcher = world.start_command("dispatcher", volume.inside(&world.command(&arguments)));
    world.listens_at(dispatcher.listening_at());
    dispatcher
}

/// B1. Sabotage: with the core's second try left out, the dispatcher ends when its disk is full.
#[test]
fn a_dispatcher_whose_disk_is_full_acknowledges_nothing_stays_up_and_heals() {
    let world = World::new();
    let Some(volume) = world.volume("disk", "2m") else { return };
    let data = volume.place().join("data");
    // The same directory for processes that do not see the disk.
    symlink(volume.path("data"), world.data()).unwrap();
    let (repository, gate, runs) = (world.repository("app"), world.gate("gate"), world.tally("runs"));
    let quick = ["--data", text(&data), "--heartbeat-interval=500ms", "--heartbeat-timeout=3s"];
    let dispatcher = dispatcher(&world, &volume, &quick);
    let observer = world.observer(&[&repository], &[]);
    let _runner = world.runner("w1", &["--slots=2"]);
    world.expect(&repository.commit_script("true"), "passed");
    // One attempt that runs all the time, and many attempts that create records.
    let busy = (0..200).map(|n| format!("[task.t{n}]\nrun = 'true'\n")).collect::<String>();
    let held = format!("[task.held]\nrun = '{}; {}'\n", runs.add("held"), gate.wait());
    let held = repository.commit_tasks(&(held + &busy));
    runs.reaches(1);

    until("the core has no room", || {
        volume.fill();
        dispatcher.log().contains("nothing is accepted until this passes")
    });
    let full = now();
    let refused = repository.commit("Refused");
    observer.says(&format!("{} was refused", &refused[..7]));
    let status = world.surveil(&["status"]).ok();
    assert!(status.contains("warning: ") && status.contains("is full"), "{status}");
    assert!(status.contains("running") && !status.contains(&refused[..7]), "{status}");
    // Longer than a runner may be silent.
    until("some time has passed", || now() - full > Duration::from_secs(5));
    assert!(!dispatcher.log().contains("is away"), "{}", dispatcher.log());

    volume.enlarge(&world, "64m");
    dispatcher.says("takes records again");
    gate.open();
    let build = world.expect(&held, "passed");
    assert_eq!(job(&build, "held").attempts.len(), 1, "it was not lost");
    gate.open();
    world.expect(&refused, "passed");
}

/// B2. Sabotage: with a log that is never cut, the attempt does not end.
#[test]
fn an_attempt_whose_log_finds_no_room_keeps_its_outcome_and_says_what_is_missing() {
    let world = World::new();
    let Some(volume) = world.volume("data/logs", "256k") else { return };
    let repository = world.repository("app");
    let dispatcher = dispatcher(&world, &volume, &[]);
    let _observer = world.observer(&[&repository], &[]);
    let _runner = world.runner("w1", &["--slots=2"]);
    let loud = repository
        .commit_tasks("[task.loud]\nrun = 'head -c 1000000 /dev/zero | tr \"\\\\0\" x'\n[task.quiet]\nrun = 'true'\n");
    let build = world.expect(&loud, "passed");
    let attempts = &job(&build, "loud").attempts;
    assert_eq!(attempts.len(), 1, "{build:#?}");
    assert!(attempts[0].log_bytes <= 256 * 1024, "{build:#?}");
    dispatcher.says("no room for the log of attempt");
    let said = world.surveil(&["logs", "latest", "loud"]);
    assert!(said.stderr.contains("the dispatcher's disk was full"), "{}", said.stderr);
    assert_eq!(said.stdout.len() as u64, attempts[0].log_bytes);
    volume.enlarge(&world, "64m");
    let next = world.expect(&repository.commit("Next"), "passed");
    assert_eq!(job(&next, "loud").attempts[0].log_bytes, 1_000_000);
}

/// B2: source that finds no room is refused visibly, and sent again.
#[test]
fn a_commit_that_finds_no_room_in_its_mirror_is_refused_and_taken_in_when_there_is() {
    let world = World::new();
    let Some(volume) = world.volume("data/mirrors", "400k") else { return };
    let repository = world.repository("app");
    let dispatcher = dispatcher(&world, &volume, &[]);
    let observer = world.observer(&[&repository], &[]);
    let _runner = world.runner("w1", &[]);
    world.expect(&repository.commit_script("true"), "passed");
    repository.git(&["config", "core.compression", "0"]);
    let noise: String = (0..200_000u64).map(|n| format!("{:x}", n.wrapping_mul(0x9e37_79b9_7f4a_7c15))).collect();
    repository.write("large", &noise);
    let large = repository.commit("Large");
    observer.says(&format!("{} was refused", &large[..7]));
    dispatcher.says("could not receive the source of");
    assert!(!world.builds().iter().any(|build| build.commit == large));
    volume.enlarge(&world, "64m");
    world.expect(&large, "passed");
}

/// The authority is what a first start writes last. Peers would rely on a part of it.
#[test]
fn a_first_start_without_room_for_the_authority_names_the_file_and_leaves_nothing_of_it() {
    let world = World::new();
    let Some(volume) = world.volume("data/tls", "64k") else { return };
    volume.fill();
    let command = world.command(&["dispatcher", "--host=127.0.0.1", "--port=0", "--spawn=0"]);
    let refused = world.start_command("dispatcher", volume.inside(&command)).finish_with(70);
    let key = world.data().canonicalize().unwrap().join("tls/authority.key");
    let told = format!("could not write {} of the certificate authority: No space left on device", key.display());
    assert!(refused.contains(&told), "{refused}");
    let left = || std::fs::read_dir(volume.path("")).unwrap().map(|entry| entry.unwrap().file_name());
    assert_eq!(left().collect::<Vec<_>>(), ["filler"]);
    volume.enlarge(&world, "1m");
    let dispatcher = dispatcher(&world, &volume, &[]);
    dispatcher.says("certificate authority made");
    assert_eq!(left().count(), 3, "the key and the pin");
    // The key is all that is needed: a full disk neither stops the next start, nor encrypted connections.
    volume.fill();
    drop(dispatcher);
    let _dispatcher = self::dispatcher(&world, &volume, &[]);
    let pin = std::fs::read_to_string(volume.path("pin")).unwrap();
    world.surveil(&["status", &format!("--pin={}", pin.trim())]).ok();
    let refused = world.surveil(&["authority", "rotate"]).error(70);
    assert!(refused.contains("could not write") && refused.contains("No space left on device"), "{refused}");
    assert_eq!(left().count(), 3, "nothing else is left");
}
