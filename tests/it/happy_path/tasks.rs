//! The keys of a task file and their effect.

use serde_json::json;

use crate::harness::{Wire, World, job, until};

#[test]
fn tasks_run_in_the_order_of_their_needs() {
    let world = World::new();
    let tally = world.tally("order");
    let repository = world.repository("app");
    let task = |name: &str, needs: &str| format!("[task.{name}]\nneeds = {needs}\nrun = '''{}'''\n", tally.add(name));
    let tasks =
        [task("package", "['test', 'lint']"), task("test", "['build']"), task("lint", "[]"), task("build", "[]")];
    let commit = repository.commit_tasks(&tasks.concat());
    let _roles = world.roles(&[&repository]);

    let build = world.expect(&commit, "passed");
    let names: Vec<&str> = build.jobs.iter().map(|job| job.task.as_str()).collect();
    assert_eq!(names, ["package", "test", "lint", "build"], "shown as they stand in the file");
    let order = tally.lines();
    let place = |name: &str| order.iter().position(|line| line == name).unwrap();
    assert_eq!(order.len(), 4, "{order:?}");
    assert!(place("build") < place("test") && place("test") < place("package"), "{order:?}");
    assert!(place("lint") < place("package"), "{order:?}");
}

#[test]
fn a_task_is_skipped_if_one_that_it_needs_does_not_pass() {
    let world = World::new();
    let repository = world.repository("app");
    let commit = repository.commit_tasks(
        "[task.build]\nrun = 'exit 1'\n\
         [task.test]\nneeds = ['build']\nrun = 'true'\n\
         [task.deploy]\nneeds = ['test']\nrun = 'true'\n\
         [task.lint]\nrun = 'true'\n",
    );
    let _roles = world.roles(&[&repository]);

    let build = world.expect(&commit, "failed");
    let states: Vec<(&str, &str)> = build.jobs.iter().map(|job| (job.task.as_str(), job.state.as_str())).collect();
    assert_eq!(states, [("build", "failed"), ("test", "skipped"), ("deploy", "skipped"), ("lint", "passed")]);
    let detail = job(&build, "test").detail.as_deref().unwrap();
    assert!(detail.contains("build"), "{detail}");
    assert!(job(&build, "test").attempts.is_empty());
}

#[test]
fn a_task_that_passes_on_its_second_try_has_passed_and_is_flaky() {
    let world = World::new();
    let repository = world.repository("app");
    let commit = repository.commit_tasks(
        "[task.test]\nretries = 3\nrun = 'echo try $SURVEIL_ATTEMPT; test $SURVEIL_ATTEMPT = 2'\n\
         [task.lint]\nretries = 3\nrun = 'true'\n",
    );
    let _roles = world.roles(&[&repository]);

    let build = world.expect(&commit, "passed");
    assert!(build.flaky && job(&build, "test").flaky && !job(&build, "lint").flaky);
    let outcomes: Vec<_> = job(&build, "test").attempts.iter().map(|attempt| attempt.outcome.as_deref()).collect();
    assert_eq!(outcomes, [Some("failed"), Some("passed")]);
    assert_eq!(world.log_of(&build, "test"), "try 2\n");
    assert_eq!(world.surveil(&["logs", "latest", "test", "--attempt", "1"]).ok(), "try 1\n");
    let shown = world.surveil(&["show", "latest"]).ok();
    assert!(shown.contains("flaky"), "{shown}");
}

#[test]
fn a_task_fails_when_its_retries_are_used_up() {
    let world = World::new();
    let repository = world.repository("app");
    let commit = repository.commit_tasks("[task.test]\nretries = 2\nrun = 'exit 9'\n");
    let _roles = world.roles(&[&repository]);

    let build = world.expect(&commit, "failed");
    assert_eq!(job(&build, "test").attempts.len(), 3);
    assert!(!build.flaky);
}

#[test]
fn an_allowed_failure_fails_neither_the_build_nor_what_needs_it() {
    let world = World::new();
    let repository = world.repository("app");
    let commit = repository.commit_tasks(
        "[task.nightly]\nallow_failure = true\nrun = 'exit 1'\n\
         [task.after]\nneeds = ['nightly']\nrun = 'true'\n",
    );
    let _roles = world.roles(&[&repository]);

    let build = world.expect(&commit, "passed");
    assert_eq!(job(&build, "nightly").state, "failed");
    assert_eq!(job(&build, "after").state, "passed");
}

#[test]
fn a_task_runs_where_all_of_its_labels_are_offered() {
    let world = World::new();
    let repository = world.repository("app");
    let task = |name: &str, labels: &str| format!("[task.{name}]\nlabels = [{labels}]\nrun = 'true'\n");
    let tasks = [task("flash", "'board=rpi4', 'usb'"), task("render", "'gpu'"), task("own", "'os=linux', 'gpu'")];
    let commit = repository.commit_tasks(&tasks.concat());
    let _dispatcher = world.dispatcher(&[]);
    let _observer = world.observer(&[&repository], &[]);
    let _plain = world.runner("plain", &["--label=usb"]);
    let _board = world.runner("board", &["--label=usb", "--label=board=rpi4"]);
    let _render = world.runner("render", &["--label=gpu"]);

    let build = world.expect(&commit, "passed");
    let ran_on = |task: &str| job(&build, task).attempts[0].runner.clone();
    assert_eq!([ran_on("flash"), ran_on("render"), ran_on("own")], ["board", "render", "render"]);
}

#[test]
fn a_task_is_told_what_it_is_and_gets_the_variables_it_asks_for() {
    let world = World::new();
    let repository = world.repository("app");
    let commit = repository.commit_tasks(
        "[task.test]\nenv = { PORT = '8080', HOME = '$HOME/x', CI = 'indeed' }\nrun = 'env'\nlabels = ['os=linux']\n",
    );
    let _roles = world.roles(&[&repository]);

    let build = world.expect(&commit, "passed");
    let log = world.log_of(&build, "test");
    let variable = |name: &str| log.lines().find_map(|line| line.strip_prefix(&format!("{name}=")));
    assert_eq!(variable("PORT"), Some("8080"));
    assert_eq!(variable("HOME"), Some("$HOME/x"), "a value is not expanded");
    assert_eq!(variable("CI"), Some("indeed"));
    assert_eq!(variable("SURVEIL"), Some("true"));
    assert_eq!(variable("SURVEIL_TASK"), Some("test"));
    assert_eq!(variable("SURVEIL_ATTEMPT"), Some("1"));
    assert_eq!(variable("SURVEIL_TRY"), Some("1"), "the older name of it");
    assert_eq!(variable("SURVEIL_REPO"), Some("app"));
    assert_eq!(variable("SURVEIL_BRANCH"), Some("main"));
    assert_eq!(variable("SURVEIL_COMMIT"), Some(&*commit));
    assert_eq!(variable("SURVEIL_RUNNER"), Some("w1"));
    assert_eq!(variable("SURVEIL_BUILD"), Some(&*build.build.to_string()));
    let attempt = build.jobs[0].attempts[0].attempt.to_string();
    assert_eq!(variable("SURVEIL_ATTEMPT_ID"), Some(&*attempt));
    assert_eq!(variable("SURVEIL_DATA"), None, "the runner's own settings are not for tasks: {log}");
}

/// Without `set -e`, a failure in the middle would give a green build.
#[test]
fn a_script_ends_at_the_first_command_that_fails_on_a_runner_and_by_hand() {
    let world = World::new();
    let repository = world.repository("app");
    let commit = repository.commit_tasks(
        "[task.middle]\nrun = \"\"\"\necho first\n(exit 4)\necho never\n\"\"\"\n\
         [task.line]\nrun = 'false; echo never'\n\
         [task.handled]\nrun = \"\"\"\nif false; then exit 9; fi\nfalse || echo handled\n! true\nset +e\nfalse\n\
         echo last\n\"\"\"\n",
    );
    let _roles = world.roles(&[&repository]);

    let build = world.expect(&commit, "failed");
    let ended = |task: &str| job(&build, task).attempts[0].detail.clone();
    assert_eq!((ended("middle").as_deref(), ended("line").as_deref()), (Some("exit code 4"), Some("exit code 1")));
    assert_eq!((job(&build, "handled").state.as_str(), ended("handled")), ("passed", None));
    assert_eq!(world.log_of(&build, "middle"), "first\n");
    assert_eq!(world.log_of(&build, "handled"), "handled\nlast\n");
    let by_hand = world.surveil_in(&repository.path, &["run"]).with_code(1);
    assert!(by_hand.contains("middle: failed") && by_hand.contains("handled: passed"), "{by_hand}");
    assert!(!by_hand.contains("never"), "{by_hand}");
}

/// Without the task's own options, the failure left of the pipe would give a green build.
#[test]
fn a_script_is_executed_by_the_shell_of_its_task_on_a_runner_and_by_hand() {
    let world = World::new();
    let repository = world.repository("app");
    let commit = repository.commit_tasks(
        "[task.pipe]\nshell = ['bash', '-euo', 'pipefail']\nrun = \"\"\"\necho first\n(exit 4) | cat\necho never\n\"\"\"\n\
         [task.loose]\nshell = ['bash']\nrun = '(exit 4) | cat; false; echo \"$BASH_VERSION\" | wc -l'\n\
         [task.place]\nshell = ['printf', '<%s>', '{}', 'end']\nrun = '$HOME `x`'\n\
         [task.absent]\nallow_failure = true\nshell = ['no-such-shell', '-e']\nrun = 'true'\n",
    );
    let _roles = world.roles(&[&repository]);

    let build = world.expect(&commit, "failed");
    assert_eq!(job(&build, "pipe").attempts[0].detail.as_deref(), Some("exit code 4"));
    assert_eq!(world.log_of(&build, "pipe"), "first\n");
    assert_eq!((world.log_of(&build, "loose").trim(), job(&build, "loose").state.as_str()), ("1", "passed"));
    assert_eq!(world.log_of(&build, "place"), "<$HOME `x`><end>");
    let absent = job(&build, "absent");
    assert_eq!(absent.attempts[0].outcome.as_deref(), Some("could_not_start"));
    let detail = absent.detail.as_deref().unwrap();
    assert!(detail.starts_with("could not start: there is no program no-such-shell (looked in "), "{detail}");
    let by_hand = world.surveil_in(&repository.path, &["run"]).with_code(1);
    assert!(by_hand.contains("pipe: failed") && by_hand.contains("loose: passed"), "{by_hand}");
    assert!(by_hand.contains("there is no program no-such-shell"), "{by_hand}");
}

#[test]
fn a_task_starts_in_its_directory_and_in_no_other_on_a_runner_and_by_hand() {
    let world = World::new();
    let repository = world.repository("app");
    repository
        .write_executable("crates/core/say", "#!/bin/sh\npwd | sed 's,.*/crates,crates,'; cat \"$SURVEIL_ROOT/top\"\n");
    repository.write("top", "of it all\n");
    std::os::unix::fs::symlink("/", repository.path.join("away")).unwrap();
    let commit = repository.commit_tasks(
        "[task.core]\ndir = './crates/core'\nrun = './say'\n\
         [task.list]\ndir = 'crates/core'\nrun = ['./say']\n\
         [task.absent]\nallow_failure = true\ndir = 'crates/cor'\nrun = 'echo never'\n\
         [task.outside]\nallow_failure = true\ndir = 'away/tmp'\nrun = 'echo never'\n",
    );
    let _roles = world.roles(&[&repository]);

    let build = world.expect(&commit, "passed");
    for task in ["core", "list"] {
        assert_eq!(world.log_of(&build, task), "crates/core\nof it all\n", "{task}");
    }
    for (task, why) in [("absent", "there is no directory crates/cor in the work tree"), ("outside", "a symbolic link")]
    {
        let job = job(&build, task);
        assert_eq!((job.state.as_str(), job.attempts[0].outcome.as_deref()), ("errored", Some("could_not_start")));
        assert!(job.detail.as_deref().unwrap().contains(why), "{job:?}");
    }
    let by_hand = world.surveil_in(&repository.path.join("crates"), &["run"]);
    let printed = by_hand.ok();
    assert!(printed.contains("crates/core\nof it all\n") && !printed.contains("never"), "{printed}");
    assert!(
        printed.contains("absent: errored in") && printed.contains("there is no directory crates/cor"),
        "{printed}"
    );
    let checked = world.surveil_in(&repository.path, &["check"]);
    let warned = String::from_utf8_lossy(checked.stderr.as_bytes()).into_owned();
    assert!(warned.contains("task `absent` starts in crates/cor, and there is no such directory"), "{warned}");
}

/// A runner of before would start the task at the root.
#[test]
fn a_task_with_a_key_that_no_runner_knows_waits_and_says_so() {
    let world = World::new();
    let repository = world.repository("app");
    repository.write("a/b", "");
    let commit = repository.commit_tasks("[task.core]\ndir = 'a'\nrun = 'true'\n");
    let _dispatcher = world.dispatcher(&[]);
    let _observer = world.observer(&[&repository], &[]);
    let mut old = Wire::quiet(&world, "runner", "old");
    old.say(&json!({"type": "register", "slots": 1, "labels": ["os=linux"], "isolation": "subreaper"}));
    assert_eq!(old.hear()["type"], "registered");
    until("it is told", || {
        let why = String::from_utf8(world.surveil(&["why", "latest"]).stdout).unwrap();
        why.contains("no connected runner knows `dir`: their programs are too old")
    });
    let _new = world.runner("new", &[]);
    assert_eq!(job(&world.finished(&commit), "core").attempts[0].runner, "new");
}

#[test]
fn a_list_of_words_is_a_program_that_is_started_without_a_shell() {
    let world = World::new();
    let repository = world.repository("app");
    repository.write_executable("tools/say", "#!/bin/sh\nprintf '%s|' \"$@\"\n");
    let commit = repository.commit_tasks(
        "[task.found]\nrun = ['printf', '%s', \"it's $HOME\"]\n\
         [task.own]\nrun = ['./tools/say', 'a b', '*']\n\
         [task.missing]\nallow_failure = true\nrun = ['./tools/nothing']\n",
    );
    let _roles = world.roles(&[&repository]);

    let build = world.finished(&commit);
    assert_eq!(world.log_of(&build, "found"), "it's $HOME");
    assert_eq!(world.log_of(&build, "own"), "a b|*|");
    let missing = job(&build, "missing");
    assert_eq!((missing.state.as_str(), missing.attempts.len()), ("errored", 1));
    assert_eq!(missing.attempts[0].outcome.as_deref(), Some("could_not_start"));
}

#[test]
fn a_task_that_takes_too_long_is_ended_with_all_it_started() {
    let world = World::new();
    let repository = world.repository("app");
    let commit = repository.commit_tasks(
        "[task.test]\ntimeout = '300ms'\nrun = 'echo begun; setsid sleep 1000 & trap \"\" TERM; while :; do sleep 1000; done'\n",
    );
    let _dispatcher = world.dispatcher(&[]);
    let _observer = world.observer(&[&repository], &[]);
    let _runner = world.runner("w1", &["--grace=200ms"]);

    let build = world.expect(&commit, "failed");
    let attempt = &job(&build, "test").attempts[0];
    assert_eq!(attempt.outcome.as_deref(), Some("timed_out"));
    let log = world.log_of(&build, "test");
    assert!(log.starts_with("begun\n") && log.contains("reached its timeout"), "{log}");
    assert_eq!(world.processes(&["SURVEIL=true"]), Vec::<String>::new());
}

#[test]
fn a_task_that_prints_nothing_for_its_quiet_time_is_ended_and_says_so_on_a_runner_and_by_hand() {
    let world = World::new();
    let repository = world.repository("app");
    let commit = repository.commit_tasks(
        "[task.hangs]\nquiet_timeout = '400ms'\nrun = 'echo begun; sleep 1000'\n\
         [task.talks]\nquiet_timeout = '30s'\nrun = 'echo done'\n",
    );
    let _roles = world.roles(&[&repository]);

    let build = world.expect(&commit, "failed");
    assert_eq!(job(&build, "talks").state, "passed");
    let attempt = &job(&build, "hangs").attempts[0];
    assert_eq!(
        (attempt.outcome.as_deref(), attempt.reason_code.as_deref()),
        (Some("timed_out"), Some("quiet_timeout"))
    );
    assert_eq!(attempt.detail.as_deref(), Some("it printed nothing for 400 ms"));
    let log = world.log_of(&build, "hangs");
    assert_eq!(log, "begun\nsurveil: the task was ended: it printed nothing for 400 ms\n");
    let shown = world.surveil(&["show", "latest"]).ok();
    assert!(shown.contains("timed out (it printed nothing for 400 ms)"), "{shown}");
    let by_hand = world.surveil_in(&repository.path, &["run"]).with_code(1);
    assert!(
        by_hand.contains("hangs: timed out after") && by_hand.contains("(it printed nothing for 400 ms)"),
        "{by_hand}"
    );
}

#[test]
fn without_a_task_file_each_executable_file_in_tasks_is_a_task() {
    let world = World::new();
    let repository = world.repository("app");
    repository.write("data", "42\n");
    repository.write_executable("tasks/lint", "#!/bin/sh\necho lint; cat data\n");
    repository.write_executable("tasks/test.sh", "#!/bin/sh\nexit 4\n");
    repository.write("tasks/lib.sh", "not a task\n");
    let commit = repository.commit("Two tasks");
    let _roles = world.roles(&[&repository]);

    let build = world.expect(&commit, "failed");
    let names: Vec<&str> = build.jobs.iter().map(|job| job.task.as_str()).collect();
    assert_eq!(names, ["lint", "test.sh"]);
    assert_eq!(job(&build, "lint").state, "passed");
    assert_eq!(job(&build, "test.sh").attempts[0].detail.as_deref(), Some("exit code 4"));
    assert_eq!(world.log_of(&build, "lint"), "lint\n42\n");
}
