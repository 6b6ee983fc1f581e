//! Which builds are trusted: by default, and by the operator's file.

use std::fs;

use rustix::process::Signal;

use crate::harness::{World, text};

/// A ref with the trust of its build and what its task was told.
type Told = (&'static str, &'static str, &'static str);

fn assert_trust(world: &World, expected: &[Told]) {
    for (reference, trust, told) in expected {
        let build = world.build_that(reference, |build| build.reference == *reference && build.finished_ms.is_some());
        assert_eq!((&*build.trust, &*world.log_of(&build, "test")), (*trust, &*format!("{told}\n")), "{reference}");
    }
}

#[test]
fn the_default_branch_and_what_is_watched_by_name_are_trusted_and_pull_requests_are_not() {
    let world = World::new();
    let repository = world.repository("app");
    let first = repository.commit_script("echo $SURVEIL_TRUSTED");
    repository.git(&["branch", "--move", "trunk"]);
    repository.git(&["symbolic-ref", "refs/remotes/origin/HEAD", "refs/remotes/origin/trunk"]);
    let mut dispatcher = world.dispatcher(&[]);
    let flags = ["--branch=*", "--branch=release/1", "--tag=v*", "--tag=w1", "--ref=refs/pull/*/head"];
    let observer = world.observer(&[&repository], &flags);
    let _runner = world.runner("w1", &[]);
    assert_trust(&world, &[("refs/heads/trunk", "trusted", "true")]);
    for name in ["heads/main", "heads/release/1", "heads/release/2", "tags/v1", "tags/w1", "pull/7/head"] {
        repository.git(&["update-ref", &format!("refs/{name}"), &first]);
    }
    let expected = [
        ("refs/heads/main", "untrusted", "false"),
        ("refs/heads/release/1", "trusted", "true"),
        ("refs/heads/release/2", "untrusted", "false"),
        ("refs/tags/v1", "untrusted", "false"),
        ("refs/tags/w1", "trusted", "true"),
        ("refs/pull/7/head", "untrusted", "false"),
    ];
    assert_trust(&world, &expected);

    // The dispatcher remembers what it was told, for orders that come while no observer is connected.
    observer.kill();
    dispatcher.signal(Signal::TERM);
    assert_eq!(dispatcher.exit_code(), 0);
    let _dispatcher = world.dispatcher(&[]);
    for (name, trust) in [("trunk", "trusted"), ("release/1", "trusted"), ("release/2", "untrusted")] {
        let number = world.surveil_in(&repository.path, &["submit", name]).ok();
        let number = number.trim();
        let build = world.build_that(number, |build| format!("b{}", build.build) == number);
        assert_eq!((&*build.trigger, &*build.trust), ("manual", trust), "{name}");
        let shown = world.surveil(&["show", number]).ok();
        assert!(shown.contains(&format!("app {name}, {trust}\n")), "{shown}");
        let why = world.surveil(&["why", number]).ok();
        assert!(why.contains(&format!("{number} is {trust}\n")), "{why}");
    }
}

/// A rerun keeps what was decided: otherwise a change of the file would give an old build of a stranger what it was
/// kept from.
#[test]
fn the_operators_file_says_which_refs_are_trusted_and_a_change_of_it_holds_for_the_next_build() {
    let world = World::new();
    let repository = world.repository("app");
    let first = repository.commit_script("echo $SURVEIL_TRUSTED");
    let file = world.data().join("surveil.toml");
    fs::create_dir_all(world.data()).unwrap();
    fs::write(&file, "[trust]\nbranches = ['release/*']\n[repo.app.trust]\ntags = ['v*']\n").unwrap();
    let dispatcher = world.dispatcher(&[]);
    let _observer = world.observer(&[&repository], &["--branch=*", "--tag=*"]);
    let _runner = world.runner("w1", &[]);
    assert_trust(&world, &[("refs/heads/main", "trusted", "true")]);
    for name in ["heads/release/1", "heads/topic", "tags/v1", "tags/w1"] {
        repository.git(&["update-ref", &format!("refs/{name}"), &first]);
    }
    let expected = [
        ("refs/heads/release/1", "trusted", "true"),
        ("refs/heads/topic", "untrusted", "false"),
        ("refs/tags/v1", "trusted", "true"),
        ("refs/tags/w1", "untrusted", "false"),
    ];
    assert_trust(&world, &expected);

    // A mistake changes nothing, and is told.
    fs::write(&file, "[trust]\nbranchs = ['*']\n").unwrap();
    repository.git(&["update-ref", "refs/heads/release/2", &first]);
    assert_trust(&world, &[("refs/heads/release/2", "trusted", "true")]);
    let status = world.surveil(&["status"]);
    let told = format!("{}{}", String::from_utf8_lossy(&status.stdout), status.stderr);
    assert!(told.contains("surveil.toml:2:1: unknown key `branchs` in `trust`"), "{told}");
    assert!(dispatcher.log().contains("the rules of before are in force"), "{}", dispatcher.log());

    fs::write(&file, "[trust]\nbranches = ['topic*']\n").unwrap();
    repository.git(&["update-ref", "refs/heads/topic2", &first]);
    assert_trust(&world, &[("refs/heads/topic2", "trusted", "true")]);
    let old = world.build_that("topic", |build| build.reference == "refs/heads/topic");
    world.surveil(&["rerun", &format!("b{}", old.build), "test"]).ok();
    let again = world.build_that("again", |build| build.build == old.build && build.jobs[0].attempts.len() == 2);
    assert_eq!(again.trust, "untrusted");
    let again = world.build_that("has ended", |build| build.build == old.build && build.finished_ms.is_some());
    assert_eq!(world.log_of(&again, "test"), "false\n");
}

#[test]
fn a_bad_operators_file_stops_the_start_and_check_says_where_the_mistake_is() {
    let world = World::new();
    let file = world.data().join("surveil.toml");
    fs::create_dir_all(world.data()).unwrap();
    let (path, data) = (text(&file).to_owned(), text(&world.data()).to_owned());
    fs::write(&file, "[trust]\nbranches = ['main', 'v[0-9]']\n[repos.app]\n").unwrap();
    let mut dispatcher = world.start("dispatcher", &["dispatcher", "--port=0", "--data", &data]);
    let place = format!("{path}:2:21: `v[0-9]` has a class of characters");
    dispatcher.says(&place);
    assert_eq!(dispatcher.exit_code(), 2);
    assert!(!world.data().join("surveil.db").exists(), "nothing is begun");
    for server in [vec!["check", "--server", &path], vec!["check", "--server", &data]] {
        let error = world.surveil(&server).error(2);
        assert!(error.contains(&place), "{error}");
        assert!(error.contains(&format!("{path}:3:2: unknown key `repos` in this file")), "{error}");
        assert!(error.contains("write `repo`") && error.contains("2 mistakes"), "{error}");
    }

    fs::write(&file, "[trust]\nbranches = ['release/*']\n[repo.app.trust]\ndefault_branch = false\ntags = []\n")
        .unwrap();
    assert_eq!(
        world.surveil(&["check", "--server", &data]).ok(),
        "trusted refs, by repository:\n  app  branches release/*\n  all others  the default branch; branches \
         release/*; tags that are watched by name\n"
    );
    fs::remove_file(&file).unwrap();
    let said = world.surveil(&["check", "--server", &data]).ok();
    assert!(said.contains("so the defaults are in force"), "{said}");
    assert!(said.contains("  all  the default branch; branches that are watched by name; tags that"), "{said}");
    let error = world.surveil(&["check", "--server", &path]).error(2);
    assert!(error.contains("could not read"), "{error}");
}
