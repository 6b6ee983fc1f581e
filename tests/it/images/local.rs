//! Services in images beside tasks of `surveil run`.

use regex::Regex;
use rustix::process::Signal;

use super::services::{PROGRAM, answering, ask};
use super::{IMAGE, Podman};
use crate::harness::{text, until};

/// The words of `surveil run` for the store of the tests.
pub(super) fn run<'a>(templates: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    [&["run", "--image-tool=podman", templates][..], more].concat()
}

/// A service has its port published, another one shares the network of the machine, and a third is a program: the task
/// reaches all, in the work tree as it is and in a clean one.
#[test]
fn a_local_run_has_services_in_images() {
    let Some(podman) = Podman::with_networks() else { return };
    let world = &podman.world;
    let repository = world.repository("app");
    repository.write("given", "from the commit\n");
    let port = if podman.has_networks { "port = 5432\n" } else { "" };
    let file = answering("db", "fixed", &format!("{port}ready = 'test -e given'\n"))
        + &answering("mq", "queue", "")
        + PROGRAM
        + &format!(
            "[task.test]\nservices = ['db', 'mq', 'web']\nrun = '''\n{}\n{}\n\
             git ls-remote git://127.0.0.1:$SURVEIL_SERVICE_WEB_PORT/ >/dev/null || true\necho {{done}}'''\n",
            ask("busybox nc", "DB"),
            ask("busybox nc", "MQ"),
        )
        + &format!(
            "[service.ends]\nimage = \"{IMAGE}\"\nrun = 'echo the disk is bad; exit 3'\n\
             [service.none]\nimage = 'localhost/no-such:1'\npull = 'never'\n\
             [task.ends]\nservices = ['ends']\nrun = 'echo started'\n\
             [task.none]\nservices = ['none']\nrun = 'echo started'\n"
        );
    repository.commit_tasks(&file);
    let templates = podman.templates();
    // Those lines come whenever a service writes, also within a line of the task.
    let lines_of_services = Regex::new(r"(db|mq|web) \| .*\n").unwrap();
    for more in [&["test"][..], &["--clean", "test"]] {
        let said = world.surveil_in(&repository.path, &run(&templates, more)).ok();
        let own = lines_of_services.replace_all(&said, "");
        assert!(own.contains("\nfixed\nqueue\n{done}\n") && said.contains("mq | queue on "), "{said}");
        assert!(!podman.has_networks || said.contains("db | fixed on 5432\n"), "{said}");
        podman.has_no_containers();
    }
    for (task, why) in [
        ("ends", "its service ends ended with exit code 3 before it was ready; its log ends: the disk is bad"),
        ("none", "service none: the image localhost/no-such:1 is not on this machine"),
    ] {
        let said = world.surveil_in(&repository.path, &run(&templates, &[task])).with_code(3);
        assert!(said.contains(why) && !said.contains("started\n"), "{said}");
    }
    let told = world.surveil_in(&repository.path, &["run", "--image-tool=none", "none"]).error(3);
    let why = "the service `none` of the task `none` has the image localhost/no-such:1, and --image-tool is none";
    assert!(told.contains(why), "{told}");
    podman.has_no_containers();
    until("nothing is left", || world.processes(&[]).is_empty() && podman.processes().is_empty());
}

/// S48: Ctrl-C while the task runs, and while a service is not ready yet. A kill leaves a container, and the next run
/// removes it.
#[test]
fn containers_of_services_end_with_their_local_run() {
    let Some(podman) = Podman::new() else { return };
    let world = &podman.world;
    let repository = world.repository("app");
    let begun = world.tally("begun");
    let trying = world.tally("trying");
    repository.commit_tasks(&format!(
        "{}[task.test]\nservices = ['db']\nrun = '''{}; sleep 1000'''\n\
         [service.slow]\nimage = \"{IMAGE}\"\nrun = 'sleep 1000'\nready = 'sleep 1000'\n\
         [service.tells]\nrun = '''{}; sleep 1000'''\nready = 'true'\n\
         [task.waits]\nservices = ['tells', 'slow']\nrun = 'true'\n\
         [task.next]\nservices = ['db']\nrun = 'echo next'\n",
        answering("db", "word", ""),
        begun.add("begun"),
        trying.add("trying"),
    ));
    let templates = podman.templates();
    let dir = format!("--dir={}", text(&repository.path));
    let start = |task: &'static str| world.start("run", &run(&templates, &["--grace=300ms", &dir, task]));
    let is_there = || podman.containers().starts_with("surveil-");
    let has_ended = || until("nothing is left", || world.processes(&[]).is_empty() && podman.processes().is_empty());

    let mut run = start("test");
    begun.reaches(1);
    assert!(is_there(), "{}", podman.containers());
    run.signal_group(Signal::INT);
    assert_eq!(run.exit_code(), 130, "{}", run.log());
    assert_eq!(podman.containers(), "", "the container is gone when the command has ended");
    has_ended();

    let mut run = start("waits");
    trying.reaches(1);
    until("the container is there", is_there);
    run.signal_group(Signal::INT);
    assert_eq!(run.exit_code(), 130, "{}", run.log());
    assert_eq!(podman.containers(), "", "the container is gone when the command has ended");
    has_ended();

    let run = start("test");
    begun.reaches(2);
    run.kill();
    has_ended();
    let left = podman.containers();
    assert!(left.starts_with("surveil-") && left.lines().count() == 1, "{left}");
    // A run that is not over keeps its containers.
    let mut other = start("test");
    begun.reaches(3);
    let kept = podman.containers();
    assert!(kept.starts_with("surveil-") && !kept.contains(&left) && kept.lines().count() == 1, "{kept}, {left}");
    start("next").finish_with(0);
    assert_eq!(podman.containers(), kept);
    other.signal_group(Signal::INT);
    assert_eq!(other.exit_code(), 130, "{}", other.log());
    assert_eq!(podman.containers(), "");
}
