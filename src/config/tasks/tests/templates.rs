//! Keys that tasks have in common: `[defaults]`, `[template.NAME]` and `extends`.

use super::*;

fn labels(task: &TaskSpec) -> Vec<&str> {
    task.placement.labels.iter().map(Label::as_str).collect()
}

fn env(task: &TaskSpec) -> Vec<(&str, &str)> {
    task.recipe.env.iter().map(|(name, value)| (&**name, &**value)).collect()
}

#[test]
fn a_tasks_own_value_wins_over_templates_and_those_over_the_defaults() {
    let tasks = parse(
        r#"
        [task.plain]
        run = "x"
        [task.one]
        extends = ["a"]
        run = "x"
        retries = 3
        [task.two]
        extends = ["a", "b"]
        [defaults]
        timeout = "1m"
        retries = 1
        labels = ["common"]
        [template.a]
        timeout = "2m"
        retries = 2
        run = "from a"
        [template.b]
        timeout = "3m"
        labels = ["b"]
        "#,
    );
    let minutes: Vec<u64> = tasks.iter().map(|task| task.recipe.timeout_ms / 60_000).collect();
    assert_eq!(minutes, [1, 2, 3]);
    assert_eq!(tasks.iter().map(|task| task.placement.retries).collect::<Vec<_>>(), [1, 3, 2]);
    assert_eq!(tasks.iter().map(labels).collect::<Vec<_>>(), [["common"], ["common"], ["b"]]);
    assert_eq!(tasks[2].recipe.script, Script::stopping_at_failure("from a"));
    assert_eq!(tasks[1].recipe.script, Script::stopping_at_failure("x"));
}

#[test]
fn variables_of_all_layers_are_merged_and_the_last_value_of_each_is_there_once() {
    let tasks = parse(
        r#"
        defaults.env = { A = "defaults", B = "defaults", C = "defaults" }
        [template.t]
        env = { B = "t", D = "t" }
        [task.a]
        extends = ["t"]
        run = "x"
        env = { C = "a", E = "a" }
        "#,
    );
    assert_eq!(env(&tasks[0]), [("A", "defaults"), ("B", "t"), ("D", "t"), ("C", "a"), ("E", "a")]);
}

/// A template is what it extends, with its own keys over it, wherever it stands in a list.
#[test]
fn templates_extend_templates_and_the_later_name_wins_with_all_it_extends() {
    let tasks = parse(
        r#"
        [template.top]
        extends = ["left", "right"]
        [template.left]
        extends = ["base"]
        timeout = "2m"
        keep = ["left"]
        [template.right]
        extends = ["base"]
        labels = ["right"]
        [template.base]
        timeout = "1m"
        labels = ["base"]
        run = "base"
        [task.a]
        extends = ["top"]
        [task.b]
        extends = ["right", "left"]
        "#,
    );
    assert_eq!(tasks[0].recipe.timeout_ms, 60_000, "right brings the value of base along");
    assert_eq!((labels(&tasks[0]), &*tasks[0].recipe.keep), (vec!["right"], &["left".to_owned()][..]));
    assert_eq!((tasks[1].recipe.timeout_ms, labels(&tasks[1])), (120_000, vec!["base"]));
}

#[test]
fn a_mistake_in_a_template_is_told_once_and_at_the_template() {
    let file = "[defaults]\nretries = 11\n[template.t]\ntimeout = \"soon\"\nlables = [\"x\"]\n\
                [task.a]\nextends = [\"t\"]\nrun = \"x\"\n[task.b]\nextends = [\"t\"]\nrun = \"x\"\n";
    let text = error(file);
    for told in [
        "f:2:11: `retries` must be from 0 to 10",
        "f:4:11: `soon` is not a duration",
        "f:5:1: unknown key `lables` in template `t`",
        "\n\n3 mistakes",
    ] {
        assert_eq!(text.matches(told).count(), 1, "{told}: {text}");
    }
    let unused = error("[template.t]\ntimeout = 5\n[task.a]\nrun = \"x\"\n");
    assert!(unused.starts_with("f:2:11: `timeout` must be a string"), "{unused}");
    let doubted = "[template.t]\nrun = [\"ls\", \"$HOME\"]\n[task.a]\nextends = [\"t\"]\n[task.b]\nextends = [\"t\"]\n";
    assert_eq!(warnings(doubted).len(), 1, "{:?}", warnings(doubted));
}

#[test]
fn circles_and_unknown_names_of_templates_are_told_with_their_places() {
    assert_eq!(
        error(
            "[template.a]\nextends = [\"b\"]\n[template.b]\nextends = [\"c\"]\n[template.c]\nextends = [\"a\"]\n\
             [task.t]\nextends = [\"b\"]\nrun = \"x\"\n"
        ),
        "f:6:12: templates extend one another in a circle: a -> b -> c -> a
  |
6 | extends = [\"a\"]
  |            ^^^
  = help: remove one of these names; `a -> b` says that a extends b"
    );
    let itself = error("[template.a]\nextends = [\"a\"]\n[task.t]\nrun = \"x\"\n");
    assert!(itself.starts_with("f:2:12: templates extend one another in a circle: a -> a\n"), "{itself}");
    assert_eq!(
        error("[template.rust]\nretries = 1\n[task.t]\nextends = [\"rusty\"]\n"),
        "f:4:12: there is no template `rusty`
  |
4 | extends = [\"rusty\"]
  |            ^^^^^^^
  = help: write `rust`, or add a table `[template.…]` of that name"
    );
    let task = error("[task.t]\nrun = \"x\"\n[task.u]\nextends = [\"t\"]\n");
    assert!(task.contains("there is no template `t`") && task.contains("tasks cannot be extended"), "{task}");
    let twice = error("[template.a]\nextends = [\"x\"]\n[task.t]\nextends = [\"a\"]\n[task.u]\nextends = [\"a\"]\n");
    assert_eq!(twice.matches("there is no template").count(), 1, "{twice}");
}

#[test]
fn keys_stand_only_in_tables_that_they_belong_to() {
    for key in KEYS.iter().filter(|key| !key.is_common) {
        let text = error(&format!("[defaults]\n{} = []\n[task.a]\nrun = \"x\"\n", key.name));
        assert!(text.starts_with(&format!("f:2:1: `{}` cannot stand in `[defaults]`\n", key.name)), "{text}");
    }
    for (file, message) in [
        ("defaults = 1", "1:12: `defaults` must be a table"),
        ("template = 1", "1:12: `template` must be a table"),
        ("template.a = 1", "1:10: template `a` must be a table, this is a whole number"),
        ("template.\"a b\" = {}", "1:10: `a b` cannot name a template"),
        ("template.a.extends = \"b\"", "1:22: `extends` must be a list of strings"),
        ("defaults.tiemout = 1", "1:10: unknown key `tiemout` in `[defaults]`"),
        ("template.a.needs = [1]", "1:21: `needs` must be a list of strings"),
    ] {
        let text = error(&format!("{file}\n[task.t]\nrun = 'x'\n"));
        assert!(text.starts_with(&format!("f:{message}")), "{file}: {text}");
    }
}

/// A small file of templates could say as much as it likes, in as many steps as it likes.
#[test]
fn what_templates_multiply_has_a_limit_and_takes_no_time() {
    // Each template extends the one before sixteen times, so there are 16^99 ways to the first one.
    let all: String =
        (1..100).map(|n| format!("[template.t{n}]\nextends = [{}]\n", format!("\"t{}\",", n - 1).repeat(16))).collect();
    let tasks = parse(&format!("{all}[template.t0]\nrun = \"x\"\n[task.a]\nextends = [\"t99\"]\n"));
    assert_eq!(tasks[0].recipe.script, Script::stopping_at_failure("x"));

    let large = "y".repeat(100_000);
    let tasks: String = (0..1000).map(|n| format!("[task.t{n}]\nextends = [\"large\"]\n")).collect();
    let text = error(&format!("[template.large]\nrun = \"{large}\"\n{tasks}"));
    assert!(text.contains("the tasks up to `t83` are longer than 8 MiB\n"), "{text}");
    let many: String = (0..101).map(|n| format!("[template.t{n}]\n")).collect();
    assert!(error(&format!("{many}[task.a]\nrun = 'x'\n")).contains(":101:11: a file has at most 100 templates\n"));
    let names = "\"t\", ".repeat(17);
    let text = error(&format!("[template.t]\n[task.a]\nextends = [{names}]\nrun = 'x'\n"));
    assert!(text.starts_with("f:3:92: a table extends at most 16 templates\n"), "{text}");
}

#[test]
fn a_table_of_templates_is_told_how_one_is_written() {
    let text = error("[templates.rust]\nlabels = ['rust']\n[task.a]\nrun = 'x'\n");
    assert!(text.starts_with("f:1:2: unknown key `templates`\n") && text.contains("write `[template.NAME]`"), "{text}");
}
