//! The passes of tasks, as conditions on what has changed ask for them.

use super::values::{attempt, build, commit_id, job};
use super::{MakePlace, Place, Store};
use crate::model::reason::LeftOutReason;
use crate::model::*;
use crate::store::{Lineage, PassScope};

/// Adds a finished build with these jobs, each of the task `task0`, `task1` or `task2` by its number.
fn add(store: &mut dyn Store, id: u64, jobs: &[(u64, Ending)], edit: impl FnOnce(&mut BuildSource)) {
    let ended = |(number, ending): &(u64, Ending)| {
        let state = JobState::Finished(ending.clone());
        Job { state, ..job(id * 3 + number, id) }
    };
    let mut build = build(id);
    edit(&mut build.source);
    let jobs = jobs.iter().map(ended).collect();
    let end = Record::BuildFinished { build: BuildId(id), verdict: Verdict::Passed, at: WallTime(9) };
    store.commit(&[Record::BuildAdded { build: Box::new(build), jobs }, end]).unwrap();
}

fn unchanged_since(build: u64) -> Ending {
    let (since, globs) = (commit_id(build).to_string(), vec!["x".to_owned()]);
    Ending::LeftOut(Box::new(LeftOutReason::NothingChanged { since, build: BuildId(build), globs }))
}

/// The passes of all three tasks, each as its task and its build.
fn found(place: &dyn Place, lineage: Lineage, trust: Trust) -> Vec<(String, u64)> {
    let tasks = ["task0", "task1", "task2"].map(|name| TaskName::new(name).unwrap()).into();
    let scope = PassScope { repo: RepoName::new("app").unwrap(), lineage, trust, tasks };
    let passes = place.reader().passes(&scope).unwrap();
    let mut found: Vec<_> = passes
        .into_iter()
        .inspect(|pass| assert_eq!(pass.commit, commit_id(pass.build.0)))
        .map(|pass| (pass.task.name.to_string(), pass.build.0))
        .collect();
    found.sort();
    found
}

fn of_ref(name: &str) -> Lineage {
    Lineage::Ref(RefName::new(name))
}

fn named(found: &[(&str, u64)]) -> Vec<(String, u64)> {
    found.iter().map(|(task, build)| ((*task).to_owned(), *build)).collect()
}

pub(super) fn the_newest_pass_of_a_task_is_found_on_its_ref(make: MakePlace) {
    let place = make();
    let mut store = place.open();
    add(&mut *store, 1, &[(0, Ending::Passed), (1, Ending::Passed)], |_| {});
    add(&mut *store, 2, &[(0, Ending::Failed), (1, Ending::Passed), (2, Ending::Cancelled(None))], |_| {});
    add(&mut *store, 3, &[(0, Ending::Passed), (2, Ending::Passed)], |source| {
        source.trigger.reference = RefName::new("refs/heads/topic");
    });
    add(&mut *store, 4, &[(2, Ending::Passed)], |source| source.repo = RepoName::new("other").unwrap());
    add(&mut *store, 5, &[(2, Ending::Passed)], |source| {
        source.trigger.kind = TriggerKind::Try { id: TriggerId([1; 16]), by: None };
    });
    let main = found(&*place, of_ref("refs/heads/main"), Trust::Untrusted);
    assert_eq!(main, named(&[("task0", 1), ("task1", 2)]));
    let topic = found(&*place, of_ref("refs/heads/topic"), Trust::Untrusted);
    assert_eq!(topic, named(&[("task0", 3), ("task2", 3)]));
    assert_eq!(found(&*place, of_ref("refs/heads/none"), Trust::Untrusted), []);
}

pub(super) fn the_times_of_tasks_that_a_task_wrote_are_those_of_the_newest_build_that_has_some(make: MakePlace) {
    let place = make();
    let mut store = place.open();
    let passed = |id: u64, build: u64, name: &str, ms: u64| {
        let mut job = job(id, build);
        job.task = TaskSpec { name: TaskName::recorded(name), ..(*job.task).clone() }.into();
        let leased = Record::AttemptLeased(attempt(id, id, build, 1));
        let (outcome, log) = (Outcome::Passed, LogSummary::default());
        let ended =
            Record::AttemptFinished { attempt: AttemptId(id), outcome, log, duration_ms: Some(ms), at: WallTime(1) };
        (job, [leased, ended, Record::JobFinished { job: JobId(id), ending: Ending::Passed }])
    };
    let end = |id| Record::BuildFinished { build: BuildId(id), verdict: Verdict::Passed, at: WallTime(9) };
    for (id, names) in [(1, ["plan/a", "plan/gone"]), (2, ["plan/a", "plan/b"]), (3, ["other/x", "other/y"])] {
        let (writer, ended) = passed(id * 10, id, "plan", id);
        store.commit(&[Record::BuildAdded { build: Box::new(build(id)), jobs: vec![writer] }]).unwrap();
        let joined = names.iter().zip(1..).map(|(name, at)| passed(id * 10 + at, id, name, id * 10 + at));
        let (jobs, ends): (Vec<Job>, Vec<_>) = joined.unzip();
        let mut batch = vec![Record::JobsJoined { build: BuildId(id), jobs }];
        batch.extend(ended.into_iter().chain(ends.into_iter().flatten()).chain([end(id)]));
        store.commit(&batch).unwrap();
    }
    let mut times = place.reader().pass_times(&RepoName::new("app").unwrap(), &[TaskName::recorded("plan")]).unwrap();
    times.sort();
    let times: Vec<(&str, u64)> = times.iter().map(|(name, ms)| (&**name, *ms)).collect();
    assert_eq!(times, [("plan", 2), ("plan/a", 21), ("plan/b", 22)]);
}

pub(super) fn a_build_that_left_a_task_out_names_the_build_in_which_it_passed(make: MakePlace) {
    let place = make();
    let mut store = place.open();
    let topic = |source: &mut BuildSource| source.trigger.reference = RefName::new("refs/heads/topic");
    add(&mut *store, 1, &[(0, Ending::Passed), (1, Ending::Passed), (2, Ending::Failed)], |_| {});
    add(&mut *store, 2, &[(0, unchanged_since(1)), (1, Ending::Failed), (2, unchanged_since(1))], topic);
    // The pass of `task2` is none any more, as after a rerun.
    assert_eq!(found(&*place, of_ref("refs/heads/topic"), Trust::Untrusted), named(&[("task0", 1)]));
}

pub(super) fn a_new_ref_finds_passes_at_the_commits_that_it_comes_from(make: MakePlace) {
    let place = make();
    let mut store = place.open();
    add(&mut *store, 1, &[(0, Ending::Passed), (1, Ending::Passed)], |_| {});
    add(&mut *store, 2, &[(0, Ending::Passed), (1, Ending::Failed)], |_| {});
    add(&mut *store, 3, &[(0, Ending::Passed)], |_| {});
    let from = |ids: &[u64]| Lineage::Commits(ids.iter().map(|id| commit_id(*id)).collect());
    assert_eq!(found(&*place, from(&[9, 2, 8, 1]), Trust::Untrusted), named(&[("task0", 2), ("task1", 1)]));
    assert_eq!(found(&*place, from(&[9]), Trust::Untrusted), []);
}

pub(super) fn a_trusted_build_counts_no_pass_of_an_untrusted_one(make: MakePlace) {
    let place = make();
    let mut store = place.open();
    add(&mut *store, 1, &[(0, Ending::Passed)], |_| {});
    add(&mut *store, 2, &[(0, Ending::Passed), (1, Ending::Passed)], |source| source.trigger.trust = Trust::Untrusted);
    add(&mut *store, 3, &[(1, unchanged_since(2))], |_| {});
    let main = || of_ref("refs/heads/main");
    assert_eq!(found(&*place, main(), Trust::Trusted), named(&[("task0", 1)]));
    assert_eq!(found(&*place, main(), Trust::Untrusted), named(&[("task0", 2), ("task1", 2)]));
    let commits = || Lineage::Commits(vec![commit_id(2), commit_id(1)]);
    assert_eq!(found(&*place, commits(), Trust::Trusted), named(&[("task0", 1)]));
}
