//! Observers that start late, die, or run twice; repositories that vanish.

use rustix::process::Signal;

use crate::harness::World;

/// S3: an observer keeps no state, so it can lose none.
#[test]
fn an_observer_that_is_killed_and_started_again_misses_nothing() {
    let world = World::new();
    let repository = world.repository("app");
    let first = repository.commit_script("true");
    let _dispatcher = world.dispatcher(&[]);
    let _runner = world.runner("w1", &[]);
    let observer = world.observer(&[&repository], &["--branch=*"]);
    world.expect(&first, "passed");
    observer.kill();

    let topic = {
        repository.git(&["switch", "--quiet", "--create", "topic"]);
        repository.commit("On a new branch")
    };
    repository.git(&["switch", "--quiet", "main"]);
    let missed: Vec<String> = (0..3).map(|n| repository.commit(&format!("Number {n}"))).collect();
    let _observer = world.observer(&[&repository], &["--branch=*"]);
    world.expect(&topic, "passed");
    let build = world.expect(&missed[2], "passed");
    assert_eq!(build.before, Some(first));
    let why = world.surveil(&["why", &missed[2][..10]]).ok();
    assert!(why.contains("3 commits"), "the range since the last accepted head: {why}");
}

#[test]
fn an_observer_that_is_started_before_the_dispatcher_waits_for_it() {
    let world = World::with_port(9000);
    let repository = world.repository("app");
    let commit = repository.commit_script("true");
    let observer = world.observer(&[&repository], &["--interval=1h"]);
    observer.says("trying again");
    let _dispatcher = world.dispatcher(&[]);
    let _runner = world.runner("w1", &[]);
    world.expect(&commit, "passed");
}

/// S3: heads are compared anew in each session.
#[test]
fn a_commit_made_while_the_dispatcher_is_away_is_built_when_it_is_back() {
    let world = World::new();
    let repository = world.repository("app");
    let first = repository.commit_script("true");
    let dispatcher = world.dispatcher(&[]);
    let observer = world.observer(&[&repository], &["--interval=1h"]);
    let _runner = world.runner("w1", &[]);
    world.expect(&first, "passed");
    dispatcher.kill();
    observer.says("dialling again");
    let second = repository.commit("Second");
    let _dispatcher = world.dispatcher(&[]);
    assert_eq!(world.expect(&second, "passed").before, Some(first));
}

/// S2: the same announcement from two sides makes one build.
#[test]
fn two_observers_of_one_repository_make_one_build_of_each_commit() {
    let world = World::new();
    let repository = world.repository("app");
    let mut commits = vec![repository.commit_script("true")];
    let _dispatcher = world.dispatcher(&[]);
    let observers = [world.observer(&[&repository], &[]), world.observer(&[&repository], &[])];
    let _runner = world.runner("w1", &[]);
    for n in 0..5 {
        world.expect(&commits[n], "passed");
        commits.push(repository.commit(&format!("Number {n}")));
    }
    world.expect(&commits[5], "passed");
    for observer in observers {
        observer.says(&format!("{} accepted", &commits[5][..7]));
    }
    assert_eq!(world.builds().len(), commits.len());
}

/// S2: each move of a branch is a build of its own, also one that was made before, and over a restart of either side.
#[test]
fn a_branch_that_comes_back_to_a_commit_is_built_again() {
    let world = World::new();
    let repository = world.repository("app");
    let c = repository.commit_script("true");
    let dispatcher = world.dispatcher(&[]);
    let observer = world.observer(&[&repository], &["--branch=*"]);
    let _runner = world.runner("w1", &[]);
    let built = |commit: &str, nth: u64| {
        observer.says(&format!("b{nth} app main"));
        let build = world.build_that("passes", |build| build.build == nth && build.state == "passed");
        assert_eq!(build.commit, commit);
    };
    built(&c, 1);
    let d = repository.commit("Second");
    built(&d, 2);
    for (commit, nth) in [(&c, 3), (&d, 4), (&c, 5)] {
        repository.git(&["update-ref", "refs/heads/main", commit]);
        built(commit, nth);
    }

    repository.git(&["update-ref", "refs/heads/topic", &d]);
    observer.says("b6 app topic");
    repository.git(&["update-ref", "-d", "refs/heads/topic"]);
    observer.says("app topic gone");
    repository.git(&["update-ref", "refs/heads/topic", &d]);
    observer.says("b7 app topic");

    dispatcher.kill();
    observer.says("dialling again");
    let _dispatcher = world.dispatcher(&[]);
    let _second = world.observer(&[&repository], &["--branch=*"]);
    repository.git(&["update-ref", "refs/heads/main", &d]);
    // Whichever observer is faster announces it.
    let build = world.build_that("passes", |build| build.build == 8 && build.state == "passed");
    assert_eq!(build.commit, d);
    assert_eq!(world.builds().len(), 8, "what both observers saw is one move");
}

/// S30: a repository that is away is not treated as one without branches.
#[test]
fn a_repository_that_vanishes_and_comes_back_is_followed_on() {
    let world = World::new();
    let repository = world.repository("app");
    let first = repository.commit_script("true");
    let _dispatcher = world.dispatcher(&[]);
    let observer = world.observer(&[&repository], &["--interval=50ms"]);
    let _runner = world.runner("w1", &[]);
    world.expect(&first, "passed");

    let away = world.path("away");
    std::fs::rename(&repository.path, &away).unwrap();
    observer.says("trying again");
    std::fs::rename(&away, &repository.path).unwrap();
    let second = repository.commit("Second");
    assert_eq!(world.expect(&second, "passed").before, Some(first));
    assert!(!observer.log().contains("gone"), "{}", observer.log());
}

#[test]
fn an_observer_that_is_terminated_ends_in_order() {
    let world = World::new();
    let repository = world.repository("app");
    repository.commit_script("true");
    let _dispatcher = world.dispatcher(&[]);
    for signal in [Signal::TERM, Signal::INT] {
        let mut observer = world.observer(&[&repository], &[]);
        observer.says("reached");
        observer.signal(signal);
        assert_eq!(observer.exit_code(), 0);
    }
}
