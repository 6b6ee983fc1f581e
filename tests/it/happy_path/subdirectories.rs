//! Commands that are typed below the root of a repository, or in a directory that git takes for another repository's.

use crate::harness::{World, text};

/// A repository whose task prints where it runs, with a directory that has a task file of its own.
fn tasks() -> &'static str {
    "[task.where]\nrun = 'echo \"here: $(pwd) $SURVEIL_REPO $SURVEIL_COMMIT\"'\n"
}

#[test]
fn a_local_run_and_a_check_are_of_the_root_of_the_tree() {
    let world = World::new();
    let repository = world.repository("app");
    repository.write("crates/core/lib.rs", "");
    repository.write("crates/own/.surveil.toml", "[task.other]\nrun = 'false'\n");
    let commit = repository.commit_tasks(tasks());
    let root = repository.path.canonicalize().unwrap();
    let printed = format!("here: {} app {commit}\n", text(&root));
    let below = repository.path.join("crates/core");

    let done = world.surveil_in(&below, &["run"]);
    assert!(
        done.stderr.contains(&format!("the tasks run at the root of the repository, {}\n", text(&root))),
        "{done:?}"
    );
    let said = done.ok();
    assert!(said.contains(&printed), "{said}");
    let said = world.surveil(&["run", "--dir", text(&below)]).ok();
    assert!(said.contains(&printed), "{said}");
    let at_root = world.surveil_in(&repository.path, &["run"]);
    assert_eq!(at_root.stderr, "", "nothing is to be said");

    let checked = world.surveil_in(&repository.path.join("crates/own"), &["check"]);
    assert!(checked.stderr.contains(".surveil.toml is not read"), "{checked:?}");
    assert!(checked.ok().contains("where"), "the root's tasks");
    let file = world.surveil_in(&below, &["check", "../own/.surveil.toml"]).ok();
    assert!(file.contains("other"), "a file is checked as it is: {file}");

    // A linked worktree and a submodule have a `.git` file. Their own roots count.
    repository.git(&["worktree", "add", "--quiet", "../linked"]);
    let linked = world.path("linked").canonicalize().unwrap();
    let said = world.surveil_in(&linked.join("crates/core"), &["run"]).ok();
    assert!(said.contains(&format!("here: {} linked {commit}\n", text(&linked))), "{said}");
    let outer = world.repository("outer");
    outer.git(&["-c", "protocol.file.allow=always", "submodule", "--quiet", "add", text(&root), "inner"]);
    let inner = outer.path.join("inner").canonicalize().unwrap();
    let said = world.surveil_in(&inner.join("crates"), &["run"]).ok();
    assert!(said.contains(&format!("here: {} inner {commit}\n", text(&inner))), "{said}");

    let bare = world.path("bare.git");
    repository.git(&["clone", "--quiet", "--bare", ".", text(&bare)]);
    for command in ["run", "check", "init"] {
        let error = world.surveil_in(&bare, &[command]).error(2);
        assert!(error.contains("bare.git, which has no work tree"), "{command}: {error}");
    }
    world.surveil_in(&bare.join("refs"), &["run", "--clean"]).ok();
}

#[test]
fn a_first_task_file_is_written_at_the_root() {
    let world = World::new();
    let repository = world.repository("app");
    repository.write("Makefile", "all:\n");
    repository.write("sub/Cargo.toml", "");
    let said = world.surveil_in(&repository.path.join("sub"), &["init"]).ok();
    let file = repository.path.canonicalize().unwrap().join(".surveil.toml");
    assert!(file.is_file() && said.contains(&format!("{} is written for Makefile", text(&file))), "{said}");
    assert!(!repository.path.join("sub/.surveil.toml").exists());
}

/// Point 24 of the faults from the field, for `up`, and what it starts from: the repository's name is the root's.
#[test]
fn up_builds_the_repository_that_holds_the_directory() {
    let world = World::new();
    let repository = world.repository("app");
    repository.write("crates/core/lib.rs", "");
    let commit = repository.commit_tasks(tasks());
    let below = repository.path.join("crates/core");
    let root = repository.path.canonicalize().unwrap();
    let here = world.surveil_in(&below, &["up", "--once", "--port=0"]);
    assert!(here.stderr.contains(&format!("is in the repository {}, which is watched\n", text(&root))), "{here:?}");
    assert!(here.ok().contains(", as `app`"));
    let again = world.surveil_in(&repository.path, &["up", "crates", "--once", "--port=0"]).ok();
    assert!(again.contains("This commit was built before"), "the same repository: {again}");
    let shown = world.surveil_in(&below, &["show", "HEAD"]).ok();
    assert!(shown.contains(&commit), "{shown}");
    let nowhere = world.path("nowhere");
    std::fs::create_dir(&nowhere).unwrap();
    for arguments in [&["up", "--port=0"][..], &["observer", "."]] {
        let error = world.surveil_in(&nowhere, arguments).error(2);
        assert!(error.contains("nowhere is no git repository, and in none"), "{error}");
    }
}

#[test]
fn an_observer_watches_the_repository_that_holds_the_directory() {
    let world = World::new();
    let repository = world.repository("app");
    repository.write("crates/core/lib.rs", "");
    let commit = repository.commit_tasks(tasks());
    let _dispatcher = world.dispatcher(&[]);
    let below = repository.path.join("crates/core");
    let twice = world.surveil(&["observer", text(&below), text(&repository.path)]).error(2);
    assert!(twice.contains("are one repository"), "{twice}");
    let observer = world.start("observer", &[text(&below)]);
    observer.says("crates/core is in the repository");
    let runner = world.start("runner", &["runner", text(&below)]);
    runner.says("crates/core is in the repository");
    world.expect(&commit, "passed");
}

/// `GIT_DIR` says to git which repository the current directory belongs to. A path on the command line stands for
/// itself.
#[test]
fn git_dir_names_the_repository_of_the_current_directory() {
    let world = World::new();
    let (repository, other) = (world.repository("app"), world.repository("other"));
    let commit = repository.commit_tasks(tasks());
    let elsewhere = other.commit_tasks(tasks());
    let with_git_dir = |arguments: &[&str]| {
        let mut command = world.command(arguments);
        command.current_dir(world.path("home")).env("GIT_DIR", repository.path.join(".git"));
        world.run(command)
    };
    let said = with_git_dir(&["up", "--once", "--port=0"]).ok();
    assert!(said.contains(", as `app`"), "{said}");
    let shown = with_git_dir(&["show", "HEAD"]).ok();
    assert!(shown.contains(&commit), "{shown}");
    let said = with_git_dir(&["run", "--clean"]).ok();
    assert!(said.contains(&commit), "{said}");
    let said = with_git_dir(&["run", "--dir", text(&other.path)]).ok();
    assert!(said.contains(&elsewhere), "{said}");
}
