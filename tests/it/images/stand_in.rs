//! docker and apptainer, by a stand-in that records how it is called, and executes scripts on this machine itself. No
//! daemon can be had on the machines that test Surveil, and apptainer is in few distributions. A stand-in also hangs
//! when a test wants that, and it is podman where its limits cannot be enforced.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use rustix::process::Signal;

use crate::harness::{World, job, now, text, until};

/// Calls itself docker, podman or apptainer. Words without spaces are enough here.
const TOOL: &str = r#"#!/bin/sh
tool=$(basename "$0")
echo "$tool $*" >> RECORD
digest=$(printf '%064d' 7)
case "$tool $1" in
  "docker version") echo 27.0 ;;
  "docker rm") [ ! -e HANGING ] || exec sleep 1000 ;;
  "docker ps") [ ! -p GATE ] || { read -r opened < GATE; echo "docker listed" >> RECORD; } ;;
  "docker image" | "podman image")
    case "$*" in *hangs*) exec sleep 1000 ;; esac
    [ -e STATE ] && echo "example.org/app@sha256:$digest $4" ;;
  "docker exec") ;;
  "docker pull" | "podman pull" | "apptainer pull")
    case "$*" in *slow-pull*) exec sleep 1000 ;; *gone*) echo "Error: manifest unknown" >&2; exit 1 ;; esac
    : > STATE
    [ "$tool" != apptainer ] || echo image > "$3" ;;
  "docker run" | "podman run" | "apptainer exec")
    case "$*" in *stuck* | *served*) exec sleep 1000 ;; *refused*) echo "no such runtime" >&2; exit 125 ;; esac
    for script; do :; done
    exec /bin/sh "$script" ;;
esac
"#;

/// A world with the stand-in in PATH. Returns also the flag with the templates, which name it.
pub(super) fn with_stand_in(tool: &str) -> (World, String, std::path::PathBuf) {
    let world = World::new();
    let (bin, record) = (world.path("bin"), world.path("record"));
    fs::create_dir(&bin).unwrap();
    let program = bin.join(tool);
    let body = TOOL.replace("RECORD", text(&record));
    let body = [("STATE", "state"), ("GATE", "gate"), ("HANGING", "hanging")]
        .into_iter()
        .fold(body, |body, (word, name)| body.replace(word, text(&world.path(name))));
    fs::write(&program, body).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    let own = format!("{:?}", text(&program));
    let templates = surveil::config::BUILT_IN_IMAGE_TOOLS.replace(&format!("\"{tool}\", "), &format!("{own}, "));
    let file = world.path("images.toml");
    fs::write(&file, templates).unwrap();
    let flag = format!("--image-templates={}", file.display());
    (world, flag, record)
}

#[test]
fn docker_is_called_with_what_the_task_asks_for() {
    let (world, templates, record) = with_stand_in("docker");
    let repository = world.repository("app");
    let _dispatcher = world.dispatcher(&["--max-losses=1"]);
    let _observer = world.observer(&[&repository], &[]);
    let _runner = world.runner("w1", &["--image-tool=docker", &templates, "--slots=1"]);
    let tasks = "[task.test]\nimage = \"app:1\"\nnetwork = false\nrun = \"echo in it; exit 3\"\n\
                 [task.gone]\nimage = \"gone:1\"\npull = \"always\"\nrun = \"true\"\n\
                 [task.refused]\nimage = \"refused:1\"\nrun = \"true\"\n";
    let build = world.finished(&repository.commit_tasks(tasks));
    assert_eq!(job(&build, "test").attempts[0].detail.as_deref(), Some("exit code 3"));
    let log = world.log_of(&build, "test");
    assert!(log.starts_with(&format!("surveil: image app:1 (sha256:{:064}), by docker\nin it\n", 7)), "{log}");
    let why = world.surveil(&["why", &format!("{}/gone", build.build)]).ok();
    assert!(why.contains("docker could not fetch the image gone:1: manifest unknown"), "{why}");
    let refused = job(&build, "refused").attempts[0].detail.as_deref().unwrap_or_default();
    assert!(refused.starts_with("docker did not start the image refused:1 (exit code 125)"), "{refused}");
    assert!(world.log_of(&build, "refused").ends_with("no such runtime\n"));
    let record = fs::read_to_string(record).unwrap();
    let run = record.lines().find(|line| line.starts_with("docker run ") && line.contains("--network=none")).unwrap();
    let own = format!("--user={}:{}", rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
    let label = format!("--label=surveil.work={}", world.path("work-w1").display());
    let objects = format!("--volume={0}:{0}:ro ", world.path("work-w1").join("stores/app.git/objects").display());
    for word in ["--pull=never", "--entrypoint=/bin/sh app:1 ", &own, &label, &objects] {
        assert!(run.contains(word), "{word} in {run}");
    }
    assert!(!run.contains("--memory") && !run.contains("--rm "), "{run}");
    let name = run.split(' ').find_map(|word| word.strip_prefix("--name=")).unwrap();
    assert!(record.contains(&format!("\ndocker rm --force --volumes {name}\n")), "{record}");
    let calls: Vec<&str> = record.lines().filter_map(|line| line.split(' ').nth(1)).collect();
    assert_eq!(calls[..2], ["version", "ps"], "what an earlier runner left is asked for first");
}

#[test]
fn apptainer_is_called_with_a_file_of_the_image() {
    let (world, templates, record) = with_stand_in("apptainer");
    let repository = world.repository("app");
    let _dispatcher = world.dispatcher(&[]);
    let _observer = world.observer(&[&repository], &[]);
    let _runner = world.runner("w1", &["--image-tool=apptainer", &templates, "--grace=300ms"]);
    let tasks = "[task.test]\nimage = \"example.org/app:1\"\nnetwork = false\n\
                 steps = [\"echo A=1 >> $SURVEIL_ENV\", \"echo A is $A; exit 4\"]\n\
                 [task.slow]\nimage = \"example.org/app:1\"\ntimeout = \"300ms\"\nrun = \"sleep 1000\"\n";
    let build = world.finished(&repository.commit_tasks(tasks));
    assert_eq!(job(&build, "test").attempts[0].steps[1].detail.as_deref(), Some("exit code 4"));
    assert!(world.log_of(&build, "test").contains("A is 1\n"));
    assert_eq!(job(&build, "slow").attempts[0].outcome.as_deref(), Some("timed_out"));
    let file = world.path("work-w1").join("images/example.org%2fapp%3a1.sif");
    assert_eq!(fs::read_to_string(&file).unwrap(), "image\n");
    let record = fs::read_to_string(record).unwrap();
    assert!(
        record.contains(&format!("apptainer pull --force {} docker://example.org/app:1\n", file.display())),
        "{record}"
    );
    let run = record.lines().find(|line| line.contains(" exec ") && line.contains("--net --network=none")).unwrap();
    assert!(run.contains(&format!(" {} /bin/sh ", file.display())), "{run}");
}

/// A port of the image is published, and the network of the machine is shared where there is none; no variable and no
/// word of a service can be taken for an option.
#[test]
fn docker_is_called_with_what_the_services_of_a_task_ask_for() {
    let (world, templates, record) = with_stand_in("docker");
    let repository = world.repository("app");
    let _dispatcher = world.dispatcher(&["--max-losses=1"]);
    let _observer = world.observer(&[&repository], &[]);
    let _runner = world.runner("w1", &["--image-tool=docker", &templates, "--slots=1"]);
    let tasks = "[service.db]\nimage = \"served:16\"\nport = 5432\nenv = { A = \"it's --privileged\" }\n\
                 [service.mq]\nimage = \"served:1\"\nrun = [\"mq\", \"--privileged\"]\nready = \"up\"\n\
                 [task.test]\nimage = \"app:1\"\nmemory = \"64MiB\"\nservices = [\"db\", \"mq\"]\nrun = \"echo $SURVEIL_SERVICE_DB_PORT\"\n\
                 [service.bad]\nimage = \"refused:1\"\n[task.bad]\nservices = [\"bad\"]\nrun = \"true\"\n";
    let build = world.finished(&repository.commit_tasks(tasks));
    assert_eq!(job(&build, "test").attempts[0].outcome.as_deref(), Some("passed"), "{}", world.log_of(&build, "test"));
    let log = world.log_of(&build, "test");
    let port = log.lines().last().unwrap();
    let record = fs::read_to_string(record).unwrap();
    let line = |words: &str| {
        let is_its = |line: &&str| line.starts_with("docker run ") && line.contains(words);
        record.lines().find(is_its).unwrap_or_else(|| panic!("{words} in {record}"))
    };
    let [db, mq, task] = [" served:16", " served:1 --privileged", " app:1 /"].map(line);
    for word in [
        &*format!("--publish=127.0.0.1:{port}:5432 "),
        ":ro --env=A=it's --privileged --env=PORT=5432 ",
        "--memory=67108864 ",
    ] {
        assert!(db.contains(word), "{word} in {db}");
    }
    assert!(!db.contains("--network") && !db.contains("--entrypoint") && !db.contains("--workdir"), "{db}");
    for word in ["--network=host ", "--env=SURVEIL_SERVICE_DB_PORT=", "--entrypoint=mq ", "--workdir="] {
        assert!(mq.contains(word), "{word} in {mq}");
    }
    assert!(task.contains("--network=host "), "{task}");
    assert!(record.contains(" /bin/sh -c cd ") && record.contains(" && exec /bin/sh -c -- 'set -e; up'\n"), "{record}");
    let name = db.split(' ').find_map(|word| word.strip_prefix("--name=")).unwrap();
    assert!(record.contains(&format!("\ndocker rm --force --volumes {name}\n")), "{record}");
    let bad = job(&build, "bad").attempts[0].detail.as_deref().unwrap_or_default();
    assert!(bad.starts_with("docker did not start the image refused:1 of the service bad (exit code 125)"), "{bad}");
    assert_eq!(world.surveil(&["logs", "latest", "bad", "--service=bad"]).ok(), "no such runtime\n");
}

/// Apptainer has no containers that can be entered and removed, so its runners offer none as services.
#[test]
fn a_tool_without_containers_offers_no_services() {
    let (world, templates, _) = with_stand_in("apptainer");
    let repository = world.repository("app");
    let _dispatcher = world.dispatcher(&[]);
    let observer = world.observer(&[&repository], &[]);
    let _runner = world.runner("w1", &["--image-tool=apptainer", &templates]);
    world.connected("w1");
    let tasks = "[service.db]\nimage = \"app:1\"\n[task.test]\nservices = [\"db\"]\nrun = \"true\"\n";
    let commit = repository.commit_tasks(tasks);
    observer.says(&format!("{} accepted", &commit[..7]));
    let told = "services in container images (`image` in `[service.NAME]`)";
    until("the job waits", || world.surveil(&["why", "latest/test"]).ok().contains(told));
}

/// Each limit reaches the tool in the tool's own words, and a limit that the task does not set is no word at all.
#[test]
fn each_tool_is_given_the_limits_of_the_task() {
    for (tool, run) in [("podman", "podman run"), ("docker", "docker run"), ("apptainer", "apptainer exec")] {
        let (world, templates, record) = with_stand_in(tool);
        let repository = world.repository("app");
        let _dispatcher = world.dispatcher(&[]);
        let _observer = world.observer(&[&repository], &[]);
        let _runner = world.runner("w1", &[&format!("--image-tool={tool}"), &templates, "--slots=1"]);
        let tasks = "[task.all]\nimage = \"app:1\"\nmemory = \"64MiB\"\nprocesses = 20\ncpus = 1.5\nrun = \"true\"\n\
                     [task.one]\nimage = \"app:1\"\nneeds = [\"all\"]\nprocesses = 7\nrun = \"true\"\n";
        let build = world.expect(&repository.commit_tasks(tasks), "passed");
        let record = fs::read_to_string(record).unwrap();
        let limits: Vec<Vec<&str>> = record
            .lines()
            .filter(|line| line.starts_with(run))
            .map(|line| line.split(' ').filter(|word| is_limit(word)).collect())
            .collect();
        let all = vec!["--memory=67108864", "--pids-limit=20", "--cpus=1.500"];
        assert_eq!(limits, [all, vec!["--pids-limit=7"]], "{record}");
        let execution = job(&build, "all").attempts[0].execution.as_ref().unwrap();
        assert!(execution.not_enforced.is_empty(), "{execution:?}");
    }
}

fn is_limit(word: &str) -> bool {
    ["--memory", "--pids-limit", "--cpus"].iter().any(|limit| word.starts_with(limit))
}

/// A tool that does not answer keeps a slot no longer than the task wants: a cancel ends each of its calls.
#[test]
fn a_cancel_ends_a_tool_that_hangs() {
    let (world, templates, record) = with_stand_in("docker");
    let repository = world.repository("app");
    let _dispatcher = world.dispatcher(&[]);
    let _observer = world.observer(&[&repository], &[]);
    let _runner = world.runner("w1", &["--image-tool=docker", &templates, "--slots=1", "--grace=300ms"]);
    let begun = now();
    for (image, call) in [("hangs:1", "docker image "), ("slow-pull:1", "docker pull "), ("stuck:1", "docker run ")] {
        let commit = repository.commit_tasks(&format!("[task.test]\nimage = \"{image}\"\nrun = \"true\"\n"));
        let is_called = |line: &str| line.starts_with(call) && line.split(' ').any(|word| word == image);
        until(call, || fs::read_to_string(&record).is_ok_and(|record| record.lines().any(is_called)));
        world.surveil(&["cancel", &commit[..10]]).ok();
        assert_eq!(world.finished(&commit).state, "cancelled");
    }
    until("the tool's processes are gone", || world.processes(&["SURVEIL_RUNNER=w1"]).is_empty());
    let commit = repository.commit_tasks("[task.test]\nimage = \"stuck:1\"\ntimeout = \"300ms\"\nrun = \"true\"\n");
    let build = world.finished(&commit);
    assert_eq!(job(&build, "test").attempts[0].outcome.as_deref(), Some("timed_out"));
    assert!(begun.elapsed() < HANGS, "the tool was waited for");
}

/// The task has passed, and that counts: the tool that cannot remove its container is ended, and the slot is free.
#[test]
fn a_tool_that_hangs_behind_a_task_that_passed_keeps_no_slot() {
    let (world, templates, _) = with_stand_in("docker");
    let repository = world.repository("app");
    let _dispatcher = world.dispatcher(&[]);
    let _observer = world.observer(&[&repository], &[]);
    let runner = world.runner("w1", &["--image-tool=docker", &templates, "--slots=2"]);
    fs::write(world.path("hanging"), "").unwrap();
    let tasks = "[task.passes]\nimage = \"app:1\"\nrun = \"echo passed\"\n\
                 [task.fails]\nimage = \"app:1\"\nrun = \"exit 3\"\n\
                 [task.next]\nneeds = [\"passes\"]\nrun = \"true\"\n";
    let commit = repository.commit_tasks(tasks);
    let build = world.finished(&commit);
    for (task, outcome) in [("passes", "passed"), ("fails", "failed"), ("next", "passed")] {
        let attempts = &job(&build, task).attempts;
        assert_eq!((attempts.len(), attempts[0].outcome.as_deref()), (1, Some(outcome)), "{task}");
    }
    assert_eq!(job(&build, "fails").attempts[0].detail.as_deref(), Some("exit code 3"));
    runner.says("docker did not end within 10 s of the command in surveil-");
    until("the tool's processes are gone", || world.processes(&["SURVEIL_RUNNER=w1"]).is_empty());
}

/// Less than the time after which a runner gives up on a tool that does not answer.
const HANGS: Duration = Duration::from_secs(25);

/// S22 does not delay the start: the runner takes tasks while its tool lists what an earlier process left, and an
/// attempt with an image waits for the list, or it would be on it.
#[test]
fn a_runner_registers_before_its_tool_has_listed_containers() {
    let (world, templates, record) = with_stand_in("docker");
    let gate = world.gate("gate");
    let repository = world.repository("app");
    let _dispatcher = world.dispatcher(&[]);
    let _observer = world.observer(&[&repository], &[]);
    let flags = ["--image-tool=docker", &templates, "--slots=2"];
    let runner = world.runner("w1", &flags);
    world.connected("w1");
    let commit = repository.commit_tasks("[task.test]\nimage = \"app:1\"\nrun = \"true\"\n");
    world.build_that("has an attempt", |build| build.jobs.iter().any(|job| !job.attempts.is_empty()));
    world.surveil(&["cancel", &commit[..10]]).ok();
    assert_eq!(world.finished(&commit).state, "cancelled");
    repository.write("more", "");
    let tasks = "[task.plain]\nrun = \"true\"\n[task.test]\nimage = \"app:1\"\nneeds = [\"plain\"]\nrun = \"true\"\n";
    let commit = repository.commit_tasks(tasks);
    let waits = |build: &_| job(build, "test").attempts.len() == 1;
    world.build_that("has an attempt with an image", |build| build.commit == commit && waits(build));
    // An orderly end does not wait for the tool either.
    let begun = now();
    let mut second = world.runner("w2", &flags);
    world.connected("w2");
    second.signal(Signal::TERM);
    assert_eq!(second.exit_code(), 0);
    assert!(begun.elapsed() < HANGS, "the end waited for the tool");
    gate.open();
    world.expect(&commit, "passed");
    let record = fs::read_to_string(record).unwrap();
    let calls: Vec<&str> = record.lines().filter_map(|line| line.split(' ').nth(1)).collect();
    let listed = calls.iter().position(|call| *call == "listed").unwrap();
    assert!(calls[..listed].iter().all(|call| ["version", "ps"].contains(call)), "{record}");
    assert_eq!(calls[listed + 1], "image", "{record}");
    drop(runner);
}

/// The exit code and the text of a tool that is not there.
#[test]
fn a_tool_that_cannot_be_used_is_told_at_the_start() {
    let world = World::new();
    let _dispatcher = world.dispatcher(&[]);
    let file = world.path("images.toml");
    fs::write(&file, "[podman]\nrun = [\"no-such-podman\", \"{image}\", \"{script}\"]\n").unwrap();
    let templates = format!("--image-templates={}", file.display());
    let (mut runner, text) =
        (world.runner("w1", &["--image-tool=podman", &templates]), "there is no program no-such-podman");
    assert_eq!(runner.exit_code(), 7);
    runner.says(text);
    fs::write(&file, "[podman]\nrun = [\"podman\", \"{imgae}\"]\n").unwrap();
    let mut runner = world.runner("w2", &[&templates]);
    assert_eq!(runner.exit_code(), 2);
    runner.says("has the placeholder {imgae}");
}
