//! Commands on a terminal: what `up` shows of a matrix at 80 columns.

use crate::harness::World;

const TASKS: &str = r#"
[task.compile]
run = "true"
[task.test]
needs = ["compile"]
matrix = { toolchain = ["1.85", "stable", "nightly"], features = ["default", "all", "none", "with-everything"] }
run = '''
echo "$MATRIX_TOOLCHAIN $MATRIX_FEATURES, and a line of output that is a good deal wider than the terminal on which it is shown"
[ "$MATRIX_TOOLCHAIN,$MATRIX_FEATURES" != nightly,with-everything ]
'''
"#;

/// Returns the lines that reached the terminal, without what it obeys. A line that was drawn over is one of them.
fn shown(bytes: &[u8]) -> Vec<String> {
    let text = anstream::adapter::strip_bytes(bytes).into_vec();
    let text = String::from_utf8(text).unwrap();
    text.split(['\r', '\n']).map(|line| line.trim_end().to_owned()).filter(|line| !line.is_empty()).collect()
}

#[test]
fn a_matrix_is_folded_at_80_columns_and_its_failed_cell_is_named() {
    let world = World::new();
    let repository = world.repository("app");
    repository.commit_tasks(TASKS);
    let mut command = world.command(&["up", "--once", "--port=0", "--slots=4"]);
    command.current_dir(&repository.path).env("TERM", "xterm-256color");
    let (code, said) = world.start_on_terminal("up", command, 80).finish();
    let lines = shown(&said.stdout);
    let text = lines.join("\n");
    assert_eq!(code, 1, "{text}");
    // A spinner fills the line to its last column, and the next one follows without a line feed.
    let spinners: Vec<Vec<char>> = lines
        .iter()
        .filter(|line| !line.is_ascii() && !line.starts_with("b1 "))
        .map(|line| line.chars().collect())
        .collect();
    for spinner in spinners.iter().flat_map(|line| line.chunks(80)) {
        let spinner: String = spinner.iter().collect();
        assert!(spinner.chars().skip(1).collect::<String>().starts_with(" b1 "), "wider than the terminal: {spinner}");
    }
    let newest = |line: &&String| line.contains(" b1 test@") && line.contains(", and a line");
    assert!(lines.iter().any(|line| newest(&line)), "spinners show what cells print: {text}");
    // The cells that passed have no line of their own.
    let told: Vec<&String> = lines.iter().filter(|line| line.starts_with("b1 test@")).collect();
    assert!(told.iter().all(|line| line.chars().count() <= 80), "{told:?}");
    assert_eq!(told.len(), 2, "{told:?}");
    assert!(told[0].starts_with("b1 test@nightly,with-everything: failed (exit code 1)"), "{told:?}");
    assert_eq!(told[1], "b1 test@…: 11 passed, 1 failed");
}
