//! The three roles, each started by hand, and the commits they see.

use crate::harness::{World, job, text};

#[test]
fn a_commit_in_a_watched_repository_passes_on_a_runner() {
    let world = World::new();
    let repository = world.repository("app");
    let commit = repository.commit_script("echo hello; echo oops >&2");

    // Exactly as in README, but for the port and the directories.
    let data = world.data();
    let dispatcher = world.start("dispatcher", &["dispatcher", "--port=0", "--spawn=0", "--data", text(&data)]);
    let address = dispatcher.listening_at();
    assert!(address.ip().is_loopback(), "nothing but loopback unless asked to");
    world.listens_at(address);
    let dispatch = format!("--dispatch={address}");
    let _observer = world.start("observer", &[&dispatch, text(&repository.path)]);
    let _runner = world.start("runner", &["runner", &dispatch]);

    let build = world.expect(&commit, "passed");
    assert_eq!((build.repo.as_str(), build.branch.as_str(), build.before.as_ref()), ("app", "main", None));
    assert_eq!((build.subject.as_str(), build.author.as_str()), ("Change the tasks", "Ada <ada@example.org>"));
    assert_eq!(world.log_of(&build, "test"), "hello\noops\n");
}

#[test]
fn a_second_commit_is_noticed_at_once_and_not_by_the_poll() {
    let world = World::new();
    let repository = world.repository("app");
    let first = repository.commit_script("true");
    let _dispatcher = world.dispatcher(&[]);
    let _observer = world.observer(&[&repository], &["--interval=1h"]);
    let _runner = world.runner("w1", &[]);
    world.expect(&first, "passed");

    let second = repository.commit("Second");
    let build = world.expect(&second, "passed");
    assert_eq!(build.before.as_deref(), Some(&*first));

    repository.git(&["pack-refs", "--all"]);
    let third = repository.commit("Third");
    assert_eq!(world.expect(&third, "passed").before.as_deref(), Some(&*second));
}

#[test]
fn a_red_commit_fails_with_its_exit_code_and_the_next_is_judged_anew() {
    let world = World::new();
    let repository = world.repository("app");
    let red = repository.commit_script("echo broken; exit 3");
    let _roles = world.roles(&[&repository]);

    let build = world.expect(&red, "failed");
    let attempt = &job(&build, "test").attempts[0];
    assert_eq!(attempt.outcome.as_deref(), Some("failed"));
    assert_eq!(attempt.detail.as_deref(), Some("exit code 3"));

    let green = repository.commit_script("echo mended");
    world.expect(&green, "passed");
}
