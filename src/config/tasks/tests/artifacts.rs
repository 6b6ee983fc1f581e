//! The key `artifacts`.

use super::*;
use crate::model::{ArtifactRule, KeptOn};

fn rules(line: &str) -> Vec<ArtifactRule> {
    parse(&format!("[task.a]\nrun = 'x'\nartifacts = {line}"))[0].recipe.artifacts.clone()
}

#[test]
fn globs_of_the_list_are_one_artifact_and_each_table_is_one() {
    assert_eq!(rules("[]"), []);
    let line = "['dist/**', { name = 'coverage', paths = ['c.xml'], on = 'always', keep_for = '30d', required = false }, \
                '!dist/*.tmp', { name = 'core', paths = ['core.*', '!core.rs'], on = 'failed' }]";
    let paths = |globs: &[&str]| globs.iter().map(|glob| (*glob).to_owned()).collect::<Vec<_>>();
    let files = ArtifactRule { paths: paths(&["dist/**", "!dist/*.tmp"]), ..ArtifactRule::new("files") };
    let coverage = ArtifactRule {
        paths: paths(&["c.xml"]),
        on: KeptOn::Always,
        keep_ms: Some(30 * 24 * 60 * 60 * 1000),
        required: false,
        ..ArtifactRule::new("coverage")
    };
    let core = ArtifactRule { paths: paths(&["core.*", "!core.rs"]), on: KeptOn::Failed, ..ArtifactRule::new("core") };
    assert_eq!(rules(line), [files, coverage, core]);
    let labels = &parse("[task.a]\nrun = 'x'\nartifacts = ['x']")[0].placement.labels;
    assert!(labels.iter().any(|label| label.as_str() == "can=artifacts"), "older runners would leave nothing");
}

#[test]
fn an_artifact_that_makes_no_sense_is_refused() {
    assert_eq!(
        line_error("artifacts = 'dist/**'"),
        "13: `artifacts` must be a list, this is a string
2 | artifacts = 'dist/**'
  |             ^^^^^^^^^
  = help: write a list of globs, such as `artifacts = [\"dist/**\"]`, or of tables,
          such as `artifacts = [{ name = \"coverage\", paths = [\"coverage.xml\"], on = \"always\" }]`"
    );
    for (value, message) in [
        ("['../x']", "`../x` matches no path"),
        ("['/etc/passwd']", "`/etc/passwd` matches no path"),
        ("['!x']", "`!x` takes back nothing"),
        ("['a{b,c}']", "has classes or alternatives"),
        ("[1]", "an artifact must be a string or a table, this is a whole number"),
        ("[{ paths = ['x'] }]", "an artifact has no `name`"),
        ("[{ name = 'x' }]", "an artifact has no `paths`"),
        ("[{ name = 'x', paths = [] }]", "`paths` is empty"),
        ("[{ name = 'x', paths = ['../y'] }]", "`../y` matches no path"),
        ("[{ name = '../x', paths = ['x'] }]", "`../x` cannot name an artifact"),
        ("[{ name = 'files', paths = ['x'] }]", "`files` is the name of the globs"),
        ("[{ name = 'x', paths = ['x'], on = 'success' }]", "`on` must be `passed`, `failed` or `always`"),
        ("[{ name = 'x', paths = ['x'], keep_for = 'ever' }]", "`ever` is not a duration"),
        ("[{ name = 'x', path = 'x' }]", "unknown key `path` in an artifact"),
        ("[{ name = 'x', paths = ['x'] }, { name = 'x', paths = ['y'] }]", "two artifacts are called `x`"),
    ] {
        let text = line_error(&format!("artifacts = {value}"));
        assert!(text.contains(message), "{value}: {text}");
    }
    let many = (0..101).map(|n| format!("{{ name = 'n{n}', paths = ['x'] }}")).collect::<Vec<_>>().join(", ");
    assert!(line_error(&format!("artifacts = [{many}]")).contains("a task has at most 100 artifacts"));
}
