//! A history of commits, as a project has it: observed, spread over two runners, red in one place.

use crate::harness::{World, job};

#[test]
fn every_commit_of_a_history_gets_its_own_verdict() {
    const COMMITS: usize = 10;
    const RED: usize = 6;
    let world = World::new();
    let repository = world.repository("sum");
    repository.write_executable(
        "check",
        "#!/bin/sh\nfor n in numbers/*; do read -r v < $n; test \"$v\" -ge 0 || exit 1; done\n",
    );
    repository.write(
        ".surveil.toml",
        "[task.build]\nrun = 'cat numbers/* > all; wc -l < all'\nkeep = ['all']\n\
         [task.test]\nneeds = ['build']\nrun = './check'\n\
         [task.lint]\nrun = '! grep -r TODO numbers'\n",
    );
    let _dispatcher = world.dispatcher(&[]);
    let mut commits: Vec<String> = Vec::new();
    let commit = |n: usize| {
        let value = if n == RED { "-1\n".to_owned() } else { format!("{n}\n") };
        let file = if n == RED + 1 { RED } else { n };
        repository.write(&format!("numbers/{file}"), &value);
        repository.commit(&format!("Number {n}"))
    };
    commits.push(commit(0));
    let _observer = world.observer(&[&repository], &[]);
    let _runners = ["left", "right"].map(|name| world.runner(name, &[]));
    for n in 1..COMMITS {
        // The observer sees only heads, so each commit must be seen before the next one.
        world.build_that("of the commit before", |build| build.commit == commits[n - 1]);
        commits.push(commit(n));
    }

    for (n, commit) in commits.iter().enumerate() {
        let build = world.expect(commit, if n == RED { "failed" } else { "passed" });
        assert_eq!(build.before.as_ref(), n.checked_sub(1).map(|before| &commits[before]));
        assert_eq!(build.subject, format!("Number {n}"));
        assert_eq!(job(&build, "lint").state, "passed");
        let files = if n > RED { n } else { n + 1 };
        assert_eq!(world.log_of(&build, "build").trim(), files.to_string());
    }
    let builds = world.builds();
    assert_eq!(builds.len(), COMMITS, "one build for each commit");
    let attempts = builds.iter().flat_map(|build| &build.jobs).flat_map(|job| &job.attempts);
    assert!(attempts.clone().all(|attempt| attempt.number == 1), "nothing ran twice");
}
