//! Questions and reports that make no sense, or come at an odd moment: each gets the one answer that the protocol
//! document names, and harms nobody else.

use std::process::Command;

use serde_json::{Value, json};

use crate::harness::{PATIENCE, Process, Wire, World, hello, job, now, until};

/// A runner that has registered with one slot.
fn registered(world: &World, name: &str) -> Wire {
    let mut runner = Wire::quiet(world, "runner", name);
    assert_eq!(runner.ask(&json!({"type": "register", "slots": 1, "isolation": "subreaper"}))["type"], "registered");
    runner
}

/// A dispatcher, an observer of one commit, and a runner that holds its only attempt.
fn leased(world: &World) -> ([Process; 2], String, Wire, u64) {
    let repository = world.repository("app");
    let commit = repository.commit_script("true");
    let roles = [world.dispatcher(&[]), world.observer(&[&repository], &[])];
    let mut runner = registered(world, "w1");
    let attempt = runner.hear()["attempt"].as_u64().unwrap();
    (roles, commit, runner, attempt)
}

fn results(attempt: u64, more: Value) -> Value {
    let mut results = json!({"type": "results", "attempt": attempt});
    results.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    results
}

/// S6, S16: such a result ends the session, and the attempt goes on: its runner may come back with the true result.
/// Sabotage tried: a missing reason is made up, as it was; the attempt is lost.
#[test]
fn a_result_that_contradicts_itself_is_malformed_and_costs_no_attempt() {
    let world = World::new();
    let (_roles, commit, mut runner, attempt) = leased(&world);
    for wrong in [
        json!({"outcome": "lost"}),
        json!({"outcome": "could_not_start", "reason": ""}),
        json!({"outcome": "failed", "code": 0}),
        json!({"outcome": "failed", "code": 256}),
        json!({"outcome": "killed", "code": 999}),
        json!({"outcome": "passed", "code": 1}),
        json!({"outcome": "passed", "log_bytes": 0, "log_crc32": 7}),
    ] {
        runner.say(&results(attempt, wrong));
        let why = runner.expect_refusal("malformed");
        assert!(!why.contains("docs/protocol.md"), "it says what is wrong: {why}");
        runner = Wire::quiet(&world, "runner", "w1");
        let register = json!({"type": "register", "slots": 1, "isolation": "subreaper", "holding": [attempt]});
        let answer = runner.ask(&register);
        assert_eq!(answer["logs"], json!([{"attempt": attempt, "offset": 0}]), "{answer}");
    }
    let true_one = results(attempt, json!({"outcome": "failed", "code": 255}));
    assert_eq!(runner.ask(&true_one), json!({"type": "ok", "attempt": attempt}));
    let build = world.expect(&commit, "failed");
    assert_eq!(job(&build, "test").attempts.len(), 1);
}

/// S16: a result is answered once, however it differs from the log. Sabotage tried: two acknowledgements of offset 0,
/// as it was; the second is heard in place of the answer to the piece.
#[test]
fn a_result_that_does_not_fit_its_log_gets_one_answer() {
    let world = World::new();
    let (_roles, commit, mut runner, attempt) = leased(&world);
    let ack = |offset: u64| json!({"type": "log_ack", "attempt": attempt, "offset": offset});
    let piece = |runner: &mut Wire, offset: u64, bytes: &[u8]| {
        runner.say(&json!({"type": "log", "attempt": attempt, "offset": offset, "bytes": bytes.len()}));
        runner.send(bytes).unwrap();
    };
    let right = json!({"outcome": "passed", "log_bytes": 7, "log_crc32": 0x312A_6AA6_u32});
    for wrong in [
        json!({"outcome": "passed", "log_bytes": 7, "log_crc32": 1}),
        json!({"outcome": "passed", "log_bytes": 3, "log_crc32": 1}),
    ] {
        piece(&mut runner, 0, b"abcdefg");
        assert_eq!(runner.hear(), ack(7));
        assert_eq!(runner.ask(&results(attempt, wrong)), ack(0));
    }
    piece(&mut runner, 0, b"abc");
    assert_eq!(runner.hear(), ack(3));
    assert_eq!(runner.ask(&results(attempt, right.clone())), ack(3), "the rest is missing");
    piece(&mut runner, 3, b"defg");
    assert_eq!(runner.hear(), ack(7));
    assert_eq!(runner.ask(&results(attempt, right)), json!({"type": "ok", "attempt": attempt}));
    assert_eq!(world.log_of(&world.expect(&commit, "passed"), "test"), "abcdefg");
}

/// S7, S27. Sabotage tried: whoever names a finished attempt is told that its result is recorded, as it was.
#[test]
fn a_finished_attempt_is_stale_for_every_other_runner_also_after_a_restart() {
    let world = World::new();
    let ([dispatcher, observer], commit, mut runner, attempt) = leased(&world);
    let passed = results(attempt, json!({"outcome": "passed"}));
    let (ok, stale) = (json!({"type": "ok", "attempt": attempt}), json!({"type": "stale", "attempt": attempt}));
    assert_eq!((runner.ask(&passed), runner.ask(&passed)), (ok.clone(), ok.clone()));
    let lie = results(attempt, json!({"outcome": "failed", "code": 1}));
    let mut thief = registered(&world, "thief");
    assert_eq!(thief.ask(&lie), stale);
    let ping = json!({"type": "ping", "holding": [attempt]});
    assert_eq!(thief.ask(&ping), json!({"type": "ack", "gone": [attempt]}));
    drop((observer, runner, thief));
    dispatcher.kill();
    let _dispatcher = world.dispatcher(&[]);
    assert_eq!(registered(&world, "thief").ask(&lie), stale);
    assert_eq!(registered(&world, "w1").ask(&passed), ok);
    world.expect(&commit, "passed");
}

/// S23.
#[test]
fn a_log_piece_beyond_the_limit_is_answered_before_the_session_ends() {
    let world = World::new();
    let (_roles, _, mut runner, attempt) = leased(&world);
    runner.say(&json!({"type": "log", "attempt": attempt, "offset": 0, "bytes": 1_048_577}));
    let why = runner.expect_refusal("malformed");
    assert!(why.starts_with("a payload has at most 1048576 bytes, and not 1048577"), "{why}");
}

/// S52: questions of an operator that come twice, behind one that is still open, or with odd values.
#[test]
fn every_question_of_an_operator_gets_its_answer() {
    let world = World::new();
    let (_roles, commit, mut runner, attempt) = leased(&world);
    let mut operator = Wire::greet(&world, "operator", "odd");
    for _ in 0..2 {
        assert_eq!(operator.ask(&json!({"type": "watch"})), json!({"type": "ok", "text": "watching"}));
    }
    let mut operator = Wire::greet(&world, "operator", "odd");
    runner.say(&json!({"type": "log", "attempt": attempt, "offset": 0, "bytes": 3}));
    runner.send(b"abc").unwrap();
    assert_eq!(runner.hear()["offset"], 3);
    let follow = |number: u64, offset: u64| json!({"type": "logs", "build": "1", "task": "test", "number": number, "offset": offset, "follow": true});
    // The next question ends the following, and is answered itself. Sabotage tried: it is dropped, as it was.
    assert_eq!(operator.ask(&follow(1, 0))["bytes"], 3);
    operator.skip(3);
    operator.say(&json!({"type": "runners"}));
    let end = json!({"type": "log_end", "build": 1, "task": "test", "number": 1});
    assert_eq!((operator.hear(), operator.hear()["type"].clone()), (end, json!("runners")));
    // The same while the attempt that is asked for is not there yet.
    operator.say(&follow(2, 0));
    operator.say(&follow(1, 3));
    operator.say(&json!({"type": "show", "build": "1"}));
    let refused = operator.hear();
    assert_eq!((&refused["code"], &refused["reason_code"]), (&json!("not_found"), &json!("no_attempt")), "{refused}");
    assert_eq!((operator.hear()["type"].clone(), operator.hear()["type"].clone()), (json!("log_end"), json!("build")));

    assert_eq!(runner.ask(&results(attempt, json!({"outcome": "passed"})))["type"], "ok");
    world.expect(&commit, "passed");
    for offset in [3_u64, 4, i64::MAX as u64 - 1, i64::MAX as u64, u64::MAX] {
        let end = operator.ask(&follow(1, offset));
        assert_eq!((&end["type"], &end["outcome"]), (&json!("log_end"), &json!("passed")), "{offset}: {end}");
    }
    for build in ["+1", "b+1", "#+1", "01", "0"] {
        assert_eq!(operator.ask(&json!({"type": "show", "build": build}))["code"], "not_found", "{build}");
    }
}

/// S27, S42: one odd ref or question costs its own announcement and nothing else.
#[test]
fn an_observer_is_refused_what_makes_no_sense_and_keeps_its_session() {
    let world = World::new();
    let _dispatcher = world.dispatcher(&[]);
    let commit = "4f2a91c6b0d1e2f3a4b5c6d7e8f9010203040506";
    let mut observer = Wire::greet(&world, "observer", "odd");
    let status = |source: &str| json!({"type": "status", "repo": "app", "source": source});
    assert_eq!(observer.ask(&status("here:/app"))["type"], "heads");
    for branch in ["a..b", "a\0b", "a\nb", "~", "HEAD", "x.lock", "", &"x".repeat(4097)] {
        let refused = observer.ask(&json!({"type": "dispatch", "repo": "app", "branch": branch, "commit": commit}));
        assert_eq!(
            (&refused["code"], &refused["reason_code"]),
            (&json!("refused"), &json!("branch_name")),
            "{refused}"
        );
        let gone = json!({"type": "gone", "repo": "app", "branch": branch, "before": commit});
        assert_eq!(observer.ask(&gone)["type"], "ok", "an earlier version may have accepted it");
    }
    let fine = json!({"type": "dispatch", "repo": "app", "branch": "a/b", "commit": commit});
    assert_eq!(observer.ask(&fine)["type"], "need_source");
    // Nobody has asked for this commit.
    observer.say(&json!({"type": "supply", "repo": "app", "commit": commit}));
    observer.expect_refusal("not_allowed");
    let mut observer = Wire::greet(&world, "observer", "odd");
    assert_eq!(observer.ask(&status("here:/app"))["type"], "heads");
    observer.say(&status("here:/other"));
    observer.expect_refusal("name_taken");
    let mut observer = Wire::greet(&world, "observer", "odd");
    observer.say(&status(&"x".repeat(8193)));
    observer.expect_refusal("malformed");
}

/// S2: a ref is known by its full name, and an observer of an earlier version knows of branches only.
#[test]
fn a_branch_that_is_called_like_a_tag_is_not_the_tag() {
    let world = World::new();
    let repository = world.repository("app");
    let commit = repository.commit_script("true");
    let _dispatcher = world.dispatcher(&[]);
    let observing = world.observer(&[&repository], &[]);
    world.build_that("of main", |build| build.commit == commit);
    drop(observing);
    let status = json!({"type": "status", "repo": "app", "source": "here:/app"});
    let mut new = hello(&world, "observer", "new");
    new["takes_refs"] = json!(true);
    let greet = || {
        let mut observer = Wire::dial(&world);
        assert_eq!(observer.ask(&new)["type"], "welcome");
        observer
    };
    // Until the dispatcher has noticed that the first observer is gone, the name is taken.
    until("the name is free", || greet().ask(&status)["type"] == "heads");
    let mut observer = greet();
    let heads = observer.ask(&status);
    assert_eq!(heads["heads"], json!([{"branch": "main", "commit": commit}]));
    let name = "refs/tags/v1";
    let dispatch = |change: Value| {
        let mut message = json!({"type": "dispatch", "repo": "app", "branch": name, "commit": commit});
        message.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
        message
    };
    let tag = observer.ask(&dispatch(json!({"ref": name, "trigger": "tag"})));
    assert_eq!((&tag["type"], &tag["ref"], &tag["build"]), (&json!("ok"), &json!(name), &json!(2)), "{tag}");
    let branch = observer.ask(&dispatch(json!({})));
    assert_eq!((&branch["type"], branch.get("ref"), &branch["build"]), (&json!("ok"), None, &json!(3)), "{branch}");
    let pull = observer.ask(&dispatch(json!({"ref": "refs/pull/1/head", "trigger": "ref"})));
    assert_eq!(pull["build"], 4, "{pull}");
    let again = observer.ask(&dispatch(json!({"ref": name, "trigger": "tag"})));
    assert_eq!(again["build"], 2, "{again}");
    for odd in ["v1", "refs/tags/a..b", "refs/tags/", &format!("refs/tags/{}", "x".repeat(4096))] {
        let refused = observer.ask(&dispatch(json!({"ref": odd, "trigger": "tag"})));
        assert_eq!(refused["reason_code"], "ref_name", "{refused}");
    }
    let reports: Vec<_> =
        world.builds().into_iter().map(|build| (build.build, build.trigger, build.reference)).collect();
    let of = |number, trigger: &str, reference: &str| (number, trigger.to_owned(), reference.to_owned());
    assert_eq!(
        reports,
        [
            of(1, "push", "refs/heads/main"),
            of(2, "tag", name),
            of(3, "push", "refs/heads/refs/tags/v1"),
            of(4, "ref", "refs/pull/1/head"),
        ]
    );
    let mut observer = Wire::greet(&world, "observer", "old");
    let heads = observer.ask(&status);
    let branches = heads["heads"].as_array().unwrap().iter().map(|head| head["branch"].as_str().unwrap());
    assert_eq!(branches.collect::<Vec<_>>(), ["main", "refs/tags/v1"], "{heads}");
    // The branch keeps its build when the tag is deleted.
    let mut observer = greet();
    assert_eq!(observer.ask(&status)["heads"].as_array().unwrap().len(), 4);
    let gone = json!({"type": "gone", "repo": "app", "branch": name, "ref": name, "before": commit});
    assert_eq!(observer.ask(&gone)["type"], "ok");
    observer.say(&dispatch(json!({"ref": name})));
    observer.expect_refusal("malformed");
    let mut observer = greet();
    assert_eq!(observer.ask(&status)["heads"].as_array().unwrap().len(), 3);
}

/// The rules of branch names are git's own.
#[test]
fn a_branch_is_allowed_if_git_allows_its_ref() {
    let parts = [
        "a", ".", "..", "/", "@", "{", "@{", "lock", ".lock", "~", "^", ":", "?", "*", "[", "\\", " ", "\u{7f}", "é",
        "-",
    ];
    let names = parts.iter().flat_map(|first| parts.iter().map(move |second| format!("{first}{second}")));
    let names = names.flat_map(|name| [format!("x{name}"), format!("{name}x"), name]);
    for name in names.step_by(3).chain(parts.map(str::to_owned)) {
        let mut git = Command::new("git");
        let allows = git.args(["check-ref-format", &format!("refs/heads/{name}")]).status().unwrap().success();
        assert_eq!(surveil::model::BranchName::is_allowed(&name), allows, "{name:?}");
    }
}

#[test]
fn a_peer_that_cannot_be_called_back_is_not_welcomed() {
    let world = World::new();
    let _dispatcher = world.dispatcher(&[]);
    let refused = |role: &str, change: fn(&mut Value), code: &str| {
        let mut message = hello(&world, role, "w1");
        message["listens_at"] = json!("127.0.0.1:9001");
        change(&mut message);
        let mut wire = Wire::dial(&world);
        wire.say(&message);
        wire.expect_refusal(code)
    };
    refused("runner", |_| {}, "not_allowed");
    refused("operator", |hello| hello["callback_key"] = json!("key"), "not_allowed");
    let nowhere: fn(&mut Value) =
        |hello| (hello["callback_key"], hello["listens_at"]) = (json!("key"), json!("nowhere"));
    refused("runner", nowhere, "malformed");
}

/// A report is of one moment, so a build that finishes while it is made stands in it once. Sabotage tried: no read
/// transaction; a build is there as an unfinished and as a finished one.
#[test]
fn a_status_while_builds_finish_has_each_of_them_once() {
    const BUILDS: usize = 80;
    let world = World::new();
    let repository = world.repository("app");
    repository.commit_script("true");
    let _dispatcher = world.dispatcher(&[]);
    let observer = world.observer(&[&repository], &["--branch=none", "--tag=*", "--interval=1h"]);
    observer.says("first look");
    for number in 0..BUILDS {
        repository.git(&["tag", &format!("v{number}")]);
    }
    world.surveil(&["wake", "app"]).ok();
    let mut operator = Wire::greet(&world, "operator", "test");
    let _runner = world.runner("w1", &[]);
    let deadline = now() + PATIENCE;
    let mut passed = 0;
    while passed < BUILDS {
        assert!(now() < deadline, "{passed} builds have passed");
        let status = operator.ask(&json!({"type": "status", "limit": 1000}));
        let builds = status["builds"].as_array().unwrap();
        let mut numbers: Vec<_> = builds.iter().map(|build| build["build"].as_u64().unwrap()).collect();
        numbers.sort_unstable();
        assert_eq!(numbers, (1..=builds.len() as u64).collect::<Vec<_>>());
        passed = builds.iter().filter(|build| build["state"] == "passed").count();
    }
}
