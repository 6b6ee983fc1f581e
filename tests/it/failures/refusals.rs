//! Two processes for which only one is allowed.

use crate::harness::{World, text};

/// S4: a second dispatcher on the same data would break the promises of the first.
#[test]
fn a_second_dispatcher_on_the_same_data_is_refused() {
    let world = World::new();
    let repository = world.repository("app");
    let commit = repository.commit_script("true");
    let _roles = world.roles(&[&repository]);
    let second = world.surveil(&["dispatcher", "--port=0", "--data", text(&world.data())]).error(7);
    assert!(second.contains("another dispatcher") && second.contains(text(&world.data())), "{second}");
    world.expect(&commit, "passed");
}

#[test]
fn a_second_runner_in_the_same_work_directory_is_refused() {
    let world = World::new();
    let repository = world.repository("app");
    let commit = repository.commit_script("true");
    let _roles = world.roles(&[&repository]);
    world.connected("w1");
    let work = world.path("work-w1");
    let second = world.surveil(&["runner", "--name=w2", "--work", text(&work)]).error(7);
    assert!(second.contains("--work"), "what to do: {second}");
    world.expect(&commit, "passed");
}

/// S14: the first runner keeps the name while it lives.
#[test]
fn a_second_runner_of_the_same_name_waits_until_the_first_is_gone() {
    let world = World::new();
    let repository = world.repository("app");
    let [_dispatcher, _observer, first] = world.roles(&[&repository]);
    world.connected("w1");
    let work = format!("--work={}", world.path("elsewhere").display());
    let second = world.start("second", &["runner", "--name=w1", &work]);
    second.says("a runner named w1 is connected already");
    world.expect(&repository.commit_script("true"), "passed");
    first.kill();
    world.expect(&repository.commit("Second"), "passed");
}

#[test]
fn two_repositories_of_the_same_name_in_one_command_are_refused_with_both_paths() {
    let world = World::new();
    let (one, two) = (world.repository("one/app"), world.repository("two/app"));
    let (first, second) = (one.commit_script("true"), two.commit_script("echo other"));
    let _dispatcher = world.dispatcher(&[]);
    let refused = world.surveil(&["observer", text(&one.path), text(&two.path)]).error(2);
    assert!([text(&one.path), text(&two.path), "--name"].iter().all(|part| refused.contains(part)), "{refused}");
    let _observer = world.observer(&[&one, &two], &["--name=app", "--name=other"]);
    let _runner = world.runner("w1", &[]);
    assert_eq!(world.expect(&first, "passed").repo, "app");
    assert_eq!(world.expect(&second, "passed").repo, "other");
}

#[test]
fn a_second_repository_of_the_same_name_is_refused_with_what_to_do() {
    let world = World::new();
    let (one, two) = (world.repository("one/app"), world.repository("two/app"));
    let first = one.commit_script("true");
    let other = two.commit_script("echo other");
    let _roles = world.roles(&[&one]);
    world.expect(&first, "passed");
    let refused = world.surveil(&["observer", text(&two.path)]).error(7);
    assert!(refused.contains("--name"), "{refused}");
    let _observer = world.observer(&[&two], &["--name=other"]);
    assert_eq!(world.expect(&other, "passed").repo, "other");
    world.expect(&one.commit("Second"), "passed");
}
