//! Repositories in the states in which git leaves them, and Surveil where git calls it.

use std::process::Command;

use crate::harness::{World, text, until};

/// A script that prints git's variables for one repository that it has, in angle brackets; `<>` if it has none.
const SAYS_LOCAL_VARIABLES: &str = "echo \"<$(for it in $(git rev-parse --local-env-vars) GIT_QUARANTINE_PATH; do \
     env | grep \"^$it=\"; done)>\"";

/// Point 23 of the faults from the field. Without the removal of git's local variables, the task's own repository was
/// the hook's one, and git refused to write in the quarantine of a push.
#[test]
fn a_hook_may_run_tasks_which_have_their_own_repositories() {
    let world = World::new();
    let repository = world.repository("app");
    let other = world.repository("other");
    let there = other.commit("A commit of another repository");
    let commit = repository.commit_script(&format!(
        "{SAYS_LOCAL_VARIABLES}\ngit -C {0} rev-parse HEAD\ngit -C {0} fetch --quiet . main:refs/heads/hooked",
        text(&other.path)
    ));
    let surveil = env!("CARGO_BIN_EXE_surveil");
    repository.write_executable(".git/hooks/pre-commit", &format!("#!/bin/sh\nexec {surveil} run >&2\n"));
    let mut committing = world.sealed("git");
    committing.current_dir(&repository.path).args(["-c", "user.name=Ada", "-c", "user.email=ada@example.org"]);
    committing.args(["commit", "--quiet", "--allow-empty", "--message", "From a hook"]);
    let said = world.run(committing).error(0);
    assert!(said.contains("<>") && said.contains(&there), "{said}");

    // A push is in quarantine while this hook runs, so git refuses to write refs in any repository.
    let bare = world.path("bare.git");
    repository.git(&["clone", "--quiet", "--bare", ".", text(&bare)]);
    let tree = text(&repository.path);
    let hook = bare.join("hooks/pre-receive");
    std::fs::write(&hook, format!("#!/bin/sh\nexec {surveil} run --dir {tree} >&2\n")).unwrap();
    Command::new("chmod").arg("+x").arg(&hook).status().unwrap();
    other.git(&["update-ref", "-d", "refs/heads/hooked"]);
    let mut pushing = world.sealed("git");
    pushing.current_dir(&repository.path).args(["push", "--quiet", text(&bare), "HEAD:refs/heads/pushed"]);
    let said = world.run(pushing).error(0);
    assert!(said.contains("<>") && said.contains(&there), "{said}");
    assert_eq!(other.git(&["rev-parse", "hooked"]), there);
    assert_ne!(repository.head(), commit);
}

/// Point 23, for Surveil's own reading: the variables name another repository, and the commit that is built is the one
/// of the repository on the command line.
#[test]
fn variables_of_a_hook_change_nothing_of_what_is_built() {
    let world = World::new();
    let (repository, other) = (world.repository("app"), world.repository("other"));
    let commit = repository.commit_script(&format!("{SAYS_LOCAL_VARIABLES}\necho $SURVEIL_COMMIT"));
    other.commit("Something else");
    let poisoned = |arguments: &[&str]| {
        let mut command = world.command(arguments);
        let git = other.path.join(".git");
        command.envs([
            ("GIT_DIR", git.clone()),
            ("GIT_COMMON_DIR", git.clone()),
            ("GIT_INDEX_FILE", git.join("index")),
        ]);
        command.envs([("GIT_OBJECT_DIRECTORY", git.join("objects")), ("GIT_WORK_TREE", other.path.clone())]);
        command.envs([("GIT_CONFIG_COUNT", "1"), ("GIT_CONFIG_KEY_0", "core.bare"), ("GIT_CONFIG_VALUE_0", "true")]);
        world.run(command).ok()
    };
    let said = poisoned(&["run", "--dir", text(&repository.path)]);
    assert!(said.contains("<>") && said.contains(&commit), "{said}");
    poisoned(&["up", text(&repository.path), "--once", "--port=0"]);
    // Refs of this kind are read by the git program.
    let tables = world.repository_with("tables", &["--ref-format=reftable"]);
    tables.commit_script("true");
    poisoned(&["up", text(&tables.path), "--once", "--port=0"]);
}

/// Point 9: a bare repository whose HEAD names `master` while `main` was pushed.
#[test]
fn a_head_that_names_another_branch_than_was_pushed_is_told_with_commands_that_work() {
    let world = World::new();
    let repository = world.repository("app");
    let commit = repository.commit_script("true");
    let bare = world.repository_at(world.path("served app.git"));
    world.git().run(&["init", "--quiet", "--bare", "--initial-branch=master", text(&bare.path)]);
    let [_dispatcher, observer, _runner] = world.roles(&[&bare]);
    observer.says("has no branch with a commit yet");
    repository.git(&["push", "--quiet", text(&bare.path), "main"]);
    let command = format!("git -C '{}' symbolic-ref HEAD refs/heads/main", text(&bare.path));
    observer.says("names master, which has no commit; the branch that is there: main");
    observer.says("--branch main");
    observer.says(&command);
    let error =
        world.surveil(&["up", text(&bare.path), "--once", "--port=0", "--data", text(&world.path("d"))]).error(2);
    assert!(error.contains("names master") && error.contains(&command) && error.contains("--branch main"), "{error}");
    let mut typed = world.sealed("sh");
    typed.args(["-c", &command]);
    world.run(typed).ok();
    world.expect(&commit, "passed");
}

/// Point 9: the words of ssh are the cause; git's own last line is the same for every cause. ssh asks nothing, because
/// nobody is there to answer.
#[test]
fn a_fetch_that_fails_shows_the_line_of_the_transport() {
    let world = World::new();
    let _dispatcher = world.dispatcher(&[]);
    let programs = world.path("programs");
    std::fs::create_dir(&programs).unwrap();
    let ssh = programs.join("ssh");
    let line = "ssh: Could not resolve hostname nohost.example: Name or service not known";
    std::fs::write(&ssh, format!("#!/bin/sh\necho \"$*\" > {}/asked\necho {line} >&2\nexit 255\n", text(&programs)))
        .unwrap();
    Command::new("chmod").arg("+x").arg(&ssh).status().unwrap();
    let mut command = world.command(&["observer", "git@nohost.example:x.git"]);
    let path = std::env::var("PATH").unwrap();
    command.env("PATH", format!("{}:{path}", text(&programs)));
    let observer = world.start_command("observer", command);
    observer.says("git@nohost.example:x.git: could not clone git@nohost.example:x.git into");
    observer.says(&format!("{line}; fatal: Could not read from remote repository.; trying again"));
    assert!(std::fs::read_to_string(programs.join("asked")).unwrap().contains("BatchMode=yes"));
}

/// After the `git switch --detach` of a reproduction, the task is told the commit that is checked out.
#[test]
fn a_local_run_of_a_detached_head_knows_its_commit() {
    let world = World::new();
    let repository = world.repository("app");
    let first = repository.commit_script("echo [$SURVEIL_COMMIT] [$SURVEIL_BRANCH]");
    repository.commit("Another");
    repository.git(&["switch", "--quiet", "--detach", &first]);
    let said = world.surveil_in(&repository.path, &["run"]).ok();
    assert!(said.contains(&format!("[{first}] []")), "{said}");
}

/// Point 10: nothing of a commit's text reaches a terminal that it obeys or hides, whichever command shows it, and text
/// in an old encoding is readable.
#[test]
fn the_text_of_a_commit_is_shown_readably_and_harmlessly_by_every_command() {
    let world = World::new();
    let repository = world.repository("app");
    repository.write(".surveil.toml", "[task.test]\nrun = 'printf \"a\\033[2Jb\\342\\200\\256c\\n\"; exit 1'\n");
    repository.git(&["add", "--all"]);
    let message = world.path("message");
    std::fs::write(&message, b"Gr\xfc\xdfe").unwrap();
    repository.git(&["-c", "i18n.commitEncoding=ISO-8859-1", "commit", "--quiet", "--file", text(&message)]);
    let first = repository.head();
    let (_dispatcher, _runner) = (world.dispatcher(&[]), world.runner("w1", &[]));
    let observer = world.observer(&[&repository], &["--branch", "*"]);
    world.expect(&first, "failed");
    let branch = "ma\u{200b}in\u{202e}x";
    repository.git(&["switch", "--quiet", "--create", branch]);
    let hostile = "\u{202e}desrever\u{202c} \u{200b}\u{1b}[31mred\u{9b}2J";
    let author = "--author=Ma\u{2066}llory\u{200d} <m@example.org>";
    repository.git(&["commit", "--quiet", "--allow-empty", author, "--message", hostile]);
    world.expect(&repository.head(), "failed");
    observer.says(&repository.head()[..7]);

    let mut said: Vec<String> = [
        &["status"][..],
        &["status", "--format", "json"],
        &["show", "latest"],
        &["show", "latest", "--format", "json"],
        &["why", "latest"],
        &["why", "latest", "--format", "json"],
        &["runners"],
    ]
    .iter()
    .map(|arguments| world.surveil(arguments).ok())
    .collect();
    assert!(said[0].contains("Grüße"), "{}", said[0]);
    let data = world.path("another");
    let up = ["up", text(&repository.path), "--once", "--port=0", "--data", text(&data)];
    said.push(world.surveil(&up).with_code(1));
    said.push(observer.log());
    for text in &said {
        let bad = text.chars().find(|c| {
            (c.is_control() && *c != '\n')
                || matches!(c, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
        });
        assert_eq!(bad, None, "{text}");
    }
}

/// Point 20: a remote that accepts the connection and says nothing. git and what it started end with the observer, also
/// when that is killed.
#[test]
fn a_git_that_hangs_ends_with_the_observer() {
    let world = World::new();
    let server = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("git://{}/app.git", server.local_addr().unwrap());
    let _dispatcher = world.dispatcher(&[]);
    let before = world.processes(&[]).len();
    for is_killed in [true, false] {
        let mut observer = world.start("observer", &["observer", &url]);
        let connection = server.accept().unwrap();
        assert!(world.processes(&[]).len() > before + 1, "git is running");
        if is_killed {
            observer.kill();
        } else {
            observer.signal(rustix::process::Signal::TERM);
            assert_eq!(observer.exit_code(), 0);
        }
        until("nothing is left of git", || world.processes(&[]).len() == before);
        drop(connection);
    }
}
