//! Outputs of tasks: variables of the tasks that need them.

use crate::harness::{World, job};

const TASKS: &str = r#"
[task.version]
run = '''
echo "VERSION=1.2 rc" >> "$SURVEIL_OUTPUT"
{ echo "NOTES<<END"; echo "first"; echo "last"; echo END; } >> "$SURVEIL_OUTPUT"
echo "WHO=version" >> "$SURVEIL_OUTPUT"
'''

[task.tests]
allow_failure = true
steps = [
    { name = "a", run = 'echo "COUNT=12" >> "$SURVEIL_OUTPUT"' },
    { name = "b", run = 'echo "WHO=tests" >> "$SURVEIL_OUTPUT"; exit 3' },
]

[task.pack]
needs = ["version", "tests"]
run = '''echo "$VERSION|$NOTES|$COUNT|$WHO" | tr '\n' ' ' '''

[task.far]
needs = ["pack"]
run = 'echo "far: ${VERSION-unset}"'

[task.wrong]
run = 'echo "PATH=/tmp" >> "$SURVEIL_OUTPUT"'
"#;

/// They are there after a dispatcher was killed, because the store has them.
#[test]
fn outputs_of_a_task_are_variables_of_those_that_need_it() {
    let world = World::new();
    let repository = world.repository("app");
    let gate = world.gate("gate");
    let tasks = TASKS.replace("[task.far]", &format!("[task.gate]\nrun = '''{}'''\n[task.far]", gate.wait()));
    let tasks = tasks.replace("needs = [\"version\"", "needs = [\"gate\", \"version\"");
    let commit = repository.commit_tasks(&tasks);
    let dispatcher = world.dispatcher(&[]);
    let _observer = world.observer(&[&repository], &[]);
    let _runner = world.runner("w1", &["--slots=4"]);
    world.build_that("has outputs", |build| {
        ["version", "tests", "wrong"].iter().all(|task| job(build, task).attempts.iter().any(|it| it.outcome.is_some()))
    });
    dispatcher.kill();
    let _dispatcher = world.dispatcher(&[]);
    gate.open();
    let build = world.expect(&commit, "failed");

    assert_eq!(world.log_of(&build, "pack").trim_end(), "1.2 rc|first last|12|tests");
    assert_eq!(world.log_of(&build, "far"), "far: unset\n", "only of those that it needs itself");
    let of = |task: &str| job(&build, task).attempts[0].outputs.clone();
    let pairs =
        |pairs: &[(&str, &str)]| pairs.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect::<Vec<_>>();
    assert_eq!(of("version"), pairs(&[("VERSION", "1.2 rc"), ("NOTES", "first\nlast"), ("WHO", "version")]));
    assert_eq!(of("tests"), pairs(&[("COUNT", "12"), ("WHO", "tests")]), "those of a task that failed count, too");
    assert_eq!((job(&build, "wrong").state.as_str(), of("wrong")), ("failed", vec![]));
    let log = world.log_of(&build, "wrong");
    let wanted = "surveil: line 1 of SURVEIL_OUTPUT sets a variable that changes how programs start: `PATH=/tmp`; so the \
                  task has failed\n";
    assert_eq!(log, wanted);
    let shown = world.surveil(&["show", "latest"]).ok();
    assert!(shown.contains("    output VERSION=1.2 rc\n    output NOTES=first last\n"), "{shown}");
}

#[test]
fn a_local_run_hands_outputs_on_as_a_build_does() {
    let world = World::new();
    let repository = world.repository("app");
    repository.commit_tasks(TASKS);
    let said = world.surveil_in(&repository.path, &["run"]).with_code(1);
    assert!(said.contains("1.2 rc|first last|12|tests") && said.contains("far: unset\n"), "{said}");
    assert!(said.contains("wrong: failed") && said.contains("pack: passed"), "{said}");
}
