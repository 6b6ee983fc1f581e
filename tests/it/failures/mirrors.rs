//! Mirrors that are damaged or gone, at start and during work: they are rebuilt from the observer (S16, S30).

use std::fs::{self, File, OpenOptions};
use std::io::{Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use crate::harness::{Repository, World, job, until};

fn mirror(world: &World) -> PathBuf {
    world.data().join("mirrors/app.git")
}

/// The largest pack of the mirror.
fn pack(world: &World) -> PathBuf {
    let packs = fs::read_dir(mirror(world).join("objects/pack")).unwrap().map(|entry| entry.unwrap().path());
    let packs = packs.filter(|path| path.extension().is_some_and(|ending| ending == "pack"));
    packs.max_by_key(|path| path.metadata().unwrap().len()).unwrap()
}

/// Opens a pack for writing; packs are read-only files.
fn writable(path: &Path) -> File {
    let mut permissions = path.metadata().unwrap().permissions();
    #[expect(clippy::permissions_set_readonly_false, reason = "packs are read-only, and this is to write to one")]
    permissions.set_readonly(false);
    fs::set_permissions(path, permissions).unwrap();
    OpenOptions::new().write(true).open(path).unwrap()
}

/// Writes zeros over the middle of a pack, where its objects are.
fn zero(path: &Path) {
    let (mut file, len) = (writable(path), path.metadata().unwrap().len());
    file.seek(SeekFrom::Start(len / 4)).unwrap();
    file.write_all(&vec![0; usize::try_from(len / 2).unwrap()]).unwrap();
}

fn cut(path: &Path) {
    let len = path.metadata().unwrap().len();
    writable(path).set_len(len / 2).unwrap();
}

/// A commit of one task that reads a file of some size; nobody has executed it yet. Its pack is larger than those that
/// the mirror makes durable by a note, which would mend it.
fn commit(repository: &Repository) -> String {
    let noise: String = (0..80_000u64).map(|n| format!("{:016x}", n.wrapping_mul(0x9e37_79b9_7f4a_7c15))).collect();
    repository.write("noise", &noise);
    repository.write("large", &"some words that are there once only\n".repeat(2000));
    for number in 0..40 {
        repository.write(&format!("file{number}"), &format!("{number} {}", "x".repeat(number * 7)));
    }
    repository.commit_script("wc -l < large")
}

/// Sabotage tried: the packs' lengths are not checked; SIGBUS ends the dispatcher when a pack is cut. Another sabotage,
/// a runner's request that is answered at once, is not noticed: the attempt is lost, and the next one finds the source.
#[test]
fn a_job_whose_source_is_damaged_or_gone_gets_it_from_the_observer_and_passes() {
    type Harm = fn(&World);
    let harms: [(&str, Harm); 3] = [
        ("zeroed", |world| zero(&pack(world))),
        ("cut while it is open", |world| cut(&pack(world))),
        ("removed", |world| fs::remove_dir_all(mirror(world)).unwrap()),
    ];
    for (name, harm) in harms {
        let world = World::new();
        let (repository, other) = (world.repository("app"), world.repository("other"));
        let (wanted, elsewhere) = (commit(&repository), other.commit_script("true"));
        let dispatcher = world.dispatcher(&[]);
        let observer = world.observer(&[&repository, &other], &[]);
        observer.says(&format!("{} accepted", &wanted[..7]));
        observer.says(&format!("{} accepted", &elsewhere[..7]));
        harm(&world);
        let _runner = world.runner("w1", &[]);
        world.expect(&elsewhere, "passed");
        let build = world.expect(&wanted, "passed");
        assert_eq!(world.log_of(&build, "test").trim(), "2000", "{name}");
        for attempt in &job(&build, "test").attempts {
            assert!(matches!(attempt.outcome.as_deref(), Some("passed" | "lost")), "{name}: never red: {build:#?}");
        }
        observer.says("was lost at the dispatcher and is sent again");
        assert!(dispatcher.log().contains("is there again"), "{name}: {}", dispatcher.log());
        // The next commit is an ordinary one.
        world.expect(&repository.commit("Next"), "passed");
        until("no warning is left", || !world.status().warnings.iter().any(|text| text.contains("mirror")));
    }
}

/// A job that waits while the dispatcher is away, and its mirror is damaged meanwhile.
#[test]
fn a_mirror_that_is_damaged_at_a_start_is_noticed_set_aside_and_rebuilt() {
    for harm in [zero, cut] {
        noticed_at_a_start(harm);
    }
}

fn noticed_at_a_start(harm: fn(&Path)) {
    let world = World::new();
    let repository = world.repository("app");
    let dispatcher = world.dispatcher(&[]);
    let observer = world.observer(&[&repository], &[]);
    let wanted = commit(&repository);
    observer.says(&format!("{} accepted", &wanted[..7]));
    observer.kill();
    dispatcher.kill();
    harm(&pack(&world));

    let dispatcher = world.dispatcher(&[]);
    dispatcher.says("is set aside as");
    assert!(world.data().join("mirrors/app.git.broken").is_dir());
    until("status tells of it", || world.status().warnings.iter().any(|text| text.contains("mirror of app")));
    let _observer = world.observer(&[&repository], &[]);
    dispatcher.says("is there again");
    let _runner = world.runner("w1", &[]);
    let build = world.expect(&wanted, "passed");
    assert_eq!(job(&build, "test").attempts.len(), 1, "{build:#?}");
    assert!(!world.status().warnings.iter().any(|text| text.contains("mirror")));
}
