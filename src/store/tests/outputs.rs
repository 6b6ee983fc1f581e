//! The outputs of attempts.

use super::MakePlace;
use super::records::refused;
use super::values::*;
use crate::model::*;
use crate::store::Rule;

pub(super) fn the_outputs_of_a_task_are_those_of_its_newest_attempt_and_go_with_its_build(make: MakePlace) {
    let place = make();
    let mut store = place.open();
    let build = passed_build(1);
    let Some(Record::BuildAdded { jobs, .. }) = build.first() else { panic!("{build:?}") };
    let (job, task) = (jobs[0].id, jobs[0].task.name.clone());
    store.commit(&build).unwrap();
    let outputs: Outputs = vec![("VERSION".into(), "1.2\n\u{1f980}".into()), ("EMPTY".into(), String::new())];
    let set = |attempt| {
        let (task, outputs) = (task.clone(), outputs.clone());
        Record::OutputsSet { build: BuildId(1), job, task, attempt: AttemptId(attempt), outputs }
    };
    let newest = build.iter().filter_map(|record| {
        let Record::AttemptLeased(attempt) = record else { return None };
        (attempt.job == job).then_some(attempt.id.0)
    });
    let newest = newest.max().unwrap();
    let reader = place.reader();
    assert_eq!(reader.outputs_of(BuildId(1), &task).unwrap(), []);
    store.commit(&[set(newest + 1000)]).unwrap();
    assert_eq!(reader.outputs_of(BuildId(1), &task).unwrap(), [], "another attempt is the newest");
    store.commit(&[set(newest)]).unwrap();
    assert_eq!(reader.outputs_of(BuildId(1), &task).unwrap(), outputs);
    assert_eq!(reader.outputs_of(BuildId(1), &TaskName::recorded("other")).unwrap(), []);
    assert_eq!(reader.outputs_of(BuildId(2), &task).unwrap(), []);
    assert_eq!(reader.outputs(BuildId(1)).unwrap()[0], (AttemptId(newest), outputs.clone()));
    assert!(refused(store.as_mut(), &[set(newest)]).contains("the outputs of a"), "they are set once");
    reader.check(&mut drop).unwrap();
    store.forget(&[BuildId(1)], Rule::Count, WallTime(1_700_000_009_000)).unwrap();
    assert_eq!(reader.outputs_of(BuildId(1), &task).unwrap(), []);
}
