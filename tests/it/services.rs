//! Services: ready before their task, told apart from it, and ended with it.

use rustix::process::Signal;
use serde_json::Value;

use crate::harness::{World, job, text, until};

/// A server that every machine with git has. It listens on `$PORT`.
const LISTEN: &str =
    "exec git daemon --verbose --reuseaddr --listen=127.0.0.1 --port=$PORT --export-all --base-path=\"$PWD\"";

/// A command that exits with 0 if that server answers on the port.
fn connect(port: &str) -> String {
    format!("git ls-remote git://127.0.0.1:{port}/ >/dev/null")
}

/// A service that ignores TERM, has a process in a session of its own, and is ready when its file is there.
const STUBBORN: &str = "[service.db]\n\
    run = \"trap '' TERM; setsid sh -c 'trap \\\"\\\" TERM; sleep 1000' & echo serving on $PORT; touch $TMPDIR/db; while :; do sleep 1; done\"\n\
    ready = 'test -e $TMPDIR/db'\n";

fn logs(world: &World, arguments: &[&str]) -> String {
    let arguments: Vec<&str> = ["logs"].iter().chain(arguments).copied().collect();
    world.surveil(&arguments).ok()
}

/// S48.
#[test]
fn services_are_ready_before_their_task_reach_it_by_a_port_and_end_with_it() {
    let world = World::new();
    let repository = world.repository("app");
    let file = format!(
        "{STUBBORN}[service.web]\nrun = '''echo \"web has $LEVEL, ${{OWN-nothing}}, $SURVEIL_SERVICE_DB_PORT\"\n{}'''\n\
         env = {{ LEVEL = 'two' }}\n\
         [task.test]\nservices = ['db', 'web']\nenv = {{ OWN = '1' }}\n\
         steps = ['echo db $SURVEIL_SERVICE_DB_PORT ${{PORT-none}}; {}', 'sleep 1000 & {}; echo and again']\n",
        LISTEN,
        connect("$SURVEIL_SERVICE_WEB_PORT"),
        connect("$SURVEIL_SERVICE_WEB_PORT"),
    );
    let commit = repository.commit_tasks(&file);
    let [dispatcher, _observer, _runner] = world.roles(&[&repository]);
    let build = world.expect(&commit, "passed");
    let log = world.log_of(&build, "test");
    let port =
        log.lines().find_map(|line| line.strip_prefix("db ")).and_then(|rest| rest.strip_suffix(" none")).unwrap();
    assert!(port.parse::<u16>().is_ok() && log.contains("and again\n"), "{log}");
    assert!(log.contains("ended 1 process that the step left behind"), "the services are none: {log}");
    assert_eq!(logs(&world, &["latest", "test", "--service=db"]), format!("serving on {port}\n"));
    let web = logs(&world, &["latest", "--service", "web"]);
    assert!(web.starts_with(&format!("web has two, nothing, {port}\n")) && web.contains("Ready to rumble"), "{web}");
    let refused = world.surveil(&["logs", "latest/test", "--service=bd"]).error(6);
    assert!(refused.contains("has no service `bd`; it has db, web"), "{refused}");

    let json: Value = serde_json::from_str(&world.surveil(&["show", "latest", "--format=json"]).ok()).unwrap();
    let job = &json["jobs"][0];
    assert_eq!(job["services"], serde_json::json!(["db", "web"]), "{json}");
    let services = &job["attempts"][0]["execution"]["services"];
    assert!(services[0]["name"] == "db" && services[0]["ready_ms"].is_u64(), "{services}");
    assert!(services[0].get("failure").is_none(), "it was ended with its attempt: {services}");
    until("nothing is left", || !world.processes(&[]).iter().any(|line| line.contains("sleep")));

    // The logs are files of the dispatcher, and outlast it.
    dispatcher.kill();
    let _dispatcher = world.dispatcher(&[]);
    assert_eq!(logs(&world, &["latest", "test", "--service=db", "--offset=11"]), format!("{port}\n"));
}

#[test]
fn a_service_that_is_never_ready_is_told_apart_from_the_task() {
    let world = World::new();
    let repository = world.repository("app");
    let begun = world.tally("begun");
    let task = |name: &str, service: &str| {
        let begin = begun.add(name);
        format!(
            "[service.{name}]\n{service}\n[task.t-{name}]\nretries = 2\nservices = ['{name}']\nrun = '''{begin}'''\n"
        )
    };
    let file = [
        task("dies", "run = 'echo one; echo two; echo; echo the disk is bad; exit 3'"),
        task("killed", "run = 'kill -9 $$'\nready = 'sleep 1000'"),
        task("lazy", "run = 'echo thinking; sleep 1000'\nready = 'exit 7'\ntimeout = '700ms'"),
        task("deaf", "run = 'sleep 1000'\ntimeout = '300ms'"),
        task("hangs", "run = 'sleep 1000'\nready = 'sleep 1000'\ntimeout = '300ms'"),
        task("forks", "run = 'setsid sleep 1000 & exit 0'"),
        task("absent", "run = ['no-such-program']"),
        task("blind", "run = 'sleep 1000'\nready = ['no-such-program']"),
    ];
    let commit = repository.commit_tasks(&file.concat());
    let _roles = world.roles(&[&repository]);
    let build = world.expect(&commit, "errored");
    for (name, why) in [
        (
            "dies",
            "its service dies ended with exit code 3 before it was ready; its log ends: one / two / the disk is bad",
        ),
        ("killed", "its service killed was ended by signal 9 before it was ready"),
        (
            "lazy",
            "its service lazy was not ready within 0.7 s (the last try of its `ready` ended with exit code 7); its log ends: \
             thinking",
        ),
        ("deaf", "its service deaf was not ready within 0.3 s"),
        ("hangs", "its service hangs was not ready within 0.3 s"),
        ("forks", "its service forks ended with exit code 0 before it was ready"),
        ("absent", "its service absent could not start: there is no program no-such-program"),
        ("blind", "its service blind could not start: its `ready`: there is no program no-such-program"),
    ] {
        let task = format!("t-{name}");
        let job = job(&build, &task);
        let code = job.reason_code.as_deref();
        assert_eq!((job.state.as_str(), code, job.attempts.len()), ("errored", Some("service_not_ready"), 1), "{task}");
        let detail = job.detail.as_deref().unwrap();
        assert!(detail.starts_with(why), "{task}: {detail}");
        assert!(world.surveil(&["why", &format!("latest/{task}")]).ok().contains(&why[..40]), "{task}");
        let log = world.log_of(&build, &task);
        assert!(log.starts_with("surveil: the task was not started: its service"), "{task}: {log}");
    }
    assert_eq!(begun.lines(), Vec::<String>::new());
    let of_service = logs(&world, &["latest", "t-dies", "--service=dies"]);
    assert_eq!(of_service, "one\ntwo\n\nthe disk is bad\nsurveil: the service ended with exit code 3\n");
    until("nothing is left", || !world.processes(&[]).iter().any(|line| line.contains("sleep")));
}

#[test]
fn a_service_that_ends_while_the_task_runs_changes_no_outcome_and_is_told() {
    let world = World::new();
    let repository = world.repository("app");
    let (gate, begun) = (world.gate("gate"), world.tally("begun"));
    let file = format!(
        "[service.db]\nrun = '''touch $TMPDIR/db; {}; rm $TMPDIR/db; exit 4'''\nready = 'test -e $TMPDIR/db'\n\
         [task.test]\nservices = ['db']\n\
         run = '''{}; while test -e $TMPDIR/db; do sleep 0.01; done; sleep 0.5; echo survived'''\n",
        gate.wait(),
        begun.add("begun"),
    );
    let commit = repository.commit_tasks(&file);
    let _roles = world.roles(&[&repository]);
    begun.reaches(1);
    gate.open();
    let build = world.expect(&commit, "passed");
    let log = world.log_of(&build, "test");
    assert_eq!(log, "survived\nsurveil: the service db ended with exit code 4 before the task did\n");
    let of_service = logs(&world, &["latest", "test", "--service=db"]);
    assert_eq!(of_service, "surveil: the service ended with exit code 4 before the task did\n");
    let json: Value = serde_json::from_str(&world.surveil(&["show", "latest", "--format=json"]).ok()).unwrap();
    let failure = &json["jobs"][0]["attempts"][0]["execution"]["services"][0]["failure"];
    assert_eq!(*failure, serde_json::json!({"code": "exit_code", "number": 4}), "{json}");
}

/// S48: a cancel, a timeout and the death of the runner.
#[test]
fn services_end_with_their_attempt_whatever_ends_it() {
    let world = World::new();
    let repository = world.repository("app");
    let begun = world.tally("begun");
    let [_dispatcher, _observer, runner] = world.roles(&[&repository]);
    let file = |more: &str| {
        let begin = begun.add("begun");
        format!("{STUBBORN}[task.test]\nservices = ['db']\n{more}\nrun = '''{begin}; sleep 1000'''\n")
    };
    let nothing_is_left = || until("nothing is left", || !world.processes(&[]).iter().any(|it| it.contains("sleep")));

    let commit = repository.commit_tasks(&file("timeout = '500ms'"));
    let build = world.expect(&commit, "failed");
    assert_eq!(job(&build, "test").attempts[0].outcome.as_deref(), Some("timed_out"));
    nothing_is_left();
    let first = begun.lines().len();

    let commit = repository.commit_tasks(&file("# cancelled"));
    begun.reaches(first + 1);
    world.surveil(&["cancel", "latest"]).ok();
    world.expect(&commit, "cancelled");
    nothing_is_left();

    // While it waits for a service.
    let waits = "[service.db]\nrun = 'echo waiting; sleep 1000'\nready = 'sleep 1000'\n[task.test]\nservices = ['db']\nrun = 'x'\n";
    let commit = repository.commit_tasks(waits);
    until("the service runs", || {
        let said = world.surveil(&["logs", "latest", "test", "--service=db"]);
        String::from_utf8_lossy(&said.stdout).contains("waiting")
    });
    world.surveil(&["cancel", "latest"]).ok();
    world.expect(&commit, "cancelled");
    nothing_is_left();

    let second = begun.lines().len();
    repository.commit_tasks(&file("# killed"));
    begun.reaches(second + 1);
    runner.kill();
    nothing_is_left();
}

/// Two slots, the same service at once.
#[test]
fn attempts_that_run_at_once_have_services_of_their_own() {
    let world = World::new();
    let repository = world.repository("app");
    let ports = world.tally("ports");
    let task = |name: &str| {
        let tell = ports.add("$SURVEIL_SERVICE_DB_PORT");
        let all = format!("while test $(wc -l < {}) -lt 2; do sleep 0.01; done", text(&world.path("ports")));
        format!(
            "[task.{name}]\nservices = ['db']\nrun = '''{tell}\n{all}\n{}'''\n",
            connect("$SURVEIL_SERVICE_DB_PORT")
        )
    };
    let file = format!("[service.db]\nrun = '''{}'''\n{}{}", LISTEN, task("a"), task("b"));
    let commit = repository.commit_tasks(&file);
    let _roles = (world.dispatcher(&[]), world.observer(&[&repository], &[]), world.runner("w1", &["--slots=2"]));
    world.expect(&commit, "passed");
    let ports = ports.lines();
    assert!(ports.len() == 2 && ports[0] != ports[1], "{ports:?}");
}

/// The loopback interface of an attempt without network is the attempt's own, and its services are on it.
#[test]
fn a_task_without_network_or_in_a_sealed_view_reaches_its_services() {
    let world = World::new();
    let _dispatcher = world.dispatcher(&[]);
    if !world.can_guard() {
        return;
    }
    let repository = world.repository("app");
    let task = |name: &str, key: &str| {
        let connect = connect("$SURVEIL_SERVICE_DB_PORT");
        format!("[task.{name}]\nservices = ['db']\n{key}\nrun = '''test \"$(cat /tmp/said)\" = hello; {connect}'''\n")
    };
    let file = format!(
        "[service.db]\nrun = '''echo hello > /tmp/said\n{}'''\n{}{}{}",
        LISTEN,
        task("offline", "network = false"),
        task("sealed", "isolation = 'sealed'"),
        task("both", "isolation = 'sealed'\nnetwork = false"),
    );
    let commit = repository.commit_tasks(&file);
    let _others = (world.observer(&[&repository], &[]), world.runner("w1", &[]));
    world.expect(&commit, "passed");
}

#[test]
fn the_log_of_a_service_is_bounded_and_has_no_secret_of_the_task() {
    let world = World::new();
    let repository = world.repository("app");
    let dispatcher = world.dispatcher(&[]);
    let value = world.path("value");
    std::fs::write(&value, "canary-4c8f/b7").unwrap();
    world.surveil(&["secret", "set", "TOKEN", "--file", text(&value)]).ok();
    let commit = repository.commit_tasks(
        "[service.db]\nrun = '''echo told canary-4c8f/b7, ${TOKEN-none}; touch $TMPDIR/db; yes no end'''\n\
         ready = 'test -e $TMPDIR/db'\n[task.test]\nsecrets = ['TOKEN']\nservices = ['db']\nrun = 'sleep 0.3'\n",
    );
    let _others = (dispatcher, world.observer(&[&repository], &[]), world.runner("w1", &["--log-limit=64KiB"]));
    world.expect(&commit, "passed");
    let log = logs(&world, &["latest", "test", "--service=db"]);
    assert!(log.starts_with("told ***, none\nno end\n") && log.len() < 70_000, "{} bytes", log.len());
    assert!(log.contains("bytes left out here"), "{} bytes", log.len());
}

#[test]
fn a_local_run_starts_the_services_of_its_tasks_and_ends_them() {
    let world = World::new();
    let repository = world.repository("app");
    let file = |run: &str| {
        format!(
            "[service.db]\nrun = '''echo starting\n{}'''\n[task.test]\nservices = ['db']\nrun = '''{run}'''\n\
             [service.bad]\nrun = 'echo no space; exit 3'\n[task.broken]\nservices = ['bad']\nrun = 'x'\n",
            LISTEN
        )
    };
    repository.commit_tasks(&file(&format!("{}; echo connected", connect("$SURVEIL_SERVICE_DB_PORT"))));
    let said = world.surveil_in(&repository.path, &["run", "test"]).ok();
    assert!(said.contains("db | starting\n") && said.contains("connected\n") && said.contains("passed"), "{said}");
    until("nothing is left", || world.processes(&[]).is_empty());
    let said = world.surveil_in(&repository.path, &["run", "broken"]).with_code(3);
    assert!(said.contains("bad | no space\n"), "{said}");
    assert!(
        said.contains("its service bad ended with exit code 3 before it was ready; its log ends: no space"),
        "{said}"
    );

    let begun = world.tally("begun");
    repository.commit_tasks(&file(&format!("{}; sleep 1000", begun.add("begun"))));
    let mut run = world.start("run", &["run", "--grace=300ms", "--dir", text(&repository.path), "test"]);
    begun.reaches(1);
    run.signal_group(Signal::INT);
    assert_eq!(run.exit_code(), 130);
    until("nothing is left", || world.processes(&[]).is_empty());
}
