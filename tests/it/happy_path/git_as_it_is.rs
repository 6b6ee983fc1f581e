//! Repositories in the states in which git leaves them, and Surveil where git calls it.

use std::process::Command;

use crate::harness::{World, text};

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
