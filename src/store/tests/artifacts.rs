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
