//! S39: another machine joins with one pasted line, has a credential of its own from then on, and acts within it.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use serde_json::{Value, json};

use crate::harness::{Process, Wire, World, job, now, until};

/// The join token that `surveil token create` prints, with these flags.
#[track_caller]
fn token(world: &World, flags: &[&str]) -> String {
    let arguments = [&["token", "create", "--json"], flags].concat();
    let created: Value = serde_json::from_str(&world.surveil(&arguments).ok()).unwrap();
    created["token"].as_str().unwrap().to_owned()
}

/// The answer of `surveil token list`.
fn tokens(world: &World) -> Vec<Value> {
    let report: Value = serde_json::from_str(&world.surveil(&["token", "list", "--json"]).ok()).unwrap();
    report["tokens"].as_array().unwrap().clone()
}

/// Starts a runner whose machine has nothing of the dispatcher's but what is pasted.
fn runner(world: &World, machine: &str, more: &[&str]) -> Process {
    let (work, data) = (world.path(machine), world.path(&format!("{machine}-data")));
    let work = format!("--work={}", work.display());
    let mut command = world.command(&["runner", &work, "--min-free=1MiB"]);
    // It has the pin of its token.
    command.args(more).env("SURVEIL_DATA", data).env_remove("SURVEIL_PIN");
    world.start_command(machine, command)
}

#[test]
fn a_machine_joins_with_one_pasted_line_and_comes_back_with_its_own_credential() {
    let world = World::new();
    let repository = world.repository("app");
    let commit = repository.commit_tasks("[task.t]\nrun = \"true\"\nlabels = [\"gpu\"]\n");
    let mut dispatcher = world.dispatcher(&[]);
    let line = world.surveil(&["token", "create", "--role=runner", "--label=gpu", "--name=build-3"]).ok();
    let pasted = line.lines().nth(1).unwrap().trim();
    assert!(line.starts_with("Run this on the other machine (token "), "{line}");
    assert!(pasted.starts_with(&format!("surveil runner --dispatch {} --join sv1.", world.address())), "{line}");
    let words: Vec<&str> = pasted.split_whitespace().skip(2).collect();

    let joined = runner(&world, "other", &words);
    joined.says("joined as runner build-3, credential ");
    let _observer = world.observer(&[&repository], &[]);
    let build = world.expect(&commit, "passed");
    assert_eq!(job(&build, "t").attempts[0].runner, "build-3");
    let files: Vec<_> = fs::read_dir(world.path("other/joined")).unwrap().map(|entry| entry.unwrap()).collect();
    assert_eq!(files.len(), 1, "{files:?}");
    assert_eq!(files[0].metadata().unwrap().permissions().mode() & 0o777, 0o600);
    let secret = fs::read_to_string(files[0].path()).unwrap();
    let secret = secret.lines().find_map(|line| line.strip_prefix("secret ")).unwrap().to_owned();

    // Both sides come back. The pasted line may be that of a service, with a token that is spent.
    joined.kill();
    dispatcher.signal(rustix::process::Signal::TERM);
    assert_eq!(dispatcher.exit_code(), 0);
    for file in ["surveil.db", "surveil.db-wal"] {
        let bytes = fs::read(world.data().join(file)).unwrap_or_default();
        assert!(!bytes.windows(64).any(|part| part == secret.as_bytes()), "the store holds a secret");
    }
    let _dispatcher = world.dispatcher(&[]);
    let again = runner(&world, "other", &words);
    again.says("joined before as build-3");
    world.connected("build-3");
    again.kill();
    let dispatch = format!("--dispatch={}", world.address());
    let _again = runner(&world, "other", &[&dispatch]);
    world.connected("build-3");
    let states: Vec<_> = tokens(&world).iter().map(|row| (row["kind"].clone(), row["state"].clone())).collect();
    assert_eq!(states, [(json!("credential"), json!("valid")), (json!("token"), json!("used"))]);
}

#[test]
fn a_revoked_machine_is_gone_within_a_second_and_does_not_come_back() {
    let world = World::new();
    let _dispatcher = world.dispatcher(&[]);
    let token = token(&world, &["--role=runner"]);
    let mut machine = runner(&world, "other", &["--name=w9", "--join", &token]);
    world.connected("w9");
    let id = token.split('.').nth(1).unwrap();
    let began = now();
    let said = world.surveil(&["token", "revoke", id]).ok();
    assert!(said.contains("(runner w9)"), "{said}");
    machine.says("ended: the dispatcher closed it");
    assert!(began.elapsed().as_millis() < 1000, "{:?}", began.elapsed());
    machine.says("was revoked: join with a new one");
    machine.signal(rustix::process::Signal::TERM);
    machine.exit_code();
    let refused = runner(&world, "other", &["--name=w9"]).finish_with(7);
    assert!(refused.contains("was revoked: join with a new one"), "{refused}");
    assert!(world.surveil(&["token", "revoke", id]).ok().contains("was revoked before"));
    assert!(world.surveil(&["token", "revoke", "none"]).error(6).contains("no token or credential has the id none"));
}

#[test]
fn a_token_that_cannot_be_used_is_refused_with_the_reason() {
    let world = World::new();
    let _dispatcher = world.dispatcher(&[]);
    let refused = |machine: &str, more: &[&str]| runner(&world, machine, more).finish_with(7);
    let once = token(&world, &["--role=runner"]);
    let file = world.path("token");
    fs::write(&file, format!("{once}\n")).unwrap();
    let _first = runner(&world, "first", &["--name=w1", &format!("--join-file={}", file.display())]);
    world.connected("w1");
    assert!(refused("second", &["--name=w2", "--join", &once]).contains("is used up"));
    let expired = token(&world, &["--role=runner", "--ttl=1ms"]);
    until("the token expires", || tokens(&world).iter().any(|row| row["state"] == "expired"));
    assert!(refused("second", &["--name=w2", "--join", &expired]).contains("has expired: join with a new one"));
    let observer = token(&world, &["--role=observer", "--repo=app"]);
    let other_role = refused("second", &["--name=w2", "--join", &observer]);
    let text = "is for the role observer, and not for a runner: join with a token of that role \
                (surveil token create --role runner)";
    assert!(other_role.contains(text), "{other_role}");
    let second = token(&world, &["--role=runner"]);
    let taken = refused("second", &["--name=w1", "--join", &second]);
    assert!(taken.contains("the name w1 belongs to the credential"), "{taken}");
    let named = token(&world, &["--role=runner", "--name=w3"]);
    let other_name = refused("second", &["--name=w2", "--join", &named]);
    let text = "is for the name w3, and not for w2: use that name (--name), or join with a token for this one \
                (surveil token create --name)";
    assert!(other_name.contains(text), "{other_name}");
    let revoked = token(&world, &["--role=runner"]);
    world.surveil(&["token", "revoke", revoked.split('.').nth(1).unwrap()]).ok();
    assert!(refused("second", &["--name=w2", "--join", &revoked]).contains("was revoked: join with a new one"));
    // A stranger, who has the id but not the secret, learns nothing about it.
    let stranger = format!("sv1.{}.{}", once.split('.').nth(1).unwrap(), "0".repeat(64));
    let told = refused("second", &["--name=w2", "--join", &stranger]);
    assert!(told.contains("the token is not one of this dispatcher") && !told.contains("used up"), "{told}");
    // Whoever answers without the key of the authority hears no secret, so the token is not spent.
    let elsewhere = format!("{}.{}", second.rsplit_once('.').unwrap().0, "ab".repeat(32));
    let told = refused("second", &["--name=w2", "--join", &elsewhere]);
    assert!(told.contains("is not the one with this pin"), "{told}");
    let cut = runner(&world, "second", &["--join", &once[..40]]).finish_with(2);
    assert!(cut.contains("the token is not whole"), "{cut}");
    assert!(!cut.contains(&once[10..30]), "the error repeats the secret: {cut}");
    // What was refused has spent nothing.
    let _second = runner(&world, "second", &["--name=w2", "--join", &second]);
    world.connected("w2");
}

#[test]
fn a_credential_acts_within_its_name_labels_role_and_repositories() {
    let world = World::new();
    let dispatcher = world.dispatcher(&[]);
    let secret = "5e".repeat(32);
    let join = |token: &str, role: &str, name: &str, secret: &str| {
        let mut wire = Wire::dial(&world);
        let join = json!({"secret": secret, "default_name": name, "hostname": "attic"});
        wire.say(&json!({"type": "hello", "version": 1, "min_version": 1, "role": role, "name": "",
            "incarnation": 1, "token": token, "join": join}));
        let welcome = wire.hear();
        format!("svc1.{}.{secret}", welcome["joined"]["id"].as_str().unwrap())
    };
    let greet = |token: &str, role: &str, name: &str| {
        let mut wire = Wire::dial(&world);
        wire.say(&json!({"type": "hello", "version": 1, "min_version": 1, "role": role, "name": name,
            "incarnation": 1, "token": token}));
        let answer = wire.hear();
        (wire, answer)
    };
    let gpu = token(&world, &["--role=runner", "--label=gpu"]);
    let credential = join(&gpu, "runner", "w1", &secret);
    assert_eq!(join(&gpu, "runner", "w1", &secret), credential, "the answer may be lost, and asked for again");
    let refused = |role: &str, name: &str| {
        let (_, answer) = greet(&credential, role, name);
        (answer["code"].clone(), answer["reason_code"].clone())
    };
    assert_eq!(refused("runner", "w2"), (json!("not_allowed"), json!("token_name")));
    assert_eq!(refused("operator", "w1"), (json!("not_allowed"), json!("token_role")));
    for (labels, outcome) in [
        (json!(["gpu", "deploy"]), "not_allowed"),
        (json!(["hostname=prod"]), "not_allowed"),
        (json!(["gpu", "hostname=attic", "os=linux"]), "registered"),
    ] {
        let (mut wire, welcome) = greet(&credential, "runner", "w1");
        assert_eq!(welcome["type"], "welcome");
        wire.say(&json!({"type": "register", "slots": 1, "isolation": "subreaper", "labels": labels}));
        let answer = wire.hear();
        let word = answer.get("code").unwrap_or(&answer["type"]);
        assert_eq!(word, outcome, "{answer}");
        if outcome == "not_allowed" {
            assert!(answer["text"].as_str().unwrap().contains("it allows gpu"), "{answer}");
        }
    }
    let observer = join(&token(&world, &["--role=observer", "--repo=app"]), "observer", "o", &"6f".repeat(32));
    for (repo, word) in [("app", "heads"), ("lib", "token_repo")] {
        let (mut wire, _) = greet(&observer, "observer", "anything");
        wire.say(&json!({"type": "status", "repo": repo, "source": "host:/srv/app"}));
        let answer = wire.hear();
        assert_eq!(answer.get("reason_code").unwrap_or(&answer["type"]), word, "{answer}");
    }
    let mut admin = Wire::greet(&world, "operator", "admin");
    admin.say(&json!({"type": "create_token", "role": "reader", "ttl_ms": 60_000, "uses": 1}));
    let created = admin.hear();
    let reader = join(created["token"].as_str().unwrap(), "operator", "ann", &"7a".repeat(32));
    let (mut wire, _) = greet(&reader, "operator", "ann");
    for (order, word) in [
        (json!({"type": "runners"}), "runners"),
        (json!({"type": "drain", "runner": "w1"}), "role"),
        (json!({"type": "cancel", "build": "latest"}), "role"),
        (json!({"type": "create_token", "role": "admin", "ttl_ms": 1000, "uses": 1}), "role"),
        (json!({"type": "runners"}), "runners"),
    ] {
        wire.say(&order);
        let answer = wire.hear();
        assert_eq!(answer.get("reason_code").unwrap_or(&answer["type"]), word, "{answer}");
    }
    assert!(!dispatcher.log().contains(&secret), "the log has a secret");
}
