//! docker and apptainer, by a stand-in that records how it is called, and executes scripts on this machine itself. No
//! daemon can be had on the machines that test Surveil, and apptainer is in few distributions.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use crate::harness::{World, job};

/// Calls itself docker or apptainer. Words without spaces are enough here.
const TOOL: &str = r#"#!/bin/sh
tool=$(basename "$0")
echo "$tool $*" >> RECORD
digest=$(printf '%064d' 7)
case "$tool $1" in
  "docker version") echo 27.0 ;;
  "docker image") [ -e STATE ] && echo "example.org/app@sha256:$digest $4" ;;
  "docker pull" | "apptainer pull")
    case "$*" in *gone*) echo "Error: manifest unknown" >&2; exit 1 ;; esac
    : > STATE
    [ "$tool" = docker ] || echo image > "$3" ;;
  "docker run" | "apptainer exec")
    case "$*" in *refused*) echo "no such runtime" >&2; exit 125 ;; esac
    for script; do :; done
    exec /bin/sh "$script" ;;
esac
"#;

/// A world with the stand-in in PATH. Returns also the flag with the templates, which name it.
fn with_stand_in(tool: &str) -> (World, String, std::path::PathBuf) {
    let world = World::new();
    let (bin, record) = (world.path("bin"), world.path("record"));
    fs::create_dir(&bin).unwrap();
    let program = bin.join(tool);
    let text = TOOL.replace("RECORD", record.to_str().unwrap()).replace("STATE", world.path("state").to_str().unwrap());
    fs::write(&program, text).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    let own = format!("{:?}", program.to_str().unwrap());
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
    for word in ["--pull=never", "--entrypoint=/bin/sh app:1 ", &own, &label] {
        assert!(run.contains(word), "{word} in {run}");
    }
    assert!(!run.contains("--memory") && !run.contains("--rm "), "{run}");
    let name = run.split(' ').find_map(|word| word.strip_prefix("--name=")).unwrap();
    assert!(record.contains(&format!("\ndocker rm --force {name}\n")), "{record}");
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
