//! Lists under `run`: one program and its arguments, and what people write who mean several commands or a shell.

use super::*;

/// The first line of the error of a `run`, without its place, and its help.
fn refused(run: &str) -> (String, String) {
    let text = error(&format!("[task.a]\nrun = {run}"));
    let (first, help) = (text.lines().next().unwrap(), text.split("= help: ").nth(1).unwrap());
    let message = first.split_once(": ").unwrap().1;
    (message.to_owned(), help.lines().map(str::trim).collect::<Vec<_>>().join("\n"))
}

#[test]
fn a_list_of_commands_is_told_to_be_the_lines_of_a_string() {
    assert_eq!(
        error("[task.a]\nrun = [\"cargo build\", \"cargo test\"]"),
        "f:2:8: `cargo build` is no program: a list is one program and its arguments, each an item
  |
2 | run = [\"cargo build\", \"cargo test\"]
  |        ^^^^^^^^^^^^^
  = help: write the commands as the lines of one string:
          run = \"\"\"
          cargo build
          cargo test
          \"\"\""
    );
    // The advice itself is right.
    let (_, help) = refused("['make -j4', ' make test ', 'make install']");
    let advised = help.split_once('\n').unwrap().1;
    assert_eq!(advised, "run = \"\"\"\nmake -j4\nmake test\nmake install\n\"\"\"");
    assert!(warnings(&format!("[task.a]\n{advised}")).is_empty());
}

#[test]
fn a_first_item_that_cannot_be_a_program_is_refused_with_what_to_write() {
    for (run, message, help) in [
        ("['cargo build']", "`cargo build` is no program: a list", "write `run = \"cargo build\"`"),
        ("[' make']", "` make` is no program: a list", "write `run = \"make\"`"),
        ("[\"make\\ntest\"]", "`make test` is no program: a list", "write it as a string"),
        ("['cargo build', '--release']", "`cargo build` is no program", "write `run = \"cargo build --release\"`"),
        ("['make && make x']", "`make && make x` is no", "write `run = \"make && make x\"`"),
        ("['cd', 'app']", "`cd` is a word of the shell", "write `run = \"cd app\"`"),
        ("['export', 'A=1']", "`export` is a word of the shell", "write `run = \"export A=1\"`"),
        ("['$HOME/x']", "`$HOME/x` is no program: a list is started without a shell", "write `run = \"$HOME/x\"`"),
        ("['~/bin/x']", "`~/bin/x` is no program: a list is started without", "write `run = \"~/bin/x\"`"),
        ("['make;']", "`make;` is no program", "write `run = \"make;\"`"),
        ("['CC=clang', 'make']", "`CC=clang` is no program: only a shell", "write `env = { CC = \"clang\" }`"),
        ("['--release', 'x']", "`--release` is an option", "begin the list with the program"),
        ("['tools/']", "`tools/` is a directory", "name the program in it"),
        ("['', 'make']", "`run` names no program", "write a line for the shell"),
        ("[['make'], ['make', 'test']]", "`run` must be a list of strings, this is a list", "write a line"),
        ("\"# make\"", "`run` has comments and no command", "write a line for the shell"),
    ] {
        let (found, advice) = refused(run);
        assert!(found.starts_with(message), "{run}: {found}");
        assert!(advice.starts_with(help), "{run}: {advice}");
    }
    let long = format!("[{}]", (0..20).map(|n| format!("'make t{n}'")).collect::<Vec<_>>().join(", "));
    assert!(refused(&long).1.starts_with("write the commands as the lines of one string, between"));
    // What advice could not repeat as a value of TOML it does not repeat.
    assert!(refused(r#"["make \"\"\" x", "y z"]"#).1.contains("between"));
    assert!(refused(r#"["make \\ x"]"#).1.starts_with("write it as a string"));
}

#[test]
fn a_program_of_any_usual_name_is_accepted() {
    for run in [
        "['make', 'test']",
        "['./tools/run', '']",
        "['g++', '-o', 'a']",
        "['[', '1', '=', '1', ']']",
        "['test', '-f', 'x']",
        "['python3.12', '-c', 'print(1); print(2)']",
        "['/usr/bin/env', 'A=1', 'make']",
        "['./a=b']",
        "['sh', '-c', 'make && make test']",
        "['git', 'commit', '-m', 'a message of words']",
        "['printf', '%s\\n', 'hello dear world']",
        "['find', '.', '-exec', 'ls', '{}', ';']",
        "['awk', '{ print $1 }', 'file']",
        "['sed', 's/a b/c/', 'file']",
        "\"#!/bin/sh\\nmake\"",
        "'test -f a || tee b < c'",
        "['bash', '-euo', 'pipefail', '-c', 'make | tee log']",
    ] {
        assert_eq!(warnings(&format!("[task.a]\nrun = {run}")), Vec::<String>::new(), "{run}");
    }
}

#[test]
fn arguments_that_mean_a_shell_or_more_commands_are_doubted() {
    for (run, message) in [
        ("['make', 'make test']", "f:2:16: `make test` is one argument of `make`, blanks included"),
        ("['cargo', 'test --all']", "f:2:17: `test --all` is one argument of `cargo`"),
        ("['cargo', 'build', '&&', 'cargo', 'test']", "f:2:26: `&&` is an argument of `cargo`: a list is started"),
        ("['make', '2>&1', '|', 'cat']", "f:2:16: `2>&1` is an argument of `make`"),
        ("['./deploy', '$TARGET']", "f:2:20: nothing expands `$TARGET`"),
        ("['ls', '~/x']", "f:2:14: nothing expands `~/x`"),
        ("\"#!/bin/bash\\nmake\"", "f:2:7: `#!/bin/bash` is only a comment here"),
        ("'[\"make\"]'", "f:2:7: `run` is a string that looks like a list"),
        ("'make test 2>&1 | tee log'", "f:2:7: a failure left of `| tee` is not noticed"),
    ] {
        let found = warnings(&format!("[task.a]\nrun = {run}"));
        assert!(found.len() == 1 && found[0].starts_with(message), "{run}: {found:?}");
    }
    let advice = &warnings("[task.a]\nrun = ['cargo', 'build', '&&', 'cargo', 'test']")[0];
    assert!(advice.ends_with("\nwrite `run = \"cargo build && cargo test\"`"), "{advice}");
}
