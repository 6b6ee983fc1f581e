//! The matrix of a task: cells, their names, values and keys, and needs of them.

use super::*;

fn names(text: &str) -> Vec<String> {
    parse(text).iter().map(|task| task.name.to_string()).collect()
}

fn env(task: &TaskSpec) -> Vec<(&str, &str)> {
    task.recipe.env.iter().map(|(name, value)| (&**name, &**value)).collect()
}

fn needs(task: &TaskSpec) -> Vec<&str> {
    task.placement.needs.iter().map(|need| need.task.as_str()).collect()
}

/// The first line of the error of a task with these lines, behind the name of the file.
fn first_line(lines: &str) -> String {
    let text = error(&format!("[task.t]\nrun = 'x'\n{lines}\n"));
    text.lines().next().unwrap().strip_prefix("f:").unwrap().to_owned()
}

#[test]
fn each_combination_is_a_task_with_its_values_as_variables() {
    let tasks = parse(
        r#"
        [task.test]
        matrix = { toolchain = ["1.85", "stable"], "feature-set" = ["default", "all"] }
        matrix_exclude = [{ toolchain = "1.85", feature-set = "all" }]
        matrix_include = [{ toolchain = "nightly", feature-set = "all", allow_failure = true, env = { B = "2" } }]
        run = "cargo +$MATRIX_TOOLCHAIN test"
        env = { A = "1" }
        "#,
    );
    let names: Vec<&str> = tasks.iter().map(|task| task.name.as_str()).collect();
    assert_eq!(names, ["test@1.85,default", "test@stable,default", "test@stable,all", "test@nightly,all"]);
    let values = [("MATRIX_TOOLCHAIN", "stable"), ("MATRIX_FEATURE_SET", "all"), ("A", "1")];
    assert_eq!(env(&tasks[2]), values);
    assert_eq!(env(&tasks[3])[2..], [("A", "1"), ("B", "2")]);
    assert_eq!(tasks.iter().map(|task| task.placement.allow_failure).collect::<Vec<_>>(), [false, false, false, true]);
    assert!(tasks.iter().all(|task| task.recipe.script == tasks[0].recipe.script));
}

#[test]
fn values_stand_in_all_strings_of_a_cell_but_never_in_its_commands() {
    let file = r#"
        [template.t]
        labels = ["os=${matrix.os}"]
        env = { TARGET = "${matrix.os}-${matrix.n}", PLAIN = "$HOME ${x}" }
        [task.a]
        extends = ["t"]
        matrix = { os = ["linux", "'; rm -rf /; '"], n = [1] }
        matrix_exclude = [{ os = "'; rm -rf /; '" }]
        run = "echo ${matrix.os}"
        keep = ["out/${matrix.os}", "same"]
        "#;
    let task = &parse(file)[0];
    assert_eq!(env(task)[2..], [("TARGET", "linux-1"), ("PLAIN", "$HOME ${x}")]);
    assert_eq!((task.placement.labels[0].as_str(), &*task.recipe.keep[0]), ("os=linux", "out/linux"));
    assert_eq!(task.recipe.script, Script::stopping_at_failure("echo ${matrix.os}"));
    let warnings = warnings(file);
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    assert!(warnings[0].contains("nothing is replaced inside `run`"), "{warnings:?}");
}

#[test]
fn a_value_that_is_no_part_of_a_name_is_made_one_and_two_cells_never_share_a_name() {
    let file = |values: &str| format!("[task.t]\nrun = 'x'\nmatrix = {{ v = {values} }}\n");
    assert_eq!(
        names(&file(r#"["a/b", "c d", "", "c++", ">=3", "--x", 8, 0x10, true, "ubuntu:24.04", "ä,@"]"#)),
        ["t@a-b", "t@c-d", "t@_", "t@c++", "t@-=3", "t@--x", "t@8", "t@16", "t@true", "t@ubuntu:24.04", "t@---"]
    );
    let odd = parse(&file(r#"["a/b", "$(reboot) '\""]"#));
    assert_eq!(env(&odd[1]), [("MATRIX_V", "$(reboot) '\"")]);
    for (values, message) in [
        (r#"["a/b", "a b"]"#, "3:10: two cells get the name `t@a-b`: `a/b` and `a b`"),
        (r#"["a", "a"]"#, "3:22: axis `v` has the value `a` twice"),
        (r#"["8", 8]"#, "3:22: axis `v` has the value `8` twice"),
        ("[3.10]", "3:17: a value of axis `v` is a number with a fraction"),
        ("[[1]]", "3:17: a value of axis `v` is a list"),
        ("[1979-05-27]", "3:17: a value of axis `v` is a date or time"),
        ("[]", "3:16: axis `v` has no values"),
        ("'a'", "3:16: axis `v` must be a list of values, this is a string"),
        (r#"["a\u0000"]"#, "3:17: the text has a NUL character"),
    ] {
        assert!(error(&file(values)).starts_with(&format!("f:{message}\n")), "{values}: {}", error(&file(values)));
    }
    assert!(error(&file("[3.10]")).contains("= help: put it in quotes, `\"3.10\"`"));
    let long = error(&file(&format!("['{}']", "y".repeat(99))));
    assert!(long.starts_with("f:1:7: the name of a cell is too long: `t@yyy"), "{long}");
}

#[test]
fn a_table_of_include_adds_a_cell_or_changes_those_that_have_its_values() {
    let tasks = parse(
        r#"
        [task.t]
        run = "x"
        matrix = { os = ["linux", "mac"], v = [1, 2] }
        matrix_include = [
            { v = 2, retries = 1 },
            { os = "mac", v = 2, labels = ["m2"], run = "y" },
            { os = "bsd", v = 1 },
        ]
        [task.only]
        run = "x"
        matrix_include = [{ name = "a", retries = 1 }, { retries = 2, name = "b" }]
        "#,
    );
    let shown: Vec<(&str, u32)> = tasks.iter().map(|task| (&*task.name, task.placement.retries)).collect();
    let of_t = [("t@linux,1", 0), ("t@linux,2", 1), ("t@mac,1", 0), ("t@mac,2", 1), ("t@bsd,1", 0)];
    assert_eq!((&shown[..5], &shown[5..]), (&of_t[..], &[("only@a", 1), ("only@b", 2)][..]));
    assert_eq!(tasks[3].recipe.script, Script::stopping_at_failure("y"));
    assert_eq!(tasks[3].placement.labels, [Label::new("m2").unwrap()]);
}

#[test]
fn mistakes_of_a_matrix_are_told_with_their_places() {
    // More combinations than a number of 64 bits can count.
    let axes: Vec<String> = (0..30).map(|axis| format!("a{axis} = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]")).collect();
    let huge = format!("matrix = {{ {} }}", axes.join(", "));
    for (lines, message) in [
        ("matrix = {}", "3:10: `matrix` has no axis"),
        (&huge, "3:10: the matrix has more than 1000000000 cells, and a commit has at most 1000 tasks"),
        ("matrix = ['a']", "3:10: `matrix` must be a table, this is a list"),
        ("matrix = { 'a b' = [1] }", "3:12: `a b` cannot name an axis"),
        ("matrix = { a-b = [1], a_b = [1] }", "3:10: axes `a-b` and `a_b` have one variable, MATRIX_A_B"),
        ("matrix_exclude = [{ a = 1 }]", "3:1: `matrix_exclude` has no `matrix`"),
        ("matrix_include = []", "3:1: `matrix_include` has no `matrix`"),
        ("matrix = { a = [1] }\nmatrix_exclude = { a = 1 }", "4:18: `matrix_exclude` must be a list of tables"),
        ("matrix = { a = [1] }\nmatrix_exclude = [{}]", "4:19: a table of `matrix_exclude` is empty"),
        ("matrix = { a = [1] }\nmatrix_exclude = [{ a = 1 }]", "3:10: the matrix has no cell that is left"),
        ("matrix = { a = [1] }\nmatrix_exclude = [{ a = 2 }]", "4:25: axis `a` has no value `2`"),
        ("matrix = { a = [1] }\nmatrix_exclude = [{ b = 1 }]", "4:21: the matrix has no axis `b`"),
        (
            "matrix = { a = [1], b = [1] }\nmatrix_include = [{ a = 2 }]",
            "4:19: the table has no value for the axis `b`, and no cell has its values",
        ),
        ("matrix = { a = [1] }\nmatrix_include = [{ a = 2, needs = 1 }]", "4:36: `needs` must be a list of strings"),
        ("matrix = { a = [1] }\nmatrix_include = [{ a = 2, x = 1 }]", "4:28: unknown key `x` in `matrix_include`"),
        (
            "matrix = { a = [1] }\nmatrix_include = [{ a = 2, matrix = {} }]",
            "4:28: `matrix` cannot stand in `matrix_include`",
        ),
        ("matrix = { os = [1] }\nkeep = ['${matrix.so}']", "4:9: the matrix has no axis for `${matrix.so}`"),
        ("matrix = { os = [1] }\nkeep = ['${matrix.os']", "4:9: `${matrix.` has no end"),
        ("matrix = { os = [1] }\nkeep = ['${{ matrix.os }}']", "4:9: nothing replaces `${{ … }}`"),
        ("keep = ['${matrix.os}']", "3:9: the task has no matrix, so nothing replaces `${matrix.os}`"),
        ("matrix = { l = ['a', 'b c', 'd e'] }\nlabels = ['${matrix.l}']", "4:11: `b c` is not a label"),
    ] {
        let line = first_line(lines);
        assert!(line.starts_with(message), "{lines}: {line}");
        assert_eq!(error(&format!("[task.t]\nrun = 'x'\n{lines}\n")).matches("f:").count(), 1, "{lines}");
    }
}

#[test]
fn a_need_is_of_a_whole_matrix_or_of_one_cell() {
    let tasks = parse(
        r#"
        [task.build]
        run = "x"
        matrix = { os = ["linux", "mac/arm"] }
        [task.all]
        run = "x"
        needs = ["build"]
        [task.one]
        run = "x"
        needs = ["build@linux", "all"]
        [task.each]
        run = "x"
        matrix = { os = ["linux", "mac/arm"] }
        matrix_include = [{ os = "bsd", needs = ["each@linux"] }]
        needs = ["build@${matrix.os}"]
        "#,
    );
    let of: Vec<(&str, Vec<&str>)> = tasks.iter().skip(2).map(|task| (&*task.name, needs(task))).collect();
    assert_eq!(
        of,
        [
            ("all", vec!["build@linux", "build@mac-arm"]),
            ("one", vec!["build@linux", "all"]),
            ("each@linux", vec!["build@linux"]),
            ("each@mac-arm", vec!["build@mac-arm"]),
            ("each@bsd", vec!["each@linux"]),
        ]
    );
}

#[test]
fn a_need_that_is_no_cell_says_why() {
    let build = "[task.build]\nrun = 'x'\nmatrix = { os = ['linux', 'mac'], v = [1, 2] }\n\
                 matrix_exclude = [{ os = 'mac', v = 2 }]\n[task.plain]\nrun = 'x'\n[task.test]\nrun = 'x'\n";
    for (need, message) in [
        ("build@mac,2", "which `matrix_exclude` leaves out"),
        ("build@linux,3", "which is no cell of the matrix of `build`"),
        ("build@linux", "which is no cell of the matrix of `build`"),
        ("plain@linux", "which has no matrix"),
        ("biuld", "which is not a task"),
        ("x@y", "which is not a task"),
    ] {
        let text = error(&format!("{build}needs = ['{need}']\n"));
        assert!(text.starts_with(&format!("f:9:10: task `test` needs `{need}`, {message}\n")), "{text}");
    }
    let itself = "[task.t]\nrun = 'x'\nmatrix = { a = [1, 2] }\nneeds = ['t']\n";
    assert!(error(itself).starts_with("f:4:10: task `t` needs itself\n"), "{}", error(itself));
    assert_eq!(error(itself).matches("needs itself").count(), 1);
    let circle = "[task.a]\nrun = 'x'\nmatrix = { a = [1, 2] }\nneeds = ['b']\n\
                  [task.b]\nrun = 'x'\nmatrix = { a = [1, 2] }\nneeds = ['a']\n";
    assert!(
        error(circle).starts_with("f:4:10: tasks need one another in a circle: a -> b -> a\n"),
        "{}",
        error(circle)
    );
    assert_eq!(error(circle).matches("in a circle").count(), 1);
}

/// A matrix that a few bytes make huge costs nothing: its cells are counted before any is made.
#[test]
fn what_a_matrix_multiplies_has_a_limit() {
    let axis = |name: &str| format!("{name} = [{}]", (0..1000).map(|n| n.to_string()).collect::<Vec<_>>().join(","));
    let axes: Vec<String> = ["a", "b", "c", "d", "e", "f", "g", "h"].map(axis).into();
    let text = first_line(&format!("matrix = {{ {} }}", axes.join(", ")));
    assert!(text.ends_with(" cells, and a commit has at most 1000 tasks"), "{text}");
    assert_eq!(names(&format!("[task.t]\nrun = 'x'\nmatrix = {{ {} }}", axes[0])).len(), 1000);
    let two = format!("[task.a]\nrun = 'x'\nmatrix = {{ {} }}\n[task.b]\nrun = 'x'\n", axes[0]);
    assert!(error(&two).starts_with("f:4:7: a commit has at most 1000 tasks\n"), "{}", error(&two));

    let half = (0..150).map(|n| n.to_string()).collect::<Vec<_>>().join(",");
    let file = format!(
        "[task.a]\nrun = 'x'\nmatrix = {{ a = [{half}] }}\n[task.b]\nrun = 'x'\nneeds = ['a']\nmatrix = {{ a = [{half}] }}\n"
    );
    assert!(error(&file).starts_with("f:6:10: the tasks of the file need one another more than 20000 times\n"));
    let large = format!("[task.a]\nrun = '{}'\nmatrix = {{ a = [{half}] }}\n", "y".repeat(100_000));
    assert!(error(&large).starts_with("f:1:7: the tasks up to `a` are longer than 8 MiB\n"));
}

/// Only the form `NAME@CELL` that a matrix makes has an `@`.
#[test]
fn no_task_is_written_with_the_name_of_a_cell() {
    let text = error("[task.'t@a']\nrun = 'x'\n");
    assert!(text.starts_with("f:1:7: `t@a` cannot name a task\n"), "{text}");
    assert!(fallback_plan(&["t@a".to_owned()]).unwrap_err().text.starts_with("tasks/t@a: `t@a` cannot name a task"));
}
