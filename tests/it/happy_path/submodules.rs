//! Submodules in the work tree of a task: `submodules`.

use std::fs;

use crate::harness::{Repository, World};

const TASKS: &str = "[task.with]\nrun = 'cat lib/file; git submodule status; git status --porcelain'\nsubmodules = true\n\
                     [task.without]\nrun = 'ls lib; git status --porcelain'\n";

/// A repository with a submodule at a relative URL, whose objects it does not have itself.
fn with_submodule(world: &World) -> (Repository<'_>, Repository<'_>) {
    let library = world.repository("lib");
    library.write("file", "of the library\n");
    library.commit("first");
    // git fetches submodules from paths only if a person has said so.
    fs::write(world.path("home").join(".gitconfig"), "[protocol \"file\"]\n\tallow = always\n").unwrap();
    let repository = world.repository("app");
    repository.git(&["submodule", "--quiet", "add", "../lib", "lib"]);
    (repository, library)
}

#[test]
fn a_task_has_the_submodules_at_the_commits_that_its_commit_names() {
    let world = World::new();
    let (repository, library) = with_submodule(&world);
    let commit = repository.commit_tasks(TASKS);
    fs::remove_dir_all(repository.path.join(".git/modules")).unwrap();
    let roles = world.roles(&[&repository]);
    let build = world.expect(&commit, "passed");
    let id = library.head();
    let log = world.log_of(&build, "with");
    assert!(log.starts_with(&format!("of the library\n {id} lib")) && log.lines().count() == 2, "{log}");
    assert_eq!(world.log_of(&build, "without"), "");

    // Nobody is there to send it again, and another runner gets it from the dispatcher.
    let [_dispatcher, observer, runner] = roles;
    observer.kill();
    runner.kill();
    fs::remove_dir_all(world.path("work")).unwrap();
    let _runner = world.runner("w2", &[]);
    world.surveil(&["rerun", "b1"]).ok();
    let again = world.build_that("has run again", |build| {
        build.finished_ms.is_some() && build.jobs.iter().all(|job| job.attempts.len() >= 2)
    });
    assert!(world.log_of(&again, "with").starts_with("of the library\n"));
}

#[test]
fn a_submodule_that_cannot_be_fetched_makes_an_errored_build_that_says_why() {
    let world = World::new();
    let (repository, _library) = with_submodule(&world);
    repository.git(&["config", "--file", ".gitmodules", "submodule.lib.url", "https://ada:secret@127.0.0.1:1/lib"]);
    repository.git(&["config", "--unset", "submodule.lib.url"]);
    let commit = repository.commit_tasks(TASKS);
    fs::remove_dir_all(repository.path.join(".git/modules")).unwrap();
    let _roles = world.roles(&[&repository]);
    let problem = world.expect(&commit, "errored").problem.unwrap();
    assert!(problem.contains("submodule lib") && problem.contains("127.0.0.1"), "{problem}");
    assert!(!problem.contains("secret"), "{problem}");
}
