//! The artifacts of attempts.

use super::MakePlace;
use super::values::*;
use crate::model::*;
use crate::store::Rule;

pub(super) fn artifacts_of_an_attempt_read_back_and_go_with_its_build(make: MakePlace) {
    let place = make();
    let mut store = place.open();
    let artifact = |name: &str| ArtifactRecord {
        name: name.into(),
        manifest: BlobId([3; 32]),
        files: 2,
        bytes: 5,
        keep_ms: (name == "b").then_some(9),
        removed: None,
    };
    let artifacts = vec![artifact("a"), artifact("b")];
    let build = passed_build(1);
    let Some(Record::BuildAdded { jobs, .. }) = build.first() else { panic!("{build:?}") };
    let (job, task) = (jobs[0].id, jobs[0].task.name.clone());
    store.commit(&build).unwrap();
    store.commit(&passed_build(2)).unwrap();
    let attempt = AttemptId(1);
    let left =
        Record::ArtifactsLeft { build: BuildId(1), job, task: task.clone(), attempt, artifacts: artifacts.clone() };
    let reader = place.reader();
    assert_eq!(reader.artifacts_of(BuildId(1), &task).unwrap(), []);
    store.commit(std::slice::from_ref(&left)).unwrap();
    assert_eq!(reader.artifacts_of(BuildId(1), &task).unwrap(), artifacts);
    assert_eq!(reader.artifacts_of(BuildId(1), &TaskName::recorded("other")).unwrap(), []);
    assert_eq!(reader.artifacts_of(BuildId(2), &task).unwrap(), []);
    let expected = [(AttemptId(1), artifacts)];
    assert_eq!(reader.artifacts(BuildId(1)).unwrap(), expected);
    assert_eq!(reader.all_artifacts().unwrap(), expected);
    assert_eq!(reader.artifacts(BuildId(2)).unwrap(), []);
    let again = store.commit(&[left]).unwrap_err().to_string();
    assert!(again.contains("the artifacts of a1"), "they are told once: {again}");
    store.forget(&[BuildId(1)], Rule::Count, WallTime(1_700_000_009_000)).unwrap();
    assert_eq!(reader.all_artifacts().unwrap(), []);
    reader.check(&mut drop).unwrap();
}

pub(super) fn a_removed_artifact_of_a_finished_build_says_when_and_why_and_the_others_stay(make: MakePlace) {
    let place = make();
    let mut store = place.open();
    let artifact = |name: &str| ArtifactRecord {
        name: name.into(),
        manifest: BlobId([3; 32]),
        files: 2,
        bytes: 5,
        keep_ms: None,
        removed: None,
    };
    let left = |id: u64| Record::ArtifactsLeft {
        build: BuildId(id),
        job: JobId(id),
        task: TaskName::recorded(&format!("task{}", id % 3)),
        attempt: AttemptId(id),
        artifacts: ["a", "b"].map(artifact).into(),
    };
    store.commit(&passed_build(1)).unwrap();
    store.commit(&[left(1)]).unwrap();
    let leased = Record::AttemptLeased(attempt(2, 2, 2, 1));
    store.commit(&[added(2, [2]), leased, finished(2, Outcome::Passed), left(2)]).unwrap();
    let removal = ArtifactRemoval { at: WallTime(1_700_000_009_000), rule: ExpiryRule::Count };
    let wanted = [(1, "a"), (1, "c"), (2, "a"), (7, "a")].map(|(attempt, name)| (AttemptId(attempt), name.to_owned()));
    let gone = vec![(AttemptId(1), "a".to_owned())];
    assert_eq!(store.remove_artifacts(&wanted, removal).unwrap(), gone, "build 2 is unfinished");
    let later = ArtifactRemoval { at: WallTime(1_700_000_010_000), rule: ExpiryRule::Age };
    assert_eq!(store.remove_artifacts(&gone, later).unwrap(), []);
    drop(store);
    let _store = place.open();
    let reader = place.reader();
    let removed: Vec<_> = reader
        .all_artifacts()
        .unwrap()
        .into_iter()
        .map(|(attempt, artifacts)| {
            (attempt.0, artifacts.into_iter().map(|artifact| (artifact.name, artifact.removed)).collect::<Vec<_>>())
        })
        .collect();
    let expected = [
        (1, vec![("a".to_owned(), Some(removal)), ("b".to_owned(), None)]),
        (2, vec![("a".to_owned(), None), ("b".to_owned(), None)]),
    ];
    assert_eq!(removed, expected);
    reader.check(&mut drop).unwrap();
}
