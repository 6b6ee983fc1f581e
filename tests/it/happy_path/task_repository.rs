//! The repository that a task finds in its work tree, for real git in real attempts.

use crate::harness::World;

/// Prints what git says in a tree at a commit, and traps for the next attempt. `$objects` is the runner's store.
const LOOK: &str = "\
set -e
git rev-parse HEAD
git log --format=%s,%ct
git describe --always --dirty --abbrev=10
git status --porcelain
git ls-files
git diff --exit-code
git fsck --no-progress --no-dangling
objects=$(cat .git/objects/info/alternates)
if (: > $objects/new) 2>/dev/null; then rm $objects/new; echo writable; else echo read-only; fi
if test -e left; then echo left; fi
echo changed > file
git -c user.name=x -c user.email=x@y commit --quiet --all --message 'of the task'
git gc --quiet --prune=now
git config core.fsmonitor 'echo monitored >&2; false'
git config alias.status '!echo aliased'
printf '#!/bin/sh\\necho hooked >&2\\n' > .git/hooks/post-index-change
chmod +x .git/hooks/post-index-change
echo left > left; echo left > .git/info/exclude
rm -rf .git/objects/info";

#[test]
fn a_task_finds_files_as_the_attributes_of_the_commit_say() {
    let world = World::new();
    let repository = world.repository("app");
    repository.write(".gitattributes", "*.bat eol=crlf\nversion ident\n");
    repository.write("run.bat", "echo\n");
    repository.write("version", "$Id$\n");
    let commit = repository.commit_script("od -c run.bat | head -n 1 | tr -s ' '; cat version; git status --porcelain");
    let _roles = world.roles(&[&repository]);
    let build = world.expect(&commit, "passed");
    let id = repository.git(&["rev-parse", "HEAD:version"]);
    assert_eq!(world.log_of(&build, "test"), format!("0000000 e c h o \\r \\n\n$Id: {id} $\n"));
}

#[test]
fn a_task_finds_a_clean_repository_at_its_commit_whatever_the_one_before_left_in_it() {
    let world = World::new();
    let repository = world.repository("app");
    repository.write("file", "one\n");
    repository.commit_tasks("[task.test]\nrun = 'true'\n");
    let [_dispatcher, _observer, runner] = world.roles(&[&repository]);
    runner.says("its attempts are");
    let is_guarded = !runner.log().contains("its attempts are not guarded");
    let tiers = if is_guarded { &["guarded", "sealed", "shared", "guarded"][..] } else { &["shared", "shared"] };
    for (at, tier) in tiers.iter().enumerate() {
        let file = format!("[task.test]\nisolation = '{tier}'\nrun = '''\n{LOOK}\n'''\n# {at}\n");
        let commit = repository.commit_tasks(&file);
        let build = world.expect(&commit, "passed");
        let subject = repository.git(&["log", "-1", "--format=%s,%ct"]);
        let access = if *tier == "shared" { "writable" } else { "read-only" };
        let wanted = format!("{commit}\n{subject}\n{}\n.surveil.toml\nfile\n{access}\n", &commit[..10]);
        assert_eq!(world.log_of(&build, "test"), wanted, "{tier}");
    }
}
