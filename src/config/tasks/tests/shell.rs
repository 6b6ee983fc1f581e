//! The key `shell`: what is executed, values that are refused, and the warnings that depend on it.

use super::*;

fn words(text: &str) -> Vec<String> {
    match &parse(text)[0].recipe.script {
        Script::Program(words) => words.clone(),
        Script::Shell(text) => panic!("a script for /bin/sh: {text}"),
    }
}

#[test]
fn a_script_with_a_shell_is_a_program_with_the_script_as_it_is_written() {
    let bash = ["bash", "-euo", "pipefail", "-c", "a | b\nc\n"];
    assert_eq!(words("[task.a]\nshell = ['bash', '-euo', 'pipefail']\nrun = \"\"\"\na | b\nc\n\"\"\""), bash);
    assert_eq!(words("[task.a]\nrun = 'a | b'\nshell = ['fish']"), ["fish", "-c", "a | b"]);
    assert_eq!(words("[task.a]\nrun = 'x'\nshell = ['node', '-e', '{}', '--']"), ["node", "-e", "x", "--"]);
    assert_eq!(words("[task.a]\nrun = 'x {}'\nshell = ['bash', '-c']"), ["bash", "-c", "x {}"]);
}

#[test]
fn a_shell_is_a_list_that_begins_with_a_program() {
    assert_eq!(
        line_error("shell = \"bash -eu\""),
        "9: `shell` must be a list of strings, this is a string
2 | shell = \"bash -eu\"
  |         ^^^^^^^^^^
  = help: write `shell = [\"bash\", \"-eu\"]`"
    );
    for (typed, message) in [
        ("[]", "9: `shell` is empty\n"),
        ("['']", "10: `shell` names no program\n"),
        ("['{}']", "10: `shell` names no program\n"),
        ("['bash -eu']", "10: `bash -eu` is no program: each option is an item of its own\n"),
        ("['-eu']", "10: `-eu` is an option and no program\n"),
        ("['bash', '-e', '{0}']", "24: nothing is put in the place of `{0}` in `{0}`\n"),
        ("['x', '--run={}']", "15: `{}` is only a part of `--run={}`\n"),
        ("['x', '{}', '{}']", "21: `{}` is there twice\n"),
        ("['x', 1]", "15: `shell` must be a list of strings, this is a whole number\n"),
        ("1", "9: `shell` must be a list of strings, this is a whole number\n"),
        (r#"["x\u0000"]"#, "10: the text has a NUL character\n"),
    ] {
        let text = line_error(&format!("shell = {typed}"));
        assert!(text.starts_with(message), "{typed}: {text}");
    }
    let many = ["'x'"; 65].join(", ");
    assert!(line_error(&format!("shell = [{many}]")).starts_with("9: a shell has at most 64 items\n"));
}

#[test]
fn a_list_has_no_shell() {
    for keys in ["shell = ['bash']\nrun = ['make', 'test']", "run = ['make', 'test']\nshell = ['bash']"] {
        let text = error(&format!("[task.a]\n{keys}"));
        assert!(
            text.contains("`run` is a list, which is started without a shell, so `shell` has no effect\n"),
            "{text}"
        );
        assert!(text.contains("leave `shell` out, or write `run` as a string"), "{text}");
    }
}

/// The longest script that a program can be given, in either form.
#[test]
fn a_script_with_a_shell_is_as_long_as_one_without_at_most() {
    let file = |bytes: usize| format!("[task.a]\nshell = ['bash']\nrun = '{}'", "x".repeat(bytes));
    let longest = MAX_TASK_BYTES - "bash -c  ".len();
    assert_eq!(parse(&file(longest)).len(), 1);
    assert!(error(&file(longest + 1)).starts_with("f:1:7: task `a` is longer than 128 KiB\n"));
}

#[test]
fn the_warnings_about_a_script_know_its_shell() {
    let with = |shell: &str, run: &str| warnings(&format!("[task.a]\nshell = {shell}\nrun = {run}"));
    assert_eq!(with("['bash', '-o', 'pipefail']", "'make | tee log'"), Vec::<String>::new());
    assert_eq!(with("['bash']", "'''#!/bin/bash\nmake'''"), Vec::<String>::new());
    assert_eq!(with("['python3']", "'x = 1 | tee'"), Vec::<String>::new());
    let found = with("['/bin/bash', '-e']", "'make | tee log'");
    assert!(found[0].starts_with("f:3:7: a failure left of `| tee` is not noticed"), "{found:?}");
    assert!(found[0].contains("`shell = [\"bash\", \"-euo\", \"pipefail\"]`"), "{found:?}");
    let found = warnings(
        "[task.a]\nshell = ['bash']\nrun = 'echo x > out.txt'\n[task.b]\nshell = ['bash']\nrun = 'cat out.txt'\n",
    );
    assert!(found[0].starts_with("f:4:7: `b` uses `out.txt`, which `a` makes"), "{found:?}");
}
