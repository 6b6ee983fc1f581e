//! Commands that need no separate roles: `run`, `check` and `up`.

use rustix::process::Signal;

use crate::harness::{World, text, until};

#[test]
fn tasks_are_run_here_and_now_without_a_server() {
    let world = World::new();
    let repository = world.repository("app");
    repository.commit_tasks(
        "[task.test]\nneeds = ['build']\nrun = 'cat built; echo $SURVEIL_TASK $CI'\n\
         [task.build]\nrun = 'echo built > built'\n\
         [task.broken]\nrun = 'exit 7'\n",
    );
    let done = world.surveil_in(&repository.path, &["run", "test"]).ok();
    assert!(done.contains("built\ntest true\n"), "{done}");
    assert!(!done.contains("broken"), "only what was asked for: {done}");
    let failed = world.surveil_in(&repository.path, &["run"]).with_code(1);
    assert!(failed.contains("broken: failed") && failed.contains("exit code 7"), "{failed}");
    let elsewhere = world.surveil(&["run", "--dir", text(&repository.path), "build"]);
    elsewhere.ok();
    let unknown = world.surveil_in(&repository.path, &["run", "tset"]).error(2);
    assert!(unknown.contains("did you mean `test`?"), "{unknown}");
}

#[test]
fn an_interrupted_local_run_leaves_no_process() {
    let world = World::new();
    let begun = world.tally("begun");
    let repository = world.repository("app");
    repository.commit_script(&format!("setsid sleep 1000 &\n{}\nsleep 1000", begun.add("begun")));
    let mut run = world.start("run", &["run", "--grace=300ms", "--dir", text(&repository.path)]);
    begun.reaches(1);
    run.signal_group(Signal::INT);
    assert_eq!(run.exit_code(), 130);
    until("nothing is left", || world.processes(&[]).is_empty());
}

#[test]
fn a_task_file_is_checked_without_running_it() {
    let world = World::new();
    let repository = world.repository("app");
    repository.write(".surveil.toml", "[task.build]\nrun = 'exit 1'\n[task.test]\nneeds = ['build']\nrun = 'exit 1'\n");
    let listed = world.surveil(&["check", text(&repository.path)]).ok();
    assert!(listed.contains("2 tasks") && listed.contains("needs build"), "{listed}");
    let tasks = "[task.test]\nsteps = ['make', { name = 'logs', run = 'cat log', always = true }]\n\
                 when = { branches = ['main'], events = ['push'] }\n[task.deploy]\nneeds = ['test']\nmanual = true\n\
                 run = 'x'\n[schedule.nightly]\ncron = '0 3 * * *'\ntasks = ['test']\n";
    repository.write(".surveil.toml", tasks);
    let listed = world.surveil(&["check", text(&repository.path)]).ok();
    let lines = "2 tasks:\n  test  steps make, logs; only on branches main, on the events push\n  \
                 deploy  manual; needs test\n1 schedule:\n  nightly  0 3 * * *, next ";
    assert!(listed.starts_with(lines) && listed.ends_with("runs test; on the default branch\n"), "{listed}");
    repository.write(".surveil.toml", "[task.build]\nrun = 'true'\ntiemout = '20m'\n");
    let error = world.surveil_in(&repository.path, &["check"]).error(2);
    assert!(error.contains(".surveil.toml:3:1") && error.contains("write `timeout`"), "{error}");
}

#[test]
fn a_check_tells_all_mistakes_and_warns_of_what_is_not_meant() {
    let world = World::new();
    let repository = world.repository("app");
    let mistakes = "[task.build]\nrun = ['make all', 'make test']\ncolour = 'x'\nkeep = ['$HOME/.cache']\n";
    repository.write(".surveil.toml", mistakes);
    let error = world.surveil_in(&repository.path, &["check"]).error(2);
    for text in [":2:8: `make all` is no program", ":3:1: unknown key `colour`", ":4:9: `$HOME/.cache`", "3 mistakes"] {
        assert!(error.contains(text), "{text}: {error}");
    }
    let by_hand = world.surveil_in(&repository.path, &["run"]).error(2);
    assert!(by_hand.contains("`make all` is no program"), "{by_hand}");

    let doubtful = "[task.build]\nrun = 'make'\nkeep = ['out']\n[task.test]\nrun = './check'\n";
    repository.write(".surveil.toml", &doubtful.replace('\n', "\r\n"));
    repository.write_executable("check", "#!/bin/sh\r\ntrue\r\n");
    let done = world.surveil_in(&repository.path, &["check"]);
    let warned = String::from_utf8_lossy(done.stderr.as_bytes()).into_owned();
    assert!(warned.contains(":4:7: `test` removes `out`, which `build` keeps"), "{warned}");
    assert!(warned.contains("check: the first line ends with a carriage return (CRLF)"), "{warned}");
    assert!(done.ok().starts_with("2 tasks:\n"), "warnings are no mistakes, and stand apart");
}

#[test]
fn everything_in_one_process_builds_the_head_once_and_ends_with_its_verdict() {
    let world = World::new();
    let repository = world.repository("app");
    repository.commit_script("echo all is well");
    let up = ["up", ".", "--once", "--port=0"];
    let green = world.surveil_in(&repository.path, &up).ok();
    assert!(green.contains("passed"), "{green}");
    assert!(green.contains(text(&world.data())), "it says where the data lies: {green}");
    until("nothing is left", || world.processes(&[]).is_empty());

    repository.commit_script("echo all is lost; exit 1");
    let red = world.surveil_in(&repository.path, &up).with_code(1);
    assert!(red.contains("failed") && red.contains("all is lost"), "{red}");
    let again = world.surveil_in(&repository.path, &up).with_code(1);
    assert!(again.contains("built before"), "{again}");
    world.surveil_in(&repository.path, &["up", ".", "--once", "--rerun", "--port=0"]).with_code(1);
    until("nothing is left", || world.processes(&[]).is_empty());
}

#[test]
fn everything_in_one_process_goes_on_watching_until_it_is_interrupted() {
    let world = World::new();
    let begun = world.tally("begun");
    let repository = world.repository("app");
    repository.commit_script("echo one");
    let mut up = world.start("up", &["up", text(&repository.path), "--port=0"]);
    up.says("passed");
    let second = repository.commit_script(&format!("setsid sleep 1000 &\n{}\nsleep 1000", begun.add("begun")));
    up.says(&second[..7]);
    begun.reaches(1);
    up.signal_group(Signal::INT);
    assert_eq!(up.exit_code(), 0, "that is how it is meant to be ended");
    until("nothing is left", || world.processes(&[]).is_empty());
}

#[test]
fn a_first_task_file_is_written_for_what_is_there_and_never_over_another() {
    let world = World::new();
    let repository = world.repository("app");
    let nothing = world.surveil_in(&repository.path, &["init"]).error(2);
    assert!(nothing.contains("has no file that is known here") && nothing.contains("[task.test]"), "{nothing}");
    repository.write("Makefile", "all:\n\techo made > made\ntest:\n\tcat made\n");
    let written = world.surveil_in(&repository.path, &["init"]).ok();
    assert!(written.contains(".surveil.toml is written for Makefile (make)"), "{written}");
    let checked = world.surveil_in(&repository.path, &["check"]);
    assert_eq!(checked.stderr, "");
    assert!(checked.ok().starts_with("1 task:\n  test\n"));
    let file = repository.path.join(".surveil.toml");
    let first = std::fs::read(&file).unwrap();
    let again = world.surveil(&["init", text(&repository.path)]).error(2);
    assert!(again.contains(".surveil.toml is there already"), "{again}");
    assert_eq!(std::fs::read(&file).unwrap(), first);
}
