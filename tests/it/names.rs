//! S52: a name that is ambiguous is refused, not guessed; and the names that people have for builds.

use crate::harness::{Repository, World};

/// Makes commits until two begin with the same four digits, and puts a branch on each.
#[track_caller]
fn twins(world: &World, repository: &Repository<'_>) -> [String; 2] {
    let mut stream = String::new();
    let tasks = "[task.test]\nrun = 'true'\n";
    for number in 0..3000 {
        // Each on a ref of its own, so that none has a parent.
        stream += &format!(
            "commit refs/twins/{number}\ncommitter A <a@example.org> {number} +0000\ndata <<.\nTwin {number}\n.\n\
             M 100644 inline .surveil.toml\ndata {}\n{tasks}\n",
            tasks.len()
        );
    }
    std::fs::write(world.path("twins"), stream).unwrap();
    let mut import = world.sealed("sh");
    import.current_dir(&repository.path).args(["-c", "git fast-import --quiet < ../twins"]);
    world.run(import).ok();
    let listed = repository.git(&["for-each-ref", "--sort=objectname", "--format=%(objectname)", "refs/twins"]);
    let ids: Vec<&str> = listed.lines().collect();
    // Digits alone could also be a build's number.
    let is_twin = |pair: &&[&str]| pair[0][..4] == pair[1][..4] && pair[0][..4].parse::<u64>().is_err();
    let pair = ids.windows(2).find(is_twin).expect("among 3000 ids some begin alike");
    for (branch, id) in ["x1", "x2"].into_iter().zip(pair) {
        repository.git(&["branch", branch, id]);
    }
    [pair[0].to_owned(), pair[1].to_owned()]
}

/// Sabotage tried: the newest build of all that fit.
#[test]
fn an_abbreviation_that_fits_two_commits_is_refused_by_every_command() {
    let world = World::new();
    let repository = world.repository("app");
    let twins = twins(&world, &repository);
    let _dispatcher = world.dispatcher(&[]);
    let _observer = world.observer(&[&repository], &["--branch=x*"]);
    for commit in &twins {
        world.build_that("is queued", |build| build.commit == *commit);
    }
    let four = &twins[0][..4];
    let both = format!("{four}/test");
    let commands: [&[&str]; 9] = [
        &["cancel", four],
        &["cancel", &both],
        &["show", four],
        &["show", four, "--wait"],
        &["why", four],
        &["why", &both],
        &["logs", four],
        &["logs", "-f", four, "test"],
        &["rerun", four],
    ];
    for command in commands {
        let error = world.surveil(command).error(7);
        assert!(twins.iter().all(|commit| error.contains(&commit[..12])), "{command:?}: {error}");
        assert!(error.contains("b1 ") && error.contains("b2 ") && error.contains("Twin"), "{command:?}: {error}");
    }
    assert!(world.builds().iter().all(|build| build.finished_ms.is_none()), "nothing was cancelled");
    // As many digits as tell them apart are enough, and so are all of them.
    let apart = (4..40).find(|len| twins[0][..*len] != twins[1][..*len]).unwrap();
    world.surveil(&["cancel", &twins[0][..apart]]).ok();
    world.expect(&twins[0], "cancelled");
    world.surveil(&["cancel", &twins[1]]).ok();
    world.expect(&twins[1], "cancelled");
}

#[test]
fn several_builds_of_one_commit_are_no_ambiguity() {
    let world = World::new();
    let repository = world.repository("app");
    let commit = repository.commit_script("true");
    let _roles = world.roles(&[&repository]);
    world.expect(&commit, "passed");
    repository.git(&["branch", "other"]);
    let _second = world.observer(&[&repository], &["--branch=other", "--name=twin"]);
    world.build_that("is of the other branch", |build| build.branch == "other" && build.finished_ms.is_some());
    let shown = world.surveil(&["show", &commit[..6]]).ok();
    assert!(shown.starts_with("b2 passed") && shown.contains("twin other"), "{shown}");
}
