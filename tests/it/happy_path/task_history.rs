//! History and tags in the repository that a task finds: `history` and `tags`.

use crate::harness::{Repository, World, until};

/// Returns what git says of the history.
const LOOK: &str = "git rev-list --count HEAD; git tag; git describe --tags --always; git status --porcelain";

/// A repository with two tags and some commits.
fn tagged(world: &World) -> Repository<'_> {
    let repository = world.repository("app");
    for at in 0..6 {
        repository.write("file", &format!("{at}\n"));
        repository.commit(&format!("{at}"));
        if at == 1 {
            repository.git(&["tag", "--annotate", "--message", "x", "v1"]);
        }
        if at == 4 {
            repository.git(&["tag", "light"]);
        }
    }
    repository
}

fn tasks(more: &str) -> String {
    let task = |name: &str, keys: &str| format!("[task.{name}]\nrun = '{LOOK}'\n{keys}\n");
    let all =
        [task("alone", ""), task("three", "history = 3\ntags = true"), task("full", "history = 'full'\ntags = true")];
    format!("{}{more}", all.concat())
}

#[test]
fn a_task_has_the_history_and_the_tags_that_it_asks_for() {
    let world = World::new();
    let repository = tagged(&world);
    let first = repository.commit_tasks(&tasks(""));
    let [dispatcher, _observer, _runner] = world.roles(&[&repository]);
    let build = world.expect(&first, "passed");
    let short = repository.git(&["rev-parse", "--short=7", "HEAD"]);
    assert_eq!(world.log_of(&build, "alone"), format!("1\n{short}\n"));
    assert_eq!(world.log_of(&build, "three"), format!("3\nlight\nlight-2-g{short}\n"));
    assert_eq!(world.log_of(&build, "full"), format!("7\nlight\nv1\nlight-2-g{short}\n"));

    // The next one is a difference, also for a dispatcher that was restarted.
    dispatcher.kill();
    let _dispatcher = world.dispatcher(&[]);
    repository.write("file", "more\n");
    repository.git(&["add", "--all"]);
    // The tag is there before the branch moves, for the observer may look at once.
    let tree = repository.git(&["write-tree"]);
    let second = repository.git(&["commit-tree", "-p", "HEAD", "-m", "more", &tree]);
    repository.git(&["tag", "v2", &second]);
    repository.git(&["update-ref", "refs/heads/main", &second]);
    let build = world.expect(&second, "passed");
    assert_eq!(world.log_of(&build, "full"), "8\nlight\nv1\nv2\nv2\n");
    world.surveil(&["rerun", &format!("b{}", build.build)]).ok();
    world.build_that("has run again", |it| {
        it.build == build.build && it.jobs[2].attempts.len() == 2 && it.finished_ms.is_some()
    });
}

#[test]
fn a_submitted_commit_and_a_try_bring_their_history() {
    let world = World::new();
    let repository = tagged(&world);
    let commit = repository.commit_tasks(&tasks(""));
    let _dispatcher = world.dispatcher(&[]);
    let _runner = world.runner("w1", &[]);
    world.surveil_in(&repository.path, &["submit", "--wait"]).ok();
    let build = world.finished(&commit);
    assert!(world.log_of(&build, "full").starts_with("7\nlight\nv1\n"), "{}", world.log_of(&build, "full"));
    repository.write("file", "uncommitted\n");
    world.surveil_in(&repository.path, &["try"]).ok();
    let tried = world.build_that("is the try", |build| build.build == 2 && build.finished_ms.is_some());
    assert!(world.log_of(&tried, "full").starts_with("8\nlight\nv1\nlight-3-g"), "{}", world.log_of(&tried, "full"));
    let said = world.surveil_in(&repository.path, &["run", "--clean", "full"]).ok();
    assert!(said.contains("7\n") && said.contains("light-2-g"), "{said}");
}

#[test]
fn a_shallow_repository_gives_what_is_there_and_the_log_says_so() {
    let world = World::new();
    let origin = tagged(&world);
    origin.commit_tasks("[task.a]\nrun = 'git rev-list --count HEAD'\nhistory = 50\n");
    let clone = world.path("clone");
    let url = format!("file://{}", origin.path.display());
    origin.git(&["clone", "--quiet", "--depth=2", &url, clone.to_str().unwrap()]);
    let repository = world.repository_at(clone);
    let _roles = world.roles(&[&repository]);
    let build = world.expect(&repository.head(), "passed");
    let log = world.log_of(&build, "a");
    assert_eq!(log.lines().last(), Some("2"), "{log}");
    assert_eq!(log.matches("shallow or partial clone").count(), 1, "{log}");
}

/// The second task asks for more than any task of the file.
#[test]
fn a_written_task_has_as_much_history_as_the_task_file_asks_for() {
    let world = World::new();
    let repository = tagged(&world);
    let writes = |depth: &str| {
        format!(
            "[task.plan]\nexpand = true\nhistory = 3\nrun = '''\nprintf '[task.b]\\nhistory = {depth}\\nrun = \"git rev-list --count HEAD\"\\n' > $SURVEIL_TASKS\n'''\n"
        )
    };
    let commit = repository.commit_tasks(&writes("2"));
    let _roles = world.roles(&[&repository]);
    let build = world.expect(&commit, "passed");
    assert_eq!(world.log_of(&build, "plan/b"), "2\n");
    let commit = repository.commit_tasks(&writes("4"));
    let build = world.expect(&commit, "errored");
    let said = world.surveil(&["show", &format!("b{}", build.build)]).ok();
    assert!(said.contains("asks for more `history`, `tags`"), "{said}");
}

/// The source is the observer's to send again, with its history.
#[test]
fn a_mirror_that_is_gone_gets_the_history_again() {
    let world = World::new();
    let repository = tagged(&world);
    let commit = repository.commit_tasks(&tasks(""));
    let _dispatcher = world.dispatcher(&[]);
    let _observer = world.observer(&[&repository], &[]);
    world.build_that("has come", |build| build.commit == commit);
    std::fs::remove_dir_all(world.data().join("mirrors/app.git/facts")).unwrap();
    let _runner = world.runner("w1", &[]);
    let build = world.expect(&commit, "passed");
    assert!(world.log_of(&build, "full").starts_with("7\n"));
    until("the facts are noted", || world.data().join("mirrors/app.git/facts").exists());
}

/// An observer that knows no history leaves it out, as does one in another language.
#[test]
fn an_observer_that_sends_no_history_makes_an_errored_build_that_says_so() {
    use crate::harness::Wire;
    use serde_json::json;
    let world = World::new();
    let repository = tagged(&world);
    let commit = repository.commit_tasks("[task.a]\nrun = 'true'\nhistory = 5\n");
    let _dispatcher = world.dispatcher(&[]);
    let mut observer = Wire::greet(&world, "observer", "old");
    observer.ask(&json!({"type": "status", "repo": "app", "source": "elsewhere"}));
    let path = world.path("pack");
    repository.git(&["-c", "pack.threads=1", "gc", "--quiet"]);
    let packs = repository.path.join(".git/objects/pack");
    let pack = std::fs::read_dir(packs)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .find(|path| path.extension().is_some_and(|it| it == "pack"))
        .unwrap();
    std::fs::copy(pack, &path).unwrap();
    let bytes = std::fs::read(&path).unwrap();
    observer.say(&json!({"type": "pack", "repo": "app", "last": true, "bytes": bytes.len()}));
    observer.send(&bytes).unwrap();
    let answer = observer.ask(&json!({"type": "dispatch", "repo": "app", "branch": "main", "commit": commit}));
    assert_eq!(answer["type"], "ok", "{answer}");
    let build = world.expect(&commit, "errored");
    let problem = build.problem.unwrap();
    assert!(
        problem.contains("task a asks for `history`, `tags`") && problem.contains("update the observer"),
        "{problem}"
    );
}

/// They are no part of the commit, and may change without one.
#[test]
fn the_info_attributes_of_the_watched_repository_say_how_files_are_written() {
    let world = World::new();
    let repository = world.repository("app");
    repository.write("run.bat", "echo\n");
    repository.write(".git/info/attributes", "*.bat eol=crlf\n");
    let look = "od -c run.bat | head -n 1 | tr -s ' '; git status --porcelain; git check-attr eol run.bat";
    let commit = repository.commit_script(look);
    let _roles = world.roles(&[&repository]);
    let build = world.expect(&commit, "passed");
    assert_eq!(world.log_of(&build, "test"), "0000000 e c h o \\r \\n\nrun.bat: eol: crlf\n");
    repository.write(".git/info/attributes", "");
    repository.write("other", "");
    let commit = repository.commit("more");
    let build = world.expect(&commit, "passed");
    assert_eq!(world.log_of(&build, "test"), "0000000 e c h o \\n\nrun.bat: eol: unspecified\n");
}
