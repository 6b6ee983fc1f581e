//! The key `when`: lists that are accepted, and the errors of those that are not.

use super::*;
use crate::model::{TriggerEvent, When};

fn when(table: &str) -> When {
    let tasks = parse(&format!("[task.a]\nrun = 'x'\nwhen = {table}"));
    *tasks.into_iter().next().unwrap().placement.when.unwrap()
}

#[test]
fn a_condition_has_lists_of_refs_events_and_paths() {
    let read = when(
        "{ branches = ['main', 'refs/heads/release/*', 'main'], tags = ['v*'], events = ['push', 'pull', 'push'], \
         changed = ['src/**', 'Cargo.*', 'docs/', '!**/*.md'] }",
    );
    let list = |globs: &[&str]| globs.iter().map(|glob| (*glob).to_owned()).collect::<Vec<_>>();
    let expected = When {
        branches: list(&["main", "release/*"]),
        tags: list(&["v*"]),
        events: vec![TriggerEvent::Push, TriggerEvent::Pull],
        changed: list(&["src/**", "Cargo.*", "docs/", "!**/*.md"]),
    };
    assert_eq!(read, expected);
    assert_eq!(parse("[task.a]\nrun = 'x'")[0].placement.when, None);
    assert_eq!(when("{ events = ['try', 'schedule', 'manual', 'ref', 'tag'] }").events.len(), 5);
}

#[test]
fn an_unknown_event_is_told_all_events() {
    assert_eq!(
        line_error("when = { events = [\"push\", \"pull_request\"] }"),
        "28: `pull_request` is no event
2 | when = { events = [\"push\", \"pull_request\"] }
  |                            ^^^^^^^^^^^^^^
  = help: write `pull`; the events are push, tag, pull, ref, schedule, manual, try"
    );
    for (typed, advice) in [("tags", "write `tag`; "), ("cron", "write `schedule`; "), ("sunshine", "the events are ")]
    {
        let text = line_error(&format!("when = {{ events = ['{typed}'] }}"));
        assert!(text.contains(&format!("help: {advice}")), "{text}");
    }
}

#[test]
fn a_list_without_entries_and_an_unknown_list_are_mistakes() {
    assert_eq!(
        line_error("when = { branches = [] }"),
        "21: `branches` is empty, so the task would never run
2 | when = { branches = [] }
  |                     ^^
  = help: name at least one, or leave the list out"
    );
    assert!(line_error("when = {}").starts_with("8: `when` is empty\n"));
    assert!(line_error("when = 'main'").starts_with("8: `when` must be a table, this is a string\n"));
    let many = (0..101).map(|n| format!("'b{n}'")).collect::<Vec<_>>().join(", ");
    assert!(line_error(&format!("when = {{ tags = [{many}] }}")).contains("`tags` has at most 100 entries\n"));
    for (list, advice) in [
        ("paths", "write `changed`, a list of globs"),
        ("paths-ignore", "write `changed = [\"**\", \"!docs/**\"]`"),
        ("branches-ignore", "name what is built: globs of refs have no `!`"),
        ("branch", "write `branches`, a list of globs"),
        ("tag", "write `tags`, a list of globs"),
        ("chagned", "write `changed`; the keys here are branches, tags, events, changed"),
        ("sunshine", "the keys here are branches, tags, events, changed"),
    ] {
        let text = line_error(&format!("when = {{ {list} = ['x'] }}"));
        assert!(text.starts_with(&format!("10: unknown key `{list}` in `when`\n")), "{text}");
        assert!(text.contains(&format!("help: {advice}")), "{text}");
    }
}

#[test]
fn a_glob_that_can_match_no_path_is_a_mistake() {
    assert_eq!(
        line_error("when = { changed = [\"src/**\", \"../x\"] }"),
        "31: `../x` matches no path: a path has no `.` and `..`
2 | when = { changed = [\"src/**\", \"../x\"] }
  |                               ^^^^^^
  = help: a glob begins at the root of the repository, such as `changed = [\"src/**\", \"!**/*.md\"]`"
    );
    for (glob, why) in [
        ("", "matches no path"),
        ("/", "matches no path"),
        ("/abs", "matches no path: a glob begins at the root of the repository, without a slash"),
        ("~/x", "matches no path: a glob begins at the root of the repository, without a slash"),
        ("src//x", "matches no path: there is no name between two slashes"),
        ("src//", "matches no path: there is no name between two slashes"),
        ("./src", "matches no path: a path has no `.` and `..`"),
        ("src/..", "matches no path: a path has no `.` and `..`"),
        (".git/config", "matches no path: a commit has nothing below `.git`"),
        ("**.js", "has `**` as a part of a name"),
        ("[a-z]", "has classes or alternatives, which globs here do not have"),
        ("*.{c,h}", "has classes or alternatives, which globs here do not have"),
        ("src\\x", "has a character that no glob has: directories are separated by `/`"),
    ] {
        let text = line_error(&format!("when = {{ changed = ['{glob}'] }}"));
        assert!(text.starts_with(&format!("21: `{glob}` {why}\n")), "{text}");
    }
    assert!(
        line_error(&format!("when = {{ changed = ['{}'] }}", "x".repeat(501))).contains(" is too long for a glob\n")
    );
}

#[test]
fn a_glob_that_takes_back_comes_behind_what_it_is_taken_from() {
    for list in ["'!**/*.md'", "'!**/*.md', 'src/**'"] {
        let text = line_error(&format!("when = {{ changed = [{list}] }}"));
        assert!(text.starts_with("21: `!**/*.md` takes back nothing, because no glob comes before it\n"), "{text}");
    }
    assert!(line_error("when = { changed = ['a', '!!b'] }").starts_with("26: `!!b` takes back twice\n"));
}

#[test]
fn globs_that_are_all_taken_back_match_nothing() {
    for (list, back) in [
        ("'src/**', '!src/**'", "!src/**"),
        ("'src', '!src/'", "!src/"),
        ("'src/a/*.rs', 'src/b', '!src'", "!src"),
        ("'a', '!a', 'b', '!**'", "!**"),
        ("'*.md', '!**/*'", "!**/*"),
    ] {
        let text = line_error(&format!("when = {{ changed = [{list}] }}"));
        assert!(text.contains(&format!(": `{back}` takes back all that the globs before it match\n")), "{text}");
    }
    for list in ["'src/**', '!src/a'", "'a', '!a', 'b'", "'srcs/x', '!src'", "'**', '!*'", "'a?', '!a*'"] {
        assert!(!when(&format!("{{ changed = [{list}] }}")).changed.is_empty());
    }
}

#[test]
fn a_glob_for_refs_is_one_as_the_observer_takes_it() {
    for (list, glob, why) in [
        ("branches", "", "matches no branch"),
        ("branches", "a b", "matches no branch"),
        ("branches", "/x", "matches no branch"),
        ("branches", "refs/tags/v1", "is no branch"),
        ("branches", "!main", "takes back with `!`, which globs for names of refs do not"),
        ("tags", "v[0-9]*", "has a class of characters: `?` is one character, `*` any number of them"),
        ("tags", "v1..2", "matches no tag"),
        ("branches", "{main,topic}", "has alternatives in braces: write one glob for each of them"),
        ("branches", "x.lock", "matches no branch"),
        ("tags", "refs/heads/v1", "is no tag"),
    ] {
        let text = line_error(&format!("when = {{ {list} = ['{glob}'] }}"));
        assert!(text.contains(&format!(": `{glob}` {why}\n")), "{text}");
    }
}

#[test]
fn a_list_that_no_event_asks_for_is_warned_of() {
    let of = |table: &str| warnings(&format!("[task.a]\nrun = 'x'\nwhen = {table}"));
    let expected =
        "f:3:1: `branches` chooses nothing in builds of the event tag or pull\nleave the list out, or add an event";
    assert_eq!(of("{ branches = ['main'], events = ['tag', 'pull'] }"), [expected]);
    assert!(of("{ tags = ['v*'], events = ['push'] }")[0].contains("`tags` chooses nothing"));
    assert!(of("{ changed = ['x'], events = ['schedule'] }")[0].contains("`changed` chooses nothing"));
    for fine in ["{ branches = ['main'], events = ['schedule'] }", "{ tags = ['v*'], events = ['push', 'tag'] }"] {
        assert_eq!(of(fine), [""; 0], "{fine}");
    }
}
