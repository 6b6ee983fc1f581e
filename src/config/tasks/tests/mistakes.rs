//! All mistakes of a file at once, keys of other programs, and files from other systems.

use super::*;

/// The first line of each mistake that `surveil check` tells.
fn told(text: &str) -> Vec<String> {
    let error = check_tasks("f", text.as_bytes()).expect_err("the file has mistakes").text;
    error.lines().filter(|line| line.starts_with("f:") || line.contains(" mistakes")).map(str::to_owned).collect()
}

#[test]
fn all_mistakes_are_told_in_the_order_of_the_file() {
    let file = "image = 'rust'\n[task.a]\nrum = 'x'\ntimeout = '20 minutes'\nretries = 11\nneeds = ['c', 'd', 'e']\n\
                [task.b]\nneeds = ['d']\nenv = { A = 1, B = 2 }\nlabels = ['a b', 'ok', 'c d']\n\
                keep = ['/x', 'y', '../z', 3]\n[task.\"c d\"]\nrun = []\n[task.d]\nrun = 'x'\nneeds = ['b']\n\
                [task.e]\nrun = 1\n";
    assert_eq!(
        told(file),
        [
            "f:1:1: unknown key `image`",
            "f:3:1: unknown key `rum` in task `a`",
            "f:4:11: `20 minutes` is not a duration",
            "f:5:11: `retries` must be from 0 to 10",
            "f:6:10: task `a` needs `c`, which is not a task",
            "f:7:7: task `b` has no `run`",
            "f:8:10: tasks need one another in a circle: b -> d -> b",
            "f:9:13: `A` must be a string, this is a whole number",
            "f:9:20: `B` must be a string, this is a whole number",
            "f:10:11: `a b` is not a label",
            "f:10:24: `c d` is not a label",
            "f:11:9: `/x` is not a path inside the work tree",
            "f:11:20: `../z` leads out of the work tree",
            "f:11:28: `keep` must be a list of strings, this is a whole number",
            "f:12:7: `c d` cannot name a task",
            "f:13:7: `run` is empty",
            "f:18:7: `run` must be a string or a list of strings, this is a whole number",
            "17 mistakes",
        ]
    );
    let stored = error(file);
    assert!(stored.ends_with("\n\n17 mistakes; the first 5 are shown"), "a build has the first of them: {stored}");
}

#[test]
fn all_errors_of_the_toml_are_told_one_for_each_line() {
    let quotes = "[task.a]\nrun = cargo test\ntimeout = 20m\nretries = 99\n[task.b]\nruns = 'x'\n";
    assert_eq!(
        told(quotes),
        [
            "f:2:7: string values must be quoted, expected literal string",
            "f:3:11: string values must be quoted, expected literal string",
            "f:4:11: `retries` must be from 0 to 10",
            "f:6:1: unknown key `runs` in task `b`",
            "4 mistakes",
        ]
    );
    let header = told("[task.a\nrun = 'x'\nretries = 99\n");
    assert_eq!(header.len(), 1, "the rest may belong anywhere: {header:?}");
    let yaml = told("build:\n  script:\n    - make\n");
    assert_eq!(yaml.len(), 4, "{yaml:?}");
    assert!(yaml[0].starts_with("f:1:") && yaml[2].starts_with("f:3:"), "{yaml:?}");
}

#[test]
fn a_key_of_another_program_is_answered_with_what_there_is_for_it() {
    for (line, answer) in [
        ("container = 'rust:1'", "write `image`, such as"),
        ("strategy = { matrix = {} }", "write `matrix`"),
        ("parallelism = 4", "write `matrix = { part = [1, 2, 3] }`"),
        ("if = 'x'", "write `when`, such as"),
        ("only = ['main']", "write `when`, such as"),
        ("rules = []", "write `when`, such as"),
        ("sidecars = ['postgres']", "write `services`, such as `services = [\"db\"]`"),
        ("credentials = ['x']", "write `secrets`, such as `secrets = [\"NPM_TOKEN\"]`"),
        ("outputs = ['x']", "a task writes lines `NAME=value`"),
        ("interpreter = 'bash'", "write `shell`"),
        ("caches = []", "write `cache`, such as"),
        ("stage = 'x'", "there are no stages: `needs`"),
        ("uses = 'x'", "there are no actions"),
        ("before_script = ['x']", "write these commands as `steps`"),
        ("script = ['make', 'make test']", "the key is `run`; write the commands as the lines of one string:"),
        ("script = 'make'", "write `run`"),
        ("depends_on = ['x']", "write `needs`"),
        ("runs-on = 'x'", "write `labels`"),
        ("working-directory = 'x'", "write `dir`"),
    ] {
        let text = error(&format!("[task.a]\nrun = 'x'\n{line}\n"));
        assert!(text.contains(&format!("= help: {answer}")), "{line}: {text}");
        let key = line.split(' ').next().unwrap();
        assert!(text.starts_with(&format!("f:3:1: unknown key `{key}` in task `a`\n")), "{text}");
    }
    let top = error("stages = ['a']\n");
    assert!(top.contains("= help: there are no stages: `needs`"), "{top}");
}

#[test]
fn one_cause_makes_one_mistake() {
    for file in [
        "[build]\nrun = 'x'\n[task.test]\nneeds = ['build']\nrun = 'y'\n",
        "[tasks.a]\nrun = 'x'\n",
        "[task.a]\nscript = 'x'\n",
        "[task.'a b']\nrun = 'x'\n[task.c]\nrun = 'x'\nneeds = ['a b']\n",
    ] {
        assert_eq!(told(file).len(), 1, "{file}: {:?}", told(file));
    }
}

/// TOML leaves the line ends of such strings open, and a shell takes a carriage return for a part of a word.
#[test]
fn a_file_with_carriage_returns_gives_scripts_without() {
    let unix = "# ä\n[task.a]\nrun = \"\"\"\nmake\n  make test\n\"\"\"\n\
                env = { A = '''\nx\ny''', B = \"x\\r\\ny\" }\n";
    let tasks = parse(&unix.replace('\n', "\r\n"));
    assert_eq!(tasks, parse(unix));
    assert_eq!(tasks[0].recipe.script, Script::stopping_at_failure("make\n  make test\n"));
    assert_eq!(tasks[0].recipe.env[1].1, "x\r\ny", "an escape is meant");
    let wrong = "[task.a]\nrun = '''\nx\n'''\ntiemout = 1\n";
    assert_eq!(error(&wrong.replace('\n', "\r\n")), error(wrong));
}
