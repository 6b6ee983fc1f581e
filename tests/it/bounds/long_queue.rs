//! A queue that is longer than anybody reads.

use std::collections::BTreeMap;

use crate::harness::World;

#[test]
fn a_status_of_many_queued_jobs_lists_those_of_the_first_builds_and_counts_the_rest() {
    let world = World::new();
    let repository = world.repository("app");
    let tasks: String = (0..1000).map(|n| format!("[task.t{n}]\nrun = 'true'\n")).collect();
    let _dispatcher = world.dispatcher(&[]);
    let mut observer = None;
    for _ in 0..3 {
        let commit = repository.commit_tasks(&tasks);
        observer.get_or_insert_with(|| world.observer(&[&repository], &[]));
        world.build_that("of the commit", |build| build.commit == commit);
    }
    let builds = world.builds();
    assert_eq!(builds.iter().map(|build| build.jobs.len()).collect::<Vec<_>>(), [1000, 1000, 0]);
    assert_eq!(builds[0].job_counts, BTreeMap::new());
    assert_eq!(builds[2].job_counts, BTreeMap::from([("queued".to_owned(), 1000)]));
    let shown = world.surveil(&["status"]).ok();
    assert_eq!(shown.matches("0 of 1000 done").count(), 3, "{shown}");
    assert!(shown.contains("0 jobs running, 3000 jobs queued"), "{shown}");
    // A build that is asked for has all of its jobs.
    let build = world.surveil(&["show", "b3", "--format", "json"]).ok();
    assert!(build.contains("\"t999\""), "{build}");
}
