//! The keys that say what a task may touch, and what its attempts may use.

use super::*;
use crate::model::{Pull, Tier};

fn labels(task: &TaskSpec) -> Vec<&str> {
    task.placement.labels.iter().map(Label::as_str).collect()
}

fn task(keys: &str) -> TaskSpec {
    parse(&format!("[task.a]\nrun = 'x'\n{keys}")).remove(0)
}

#[test]
fn a_task_goes_to_runners_that_offer_its_isolation() {
    let tier = |word: &str| task(&format!("isolation = '{word}'"));
    assert_eq!((tier("shared").recipe.isolation, labels(&tier("shared"))), (Some(Tier::Shared), vec![]));
    assert_eq!(
        (tier("guarded").recipe.isolation, labels(&tier("guarded"))),
        (Some(Tier::Guarded), vec!["can=guarded"])
    );
    assert_eq!(labels(&tier("sealed")), ["can=sealed"]);
    assert_eq!((task("").recipe.isolation, labels(&task(""))), (None, vec![]));
    assert_eq!(labels(&task("network = false")), ["can=no_network"]);
    assert!(task("network = true").recipe.network && task("").recipe.network);
    assert_eq!(
        line_error("isolation = 'strict'"),
        "13: `strict` is no isolation
2 | isolation = 'strict'
  |             ^^^^^^^^
  = help: write `\"shared\"`, `\"guarded\"` or `\"sealed\"`, such as `isolation = \"guarded\"`"
    );
    assert!(line_error("isolation = 'docker'").contains("help: name the image, such as `image = \"rust:1.95\"`"));
    assert!(line_error("isolation = 'none'").contains("help: write `isolation = \"shared\"`"));
    assert!(line_error("isolation = true").starts_with("13: `isolation` must be a string, this is true or false\n"));
    assert!(line_error("sandbox = true").contains("write `isolation`, such as `isolation = \"guarded\"`"));
    assert!(line_error("network = 'none'").starts_with("11: `network` must be true or false, this is a string\n"));
}

#[test]
fn an_image_is_a_name_and_no_option() {
    let image = |name: &str| task(&format!("image = '{name}'"));
    for name in ["rust:1.95", "docker.io/library/rust@sha256:0a1b", "localhost:5000/a/b_c:v1.0-rc+1", "./image.sif"] {
        assert_eq!((image(name).recipe.image.as_deref(), labels(&image(name))), (Some(name), vec!["can=image"]));
    }
    for name in
        ["", " rust", "-v", "--privileged", "a b", "a\\nb", "a;b", "ümlaut", "$(x)", "oci-archive:/x", &"x".repeat(501)]
    {
        let error = line_error(&format!("image = \"{name}\""));
        assert!(error.contains(" cannot name an image\n"), "{error}");
    }
    let table = line_error("container = { image = 'rust:1' }");
    assert!(table.contains("write `image`, such as `image = \"rust:1.95\"`"), "{table}");
    let table = line_error("image = { image = 'rust:1' }");
    assert!(table.contains("help: write `image = \"rust:1\"`"), "{table}");
    let offline = task("image = 'a'\nnetwork = false");
    assert_eq!((labels(&offline), offline.recipe.network), (vec!["can=image"], false), "the tool takes it away");
}

#[test]
fn an_image_and_an_isolation_take_the_place_of_one_another() {
    let error = error("[task.a]\nrun = 'x'\nimage = 'a'\nisolation = 'sealed'");
    assert!(error.starts_with("f:4:1: task `a` has both `image` and `isolation`\n"), "{error}");
    let tasks = parse(
        "[defaults]\nisolation = 'guarded'\n[task.a]\nrun = 'x'\nimage = 'b'\n[task.b]\nrun = 'x'\n\
         [template.t]\nimage = 'c'\n[task.c]\nextends = ['t']\nisolation = 'shared'\nrun = 'x'",
    );
    let chosen = |at: usize| (tasks[at].recipe.image.as_deref(), tasks[at].recipe.isolation);
    assert_eq!(chosen(0), (Some("b"), None));
    assert_eq!(chosen(1), (None, Some(Tier::Guarded)));
    assert_eq!(chosen(2), (None, Some(Tier::Shared)));
}

#[test]
fn a_matrix_fills_in_the_image_of_its_cells() {
    let tasks = parse("[task.a]\nrun = 'x'\nmatrix = { v = ['1', '2'] }\nimage = 'rust:${matrix.v}'");
    let images: Vec<_> = tasks.iter().map(|task| task.recipe.image.as_deref()).collect();
    assert_eq!(images, [Some("rust:1"), Some("rust:2")]);
    let error = error("[task.a]\nrun = 'x'\nmatrix = { v = ['-v'] }\nimage = '${matrix.v}'");
    assert!(error.contains("`-v` cannot name an image\n"), "{error}");
}

#[test]
fn pull_says_when_the_image_is_fetched() {
    assert_eq!(task("image = 'a'").recipe.pull, Pull::Missing);
    assert_eq!(task("image = 'a'\npull = 'always'").recipe.pull, Pull::Always);
    assert_eq!(task("image = 'a'\npull = 'never'").recipe.pull, Pull::Never);
    assert!(line_error("pull = 'if-not-present'\nimage = 'a'").contains("`if-not-present` says no time to pull\n"));
    assert!(line_error("pull = true\nimage = 'a'").contains("help: write `pull = \"always\"`"));
    assert!(line_error("pull = 'always'").starts_with("1: task `a` has `pull` and no `image`\n"));
    assert_eq!(parse("[defaults]\npull = 'always'\n[task.a]\nrun = 'x'").len(), 1, "for tasks that have an image");
}

#[test]
fn limits_are_numbers_within_bounds() {
    let limited = task("memory = '2GiB'\nprocesses = 200\ncpus = 2");
    let recipe = &limited.recipe;
    assert_eq!((recipe.memory_bytes, recipe.processes, recipe.millicpus), (Some(2 << 30), Some(200), Some(2000)));
    assert_eq!(labels(&limited), ["can=limits"]);
    let cpus = |text: &str| task(&format!("cpus = {text}")).recipe.millicpus;
    assert_eq!((cpus("0.5"), cpus("1.25"), cpus("1024")), (Some(500), Some(1250), Some(1_024_000)));
    for text in ["0", "-1", "0.001", "1025", "1e9", "nan", "inf", "99999999999999999999"] {
        let error = line_error(&format!("cpus = {text}"));
        assert!(error.starts_with("8: `cpus` must be from 0.01 to 1024\n"), "{text}: {error}");
    }
    assert!(line_error("cpus = '2'").starts_with("8: `cpus` must be a number, this is a string\n"));
    assert!(line_error("memory = '2 gigabytes'").starts_with("10: `2 gigabytes` is not a size\n"));
    assert!(line_error("memory = '2'").starts_with("10: `memory` must be from 1MiB to 1024TiB\n"), "a unit is missing");
    assert!(line_error("memory = 2").contains("write a number with a unit, such as `memory = \"2GiB\"`"));
    assert!(line_error("processes = 0").starts_with("13: `processes` must be from 1 to 4194304\n"));
    assert!(line_error("mem_limit = '2GiB'").contains("write `memory`, such as `memory = \"2GiB\"`"));
}
