//! The key `take`, and what a task takes without it.

use super::*;
use crate::model::Take;

const MAKERS: &str = "[task.build]\nrun = 'x'\nartifacts = ['dist/**', { name = 'coverage', paths = ['c.xml'] }]\n\
                      [task.test]\nrun = 'x'\nmatrix = { v = ['a:1', 'b'] }\nartifacts = ['x']\n[task.lint]\nrun = 'x'\n";

/// The task `package` with these lines, behind tasks that leave artifacts.
fn package(lines: &str) -> TaskSpec {
    parse(&format!("{MAKERS}[task.package]\nrun = 'y'\n{lines}\n")).pop().unwrap()
}

fn takes(lines: &str) -> Vec<(String, Take)> {
    package(lines).placement.needs.into_iter().map(|need| (need.task.to_string(), need.take)).collect()
}

fn take_error(take: &str) -> String {
    error(&format!("{MAKERS}[task.package]\nrun = 'y'\nneeds = ['build', 'test', 'lint']\ntake = {take}\n"))
}

#[test]
fn a_task_takes_all_that_the_tasks_it_needs_leave_unless_it_says_which() {
    let only = |names: &[&str]| Take::Only(names.iter().map(|name| (*name).to_owned()).collect());
    let all = |pairs: [Take; 4]| {
        let names = ["build", "test@a:1", "test@b", "lint"].map(str::to_owned);
        names.into_iter().zip(pairs).collect::<Vec<_>>()
    };
    let needs = "needs = ['build', 'test', 'lint']\n";
    let with = |take: &str| takes(&format!("{needs}take = {take}"));
    assert_eq!(takes(needs), all([Take::All, Take::All, Take::All, Take::Nothing]));
    assert_eq!(with("[]"), all([Take::Nothing, Take::Nothing, Take::Nothing, Take::Nothing]));
    assert_eq!(with("['build']"), all([Take::All, Take::Nothing, Take::Nothing, Take::Nothing]));
    let names = with("['build:coverage', 'build:files', 'test']");
    assert_eq!(names, all([only(&["coverage", "files"]), Take::All, Take::All, Take::Nothing]));
    let cells = with("['test@a:1', 'test@b:files']");
    assert_eq!(cells, all([Take::Nothing, Take::All, only(&["files"]), Take::Nothing]));
    let one = takes("needs = ['test@b']\ntake = ['test:files']");
    assert_eq!(one, [("test@b".to_owned(), only(&["files"]))]);
}

#[test]
fn only_runners_that_know_it_get_a_task_that_takes_something() {
    let has = |lines: &str| package(lines).placement.labels.iter().any(|label| label.as_str() == "can=take");
    assert!(has("needs = ['build']"), "an older runner would start it without the files");
    assert!(!has("needs = ['build']\ntake = []") && !has("needs = ['lint']") && !has(""));
}

#[test]
fn a_take_that_names_nothing_that_is_left_is_refused_with_its_place() {
    assert_eq!(
        take_error("['build', 'tset']"),
        "f:13:18: task `package` takes from `tset`, which is not a task
   |
13 | take = ['build', 'tset']
   |                  ^^^^^^
   = help: write `test`"
    );
    for (take, message, help) in [
        ("'build'", "`take` must be a list of strings, this is a string", "write `take = [\"build\"]`"),
        ("[1]", "`take` must be a list of strings, this is a whole number", "single artifacts of them"),
        ("['biuld:coverage']", "takes from `biuld`, which is not a task", "write `build:coverage`"),
        ("['package']", "takes from `package`, which it does not need", "add it to `needs`"),
        ("['lint']", "takes from `lint`, which leaves no artifacts", "write `artifacts` into `lint`"),
        ("['build:covrage']", "takes `covrage` of `build`, which leaves no such artifact", "write `build:coverage`"),
        ("['test:coverage']", "takes `coverage` of `test`, which leaves no such artifact", "`test:files`"),
        ("['build', 'build']", "takes `build` twice", "name it once"),
        ("['build', 'build:files']", "takes `build:files` twice", "name it once"),
        ("['test@b:files', 'test']", "takes `test` twice", "name it once"),
    ] {
        let text = take_error(take);
        assert!(text.contains(message) && text.contains(help), "{take}: {text}");
        assert!(text.starts_with("f:13:"), "{take}: {text}");
    }
    let unneeded = error(&format!("{MAKERS}[task.a]\nrun = 'y'\nneeds = ['lint']\ntake = ['build']\n"));
    assert!(unneeded.contains("takes from `build`, which it does not need"), "{unneeded}");
    // A need that is a mistake is told once.
    let text = error("[task.a]\nrun = 'y'\nneeds = ['b']\ntake = ['b:x']\n");
    assert!(text.contains("needs `b`, which is not a task") && !text.contains("takes"), "{text}");
    // So are the cells of a matrix.
    let cells = format!("{MAKERS}[task.a]\nrun = 'y'\nmatrix = {{ v = [1, 2] }}\nneeds = ['build']\ntake = ['lint']\n");
    assert_eq!(error(&cells).matches("takes from").count(), 1);
}

#[test]
fn the_names_that_tasks_take_are_bounded() {
    let artifacts: Vec<String> = (0..100).map(|n| format!("{{ name = 'n{n}', paths = ['x'] }}")).collect();
    let names: Vec<String> = (0..100).map(|n| format!("'build:n{n}'")).collect();
    let values: Vec<String> = (0..20).map(|n| n.to_string()).collect();
    let file = format!(
        "[task.build]\nrun = 'x'\nmatrix = {{ v = [{0}] }}\nartifacts = [{1}]\n\
         [task.a]\nrun = 'x'\nmatrix = {{ v = [{0}] }}\nneeds = ['build']\ntake = [{2}]\n",
        values.join(", "),
        artifacts.join(", "),
        names.join(", ")
    );
    assert!(error(&file).contains("need and take more than 20000 times"), "{}", error(&file));
    let many = vec!["'b'"; 1001].join(", ");
    assert!(error(&format!("[task.a]\nrun = 'x'\ntake = [{many}]")).contains("a task takes at most 1000 artifacts"));
}
