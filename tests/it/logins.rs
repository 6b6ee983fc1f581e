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

/// Logs a user in with one pasted line.
#[track_caller]
fn log_in(world: &World, role: &str, name: &str) {
    let line = pasted(world, role, name);
    let words: Vec<&str> = line.iter().map(String::as_str).collect();
    types(world, name, &words).ok();
}

/// The answer of `surveil show` or `why` for the owner of the data directory.
#[track_caller]
fn told(world: &World, arguments: &[&str]) -> Value {
    serde_json::from_str(&world.surveil(&[arguments, &["--json"]].concat()).ok()).unwrap()
}

/// Sabotage tried: `cancel` needs only a reader; the person is the one of `hello` also with a credential; a record
/// without the name. Each is found.
#[test]
fn each_role_gives_its_orders_and_no_others_and_every_order_names_who_gave_it() {
    let world = World::new();
    let repository = world.repository("app");
    let commit = repository.commit_tasks(
        "[task.t]\nrun = \"true\"\nlabels = [\"nowhere\"]\n[task.m]\nrun = \"true\"\nmanual = true\nlabels = [\"nowhere\"]\n",
    );
    let mut dispatcher = world.dispatcher(&[]);
    let _observer = world.observer(&[&repository], &[]);
    let build = world.build_that("the build", |build| build.commit == commit);
    let number = format!("b{}", build.build);
    for (role, name) in [("reader", "rita"), ("member", "mike"), ("admin", "anna")] {
        log_in(&world, role, name);
    }
    let by = |name: &str, words: &[&str]| {
        let mut command = of_user(&world, name, words);
        command.current_dir(&repository.path).env("USER", "somebody-else");
        world.run(command)
    };
    let orders: [&[&str]; 6] = [
        &["cancel", &number],
        &["rerun", &number],
        &["start", &number, "m"],
        &["submit"],
        &["try", "--no-wait"],
        &["wake", "app"],
    ];
    let admins: [&[&str]; 4] =
        [&["drain", "w1"], &["resume", "w1"], &["token", "list"], &["token", "create", "--role=admin"]];
    for words in orders.iter().chain(&admins) {
        assert!(by("rita", words).error(7).contains("rita is a reader, and this needs the role "), "{words:?}");
    }
    for words in admins {
        assert!(by("mike", words).error(7).contains("mike is a member, and this needs the role admin"), "{words:?}");
    }
    let seen = told(&world, &["show", &number]);
    assert_eq!((&seen["state"], world.builds().len()), (&"queued".into(), 1), "what was refused has not happened");
    for words in [&["status"][..], &["show", &number], &["why", &number], &["runners"], &["plan"]] {
        by("rita", words).ok();
    }

    by("mike", &["start", &number, "m"]).ok();
    by("anna", &["cancel", &number]).ok();
    by("mike", &["rerun", &number]).ok();
    let local = world.run({
        let mut command = world.command(&["cancel", &number]);
        command.env("USER", "olga");
        command
    });
    local.ok();
    by("mike", &["submit"]).ok();
    repository.write("new", "work");
    by("mike", &["try", "--no-wait"]).ok();
    let created = by("anna", &["token", "create", "--role=admin", "--json"]).ok();
    let created: Value = serde_json::from_str(&created).unwrap();
    let token = created["id"].as_str().unwrap();
    by("anna", &["token", "revoke", token]).ok();
    by("anna", &["wake", "app"]).ok();
    by("anna", &["drain", "w1"]).error(6);

    dispatcher.says("anna ordered: create a token for the role admin");
    // The names are as durable as the orders.
    dispatcher.signal(rustix::process::Signal::TERM);
    assert_eq!(dispatcher.exit_code(), 0);
    let _dispatcher = world.dispatcher(&[]);
    let tokens = told(&world, &["token", "list"]);
    let row = tokens["tokens"].as_array().unwrap().iter().find(|row| row["id"] == token).unwrap();
    assert_eq!((&row["created_by"], &row["revoked_by"]), (&"anna".into(), &"anna".into()), "{row}");
    assert!(row["revoked_ms"].as_i64() >= row["created_ms"].as_i64(), "{row}");
    let listed = world.surveil(&["token", "list"]).ok();
    assert!(listed.lines().any(|line| line.contains(token) && line.contains(" revoked by anna ")), "{listed}");
    let why = told(&world, &["why", &number]);
    let orders = |line: &&Value| line["code"] != "chosen" && !line["by"].is_null();
    let lines: Vec<(&str, &str)> = why["history"]
        .as_array()
        .unwrap()
        .iter()
        .filter(orders)
        .map(|line| (line["text"].as_str().unwrap(), line["by"].as_str().unwrap()))
        .collect();
    for line in [("started by mike", "mike"), ("cancelled by anna", "anna"), ("run again by mike", "mike")] {
        assert!(lines.contains(&line), "{line:?} in {lines:?}");
    }
    assert!(
        lines.iter().any(|(text, by)| text.starts_with("cancelled by olga@") && by.starts_with("olga@")),
        "{lines:?}"
    );
    assert!(!why.to_string().contains("somebody-else"), "{why}");
    let seen = told(&world, &["show", &number]);
    let reason = seen["jobs"][0]["detail"].as_str().unwrap();
    assert!(reason.starts_with("olga@") && reason.ends_with(" cancelled it"), "{seen}");
    let asked: Vec<_> = world.builds().into_iter().map(|build| (build.trigger, build.asked_by)).collect();
    let lines: Vec<_> = seen["orders"].as_array().unwrap().iter().map(|it| (&it["code"], &it["by"])).collect();
    let codes: Vec<_> = lines.iter().map(|(code, _)| code.as_str().unwrap()).collect();
    assert_eq!(codes, ["started", "cancel_asked", "rerun_asked", "cancel_asked"], "each order once");
    assert_eq!((lines[0].1, lines[1].1, lines[2].1), (&"mike".into(), &"anna".into(), &"mike".into()));
    let shown = world.surveil(&["show", &number]).ok();
    assert!(shown.contains("  started by mike, ") && shown.contains("  cancelled by anna, "), "{shown}");
    let submitted = world.builds().into_iter().find(|build| build.trigger == "manual").unwrap().build;
    assert!(world.surveil(&["show", &format!("b{submitted}")]).ok().contains("\n  submitted by mike\n"));
    for kind in ["manual", "try"] {
        assert!(asked.contains(&(kind.to_owned(), Some("mike".to_owned()))), "{asked:?}");
    }
    assert!(asked.contains(&("push".to_owned(), None)), "{asked:?}");
}
