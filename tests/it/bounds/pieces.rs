//! Answers that fit no message: peers that take pieces get all of them, and others are told.

use std::fs;

use serde_json::{Value, json};

use crate::harness::{Wire, World, until};

/// Enough branches of this length for three messages.
const BRANCHES: usize = 500;

/// S3, S23: before, an observer dialled again without end. Sabotage tried: the heads are sent in one message; the
/// observer is told nothing that it can read.
#[test]
fn a_repository_whose_heads_fit_no_message_is_observed_and_listed_whole() {
    let world = World::new();
    let repository = world.repository("app");
    let commit = repository.commit_script("true");
    let long = [&*"x".repeat(240); 11].join("/");
    let mut updates = String::new();
    (0..BRANCHES).for_each(|n| updates += &format!("create refs/heads/{long}/{n:03} {commit}\n"));
    fs::write(world.path("updates"), updates).unwrap();
    let mut update = world.sealed("git");
    update.current_dir(&repository.path).args(["update-ref", "--stdin"]);
    assert!(update.stdin(fs::File::open(world.path("updates")).unwrap()).status().unwrap().success());
    let _dispatcher = world.dispatcher(&[]);
    let observer = world.observer(&[&repository], &["--branch=*"]);
    observer.says(&format!("b{} ", BRANCHES + 1));
    drop(observer);

    // The heads are compared anew, so only what is new is announced.
    let observer = world.observer(&[&repository], &["--branch=*"]);
    let second = repository.commit_script("echo second");
    observer.says(&format!("{} accepted", &second[..7]));
    assert_eq!(observer.log().matches("accepted").count(), 1, "{}", observer.log());

    let status: Value = serde_json::from_str(&world.surveil(&["status", "--format", "json"]).ok()).unwrap();
    assert_eq!(status["builds"].as_array().unwrap().len(), BRANCHES + 2);
    assert!(status["warnings"].to_string().find("too long").is_none(), "{}", status["warnings"]);

    // A program from before there were pieces.
    let mut old = Wire::greet(&world, "observer", "old");
    let place = repository.path.display();
    let refused = old.ask(&json!({"type": "status", "repo": "app", "source": format!("old:{place}")}));
    assert_eq!(refused["code"], "name_taken", "{refused}");
    drop(observer);
    let mut refused = Value::Null;
    until("the name is free again", || {
        old = Wire::greet(&world, "observer", "old");
        refused = old.ask(&json!({"type": "status", "repo": "app", "source": format!("old:{place}")}));
        refused["code"] != "name_taken"
    });
    assert_eq!(refused["code"], "refused", "{refused}");
    assert!(refused["text"].as_str().unwrap().contains("update this observer"), "{refused}");
    let empty = old.ask(&json!({"type": "status", "repo": "another", "source": "old:/another"}));
    assert_eq!((&empty["type"], &empty["heads"]), (&json!("heads"), &json!([])), "{empty}");
    let short = Wire::greet(&world, "operator", "old").ask(&json!({"type": "status", "limit": 1}));
    assert!(short["more"] == true && short["warnings"].to_string().contains("too long for one answer"), "{short}");
}

/// S25: labels are as long as they may be, and there are many runners; and some whose labels are far too long.
#[test]
fn runners_of_many_labels_spoil_no_answer() {
    let world = World::new();
    let dispatcher = world.dispatcher(&[]);
    let labels: Vec<String> = (0..64).map(|n| format!("{n:02}{}", "x".repeat(98))).collect();
    let runners: Vec<Wire> = (0..200)
        .map(|n| {
            let mut wire = Wire::quiet(&world, "runner", &format!("w{n}"));
            let register = json!({"type": "register", "slots": 1, "isolation": "subreaper", "labels": labels});
            assert_eq!(wire.ask(&register)["type"], "registered");
            wire
        })
        .collect();
    let huge: Vec<Wire> = ["one", "two"]
        .into_iter()
        .map(|name| {
            let mut wire = Wire::quiet(&world, "runner", name);
            let labels = ["y".repeat(900_000), "gpu".into()];
            let register = json!({"type": "register", "slots": 1, "isolation": "subreaper", "labels": labels});
            assert_eq!(wire.ask(&register)["type"], "registered");
            wire
        })
        .collect();
    let report: Value = serde_json::from_str(&world.surveil(&["runners", "--format", "json"]).ok()).unwrap();
    let listed = report["runners"].as_array().unwrap();
    assert_eq!(listed.len(), runners.len() + huge.len());
    let of = |name: &str| &listed.iter().find(|runner| runner["name"] == name).unwrap()["labels"];
    assert_eq!((of("w7"), of("one")), (&json!(labels), &json!(["gpu"])));
    assert!(report.get("more").is_none(), "the pieces are joined");
    let status: Value = serde_json::from_str(&world.surveil(&["status", "--format", "json"]).ok()).unwrap();
    assert_eq!(status["runners"].as_array().unwrap().len(), listed.len());
    assert!(world.surveil(&["status"]).ok().contains("202 runners"));
    assert!(dispatcher.log().len() < 100_000, "the log repeats no long text");
}
