//! The facts that an attempt finds in its environment, and the temporary directory that belongs to it alone.

use std::fs;
use std::path::Path;

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::harness::{Wire, World, job, text, until};

/// A script that tells the variables, each on a line, and those that are not set without a value.
const TELL: &str = "for name in SURVEIL_URL SURVEIL_BEFORE SURVEIL_SUBJECT SOURCE_DATE_EPOCH SURVEIL_ATTEMPT; do
eval \"echo $name=\\${$name-unset}\"
done";

#[test]
fn an_attempt_is_told_where_its_commit_comes_from_on_a_runner_and_by_hand() {
    let world = World::new();
    let repository = world.repository("app");
    let tasks = |more: &str| format!("[task.test]\nrun = '''{TELL}'''\n{more}");
    let first = repository.commit_tasks(&tasks(""));
    let _roles = world.roles(&[&repository]);
    let told = |commit: &str| world.log_of(&world.expect(commit, "passed"), "test");
    let epoch = |commit: &str| repository.git(&["log", "-1", "--format=%ct", commit]);
    let expected = |url: &str, before: &str, subject: &str, epoch: &str| {
        format!(
            "SURVEIL_URL={url}\nSURVEIL_BEFORE={before}\nSURVEIL_SUBJECT={subject}\nSOURCE_DATE_EPOCH={epoch}\n\
             SURVEIL_ATTEMPT=1\n"
        )
    };
    let at_first = told(&first);
    let url = at_first.lines().next().unwrap().strip_prefix("SURVEIL_URL=").unwrap();
    assert!(url.ends_with(&format!(":{}", text(&repository.path.canonicalize().unwrap()))), "{url}");
    let subject = repository.git(&["log", "-1", "--format=%s"]);
    assert_eq!(at_first, expected(url, "unset", &subject, &epoch(&first)), "the branch is new");

    repository.write(".surveil.toml", &tasks("env = { SOURCE_DATE_EPOCH = '0' }\n"));
    let second = repository.commit("Grüße \"$(exit)\" 'x'\n\nBody");
    let wanted = |before: &str, epoch: &str| expected(url, before, "Grüße \"$(exit)\" 'x'", epoch);
    assert_eq!(told(&second), wanted(&first, "0"), "the task has the last word");
    repository.write(".surveil.toml", &tasks(""));
    repository.write("more", "");
    repository.git(&["add", "more"]);
    repository.git(&["commit", "--quiet", "--amend", "--no-edit", "--all"]);
    let third = repository.head();
    assert_eq!(told(&third), wanted(&second, &epoch(&third)));
    for arguments in [&["run"][..], &["run", "--clean"]] {
        let said = world.surveil_in(&repository.path, arguments).ok();
        assert!(said.contains(&wanted("unset", &epoch(&third))), "{arguments:?}: {said}");
    }
    // Outside a repository nothing is known.
    let plain = world.path("plain");
    fs::create_dir(&plain).and_then(|()| fs::write(plain.join(".surveil.toml"), tasks(""))).unwrap();
    let said = world.surveil_in(&plain, &["run"]).ok();
    assert!(said.contains(&expected("unset", "unset", "unset", "unset")), "{said}");
}

/// A script that tells what caused the build.
const CAUSE: &str = "for name in EVENT REF BRANCH TAG DEFAULT_BRANCH TRUSTED AUTHOR; do
eval \"echo $name=\\${SURVEIL_$name-unset}\"
done";

fn cause(event: &str, reference: &str, branch: &str, tag: &str, trusted: &str) -> String {
    let author = "Ada <ada@example.org>";
    format!(
        "EVENT={event}\nREF={reference}\nBRANCH={branch}\nTAG={tag}\nDEFAULT_BRANCH=main\nTRUSTED={trusted}\n\
         AUTHOR={author}\n"
    )
}

/// A tag's task has no branch, so that a script that deploys a branch does not take the tag's name for one.
#[test]
fn an_attempt_is_told_what_caused_its_build_and_which_ref_it_is_of() {
    let world = World::new();
    let repository = world.repository("app");
    let main = repository.commit_script(CAUSE);
    let _dispatcher = world.dispatcher(&[]);
    let _observer = world.observer(&[&repository], &["--branch=*", "--tag=v*", "--ref=refs/pull/*/head"]);
    let _runner = world.runner("w1", &[]);
    let told = |reference: &str| {
        let build = world.build_that(reference, |build| build.reference == reference && build.finished_ms.is_some());
        world.log_of(&build, "test")
    };
    assert_eq!(told("refs/heads/main"), cause("push", "refs/heads/main", "main", "unset", "true"));
    for reference in ["refs/heads/topic/x", "refs/tags/v1.2", "refs/pull/12/head"] {
        repository.git(&["update-ref", reference, &main]);
    }
    assert_eq!(told("refs/heads/topic/x"), cause("push", "refs/heads/topic/x", "topic/x", "unset", "false"));
    assert_eq!(told("refs/tags/v1.2"), cause("tag", "refs/tags/v1.2", "unset", "v1.2", "false"));
    assert_eq!(told("refs/pull/12/head"), cause("pull", "refs/pull/12/head", "unset", "unset", "false"));

    // What a person asks for.
    let asked = |arguments: &[&str]| {
        let number = world.surveil_in(&repository.path, arguments).ok();
        let build = world
            .build_that(&number, |build| format!("b{}", build.build) == number.trim() && build.finished_ms.is_some());
        world.log_of(&build, "test")
    };
    assert_eq!(asked(&["submit", "v1.2"]), cause("manual", "refs/tags/v1.2", "unset", "v1.2", "false"));
    assert_eq!(asked(&["submit", &main]), cause("manual", "unset", "unset", "unset", "false"));
    for arguments in [&["run"][..], &["run", "--clean"]] {
        let said = world.surveil_in(&repository.path, arguments).ok();
        assert!(said.contains(&cause("try", "refs/heads/main", "main", "unset", "false")), "{arguments:?}: {said}");
    }
}

/// An observer of another make may tell a URL with everything in it. The place is known after a restart, too.
#[test]
fn no_credentials_of_a_repository_reach_a_runner() {
    let world = World::new();
    let mut dispatcher = world.dispatcher(&[]);
    let repository = world.repository("app");
    let commit = repository.commit_script("true");
    let observer = world.observer(&[&repository], &[]);
    world.build_that("is there", |build| build.commit == commit);
    observer.kill();
    let status = json!({"type": "status", "repo": "app", "source": "https://me:secret@host/app.git?key=secret"});
    until("the first observer is gone", || Wire::greet(&world, "observer", "raw").ask(&status)["type"] == "heads");
    dispatcher.signal(Signal::TERM);
    assert_eq!(dispatcher.exit_code(), 0);
    assert!(!dispatcher.log().contains("secret"), "{}", dispatcher.log());
    let _dispatcher = world.dispatcher(&[]);
    let mut runner = Wire::greet(&world, "runner", "raw");
    let register = json!({"type": "register", "slots": 1, "isolation": "subreaper"});
    assert_eq!(runner.ask(&register)["type"], "registered");
    let lease = runner.hear();
    assert_eq!(lease["url"], "https://host/app.git", "{lease}");
    assert_eq!(lease.get("before"), None::<&Value>, "{lease}");
}

/// One number for one execution, lost ones included, wherever it is told.
#[test]
fn an_attempt_has_one_number_everywhere() {
    let world = World::new();
    let repository = world.repository("app");
    let (begun, gate) = (world.tally("begun"), world.gate("gate"));
    let script = format!(
        "echo number $SURVEIL_ATTEMPT $SURVEIL_TRY id $SURVEIL_ATTEMPT_ID\n{}\ncase $SURVEIL_ATTEMPT in\n1) {} ;;\n\
         2) exit 3 ;;\nesac",
        begun.add("$SURVEIL_ATTEMPT"),
        gate.wait()
    );
    let commit = repository.commit_tasks(&format!("[task.test]\nretries = 1\nrun = '''\n{script}\n'''\n"));
    let _dispatcher = world.dispatcher(&[]);
    let _observer = world.observer(&[&repository], &[]);
    let runner = world.runner("w1", &[]);
    begun.reaches(1);
    runner.kill();
    let _runner = world.runner("w1", &[]);
    let build = world.expect(&commit, "passed");
    let attempts = &job(&build, "test").attempts;
    assert_eq!(attempts.iter().map(|attempt| attempt.number).collect::<Vec<_>>(), [1, 2, 3]);
    for attempt in &attempts[1..] {
        let number = attempt.number.to_string();
        let log = world.surveil(&["logs", "b1/test", "--attempt", &number]).ok();
        assert_eq!(log, format!("number {number} {number} id {}\n", attempt.attempt));
    }
    let shown = world.surveil(&["show", "b1"]).ok();
    let why = world.surveil(&["why", "b1/test"]).ok();
    for (text, said) in [
        ("attempt 1: lost", &shown),
        ("attempt 2: failed", &shown),
        ("attempt 3: passed", &shown),
        ("attempt 2 on w1: failed (exit code 3)", &why),
        ("failed with exit code 3: queued again (retry 1 of 1)", &why),
        ("attempt 3 on w1: passed", &why),
    ] {
        assert!(said.contains(text), "{text}: {said}");
    }
}

/// Tells whether the temporary directory is empty and private, and leaves what is hard to remove. A socket fits in.
const LEAVE: &str = "ls -A \"$TMPDIR\"; stat -c 'mode %a' \"$TMPDIR\"
mkdir -p \"$TMPDIR/a/b\"; touch \"$TMPDIR/a/b/c\"; ln -s /etc \"$TMPDIR/link\"; chmod 000 \"$TMPDIR/a\"
mktemp >/dev/null; echo \"$TMPDIR\"";

fn is_gone(directory: &str) -> bool {
    fs::read_dir(Path::new(directory)).map_or(true, |mut left| left.next().is_none())
}

/// S41.
#[test]
fn an_attempt_has_a_temporary_directory_of_its_own_and_nothing_in_it_outlives_it() {
    let world = World::new();
    let repository = world.repository("app");
    let (begun, never) = (world.tally("begun"), world.gate("never"));
    let first = repository.commit_script(&format!("{LEAVE}\nsetsid sleep 1000 &"));
    let _dispatcher = world.dispatcher(&[]);
    let _observer = world.observer(&[&repository], &[]);
    let runner = world.runner("w1", &[]);
    let build = world.expect(&first, "passed");
    let log = world.log_of(&build, "test");
    let (mode, rest) = log.split_once('\n').unwrap();
    let directory = rest.lines().next().unwrap();
    assert_eq!(mode, "mode 700", "{log}");
    assert!(directory.len() <= 48, "a socket must fit: {directory}");
    assert!(is_gone(directory), "before the end is told");

    let wait = format!("{LEAVE}\n{}\n{}", begun.add("$SURVEIL_BUILD"), never.wait());
    let second = repository.commit_script(&wait);
    begun.reaches(1);
    assert!(!is_gone(directory));
    world.surveil(&["cancel", "b2"]).ok();
    until("the cancelled attempt's directory is gone", || is_gone(directory));
    let cancelled = world.expect(&second, "cancelled");
    assert!(world.log_of(&cancelled, "test").starts_with("mode 700\n"), "it began with an empty directory");

    let third = repository.commit_script(&format!("# again\n[ $SURVEIL_ATTEMPT = 2 ] || {{\n{wait}\n}}\n{LEAVE}"));
    begun.reaches(2);
    runner.kill();
    assert!(!is_gone(directory));
    let _runner = world.runner("w1", &[]);
    let build = world.expect(&third, "passed");
    assert!(world.log_of(&build, "test").starts_with("mode 700\n"));
    assert!(is_gone(directory));

    // By hand it is the same.
    repository.commit_script(LEAVE);
    let said = world.surveil_in(&repository.path, &["run"]).ok();
    assert!(said.contains("\nmode 700\n"), "{said}");
    let directory = said.lines().find(|line| line.starts_with('/')).unwrap();
    assert!(!Path::new(directory).parent().unwrap().exists(), "{directory}");
}

#[test]
fn an_interrupted_local_run_leaves_no_temporary_directory() {
    let world = World::new();
    let begun = world.tally("begun");
    let repository = world.repository("app");
    repository.commit_script(&format!("{LEAVE}\n{}\nsleep 1000", begun.add("$TMPDIR")));
    let mut run = world.start("run", &["run", "--grace=300ms", "--dir", text(&repository.path)]);
    let directory = begun.reaches(1).remove(0);
    run.signal_group(Signal::INT);
    assert_eq!(run.exit_code(), 130);
    assert!(!Path::new(&directory).parent().unwrap().exists());
    // A killed one leaves it to the next.
    let run = world.start("run", &["run", "--grace=300ms", "--dir", text(&repository.path)]);
    let directory = begun.reaches(2).remove(1);
    run.kill();
    until("nothing of it goes on", || world.processes(&["SURVEIL_TASK=test"]).is_empty());
    world.surveil_in(&world.path("home"), &["run"]).error(2);
    repository.commit_script("true");
    world.surveil_in(&repository.path, &["run"]).ok();
    assert!(!Path::new(&directory).parent().unwrap().exists());
}
