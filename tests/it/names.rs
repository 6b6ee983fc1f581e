//! S52: a name that is ambiguous is refused, not guessed; and the names that people have for builds.

use crate::harness::{Repository, World, job, text};

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

/// Sabotage tried: the newest build of the commit is taken.
#[test]
fn a_branch_means_its_own_build_among_those_of_one_commit() {
    let world = World::new();
    let repository = world.repository("app");
    repository.commit_script("true");
    let branches = ["a", "main", "z"];
    repository.git(&["branch", "a"]);
    repository.git(&["branch", "z"]);
    let _dispatcher = world.dispatcher(&[]);
    let _observer = world.observer(&[&repository], &["--branch=*"]);
    for branch in branches {
        world.build_that("is queued", |build| build.branch == branch);
    }
    for (name, branch) in branches.map(|branch| (branch, branch)).into_iter().chain([("HEAD", "main")]) {
        let shown = world.surveil_in(&repository.path, &["show", name]).ok();
        assert!(shown.contains(&format!(", app {branch}, ")), "{name}: {shown}");
        let listed = world.surveil(&["status", "--json", "--branch", branch]).ok();
        let is_listed = |other: &str| listed.contains(&format!("\"branch\":\"{other}\""));
        assert!(branches.iter().all(|other| is_listed(other) == (*other == branch)), "{listed}");
    }
    let error = world.surveil(&["status", "--branch", "nosuch"]).error(6);
    assert!(error.contains("no build of nosuch"), "{error}");
}

/// `latest` in a repository is its own newest build, and elsewhere the newest of all; both are told. Sabotage tried:
/// the directory's repository is not looked for.
#[test]
fn a_name_means_what_it_means_in_the_repository_of_the_current_directory() {
    let world = World::new();
    let (app, web) = (world.repository("app"), world.repository("web"));
    let first = app.commit_script("true");
    let _roles = world.roles(&[&app, &web]);
    world.expect(&first, "passed");
    app.write("sub/file", "");
    let second = app.commit("Second of app");
    world.expect(&second, "passed");
    let third = web.commit_script("echo web");
    world.expect(&third, "passed");

    let shown = |directory: &std::path::Path, arguments: &[&str]| {
        let said = world.surveil_in(directory, &[&["show"], arguments].concat()).ok();
        said.split(' ').next().unwrap().to_owned()
    };
    assert_eq!(shown(&app.path.join("sub"), &["latest"]), "b2");
    assert_eq!(shown(&web.path, &["latest"]), "b3");
    assert_eq!(shown(&world.path("home"), &["latest"]), "b3");
    assert_eq!(shown(&web.path, &["latest", "--repo=app"]), "b2");
    assert_eq!(shown(&world.path("home"), &["latest", "--repo=app", "--branch=main"]), "b2");
    for (name, build) in [("HEAD", "b2"), ("HEAD~1", "b1"), ("main", "b2"), ("main~1", "b1"), (&first[..6], "b1")] {
        assert_eq!(shown(&app.path, &[name]), build, "{name}");
    }
    // A clone that the dispatcher does not know by its own name is known by its origin's.
    let clone = world.path("elsewhere");
    world.git().run(&["clone", "--quiet", text(&app.path), text(&clone)]);
    assert_eq!(shown(&clone, &["latest"]), "b2");

    let logs = world.surveil(&["logs", "latest"]);
    assert_eq!((logs.code, logs.stdout.as_slice()), (0, &b"web\n"[..]));
    assert_eq!(logs.stderr, "surveil: latest is b3 of web main: Change the tasks\n");
    let logs = world.surveil_in(&app.path, &["logs", "HEAD/test"]);
    assert_eq!((logs.code, &*logs.stderr), (0, "surveil: HEAD/test is b2 of app main: Second of app\n"));

    for (arguments, words) in [
        (&["show", "nosuch"][..], "no commit of that name"),
        (&["show", "b3", "--repo=app"], "of repository web"),
        (&["show", "latest", "--repo=app", "--branch=nosuch"], "no build `latest`"),
        (&["why", "latest/nosuch"], "no task `nosuch`"),
        (&["show", "b1/nosuch"], "no task `nosuch`"),
    ] {
        let error = world.surveil_in(&app.path, arguments).error(6);
        assert!(error.contains(words), "{arguments:?}: {error}");
    }
    app.write("unbuilt", "");
    app.git(&["switch", "--quiet", "--detach"]);
    app.commit("Not built");
    let error = world.surveil_in(&app.path, &["show", "HEAD"]).error(6);
    assert!(error.contains("no build of commit") && error.contains("HEAD"), "{error}");
}

/// Sabotage tried: the whole build runs again.
#[test]
fn one_task_runs_again_with_what_it_kept_from_running() {
    let world = World::new();
    let mended = world.path("mended");
    let repository = world.repository("app");
    let commit = repository.commit_tasks(&format!(
        "[task.good]\nrun = 'true'\n[task.bad]\nrun = 'test -e {}'\n[task.after]\nneeds = ['bad']\nrun = 'true'\n\
         [task.other]\nrun = 'exit 1'\nallow_failure = true\n",
        mended.display()
    ));
    let _roles = world.roles(&[&repository]);
    world.expect(&commit, "failed");
    std::fs::write(&mended, "").unwrap();
    let said = world.surveil(&["rerun", "b1/bad"]).ok();
    assert!(said == "build b1: bad will run again, and 1 job that depends on it\n", "{said}");
    let build = world.build_that("has passed", |build| build.state == "passed");
    let attempts = ["good", "bad", "after", "other"].map(|task| job(&build, task).attempts.len());
    assert_eq!(attempts, [1, 2, 1, 1]);
    world.surveil(&["rerun", "b1", "good"]).ok();
    world.build_that("has run once more", |build| {
        build.finished_ms.is_some() && job(build, "good").attempts.len() == 2 && job(build, "bad").attempts.len() == 2
    });
    let cases = [(&["cancel", "b1"][..], "it"), (&["cancel", "b1/bad"], "bad"), (&["cancel", "HEAD"], "it")];
    for (again, what) in cases {
        let said = world.surveil_in(&repository.path, again).ok();
        assert_eq!(said, format!("build b1: {what} is finished already, nothing was cancelled\n"));
    }
    let said = world.surveil(&["rerun", "b1/good", "--failed"]).error(7);
    assert!(said.contains("good of build b1 passed: nothing to run again"), "{said}");
}
