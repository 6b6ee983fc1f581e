//! Secrets: set sealed, given to the attempts that may have them, masked in all that an attempt leaves, and nowhere
//! else.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use rustix::process::Signal;
use rustix::termios::{LocalModes, tcgetattr};
use serde_json::{Value, json};

use crate::harness::{World, job, until};

/// The value that is looked for everywhere. Nothing else in a test has it.
const CANARY: &str = "canary-4c8f/b7";
/// The second line of a value of several lines.
const LINE: &str = "second-line-of-the-key";

/// Sets a secret by a command that gets the value on its standard input.
#[track_caller]
fn set(world: &World, value: &str, arguments: &[&str]) -> String {
    let arguments: Vec<&str> = ["secret", "set"].iter().chain(arguments).copied().collect();
    let mut command = world.command(&arguments);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(value.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// The files below a directory that have these bytes in them.
fn with_bytes(directory: &Path, wanted: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut left = vec![directory.to_owned()];
    while let Some(directory) = left.pop() {
        for entry in fs::read_dir(&directory).into_iter().flatten().flatten() {
            let path = entry.path();
            let Ok(meta) = path.symlink_metadata() else { continue };
            if meta.is_dir() {
                left.push(path);
            } else if meta.is_file()
                && let Ok(bytes) = fs::read(&path)
                && bytes.windows(wanted.len()).any(|part| part == wanted.as_bytes())
            {
                found.push(path);
            }
        }
    }
    found
}

/// Whether the command line of a process has the text in it.
fn in_a_command_line(wanted: &str) -> bool {
    let processes = fs::read_dir("/proc").unwrap().flatten();
    let lines = processes.filter_map(|entry| fs::read(entry.path().join("cmdline")).ok());
    lines.into_iter().any(|line| line.windows(wanted.len()).any(|part| part == wanted.as_bytes()))
}

/// S47: the value is in the process of the entitled attempt, and in nothing that it, its runner or the dispatcher
/// leaves.
#[test]
fn a_secret_goes_to_the_attempt_that_names_it_and_stays_nowhere_else() {
    let world = World::new();
    let repository = world.repository("app");
    let gate = world.gate("gate");
    let script = format!(
        r#"
echo "plain $TOKEN"
printf %s "$TOKEN" | base64
printf '%s\n' "user:$TOKEN" | base64
for part in $(printf %s "$TOKEN" | sed 's/./& /g'); do printf %s "$part"; done; echo
cat "$KEY"; [ "$(stat -c %a "$KEY")" = 600 ]; case "$KEY" in "$SURVEIL_ROOT"/*) exit 9 ;; esac
[ "$(printf %s "$TOKEN" | wc -c)" = {} ] && echo "all of it is here"
echo "OUT=$TOKEN" >> "$SURVEIL_OUTPUT"
echo "not a variable $TOKEN" >> "$SURVEIL_ENV"
{}"#,
        CANARY.len(),
        gate.wait()
    );
    let tasks = format!(
        "[task.deploy]\nsecrets = ['TOKEN', {{ name = 'KEY', file = true }}]\nallow_failure = true\n\
         steps = [{{ name = 'all', run = '''{script}''' }}]\n\
         [task.after]\nneeds = ['deploy']\nrun = 'echo \"out: $OUT, token: ${{TOKEN-none}}\"'\n\
         [task.gone]\nsecrets = ['TOKEN']\nallow_failure = true\n\
         steps = ['echo \"PATH=/x/$TOKEN:$PATH\" >> \"$SURVEIL_ENV\"', {{ run = ['no-such-program'] }}]\n"
    );
    let dispatcher = world.dispatcher(&[]);
    assert_eq!(
        set(&world, &format!("{CANARY}\n"), &["TOKEN", "--repo=app", "--refs=main"]),
        "set the secret TOKEN of the repository app\n"
    );
    set(&world, &format!("first\n{LINE}\n"), &["KEY", "--tasks=dep*"]);
    let key = world.data().join("secrets.key");
    assert!(key.is_file());
    let commit = repository.commit_tasks(&tasks);
    let _observer = world.observer(&[&repository], &[]);
    let runner = world.runner("w1", &[]);
    until("the task waits", || {
        let logs = world.surveil(&["logs", "latest", "deploy"]);
        String::from_utf8_lossy(&logs.stdout).contains("all of it is here")
    });
    assert!(!in_a_command_line(CANARY));
    assert_eq!(with_bytes(&world.data(), CANARY), Vec::<PathBuf>::new());
    gate.open();
    let build = world.expect(&commit, "passed");

    let log = world.log_of(&build, "deploy");
    assert!(log.contains("plain ***\n***\n"), "{log}");
    // Text that is printed in parts is one stream to the runner.
    assert!(log.contains("\n***\n***\nall of it is here\n"), "{log}");
    assert!(log.contains("line 1 of SURVEIL_ENV is neither NAME=VALUE nor NAME<<WORD: `not a variable ***`"), "{log}");
    assert_eq!(world.log_of(&build, "after"), "out: ***, token: none\n");
    let gone = job(&build, "gone").attempts[0].detail.clone().unwrap_or_default();
    assert!(gone.contains("there is no program no-such-program (looked in /x/***:"), "{gone}");
    let listed = world.surveil(&["secret", "list"]).ok();
    assert!(listed.contains("TOKEN") && listed.contains("b1/deploy") && !listed.contains(CANARY), "{listed}");
    let json: Value = serde_json::from_str(&world.surveil(&["secret", "list", "--format=json"]).ok()).unwrap();
    let key_row = &json["secrets"][0];
    assert_eq!((&key_row["name"], &key_row["tasks"]), (&"KEY".into(), &json!(["dep*"])), "{json}");
    assert!(key_row.get("sealed").is_none() && key_row["used_by"] == "b1/deploy", "{json}");

    drop((dispatcher, runner));
    for value in [CANARY, LINE] {
        for place in [world.data(), world.path("work-w1")] {
            assert_eq!(with_bytes(&place, value), Vec::<PathBuf>::new(), "{value}");
        }
        for (name, said) in world.said() {
            let said = String::from_utf8_lossy(&said);
            assert!(!said.contains(value), "{name}: {said}");
        }
    }
    // A backup has the sealed values, and not the key that opens them.
    let backup = world.path("backup");
    world.surveil(&["backup", backup.to_str().unwrap()]).ok();
    assert_eq!(with_bytes(&backup, fs::read_to_string(&key).unwrap().trim()), Vec::<PathBuf>::new());
}

#[test]
fn a_task_that_may_not_have_a_secret_is_errored_with_the_rule_before_it_runs() {
    let world = World::new();
    let repository = world.repository("app");
    let begun = world.tally("begun");
    let task =
        |name: &str, secret: &str| format!("[task.{name}]\nsecrets = ['{secret}']\nrun = '''{}'''\n", begun.add(name));
    let tasks = ["UNKNOWN", "OTHER_REF", "OTHER_TASK", "LABELLED", "ELSEWHERE", "FITS"]
        .map(|secret| task(&secret.to_lowercase().replace('_', "-"), secret));
    let _dispatcher = world.dispatcher(&[]);
    for (name, rule) in [
        ("OTHER_REF", "--refs=release/*"),
        ("OTHER_TASK", "--tasks=deploy"),
        ("LABELLED", "--runner-label=deploy"),
        ("ELSEWHERE", "--repo=lib"),
        ("FITS", "--refs=main"),
    ] {
        set(&world, CANARY, &[name, rule]);
    }
    let commit = repository.commit_tasks(&tasks.concat());
    let _observer = world.observer(&[&repository], &["--branch=*"]);
    let _runner = world.runner("w1", &["--label=deploy"]);
    let build = world.expect(&commit, "errored");
    for (task, why) in [
        ("unknown", "the secret UNKNOWN: there is none of that name for this repository"),
        ("other-ref", "the secret OTHER_REF: its rule allows the refs release/*, and this build is of main"),
        ("other-task", "the secret OTHER_TASK: its rule allows the tasks deploy"),
        // A label that a runner only claims is not enough.
        ("labelled", "asks for a runner whose credential has the label deploy, and that of w1 has not"),
        ("elsewhere", "the secret ELSEWHERE: there is none of that name for this repository"),
    ] {
        let job = job(&build, task);
        assert_eq!((job.state.as_str(), job.reason_code.as_deref()), ("errored", Some("secret_denied")), "{task}");
        assert!(job.detail.as_deref().unwrap().contains(why), "{:?}", job.detail);
        assert!(world.surveil(&["why", &format!("latest/{task}")]).ok().contains(why), "{task}");
    }
    assert_eq!(job(&build, "fits").state, "passed");
    assert_eq!(begun.lines(), ["fits"]);

    // The same commit on a branch that is not trusted.
    repository.git(&["update-ref", "refs/heads/topic", &commit]);
    let untrusted = world.build_that("is untrusted", |build| build.branch == "topic" && build.finished_ms.is_some());
    let detail = job(&untrusted, "fits").detail.clone().unwrap();
    assert!(detail.contains("secrets go to trusted builds only"), "{detail}");
    assert_eq!(begun.lines(), ["fits"]);
}

#[test]
fn an_order_about_secrets_says_what_is_wrong_with_it() {
    let world = World::new();
    let _dispatcher = world.dispatcher(&[]);
    let file = world.path("value");
    let refused = |value: &[u8], more: &[&str], code: i32| {
        fs::write(&file, value).unwrap();
        let path = format!("--file={}", file.display());
        let arguments: Vec<&str> = ["secret", "set"].iter().chain(more).copied().chain([&*path]).collect();
        world.surveil(&arguments).error(code)
    };
    assert!(refused(b"1234567\n", &["A"], 2).contains("fewer than 8 bytes"));
    assert!(refused(&vec![b'x'; 1 << 20], &["A"], 2).contains("at most 64 KiB"));
    assert!(refused(b"", &["A", "--short"], 2).contains("the value is empty"));
    assert!(refused(b"12345678", &["A-B"], 7).contains("`A-B` cannot name a secret"));
    assert!(refused(b"12345678", &["SURVEIL_TOKEN"], 7).contains("cannot name a secret"));
    assert!(refused(b"12345678", &["A", "--refs="], 7).contains("`` matches no branch"));
    let missing = world.surveil(&["secret", "rm", "A"]).error(6);
    assert!(missing.contains("there is no secret A of all repositories"), "{missing}");
    assert_eq!(set(&world, "a b", &["A", "--short"]), "set the secret A\n");
    assert_eq!(set(&world, "12345678", &["A"]), "replaced the secret A\n");
    assert_eq!(world.surveil(&["secret", "rm", "A"]).ok(), "removed the secret A\n");
    assert!(world.surveil(&["secret", "list"]).ok().contains("there are no secrets"));
    // A key that is lost is not replaced while it has secrets.
    set(&world, "12345678", &["B"]);
    fs::remove_file(world.data().join("secrets.key")).unwrap();
    let lost = refused(b"12345678", &["A"], 70);
    assert!(lost.contains("secrets.key, is not there"), "{lost}");
}

#[test]
fn a_local_run_takes_secrets_from_the_users_own_variables_and_masks_them() {
    let world = World::new();
    let repository = world.repository("app");
    repository.commit_tasks(
        "[task.test]\nsecrets = ['TOKEN', { name = 'KEY', file = true }]\nrun = 'echo $TOKEN; cat $KEY'\n",
    );
    let said = world.surveil_in(&repository.path, &["run"]).with_code(3);
    assert!(said.contains("it asks for the secret TOKEN") && said.contains("set the variable TOKEN"), "{said}");
    let mut command = world.command(&["run"]);
    command.current_dir(&repository.path).env("TOKEN", CANARY).env("KEY", LINE);
    let output = command.output().unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success() && said.contains("\n***\n***\n"), "{said}");
}

/// A person who types a value sees what to do and not the value, and keeps a terminal that shows what is typed.
#[test]
fn a_value_that_is_typed_is_asked_for_and_not_shown_whatever_ends_the_command() {
    let world = World::new();
    let _dispatcher = world.dispatcher(&[]);
    for signal in [None, Some(Signal::INT), Some(Signal::TERM)] {
        let (command, mut keyboard) = world.start_at_terminal("set", world.command(&["secret", "set", "TYPED"]), 80);
        command.says("surveil: type the value of TYPED and Enter");
        let has_echo = |keyboard: &fs::File| tcgetattr(keyboard).unwrap().local_modes.contains(LocalModes::ECHO);
        assert!(!has_echo(&keyboard));
        match signal {
            Some(signal) => command.signal(signal),
            // No byte of a value needs to be text.
            None => keyboard.write_all(b"typed \xff canary\n").unwrap(),
        }
        let (code, said) = command.finish();
        let said = String::from_utf8_lossy(&said.stdout).into_owned();
        assert!(has_echo(&keyboard) && !said.contains("canary"), "{said}");
        assert_eq!(code, signal.map_or(0, |signal| 128 + signal.as_raw()), "{said}");
        assert_eq!(said.contains("set the secret TYPED"), signal.is_none(), "{said}");
    }
}
