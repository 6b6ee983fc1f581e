//! The key `cache`.

use super::*;
use crate::model::CacheRule;

fn rules(text: &str) -> Vec<CacheRule> {
    parse(&format!("[task.a]\nrun = 'x'\n{text}"))[0].recipe.caches.clone()
}

#[test]
fn a_cache_has_the_globs_of_its_key_and_plain_paths() {
    assert_eq!(rules("cache = []"), []);
    let text = "[[task.a.cache]]\nkey = ['Cargo.lock', '!x/Cargo.lock']\npaths = ['./target/', '~/.cargo/registry']\n\
                [[task.a.cache]]\nkey = ['package-lock.json']\npaths = ['node_modules']\n";
    let list = |items: &[&str]| items.iter().map(|item| (*item).to_owned()).collect::<Vec<_>>();
    let rule = |key: &[&str], paths: &[&str]| CacheRule { key: list(key), paths: list(paths) };
    let first = rule(&["Cargo.lock", "!x/Cargo.lock"], &["target", "~/.cargo/registry"]);
    assert_eq!(rules(text), [first, rule(&["package-lock.json"], &["node_modules"])]);
    let labels = &parse(&format!("[task.a]\nrun = 'x'\n{text}"))[0].placement.labels;
    assert!(labels.iter().all(|label| !label.starts_with("can=")), "a runner without caches executes it, too");
    // The values of a cell are in the paths.
    let cells = "[task.a]\nrun = 'x'\nmatrix = { os = ['one'] }\n\
                 cache = [{ key = ['x'], paths = ['out/${matrix.os}'] }]\n";
    assert_eq!(parse(cells)[0].recipe.caches, [rule(&["x"], &["out/one"])]);
}

#[test]
fn a_cache_that_makes_no_sense_is_refused() {
    for (value, message) in [
        ("'target'", "`cache` must be a list of tables, this is a string"),
        ("['target']", "a cache must be a table, this is a string"),
        ("[{ paths = ['x'] }]", "a cache has no `key`"),
        ("[{ key = ['x'] }]", "a cache has no `paths`"),
        ("[{ key = [], paths = ['x'] }]", "`key` is empty"),
        ("[{ key = ['x'], paths = [] }]", "`paths` is empty"),
        ("[{ key = ['../x'], paths = ['x'] }]", "`../x` matches no path"),
        ("[{ key = ['x'], paths = ['../x'] }]", "`../x` leads out of the work tree"),
        ("[{ key = ['x'], paths = ['/var/cache'] }]", "`/var/cache` is not a path inside the work tree"),
        ("[{ key = ['x'], paths = ['~/../x'] }]", "leads out of the work tree"),
        ("[{ key = ['x'], paths = ['~/'] }]", "`~/` is the whole home directory"),
        ("[{ key = ['x'], paths = ['.'] }]", "`.` is the whole work tree"),
        ("[{ key = ['x'], paths = ['.git/lfs'] }]", "belongs to git"),
        ("[{ key = ['x'], paths = ['out/*'] }]", "is a pattern"),
        ("[{ key = ['x'], paths = ['a', 'a/b'] }]", "`a/b` and `a` are one in the other"),
        ("[{ key = ['x'], path = 'x' }]", "unknown key `path` in a cache"),
    ] {
        let text = line_error(&format!("cache = {value}"));
        assert!(text.contains(message), "{value}: {text}");
    }
    let two = "cache = [{ key = ['x'], paths = ['a'] }, { key = ['y'], paths = ['a/b'] }]\n";
    let text = error(&format!("[task.a]\nrun = 'x'\n{two}"));
    assert!(text.contains("the paths `a` and `a/b` of two caches are one in the other"), "{text}");
    let many = vec!["{ key = ['x'], paths = ['x'] }"; 17].join(", ");
    assert!(line_error(&format!("cache = [{many}]")).contains("a task has at most 16 caches"));
}

/// Files that another task left in a kept path would be saved, also those of an untrusted one.
#[test]
fn a_path_is_kept_or_cached_and_a_container_has_no_home_to_cache() {
    let with = |line: &str, path: &str| {
        error(&format!("[task.a]\nrun = 'x'\n{line}\ncache = [{{ key = ['x'], paths = ['{path}'] }}]\n"))
    };
    for (kept, cached) in [("target", "target"), ("target", "target/debug"), ("target/debug", "target")] {
        let text = with(&format!("keep = ['{kept}']"), cached);
        assert!(text.contains(&format!("task `a`: the cached path `{cached}` and the kept path `{kept}`")), "{text}");
    }
    let text = with("image = 'rust:1'", "~/.cargo/registry");
    assert!(text.contains("`~/.cargo/registry` goes with the container of the `image`"), "{text}");
    let fine =
        "[task.a]\nrun = 'x'\nimage = 'rust:1'\nkeep = ['targets']\ncache = [{ key = ['x'], paths = ['target'] }]\n";
    assert_eq!(parse(fine)[0].recipe.caches.len(), 1);
}
