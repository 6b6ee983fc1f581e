//! Builds that a person asks for: `surveil submit`.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use crate::harness::{Repository, Wire, World, job, text};

/// The path, the size and the times of everything in a directory, so that any change shows.
fn listing(directory: &Path) -> Vec<String> {
    let mut found = Vec::new();
    let mut open = vec![directory.to_owned()];
    while let Some(directory) = open.pop() {
        for entry in fs::read_dir(&directory).unwrap() {
            let path = entry.unwrap().path();
            let meta = fs::symlink_metadata(&path).unwrap();
            found.push(format!("{} {} {:?}", path.display(), meta.len(), meta.modified().unwrap()));
            open.extend(meta.is_dir().then_some(path));
        }
    }
    found.sort();
    found
}

/// A repository with a file that takes several pieces of a pack.
fn large_repository(world: &World) -> (Repository<'_>, String) {
    let repository = world.repository("app");
    let large: String = (0..200_000_u32).map(|number| format!("{:08x}", number.wrapping_mul(2_654_435_761))).collect();
    repository.write("large", &large);
    let commit = repository.commit_tasks(
        "[task.build]\nrun = 'wc -c < large'\n[task.test]\nneeds = ['build']\nrun = 'echo $SURVEIL_BRANCH'\n\
         [task.bad]\nrun = 'false'\n",
    );
    (repository, commit)
}

#[test]
fn a_commit_of_a_repository_that_nobody_watches_is_built_with_its_source() {
    let world = World::new();
    let (repository, commit) = large_repository(&world);
    let _dispatcher = world.dispatcher(&[]);
    let _runner = world.runner("w1", &[]);
    let git_before = listing(&repository.path.join(".git"));

    let done = world.surveil_in(&repository.path, &["submit", "--wait"]);
    let said = done.with_code(1);
    assert!(said.contains("b1 bad: failed (exit code 1)") && said.contains("b1 failed in"), "{said}");
    let build = world.finished(&commit);
    assert_eq!((&*build.trigger, &*build.reference, &*build.trust), ("manual", "refs/heads/main", "trusted"));
    assert_eq!((&*build.subject, &*build.author), ("Change the tasks", "Ada <ada@example.org>"));
    assert_eq!(world.log_of(&build, "build"), "1600000\n");
    assert_eq!(world.log_of(&build, "test"), "main\n");
    assert_eq!(listing(&repository.path.join(".git")), git_before, "the repository is only read");

    // Another build of the same commit: it is asked for again, and the source is there.
    let done = world.surveil(&["submit", "--repo", text(&repository.path), "--task", "test"]);
    assert!(done.stderr.contains("surveil watch") && done.stderr.contains(" b2"), "{}", done.stderr);
    assert_eq!(done.ok(), "b2\n");
    let build = world.build_that("is the second", |build| build.build == 2 && build.finished_ms.is_some());
    assert_eq!(build.state, "passed");
    assert_eq!(job(&build, "build").state, "passed");
    let left_out = job(&build, "bad");
    assert_eq!((&*left_out.state, left_out.reason_code.as_deref()), ("left_out", Some("not_asked")));
    let why = world.surveil(&["why", "b2"]).ok();
    assert!(why.contains(" asked for a build of "), "{why}");
}

#[test]
fn a_submission_goes_on_in_the_history_of_a_watched_repository_and_moves_nothing() {
    let world = World::new();
    let repository = world.repository("app");
    let first = repository.commit_script("true");
    repository.git(&["tag", "--annotate", "--message", "x", "v1"]);
    let (_dispatcher, _runner) = (world.dispatcher(&[]), world.runner("w1", &[]));
    let _observer = world.observer(&[&repository], &["--branch=main"]);
    world.expect(&first, "passed");
    repository.git(&["checkout", "--quiet", "-b", "topic"]);
    let topic = repository.commit_script("false");

    world.surveil_in(&repository.path, &["submit", "topic", "--wait"]).with_code(1);
    let build = world.expect(&topic, "failed");
    assert_eq!((&*build.repo, &*build.branch, &*build.trust), ("app", "topic", "untrusted"));
    world.surveil_in(&repository.path, &["submit", "v1", "--wait"]).ok();
    world.surveil_in(&repository.path, &["submit", &first[..10], "--wait"]).ok();
    let refs: Vec<String> = world.builds().into_iter().map(|build| build.reference).collect();
    assert_eq!(refs, ["refs/heads/main", "refs/heads/topic", "refs/tags/v1", "HEAD"]);

    // The observer announces the branch's next head after the last one that it announced itself.
    repository.git(&["checkout", "--quiet", "main"]);
    let second = repository.commit_script("echo second");
    let build = world.expect(&second, "passed");
    assert_eq!((&*build.trigger, build.before.as_deref()), ("push", Some(&*first)));
}

#[test]
fn what_cannot_be_submitted_is_told_before_a_build_is_made() {
    let world = World::new();
    let (repository, commit) = large_repository(&world);
    let _dispatcher = world.dispatcher(&[]);
    let submit = |more: &[&str]| world.surveil_in(&repository.path, &[&["submit"], more].concat());
    let error = submit(&["nosuch"]).error(2);
    assert!(error.contains("has no commit `nosuch`"), "{error}");
    let error = submit(&["--task", "tets"]).error(6);
    let expected = format!("commit {} has no task `tets` (did you mean test?); it has build, test, bad", &commit[..7]);
    assert!(error.contains(&expected), "{error}");
    let error = submit(&["--name", "two words"]).error(2);
    assert!(error.contains("two words"), "{error}");
    let error = world.surveil(&["submit"]).error(2);
    assert!(error.contains("no git repository"), "{error}");
    assert_eq!(world.builds(), []);
}

#[test]
fn a_broken_task_file_makes_a_build_that_says_what_is_wrong() {
    let world = World::new();
    let repository = world.repository("app");
    repository.commit_tasks("[task.test]\nrum = 'true'\n");
    let _dispatcher = world.dispatcher(&[]);
    let said = world.surveil_in(&repository.path, &["submit", "--wait"]).with_code(3);
    assert!(said.contains(".surveil.toml:2:1: unknown key `rum`"), "{said}");
}

#[test]
fn an_order_that_comes_again_makes_no_second_build_whatever_is_restarted() {
    let world = World::new();
    let repository = world.repository("app");
    let commit = repository.commit_script("true");
    let dispatcher = world.dispatcher(&[]);
    world.surveil_in(&repository.path, &["submit"]).ok();
    let order = |id: char| {
        json!({
            "type": "submit", "id": id.to_string().repeat(32), "repo": "app", "source": "here:/app",
            "ref": "refs/heads/main", "commit": commit,
        })
    };
    let submit = |order: &Value| Wire::greet(&world, "operator", "test").ask(order);
    let made = |build: u64| json!({"type": "submitted", "build": build});
    assert_eq!(submit(&order('a')), made(2), "the same commit, asked for by somebody else");
    assert_eq!(submit(&order('a')), made(2));
    dispatcher.kill();
    let _again = world.dispatcher(&[]);
    assert_eq!(submit(&order('a')), made(2));
    assert_eq!(submit(&order('b')), made(3));
    assert_eq!(world.builds().len(), 3);
}

#[test]
fn a_commit_without_its_source_is_asked_for() {
    let world = World::new();
    let repository = world.repository("app");
    let commit = repository.commit_script("true");
    let _dispatcher = world.dispatcher(&[]);
    let mut operator = Wire::greet(&world, "operator", "test");
    let haves = operator.ask(&json!({"type": "haves", "repo": "app", "commits": [commit]}));
    assert_eq!(haves, json!({"type": "haves", "repo": "app", "commits": [], "max_file": 1_u64 << 30}));
    let mut order =
        json!({"type": "submit", "id": "a".repeat(32), "repo": "app", "source": "x:/app", "commit": commit});
    let asked = operator.ask(&order);
    assert_eq!(asked, json!({"type": "need_source", "repo": "app", "commit": commit}));
    order["ref"] = "main".into();
    let refused = operator.ask(&order);
    assert_eq!((&refused["code"], &refused["reason_code"]), (&"refused".into(), &"ref_name".into()), "{refused}");
    order["id"] = "a".into();
    operator.say(&order);
    operator.expect_refusal("malformed");
}

#[test]
fn values_of_inputs_arrive_in_the_environment_and_are_never_commands() {
    let world = World::new();
    let repository = world.repository("app");
    let commit = repository.commit_tasks(
        "[task.publish]\nrun = 'echo \"$version\" \"$channel\"'\n\
         inputs = { version = { description = 'what to publish' }, channel = { default = 'beta' } }\n\
         [task.test]\nrun = 'echo ${version-none} ${channel-none}'\n",
    );
    let _dispatcher = world.dispatcher(&[]);
    let _runner = world.runner("w1", &[]);
    let submit = |more: &[&str]| world.surveil_in(&repository.path, &[&["submit", "--wait"], more].concat());
    submit(&["--set", "version=1.0 $(touch x) '"]).ok();
    let build = world.expect(&commit, "passed");
    assert_eq!(world.log_of(&build, "publish"), "1.0 $(touch x) ' beta\n");
    assert_eq!(world.log_of(&build, "test"), "none none\n", "it has no inputs");
    submit(&["--task", "publish", "--set=version=", "--set", "channel=a=b"]).ok();
    let build = world.build_that("is the second", |build| build.build == 2 && build.finished_ms.is_some());
    assert_eq!(world.log_of(&build, "publish"), " a=b\n");

    let error = submit(&[]).error(7);
    assert!(error.contains("task publish needs a value for version: give it with --set version=VALUE"), "{error}");
    let error = submit(&["--set", "verison=1"]).error(6);
    assert!(error.contains("no task of this build has an input `verison`: they have channel, version"), "{error}");
    let error = submit(&["--task", "test", "--set", "version=1"]).error(6);
    assert!(error.contains("`version`: they have none"), "{error}");
    submit(&["--set", "version"]).error(2);
    submit(&["--task", "test"]).ok();
    assert_eq!(world.builds().len(), 3);
}

#[test]
fn a_hurried_build_comes_before_those_that_wait() {
    let world = World::new();
    let repository = world.repository("app");
    repository.commit_tasks("[task.a]\nrun = 'true'\n[task.b]\npriority = -5\nrun = 'true'\n");
    let _dispatcher = world.dispatcher(&[]);
    let submit = |more: &[&str]| world.surveil_in(&repository.path, &[&["submit"], more].concat());
    submit(&[]).ok();
    submit(&["--priority", "50"]).ok();
    submit(&["--priority=-50"]).ok();
    submit(&["--priority", "101"]).error(2);
    let _runner = world.runner("w1", &["--slots", "1"]);
    let builds: Vec<_> = (1..=3)
        .map(|n| world.build_that("is finished", |build| build.build == n && build.finished_ms.is_some()))
        .collect();
    let mut attempts: Vec<_> = builds
        .iter()
        .flat_map(|build| build.jobs.iter().map(|job| (job.attempts[0].attempt, build.build, &*job.task)))
        .collect();
    attempts.sort_unstable();
    let order: Vec<_> = attempts.iter().map(|(_, build, task)| format!("b{build}/{task}")).collect();
    assert_eq!(order, ["b2/a", "b2/b", "b1/a", "b1/b", "b3/a", "b3/b"]);
    assert_eq!(builds.iter().map(|build| build.priority).collect::<Vec<_>>(), [0, 50, -50]);
    assert!(world.surveil(&["show", "b3"]).ok().contains("app main, trusted, priority -50\n"));
}

#[test]
fn a_held_task_starts_with_the_values_that_a_person_gives_over_all_restarts() {
    let world = World::new();
    let repository = world.repository("app");
    let commit = repository.commit_tasks(
        "[task.deploy]\nmanual = true\nrun = 'echo \"$version\" \"$place\"'\n\
         inputs = { version = { description = 'what to deploy' }, place = { default = 'staging' } }\n\
         [task.verify]\nneeds = ['deploy']\nrun = 'echo verified \"$version\"'\ninputs = { version = {} }\n",
    );
    let [dispatcher, _observer, _runner] = world.roles(&[&repository]);
    world.expect(&commit, "passed");
    // It would be held, and the build would pass without it.
    let submit = |more: &[&str]| world.surveil_in(&repository.path, &[&["submit", "--task=verify"], more].concat());
    let error = submit(&["--set=version=1"]).error(7);
    assert!(error.contains("task deploy is needed and is manual: name it too, with --task deploy"), "{error}");
    let start = |more: &[&str]| world.surveil(&[&["start", "b1", "deploy"], more].concat());
    let error = start(&[]).error(7);
    assert!(
        error.contains("deploy of build b1 needs a value for version: give it with --set version=VALUE"),
        "{error}"
    );
    let error = start(&["--set", "verison=1"]).error(7);
    assert!(error.contains("deploy of build b1 takes no input `verison`: it takes place, version"), "{error}");
    let error = start(&["--set", &format!("version={}", "1".repeat(32 * 1024 + 1))]).error(7);
    assert!(error.contains("the value of `version` has more than 32768 bytes, or a NUL character"), "{error}");
    start(&["--set", "version"]).error(2);
    assert!(world.surveil(&["show", "b1"]).ok().contains("held"), "nothing has started");

    // The runner that held the slot is gone, so that the values are read from the store.
    drop(_runner);
    assert_eq!(start(&["--set", "version=1.4 $(touch x) '"]).ok(), "build b1: deploy is started\n");
    dispatcher.kill();
    let _dispatcher = world.dispatcher(&[]);
    let _runner = world.runner("w2", &[]);
    let build = world.build_that("has deployed", |build| job(build, "verify").state == "passed");
    assert_eq!(world.log_of(&build, "deploy"), "1.4 $(touch x) ' staging\n");
    assert_eq!(world.log_of(&build, "verify"), "verified 1.4 $(touch x) '\n", "a value is for all tasks that start");
    assert_eq!(job(&build, "deploy").inputs["version"], "1.4 $(touch x) '");
    let shown = world.surveil(&["show", "b1"]).ok();
    assert!(shown.contains("    with version=1.4 $(touch x) '\n"), "{shown}");
    let why = world.surveil(&["why", "b1", "deploy"]).ok();
    assert!(why.contains(" with version=1.4 $(touch x) '"), "{why}");
}
