//! Schedules: builds that the clock asks for.

use surveil::model::{Record, WallTime};
use surveil::store::sqlite;

use crate::harness::{World, job};

/// It comes due on New Year's Day only, so that nothing fires while the test runs.
const TASKS: &str = "[schedule.yearly]\ncron = '0 0 1 1 *'\ntimezone = 'Europe/Berlin'\ntasks = ['fuzz']\n\
                     [task.fuzz]\nrun = 'true'\nneeds = ['build']\n\
                     [task.build]\nrun = 'true'\n[task.lint]\nrun = 'true'\n";

const DAY_MS: i64 = 24 * 60 * 60 * 1000;

/// Sets the last firing of all schedules back, as if the dispatcher had been down since then.
fn set_back(world: &World, days: i64) {
    let mut store = sqlite::open(&world.data().join("surveil.db")).unwrap();
    let mut schedules = store.snapshot().unwrap().schedules;
    assert_eq!(schedules.len(), 1);
    let back =
        |schedule: &mut surveil::model::Schedule| schedule.last_due = WallTime(schedule.last_due.0 - days * DAY_MS);
    schedules.iter_mut().for_each(back);
    store.commit(&schedules.into_iter().map(Record::ScheduleSaved).collect::<Vec<_>>()).unwrap();
}

#[test]
fn a_firing_that_was_missed_is_made_up_for_once() {
    let world = World::new();
    let repository = world.repository("app");
    let commit = repository.commit_tasks(TASKS);
    // The schedule names no branch, and is that of the default branch, whatever its name is.
    repository.git(&["branch", "--move", "trunk"]);
    let [mut dispatcher, _observer, _runner] = world.roles(&[&repository]);
    world.expect(&commit, "passed");
    let status = world.surveil(&["status"]).ok();
    assert!(status.contains("schedule yearly of trunk in app fires next 20"), "{status}");
    assert!(status.contains("-01-01 00:00 Europe/Berlin, in "), "{status}");
    dispatcher.signal(rustix::process::Signal::TERM);
    assert_eq!(dispatcher.exit_code(), 0);

    // Three firings were missed.
    set_back(&world, 3 * 365);
    let mut dispatcher = world.dispatcher(&[]);
    let build = world.build_that("of the schedule is finished", |it| it.build == 2 && it.finished_ms.is_some());
    assert_eq!((&*build.trigger, &*build.state, &*build.commit), ("schedule", "passed", &*commit));
    assert_eq!(job(&build, "lint").state, "left_out");
    assert_eq!([job(&build, "fuzz"), job(&build, "build")].map(|job| &*job.state), ["passed"; 2]);
    let why = world.surveil(&["why", "b2"]).ok();
    assert!(why.contains("schedule yearly came due (00:00 Europe/Berlin)"), "{why}");
    dispatcher.signal(rustix::process::Signal::TERM);
    assert_eq!(dispatcher.exit_code(), 0);

    // The schedule is looked at before anything is accepted, and the next build is that of the next commit.
    let _dispatcher = world.dispatcher(&[]);
    let next = repository.commit_tasks("[task.build]\nrun = 'true'\n");
    assert_eq!(world.expect(&next, "passed").build, 3);
    assert!(!world.surveil(&["status"]).ok().contains("schedule yearly"), "the head has no schedule any more");
}

#[test]
fn a_check_tells_the_next_firing_and_a_mistake_its_place() {
    let world = World::new();
    let repository = world.repository("app");
    repository.write(".surveil.toml", TASKS);
    let checked = world.surveil_in(&repository.path, &["check"]).ok();
    assert!(checked.contains("\n1 schedule:\n  yearly  0 0 1 1 *, next 20"), "{checked}");
    assert!(checked.ends_with("-01-01 00:00 Europe/Berlin; runs fuzz; on the default branch\n"), "{checked}");
    let plan = |name: &str| world.surveil_in(&repository.path, &["plan", "--schedule", name]);
    let planned = plan("yearly").ok();
    assert!(planned.starts_with("schedule of main"), "{planned}");
    let told: Vec<Vec<&str>> = planned.lines().skip(2).map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(told[..2], [vec!["runs", "build"], vec!["runs", "fuzz", "build"]]);
    assert_eq!(told[2][..3], ["left", "out", "lint"]);
    assert!(plan("weekly").error(2).contains("there is no schedule `weekly` (schedules: yearly)"));
    repository.write(".surveil.toml", &TASKS.replace("0 0 1 1 *", "0 0 31 2 *"));
    let refused = world.surveil_in(&repository.path, &["check"]).error(2);
    assert!(refused.contains(".surveil.toml:2:8: the cron line never fires\n"), "{refused}");
    world.surveil_in(&repository.path, &["run", "build"]).error(2);
}
