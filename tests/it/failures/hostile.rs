//! G1 and G2 with real repositories: histories that change under the observer, and repositories that are damaged, or
//! made to do harm.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use crate::harness::{Repository, World, job, text};

const TASK: &str = "[task.test]\nrun = 'cat file'\n";

/// Commits on `main` in one go, each with its number in `file`, without the work tree; the ids, oldest first.
fn many_commits(world: &World, repository: &Repository, count: usize) -> Vec<String> {
    let base = repository.head();
    let mut script = format!("reset refs/heads/main\nfrom {base}\n\n");
    for n in 0..count {
        let number = n.to_string();
        script += "commit refs/heads/main\ncommitter A <a@b> 1700000000 +0000\ndata 1\nx\n";
        script += &format!("M 100644 inline file\ndata {}\n{number}\n", number.len());
    }
    let path = world.path("history");
    fs::write(&path, script).unwrap();
    let mut import = world.sealed("git");
    import.current_dir(&repository.path).args(["fast-import", "--quiet"]);
    assert!(import.stdin(fs::File::open(&path).unwrap()).status().unwrap().success());
    let range = format!("{base}..main");
    repository.git(&["rev-list", "--reverse", &range]).lines().map(str::to_owned).collect()
}

/// S3: fifty pushes that nobody saw, while the observer or the dispatcher was away, become one build each of the
/// last commit, with the others in its range. Sabotage tried: a range of the head alone.
#[test]
fn fifty_pushes_while_one_side_is_away_are_made_up_for() {
    let world = World::new();
    let repository = world.repository("app");
    repository.write("file", "first");
    let first = repository.commit_tasks(TASK);
    let dispatcher = world.dispatcher(&[]);
    let observer = world.observer(&[&repository], &["--interval=1h"]);
    let _runner = world.runner("w1", &[]);
    world.expect(&first, "passed");

    observer.kill();
    let unseen = many_commits(&world, &repository, 50);
    let observer = world.observer(&[&repository], &["--interval=1h"]);
    let build = world.expect(&unseen[49], "passed");
    assert_eq!((build.before.as_deref(), world.log_of(&build, "test").as_str()), (Some(&*first), "49"));
    let why = world.surveil(&["why", &unseen[49][..10]]).ok();
    assert!(why.contains("50 commits"), "{why}");

    dispatcher.kill();
    observer.says("dialling again");
    let unsaid = many_commits(&world, &repository, 50);
    let _dispatcher = world.dispatcher(&[]);
    let build = world.expect(&unsaid[49], "passed");
    assert_eq!(build.before.as_deref(), Some(&*unseen[49]));
    assert_eq!(world.builds().len(), 3);
}

/// S3, S28, L1: an accepted commit is built, although the branch has moved on or is gone, and the
/// repository has forgotten the commit meanwhile. Sabotage tried: a tree that is there is not brought to the commit.
#[test]
fn a_commit_that_was_forced_away_or_whose_branch_is_gone_while_it_runs_is_built_as_announced() {
    let world = World::new();
    // One gate for each: an open gate lets all waiting tasks through.
    let gates: BTreeMap<_, _> =
        ["queued", "deleted", "orphaned", "running"].map(|name| (name, world.gate(name))).into();
    let begun = world.tally("begun");
    let repository = world.repository("app");
    let base = repository.commit_tasks("[task.test]\nrun = 'true'\n");
    let _dispatcher = world.dispatcher(&[]);
    let observer = world.observer(&[&repository], &["--branch=*"]);
    let script = |name: &str| format!("{}\n{}\ncat file # {name}", begun.add(name), gates[name].wait());
    let accepted = |name: &str| {
        repository.write("file", name);
        let commit = repository.commit_script(&script(name));
        observer.says(&format!("{} accepted", &commit[..7]));
        commit
    };
    let forget = || {
        repository.git(&["reflog", "expire", "--expire=now", "--all"]);
        repository.git(&["gc", "--quiet", "--prune=now"]);
    };
    // No runner yet: these commits are replaced by a forced push while they are queued.
    let queued = accepted("queued");
    repository.git(&["switch", "--quiet", "--create", "topic", &base]);
    let deleted = accepted("deleted");
    repository.git(&["switch", "--quiet", "main"]);
    repository.git(&["branch", "--quiet", "-D", "topic"]);
    observer.says("topic gone");
    // What nobody has begun ends with its branch.
    world.expect(&deleted, "cancelled");
    repository.git(&["switch", "--quiet", "--create", "side", &base]);
    let orphaned = accepted("orphaned");
    repository.git(&["switch", "--quiet", "main"]);
    repository.git(&["reset", "--quiet", "--hard", &base]);
    let running = accepted("running");
    forget();
    let runner = world.runner("w1", &["--slots=3"]);
    begun.reaches(3);
    // And these commits while they are running.
    repository.git(&["branch", "--quiet", "-D", "side"]);
    observer.says("side gone");
    repository.git(&["reset", "--quiet", "--hard", &base]);
    repository.write("file", "last");
    let last = repository.commit_script("cat file");
    forget();
    observer.says(&format!("{} accepted", &last[..7]));
    // Nobody waits at the gate of the deleted branch.
    gates.iter().filter(|(name, _)| **name != "deleted").for_each(|(_, gate)| gate.open());
    for (commit, name) in [(queued, "queued"), (orphaned, "orphaned"), (running, "running"), (last, "last")] {
        let build = world.expect(&commit, "passed");
        assert_eq!(world.log_of(&build, "test"), name);
    }
    drop(runner);
}

/// S2, S3: a thousand branches at once, while their refs are packed and the repository is collected, are each built
/// once. Sabotage tried: refs that were packed are not read.
#[test]
fn a_thousand_branches_at_once_beside_a_collection_are_each_accepted_once() {
    let world = World::new();
    let repository = world.repository("app");
    repository.write("file", "first");
    repository.commit_tasks(TASK);
    let commits = many_commits(&world, &repository, 10);
    let _dispatcher = world.dispatcher(&[]);
    let _observer = world.observer(&[&repository], &["--branch=b/*", "--interval=100ms"]);
    let count = 1000;
    let updates: String = (0..count).map(|n| format!("create refs/heads/b/{n} {}\n", commits[n % 10])).collect();
    fs::write(world.path("updates"), updates).unwrap();
    let mut update = world.sealed("git");
    update.current_dir(&repository.path).args(["update-ref", "--stdin"]);
    assert!(update.stdin(fs::File::open(world.path("updates")).unwrap()).status().unwrap().success());
    repository.git(&["pack-refs", "--all"]);
    repository.git(&["gc", "--quiet", "--prune=now"]);
    let all = world.build_that("of the last branch", |build| build.build == count as u64);
    assert_eq!(all.repo, "app");
    repository.git(&["gc", "--quiet", "--prune=now"]);
    let mut branches: Vec<String> = world.builds().into_iter().map(|build| build.branch).collect();
    branches.sort();
    branches.dedup();
    assert_eq!(branches.len(), count);
}

/// S29: names are names, wherever they go: to the store, to the log's path, to the task's environment. Sabotage tried:
/// a name loses its leading dashes on the way to the task.
#[test]
fn a_branch_may_be_called_whatever_git_permits() {
    let world = World::new();
    let repository = world.repository("app");
    let long = [&*"x".repeat(240); 12].join("/");
    let names = ["a;b", "$(touch${IFS}oops)", "`id`", "🦀/💥", "a'b\"c", "-y/--help", "ünï", "%s%n", &long];
    let commit = repository.commit_script("printf %s \"$SURVEIL_BRANCH\"");
    for name in names {
        // `git branch` refuses some names that a push may create.
        repository.git(&["update-ref", &format!("refs/heads/{name}"), &commit]);
    }
    repository.git(&["update-ref", "refs/heads/-x", &commit]);
    let _roles = [world.dispatcher(&[]), world.observer(&[&repository], &["--branch=*"]), world.runner("w1", &[])];
    for name in names.iter().chain(&["-x", "main"]) {
        let build = world.build_that(name, |build| build.branch == *name && build.finished_ms.is_some());
        assert_eq!((build.state.as_str(), world.log_of(&build, "test").as_str()), ("passed", *name));
    }
    let found = world.sealed("find").arg(".").args(["-name", "oops"]).output().unwrap();
    assert!(found.stdout.is_empty(), "{}", String::from_utf8_lossy(&found.stdout));
    let table = world.surveil(&["status"]).ok();
    assert!(table.contains("🦀/💥") && table.contains("a;b"), "{table}");
}

/// S30: a broken branch is named and tried again, a stale lock does no harm, no branch is reported as deleted, and
/// all the other branches go on. Sabotage tried: an object that cannot be read lets the whole repository pause.
#[test]
fn a_damaged_repository_is_named_tried_again_and_holds_up_no_other_branch() {
    let world = World::new();
    let repository = world.repository("app");
    repository.write("file", "first");
    let first = repository.commit_tasks(TASK);
    let _dispatcher = world.dispatcher(&[]);
    let observer = world.observer(&[&repository], &["--branch=*", "--interval=50ms"]);
    let _runner = world.runner("w1", &[]);
    world.expect(&first, "passed");
    for lock in ["index.lock", "HEAD.lock", "packed-refs.lock", "config.lock"] {
        fs::write(repository.path.join(".git").join(lock), "").unwrap();
    }
    // A new commit whose tree is intact and whose file is damaged: zeroed, then in a pack that is cut short.
    let loose = |id: &str| repository.path.join(".git/objects").join(&id[..2]).join(&id[2..]);
    let commit_of = |content: &str| {
        repository.write("new-file", content);
        let blob = repository.git(&["hash-object", "-w", "new-file"]);
        let task = repository.git(&["rev-parse", "main:.surveil.toml"]);
        let listing = format!("100644 blob {task}\t.surveil.toml\n100644 blob {blob}\tfile\n");
        fs::write(world.path("listing"), listing).unwrap();
        let mut make = world.sealed("git");
        make.current_dir(&repository.path).arg("mktree").stdin(fs::File::open(world.path("listing")).unwrap());
        let tree = String::from_utf8(make.output().unwrap().stdout).unwrap();
        (repository.git(&["commit-tree", "-p", &first, "-m", content, tree.trim()]), blob)
    };
    let (zeroed, blob) = commit_of("zeroed");
    let place = loose(&blob);
    let sound = fs::read(&place).unwrap();
    fs::set_permissions(&place, fs::Permissions::from_mode(0o644)).unwrap();
    fs::write(&place, vec![0; sound.len()]).unwrap();
    repository.git(&["update-ref", "refs/heads/zeroed", &zeroed]);
    observer.says(&blob[..7]);
    let (good, _) = commit_of("good");
    repository.git(&["update-ref", "refs/heads/good", &good]);
    world.expect(&good, "passed");
    fs::write(&place, &sound).unwrap();
    world.expect(&zeroed, "passed");

    fs::remove_file(repository.path.join(".git/packed-refs.lock")).unwrap();
    let (cut, _) = commit_of("cut");
    repository.git(&["update-ref", "refs/cut", &cut]);
    repository.git(&["-c", "core.looseCompression=0", "repack", "-a", "-d", "--quiet"]);
    let packs = repository.path.join(".git/objects/pack");
    let is_pack = |path: &PathBuf| path.extension().is_some_and(|kind| kind == "pack");
    let pack = fs::read_dir(packs).unwrap().map(|entry| entry.unwrap().path()).find(is_pack).unwrap();
    let whole = fs::read(&pack).unwrap();
    fs::remove_file(&pack).unwrap();
    fs::write(&pack, &whole[..whole.len() / 2]).unwrap();
    let before = observer.log().len();
    fs::write(repository.path.join(".git/refs/heads/cut"), format!("{cut}\n")).unwrap();
    crate::harness::until("the damage is named", || observer.log()[before..].contains("could not"));
    fs::write(&pack, &whole).unwrap();
    world.expect(&cut, "passed");
    let said = observer.log();
    assert!(!said.contains(" gone") && !said.contains("panicked"), "{said}");
}

/// S29: nothing that a repository or a commit configures is executed, by any of the roles. Sabotage tried: the observer
/// starts `git status`, and the repository's monitor is executed.
#[test]
fn no_program_that_a_repository_names_is_started() {
    let world = World::new();
    let mark = world.path("mark");
    let trap = world.path("trap");
    fs::write(&trap, format!("#!/bin/sh\necho \"$0 $*\" >> {}\n", mark.display())).unwrap();
    fs::set_permissions(&trap, fs::Permissions::from_mode(0o755)).unwrap();
    let repository = world.repository("app");
    repository.write("file", "as it is\n");
    repository.write(".gitattributes", "* filter=evil diff=evil merge=evil\n");
    repository.write(".gitmodules", "[submodule \"x\"]\n\tpath = x\n\turl = ext::sh -c trap\n\tupdate = !trap\n");
    let commit = repository.commit_tasks(TASK);
    for hook in ["post-checkout", "pre-commit", "reference-transaction", "post-index-change", "fsmonitor-watchman"] {
        fs::copy(&trap, repository.path.join(".git/hooks").join(hook)).unwrap();
    }
    let trap = text(&trap);
    let mut config = String::new();
    for (section, keys) in [
        ("core", &["fsmonitor", "sshCommand", "pager", "editor", "alternateRefsCommand", "gitProxy", "askPass"][..]),
        ("filter \"evil\"", &["smudge", "clean", "process"]),
        ("diff \"evil\"", &["command", "textconv"]),
        ("credential", &["helper"]),
        ("uploadpack", &["packObjectsHook"]),
        ("remote \"origin\"", &["uploadpack", "receivepack"]),
    ] {
        config += &format!("[{section}]\n");
        config.extend(keys.iter().map(|key| format!("\t{key} = {trap}\n")));
    }
    fs::write(world.path("included"), config).unwrap();
    let path = repository.path.join(".git/config");
    let own = fs::read_to_string(&path).unwrap();
    fs::write(&path, format!("{own}[include]\n\tpath = {}\n", world.path("included").display())).unwrap();
    let _roles = world.roles(&[&repository]);
    let build = world.expect(&commit, "passed");
    assert_eq!(world.log_of(&build, "test"), "as it is\n");
    // And a further commit, noticed by notification.
    let tree = repository.git(&["rev-parse", "main^{tree}"]);
    fs::remove_file(&mark).ok();
    let next = repository.git(&["commit-tree", "-p", &commit, "-m", "Next", &tree]);
    fs::write(repository.path.join(".git/refs/heads/main"), format!("{next}\n")).unwrap();
    world.expect(&next, "passed");
    assert!(!mark.exists(), "{}", fs::read_to_string(&mark).unwrap());
}

/// S28: trees that must not be checked out are refused with the reason, and their runner goes on; trees that only look
/// dangerous are checked out exactly. Nothing is written outside the work tree. Sabotage tried: every name is allowed.
#[test]
fn a_tree_that_would_write_elsewhere_writes_nowhere() {
    let world = World::new();
    let repository = world.repository("app");
    let outside = world.path("outside");
    fs::create_dir(&outside).unwrap();
    repository.write("file", "x\n");
    let base = repository.commit_tasks("[task.test]\nrun = 'find . | grep -v ./.git | LC_ALL=C sort | tail -n +2'\n");
    let id = |what: &str| repository.git(&["rev-parse", what]);
    let (task, blob) = (id("main:.surveil.toml"), id("main:file"));
    repository.write("target", text(&outside));
    let link = repository.git(&["hash-object", "-w", "target"]);
    repository.write("target", "/");
    let root = repository.git(&["hash-object", "-w", "target"]);
    let raw_tree = |entries: &[(&str, &str, &str)]| {
        let mut bytes = Vec::new();
        for (mode, name, id) in entries {
            bytes.extend(format!("{mode} {name}\0").into_bytes());
            bytes.extend((0..20).map(|at| u8::from_str_radix(&id[2 * at..2 * at + 2], 16).unwrap()));
        }
        fs::write(world.path("raw"), bytes).unwrap();
        repository.git(&["hash-object", "--literally", "-w", "-t", "tree", text(&world.path("raw"))])
    };
    let inner = raw_tree(&[("100755", "post-checkout", &blob)]);
    let announce = |entries: &[(&str, &str, &str)]| {
        let all = [&[("100644", ".surveil.toml", &*task)], entries].concat();
        let tree = raw_tree(&all);
        let commit = repository.git(&["commit-tree", "-p", &base, "-m", "By hand", &tree]);
        repository.git(&["update-ref", "refs/heads/main", &commit]);
        commit
    };
    let _roles = world.roles(&[&repository]);
    world.expect(&base, "passed");
    for entries in [
        &[("40000", ".GIT", &*inner)][..],
        &[("40000", "git~1", &*inner)],
        &[("40000", "..", &*inner)],
        &[("100644", "../../x", &*blob)],
        &[("120000", "way", &*link), ("40000", "way", &*inner)],
    ] {
        let commit = announce(entries);
        let build = world.finished(&commit);
        assert!(["failed", "errored"].contains(&&*build.state), "{build:#?}");
        let why = world.surveil(&["why", &commit[..10]]).ok();
        assert!(why.contains("cannot be checked out") || why.contains("broken"), "{entries:?}: {why}");
    }
    let commit = announce(&[
        ("100644", "TWIN", &blob),
        ("120000", "root", &root),
        ("100644", "twin", &blob),
        ("120000", "way", &link),
    ]);
    let build = world.expect(&commit, "passed");
    assert_eq!(world.log_of(&build, "test"), "./.surveil.toml\n./TWIN\n./root\n./twin\n./way\n");
    assert_eq!(job(&build, "test").attempts.len(), 1);
    assert_eq!(fs::read_dir(&outside).unwrap().count(), 0);
    assert!(!world.path("x").exists() && !world.path("work-w1/x").exists());
}
