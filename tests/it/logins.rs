//! S39: people log in at a dispatcher, give orders without flags from then on, and act within their role.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use serde_json::Value;

use crate::harness::{Done, World, now, until};

/// A `surveil` command of a user who has nothing of the dispatcher's but what is pasted.
fn of_user(world: &World, user: &str, arguments: &[&str]) -> Command {
    let mut command = world.command(arguments);
    for variable in ["SURVEIL_DISPATCH", "SURVEIL_DATA", "SURVEIL_PIN"] {
        command.env_remove(variable);
    }
    command.env("HOME", world.path(user));
    command
}

#[track_caller]
fn types(world: &World, user: &str, arguments: &[&str]) -> Done {
    world.run(of_user(world, user, arguments))
}

/// The line that `surveil token create` prints for that role and name, without the program.
#[track_caller]
fn pasted(world: &World, role: &str, name: &str) -> Vec<String> {
    let said = world.surveil(&["token", "create", "--role", role, "--name", name]).ok();
    let line = said.lines().nth(1).unwrap().trim();
    line.split_whitespace().skip(1).map(str::to_owned).collect()
}

#[test]
fn a_user_logs_in_with_one_pasted_line_and_commands_need_no_flags() {
    let world = World::new();
    let dispatcher = world.dispatcher(&[]);
    assert!(types(&world, "alice", &["login"]).ok().contains("there is no login"));
    let line = pasted(&world, "reader", "alice");
    assert_eq!(line[..2], ["login".to_owned(), world.address().to_string()]);
    let words: Vec<&str> = line.iter().map(String::as_str).collect();
    let said = types(&world, "alice", &words).ok();
    assert!(said.contains("as alice, with the role reader"), "{said}");

    let name = format!("{}-{}", world.address().ip(), world.address().port());
    let file = world.path("alice/.config/surveil/logins").join(&name);
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    assert!(types(&world, "alice", &["status"]).ok().contains("no builds"));
    assert!(types(&world, "alice", &["status", "--dispatch", &name]).ok().contains("no builds"));
    let address = world.address().to_string();
    assert!(types(&world, "alice", &["status", "--dispatch", &address]).ok().contains("no builds"));
    assert!(types(&world, "alice", &["status", "--dispatch=nobody"]).error(2).contains("no login has the name nobody"));
    let listed: Value = serde_json::from_str(&types(&world, "alice", &["login", "--json"]).ok()).unwrap();
    assert_eq!((&listed["logins"][0]["user"], &listed["logins"][0]["default"]), (&"alice".into(), &true.into()));

    // The same line does no harm, and another one does not replace the login.
    types(&world, "alice", &words).ok();
    let other = pasted(&world, "member", "alice2");
    let other: Vec<&str> = other.iter().map(String::as_str).collect();
    assert!(types(&world, "alice", &other).error(2).contains("surveil logout"));
    types(&world, "alice", &[&other[..], &["--name=second"]].concat()).ok();
    assert!(types(&world, "alice", &["drain", "w1"]).error(7).contains("alice2 is a member"), "the last login counts");
    types(&world, "alice", &["login", "--default", &name]).ok();
    assert!(
        types(&world, "alice", &["drain", "w1"]).error(7).contains("alice is a reader, and this needs the role admin")
    );

    let said = types(&world, "alice", &["logout"]).ok();
    assert!(
        said.contains(&format!("logged out of {name}: the credential ")) && said.ends_with(" is revoked\n"),
        "{said}"
    );
    assert!(!file.exists());
    let rows: Value = serde_json::from_str(&world.surveil(&["token", "list", "--json"]).ok()).unwrap();
    let ended = rows["tokens"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|row| row["kind"] == "credential" && row["state"] == "revoked");
    assert_eq!(ended.count(), 1);
    assert!(types(&world, "alice", &["logout"]).error(2).contains("there is no default login"));
    drop(dispatcher);
    let away = types(&world, "alice", &["logout", "second"]);
    assert!(away.stderr.contains("still valid at the dispatcher") && away.stderr.contains("surveil token revoke"));
    assert!(away.ok().contains("is deleted here"));
    assert!(types(&world, "alice", &["login"]).ok().contains("there is no login"));
}

#[test]
fn a_login_that_cannot_be_used_says_why_and_what_to_do() {
    let world = World::new();
    let repository = world.repository("app");
    let commit = repository.commit_tasks("[task.t]\nrun = \"true\"\nlabels = [\"nowhere\"]\n");
    let dispatcher = world.dispatcher(&[]);
    let _observer = world.observer(&[&repository], &[]);
    world.build_that("the build", |build| build.commit == commit);
    let line = pasted(&world, "reader", "alice");
    let (address, token) = (line[1].as_str(), line[3].as_str());
    let (secret, pin) = token.rsplit_once('.').unwrap();
    let wrong = format!("{secret}.{}", if pin.starts_with('0') { "1" } else { "0" }.repeat(64));
    let refused = types(&world, "alice", &["login", address, "--join", &wrong]).error(7);
    assert!(refused.contains("another dispatcher answers"), "{refused}");
    assert!(types(&world, "alice", &["login", address]).error(2).contains("--join"));
    let runner = world.surveil(&["token", "create", "--role=runner", "--json"]).ok();
    let runner: Value = serde_json::from_str(&runner).unwrap();
    let refused = types(&world, "alice", &["login", address, "--join", runner["token"].as_str().unwrap()]).error(7);
    assert!(refused.contains("is for the role runner, and not for an operator"), "{refused}");
    assert!(types(&world, "alice", &["login"]).ok().contains("there is no login"), "a refused login is none");

    types(&world, "alice", &["login", address, "--join", token]).ok();
    assert!(types(&world, "bob", &["login", address, "--join", token]).error(7).contains("is used up"));
    let id = token.split('.').nth(1).unwrap();
    let watching = world.start_command("watch", of_user(&world, "alice", &["watch"]));
    until("the watch has a session", || {
        let rows: Value = serde_json::from_str(&world.surveil(&["token", "list", "--json"]).ok()).unwrap();
        rows["tokens"].as_array().unwrap().iter().any(|row| row["sessions"] == 2)
    });
    let began = now();
    world.surveil(&["token", "revoke", id]).ok();
    let said = watching.finish_with(7);
    assert!(began.elapsed().as_millis() < 1000, "{:?}", began.elapsed());
    assert!(said.contains("was revoked") && said.contains("surveil logout"), "{said}");
    let refused = types(&world, "alice", &["status"]).error(7);
    assert!(refused.contains("was revoked") && refused.contains("surveil logout"), "{refused}");
    drop(dispatcher);
    let away = types(&world, "alice", &["status"]).error(5);
    assert!(away.contains("the dispatcher of the login") && away.contains("--dispatch local"), "{away}");
    assert!(types(&world, "alice", &["logout"]).ok().contains("is deleted here"));
}
