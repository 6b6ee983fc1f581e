//! Commands that wait, and roles that are refused: what passes is waited for, and what lasts ends them.

use rustix::fs::{CWD, FileType, Mode};
use rustix::process::Signal;

use crate::harness::{Gate, Process, World, text, until};

/// A build that waits at a gate, and `show --wait` of it.
struct Waiting {
    waiting: Process,
    dispatcher: Process,
    _roles: [Process; 2],
    gate: Gate,
    world: World,
}

impl Waiting {
    /// Starts everything. `show --wait` has both of its sessions when this returns.
    fn begin() -> Self {
        let world = World::new();
        let gate = world.gate("gate");
        let repository = world.repository("app");
        let commit = repository.commit_script(&format!("{}; exit 1", gate.wait()));
        let dispatcher = world.dispatcher_with(&[], &[("RUST_LOG", "debug")]);
        let roles = [world.observer(&[&repository], &[]), world.runner("w1", &[])];
        world.build_that("is running", |build| build.commit == commit && build.state == "running");
        let waiting = world.start("show --wait", &["show", "--wait", "latest"]);
        let name = format!("open: Operator pid {} at", waiting.pid());
        until("it watches", || dispatcher.log().matches(&name).count() == 2);
        Self { waiting, dispatcher, _roles: roles, gate, world }
    }
}

/// It guards deployments: its exit code is the verdict, whatever the dispatcher does meanwhile.
#[test]
fn a_command_that_waits_for_a_build_comes_back_with_the_dispatcher() {
    for is_killed in [true, false] {
        let Waiting { waiting, mut dispatcher, _roles, gate, world } = Waiting::begin();
        if is_killed {
            dispatcher.kill();
        } else {
            dispatcher.signal(Signal::TERM);
            assert_eq!(dispatcher.exit_code(), 0);
        }
        waiting.says("trying to reconnect");
        let _dispatcher = world.dispatcher(&[]);
        waiting.says("connected again");
        gate.open();
        let (code, said) = waiting.finish();
        assert_eq!(code, 1, "the verdict");
        let report = String::from_utf8_lossy(&said.stdout);
        assert!(report.contains("failed"), "{report}");
        let notes = String::from_utf8_lossy(&said.stderr);
        assert_eq!(notes.lines().count(), 2, "it says so once: {notes}");
    }
}

/// A verdict on another build, or none for ever, would both be worse than an error.
#[test]
fn a_command_that_waits_ends_if_the_dispatcher_comes_back_without_its_build_or_with_another_token() {
    for (has_tokens, code) in [(true, 6), (false, 7)] {
        let Waiting { mut waiting, dispatcher, _roles, world, .. } = Waiting::begin();
        dispatcher.kill();
        waiting.says("trying to reconnect");
        let data = world.path("new");
        std::fs::create_dir(&data).unwrap();
        if has_tokens {
            for file in ["tokens/operator", "tls/authority.key"] {
                std::fs::create_dir(data.join(file).parent().unwrap()).unwrap();
                std::fs::copy(world.data().join(file), data.join(file)).unwrap();
            }
        }
        let _other = world.dispatcher(&["--data", text(&data)]);
        assert_eq!(waiting.exit_code(), code);
    }
}

/// S14: a runner without its name goes on trying, because its predecessor may be a session that is about to end. It
/// says so once.
#[test]
fn a_runner_whose_name_is_taken_says_so_once() {
    let world = World::new();
    let dispatcher = world.dispatcher_with(&[], &[("RUST_LOG", "debug")]);
    let first = world.runner("w1", &[]);
    world.connected("w1");
    let work = format!("--work={}", world.path("elsewhere").display());
    let second = world.start("second", &["runner", "--name=w1", &work]);
    until("it has tried several times", || dispatcher.log().matches("open: Runner w1 at").count() > 5);
    let log = second.log();
    assert_eq!(log.matches("a runner named w1 is connected already").count(), 1, "{log}");
    assert_eq!(log.lines().filter(|line| !line.contains("INFO")).count(), 1, "{log}");
    first.kill();
    second.says("with the dispatcher at");
}

/// `--token-file <(…)`: a pipe can be read only once, and a named one without a writer blocks whoever opens it.
#[test]
fn peers_whose_token_came_through_a_pipe_come_back_after_a_restart_of_the_dispatcher() {
    let world = World::new();
    let repository = world.repository("app");
    let first = repository.commit_script("true");
    let dispatcher = world.dispatcher(&[]);
    let pipe = |role: &str| {
        let path = world.path(&format!("pipe-{role}"));
        rustix::fs::mknodat(CWD, &path, FileType::Fifo, Mode::from_raw_mode(0o600), 0).unwrap();
        path
    };
    let flag = |path: &std::path::Path| format!("--token-file={}", path.display());
    let (observers, runners) = (pipe("observer"), pipe("runner"));
    let observer = world.observer(&[&repository], &[&flag(&observers)]);
    let _runner = world.runner("w1", &[&flag(&runners)]);
    // Each write waits for its reader.
    std::fs::write(&observers, world.token("observer")).unwrap();
    std::fs::write(&runners, world.token("runner")).unwrap();
    world.expect(&first, "passed");
    dispatcher.kill();
    observer.says("dialling again");
    let _dispatcher = world.dispatcher(&[]);
    world.expect(&repository.commit("Second"), "passed");
}

/// There is nothing to wait for: the pipe will never hold a token.
#[test]
fn a_role_whose_pipe_held_no_token_ends() {
    let world = World::new();
    let repository = world.repository("app");
    repository.commit_script("true");
    let _dispatcher = world.dispatcher(&[]);
    let observer = ["observer", text(&repository.path), "--token-file=/dev/null"];
    for command in [&observer[..], &["runner", "--token-file=/dev/null"], &["status", "--token-file=/dev/null"]] {
        let error = world.surveil(command).error(7);
        assert!(error.contains("no token came through /dev/null"), "{error}");
    }
}

/// Two repositories that go on in one history are told apart by nobody, unless somebody is told.
#[test]
fn a_repository_that_takes_up_the_history_of_another_place_is_told_of() {
    let world = World::new();
    let (one, two) = (world.repository("one/app"), world.repository("two/app"));
    let first = one.commit_script("true");
    two.commit_script("echo other");
    let dispatcher = world.dispatcher(&[]);
    let _runner = world.runner("w1", &[]);
    let observer = world.observer(&[&one], &[]);
    world.expect(&first, "passed");
    assert!(!dispatcher.log().contains("is observed at"), "{}", dispatcher.log());
    observer.kill();
    // A session that has not ended yet would keep the name; none outlives its dispatcher.
    dispatcher.kill();
    let dispatcher = world.dispatcher(&[]);
    let _observer = world.observer(&[&two], &[]);
    dispatcher.says("if these are two repositories, observe one of them under another --name");
    for place in [&one, &two] {
        assert!(dispatcher.log().contains(text(&place.path)), "{}", dispatcher.log());
    }
}
