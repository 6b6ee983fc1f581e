//! Mistyped and impossible commands: each gets a clear message with what to
//! do, and an exit code that a script can branch on.

use std::process::Stdio;

use crate::harness::{World, job, text};

#[test]
fn the_help_names_the_commands_and_the_exit_codes() {
    let world = World::new();
    let help = world.surveil(&["--help"]).ok();
    let commands = [
        "up",
        "dispatcher",
        "observer",
        "runner",
        "status",
        "show",
        "logs",
        "why",
        "cancel",
        "rerun",
        "start",
        "runners",
        "drain",
        "resume",
        "wake",
        "token",
        "login",
        "logout",
        "run",
        "check",
        "init",
    ];
    for command in commands {
        assert!(help.contains(&format!("\n  {command} ")), "no {command} in\n{help}");
        let page = world.surveil(&[command, "--help"]).ok();
        assert!(page.contains("Examples:") && page.contains("Usage:"), "{page}");
    }
    assert!(help.contains("Exit codes:"), "{help}");
    assert!(world.surveil(&["--version"]).ok().starts_with("surveil "));
    assert!(world.surveil(&["completions", "bash"]).ok().contains("surveil"));
    assert!(world.surveil(&[]).error(2).contains("Usage:"));
}

#[test]
fn wrong_flags_are_told_with_what_may_be_meant() {
    let world = World::new();
    let cases: [(&[&str], &str); 12] = [
        (&["staus"], "status"),
        (&["dispatcher", "--prot=1"], "--port"),
        (&["dispatcher", "--port=70000"], "70000"),
        (&["dispatcher", "--heartbeat-timeout=1s", "--heartbeat-interval=1s"], "at least four times"),
        (&["runner", "--slots=0"], "0"),
        (&["runner", "--label=two words"], "is not a label"),
        (&["runner", "--name=a/b"], "cannot name a runner"),
        (&["runner", "--dispatch=nowhere"], "nowhere"),
        (&["observer"], "REPO"),
        (&["logs", "latest", "--offset=x"], "x"),
        (&["logs", "b1/test", "lint"], "already names a task"),
        (&["status", "--format=xml"], "json"),
    ];
    for (arguments, text) in cases {
        let error = world.surveil(arguments).error(2);
        assert!(error.contains(text), "{arguments:?}: {error}");
    }
}

#[test]
fn without_a_dispatcher_every_question_says_so() {
    // No process listens at this port; the address belongs to this test.
    let world = World::with_port(9);
    let tokens = world.data().join("tokens");
    std::fs::create_dir_all(&tokens).unwrap();
    std::fs::write(tokens.join("operator"), "secret\n").unwrap();
    let questions: [&[&str]; 11] = [
        &["status"],
        &["show", "latest"],
        &["logs", "latest"],
        &["why", "1"],
        &["cancel", "1"],
        &["rerun", "1"],
        &["start", "1", "deploy"],
        &["runners"],
        &["drain", "w1"],
        &["resume", "w1"],
        &["wake", "app"],
    ];
    for arguments in questions {
        let error = world.surveil(arguments).error(5);
        assert!(error.contains("surveil dispatcher") && error.contains(&world.address().to_string()), "{error}");
    }
}

#[test]
fn what_is_not_there_is_told_so() {
    let world = World::new();
    let repository = world.repository("app");
    let commit = repository.commit_script("true");
    let _roles = world.roles(&[&repository]);
    world.expect(&commit, "passed");
    let questions: [&[&str]; 9] = [
        &["show", "7"],
        &["show", "beef"],
        &["logs", "99"],
        &["logs", "latest", "lint"],
        &["why", "latest/lint"],
        &["cancel", "5"],
        &["rerun", "b5"],
        &["start", "b5", "deploy"],
        &["logs", "latest", "test", "--attempt=2"],
    ];
    for arguments in questions {
        let error = world.surveil(arguments).error(6);
        assert!(error.contains("no ") && !error.contains('\u{1b}'), "{arguments:?}: {error}");
    }
    let tasks = world.surveil(&["logs", "latest", "lint"]).error(6);
    assert!(tasks.contains("it has test"), "{tasks}");
}

#[test]
fn a_port_that_is_in_use_is_named_with_what_to_do() {
    let world = World::new();
    let _dispatcher = world.dispatcher(&[]);
    let (host, port) = (world.address().ip().to_string(), world.address().port().to_string());
    let elsewhere = world.path("elsewhere");
    let arguments = ["dispatcher", "--host", &host, "--port", &port, "--data", text(&elsewhere)];
    let error = world.surveil(&arguments).error(7);
    assert!(error.contains("in use") && error.contains("--port"), "{error}");
}

#[test]
fn what_is_no_repository_cannot_be_observed() {
    let world = World::new();
    let _dispatcher = world.dispatcher(&[]);
    let empty = world.path("empty");
    std::fs::create_dir(&empty).unwrap();
    let error = world.surveil(&["observer", text(&empty)]).error(2);
    assert!(error.contains(text(&empty)) && error.contains("git repository"), "{error}");
    let error = world.surveil(&["observer", "/nowhere/at/all"]).error(2);
    assert!(error.contains("/nowhere/at/all"), "{error}");
    let error = world.surveil(&["up", text(&empty), "--once"]).error(2);
    assert!(error.contains(text(&empty)), "{error}");
}

#[test]
fn a_repository_without_a_commit_is_waited_for() {
    let world = World::new();
    let repository = world.repository("app");
    let [_dispatcher, observer, _runner] = world.roles(&[&repository]);
    observer.says("has no branch with a commit yet: commit or push one");
    let commit = repository.commit_script("true");
    world.expect(&commit, "passed");
}

#[test]
fn a_commit_without_tasks_is_errored_and_shows_what_to_write() {
    let world = World::new();
    let repository = world.repository("app");
    repository.write("README", "nothing to do\n");
    let commit = repository.commit("No tasks");
    let _roles = world.roles(&[&repository]);
    let build = world.expect(&commit, "errored");
    assert!(build.jobs.is_empty());
    let shown = world.surveil(&["show", "--wait", "latest"]).with_code(3);
    assert!(shown.contains(".surveil.toml") && shown.contains("[task."), "{shown}");
    // git stores a symbolic link as a link, so it is no task file, which the build and `check` say alike.
    std::os::unix::fs::symlink("README", repository.path.join(".surveil.toml")).unwrap();
    let commit = repository.commit("A link");
    world.expect(&commit, "errored");
    let told = world.surveil_in(&repository.path, &["check"]).error(2);
    for shown in [told, world.surveil(&["show", &commit[..10]]).ok()] {
        assert!(shown.contains(".surveil.toml: this is not a regular file"), "{shown}");
    }
}

#[test]
fn a_mistake_in_the_task_file_is_shown_with_its_place() {
    let world = World::new();
    let repository = world.repository("app");
    let _roles = world.roles(&[&repository]);
    let mistakes = [
        ("[task.build]\nrun = 'make'\ntiemout = '20m'\n", ".surveil.toml:3:1", "write `timeout`"),
        (
            "[task.a]\nrun = 'make'\nneeds = ['b']\n[task.b]\nrun = 'make'\nneeds = ['a']\n",
            ".surveil.toml:3:10",
            "a -> b -> a",
        ),
        ("[task.a]\nrun = 'make\n", ".surveil.toml:2:", "a"),
        ("[task.a]\nrun = 'true'\nneeds = ['biuld']\n", ".surveil.toml:3:10", "`biuld`, which is not a task"),
    ];
    for (file, place, text) in mistakes {
        let commit = repository.commit_tasks(file);
        let build = world.expect(&commit, "errored");
        assert!(build.jobs.is_empty());
        let shown = world.surveil(&["show", &commit[..10]]).ok();
        assert!(shown.contains(place) && shown.contains(text), "{shown}");
    }
    let mended = repository.commit_script("true");
    world.expect(&mended, "passed");
}

#[test]
fn a_label_that_nobody_offers_is_named() {
    let world = World::new();
    let repository = world.repository("app");
    let tasks = "[task.flash]\nlabels = ['os=linux', 'board=rpi4']\nrun = 'true'\n[task.test]\nrun = 'true'\n";
    let commit = repository.commit_tasks(tasks);
    let _roles = world.roles(&[&repository]);
    let build = world.build_that("has one job done", |build| {
        build.commit == commit && build.jobs.iter().any(|job| job.state == "passed")
    });
    assert_eq!(job(&build, "flash").state, "queued", "it holds up nothing else");
    let why = world.surveil(&["why", "latest/flash"]).ok();
    assert!(why.contains("board=rpi4") && !why.contains("os=linux"), "only what is missing: {why}");
    let _board = world.runner("board", &["--label=board=rpi4"]);
    world.expect(&commit, "passed");
}

#[test]
fn a_wrong_token_is_refused_with_the_file_it_came_from() {
    let world = World::new();
    let repository = world.repository("app");
    repository.commit_script("true");
    let _dispatcher = world.dispatcher(&[]);
    let wrong = world.path("wrong");
    std::fs::write(&wrong, "0123456789abcdef\n").unwrap();
    let token = format!("--token-file={}", wrong.display());
    let status = world.surveil(&["status", &token]).error(7);
    assert!(status.contains(text(&wrong)), "{status}");
    let runner = world.surveil(&["runner", &token]).error(7);
    assert!(runner.contains("--token-file"), "{runner}");
    let observer = world.surveil(&["observer", text(&repository.path), &token]).error(7);
    assert!(observer.contains(text(&wrong)) || observer.contains("--token-file"), "{observer}");
    let missing = world.surveil(&["status", "--token-file=/nowhere/token"]).error(7);
    assert!(missing.contains("/nowhere/token"), "{missing}");
    // The token of another role is refused as well.
    let runners = format!("--token-file={}", world.data().join("tokens/runner").display());
    world.surveil(&["status", &runners]).error(7);
}

#[test]
fn nobody_else_can_read_the_tokens() {
    use std::os::unix::fs::PermissionsExt;
    let world = World::new();
    let _dispatcher = world.dispatcher(&[]);
    let mode = |path: &std::path::Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&world.data()), 0o700);
    for role in ["observer", "runner", "operator"] {
        assert_eq!(mode(&world.data().join("tokens").join(role)), 0o600);
    }
}

#[test]
fn a_reader_that_has_read_enough_ends_a_command_quietly() {
    let world = World::new();
    let repository = world.repository("app");
    let commit = repository.commit_script("seq 1 300000");
    let _roles = world.roles(&[&repository]);
    world.expect(&commit, "passed");
    let mut shell = world.sealed("sh");
    let line = "\"$SURVEIL\" logs b1 | head -n 1; \"$SURVEIL\" status >/dev/full; echo $?";
    shell.args(["-c", line]).env("SURVEIL", env!("CARGO_BIN_EXE_surveil"));
    shell.env("SURVEIL_DATA", world.data()).env("SURVEIL_DISPATCH", world.address().to_string());
    shell.stdin(Stdio::null());
    let done = world.run(shell);
    assert_eq!(String::from_utf8_lossy(&done.stdout), "1\n70\n", "{done:?}");
    assert!(done.stderr.contains("could not write the output"), "{}", done.stderr);
    assert_eq!(done.stderr.lines().count(), 1, "nothing about the closed pipe: {}", done.stderr);
}

#[test]
fn output_that_is_no_terminal_has_no_colours() {
    let world = World::new();
    let repository = world.repository("app");
    let commit = repository.commit_script("exit 1");
    let _roles = world.roles(&[&repository]);
    world.expect(&commit, "failed");
    for arguments in [&["status"][..], &["show", "1"], &["why", "1"], &["runners"]] {
        let printed = world.surveil(arguments).ok();
        assert!(!printed.contains('\u{1b}'), "{printed:?}");
    }
}
