//! Tags, pull requests and other refs: what is built, what is not, and what a deleted ref ends.

use rustix::process::Signal;

use serde_json::json;

use crate::harness::{Process, Repository, Wire, World, hello, job, text, until};

/// The refs of all builds, in the order of the builds, each with the event.
fn built(world: &World) -> Vec<(String, String)> {
    world.builds().into_iter().map(|build| (build.reference, build.trigger)).collect()
}

fn pairs(list: &[(&str, &str)]) -> Vec<(String, String)> {
    list.iter().map(|(name, event)| ((*name).to_owned(), (*event).to_owned())).collect()
}

/// Waits until a build of this ref is finished.
fn expect(world: &World, reference: &str, commit: &str) {
    world.build_that(reference, |build| {
        build.reference == reference && build.commit == commit && build.finished_ms.is_some()
    });
}

/// Ends an observer, so that its place is free.
fn stop(mut observer: Process) {
    observer.signal(Signal::TERM);
    assert_eq!(observer.exit_code(), 0);
}

/// S34: the first look builds none of the tags that are there, and every later tag is built once, whatever restarts.
#[test]
fn tags_that_are_there_at_the_first_look_are_not_built_and_every_later_one_is() {
    let world = World::new();
    let repository = world.repository("app");
    let first = repository.commit_script("echo $SURVEIL_COMMIT");
    for number in 0..50 {
        let kind: &[&str] = if number % 2 == 0 { &["--annotate", "--message=x"] } else { &[] };
        repository.git(&[&["tag"], kind, &[&format!("v{number}")]].concat());
    }
    let mut dispatcher = world.dispatcher(&[]);
    let watching = ["--tag=v*", "--interval=1h"];
    let observer = world.observer(&[&repository], &watching);
    let _runner = world.runner("w1", &[]);
    observer.says("first look at refs/tags/v*: 50 of 50 refs are not built");
    expect(&world, "refs/heads/main", &first);

    let second = repository.commit("Second");
    expect(&world, "refs/heads/main", &second);
    repository.git(&["tag", "--annotate", "--message=x", "v50"]);
    expect(&world, "refs/tags/v50", &second);
    repository.git(&["tag", "x1"]);
    repository.git(&["tag", "--force", "v3"]);
    expect(&world, "refs/tags/v3", &second);
    let mut expected = vec![
        ("refs/heads/main", "push"),
        ("refs/heads/main", "push"),
        ("refs/tags/v50", "tag"),
        ("refs/tags/v3", "tag"),
    ];
    assert_eq!(built(&world), pairs(&expected));

    // Nothing is built again after a restart of either, and nothing is missed meanwhile.
    stop(observer);
    dispatcher.signal(Signal::TERM);
    assert_eq!(dispatcher.exit_code(), 0);
    repository.git(&["tag", "v51"]);
    let _dispatcher = world.dispatcher(&[]);
    let observer = world.observer(&[&repository], &watching);
    expect(&world, "refs/tags/v51", &second);
    expected.push(("refs/tags/v51", "tag"));
    assert_eq!(built(&world), pairs(&expected));

    // A pattern that is added later brings no flood either.
    stop(observer);
    repository.git(&["tag", "v52"]);
    let observer = world.observer(&[&repository], &["--tag=v*", "--tag=x*", "--interval=1h"]);
    observer.says("first look at refs/tags/x*: 1 of 1 refs are not built");
    expect(&world, "refs/tags/v52", &second);
    repository.git(&["tag", "x2"]);
    expect(&world, "refs/tags/x2", &second);
    expected.extend([("refs/tags/v52", "tag"), ("refs/tags/x2", "tag")]);
    assert_eq!(built(&world), pairs(&expected));
    let said = world.surveil(&["why", "latest"]).ok();
    assert!(said.contains("was the first commit seen of tag x2"), "{said}");
}

#[test]
fn a_backlog_builds_the_newest_refs_of_the_first_look() {
    let world = World::new();
    let repository = world.repository("app");
    repository.commit_script("true");
    for (name, seconds) in [("b", 3), ("a", 4), ("c", 2), ("d", 1)] {
        let date = format!("100000000{seconds} +0000");
        let mut git = world.sealed("git");
        git.current_dir(&repository.path).env("GIT_COMMITTER_DATE", date);
        git.args(["-c", "user.name=A", "-c", "user.email=a@b", "tag", "--annotate", "--message=x", name]);
        world.run(git).ok();
    }
    let _dispatcher = world.dispatcher(&[]);
    let _observer = world.observer(&[&repository], &["--tag=*", "--backlog=2", "--interval=1h"]);
    let _runner = world.runner("w1", &[]);
    let head = repository.head();
    for tag in ["refs/tags/a", "refs/tags/b"] {
        expect(&world, tag, &head);
    }
    repository.git(&["tag", "e"]);
    expect(&world, "refs/tags/e", &head);
    // By age, so that the newest build is of the newest tag.
    let tag = |name| (name, "tag");
    let expected = [("refs/heads/main", "push"), tag("refs/tags/b"), tag("refs/tags/a"), tag("refs/tags/e")];
    assert_eq!(built(&world), pairs(&expected));
}

/// Tags that are pushed together are built in the order of their times, whatever their names are. Tags of one time are
/// counted as people count.
#[test]
fn tags_that_come_together_are_built_in_the_order_of_their_times() {
    let world = World::new();
    let repository = world.repository("app");
    repository.commit_script("true");
    let _dispatcher = world.dispatcher(&[]);
    let observer = world.observer(&[&repository], &["--tag=*", "--interval=1h"]);
    let _runner = world.runner("w1", &[]);
    let head = repository.head();
    expect(&world, "refs/heads/main", &head);
    stop(observer);
    for (name, seconds) in [("a", 7), ("b", 3), ("v10", 5), ("v9", 5), ("c", 4)] {
        let date = format!("100000000{seconds} +0000");
        let mut git = world.sealed("git");
        git.current_dir(&repository.path).env("GIT_COMMITTER_DATE", date);
        git.args(["-c", "user.name=A", "-c", "user.email=a@b", "tag", "--annotate", "--message=x", name]);
        world.run(git).ok();
    }
    let _observer = world.observer(&[&repository], &["--tag=*", "--interval=1h"]);
    expect(&world, "refs/tags/a", &head);
    let names: Vec<String> = built(&world).into_iter().map(|(reference, _)| reference).collect();
    assert_eq!(
        names,
        ["refs/heads/main", "refs/tags/b", "refs/tags/c", "refs/tags/v9", "refs/tags/v10", "refs/tags/a"]
    );
}

/// The refs of a forge's pull requests, in a bare repository and through a URL.
#[test]
fn pull_requests_are_built_from_a_bare_repository_and_from_a_url() {
    for through_url in [false, true] {
        let world = World::new();
        let bare = world.path("app.git");
        world.git().run(&["init", "--quiet", "--bare", "--initial-branch=main", text(&bare)]);
        let desk = world.repository("desk");
        let first = desk.commit_script("true");
        desk.git(&["push", "--quiet", text(&bare), "main", "main:refs/pull/1/head", "main:refs/pull/1/merge"]);
        let hosted: Repository<'_> = world.repository_at(bare.clone());
        let _dispatcher = world.dispatcher(&[]);
        let _runner = world.runner("w1", &[]);
        let glob = "--ref=refs/pull/*/head";
        let observer = if through_url {
            let (dispatch, url) = (format!("--dispatch={}", world.address()), format!("file://{}", text(&bare)));
            let work = format!("--work={}", text(&world.path("mirrors")));
            world.start("observer", &["observer", &url, &dispatch, &work, glob, "--interval=1s"])
        } else {
            world.observer(&[&hosted], &[glob])
        };
        observer.says("1 of 1 refs are not built");
        expect(&world, "refs/heads/main", &first);
        let second = desk.commit("Second");
        desk.git(&["push", "--quiet", text(&bare), "main:refs/pull/2/head", "main:refs/pull/2/merge"]);
        expect(&world, "refs/pull/2/head", &second);
        desk.git(&["push", "--quiet", "--force", text(&bare), "main:refs/pull/1/head"]);
        expect(&world, "refs/pull/1/head", &second);
        let expected = [("refs/heads/main", "push"), ("refs/pull/2/head", "ref"), ("refs/pull/1/head", "ref")];
        assert_eq!(built(&world), pairs(&expected), "through a URL: {through_url}");
    }
}

/// What a runner has goes on; what nobody has is cancelled, with the reason.
#[test]
fn a_deleted_tag_cancels_what_is_queued_for_it_and_nothing_that_runs() {
    let world = World::new();
    let repository = world.repository("app");
    let gate = world.gate("gate");
    let wait = gate.wait();
    repository.commit_tasks(&format!("[task.a]\nrun = '{wait}'\n[task.b]\nrun = 'true'\n"));
    let _dispatcher = world.dispatcher(&[]);
    let observer = world.observer(&[&repository], &["--branch=none", "--tag=*", "--interval=1h"]);
    observer.says("first look");
    let _runner = world.runner("w1", &["--slots=1"]);
    world.connected("w1");
    repository.git(&["tag", "v1"]);
    world.build_that("a executes", |build| build.branch == "refs/tags/v1" && job(build, "a").state == "running");
    repository.git(&["tag", "--delete", "v1"]);
    world.build_that("b is cancelled", |build| job(build, "b").state == "cancelled");
    let said = world.surveil(&["why", "latest", "b"]).ok();
    assert!(said.contains("cancelled: tag v1 was deleted"), "{said}");
    gate.open();
    let ended = world.build_that("the build ends", |build| build.finished_ms.is_some());
    assert_eq!((job(&ended, "a").state.as_str(), ended.state.as_str()), ("passed", "cancelled"));
    // A tag that comes back is a new build.
    repository.git(&["tag", "v1"]);
    gate.open();
    world.build_that("of the tag again", |build| build.build == 2 && build.state == "passed");
}

/// A tag of a tree names no commit; the others go on.
#[test]
fn a_tag_of_a_tree_is_passed_over_once() {
    let world = World::new();
    let repository = world.repository("app");
    let first = repository.commit_script("true");
    let _dispatcher = world.dispatcher(&[]);
    let observer = world.observer(&[&repository], &["--tag=*", "--interval=1h"]);
    let _runner = world.runner("w1", &[]);
    observer.says("first look");
    repository.git(&["tag", "tree", "HEAD^{tree}"]);
    repository.git(&["tag", "v1"]);
    expect(&world, "refs/tags/v1", &first);
    repository.git(&["tag", "v2"]);
    expect(&world, "refs/tags/v2", &first);
    let told = observer.log().matches("refs/tags/tree of").count();
    assert_eq!(told, 1, "{}", observer.log());
    assert_eq!(built(&world).len(), 3);
}

/// An old dispatcher would refuse them one by one.
#[test]
fn a_glob_of_the_wrong_kind_is_refused_with_the_flag_for_it() {
    let world = World::new();
    let repository = world.repository("app");
    let said = |flag: &str| world.surveil(&["observer", text(&repository.path), flag]).error(2);
    assert!(said("--branch=refs/tags/v*").contains("write --tag 'v*'"));
    assert!(said("--tag=refs/pull/*/head").contains("write --ref 'refs/pull/*/head'"));
    assert!(said("--ref=refs/heads/main").contains("write --branch 'main'"));
    assert!(said("--ref=v1").contains("give the full name of a ref"));
}

/// The hook of examples/hooks, run by git: it wakes an observer that would look in an hour, and that has to fetch.
#[test]
fn a_push_wakes_an_observer_of_a_remote_through_the_hook_and_fails_for_nothing() {
    let world = World::new();
    let bare = world.path("app.git");
    world.git().run(&["init", "--quiet", "--bare", "--initial-branch=main", text(&bare)]);
    let desk = world.repository("desk");
    let first = desk.commit_script("true");
    desk.git(&["push", "--quiet", text(&bare), "main"]);
    let hook = bare.join("hooks/post-receive");
    std::fs::create_dir_all(bare.join("hooks")).unwrap();
    std::fs::copy(concat!(env!("CARGO_MANIFEST_DIR"), "/examples/hooks/post-receive"), &hook).unwrap();

    let mut dispatcher = world.dispatcher(&[]);
    let token = world.data().join("tokens/operator");
    let hosted = world.repository_at(bare.clone());
    for (key, value) in [
        ("surveil.program", env!("CARGO_BIN_EXE_surveil")),
        ("surveil.dispatch", &world.address().to_string()),
        ("surveil.tokenFile", text(&token)),
    ] {
        hosted.git(&["config", key, value]);
    }
    let said = world.surveil(&["wake", "app"]).error(6);
    let nothing = "no observer watches a repository named app now: no repository is watched; `surveil observer REPO`";
    assert!(said.contains(nothing), "{said}");

    let _runner = world.runner("w1", &[]);
    let (dispatch, url) = (format!("--dispatch={}", world.address()), format!("file://{}", text(&bare)));
    let work = format!("--work={}", text(&world.path("mirrors")));
    let observer = world.start("observer", &["observer", &url, &dispatch, &work, "--interval=24h"]);
    world.expect(&first, "passed");

    let second = desk.commit("Second");
    desk.git(&["push", "--quiet", text(&bare), "main"]);
    world.expect(&second, "passed");
    let log = bare.join("surveil-wake.log");
    let woken = format!("the observer of app looks at {url} now\n");
    until("the hook's log", || std::fs::read_to_string(&log).is_ok_and(|said| said == woken));
    assert_eq!(world.surveil(&["wake", "app"]).ok(), woken);
    // A directory stands for the name that the observer gives it.
    assert_eq!(world.surveil_in(&bare, &["wake", "."]).ok(), woken);
    let said = world.surveil(&["wake", "ap"]).error(6);
    let nearly = "no observer watches a repository named ap now (did you mean app?): watched is app";
    assert!(said.contains(nearly), "{said}");

    stop(observer);
    until("the observer's leave", || {
        // The dispatcher may not have seen the end of its session yet.
        let done = world.surveil(&["wake", "app"]);
        done.code == 6 && done.stderr.contains("no observer watches app now: no repository is watched")
    });
    dispatcher.signal(Signal::TERM);
    assert_eq!(dispatcher.exit_code(), 0);
    desk.commit("Third");
    desk.git(&["push", "--quiet", text(&bare), "main"]);
    until("the hook's complaint", || {
        std::fs::read_to_string(&log).is_ok_and(|said| said.contains("no dispatcher answers"))
    });
}

/// An observer of a version that does not know `wake` is never sent one, and the person hears of that.
#[test]
fn an_observer_that_cannot_be_woken_is_told_apart() {
    let world = World::new();
    let _dispatcher = world.dispatcher(&[]);
    let status = json!({"type": "status", "repo": "app", "source": "box:/srv/app"});
    let mut old = Wire::greet(&world, "observer", "old");
    old.ask(&status);
    let said = world.surveil(&["wake", "app"]).error(7);
    assert!(said.contains("the observer of app at box:/srv/app is of a version that cannot be woken"), "{said}");

    let mut new = Wire::dial(&world);
    let mut opening = hello(&world, "observer", "new");
    opening["takes_wakes"] = json!(true);
    new.ask(&opening);
    new.ask(&status);
    let said = world.surveil(&["wake", "app"]).ok();
    let expected = "the observer of app looks at box:/srv/app now; 1 observer of an older version cannot be woken\n";
    assert_eq!(said, expected);
    assert_eq!(new.hear(), json!({"type": "wake", "repo": "app"}));
    // The first thing that the old one hears is the answer to its next question.
    assert_eq!(old.ask(&status)["type"], "heads");
}
