//! The files that tasks write.

use super::super::*;
use crate::model::{ArtifactRule, Condition, Script, Take, TaskName};

fn written(text: &str) -> Result<Plan, String> {
    written_by(&[], text)
}

/// Reads a file that was written by a task that leaves these artifacts.
fn written_by(artifacts: &[&str], text: &str) -> Result<Plan, String> {
    let mut plan = TaskSpec::new(TaskName::plain("plan").unwrap(), Script::Shell("x".into()));
    let rule = |name: &str| ArtifactRule { paths: vec![name.into()], ..ArtifactRule::new(name) };
    plan.recipe_mut().artifacts = artifacts.iter().map(|name| rule(name)).collect();
    parse_written(&plan, text.as_bytes()).map_err(|mistake| mistake.text)
}

#[test]
fn tasks_of_a_file_have_the_name_of_its_writer_before_theirs_and_need_it() {
    let plan = written(
        "[defaults]\ntimeout = '5m'\n[task.test]\nmatrix = { v = [1, 2] }\nrun = 'x'\n\
         [task.report]\nneeds = ['test']\nrun_if = 'finished'\nrun = 'y'\n",
    )
    .unwrap();
    let names: Vec<&str> = plan.tasks.iter().map(|task| &*task.spec.name).collect();
    assert_eq!(names, ["plan/test@1", "plan/test@2", "plan/report"]);
    let needs = |at: usize| -> Vec<(&str, Condition)> {
        plan.tasks[at].spec.placement.needs.iter().map(|need| (&*need.task, need.condition)).collect()
    };
    assert_eq!(needs(0), [("plan", Condition::Passed)]);
    let finished = Condition::Finished;
    assert_eq!(needs(2), [("plan", finished), ("plan/test@1", finished), ("plan/test@2", finished)]);
    assert!(
        plan.tasks.iter().all(|task| task.spec.placement.labels.iter().any(|label| label.as_str() == "can=expand"))
    );
}

#[test]
fn tasks_of_a_file_take_the_artifacts_of_its_writer() {
    let text = "[task.all]\nrun = 'x'\n[task.none]\nrun = 'x'\ntake = []\n\
                [task.one]\nrun = 'x'\nneeds = ['all']\ntake = ['plan:list']\n[task.named]\nrun = 'x'\ntake = ['plan']\n";
    let plan = written_by(&["list", "more"], text).unwrap();
    let takes: Vec<&Take> = plan.tasks.iter().map(|task| &task.spec.placement.needs[0].take).collect();
    assert_eq!(takes, [&Take::All, &Take::Nothing, &Take::Only(vec!["list".into()]), &Take::All]);
    let plain = written("[task.a]\nrun = 'x'").unwrap();
    assert_eq!(plain.tasks[0].spec.placement.needs[0].take, Take::Nothing);
    let error = written_by(&["list"], "[task.a]\nrun = 'x'\ntake = ['plan:lst']").unwrap_err();
    assert!(
        error.starts_with("SURVEIL_TASKS:3:9: `plan:lst` is no artifact of the task that wrote this file"),
        "{error}"
    );
    assert!(error.contains("help: it leaves list"), "{error}");
}

#[test]
fn an_empty_file_has_no_tasks_and_is_no_mistake() {
    for text in ["", "\n", "# nothing to do\n"] {
        assert!(written(text).unwrap().tasks.is_empty(), "{text}");
    }
}

#[test]
fn mistakes_of_a_file_have_their_places() {
    let long = format!("[task.{}]\nrun = 'x'", "a".repeat(96));
    for (text, place, message) in [
        ("[task.a]\nrn = 'x'", "SURVEIL_TASKS:2:1: ", "unknown key `rn`"),
        (
            "[task.a]\nrun = 'x'\nexpand = true",
            "SURVEIL_TASKS:3:1: ",
            "`expand` cannot stand in a file that a task wrote",
        ),
        ("[build]\nfail_fast = true", "SURVEIL_TASKS:1:2: ", "`build` cannot stand in a file that a task wrote"),
        ("[schedule.a]\ncron = '1 1 * * *'", "SURVEIL_TASKS:1:2: ", "`schedule` cannot stand in a file"),
        ("[task.a]\nrun = 'x'\nneeds = ['plan']", "SURVEIL_TASKS:3:10: ", "needs `plan`, which is not a task"),
        (&*long, "SURVEIL_TASKS:1:7: ", "the name of a task is too long"),
    ] {
        let error = written(text).unwrap_err();
        assert!(error.starts_with(place) && error.contains(message), "{error}");
        assert!(error.contains("help: "), "{error}");
    }
    let error = parse_tasks("f", b"[task.a]\nexpand = true\nmatrix = { v = [1] }\nrun = 'x'", PlanContext::Unknown);
    assert!(error.unwrap_err().text.starts_with("f:2:10: task `a` has both `expand` and a matrix"));
}
