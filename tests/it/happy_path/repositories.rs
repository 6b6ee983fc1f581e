//! Every kind of repository, and every change of its branches.

use crate::harness::{World, text};

const TASK: &str = "[task.test]\nrun = 'cat file'\n";

#[test]
fn one_observer_watches_several_repositories() {
    let world = World::new();
    let repositories = ["one", "two", "three"].map(|name| world.repository(name));
    let commits =
        repositories.each_ref().map(|repository| repository.commit_script("pwd >/dev/null; echo $SURVEIL_REPO"));
    let _roles = world.roles(&repositories.each_ref());

    for (commit, repository) in commits.iter().zip(["one", "two", "three"]) {
        let build = world.build_that("of that name", |build| build.repo == repository && build.finished_ms.is_some());
        assert_eq!((&build.commit, build.state.as_str()), (commit, "passed"));
        assert_eq!(world.log_of(&build, "test"), format!("{repository}\n"));
    }
    let again = repositories[1].commit("Again");
    assert_eq!(world.expect(&again, "passed").repo, "two");
}

#[test]
fn a_repository_is_observed_under_the_name_it_is_given() {
    let world = World::new();
    let repository = world.repository("app");
    let commit = repository.commit_script("true");
    let _dispatcher = world.dispatcher(&[]);
    let _observer = world.observer(&[&repository], &["--name=another"]);
    let _runner = world.runner("w1", &[]);
    assert_eq!(world.expect(&commit, "passed").repo, "another");
}

#[test]
fn a_push_to_a_bare_repository_is_noticed_at_once() {
    let world = World::new();
    let bare = world.path("app.git");
    world.git().run(&["init", "--quiet", "--bare", "--initial-branch=main", text(&bare)]);
    let desk = world.repository("desk");
    desk.git(&["remote", "add", "origin", text(&bare)]);
    desk.write("file", "first\n");
    let first = desk.commit_tasks(TASK);
    desk.git(&["push", "--quiet", "origin", "main"]);
    let hosted = world.repository_at(bare);
    let _dispatcher = world.dispatcher(&[]);
    let _observer = world.observer(&[&hosted], &["--interval=1h"]);
    let _runner = world.runner("w1", &[]);
    assert_eq!(world.expect(&first, "passed").repo, "app");

    desk.write("file", "second\n");
    let second = desk.commit("Second");
    desk.git(&["push", "--quiet", "origin", "main"]);
    let build = world.expect(&second, "passed");
    assert_eq!(world.log_of(&build, "test"), "second\n");
}

#[test]
fn a_linked_worktree_has_a_branch_of_its_own() {
    let world = World::new();
    let repository = world.repository("app");
    repository.write("file", "main\n");
    repository.commit_tasks(TASK);
    let linked = world.path("linked");
    repository.git(&["worktree", "add", "--quiet", "-b", "feature", text(&linked)]);
    let linked = world.repository_at(linked);
    linked.write("file", "feature\n");
    let first = linked.commit("First");
    let _dispatcher = world.dispatcher(&[]);
    let _observer = world.observer(&[&linked], &["--interval=1h"]);
    let _runner = world.runner("w1", &[]);

    let build = world.expect(&first, "passed");
    assert_eq!((build.repo.as_str(), build.branch.as_str()), ("linked", "feature"));
    linked.write("file", "again\n");
    let second = linked.commit("Second");
    let build = world.expect(&second, "passed");
    assert_eq!(world.log_of(&build, "test"), "again\n");
}

#[test]
fn a_repository_of_sha256_objects_is_built() {
    let world = World::new();
    let repository = world.repository_with("app", &["--object-format=sha256"]);
    repository.write("file", "first\n");
    let first = repository.commit_tasks(TASK);
    assert_eq!(first.len(), 64);
    let _roles = world.roles(&[&repository]);
    world.expect(&first, "passed");
    repository.write("file", "second\n");
    let second = repository.commit("Second");
    let build = world.expect(&second, "passed");
    assert_eq!(world.log_of(&build, "test"), "second\n");
}

#[test]
fn a_repository_with_its_refs_in_reftables_is_built() {
    let world = World::new();
    let version = world.git().run(&["--version"]);
    let number: Vec<u32> = version.split(['.', ' ']).filter_map(|part| part.parse().ok()).collect();
    if number < vec![2, 45] {
        // The git program of this machine cannot make such a repository.
        return;
    }
    let repository = world.repository_with("app", &["--ref-format=reftable"]);
    repository.write("file", "first\n");
    let first = repository.commit_tasks(TASK);
    let _dispatcher = world.dispatcher(&[]);
    let _observer = world.observer(&[&repository], &["--interval=1h"]);
    let _runner = world.runner("w1", &[]);
    world.expect(&first, "passed");
    repository.write("file", "second\n");
    let second = repository.commit("Second");
    let build = world.expect(&second, "passed");
    assert_eq!(world.log_of(&build, "test"), "second\n");
}

#[test]
fn a_branch_whose_ref_is_packed_is_seen_and_followed() {
    let world = World::new();
    let repository = world.repository("app");
    repository.write("file", "first\n");
    let first = repository.commit_tasks(TASK);
    repository.git(&["pack-refs", "--all"]);
    repository.git(&["gc", "--quiet"]);
    let _roles = world.roles(&[&repository]);
    world.expect(&first, "passed");
    repository.write("file", "second\n");
    let second = repository.commit("Second");
    repository.git(&["pack-refs", "--all"]);
    assert_eq!(world.expect(&second, "passed").before, Some(first));
}

#[test]
fn a_forced_push_is_built_like_any_other() {
    let world = World::new();
    let repository = world.repository("app");
    repository.write("file", "base\n");
    let base = repository.commit_tasks(TASK);
    repository.write("file", "first\n");
    let first = repository.commit("First");
    let _roles = world.roles(&[&repository]);
    world.expect(&first, "passed");

    repository.git(&["reset", "--quiet", "--hard", &base]);
    repository.write("file", "other\n");
    // The observer must not see the state in between.
    let other = repository.commit("Other");
    let build = world.expect(&other, "passed");
    assert_eq!(world.log_of(&build, "test"), "other\n");
}

#[test]
fn a_branch_that_is_deleted_and_made_again_is_built_again() {
    let world = World::new();
    let repository = world.repository("app");
    repository.write("file", "main\n");
    let main = repository.commit_tasks(TASK);
    repository.git(&["switch", "--quiet", "--create", "topic"]);
    repository.write("file", "topic\n");
    let topic = repository.commit("Topic");
    let _dispatcher = world.dispatcher(&[]);
    let observer = world.observer(&[&repository], &["--branch=*"]);
    let _runner = world.runner("w1", &[]);
    world.expect(&main, "passed");
    world.expect(&topic, "passed");

    repository.git(&["switch", "--quiet", "main"]);
    repository.git(&["branch", "--quiet", "-D", "topic"]);
    observer.says("app topic gone");
    repository.git(&["switch", "--quiet", "--detach"]);
    repository.write("file", "new topic\n");
    let again = repository.commit("Another topic");
    repository.git(&["branch", "topic"]);
    let build = world.expect(&again, "passed");
    assert_eq!((build.branch.as_str(), build.before), ("topic", None));
}

#[test]
fn branches_are_selected_by_globs() {
    let world = World::new();
    let repository = world.repository("app");
    repository.write("file", "main\n");
    let main = repository.commit_tasks(TASK);
    let mut commits = Vec::new();
    for branch in ["release/1", "release/2", "topic"] {
        repository.git(&["switch", "--quiet", "--create", branch, "main"]);
        repository.write("file", branch);
        commits.push(repository.commit(branch));
    }
    let _dispatcher = world.dispatcher(&[]);
    let _observer = world.observer(&[&repository], &["--branch=release/*", "--branch=main"]);
    let _runner = world.runner("w1", &[]);
    for commit in [&main, &commits[0], &commits[1]] {
        world.expect(commit, "passed");
    }
    repository.git(&["switch", "--quiet", "--create", "release/3", "main"]);
    repository.write("file", "three");
    let third = repository.commit("Third release");
    assert_eq!(world.expect(&third, "passed").branch, "release/3");
    let branches: Vec<String> = world.builds().into_iter().map(|build| build.branch).collect();
    assert!(!branches.contains(&"topic".to_owned()), "{branches:?}");
}

#[test]
fn a_repository_at_a_url_is_mirrored_and_followed() {
    let world = World::new();
    let repository = world.repository("app");
    repository.write("file", "first\n");
    let first = repository.commit_tasks(TASK);
    let _dispatcher = world.dispatcher(&[]);
    let url = format!("file://{}", repository.path.display());
    let _observer = world.start("observer", &["observer", &url, "--interval=50ms"]);
    let _runner = world.runner("w1", &[]);
    let build = world.expect(&first, "passed");
    assert_eq!(build.repo, "app");
    assert_eq!(world.log_of(&build, "test"), "first\n");
}

#[test]
fn a_watched_repository_is_left_as_it_is() {
    let world = World::new();
    let repository = world.repository("app");
    repository.write("file", "first\n");
    let commit = repository.commit_tasks(TASK);
    // An operation that a user is in the middle of.
    repository.write("file", "half done\n");
    repository.write("new", "");
    repository.git(&["add", "new"]);
    let state = || {
        let show = |arguments: &[&str]| repository.git(arguments);
        [show(&["status", "--porcelain"]), show(&["for-each-ref"]), show(&["count-objects", "-v"]), show(&["diff"])]
    };
    let before = state();
    let _roles = world.roles(&[&repository]);
    let build = world.expect(&commit, "passed");
    assert_eq!(world.log_of(&build, "test"), "first\n", "what is committed is built, not what lies there");
    assert_eq!(state(), before);
}
