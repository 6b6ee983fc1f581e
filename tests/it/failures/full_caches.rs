//! Full disks in the middle of the save or the restore of a cache, at either side: the attempt's own outcome stands,
//! and its log says what was missing.

use std::fs;

use crate::harness::{Process, Repository, Volume, World, until};

/// A cache of 20 files of 500 kB. The log says how many of them were restored.
const TASKS: &str = "[task.test]
run = 'ls out 2>/dev/null | wc -l; mkdir -p out; for n in $(seq 20); do head -c 500000 /dev/urandom > out/$n; done'
cache = [{ key = ['lock'], paths = ['out'] }]
";
const BYTES: usize = 10_000_000;

fn repository(world: &World) -> (Repository<'_>, String) {
    let repository = world.repository("app");
    repository.write("lock", "x");
    let first = repository.commit_tasks(TASKS);
    (repository, first)
}

/// A runner that sees the disk.
fn runner(world: &World, volume: &Volume) -> Process {
    let work = format!("--work={}", world.path("work-w1").display());
    let command = world.command(&["runner", "--name=w1", &work, "--min-free=1MiB", "--slots=1"]);
    world.start_command("w1", volume.inside(&command))
}

/// Returns the log of the commit's attempt, which has passed.
#[track_caller]
fn log(world: &World, commit: &str) -> String {
    world.log_of(&world.expect(commit, "passed"), "test")
}

#[test]
fn a_dispatcher_whose_disk_is_full_saves_no_cache_and_restores_those_that_it_has() {
    let world = World::new();
    // Blobs leave 256 MiB: there is room for a third of the cache.
    let Some(volume) = world.volume("data/blobs", "260m") else { return };
    let (repository, first) = repository(&world);
    let command = world.command(&["dispatcher", "--host=127.0.0.1", "--port=0", "--spawn=0"]);
    let dispatcher = world.start_command("dispatcher", volume.inside(&command));
    world.listens_at(dispatcher.listening_at());
    let _observer = world.observer(&[&repository], &[]);
    let _runner = world.runner("w1", &[]);
    let said = log(&world, &first);
    let why = " is not saved: the dispatcher's disk has 255 MiB left, and artifacts leave it 256 MiB\n";
    assert!(said.contains(why), "{said}");
    assert!(world.surveil(&["cache", "list"]).ok().starts_with("there are no caches"), "nothing of it is an entry");
    let arriving = || fs::read_dir(volume.path("arriving")).unwrap().count();
    until("nothing of it is left on the disk", || arriving() == 0);

    volume.enlarge(&world, "400m");
    let said = log(&world, &repository.commit("with room"));
    assert!(said.contains(" yet\n0\n") && said.contains("surveil: saved cache "), "{said}");
    volume.fill();
    fs::remove_dir_all(world.path("work-w1/caches")).unwrap();
    let said = log(&world, &repository.commit("full"));
    assert!(said.contains(&format!(", {BYTES} of them received\n20\n")), "{said}");
}

#[test]
fn a_runner_without_room_for_copies_saves_and_restores_all_the_same() {
    let world = World::new();
    let Some(volume) = world.volume("work-w1/caches", "4m") else { return };
    let (repository, first) = repository(&world);
    let _dispatcher = world.dispatcher(&[]);
    let _observer = world.observer(&[&repository], &[]);
    let _runner = runner(&world, &volume);
    let said = log(&world, &first);
    assert!(said.contains("surveil: saved cache "), "{said}");
    for commit in ["again", "once more"] {
        let said = log(&world, &repository.commit(commit));
        let (before, after) = said.split_once(" of them received\n").unwrap_or_else(|| panic!("{said}"));
        let received: usize = before.rsplit_once(' ').unwrap().1.parse().unwrap();
        assert!(received > BYTES / 2 && received < BYTES, "some copies are there: {said}");
        assert_eq!(after, "20\n");
    }
}

#[test]
fn a_runner_whose_disk_is_full_in_the_middle_restores_nothing_and_executes_the_task() {
    let world = World::new();
    let Some(volume) = world.volume("work-w1/trees", "16m") else { return };
    let (repository, first) = repository(&world);
    let _dispatcher = world.dispatcher(&[]);
    let _observer = world.observer(&[&repository], &[]);
    let _runner = runner(&world, &volume);
    let said = log(&world, &first);
    assert!(said.contains("surveil: saved cache "), "{said}");
    // The tree is empty again, so that the disk can be filled.
    world.expect(&repository.commit_script("true"), "passed");
    // From the runner's own copies, and then over the connection.
    let filler = volume.path("filler");
    for is_own in [true, false] {
        if !is_own {
            fs::remove_dir_all(world.path("work-w1/caches")).unwrap();
        }
        fs::write(&filler, vec![1; 10_000_000]).unwrap();
        // The task writes no files, so that it passes on the full disk.
        repository.write(".surveil.toml", &TASKS.replace("seq 20", "seq 0"));
        let said = log(&world, &repository.commit("full"));
        assert!(said.contains(" could not be restored: could not write `out/"), "{said}");
        assert!(said.ends_with("No space left on device (os error 28)\n0\n"), "{said}");
        fs::remove_file(&filler).unwrap();
    }
    let said = log(&world, &repository.commit("with room"));
    assert!(said.ends_with(" of them received\n20\n"), "{said}");
}
