//! The key `steps`: what is made of it, and the errors of steps that are none.

use super::*;
use crate::model::Step;

fn steps(text: &str) -> Vec<Step> {
    parse(text)[0].recipe.steps.clone()
}

#[test]
fn a_step_is_a_script_or_a_table_and_has_a_name() {
    let tasks = parse(
        r#"
        [task.test]
        shell = ["bash", "-e"]
        dir = "core"
        steps = [
            "cargo build\ncargo doc",
            { name = "unit tests", run = "cargo test", timeout = "5m", shell = ["dash"], dir = "app", env = { A = "1" } },
            { run = ["./package", "--all"] },
            { run = "\n  # says all\n  cat log", always = true },
            "cargo build",
        ]
        "#,
    );
    let recipe = &tasks[0].recipe;
    let bash = |text: &str| Script::Program(["bash", "-e", "-c", text].map(str::to_owned).into());
    let unit = Step {
        timeout_ms: Some(300_000),
        dir: Some("app".into()),
        env: vec![("A".into(), "1".into())],
        ..Step::new("unit tests".into(), Script::Program(["dash", "-c", "cargo test"].map(str::to_owned).into()))
    };
    let package = Script::Program(["./package", "--all"].map(str::to_owned).into());
    let wanted = [
        Step::new("cargo build".into(), bash("cargo build\ncargo doc")),
        unit,
        Step::new("./package --all".into(), package),
        Step { always: true, ..Step::new("cat log".into(), bash("\n  # says all\n  cat log")) },
        Step::new("cargo build (2)".into(), bash("cargo build")),
    ];
    assert_eq!(recipe.steps, wanted);
    assert_eq!(recipe.script, Script::of_steps(), "a runner that knows no steps starts nothing");
    let labels: Vec<&str> = tasks[0].placement.labels.iter().map(Label::as_str).collect();
    assert_eq!(labels, ["can=dir", "can=steps"]);
    assert_eq!(steps("[task.a]\nsteps = ['make']")[0].script, Script::stopping_at_failure("make"));
}

#[test]
fn a_name_without_one_is_the_short_first_line_of_the_command() {
    let name = |run: &str| steps(&format!("[task.a]\nsteps = [{run}]")).remove(0).name;
    assert_eq!(name("'''\n\n  make all  \nmake test'''"), "make all");
    assert_eq!(name(&format!("'{}'", "ä".repeat(61))), format!("{}…", "ä".repeat(60)));
    assert_eq!(name("\"make \\u001b[1m\""), "make \u{fffd}[1m", "it moves no cursor");
    let taken = steps("[task.a]\nsteps = ['x', { name = 'x', run = 'y' }, 'x']");
    assert_eq!(taken.iter().map(|step| step.name.as_str()).collect::<Vec<_>>(), ["x (2)", "x", "x (3)"]);
}

#[test]
fn a_step_that_is_none_is_told_with_its_place() {
    let told = |steps: &str| {
        let text = error(&format!("[task.a]\nsteps = {steps}"));
        text.lines().next().unwrap().to_owned() + "\n" + text.split("= help: ").nth(1).unwrap()
    };
    assert_eq!(
        error("[task.a]\nsteps = [\"make\", { name = \"x\", rum = \"y\" }]"),
        "f:2:32: unknown key `rum` in a step
  |
2 | steps = [\"make\", { name = \"x\", rum = \"y\" }]
  |                                ^^^
  = help: write `run`"
    );
    for (typed, message, help) in [
        ("[]", "f:2:9: `steps` is empty", "write a list of commands"),
        ("'make'", "f:2:9: `steps` must be a list, this is a string", "write a list of commands"),
        ("[1]", "f:2:10: a step must be a string or a table, this is a whole number", "write a list of commands"),
        ("[['make', 'test']]", "f:2:10: a step must be a string or a table, this is a list", "a program with its"),
        ("['']", "f:2:10: `run` is empty", "write a line for the shell"),
        (
            "[{ run = 'x', always = 'yes' }]",
            "f:2:32: `always` must be true or false, this is a string",
            "write `always",
        ),
        (
            "[{ run = 'x', timeout = '0s' }]",
            "f:2:33: `timeout` must be more than 0",
            "leave it out for that of the task",
        ),
        ("[{ run = 'x', dir = '/x' }]", "f:2:29: `/x` is not a path inside the work tree", "name a directory"),
        ("[{ run = 'x', env = { SURVEIL_A = '' } }]", "f:2:31: `SURVEIL_A` is reserved", "use another name"),
        ("[{ run = ['x'], shell = ['sh'] }]", "f:2:33: `run` is a list, which is started without a shell", "leave"),
        ("[{ run = 'x', if = 'always()' }]", "f:2:23: unknown key `if` in a step", "`always = true` lets a step run"),
        ("[{ uses = 'x', run = 'x' }]", "f:2:12: unknown key `uses` in a step", "there are no actions"),
        ("[{ name = 'x', run = 'x' }, { name = 'x', run = 'y' }]", "f:2:46: two steps are called `x`", "give each"),
        ("[{ name = ' ', run = 'x' }]", "f:2:19: ` ` cannot name a step", "use at most 60 characters"),
    ] {
        let text = told(typed);
        assert!(text.starts_with(message) && text.contains(&format!("\n{help}")), "{typed}: {text}");
    }
    let many = vec!["'x'"; 51].join(", ");
    assert!(told(&format!("[{many}]")).starts_with("f:2:9: a task has at most 50 steps\n"));
}

#[test]
fn a_task_has_one_script_or_steps() {
    let both = error("[task.a]\nrun = 'x'\nsteps = ['y']");
    assert!(both.starts_with("f:3:1: task `a` has both `run` and `steps`\n"), "{both}");
    let own = parse("[template.t]\nrun = 'x'\n[task.a]\nextends = ['t']\nsteps = ['y']");
    assert_eq!(own[0].recipe.steps.len(), 1, "a task's own steps take the place of a template's script");
    assert!(error("[defaults]\nsteps = ['x']\n[task.a]\nrun = 'x'").contains("`steps` cannot stand in `[defaults]`"));
    let long = format!("[task.a]\nsteps = ['{}', '{}']", "x".repeat(70_000), "y".repeat(70_000));
    assert!(error(&long).contains("task `a` is longer than 128 KiB"));
}

#[test]
fn the_warnings_about_scripts_see_those_of_steps() {
    let found = warnings("[task.a]\nsteps = ['make', 'make test | tee log']");
    assert!(found[0].starts_with("f:2:18: a failure left of `| tee` is not noticed"), "{found:?}");
    let found = warnings("[task.a]\nsteps = ['true', 'echo x > out.txt']\n[task.b]\nsteps = ['cat out.txt']");
    assert!(found[0].contains("`b` uses `out.txt`, which `a` makes"), "{found:?}");
}
