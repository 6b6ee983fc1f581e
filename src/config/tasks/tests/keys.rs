//! Each key of a task: values that are accepted, and the errors of values that are not.

use super::*;
use crate::model::STOP_AT_FAILURE;

#[test]
fn a_task_has_something_to_run() {
    assert_eq!(
        error("[task.a]\nneeds = []"),
        "f:1:7: task `a` has no `run`
  |
1 | [task.a]
  |       ^
  = help: add a line that says what to do, such as `run = \"make test\"`"
    );
    assert_eq!(
        line_error("run = \" \""),
        "7: `run` is empty
2 | run = \" \"
  |       ^^^
  = help: write a line for the shell, such as `run = \"make test\"`,
          or a program with its arguments, such as `run = [\"make\", \"test\"]`"
    );
    assert!(line_error("run = []").starts_with("7: `run` is empty\n2 | run = []\n  |       ^^\n"));
    assert!(line_error("run = ['', 'x']").starts_with("8: `run` names no program\n"));
    assert!(
        line_error("run = 1").starts_with("7: `run` must be a string or a list of strings, this is a whole number\n")
    );
    assert!(
        line_error("run = ['a', 1.5]")
            .starts_with("13: `run` must be a list of strings, this is a number with a fraction\n")
    );
    assert!(line_error(r#"run = "a\u0000""#).starts_with("7: the text has a NUL character\n"));
    assert!(line_error(r#"run = ["a", "\u0000"]"#).starts_with("13: the text has a NUL character\n"));
}

#[test]
fn a_task_too_long_to_be_started_is_refused() {
    let limit = |bytes: usize| format!("[task.a]\nrun = '{}'", "x".repeat(bytes));
    let longest = MAX_TASK_BYTES - STOP_AT_FAILURE.len();
    assert_eq!(parse(&limit(longest)).len(), 1);
    assert!(error(&limit(longest + 1)).starts_with("f:1:7: task `a` is longer than 128 KiB\n"));
}

#[test]
fn a_variable_is_text_with_a_name() {
    assert_eq!(
        line_error("env = { PORT = 8080 }"),
        "16: `PORT` must be a string, this is a whole number
2 | env = { PORT = 8080 }
  |                ^^^^
  = help: put the value in quotes: a variable of the environment is text"
    );
    assert!(line_error("env = { ON = true }").contains("must be a string, this is true or false\n"));
    assert!(line_error("env = { A.B = 'x' }").contains("help: write a string: a variable"));
    assert!(line_error("env = 'A=1'").starts_with("7: `env` must be a table, this is a string\n"));
    assert!(line_error("env = { 'A=B' = '1' }").starts_with("9: `A=B` cannot name a variable of the environment\n"));
    assert!(line_error("env = { '' = '1' }").starts_with("9: `` cannot name a variable of the environment\n"));
    assert!(line_error(r#"env = { A = "\u0000" }"#).starts_with("13: the text has a NUL character\n"));
    assert_eq!(
        line_error("env = { SURVEIL_COMMIT = 'x' }"),
        "9: `SURVEIL_COMMIT` is reserved: the runner sets variables of that prefix
2 | env = { SURVEIL_COMMIT = 'x' }
  |         ^^^^^^^^^^^^^^
  = help: use another name"
    );
    let many = "[task.a]\nrun = 'x'\n[task.a.env]\nLANG = 'C'\nCI = 'no'\n'npm_config_//r/:_auth' = 'x'";
    let names: Vec<String> = parse(many)[0].recipe.env.iter().map(|(name, _)| name.clone()).collect();
    assert_eq!(names, ["LANG", "CI", "npm_config_//r/:_auth"]);
}

#[test]
fn a_timeout_is_a_duration_within_limits() {
    assert_eq!(
        line_error("timeout = \"20 minutes\""),
        "11: `20 minutes` is not a duration
2 | timeout = \"20 minutes\"
  |           ^^^^^^^^^^^^
  = help: write numbers with units (d, h, m, s, ms), such as `timeout = \"1h30m\"`"
    );
    assert!(line_error("timeout = 20").starts_with("11: `timeout` must be a string, this is a whole number\n"));
    assert!(line_error("timeout = '0s'").starts_with("11: `timeout` must be more than 0\n"));
    assert!(line_error("timeout = '30d1s'").starts_with("11: `timeout` must be at most 30 days\n"));
    assert!(line_error("timeout = '99999999999999999999d'").starts_with("11: `timeout` must be at most 30 days\n"));
    let timeout = |text: &str| parse(&format!("[task.a]\nrun = 'x'\ntimeout = '{text}'"))[0].recipe.timeout_ms;
    assert_eq!((timeout("90s"), timeout("1h30m"), timeout("30d")), (90_000, 5_400_000, MAX_TIMEOUT_MS));
    assert_eq!(parse("[task.a]\nrun = 'x'")[0].recipe.timeout_ms, Recipe::DEFAULT_TIMEOUT_MS);
}

#[test]
fn a_group_has_a_visible_name_and_its_limit_a_group() {
    assert_eq!(
        line_error("group = \" staging\""),
        "9: ` staging` cannot name a group
2 | group = \" staging\"
  |         ^^^^^^^^^^
  = help: write a name of 1 to 100 visible characters, such as `group = \"staging\"`"
    );
    assert!(line_error("group = \"\"").starts_with("9: ``"), "{}", line_error("group = \"\""));
    assert!(line_error("group = true").starts_with("9: `group` must be a string, this is true or false\n"));
    assert!(line_error(&format!("group = '{}'", "x".repeat(101))).contains("cannot name a group"));
    assert_eq!(
        line_error("group_limit = 2"),
        "1: task `a` has a `group_limit` and no `group`
2 | group_limit = 2
  | ^^^^^^^^^^^
  = help: add the name of a group, such as `group = \"staging\"`, or leave `group_limit` out"
    );
    for typed in ["0", "1001", "-1", "99999999999999999999"] {
        let error = line_error(&format!("group_limit = {typed}\ngroup = 'g'"));
        assert!(error.starts_with("15: `group_limit` must be from 1 to 1000\n"), "{error}");
    }
    let tasks =
        parse("[defaults]\ngroup_limit = 2\n[task.a]\nrun = 'x'\n[task.b]\nrun = 'x'\ngroup = 'g'\nexclusive = true");
    assert_eq!(tasks[0].placement.group, None, "a default alone makes no group");
    let group = tasks[1].placement.group.clone().unwrap();
    assert_eq!((group.limit, group.exclusive), (2, true));
}

#[test]
fn a_priority_is_from_minus_100_to_100() {
    assert_eq!(
        line_error("priority = 101"),
        "12: `priority` must be from -100 to 100
2 | priority = 101
  |            ^^^
  = help: write a number from -100 to 100, such as `priority = 2`"
    );
    for typed in ["-101", "'high'", "1.5", "99999999999999999999"] {
        assert!(line_error(&format!("priority = {typed}")).starts_with("12: `priority` must be "), "{typed}");
    }
    assert_eq!(parse("[task.a]\nrun = 'x'\npriority = -100")[0].placement.priority, -100);
}

#[test]
fn retries_are_few() {
    assert_eq!(
        line_error("retries = 11"),
        "11: `retries` must be from 0 to 10
2 | retries = 11
  |           ^^
  = help: write a number from 0 to 10, such as `retries = 2`"
    );
    for (typed, message) in [
        ("-1", "must be from 0 to 10"),
        ("99999999999999999999", "must be from 0 to 10"),
        ("'2'", "must be a whole number, this is a string"),
        ("1.0", "must be a whole number, this is a number with a fraction"),
    ] {
        let text = line_error(&format!("retries = {typed}"));
        assert!(text.starts_with(&format!("11: `retries` {message}\n")), "{text}");
    }
    assert_eq!(parse("[task.a]\nrun = 'x'\nretries = 0x0A")[0].placement.retries, 10);
}

#[test]
fn flags_are_true_or_false() {
    assert_eq!(
        line_error("exclusive = \"yes\""),
        "13: `exclusive` must be true or false, this is a string
2 | exclusive = \"yes\"
  |             ^^^^^
  = help: write `exclusive = true` or leave it out"
    );
    assert!(line_error("allow_failure = 1").contains("help: write `allow_failure = true` or leave it out"));
}

#[test]
fn labels_are_words_or_keys_with_values() {
    assert_eq!(
        line_error("labels = [\"gpu\", \"os = linux\"]"),
        "18: `os = linux` is not a label
2 | labels = [\"gpu\", \"os = linux\"]
  |                  ^^^^^^^^^^^^
  = help: a label is WORD or KEY=VALUE, with letters, digits and . _ - + : @ / only,
          such as `labels = [\"gpu\", \"os=linux\"]`"
    );
    assert!(line_error("labels = 'gpu'").starts_with("10: `labels` must be a list of strings, this is a string\n"));
    let many = (0..65).map(|n| format!("'l{n}'")).collect::<Vec<_>>().join(", ");
    assert!(line_error(&format!("labels = [{many}]")).starts_with("10: a task has at most 64 labels\n"));
}

#[test]
fn kept_paths_stay_inside_the_work_tree() {
    assert_eq!(
        line_error("keep = [\"../cache\"]"),
        "9: `../cache` leads out of the work tree
2 | keep = [\"../cache\"]
  |         ^^^^^^^^^^
  = help: name a file or directory below the root of the repository, such as `keep = [\"target\"]`"
    );
    for (path, why) in [
        ("", "names nothing inside the work tree"),
        (".", "names nothing inside the work tree"),
        ("./", "names nothing inside the work tree"),
        ("/tmp", "is not a path inside the work tree"),
        ("~/.cache", "is not a path inside the work tree"),
        ("a/../../b", "leads out of the work tree"),
        ("a/..", "leads out of the work tree"),
        ("$HOME/.cache", "is taken as it is, and nothing expands `$`"),
        ("${TMP}", "is taken as it is, and nothing expands `$`"),
        ("a?", "is a pattern, and `keep` takes plain paths"),
        ("*.o", "is a pattern, and `keep` takes plain paths"),
        (".git", "belongs to git and cannot be used for `keep`"),
        ("sub/.Git/x", "belongs to git and cannot be used for `keep`"),
    ] {
        assert!(line_error(&format!("keep = ['{path}']")).starts_with(&format!("9: `{path}` {why}\n")), "{path}");
    }
    for outside in ["$HOME/.cache", "~/.cargo", "/var/cache"] {
        let text = line_error(&format!("keep = ['{outside}']"));
        assert!(
            text.contains("nothing outside the work tree is cleaned: a cache in the home directory stays"),
            "{text}"
        );
    }
    assert!(line_error(r#"keep = ["a\u0000"]"#).starts_with("9: the text has a NUL character\n"));
    let many = (0..65).map(|n| format!("'p{n}'")).collect::<Vec<_>>().join(", ");
    assert!(line_error(&format!("keep = [{many}]")).contains(": a task keeps at most 64 paths\n"));
}

#[test]
fn the_schema_of_every_key_is_an_object_that_names_a_type() {
    for key in KEYS {
        let schema: serde_json::Value =
            serde_json::from_str(key.schema).unwrap_or_else(|e| panic!("{}: {e}", key.name));
        assert!(["type", "oneOf", "anyOf"].iter().any(|word| schema.get(word).is_some()), "{}: {schema}", key.name);
    }
}

#[test]
fn a_task_starts_below_the_root_of_the_repository() {
    assert_eq!(
        line_error("dir = \"/srv/app\""),
        "7: `/srv/app` is not a path inside the work tree
2 | dir = \"/srv/app\"
  |       ^^^^^^^^^^
  = help: name a directory below the root of the repository, such as `dir = \"crates/core\"`;
          a script reaches any other by `cd`"
    );
    for (typed, why) in [
        ("''", "7: `dir` is empty\n"),
        ("'a/../..'", "7: `a/../..` leads out of the work tree\n"),
        ("'$HOME/x'", "7: `$HOME/x` is taken as it is, and nothing expands `$`\n"),
        ("'crates/*'", "7: `crates/*` is a pattern, and `dir` takes plain paths\n"),
        ("'.git/hooks'", "7: `.git/hooks` belongs to git and cannot be used for `dir`\n"),
        ("['a']", "7: `dir` must be a string, this is a list\n"),
    ] {
        let text = line_error(&format!("dir = {typed}"));
        assert!(text.starts_with(why), "{text}");
    }
    let task = |dir: &str| parse(&format!("[task.a]\nrun = 'x'\nlabels = ['zoo', 'a']\ndir = '{dir}'")).remove(0);
    let core = task("./crates//core/");
    assert_eq!(core.recipe.dir.as_deref(), Some("crates/core"));
    let labels: Vec<&str> = core.placement.labels.iter().map(Label::as_str).collect();
    assert_eq!(labels, ["a", "can=dir", "zoo"], "runners that would start it elsewhere do not get it");
    assert_eq!((task(".").recipe.dir.as_deref(), task("./").placement.labels.len()), (None, 2));
}

#[test]
fn a_quiet_time_is_a_duration_shorter_than_the_timeout() {
    assert!(line_error("quiet_timeout = '0s'").starts_with("17: `quiet_timeout` must be more than 0\n"));
    assert!(line_error("quiet_timeout = '0s'").ends_with("= help: leave it out for no such limit"));
    assert!(line_error("quiet_timeout = '31d'").starts_with("17: `quiet_timeout` must be at most 30 days\n"));
    assert!(line_error("quiet_timeout = 'x'").contains("such as `quiet_timeout = \"1h30m\"`"));
    let task = &parse("[task.a]\nrun = 'x'\nquiet_timeout = '10m'")[0];
    assert_eq!(task.recipe.quiet_timeout_ms, Some(600_000));
    assert_eq!(task.placement.labels.iter().map(Label::as_str).collect::<Vec<_>>(), ["can=quiet_timeout"]);
    let found = warnings("[task.a]\nrun = 'x'\nquiet_timeout = '1h'");
    assert!(
        found[0].starts_with("f:1:7: `quiet_timeout` of `a` has no effect: `timeout` is not longer\n"),
        "{found:?}"
    );
    assert_eq!(warnings("[task.a]\nrun = 'x'\ntimeout = '2h'\nquiet_timeout = '1h'"), Vec::<String>::new());
}
