//! The errors of task files, word for word, and files that are accepted.

use super::keys::{KEYS, Key};
use super::limits::{MAX_SCHEDULES, MAX_TASK_BYTES, MAX_TASKS, MAX_TIMEOUT_MS};
use super::*;
use crate::model::{Group, GroupName, Label, Need, Recipe, Script, TaskName};

mod artifacts;
mod caches;
mod conditions;
mod documents;
mod doubts;
mod foreign;
mod history;
mod inputs;
mod isolation;
mod keys;
mod lists;
mod matrix;
mod mistakes;
mod properties;
mod schedules;
mod schema;
mod services;
mod shell;
mod steps;
mod takes;
mod templates;
mod when;
mod written;

/// Reads a file without a build.
fn read(name: &str, text: &[u8]) -> Result<Vec<TaskSpec>, TaskFileError> {
    let plan = parse_tasks(name, text, PlanContext::Unknown)?;
    Ok(plan.tasks.into_iter().map(|task| task.spec).collect())
}

fn parse(text: &str) -> Vec<TaskSpec> {
    read(TASK_FILE, text.as_bytes()).unwrap_or_else(|error| panic!("{error}"))
}

/// The warnings of a file without mistakes, each by its first line and its help.
fn warnings(text: &str) -> Vec<String> {
    let checked = check_tasks("f", text.as_bytes()).unwrap_or_else(|error| panic!("{error}"));
    let short = |warning: String| {
        let (first, help) = (warning.lines().next().unwrap(), warning.split("= help: ").nth(1).unwrap());
        format!("{first}\n{}", help.lines().map(str::trim).collect::<Vec<_>>().join("\n"))
    };
    checked.warnings.into_iter().map(short).collect()
}

/// The error of a file, in full.
fn error(text: &str) -> String {
    read("f", text.as_bytes()).expect_err("the file has a mistake").text
}

/// The error of `[task.a]`, a line, and a `run` if the line is none, by its first line, marks and help, behind the
/// place.
fn line_error(line: &str) -> String {
    let run = if line.starts_with("run ") { "" } else { "run = 'x'" };
    let text = error(&format!("[task.a]\n{line}\n{run}"));
    let mut lines = text.lines();
    let first = lines.next().unwrap().strip_prefix("f:2:").expect("the mistake is in line 2");
    let rest: Vec<&str> = lines.skip(1).collect();
    format!("{first}\n{}", rest.join("\n"))
}

#[test]
fn a_file_becomes_tasks_in_its_order() {
    let tasks = parse(
        r#"
        [task.zebra]
        run = "cargo build --locked"
        timeout = "20m"
        keep = ["target/", "./a//b", "target"]

        [task.apple]
        needs = ["zebra"]
        run = ["cargo", "test", ""]
        env = { Z = "1", A = "two" }
        retries = 2
        allow_failure = true
        labels = ["os=linux", "gpu", "gpu"]
        exclusive = true

        [task.pear]
        run = ["true"]
        group = "staging / ${x}"
        group_limit = 3
        "#,
    );
    assert_eq!(tasks.len(), 3);
    let mut zebra = TaskSpec::new(TaskName::new("zebra").unwrap(), Script::stopping_at_failure("cargo build --locked"));
    zebra.recipe_mut().timeout_ms = 20 * 60 * 1000;
    zebra.recipe_mut().keep = vec!["target".into(), "a/b".into()];
    assert_eq!(tasks[0], zebra);
    let words = vec!["cargo".into(), "test".into(), String::new()];
    let mut apple = TaskSpec::new(TaskName::new("apple").unwrap(), Script::Program(words));
    apple.recipe_mut().env = vec![("Z".into(), "1".into()), ("A".into(), "two".into())];
    apple.recipe_mut().exclusive = true;
    apple.placement.needs = vec![Need::passed(TaskName::new("zebra").unwrap())];
    apple.placement.labels = ["gpu", "os=linux"].map(|label| Label::new(label).unwrap()).into();
    (apple.placement.retries, apple.placement.allow_failure) = (2, true);
    assert_eq!(tasks[1], apple);
    let mut pear = TaskSpec::new(TaskName::new("pear").unwrap(), Script::Program(vec!["true".into()]));
    pear.placement.group = Some(Group { limit: 3, ..Group::new(GroupName::new("staging / ${x}").unwrap()) });
    pear.recipe_mut().exclusive = true;
    assert_eq!(tasks[2], pear, "a runner ends an attempt of a group in time, as an exclusive one");
}

/// Without `set -e`, a failure in the middle of a script gives a green build.
#[test]
fn a_script_ends_at_the_first_command_that_fails_and_a_program_is_as_written() {
    let tasks = parse("[task.a]\nrun = \"\"\"\nmake\nmake test\n\"\"\"\n[task.b]\nrun = ['make', '-e']");
    assert_eq!(tasks[0].recipe.script, Script::Shell("set -e; make\nmake test\n".into()));
    assert_eq!(tasks[1].recipe.script, Script::Program(vec!["make".into(), "-e".into()]));
}

#[test]
fn tasks_may_be_written_in_any_way_that_toml_has() {
    for text in [
        "task.a.run = 'x'",
        "task = { a = { run = 'x' } }",
        "[task]\na.run = 'x'",
        "[task]\na = { run = 'x' }",
        "\u{feff}[task.a]\r\nrun = 'x'\r\n",
        "[task.a.env]\n[task.a]\nrun = 'x'",
    ] {
        assert_eq!(
            parse(text),
            [TaskSpec::new(TaskName::new("a").unwrap(), Script::stopping_at_failure("x"))],
            "{text}"
        );
    }
}

#[test]
fn an_unknown_key_names_the_nearest_and_all() {
    assert_eq!(
        error("[task.build]\nrun = \"make\"\n  tiemout = \"20m\"\n"),
        "f:3:3: unknown key `tiemout` in task `build`
  |
3 |   tiemout = \"20m\"
  |   ^^^^^^^
  = help: write `timeout`"
    );
    let all: Vec<&str> = KEYS.iter().map(|key| key.name).collect();
    assert_eq!(
        line_error("flavour = 1"),
        format!(
            "1: unknown key `flavour` in task `a`
2 | flavour = 1
  | ^^^^^^^
  = help: the keys of a task are {}",
            all.join(", ")
        )
    );
    for (typed, meant) in
        [("script", "run"), ("rum", "run"), ("depends_on", "needs"), ("allow-failure", "allow_failure")]
    {
        let text = line_error(&format!("{typed} = 'x'"));
        assert!(text.contains(&format!("= help: write `{meant}`")), "{text}");
    }
}

#[test]
fn an_unknown_table_says_how_a_task_is_written() {
    assert_eq!(
        error("[tasks.build]\nrun = \"make\"\n"),
        format!(
            "f:1:2: unknown key `tasks`
  |
1 | [tasks.build]
  |  ^^^^^
  = help: {}; write each task as a table with its name, such as
          [task.test]
          run = \"make test\"",
            top_level::known()
        )
    );
    assert_eq!(
        error("[lint]\nrun = \"make\"\n"),
        "f:1:2: unknown key `lint`
  |
1 | [lint]
  |  ^^^^
  = help: write it as a table, `[task.lint]`, with its keys below"
    );
    assert_eq!(
        error("[build]\nrun = \"make\"\n"),
        "f:1:2: `[build]` has the settings of the build as a whole, and no `run`
  |
1 | [build]
  |  ^^^^^
  = help: write it as a table, `[task.build]`, with its keys below"
    );
    let known = error("colour = 1");
    assert!(known.contains("\n  = help: the keys here are `defaults`, `template`, "), "{known}");
    assert!(known.ends_with("`task`, `schedule`"), "{known}");
    assert!(error("run = 'x'").contains("such as\n          [task.test]\n"));
}

#[test]
fn what_is_no_table_of_tasks_is_refused() {
    assert_eq!(
        error("[[task]]\nname = \"build\"\n"),
        "f:1:1: `task` must be a table, this is a list
  |
1 | [[task]]
  | ^^^^^^^^
  = help: write each task as a table with its name, such as
          [task.test]
          run = \"make test\""
    );
    assert_eq!(
        error("[task]\nrun = \"make\"\n"),
        "f:2:1: task `run` must be a table, this is a string
  |
2 | run = \"make\"
  | ^^^
  = help: write it as a table, `[task.run]`, with its keys below"
    );
}

#[test]
fn a_file_without_tasks_shows_what_to_write() {
    let help = "\n  = help: write one, such as\n          [task.test]\n          run = \"make test\"";
    assert_eq!(error(""), format!("f:1:1: the file has no tasks\n  |\n1 |\n  | ^{help}"));
    assert_eq!(error("# later\n[task]\n"), format!("f:1:1: the file has no tasks\n  |\n1 | # later\n  | ^{help}"));
}

#[test]
fn a_task_name_is_safe_as_a_file_name() {
    assert_eq!(
        error("[task.\"unit tests\"]\nrun = 'x'"),
        "f:1:7: `unit tests` cannot name a task
  |
1 | [task.\"unit tests\"]
  |       ^^^^^^^^^^^^
  = help: use 1 to 100 of A-Z a-z 0-9 . _ - and start with a letter or digit"
    );
    for name in ["", ".hidden", "-x", "a/b", "ä", "a\\u0000", &"a".repeat(101)] {
        let text = error(&format!("[task.\"{name}\"]\nrun = 'x'"));
        assert!(text.starts_with("f:1:7: ") && text.contains("cannot name a task"), "{text}");
    }
    assert_eq!(parse("[task.\"7.b_c-d\"]\nrun = 'x'")[0].name, TaskName::new("7.b_c-d").unwrap());
}

#[test]
fn a_need_names_another_task() {
    assert_eq!(
        error("[task.build]\nrun = 'x'\n[task.test]\nrun = 'x'\nneeds = [\"biuld\"]"),
        "f:5:10: task `test` needs `biuld`, which is not a task
  |
5 | needs = [\"biuld\"]
  |          ^^^^^^^
  = help: write `build`, or add a task of that name"
    );
    assert!(
        error("[task.a]\nrun = 'x'\nneeds = ['deploy']")
            .ends_with("= help: name a task of this file, or add one of that name")
    );
    assert_eq!(
        error("[task.a]\nrun = 'x'\nneeds = ['a']"),
        "f:3:10: task `a` needs itself
  |
3 | needs = ['a']
  |          ^^^
  = help: name other tasks only"
    );
    assert!(
        error("[task.a]\nrun = 'x'\nneeds = ['b', 'b']\n[task.b]\nrun = 'x'")
            .starts_with("f:3:15: task `a` needs `b` twice\n")
    );
    assert_eq!(
        line_error("needs = 'b'"),
        "9: `needs` must be a list of strings, this is a string
2 | needs = 'b'
  |         ^^^
  = help: write `needs = [\"b\"]`"
    );
}

#[test]
fn a_circle_of_needs_is_shown() {
    assert_eq!(
        error("[task.a]\nrun = 'x'\nneeds = ['b']\n[task.b]\nrun = 'x'\nneeds = ['a']"),
        "f:3:10: tasks need one another in a circle: a -> b -> a
  |
3 | needs = ['b']
  |          ^^^
  = help: remove one of these needs; `a -> b` says that a needs b"
    );
    // The tasks that lead into the cycle are not part of it, and the cycle starts with its first task in the file.
    let text = "[task.start]\nrun = 'x'\nneeds = ['c']\n[task.b]\nrun = 'x'\nneeds = ['d', 'c']\n\
                [task.c]\nrun = 'x'\nneeds = ['b']\n[task.d]\nrun = 'x'";
    assert!(error(text).starts_with("f:6:15: tasks need one another in a circle: b -> c -> b\n"));
}

#[test]
fn a_long_chain_of_needs_is_no_circle_and_a_long_circle_is_shortened() {
    let chain = |last: &str| -> String {
        (0..MAX_TASKS)
            .map(|n| match n {
                0 => format!("[task.t0]\nrun = 'x'\nneeds = [{last}]\n"),
                n => format!("[task.t{n}]\nrun = 'x'\nneeds = ['t{}']\n", n - 1),
            })
            .collect()
    };
    assert_eq!(parse(&chain("")).len(), MAX_TASKS);
    let text = error(&chain("'t999'"));
    assert!(text.starts_with("f:3:10: tasks need one another in a circle: t0 -> t999 -> t998"), "{text}");
    assert!(text.lines().next().unwrap().ends_with("-> t989 -> … -> t0"), "{text}");
}

#[test]
fn a_commit_has_a_limited_number_of_tasks() {
    let text: String = (0..=MAX_TASKS).map(|n| format!("[task.t{n}]\nrun = 'x'\n")).collect();
    assert_eq!(
        error(&text),
        "f:2001:7: a commit has at most 1000 tasks
     |
2001 | [task.t1000]
     |       ^^^^^
     = help: let one task run several of these"
    );
}

#[test]
fn what_is_no_toml_is_shown_in_the_parsers_words() {
    assert_eq!(
        error("[task.a]\nrun = cargo test\n"),
        "f:2:7: string values must be quoted, expected literal string
  |
2 | run = cargo test
  |       ^^^^^^^^^^
  = help: the file is TOML, see https://toml.io: a key, `=`, and a value; text stands in quotes"
    );
    assert_eq!(
        error("[task.a]\nrun = 'x'\n\n[task.a]\nrun = 'y'\n"),
        "f:4:7: duplicate key
  |
4 | [task.a]
  |       ^
  = help: give each table, and each key in it, only once"
    );
    assert!(error("[task.a]\nrun = 'x'\nrun = 'y'").starts_with("f:3:1: duplicate key\n"));
    assert!(error("[task.a\n").starts_with("f:1:8: "));
}

#[test]
fn what_is_no_text_or_too_much_of_it_is_refused() {
    let text = read("f", b"[task.a]\nrun = '\xff\xfe'\n").unwrap_err().text;
    assert_eq!(
        text,
        "f:2:8: the file is not UTF-8
  |
2 | run = '\u{fffd}\u{fffd}'
  |        ^
  = help: save the file as UTF-8; in strings, write other bytes as escapes of the shell"
    );
    let text = read("f", &vec![b'#'; MAX_TASK_FILE_BYTES + 1]).unwrap_err().text;
    assert_eq!(text, "f:1:1: the file is larger than 1 MiB\n = help: keep recipes in scripts and call those");
    assert!(read("f", &vec![b'#'; MAX_TASK_FILE_BYTES]).unwrap_err().text.contains("has no tasks"));
}

#[test]
fn what_is_quoted_from_a_file_is_short_and_harmless() {
    let text = error(&format!("[task.a]\n\"{}\\u001b[2J\" = 1", "k".repeat(5000)));
    assert!(text.len() < 1000 && !text.contains('\u{1b}'), "{text}");
    let text = read("odd\nname", b"").unwrap_err().text;
    assert!(text.starts_with("odd name:1:1: "), "{text}");
}

/// Files of the allowed size, each as bad as it can be for some part of a reader, read on a stack as small as the
/// dispatcher's threads have.
#[test]
fn no_hostile_file_exhausts_a_threads_stack() {
    let size = MAX_TASK_FILE_BYTES;
    let dotted = "a.".repeat(size / 2 - 10) + "a";
    for text in [
        format!("{dotted}=1"),
        format!("[{dotted}]"),
        format!("[task.{dotted}]"),
        format!("a={}", "[".repeat(size - 2)),
        format!("a={}", "{a=".repeat(size / 3 - 2)),
        format!("[[{}a]]\n", "a.".repeat(500)).repeat(size / 1010),
        "[[a]]\n".repeat(size / 6),
        "=\n".repeat(size / 2),
        "\"".repeat(size),
        "\0".repeat(size),
        format!("[task.a]\nrun='x'\nkeep=[{}]", "'a',".repeat(size / 4 - 20)),
        format!("[task.a]\nrun='x'\nneeds=[{}]", "'b',".repeat(size / 4 - 20)),
    ] {
        assert!(text.len() <= size);
        // Small files are read to their end after an error, so their beginning is tried too.
        let beginning = text[..60_000.min(text.len())].to_owned();
        let reader = crate::threads::spawn("reader", move || check_tasks("f", beginning.as_bytes()).map(drop));
        drop(reader.unwrap().join().unwrap());
        let reader = crate::threads::spawn("reader", move || read("f", text.as_bytes()).map(|tasks| tasks.len()));
        drop(reader.unwrap().join().unwrap());
    }
}

#[test]
fn executable_files_stand_in_for_a_task_file() {
    let tasks = fallback_plan(&["build".into(), "test.sh".into()]).unwrap();
    let task =
        |name: &str| TaskSpec::new(TaskName::new(name).unwrap(), Script::Program(vec![format!("./tasks/{name}")]));
    assert_eq!(tasks, [task("build"), task("test.sh")]);
    assert_eq!(
        fallback_plan(&["run me".into()]).unwrap_err().text,
        "tasks/run me: `run me` cannot name a task\n = help: rename the file (use 1 to 100 of A-Z a-z 0-9 . _ - and \
         start with a letter or digit), or make it not executable"
    );
    let many: Vec<String> = (0..=MAX_TASKS).map(|n| format!("t{n}")).collect();
    assert!(fallback_plan(&many).unwrap_err().text.starts_with("tasks: 1001 executable files, "));
    assert_eq!(fallback_plan(&[]).unwrap_err().text, no_tasks_text());
}

#[test]
fn without_tasks_one_is_told_what_to_write() {
    assert_eq!(
        no_tasks_text(),
        "there are no tasks: write a file named .surveil.toml at the root of the repository, such as

    [task.test]
    run = \"make test\"

or put executable files into tasks/; each is then a task of its own"
    );
    assert_eq!(
        parse(EXAMPLE),
        [TaskSpec::new(TaskName::new("test").unwrap(), Script::stopping_at_failure("make test"))]
    );
}
