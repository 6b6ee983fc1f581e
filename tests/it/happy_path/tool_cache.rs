//! The cache of build tools: real ccache, and Go's helper as a task starts it.

use std::process::Command;

use crate::harness::{Process, World, text};

/// Whether ccache and a compiler are here. `.ci/run` installs them.
#[expect(clippy::print_stderr, reason = "a test that could not be made says why")]
pub(crate) fn has_ccache() -> bool {
    let is_here =
        |program: &str| Command::new(program).arg("--version").output().is_ok_and(|done| done.status.success());
    let has_both = is_here("ccache") && is_here("cc");
    if !has_both {
        eprintln!("NOT SHOWN: the tool cache with ccache, because ccache or cc is missing");
    }
    has_both
}

/// Compiles with a ccache that has nothing of its own, and tells what its remote storage did.
pub(crate) const COMPILES: &str = r#"[task.build]
tool_cache = true
env = { CCACHE_REMOTE_ONLY = "1" }
run = '''
export CCACHE_DIR="$TMPDIR/ccache"
for file in a b c; do ccache cc -c $file.c -o $file.o; done
ccache --print-stats | awk '/^remote_storage_(hit|miss|error|timeout)\t/ { printf "%s=%s ", $1, $2 } END { print "" }'
nm a.o | grep -c ' T a$'
'''
"#;

pub(crate) fn counts(log: &str) -> Vec<&str> {
    let line = log.lines().find(|line| line.starts_with("remote_storage_")).unwrap_or_else(|| panic!("{log}"));
    line.split_whitespace().collect()
}

#[test]
fn what_ccache_compiled_for_one_commit_is_there_for_the_next() {
    if !has_ccache() {
        return;
    }
    let world = World::new();
    let repository = world.repository("app");
    for name in ["a", "b", "c"] {
        repository.write(&format!("{name}.c"), &format!("int {name}(void) {{ return 1; }}\n"));
    }
    let first = repository.commit_tasks(COMPILES);
    let _roles = (world.dispatcher(&[]), world.observer(&[&repository], &[]));
    let runner = world.runner("w1", &["--slots=1"]);
    let log = world.log_of(&world.expect(&first, "passed"), "build");
    let nothing =
        ["remote_storage_error=0", "remote_storage_hit=0", "remote_storage_miss=3", "remote_storage_timeout=0"];
    assert_eq!(counts(&log), nothing, "{log}");
    assert!(log.contains("\n1\nsurveil: tool cache: 0 of ") && log.contains(" stored ("), "{log}");

    // One file differs, and so does the runner's process: the cache is on the disk.
    runner.kill();
    repository.write("c.c", "int c(void) { return 2; }\n");
    let second = repository.commit("c returns 2");
    let _runner = world.runner("w1", &["--slots=1"]);
    let log = world.log_of(&world.expect(&second, "passed"), "build");
    let most = ["remote_storage_error=0", "remote_storage_hit=2", "remote_storage_miss=1", "remote_storage_timeout=0"];
    assert_eq!(counts(&log), most, "{log}");
    assert!(log.contains("\n1\nsurveil: tool cache: "), "{log}");
}

/// A runner whose program every task sees, wherever the tests' own one is.
pub(crate) fn runner_that_tasks_see(world: &World, name: &str) -> Process {
    let program = world.path("surveil");
    if !program.exists() {
        // By another process: one that this process starts meanwhile would have the file open for writing, and nobody
        // could execute it.
        let copied = world.sealed("cp").args([env!("CARGO_BIN_EXE_surveil"), text(&program)]).status().unwrap();
        assert!(copied.success());
    }
    let work = format!("--work={}", text(&world.path(&format!("work-{name}"))));
    let like = world.command(&["runner", &format!("--name={name}"), "--min-free=1MiB", &work]);
    let mut command = Command::new(program);
    command.args(like.get_args()).env_clear().current_dir(world.path("home"));
    command.envs(like.get_envs().filter_map(|(name, value)| Some((name, value?))));
    world.start_command(name, command)
}

/// Asks Go's helper for two actions, and puts one.
fn go(put: &str, content: &str) -> String {
    let lines = format!(
        r#"'{{"ID":1,"Command":"get","ActionID":"AQ=="}}' '{{"ID":2,"Command":"get","ActionID":"Ag=="}}' '{{"ID":3,"Command":"put","ActionID":"{put}","OutputID":"/w==","BodySize":6}}' '"{content}"' '{{"ID":4,"Command":"close"}}'"#
    );
    format!(
        "[task.test]\ntool_cache = true\nrun = '''\nprintf '%s\\n' {} | $GOCACHEPROG\n\
         for f in \"$TMPDIR\"/surveil-go-cache/*-d; do echo \"${{f##*/}} $(cat $f)\"; done\n'''\n",
        lines
    )
}

/// S46: a build of a branch that is not trusted reads what the default branch's made, and leaves nothing for it.
#[test]
fn an_untrusted_branch_reads_what_the_default_branch_made_and_leaves_nothing_for_it() {
    let world = World::new();
    let repository = world.repository("app");
    // In base64: "main." and "evil.", each with a line feed.
    let first = repository.commit_tasks(&go("AQ==", "bWFpbi4K"));
    let _roles = (world.dispatcher(&[]), world.observer(&[&repository], &["--branch=*"]));
    let _runner = runner_that_tasks_see(&world, "w1");
    let log = world.log_of(&world.expect(&first, "passed"), "test");
    assert!(log.contains(r#"{"ID":1,"Miss":true}"#) && log.contains(r#"{"ID":2,"Miss":true}"#), "{log}");
    assert!(log.contains("surveil: tool cache: 0 of 2 reads hit, 1 stored (9 bytes)\n"), "{log}");

    repository.git(&["switch", "--quiet", "--create", "topic"]);
    let topic = repository.commit_tasks(&go("Ag==", "ZXZpbC4K"));
    let log = world.log_of(&world.expect(&topic, "passed"), "test");
    assert!(log.contains("01-d main.\n") && log.contains(r#"{"ID":2,"Miss":true}"#), "{log}");
    assert!(log.contains("surveil: tool cache: 1 of 2 reads hit, 1 stored (9 bytes)\n"), "{log}");
    let again = repository.commit_tasks(&(go("Ag==", "ZXZpbC4K") + "# again\n"));
    let log = world.log_of(&world.expect(&again, "passed"), "test");
    assert!(log.contains("01-d main.\n") && log.contains("02-d evil.\n"), "its own are there: {log}");

    repository.git(&["switch", "--quiet", "main"]);
    let last = repository.commit_tasks(&(go("AQ==", "bWFpbi4K") + "# again\n"));
    let log = world.log_of(&world.expect(&last, "passed"), "test");
    assert!(log.contains("01-d main.\n") && log.contains(r#"{"ID":2,"Miss":true}"#), "{log}");
}

/// A task is executed without the cache if it cannot be had, and its log says why.
#[test]
fn a_task_without_the_cache_is_told_and_executed() {
    let world = World::new();
    let repository = world.repository("app");
    let task = |name: &str, keys: &str| {
        let run = "echo \"${SURVEIL_TOOL_CACHE-none}\"; echo \"$TURBO_TEAM\"";
        format!("[task.{name}]\ntool_cache = true\n{keys}\nrun = '''\n{run}\n'''\n")
    };
    let tasks = task("usual", "env = { TURBO_TEAM = 'ours' }");
    let first = repository.commit_tasks(&tasks);
    let _roles = (world.dispatcher(&[]), world.observer(&[&repository], &[]));
    let runner = world.runner("w1", &[]);
    let log = world.log_of(&world.expect(&first, "passed"), "usual");
    let [address, team] = log.lines().collect::<Vec<_>>()[..] else { panic!("nothing asked for it: {log}") };
    let secret = address.strip_prefix("http://127.0.0.1:").and_then(|rest| rest.split('/').nth(1)).unwrap();
    assert!(secret.len() == 32 && secret.bytes().all(|byte| byte.is_ascii_hexdigit()), "{address}");
    assert_eq!(team, "ours", "the task's own variables win");
    assert!(!runner.log().contains(secret));

    runner.says("its attempts are");
    if !runner.log().contains("its attempts are not guarded") && !runner.log().contains("guarded by Landlock") {
        let offline = repository.commit_tasks(&task("offline", "network = false"));
        let log = world.log_of(&world.expect(&offline, "passed"), "offline");
        let why = "surveil: no tool cache: the task has no network, and tools reach the cache over loopback\n";
        assert_eq!(log, format!("{why}none\n\n"));
    }
    runner.kill();
    let _runner = world.runner("w1", &["--tool-cache-size=0"]);
    let without = repository.commit_tasks(&(tasks + "# again\n"));
    let log = world.log_of(&world.expect(&without, "passed"), "usual");
    assert_eq!(log, "surveil: no tool cache: this runner keeps none (--tool-cache-size)\nnone\nours\n");

    let local = world.surveil_in(&repository.path, &["run"]);
    assert!(local.stderr.contains("`surveil run` has no `tool_cache`"), "{}", local.stderr);
    assert!(local.ok().contains("none\n"));
}
