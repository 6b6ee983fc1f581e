//! Warnings about tasks together.

use super::*;

#[test]
fn a_path_that_another_task_removes_is_told_once() {
    let file = "[task.build]\nrun = 'make'\nkeep = ['out', 'obj']\n[task.lint]\nrun = 'x'\n[task.test]\nrun = 'y'\n\
                keep = ['cache']\n";
    let found = warnings(file);
    assert_eq!(found.len(), 2, "{found:?}");
    assert!(found[0].starts_with("f:1:7: `build` and `lint` remove `cache`, which `test` keeps\n"), "{found:?}");
    assert!(
        found[1].starts_with("f:4:7: `lint` and `test` remove `obj` and `out`, which `build` keeps\n"),
        "{found:?}"
    );
    assert!(found[1].contains("list it under `keep` in each of these tasks"), "{found:?}");
}

#[test]
fn tasks_that_keep_the_same_or_never_meet_are_fine() {
    for file in [
        "[task.a]\nrun = 'x'\nkeep = ['out']\n[task.b]\nrun = 'y'\nkeep = ['out/']\n",
        "[task.a]\nrun = 'x'\nkeep = ['out/bin', 'out']\n[task.b]\nrun = 'y'\nkeep = ['out']\n",
        "[task.a]\nrun = 'x'\n[task.b]\nrun = 'y'\n",
        "[task.a]\nrun = 'x'\nkeep = ['out']\nlabels = ['os=linux']\n[task.b]\nrun = 'y'\nlabels = ['os=freebsd']\n",
    ] {
        assert_eq!(warnings(file), Vec::<String>::new(), "{file}");
    }
    let many: String = (0..6).map(|n| format!("[task.t{n}]\nrun = 'x'\n")).collect();
    let found = warnings(&format!("{many}[task.k]\nrun = 'x'\nkeep = ['k']\n"));
    assert!(found[0].starts_with("f:1:7: `t0`, `t1`, `t2` and 3 more remove `k`, which `k` keeps\n"), "{found:?}");
}

#[test]
fn a_file_of_another_task_is_not_there() {
    let found = warnings("[task.a]\nrun = 'echo x > out.txt'\n[task.b]\nrun = 'cat out.txt'\n");
    assert!(found[0].starts_with("f:3:7: `b` uses `out.txt`, which `a` makes, and does not need `a`\n"), "{found:?}");
    assert!(found[0].contains("\nwrite `needs = [\"a\"]`, and `artifacts` in `a`: each job starts from"), "{found:?}");
    let made = "[task.a]\nrun = 'mkdir -p dist; cp x dist'\n[task.b]\nneeds = ['a']\nrun = 'scp dist/x host:'\n";
    let found = warnings(made);
    assert!(
        found[0].starts_with("f:3:7: `b` uses `dist`, which `a` makes, and takes no artifact with it\n"),
        "{found:?}"
    );
    assert!(found[0].contains("write `artifacts = [\"dist\"]` in `a`"), "{found:?}");
    for artifacts in ["['dist']", "['dist/**']", "['d*/**', '!dist/y']", "['dist/*.txt', 'more']", "['**']"] {
        let taken = made.replace("cp x dist'", &format!("cp x dist'\nartifacts = {artifacts}"));
        assert_eq!(warnings(&taken), Vec::<String>::new(), "{artifacts}");
        let untaken = taken.replace("needs = ['a']", "needs = ['a']\ntake = []");
        let found = warnings(&untaken);
        assert!(found.len() == 1 && found[0].contains("name `a` in `take`"), "{artifacts}: {found:?}");
        let unneeded = warnings(&taken.replace("needs = ['a']", ""));
        assert!(unneeded[0].contains("write `needs = [\"a\"]`: then its artifacts"), "{unneeded:?}");
    }
    let found = warnings("[task.a]\nrun = 'go build -o bin/app'\n[task.b]\nrun = ['./bin/app', '--version']\n");
    assert!(found[0].starts_with("f:3:7: `b` uses `bin/app`, which `a` makes"), "{found:?}");
}

#[test]
fn what_only_looks_like_a_file_of_another_task_is_left_alone() {
    for (a, b) in [
        ("make > /dev/null 2>&1", "make > /dev/null"),
        ("mkdir -p build", "make build"),
        ("set -o pipefail", "echo pipefail/x"),
        ("echo x > out.txt", "echo y > out.txt; cat out.txt"),
        ("echo x > out.txt", "cat in.txt"),
        ("make; test 1 -gt 0", "cat 0"),
    ] {
        let file = format!("[task.a]\nrun = '{a}'\n[task.b]\nrun = '{b}'\n");
        assert_eq!(warnings(&file), Vec::<String>::new(), "{a} / {b}");
    }
}

#[test]
fn different_limits_of_one_group_are_told_once() {
    let task = |name: &str, more: &str| format!("[task.{name}]\nrun = 'x'\ngroup = 'g'\n{more}");
    let found = warnings(&[task("a", "group_limit = 2\n"), task("b", ""), task("c", "")].concat());
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(found[0].starts_with("f:5:7: group `g` has `a` with a limit of 2 and `b` with 1\n"), "{found:?}");
    assert_eq!(warnings(&[task("a", "group_limit = 2\n"), task("b", "group_limit = 2\n")].concat()).len(), 0);
}
