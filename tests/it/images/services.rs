//! Services in images, and services of tasks with an image.

use serde_json::Value;

use super::{IMAGE, Podman, in_image, outcomes};
use crate::harness::{World, job, until};

/// An image with a command of its own: it listens where `PORT` says, and has a volume.
const OWN: &str = "own:1";

/// A program of the machine that listens on `$PORT`.
pub(super) const PROGRAM: &str = "[service.web]\nrun = 'exec git daemon --reuseaddr --listen=127.0.0.1 --port=$PORT --export-all --base-path=\"$PWD\"'\n";

/// A service of the tests' image that answers with this word.
pub(super) fn answering(name: &str, word: &str, more: &str) -> String {
    format!(
        "[service.{name}]\nimage = \"{IMAGE}\"\nrun = '''echo \"{word} on $PORT\"; exec nc -ll -p $PORT -e echo {word}'''\n{more}"
    )
}

/// A command that prints the answer of a service, by the `nc` of the machine or of an image.
pub(super) fn ask(nc: &str, service: &str) -> String {
    format!("{nc} -w 10 127.0.0.1 $SURVEIL_SERVICE_{service}_PORT </dev/null")
}

fn logs(world: &World, task: &str, service: &str) -> String {
    world.surveil(&["logs", "latest", task, "--service", service]).ok()
}

impl Podman {
    /// Makes the image [`OWN`].
    fn import_own(&self) {
        let command = r#"--change=CMD ["/bin/sh", "-c", "echo $LEVEL; : >/data/up; exec nc -ll -p $PORT -e echo own"]"#;
        self.import(&[command, "--change=VOLUME /data"], OWN).unwrap();
    }

    /// The command lines of podman, and of its helpers, for this store.
    pub(super) fn processes(&self) -> Vec<String> {
        let store = self.store.path().to_str().unwrap();
        let processes = std::fs::read_dir("/proc").unwrap().flatten();
        let lines = processes.filter_map(|process| std::fs::read(process.path().join("cmdline")).ok());
        let lines = lines.map(|line| String::from_utf8_lossy(&line).replace('\0', " "));
        lines.filter(|line| line.contains(store)).collect()
    }
}

/// S48.
#[test]
fn services_in_images_are_ready_before_their_task_and_end_with_it() {
    let Some(podman) = Podman::with_networks() else { return };
    let world = &podman.world;
    podman.import_own();
    let (repository, _roles) = podman.stage(&[]);
    repository.write("given", "from the commit\n");
    let own = format!(
        "[service.db]\nimage = \"{OWN}\"\nenv = {{ LEVEL = \"two\\nlines 'of' $PORT\" }}\n\
         ready = 'test -e /data/up && test -e given'\n"
    );
    let asks = |nc: &str| ["DB", "MQ"].map(|service| ask(nc, service)).join("\n");
    let file = own
        + &answering("mq", "queue", "env = { A = '1' }\n")
        + PROGRAM
        + &format!(
            "[task.program]\nservices = ['db', 'mq', 'web']\nrun = '''\n{}\n\
             git ls-remote git://127.0.0.1:$SURVEIL_SERVICE_WEB_PORT/ >/dev/null\necho {{done}} ${{PORT-none}}'''\n",
            asks("busybox nc")
        )
        + &in_image(&[(
            "image",
            &format!(
                "services = ['db', 'mq', 'web']\nsteps = ['''\n{}\n{} >/dev/null\necho in $SURVEIL_SERVICE_WEB_PORT''', 'echo again']",
                asks("nc"),
                ask("nc", "WEB"),
            ),
        )]);
    let commit = repository.commit_tasks(&file);
    let build = world.expect(&commit, "passed");
    assert_eq!(world.log_of(&build, "program"), "own\nqueue\n{done} none\n");
    let log = world.log_of(&build, "image");
    assert!(log.contains("\nown\nqueue\nin ") && log.ends_with("again\n"), "{log}");
    for task in ["program", "image"] {
        let db = logs(world, task, "db");
        assert!(db.starts_with("two lines 'of' $PORT\n"), "{db}");
        let mq = logs(world, task, "mq");
        assert!(mq.starts_with("queue on "), "{mq}");
        let services = &job(&build, task).attempts[0].execution.as_ref().unwrap().services;
        assert!(services.iter().all(|service| service.ready_ms.is_some() && service.failure.is_none()), "{services:?}");
        assert!(services[0].means.starts_with("podman, sha256:") && services[2].means.is_empty(), "{services:?}");
    }
    podman.has_no_containers();
    assert_eq!(podman.run(&["volume", "ls", "--quiet"]).unwrap(), "", "the volumes of an image go with its container");
    until("nothing is left", || !world.processes(&["SURVEIL_RUNNER=w1"]).iter().any(|line| line.contains("daemon")));

    let plan = world.surveil_in(&repository.path, &["plan"]).ok();
    assert!(plan.contains(&format!("beside db ({OWN}), mq ({IMAGE}), web")), "{plan}");
    let plan: Value = serde_json::from_str(&world.surveil_in(&repository.path, &["plan", "--json"]).ok()).unwrap();
    let services = serde_json::json!([
        { "name": "db", "image": OWN }, { "name": "mq", "image": IMAGE }, { "name": "web", "image": null }
    ]);
    assert_eq!(plan["tasks"][0]["services"], services);
}

/// Two attempts at once, each with a service that listens on the same port in its container.
#[test]
fn the_port_of_an_image_is_published_on_a_free_one() {
    let Some(podman) = Podman::with_networks() else { return };
    let world = &podman.world;
    if !podman.has_networks {
        return;
    }
    let (repository, _roles) = podman.stage(&[]);
    let both = world.tally("both");
    let wait = format!(
        "{}; while test $(wc -l < {}) -lt 2; do sleep 0.01; done",
        both.add("up"),
        world.path("both").display()
    );
    let task =
        |name: &str| format!("[task.{name}]\nservices = ['db']\nrun = '''{wait}\n{}'''\n", ask("busybox nc", "DB"));
    let commit = repository.commit_tasks(
        &(answering("db", "fixed", "port = 5432\n")
            + &task("one")
            + &task("two")
            + &in_image(&[("image", &format!("needs = ['one']\nservices = ['db']\nrun = '''{}'''", ask("nc", "DB")))])),
    );
    let build = world.expect(&commit, "passed");
    for task in ["one", "two", "image"] {
        assert!(world.log_of(&build, task).ends_with("fixed\n"), "{}", world.log_of(&build, task));
        assert_eq!(logs(world, task, "db"), "fixed on 5432\n", "the port in its own container");
    }
    podman.has_no_containers();
}

/// The task's fault, that of the commit's service, and the lack of an image are told apart.
#[test]
fn a_service_in_an_image_that_is_never_ready_is_told_apart() {
    let Some(podman) = Podman::with_networks() else { return };
    let world = &podman.world;
    let (repository, _roles) = podman.stage(&["--max-losses=2"]);
    let begun = world.tally("begun");
    let service = |name: &str, keys: &str| {
        let begin = begun.add(name);
        format!(
            "[service.{name}]\nimage = \"{IMAGE}\"\n{keys}\n[task.t-{name}]\nservices = ['{name}']\nrun = '''{begin}'''\n"
        )
    };
    let file = [
        service("dies", "run = 'echo one; echo the disk is bad; exit 3'"),
        service("lazy", "run = 'echo thinking; sleep 1000'\nready = 'exit 7'\ntimeout = '8s'"),
        service("deaf", "run = 'sleep 1000'\ntimeout = '1s'"),
        service("hangs", "run = 'sleep 1000'\nready = 'sleep 1000'\ntimeout = '1s'"),
        service("absent", "run = ['no-such-program']"),
        "[service.none]\nimage = 'localhost/no-such:1'\npull = 'never'\n\
         [task.t-none]\nservices = ['none']\nrun = 'true'\n"
            .to_owned(),
    ];
    let commit = repository.commit_tasks(&file.concat());
    let build = world.expect(&commit, "errored");
    for (name, why) in [
        ("dies", "its service dies ended with exit code 3 before it was ready; its log ends: one / the disk is bad"),
        (
            "lazy",
            "its service lazy was not ready within 8 s (the last try of its `ready` ended with exit code 7); its log ends: \
             thinking",
        ),
        ("deaf", "its service deaf was not ready within 1 s"),
        ("hangs", "its service hangs was not ready within 1 s"),
        ("absent", "its service absent ended with exit code 127 before it was ready"),
    ] {
        let job = job(&build, &format!("t-{name}"));
        let code = job.reason_code.as_deref();
        let detail = job.detail.as_deref().unwrap_or_default();
        assert_eq!(
            (job.state.as_str(), code, job.attempts.len()),
            ("errored", Some("service_not_ready"), 1),
            "{detail}"
        );
        assert!(detail.starts_with(why), "{name}: {detail}");
    }
    let shown = world.surveil(&["show", "latest"]).ok();
    assert!(shown.contains("service deaf in podman, sha256:"), "{shown}");
    assert_eq!(outcomes(&build, "t-none"), ["lost", "lost"], "another runner may have the image");
    let why = world.surveil(&["why", "latest/t-none"]).ok();
    assert!(why.contains("service none: the image localhost/no-such:1 is not on this machine"), "{why}");
    assert_eq!(begun.lines(), Vec::<String>::new(), "no task was started");
    assert_eq!(logs(world, "t-dies", "dies"), "one\nthe disk is bad\nsurveil: the service ended with exit code 3\n");
    podman.has_no_containers();
}

#[test]
fn a_service_in_an_image_that_ends_while_its_task_runs_changes_no_outcome() {
    let Some(podman) = Podman::with_networks() else { return };
    let world = &podman.world;
    let (repository, _roles) = podman.stage(&[]);
    let commit = repository.commit_tasks(&format!(
        "[service.db]\nimage = \"{IMAGE}\"\nrun = '''nc -l -p $PORT; exit 4'''\nready = 'test -e /bin/nc'\n\
         [task.test]\nservices = ['db']\n\
         run = '''until {}; do sleep 0.05; done\n\
         while busybox nc -w 1 127.0.0.1 $SURVEIL_SERVICE_DB_PORT </dev/null; do :; done\n\
         sleep 1; echo survived'''\n",
        ask("busybox nc", "DB"),
    ));
    let build = world.expect(&commit, "passed");
    let log = world.log_of(&build, "test");
    let last: Vec<&str> = log.lines().rev().take(2).collect();
    assert_eq!(last, ["surveil: the service db ended with exit code 4 before the task did", "survived"], "{log}");
    podman.has_no_containers();
}

/// S48: a cancel, of an attempt that waits and of one that runs, and a timeout.
#[test]
fn containers_of_services_end_with_their_attempt() {
    let Some(podman) = Podman::with_networks() else { return };
    let world = &podman.world;
    let (repository, _roles) = podman.stage(&[]);
    let begun = world.tally("begun");
    // It ignores TERM, as the first process of a container does that handles none.
    let db = answering("db", "word", "");
    let task = |more: &str| {
        format!("{db}[task.test]\nservices = ['db']\n{more}\nrun = '''{}; sleep 1000'''\n", begun.add("x"))
    };

    let build = world.expect(&repository.commit_tasks(&task("timeout = '500ms'")), "failed");
    assert_eq!(outcomes(&build, "test"), ["timed_out"]);
    podman.has_no_containers();

    let first = begun.lines().len();
    let commit = repository.commit_tasks(&task("# cancelled"));
    begun.reaches(first + 1);
    assert!(podman.containers().starts_with("surveil-"), "{}", podman.containers());
    world.surveil(&["cancel", "latest"]).ok();
    world.expect(&commit, "cancelled");
    podman.has_no_containers();

    let waits = format!("[service.db]\nimage = \"{IMAGE}\"\nrun = 'echo waiting; sleep 1000'\nready = 'sleep 1000'\n");
    let commit = repository.commit_tasks(&format!("{waits}[task.test]\nservices = ['db']\nrun = 'true'\n"));
    until("the service runs", || {
        let said = world.surveil(&["logs", "latest", "test", "--service=db"]);
        String::from_utf8_lossy(&said.stdout).contains("waiting")
    });
    world.surveil(&["cancel", "latest"]).ok();
    world.expect(&commit, "cancelled");
    podman.has_no_containers();
    until("the tool's processes are gone", || podman.processes().is_empty());
}

/// S22, S48.
#[test]
fn the_container_of_a_service_of_a_killed_runner_is_removed_at_its_next_start() {
    let Some(podman) = Podman::with_networks() else { return };
    let world = &podman.world;
    let (repository, [_dispatcher, _observer, runner]) = podman.stage(&[]);
    let begun = world.tally("begun");
    let commit = repository.commit_tasks(&format!(
        "{}[task.test]\nservices = ['db']\n\
         run = '''if test $SURVEIL_ATTEMPT = 1; then {}; sleep 1000; fi\n{}'''\n",
        answering("db", "word", ""),
        begun.add("x"),
        ask("busybox nc", "DB"),
    ));
    begun.reaches(1);
    let left = podman.containers();
    assert!(left.starts_with("surveil-") && left.lines().count() == 1, "{left}");
    runner.kill();
    until("nothing of it goes on", || {
        world.processes(&["SURVEIL_RUNNER=w1"]).is_empty() && podman.processes().is_empty()
    });
    let again = podman.runner();
    again.says(&format!("removed the container {left}, which an earlier process of this runner left"));
    let build = world.expect(&commit, "passed");
    assert!(world.log_of(&build, "test").ends_with("word\n"));
    podman.has_no_containers();
}
