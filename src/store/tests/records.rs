//! Records that read back, and batches that contradict the store and are refused whole.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::MakePlace;
use super::values::*;
use crate::model::reason::{DecisionKind, PlacementReason, RecordedReason};
use crate::model::*;
use crate::store::{Rule, Scope, Store, StoreError};

pub(super) fn refused(store: &mut dyn Store, records: &[Record]) -> String {
    match store.commit(records) {
        Err(error @ StoreError::Contradiction { .. }) => error.to_string(),
        other => panic!("expected a contradiction, got {other:?}"),
    }
}

pub(super) fn a_new_store_knows_of_nothing(make: MakePlace) {
    let place = make();
    assert_eq!(place.open().snapshot().unwrap(), Snapshot::default());
    let (store, reader) = (place.open(), place.reader());
    assert_eq!(reader.newest(&Scope::default()).unwrap(), None);
    assert_eq!(reader.finished_builds(None, 20).unwrap(), []);
    assert_eq!(reader.attempts(BuildId(1)).unwrap(), []);
    reader.check(&mut drop).unwrap();
    drop(store);
}

pub(super) fn answers_in_a_read_transaction_are_of_one_moment(make: MakePlace) {
    let place = make();
    let mut store = place.open();
    let [first, second] = [1, 2].map(passed_build);
    let (last, all_but_last) = second.split_last().unwrap();
    store.commit(&first).unwrap();
    store.commit(all_but_last).unwrap();
    let reader = place.reader();
    let numbers = |builds: Vec<Build>| builds.into_iter().map(|build| build.id.0).collect::<Vec<_>>();
    let unfinished = || numbers(reader.unfinished_builds(None, 9).unwrap());
    let finished = || numbers(reader.finished_builds(None, 9).unwrap());
    let transaction = reader.read_transaction().unwrap();
    assert_eq!(unfinished(), [2]);
    store.commit(std::slice::from_ref(last)).unwrap();
    assert_eq!(finished(), [1], "build 2 is in the answer before this one");
    assert!(reader.read_transaction().is_err(), "the first one is still alive");
    assert_eq!(unfinished(), [2]);
    drop(transaction);
    assert_eq!((unfinished(), finished()), (vec![], vec![2, 1]));
}

pub(super) fn how_an_attempt_was_executed_reads_back_and_goes_with_its_build(make: MakePlace) {
    let place = make();
    let mut store = place.open();
    let execution = ExecutionRecord {
        tier: "guarded".into(),
        means: "mounts".into(),
        memory_bytes: Some(200 << 20),
        cpu_ms: Some(1500),
        not_enforced: vec!["cpus (whole processors only)".into()],
        exceeded: "used more than memory".into(),
        services: vec![ServiceRecord { name: "db".into(), ready_ms: Some(7), ..ServiceRecord::default() }],
    };
    store.commit(&passed_build(1)).unwrap();
    store.commit(&passed_build(2)).unwrap();
    let told = Record::AttemptExecuted { attempt: AttemptId(1), execution: Box::new(execution.clone()) };
    store.commit(std::slice::from_ref(&told)).unwrap();
    let reader = place.reader();
    assert_eq!(reader.executions(BuildId(1)).unwrap(), [(AttemptId(1), execution)]);
    assert_eq!(reader.executions(BuildId(2)).unwrap(), []);
    assert!(refused(store.as_mut(), &[told]).contains("how a1 was executed"), "it is told once");
    store.forget(&[BuildId(1)], Rule::Count, WallTime(1_700_000_009_000)).unwrap();
    assert_eq!(reader.executions(BuildId(1)).unwrap(), []);
    reader.check(&mut drop).unwrap();
}

pub(super) fn unfinished_work_is_there_after_a_restart(make: MakePlace) {
    let place = make();
    let mut store = place.open();
    let runner = Runner {
        id: RunnerId(4),
        name: RunnerName::new("w1").unwrap(),
        first_seen: WallTime(7),
        drain: None,
        ordered: None,
    };
    let drained = Runner {
        drain: Some(DrainOrder { ending: Some(Incarnation(u64::MAX)) }),
        ordered: Some(Ordered { by: Some("älice".into()), at: WallTime(9) }),
        ..runner.clone()
    };
    let head = Record::HeadMoved {
        repo: RepoName::new("app").unwrap(),
        reference: RefName::of_branch("main"),
        head: Some(commit_id(2)),
        number: 7,
    };
    store.commit(&passed_build(1)).unwrap();
    store
        .commit(&[
            added(2, [5, 6, 9]),
            head,
            Record::RunnerSaved(runner),
            Record::RunnerSaved(drained.clone()),
            Record::AttemptLeased(attempt(8, 6, 2, 1)),
        ])
        .unwrap();
    drop(store);

    let unfinished = place.open().snapshot().unwrap();
    let leased = Job { state: JobState::Leased(AttemptId(8)), attempts: 1, ..job(6, 2) };
    assert_eq!(
        unfinished.builds,
        [WholeBuild { build: build(2), jobs: vec![job(5, 2), leased, job(9, 2)], attempts: vec![attempt(8, 6, 2, 1)] }]
    );
    // A head has the number of its last move, and its build.
    let head = AcceptedHead { commit: commit_id(2), number: 7, build: Some(BuildId(2)), is_noted: false };
    assert_eq!(unfinished.heads, [(RepoName::new("app").unwrap(), RefName::of_branch("main"), head)]);
    assert_eq!(unfinished.ends, []);
    assert_eq!(unfinished.runners, [drained]);
    let last = (unfinished.last_build, unfinished.last_job, unfinished.last_attempt, unfinished.last_runner);
    assert_eq!(last, (2, 9, 8, 4));
}

pub(super) fn a_reopened_build_is_unfinished_again_and_keeps_its_attempts(make: MakePlace) {
    let place = make();
    let mut store = place.open();
    store.commit(&passed_build(1)).unwrap();
    assert_eq!(store.snapshot().unwrap().builds, []);
    store
        .commit(&[
            Record::BuildReopened { build: BuildId(1) },
            Record::JobQueued { job: JobId(1), failures: 0, losses: 0 },
            Record::AttemptLeased(attempt(2, 1, 1, 2)),
        ])
        .unwrap();
    let unfinished = store.snapshot().unwrap();
    assert_eq!(unfinished.builds[0].build, build(1));
    assert_eq!(unfinished.builds[0].attempts, [attempt(2, 1, 1, 2)]);
    let numbers: Vec<_> = place.reader().attempts(BuildId(1)).unwrap().iter().map(|a| (a.id.0, a.number)).collect();
    assert_eq!(numbers, [(1, 1), (2, 2)]);
}

pub(super) fn a_job_has_the_task_with_the_values_that_it_got_last(make: MakePlace) {
    let place = make();
    let mut store = place.open();
    let held = Job { state: JobState::Held, ..job(1, 1) };
    store.commit(&[Record::BuildAdded { build: Box::new(build(1)), jobs: vec![held.clone(), job(2, 1)] }]).unwrap();
    let mut task = (*held.task).clone();
    let given = Some("1.4".to_owned());
    task.placement.inputs = vec![Input { name: "v".into(), default: None, description: String::new(), given }];
    assert!(task.set_inputs(&BTreeMap::new()).is_empty());
    let task = Arc::new(task);
    let gets = |job| Record::TaskGiven { job: JobId(job), task: task.clone() };
    let queued = Record::JobQueued { job: JobId(1), failures: 0, losses: 0 };
    store.commit(&[gets(1), queued, Record::AttemptLeased(attempt(1, 1, 1, 1))]).unwrap();
    refused(&mut *store, &[gets(9)]);
    drop(store);
    let leased = Job { state: JobState::Leased(AttemptId(1)), attempts: 1, task, ..held };
    let restored = place.open().snapshot().unwrap();
    assert_eq!(restored.builds[0].jobs, [leased.clone(), job(2, 1)], "its checksum is right, too");
    assert_eq!(leased.task.given_inputs().collect::<Vec<_>>(), [("v", "1.4")]);
}

pub(super) fn jobs_that_joined_a_build_are_its_own_after_a_restart_and_go_with_it(make: MakePlace) {
    let place = make();
    let mut store = place.open();
    // The numbers of the jobs that join are behind those of another build.
    store.commit(&[added(1, [1]), added(2, [2, 3])]).unwrap();
    let joined = Record::JobsJoined { build: BuildId(1), jobs: vec![job(4, 1), job(5, 1)] };
    store.commit(&[joined, added(3, [6]), Record::AttemptLeased(attempt(1, 5, 1, 1))]).unwrap();
    refused(&mut *store, &[Record::JobsJoined { build: BuildId(1), jobs: vec![job(7, 2)] }]);
    drop(store);
    let restored = place.open().snapshot().unwrap();
    let leased = Job { state: JobState::Leased(AttemptId(1)), attempts: 1, ..job(5, 1) };
    assert_eq!(restored.builds[0].jobs, [job(1, 1), job(4, 1), leased]);
    assert_eq!(restored.builds[0].attempts, [attempt(1, 5, 1, 1)]);
    assert_eq!(restored.builds[1].jobs, [job(2, 2), job(3, 2)]);
    assert_eq!(place.reader().attempts(BuildId(1)).unwrap().len(), 1);
}

pub(super) fn a_build_knows_when_it_was_run_again_last(make: MakePlace) {
    let place = make();
    let mut store = place.open();
    store.commit(&passed_build(1)).unwrap();
    let asked = |at, kind| {
        let (build, job) = (BuildId(1), Some(JobId(1)));
        Record::Decided(Decision { at: WallTime(at), build, job, attempt: None, runner: None, kind })
    };
    let reader = place.reader();
    store.commit(&[asked(9, DecisionKind::CancelAsked { by: None })]).unwrap();
    assert_eq!(reader.build(BuildId(1)).unwrap().unwrap().rerun_at, None);
    let again = Record::BuildReopened { build: BuildId(1) };
    store
        .commit(&[
            again,
            asked(5, DecisionKind::RerunAsked { by: None }),
            asked(7, DecisionKind::RerunAsked { by: None }),
        ])
        .unwrap();
    assert_eq!(reader.build(BuildId(1)).unwrap().unwrap().rerun_at, Some(WallTime(7)));
    assert_eq!(store.snapshot().unwrap().builds[0].build.rerun_at, Some(WallTime(7)), "after a restart, too");
}

pub(super) fn the_same_submission_makes_one_build(make: MakePlace) {
    let place = make();
    let mut store = place.open();
    store.commit(&[added(1, [1])]).unwrap();
    let again = Build { id: BuildId(2), ..build(1) };
    refused(&mut *store, &[Record::BuildAdded { build: Box::new(again.clone()), jobs: vec![] }]);
    let mut moved_again = again.clone();
    moved_again.source.trigger = again.source.trigger.clone().numbered(4);
    let mut elsewhere = again;
    elsewhere.source.trigger.reference = RefName::new("refs/heads/other");
    elsewhere.id = BuildId(3);
    let added = |build: &Build| Record::BuildAdded { build: Box::new(build.clone()), jobs: vec![] };
    store.commit(&[added(&moved_again), added(&elsewhere)]).unwrap();
    refused(&mut *store, &[added(&Build { id: BuildId(4), ..moved_again })]);
}

pub(super) fn a_build_is_found_by_its_trigger(make: MakePlace) {
    let place = make();
    let mut store = place.open();
    let asked = |id: u64, of: u8| {
        let mut asked = build(id);
        let kind = TriggerKind::Manual { id: TriggerId([of; 16]), by: None };
        asked.source.trigger = Trigger { kind, reference: RefName::detached(), trust: Trust::Untrusted };
        asked.source.commit = commit_id(1);
        asked
    };
    let added = |build: &Build| Record::BuildAdded { build: Box::new(build.clone()), jobs: vec![] };
    store.commit(&[added(&build(1)), added(&asked(2, 7)), added(&asked(3, 8))]).unwrap();
    let found = |build: &Build| place.reader().build_of(&build.source).unwrap();
    for known in [build(1), asked(2, 7), asked(3, 8)] {
        assert_eq!(found(&known), Some(known.id));
    }
    let mut others = [asked(4, 9), asked(4, 7), asked(4, 7), asked(4, 7)];
    others[1].source.commit = commit_id(2);
    others[2].source.repo = RepoName::new("other").unwrap();
    others[3].source.trigger.kind = TriggerKind::Try { id: TriggerId([7; 16]), by: None };
    for unknown in others {
        assert_eq!(found(&unknown), None, "{unknown:?}");
    }
}

pub(super) fn an_attempt_has_one_outcome_and_a_number_of_its_own(make: MakePlace) {
    let place = make();
    let mut store = place.open();
    store.commit(&[added(1, [1, 2]), Record::AttemptLeased(attempt(1, 1, 1, 1))]).unwrap();
    // The job's first attempt is not finished, and attempt 1 is taken.
    refused(&mut *store, &[Record::AttemptLeased(attempt(2, 1, 1, 2))]);
    refused(&mut *store, &[Record::AttemptLeased(attempt(1, 2, 1, 1))]);
    refused(&mut *store, &[Record::AttemptLeased(attempt(2, 2, 1, 2))]);
    refused(&mut *store, &[finished(2, Outcome::Passed)]);
    store.commit(&[finished(1, Outcome::Failed(3))]).unwrap();
    let said = refused(&mut *store, &[finished(1, Outcome::Passed)]);
    assert_eq!(said, "the outcome passed of a1 contradicts the store, which has one of that number or name already");
    assert_eq!(place.reader().attempt(AttemptId(1)).unwrap().unwrap().outcome, Some(Outcome::Failed(3)));
}

pub(super) fn a_batch_with_a_contradiction_leaves_nothing_behind(make: MakePlace) {
    let place = make();
    let mut store = place.open();
    let unknown = Record::JobFinished { job: JobId(99), ending: Ending::Passed };
    refused(&mut *store, &[added(1, [1, 2]), Record::AttemptLeased(attempt(1, 1, 1, 1)), unknown]);
    assert_eq!(store.snapshot().unwrap(), Snapshot::default());
    // The row numbers of the refused batch are forgotten: its repository, tasks and reasons are written again.
    store.commit(&[added(1, [1, 2]), Record::AttemptLeased(attempt(1, 1, 1, 1))]).unwrap();
    assert_eq!(store.snapshot().unwrap().builds[0].attempts, [attempt(1, 1, 1, 1)]);
}

pub(super) fn what_is_finished_stays_so_until_it_is_queued_or_reopened(make: MakePlace) {
    let place = make();
    let mut store = place.open();
    store.commit(&passed_build(1)).unwrap();
    refused(&mut *store, &[Record::JobFinished { job: JobId(1), ending: Ending::Failed }]);
    refused(&mut *store, &[Record::AttemptLeased(attempt(2, 1, 1, 2))]);
    refused(&mut *store, &[Record::BuildFinished { build: BuildId(1), verdict: Verdict::Failed, at: WallTime(0) }]);
    store.commit(&[Record::BuildReopened { build: BuildId(1) }]).unwrap();
    refused(&mut *store, &[Record::BuildReopened { build: BuildId(1) }]);
}

pub(super) fn a_build_is_found_by_the_beginning_of_its_commit_and_as_the_newest(make: MakePlace) {
    let place = make();
    let mut store = place.open();
    for id in 1..=50 {
        store.commit(&[added(id, [id])]).unwrap();
    }
    // The same commit again, on another branch.
    let mut twin = Build { id: BuildId(51), ..build(7) };
    twin.source.trigger.reference = RefName::new("refs/heads/other");
    store.commit(&[Record::BuildAdded { build: Box::new(twin), jobs: vec![] }]).unwrap();
    let reader = place.reader();
    let (all, main) = (Scope::default(), Scope { repo: None, reference: Some("refs/heads/main".into()) });
    let of_repo = |name: &str| Scope { repo: Some(name.into()), reference: None };
    let newest = |scope: &Scope| reader.newest(scope).unwrap().map(|id| id.0);
    assert_eq!(newest(&all), Some(51));
    assert_eq!(newest(&main), Some(50));
    assert_eq!(newest(&of_repo("app")), Some(51));
    assert_eq!(newest(&Scope { repo: Some("app".into()), ..main.clone() }), Some(50));
    assert_eq!(newest(&of_repo("nobody")), None);
    let find =
        |digits: &str, scope: &Scope| reader.of_commit(digits, scope, 3).unwrap().iter().map(|id| id.0).collect();
    let found: Vec<Vec<u64>> = vec![
        find(&commit_id(7).to_string()[..8].to_uppercase(), &all),
        find(&commit_id(7).to_string(), &main),
        find(&commit_id(7).to_string(), &of_repo("nobody")),
        find(&commit_id(8).to_string(), &all),
        find(&commit_id(8).to_string()[..3], &all),
        find("main", &all),
    ];
    assert_eq!(found, [vec![51], vec![7], vec![], vec![8], vec![], vec![]]);
}

/// Sabotage tried: without the grouping the three newest builds are of two commits.
pub(super) fn a_beginning_that_several_commits_have_gives_the_newest_build_of_each(make: MakePlace) {
    let place = make();
    let mut store = place.open();
    let id = |last: char| format!("abcd{}{last}", "0".repeat(35));
    for (number, last) in [(1, '1'), (2, '2'), (3, '2'), (4, '3'), (5, '1'), (6, '4')] {
        let mut of_that = Build { id: BuildId(number), ..build(number) };
        of_that.source.commit = id(last).parse().unwrap();
        of_that.source.trigger.reference = RefName::new(&format!("refs/heads/b{number}"));
        store.commit(&[Record::BuildAdded { build: Box::new(of_that), jobs: vec![] }]).unwrap();
    }
    let reader = place.reader();
    let find = |digits: &str, limit| reader.of_commit(digits, &Scope::default(), limit).unwrap();
    assert_eq!(find("abcd", 3), [6, 5, 4].map(BuildId));
    assert_eq!(find("abcd", 9), [6, 5, 4, 3].map(BuildId));
    assert_eq!(find(&id('2'), 9), [BuildId(3)]);
}

pub(super) fn finished_builds_come_newest_first_and_by_repository(make: MakePlace) {
    let place = make();
    let mut store = place.open();
    for id in 1..=6 {
        store.commit(&passed_build(id)).unwrap();
    }
    store.commit(&[added(7, [7])]).unwrap();
    let reader = place.reader();
    let ids = |builds: Vec<Build>| builds.iter().map(|b| b.id.0).collect::<Vec<_>>();
    assert_eq!(ids(reader.finished_builds(None, 2).unwrap()), [6, 5]);
    assert_eq!(ids(reader.finished_builds(Some("app"), 3).unwrap()), [6, 5, 4]);
    assert_eq!(ids(reader.finished_builds(Some("nobody"), 3).unwrap()), [0u64; 0]);
    assert_eq!(ids(reader.unfinished_builds(None, 9).unwrap()), [7]);
    assert_eq!(ids(reader.unfinished_builds(None, 0).unwrap()), [0u64; 0]);
    let counts = |id| reader.job_counts(BuildId(id)).unwrap();
    assert_eq!(counts(7), [(JobStateKind::Queued, 1)]);
    assert_eq!(counts(6), [(JobStateKind::Finished(EndingKind::Passed), 1)]);
    assert_eq!(counts(8), []);
    assert_eq!(ids(reader.unfinished_builds(Some("app"), 9).unwrap()), [7]);
    assert_eq!(ids(reader.unfinished_builds(Some("nobody"), 9).unwrap()), [0u64; 0]);
}

pub(super) fn late_results_and_decisions_are_kept_beside_the_record(make: MakePlace) {
    let place = make();
    let mut store = place.open();
    store.commit(&passed_build(1)).unwrap();
    let decision = Decision {
        at: WallTime(5),
        build: BuildId(1),
        job: Some(JobId(1)),
        attempt: None,
        runner: Some(RunnerId(1)),
        kind: DecisionKind::CancelAsked { by: None },
    };
    let late = Record::LateResult { attempt: AttemptId(1), outcome: Outcome::Killed(9), at: WallTime(6) };
    store.commit(&[late, Record::Decided(decision.clone())]).unwrap();
    let reader = place.reader();
    let late = reader.late_results(BuildId(1)).unwrap().remove(0);
    assert_eq!((late.attempt, late.outcome, late.at), (AttemptId(1), Outcome::Killed(9), WallTime(6)));
    let (seq, found) = reader.decisions(BuildId(1)).unwrap().remove(0);
    assert_eq!(found, decision);
    assert!(late.seq.is_some() && late.seq < seq, "in the order in which they were written");
    assert_eq!(reader.attempt(AttemptId(1)).unwrap().unwrap().outcome, Some(Outcome::Passed));
}

pub(super) fn refs_of_a_first_look_are_heads_without_source_or_build(make: MakePlace) {
    let place = make();
    let app = RepoName::new("app").unwrap();
    let tag = |name: &str| RefName::new(&format!("refs/tags/{name}"));
    let noted = Record::RefsNoted {
        repo: app.clone(),
        refs: vec![(tag("v1"), commit_id(1)), (tag("v2"), commit_id(2))],
        patterns: vec!["refs/tags/*".into(), "refs/pull/*/head".into()],
        number: 4,
    };
    let moved =
        |name, at| Record::HeadMoved { repo: app.clone(), reference: tag(name), head: Some(commit_id(at)), number: at };
    place.open().commit(&[noted, moved("v2", 5)]).unwrap();
    let store = place.open();
    let snapshot = store.snapshot().unwrap();
    let head = |at, number, is_noted| AcceptedHead { commit: commit_id(at), number, build: None, is_noted };
    assert_eq!(
        snapshot.heads,
        [(app.clone(), tag("v1"), head(1, 4, true)), (app.clone(), tag("v2"), head(5, 5, false))]
    );
    let patterns: Vec<_> = snapshot.patterns.iter().map(|(_, pattern)| &**pattern).collect();
    assert_eq!(patterns, ["refs/pull/*/head", "refs/tags/*"]);
    // The mirror never had the commit of a noted ref.
    assert_eq!(place.reader().commits(&app).unwrap(), [commit_id(5)]);
    place.reader().check(&mut drop).unwrap();
}

pub(super) fn a_repository_remembers_where_it_was_observed(make: MakePlace) {
    let place = make();
    let mut store = place.open();
    let (app, other) = (RepoName::new("app").unwrap(), RepoName::new("other").unwrap());
    store.commit(&[added(1, [1])]).unwrap();
    assert_eq!(store.repo_source(&app).unwrap(), None);
    store.set_repo_source(&app, "/srv/app").unwrap();
    store.set_repo_source(&other, "/srv/other").unwrap();
    store.set_repo_source(&app, "/srv/app2").unwrap();
    assert_eq!(place.reader().repos().unwrap(), [app.clone(), other.clone()]);
    assert_eq!(store.repo_source(&app).unwrap().as_deref(), Some("/srv/app2"));
    assert_eq!(place.reader().build(BuildId(1)).unwrap().unwrap().source.repo, app);
    assert_eq!(store.observed_refs(&app).unwrap(), ObservedRefs::default());
    let named = vec![RefName::of_branch("release/1"), RefName::new("refs/tags/v1")];
    let refs = ObservedRefs { default_branch: Some(BranchName::new("trunk")), named };
    store.set_observed_refs(&app, &refs).unwrap();
    assert_eq!(place.reader().observed_refs(&app).unwrap(), refs);
    assert_eq!(store.repo_source(&app).unwrap().as_deref(), Some("/srv/app2"));
    let new = RepoName::new("new").unwrap();
    store.set_observed_refs(&new, &refs).unwrap();
    store.set_observed_refs(&new, &ObservedRefs::default()).unwrap();
    assert_eq!(place.reader().observed_refs(&new).unwrap(), ObservedRefs::default());
    drop(store);
    assert_eq!(place.open().observed_refs(&app).unwrap(), refs, "after a restart");
}

/// As a version without codes wrote it.
fn waited(ms: u64) -> PlacementReason {
    RecordedReason { code: None, text: format!("waited {ms} ms") }.into()
}

pub(super) fn reasons_beyond_those_kept_once_read_back_too(make: MakePlace) {
    let place = make();
    let mut store = place.open();
    store.commit(&[added(1, 1..=1100)]).unwrap();
    let leases: Vec<_> = (1..=1100)
        .map(|id| Attempt { reason: waited(id), ..attempt(id, id, 1, 1) })
        .map(Record::AttemptLeased)
        .collect();
    store.commit(&leases).unwrap();
    let attempts = place.reader().attempts(BuildId(1)).unwrap();
    assert!(attempts.iter().all(|a| a.reason == waited(a.id.0)));
    assert_eq!(attempts.len(), 1100);
}
