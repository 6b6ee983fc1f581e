//! Tasks with an image under `surveil run`.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use rustix::process::Signal;

use super::local::run;
use super::services::{PROGRAM, answering, ask};
use super::stand_in::with_stand_in;
use super::{Podman, in_image};
use crate::harness::{text, until};

/// In a container of the image, at the place of the work tree, and with the variables of the task alone; in the work
/// tree as it is, in a clean one, and in a linked one.
#[test]
fn a_local_run_executes_tasks_in_their_images() {
    let Some(podman) = Podman::new() else { return };
    let world = &podman.world;
    let repository = world.repository("app");
    repository.write("given", "from the commit\n");
    repository.write("sub/keep", "");
    let tasks = in_image(&[
        (
            "one",
            "env = { TEXT = \"two\\nlines\" }\ndir = \"sub\"\nrun = '''\ncat ../given\npwd\necho \"$TEXT\"\n\
             echo kept > $TMPDIR/file; echo made > ../made; echo FROM_ONE=told >> $SURVEIL_OUTPUT\n\
             echo \"mine ${FOREIGN-none} ${SURVEIL_WORK-none}\"\n'''",
        ),
        (
            "secret",
            "secrets = [\"TOKEN\", { name = \"KEY\", file = true }]\nexpand = true\nrun = '''\n\
             test \"$(cat $KEY)\" = of-a-file; echo \"token $TOKEN\"\n\
             printf '[task.more]\\nrun = \"echo written\"\\n' > $SURVEIL_TASKS\n'''",
        ),
        (
            "two",
            "needs = [\"one\"]\nsteps = [\n\
             \"echo installed > /installed; echo A=set >> $SURVEIL_ENV; sleep 1000 &\",\n\
             \"cat /installed; echo A is $A, FROM_ONE is $FROM_ONE\",\n\"exit 125\",\n\
             { name = \"last\", always = true, run = \"echo at last\" },\n]",
        ),
    ]) + "[task.three]\nneeds = [\"one\"]\nrun = \"echo after $FROM_ONE\"\n";
    repository.commit_tasks(&tasks);
    let linked = world.path("linked");
    repository.git(&["worktree", "add", "--quiet", text(&linked)]);
    let templates = podman.templates();
    let said = |directory: &std::path::Path, more: &[&str]| {
        let mut command = world.command(&run(&templates, more));
        command.current_dir(directory).env("FOREIGN", "of the person");
        world.run(command).with_code(1)
    };
    let own = repository.path.display().to_string();
    let clean = world.path("work").join("clean").display().to_string();
    for (directory, more, place) in [
        (&repository.path, &["two", "three"][..], &*own),
        (&repository.path, &["--clean", "two", "three"], &clean),
        (&linked, &["two", "three"], text(&linked)),
    ] {
        let said = said(directory, more);
        let lines: Vec<&str> = said.lines().collect();
        let at = lines.iter().position(|line| line.starts_with("surveil: image ")).unwrap();
        assert!(lines[at].starts_with("surveil: image surveil-test:1 (sha256:"), "{said}");
        assert!(lines[at].ends_with("), by podman") && lines[at - 1] == "==> one", "{said}");
        assert_eq!(lines[at + 1], "from the commit", "{said}");
        assert!(lines[at + 2].contains(place) && lines[at + 2].ends_with("/sub"), "{said}");
        assert_eq!(lines[at + 3..at + 6], ["two", "lines", "mine none none"], "{said}");
        for part in ["installed\nA is set, FROM_ONE is told\n", "\nat last\n", "\nafter told\n", "  two: failed\n"] {
            assert!(said.contains(part), "{part:?} in {said}");
        }
        assert!(said.contains("two: failed in ") && said.contains(" (exit code 125 in step `"), "{said}");
        assert_eq!(directory.join("made").exists(), more[0] != "--clean", "the tree is that of the person");
        podman.has_no_containers();
        fs::remove_file(directory.join("made")).ok();
    }
    let mut command = world.command(&run(&templates, &["--clean", "secret"]));
    command.current_dir(&repository.path).env("TOKEN", "of-a-variable").env("KEY", "of-a-file");
    let said = world.run(command).ok();
    assert!(said.contains("\ntoken ***\n") && said.contains("\nwritten\n"), "{said}");
    until("nothing is left", || world.processes(&[]).is_empty() && podman.processes().is_empty());
}

/// Git in the image reads the objects of the repository, wherever they are.
#[test]
fn the_objects_of_the_repository_are_in_the_container_of_a_local_run() {
    let Some(podman) = Podman::new() else { return };
    let world = &podman.world;
    let repository = world.repository("app");
    let script = "if test -f .git; then read -r word place < .git; cat $place/HEAD\n\
                  elif test -e .git/objects/info/alternates; then read -r place < .git/objects/info/alternates\n\
                  ls $place | cat; if echo x > $place/written; then echo wrote; fi\nelse cat .git/HEAD; fi";
    repository.commit_tasks(&in_image(&[("test", &format!("run = '''\n{script}\n'''"))]));
    let linked = world.path("linked");
    repository.git(&["worktree", "add", "--quiet", text(&linked)]);
    let templates = podman.templates();
    for (directory, more, wanted) in [
        (&repository.path, &["test"][..], "\nref: refs/heads/"),
        (&repository.path, &["--clean", "test"], "\npack\n"),
        (&linked, &["test"], "\nref: refs/heads/linked\n"),
    ] {
        let said = world.surveil_in(directory, &run(&templates, more)).ok();
        assert!(said.contains(wanted) && !said.contains("wrote"), "{wanted:?} in {said}");
    }
}

/// The codes of a task are its failures, whatever they are. A tool that starts no container makes it errored, and so
/// does a container that is gone.
#[test]
fn a_failure_of_the_tool_is_no_failure_of_a_local_task() {
    let Some(podman) = Podman::new() else { return };
    let world = &podman.world;
    podman.import(&[], "no-shell:1").unwrap();
    let repository = world.repository("app");
    let tasks = in_image(&[
        ("entry", "run = \"exit 126\""),
        ("killed", "run = \"kill -KILL $$\""),
        ("program", "run = [\"no-such-program\"]"),
        ("slow", "timeout = \"1s\"\nrun = \"trap '' TERM; while :; do sleep 1000; done\""),
        ("quiet", "quiet_timeout = \"1s\"\nrun = \"echo quiet now; sleep 1000\""),
        ("gone", "steps = [\"kill -KILL $PPID\", { name = \"last\", always = true, run = \"echo at last\" }]"),
    ]) + "[task.missing]\nimage = \"localhost/no-such:1\"\npull = \"never\"\nrun = \"true\"\n\
          [task.fetched]\nimage = \"localhost:1/no-such:1\"\nrun = \"true\"\n\
          [task.no-shell]\nimage = \"no-shell:1\"\nrun = \"true\"\n\
          [task.plain]\nneeds = [\"no-shell\"]\nrun = \"true\"\n";
    repository.commit_tasks(&tasks);
    let templates = podman.templates();
    let run =
        |more: &[&str]| world.surveil_in(&repository.path, &run(&templates, &[&["--grace=300ms"], more].concat()));
    for (task, code, words) in [
        ("entry", 1, "entry: failed in "),
        ("entry", 1, " (exit code 126)\n"),
        ("killed", 1, " (exit code 137)\n"),
        ("program", 3, "(the image surveil-test:1 has no program no-such-program)\n"),
        ("slow", 1, "slow: timed out after "),
        ("quiet", 1, "quiet: timed out after "),
        ("gone", 3, "(the container of the image surveil-test:1 was gone before the task had ended (podman: "),
        ("gone", 3, "    last: left out\n"),
        (
            "missing",
            3,
            "(the image localhost/no-such:1 is not on this machine, and the task fetches none (pull = \"never\"))",
        ),
        ("fetched", 3, "(podman could not fetch the image localhost:1/no-such:1: "),
        ("no-shell", 3, "its message is in the output; an image needs a program /bin/sh)\n"),
        ("plain", 3, "plain: skipped"),
    ] {
        let said = run(&[task]).with_code(code);
        assert!(said.contains(words), "{words:?} in {said}");
    }
    let told = run(&["fetched"]).error(3);
    assert!(told.contains("surveil: podman fetches the image localhost:1/no-such:1\n"), "{told}");
    podman.has_no_containers();
}

/// A service has its port published, another one shares the network of the machine, and a third is a program.
#[test]
fn a_task_in_an_image_reaches_its_services_in_a_local_run() {
    let Some(podman) = Podman::with_networks() else { return };
    let world = &podman.world;
    let repository = world.repository("app");
    let port = if podman.has_networks { "port = 5432\n" } else { "" };
    let asks = ["DB", "MQ", "WEB"].map(|service| ask("nc", service));
    let file = answering("db", "fixed", port)
        + &answering("mq", "queue", "")
        + PROGRAM
        + &in_image(&[(
            "test",
            &format!(
                "services = ['db', 'mq', 'web']\nsteps = ['''\n{}\n{}\n{} >/dev/null''', 'echo again']",
                asks[0], asks[1], asks[2]
            ),
        )]);
    repository.commit_tasks(&file);
    let templates = podman.templates();
    for more in [&["test"][..], &["--clean", "test"]] {
        let said = world.surveil_in(&repository.path, &run(&templates, more)).ok();
        for line in ["fixed", "queue", "again"] {
            assert!(said.lines().any(|it| it == line), "{line} in {said}");
        }
        podman.has_no_containers();
    }
    until("nothing is left", || world.processes(&[]).is_empty() && podman.processes().is_empty());
}

/// Ctrl-C and SIGTERM end the container of a task, with steps and without. A kill leaves it, and the next run
/// removes it.
#[test]
fn the_container_of_a_task_ends_with_its_local_run() {
    let Some(podman) = Podman::new() else { return };
    let world = &podman.world;
    let repository = world.repository("app");
    let begun = repository.path.join("begun");
    let waits = "echo x > begun; trap 'echo asked' TERM; sleep 1000 & wait || echo behind";
    repository.commit_tasks(&in_image(&[
        ("test", &format!("run = \"{waits}\"")),
        (
            "steps",
            &format!("steps = [\"true\", \"{waits}\", {{ name = \"last\", always = true, run = \"echo last\" }}]"),
        ),
        ("after", "needs = [\"test\"]\nrun = \"echo after\""),
        ("next", "run = \"echo next\""),
    ]));
    let templates = podman.templates();
    let dir = format!("--dir={}", text(&repository.path));
    let start = |task: &'static str| {
        fs::remove_file(&begun).ok();
        let run = world.start("run", &run(&templates, &["--grace=20s", &dir, task]));
        until("the task runs", || begun.exists());
        run
    };
    let has_ended = || until("nothing is left", || world.processes(&[]).is_empty() && podman.processes().is_empty());
    for (task, signal, code) in [("after", Signal::INT, 130), ("steps", Signal::TERM, 143)] {
        let mut run = start(task);
        assert!(podman.containers().starts_with("surveil-"), "{}", podman.containers());
        run.signal_group(signal);
        assert_eq!(run.exit_code(), code, "{}", run.log());
        assert_eq!(podman.containers(), "", "the container is gone when the command has ended");
        run.says("asked\nbehind\n");
        assert!(!run.log().contains("last\n") && !run.log().contains("after\n"), "{}", run.log());
        has_ended();
    }
    start("test").kill();
    has_ended();
    let left = podman.containers();
    assert!(left.starts_with("surveil-") && left.lines().count() == 1, "{left}");
    let said = world.surveil_in(&repository.path, &run(&templates, &["-v", "next"]));
    assert!(said.stderr.contains(&format!("removed the container {left}, which a `surveil run`")), "{}", said.stderr);
    assert!(said.ok().contains("\nnext\n"));
    assert_eq!(podman.containers(), "");
}

/// Before anything runs, with the reason for each tool that is there and cannot be used.
#[test]
fn a_local_run_without_a_container_tool_says_so_before_anything_runs() {
    let (world, _, _) = with_stand_in("docker");
    let repository = world.repository("app");
    let file = "[task.plain]\nrun = \"echo started\"\n[task.test]\nneeds = [\"plain\"]\nimage = \"app:1\"\nrun = \"true\"\n\
                [task.later]\nmanual = true\nimage = \"app:2\"\nrun = \"true\"\n";
    repository.commit_tasks(file);
    let bin = world.path("bin");
    let run = |more: &[&str]| {
        let mut command = world.command(&[&["run"], more].concat());
        command.current_dir(&repository.path).env("PATH", &bin);
        world.run(command)
    };
    let is_told = |more: &[&str], wanted: &str| {
        let done = run(more);
        assert_eq!(done.stdout, b"", "{done:?}");
        let told = done.error(3);
        assert!(told.ends_with(&format!("surveil: {wanted}\n")), "{told}");
        told
    };
    let none = "the task `test` has the image app:1, and --image-tool is none";
    is_told(&["--image-tool=none", "test"], none);
    is_told(&["--image-tool=none"], &format!("{none}; tasks without images run if they are named"));
    let program = "the container tool podman cannot be used: there is no program podman in PATH";
    is_told(&["--image-tool=podman", "test"], &format!("the task `test` has the image app:1: {program}"));
    let docker = bin.join("docker");
    fs::write(&docker, "#!/bin/sh\necho 'Cannot connect to the Docker daemon' >&2\nexit 1\n").unwrap();
    fs::set_permissions(&docker, fs::Permissions::from_mode(0o755)).unwrap();
    let told = is_told(
        &["test"],
        "the task `test` has the image app:1, and no container tool can be used here: install podman, docker or apptainer, \
         or name one with --image-tool",
    );
    let why = "warning: the container tool docker cannot be used: Cannot connect to the Docker daemon\n";
    assert!(told.contains(why), "{told}");
    let said = run(&["plain", "--image-tool=none"]).ok();
    assert!(said.contains("\nstarted\n"), "{said}");
}

/// Ctrl-C ends each call of a tool that does not answer: while containers of earlier runs are listed, which is before
/// anything runs; while an image is fetched; and while a container starts.
#[test]
fn a_local_run_does_not_wait_for_a_tool_that_hangs() {
    let (world, templates, record) = with_stand_in("docker");
    let repository = world.repository("app");
    let task = |name: &str| format!("[task.{name}]\nimage = \"{name}:1\"\nrun = \"true\"\n");
    repository.commit_tasks(&["slow-pull", "stuck"].map(task).concat());
    let dir = format!("--dir={}", text(&repository.path));
    let interrupted = |task: &str, call: &str| {
        fs::remove_file(&record).ok();
        let flags = ["run", "--image-tool=docker", &templates, "--grace=300ms", &dir, task];
        let mut run = world.start("run", &flags);
        let is_called = |record: String| record.lines().any(|line| line.starts_with(call));
        until(call, || fs::read_to_string(&record).is_ok_and(is_called));
        run.signal_group(Signal::INT);
        assert_eq!(run.exit_code(), 130, "{}", run.log());
        until("the tool's processes are gone", || world.processes(&[]).is_empty());
        run.log()
    };
    let log = interrupted("slow-pull", "docker pull ");
    assert!(log.contains("docker fetches the image slow-pull:1\n"), "{log}");
    interrupted("stuck", "docker run ");
    let _gate = world.gate("gate");
    let log = interrupted("stuck", "docker ps ");
    assert!(!log.contains("==>"), "{log}");
}

/// Apptainer has files for images, and a container for each command. A service in an image is refused before anything
/// runs.
#[test]
fn a_local_run_executes_tasks_by_apptainer() {
    let (world, templates, record) = with_stand_in("apptainer");
    let repository = world.repository("app");
    repository.commit_tasks(
        "[task.test]\nimage = \"example.org/app:1\"\nsteps = [\"echo A=1 >> $SURVEIL_ENV\", \"echo A is $A; exit 4\"]\n\
         [service.db]\nimage = \"db:1\"\n[task.served]\nservices = [\"db\"]\nrun = \"echo started\"\n\
         [task.limited]\nimage = \"example.org/app:1\"\nprocesses = 20\nrun = \"true\"\n",
    );
    let run = |task: &str| world.surveil_in(&repository.path, &["run", "--image-tool=apptainer", &templates, task]);
    let said = run("test").with_code(1);
    assert!(said.contains("A is 1\n") && said.contains("(exit code 4 in step `"), "{said}");
    let file = world.path("work").join("images/example.org%2fapp%3a1.sif");
    assert_eq!(fs::read_to_string(&file).unwrap(), "image\n");
    let record = fs::read_to_string(record).unwrap();
    assert!(record.contains(&format!(" {} /bin/sh ", file.display())), "{record}");
    assert_eq!(record.lines().filter(|line| line.starts_with("apptainer pull ")).count(), 1, "{record}");
    // A template of a person may lack a limit.
    let file = templates.split_once('=').unwrap().1;
    let without = fs::read_to_string(file).unwrap().replace("\"--pids-limit={processes}\", ", "");
    fs::write(file, without.replace("\n  \"--pids-limit={processes}\",", "\n ")).unwrap();
    let flags = ["run", "-v", "--image-tool=apptainer", &templates, "limited"];
    let told = world.surveil_in(&repository.path, &flags).error(0);
    assert!(
        told.contains("limited: not enforced here: processes (the template of apptainer has no {processes})"),
        "{told}"
    );
    let told = run("served").error(3);
    let why =
        "the service `db` of the task `served` has the image db:1, and apptainer starts no services in images: use ";
    assert!(told.contains(why) && !told.contains("started"), "{told}");
}
