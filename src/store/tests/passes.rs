//! The passes of tasks, as conditions on what has changed ask for them.

use super::values::{build, commit_id, job};
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
        source.trigger.kind = TriggerKind::Try { id: TriggerId([1; 16]) };
    });
    let main = found(&*place, of_ref("refs/heads/main"), Trust::Untrusted);
    assert_eq!(main, named(&[("task0", 1), ("task1", 2)]));
    let topic = found(&*place, of_ref("refs/heads/topic"), Trust::Untrusted);
    assert_eq!(topic, named(&[("task0", 3), ("task2", 3)]));
    assert_eq!(found(&*place, of_ref("refs/heads/none"), Trust::Untrusted), []);
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
