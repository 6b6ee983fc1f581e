//! Files that tasks leave: kept, listed and fetched (S43).

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::harness::{Link, World, job, until};

/// Returns the paths of everything below a directory that is no directory, sorted.
pub(super) fn files(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut open = vec![directory.to_owned()];
    while let Some(at) = open.pop() {
        for entry in fs::read_dir(at).into_iter().flatten() {
            let path = entry.unwrap().path();
            if path.is_dir() && !path.is_symlink() { open.push(path) } else { found.push(path) }
        }
    }
    found.sort();
    found
}

const LEAVES: &str = r#"[task.build]
run = """
mkdir -p dist/sub dist/empty
echo hello > dist/hello
printf '#!/bin/sh\necho run' > dist/sub/run
chmod +x dist/sub/run
ln -s sub/run dist/link
touch -d 2024-01-02T03:04:05Z dist/hello
head -c 3000000 /dev/zero > dist/zeros
echo report > report.xml
"""
artifacts = ["dist/**", "!dist/zeros", { name = "report", paths = ["*.xml"], on = "always", keep_for = "30d" }, { name = "zeros", paths = ["dist/zeros"] }]
"#;

#[test]
fn what_a_task_leaves_is_listed_and_fetched() {
    let world = World::new();
    let repository = world.repository("app");
    let commit = repository.commit_tasks(LEAVES);
    let _roles = world.roles(&[&repository]);
    let build = world.expect(&commit, "passed");
    let log = world.log_of(&build, "build");
    assert!(log.contains("surveil: kept artifact `files`: 4 entries, 24 bytes\n"), "{log}");

    let listed = world.surveil(&["artifacts", "b1"]).ok();
    let rows: Vec<Vec<&str>> = listed.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(rows[0], ["OUTCOME", "TASK", "ARTIFACT", "FILES", "SIZE", "ATTEMPT"]);
    assert_eq!(rows[1], ["passed", "build", "files", "4", "24", "B", "1"]);
    assert_eq!(rows[2][..4], ["passed", "build", "report", "1"]);
    assert_eq!(rows[3][..4], ["passed", "build", "zeros", "1"]);
    let listed = world.surveil(&["artifacts", "b1/build"]).ok();
    assert!(listed.lines().any(|line| line.split_whitespace().eq(["link", "dist/link", "->", "sub/run", "files"])));
    let json: Value = serde_json::from_str(&world.surveil(&["artifacts", "b1", "build", "--json"]).ok()).unwrap();
    let entry = &json["artifacts"][0]["entries"][1];
    assert_eq!((&entry["path"], &entry["bytes"]), (&"dist/hello".into(), &6.into()));
    let json: Value = serde_json::from_str(&world.surveil(&["artifacts", "latest", "--json"]).ok()).unwrap();
    assert_eq!(json["artifacts"][1]["keep_ms"], 2_592_000_000u64);

    let out = world.path("out");
    let at = |path: &str| out.join(path);
    world.surveil(&["artifacts", "get", "b1", "build", "-o", out.to_str().unwrap()]).ok();
    assert_eq!(fs::read_to_string(at("dist/hello")).unwrap(), "hello\n");
    assert_eq!(fs::read(at("dist/zeros")).unwrap(), vec![0; 3_000_000]);
    assert_eq!(fs::read_link(at("dist/link")).unwrap(), Path::new("sub/run"));
    assert_ne!(fs::metadata(at("dist/sub/run")).unwrap().permissions().mode() & 0o100, 0);
    let modified = fs::metadata(at("dist/hello")).unwrap().modified().unwrap();
    assert_eq!(modified.duration_since(std::time::UNIX_EPOCH).unwrap().as_secs(), 1_704_164_645);
    assert!(at("dist/empty").is_dir() && at("report.xml").is_file());

    let one = world.surveil(&["artifacts", "get", "b1", "build", "./report.xml"]);
    assert_eq!((one.code, &*one.stdout), (0, &b"report\n"[..]));
    let some = world.path("some");
    world.surveil(&["artifacts", "get", "b1", "build", "dist/sub", "-o", some.to_str().unwrap()]).ok();
    assert_eq!(files(&some), [some.join("dist/sub/run")]);
    let missing = world.surveil(&["artifacts", "get", "b1", "build", "nothing"]).error(6);
    assert!(missing.contains("task build of build b1 left no file `nothing`"), "{missing}");
    world.surveil(&["artifacts", "get", "b1", "other", "-o", some.to_str().unwrap()]).error(6);

    let archive = world.surveil(&["artifacts", "get", "b1", "build"]);
    let mut tar = Command::new("tar").arg("-tv").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut input = tar.stdin.take().unwrap();
    input.write_all(&archive.stdout).unwrap();
    drop(input);
    let output = tar.wait_with_output().unwrap();
    assert!(output.status.success());
    let listed = String::from_utf8(output.stdout).unwrap();
    let names: Vec<&str> = listed.lines().map(|line| line.split_whitespace().nth(5).unwrap()).collect();
    assert_eq!(names, ["dist/empty/", "dist/hello", "dist/link", "dist/sub/run", "dist/zeros", "report.xml"]);

    // The same again is stored once.
    let blobs = files(&world.data().join("blobs"));
    let again = repository.commit("the same");
    world.expect(&again, "passed");
    let name = |path: &PathBuf| path.file_name().unwrap().to_owned();
    let after: Vec<_> = files(&world.data().join("blobs")).iter().map(name).collect();
    assert!(after.len() <= blobs.len() + 3, "manifests alone may differ, by times: {after:?}");
}

/// A file that is missing is the task's fault; what is left of a failed task is there all the same.
#[test]
fn an_artifact_that_is_required_and_missing_fails_its_task() {
    let world = World::new();
    let repository = world.repository("app");
    let commit = repository.commit_tasks(
        r#"[task.missing]
run = "echo x > x; echo log > test.log"
artifacts = ["x", "dist/**", { name = "log", paths = ["test.log"], on = "failed" }]
[task.optional]
run = "true"
artifacts = [{ name = "core", paths = ["core.*"], required = false }]
[task.failing]
run = "echo log > test.log; exit 3"
artifacts = ["dist/**", { name = "log", paths = ["test.log"], on = "always" }]
[task.outside]
run = "ln -s /etc/passwd link"
artifacts = ["link"]
[task.dotgit]
run = "mkdir .GIT && echo x > .GIT/config"
artifacts = ["**/config"]
[task.fifo]
run = "mkfifo pipe"
artifacts = ["pipe"]
[task.odd]
run = "touch \"$(printf 'a\\377')\""
artifacts = ["a*"]
"#,
    );
    let _roles = world.roles(&[&repository]);
    let build = world.expect(&commit, "failed");
    let state = |task: &str| job(&build, task).state.clone();
    let says = |task: &str, text: &str| {
        let log = world.log_of(&build, task);
        assert!(log.contains(text), "{task}: {log}");
    };
    for task in ["missing", "failing", "outside", "dotgit", "fifo", "odd"] {
        assert_eq!(state(task), "failed", "{task}");
    }
    assert_eq!(state("optional"), "passed");
    says("missing", "artifact `files` could not be kept: no file matches `dist/**`; so the task has failed\n");
    says("optional", "surveil: artifact `core` is not kept: no file matches `core.*`\n");
    assert_eq!(job(&build, "failing").attempts[0].detail.as_deref(), Some("exit code 3"), "its own outcome stands");
    says("outside", "`link` is a symbolic link out of the work tree, to `/etc/passwd`; so the task has failed\n");
    says("dotgit", "`.GIT/config` is in a directory that some file systems take for `.git`; so the task has failed\n");
    says("fifo", "`pipe` is a FIFO, and no file; so the task has failed\n");
    says("odd", "is not UTF-8; so the task has failed\n");
    let json: Value = serde_json::from_str(&world.surveil(&["artifacts", "b1", "--json"]).ok()).unwrap();
    let listed: Vec<(&str, &str, &str)> = json["artifacts"]
        .as_array()
        .unwrap()
        .iter()
        .map(|row| (row["task"].as_str().unwrap(), row["name"].as_str().unwrap(), row["outcome"].as_str().unwrap()))
        .collect();
    assert_eq!(listed, [("missing", "log", "failed"), ("failing", "log", "failed")]);
}

#[test]
fn artifacts_have_at_most_what_the_runner_allows() {
    let world = World::new();
    let repository = world.repository("app");
    let commit = repository.commit_tasks(
        r#"[task.many]
run = "touch a1 a2 a3"
artifacts = ["a*"]
[task.large]
run = "head -c 2000 /dev/zero > a"
artifacts = ["a"]
"#,
    );
    let _roles = [
        world.dispatcher(&[]),
        world.observer(&[&repository], &[]),
        world.runner("w1", &["--artifact-files=2", "--artifact-size=1000"]),
    ];
    let build = world.expect(&commit, "failed");
    let (many, large) = (world.log_of(&build, "many"), world.log_of(&build, "large"));
    assert!(many.contains("there are more than 2 files, which is what --artifact-files"), "{many}");
    assert!(large.contains("its files are longer than 1000 bytes"), "{large}");
}

/// The line and the dispatcher die in the middle of an upload: it goes on where it was, and nothing is to be seen
/// before all of it is durable.
#[test]
fn an_upload_goes_on_after_its_line_and_its_dispatcher_died() {
    let world = World::new();
    let repository = world.repository("app");
    let commit = repository.commit_tasks(
        "[task.build]\nrun = 'head -c 6000000 /dev/urandom > large; echo small > small'\nartifacts = ['*l*']\n",
    );
    let dispatcher = world.dispatcher(&[]);
    let _observer = world.observer(&[&repository], &[]);
    let link = Link::new(&world, Some(1_000_000));
    let dispatch = format!("--dispatch={}", link.address());
    let _runner = world.runner("w1", &[&dispatch]);
    let arriving = world.data().join("blobs/arriving");
    let arrived = || -> u64 {
        let parts = files(&arriving);
        parts.iter().filter_map(|path| fs::metadata(path).ok()).map(|meta| meta.len()).sum()
    };
    until("a part has arrived", || arrived() > 300_000);
    let listed = world.surveil(&["artifacts", "b1"]).ok();
    assert_eq!(listed, "build b1 has no artifacts\n");
    dispatcher.kill();
    let before = arrived();
    let _dispatcher = world.dispatcher(&[]);
    let build = world.expect(&commit, "passed");
    assert_eq!(job(&build, "build").attempts.len(), 1, "the attempt was not lost");
    assert!(before > 300_000);
    let out = world.path("out");
    world.surveil(&["artifacts", "get", "b1", "build", "-o", out.to_str().unwrap()]).ok();
    assert_eq!(fs::metadata(out.join("large")).unwrap().len(), 6_000_000);
    assert!(files(&arriving).is_empty());
}

/// S43: a blob that rotted on the disk is found, and not delivered.
#[test]
fn a_blob_that_rotted_is_not_delivered() {
    let world = World::new();
    let repository = world.repository("app");
    let commit =
        repository.commit_tasks("[task.build]\nrun = 'head -c 100000 /dev/urandom > large'\nartifacts = ['large']\n");
    let _roles = world.roles(&[&repository]);
    world.expect(&commit, "passed");
    let blobs = files(&world.data().join("blobs"));
    let large = blobs.iter().find(|path| fs::metadata(path).unwrap().len() == 100_000).unwrap();
    let mut bytes = fs::read(large).unwrap();
    bytes[50_000] ^= 1;
    fs::write(large, bytes).unwrap();
    let out = world.path("out");
    let said = world.surveil(&["artifacts", "get", "b1", "build", "-o", out.to_str().unwrap()]).error(6);
    assert!(said.contains("`large` cannot be had: ") && said.contains("it was damaged on the disk"), "{said}");
    assert_eq!(files(&out), [] as [PathBuf; 0]);
    let said = world.surveil(&["artifacts", "get", "b1", "build"]);
    assert_eq!((said.code, said.stdout.len()), (6, 0));
}
