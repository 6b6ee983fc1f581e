//! `history`, `tags`, `submodules` and `lfs`.

use super::*;
use crate::model::{Depth, SourceNeeds, Submodules};

fn needs(keys: &str) -> SourceNeeds {
    let task = parse(&format!("[task.a]\nrun = 'x'\n{keys}")).remove(0);
    let labels: Vec<&str> = task.placement.labels.iter().map(Label::as_str).collect();
    let needs = task.recipe.source_needs();
    assert_eq!(labels.contains(&"can=lfs"), needs.lfs, "older runners would leave pointers");
    let is_more = needs != SourceNeeds::NOTHING;
    assert_eq!(labels.contains(&"can=facts"), is_more, "older runners would have the commit alone");
    assert_eq!(task.recipe.facts, None, "only the dispatcher knows them");
    needs
}

#[test]
fn a_task_says_how_much_of_the_source_it_wants() {
    assert_eq!(needs(""), SourceNeeds::NOTHING);
    for (value, depth) in
        [("1", Depth::ALONE), ("50", Depth(50)), ("1_000_000", Depth(1_000_000)), ("'full'", Depth::FULL)]
    {
        assert_eq!(needs(&format!("history = {value}")), SourceNeeds { history: depth, ..SourceNeeds::NOTHING });
    }
    assert!(needs("tags = true").tags && !needs("tags = false").tags);
    for (value, which) in
        [("true", Submodules::Direct), ("false", Submodules::No), ("'recursive'", Submodules::Recursive)]
    {
        assert_eq!(needs(&format!("submodules = {value}")).submodules, which);
    }
    assert!(needs("lfs = true").lfs && !needs("lfs = false").lfs);
}

#[test]
fn other_values_are_mistakes_with_advice() {
    assert_eq!(
        line_error("history = 'all'"),
        "11: `history` must be a number or \"full\", this is `all`
2 | history = 'all'
  |           ^^^^^
  = help: write the number of commits, such as `history = 50`, or `history = \"full\"`"
    );
    for value in ["0", "-1", "1_000_001"] {
        let error = line_error(&format!("history = {value}"));
        assert!(error.contains("`history` must be from 1 to 1000000"), "{error}");
    }
    assert!(line_error("history = true").contains("must be a number or \"full\", this is true or false"));
    assert!(line_error("submodules = 'all'").contains("must be true, false or \"recursive\", this is `all`"));
    assert!(line_error("submodules = 1").contains("must be true, false or \"recursive\", this is a whole number"));
    assert!(line_error("lfs = 1").contains("`lfs` must be true or false"));
    // Elsewhere these are the labels of a runner.
    let error = line_error("tags = ['docker']");
    assert!(error.contains("`tags` must be true or false, this is a list"), "{error}");
    assert!(error.contains("labels that a runner must have are `labels = [\"gpu\"]`"), "{error}");
    assert!(line_error("fetch-depth = 0").contains("write `history`, such as `history = 50`"));
}
