//! Stories of reruns of builds whose tasks have conditions.

use super::plans::{after, held, job, refused, stored};
use super::*;

#[test]
fn a_rerun_holds_again_what_is_manual_and_keeps_out_what_is_left_out() {
    let mut story = Story::new();
    let finished = |ending| JobState::Finished(ending);
    let left_out = || finished(Ending::LeftOut(Box::new(LeftOutReason::NotAsked)));
    let jobs = |deploy: JobState| {
        vec![
            job(1, 1, task("test"), finished(Ending::Passed)),
            job(2, 1, held(task("deploy")).spec, deploy),
            job(3, 1, task("docs"), left_out()),
        ]
    };
    let lines = story.rerun(stored(1, 1), jobs(finished(Ending::Passed)), false, None);
    assert_eq!(lines, ["b1 reopened", "j2 held", "j1 queued", "> done"]);
    story.cancel(1);
    let lines = story.rerun(stored(1, 1), jobs(finished(Ending::Failed)), true, None);
    assert_eq!(lines, ["b1 reopened", "j2 queued", "> done"], "its failure is to be mended");
    story.cancel(1);
    let lines = story.rerun(stored(1, 1), jobs(JobState::Held), true, None);
    refused(&mut story, &lines, "all_passed");
    let lines = story.rerun(stored(1, 1), jobs(JobState::Held), false, Some(2));
    refused(&mut story, &lines, "still_held");
    let lines = story.rerun(stored(1, 1), jobs(JobState::Held), false, Some(3));
    assert_eq!(lines, ["b1 reopened", "j3 queued", "> done"], "somebody asked for this very task");
}

/// What ran after the end of others runs again after they have run again.
#[test]
fn a_rerun_takes_along_what_follows_an_ending() {
    let mut story = Story::new();
    let jobs = vec![
        job(1, 1, task("deploy"), JobState::Finished(Ending::Failed)),
        job(2, 1, after("clean", &["deploy"], Condition::Failed), JobState::Finished(Ending::Passed)),
        job(3, 1, task("lint"), JobState::Finished(Ending::Passed)),
    ];
    assert_eq!(story.rerun(stored(1, 1), jobs, true, None), ["b1 reopened", "j1 queued", "j2 waiting", "> done"]);
}

/// The store takes no second ending of a job that has not begun anew.
#[test]
fn a_rerun_that_comes_to_nothing_is_refused_or_recorded_anew() {
    let mut story = Story::new();
    let skipped = || {
        let reason = SkipReason::NeedNotPassed { task: TaskName::new("test").unwrap(), how: EndingKind::Failed };
        JobState::Finished(Ending::Skipped(Box::new(reason)))
    };
    let jobs = vec![
        job(1, 1, task("test"), JobState::Finished(Ending::Failed)),
        job(2, 1, needing("deploy", &["test"]), skipped()),
        job(3, 1, after("clean", &["lint"], Condition::Failed), JobState::Finished(Ending::Cancelled(None))),
        job(4, 1, needing("report", &["clean"]), skipped()),
        job(5, 1, task("lint"), JobState::Finished(Ending::Passed)),
    ];
    let lines = story.rerun(stored(1, 1), jobs.clone(), false, Some(2));
    refused(&mut story, &lines, "needs_other");
    let lines = story.rerun(stored(1, 1), jobs.clone(), false, Some(3));
    refused(&mut story, &lines, "nothing_failed");
    // A cancel may have come before it was known that nothing fails.
    let lines = story.rerun(stored(1, 1), jobs[2..].to_vec(), true, None);
    let left_out = "j3 left_out (nothing_failed)";
    assert_eq!(lines, ["b1 reopened", "j3 waiting", "j4 waiting", left_out, "j4 queued", "> done"]);
}
