//! Schedules: what is accepted, each mistake, and the plans of builds that a schedule causes.

use std::sync::Arc;

use super::*;
use crate::model::reason::LeftOutReason;
use crate::model::{
    BranchName, BuildSource, CommitId, PlannedSchedule, RefName, RepoName, ScheduleRule, Trigger, TriggerKind, Trust,
    WallTime,
};

const TASKS: &str = "[task.build]\nrun = 'x'\n[task.fuzz]\nrun = 'x'\nneeds = ['build']\n[task.lint]\nrun = 'x'\n";

fn source(branch: &str, schedule: Option<&str>) -> BuildSource {
    let branch = BranchName::new(branch);
    let mut trigger = Trigger::push(&branch, None, Vec::new());
    if let Some(name) = schedule {
        let (name, timezone) = (name.into(), "UTC".into());
        let kind = TriggerKind::Schedule { name, due: WallTime(0), timezone };
        trigger = Trigger { kind, reference: RefName::of_branch(&branch), trust: Trust::Trusted };
    }
    let (repo, commit) = (RepoName::new("app").unwrap(), CommitId::from_bytes(&[1; 20]).unwrap());
    BuildSource { repo, commit, trigger, subject: String::new(), author: String::new() }
}

fn plan(schedules: &str, source: &BuildSource) -> Plan {
    let text = format!("{TASKS}{schedules}");
    parse_tasks(TASK_FILE, text.as_bytes(), PlanContext::Build(source)).unwrap_or_else(|error| panic!("{error}"))
}

/// The plan of a new head, in a repository with these default branches.
fn plan_of_head(schedules: &str, source: &BuildSource, defaults: &[&str]) -> Plan {
    let text = format!("{TASKS}{schedules}");
    let defaults: Vec<_> = defaults.iter().map(|name| BranchName::new(name)).collect();
    let context = PlanContext::Head(source, &defaults);
    parse_tasks(TASK_FILE, text.as_bytes(), context).unwrap_or_else(|error| panic!("{error}"))
}

/// The names of the schedules that a branch has, if the default branch is `main`.
fn names(schedules: &str, branch: &str) -> Vec<String> {
    names_with_default(schedules, branch, &["main"])
}

fn names_with_default(schedules: &str, branch: &str, defaults: &[&str]) -> Vec<String> {
    plan_of_head(schedules, &source(branch, None), defaults)
        .schedules
        .iter()
        .map(|schedule| schedule.name.to_string())
        .collect()
}

/// The first line and the help of the mistake in `[schedule.nightly]` with these lines, behind the place.
fn mistake(lines: &str) -> String {
    let text = error(&format!("[schedule.nightly]\n{lines}\n{TASKS}"));
    let (first, help) = (text.lines().next().unwrap(), text.split("= help: ").nth(1).unwrap());
    let help = help.lines().map(str::trim).take_while(|line| !line.is_empty()).collect::<Vec<_>>().join("\n");
    format!("{}\n{help}", first.strip_prefix("f:").unwrap())
}

#[test]
fn a_schedule_has_a_cron_line_and_a_time_zone() {
    let text = "[schedule.nightly]\ncron = '17 3 * * *'\ntimezone = 'Europe/Berlin'\ntasks = ['fuzz']\n\
                [schedule.weekly]\ncron = '0 6 * * mon'";
    let rule = |cron: &str, timezone: &str| ScheduleRule { cron: cron.into(), timezone: timezone.into() };
    let planned = |name: &str, rule, names_tasks| PlannedSchedule { name: Arc::from(name), rule, names_tasks };
    assert_eq!(
        plan_of_head(text, &source("main", None), &["main"]).schedules,
        [
            planned("nightly", rule("17 3 * * *", "Europe/Berlin"), true),
            planned("weekly", rule("0 6 * * mon", "UTC"), false)
        ]
    );
}

/// A file is on many branches, and its schedules are to fire once.
#[test]
fn a_schedule_counts_on_its_own_branch_only() {
    let text = "[schedule.a]\ncron = '0 3 * * *'\n[schedule.b]\ncron = '0 3 * * *'\nbranch = 'release/1'";
    assert_eq!(names(text, "main"), ["a"]);
    assert_eq!(names(text, "master"), [""; 0], "a repository that has both fires once");
    assert_eq!(names(text, "release/1"), ["b"]);
    assert_eq!(names_with_default(text, "trunk", &["trunk"]), ["a"]);
    assert_eq!(names_with_default(text, "main", &["trunk"]), [""; 0]);
    assert_eq!(names_with_default(text, "release/1", &["release/1"]), ["a", "b"]);
    assert_eq!(names(text, "topic"), [""; 0]);
    let tag = BuildSource {
        trigger: Trigger::of_move(RefName::new("refs/tags/main"), None, Vec::new(), None),
        ..source("main", None)
    };
    assert_eq!(plan_of_head(text, &tag, &["main"]).schedules, []);
    assert_eq!(plan(text, &source("main", None)).schedules, [], "a build that moves no branch changes no schedule");
}

#[test]
fn a_schedule_runs_the_tasks_that_it_names_with_what_they_need() {
    let left_out = |schedules: &str| {
        let plan = plan(schedules, &source("main", Some("nightly")));
        let left_out = plan.tasks.into_iter().filter(|task| task.left_out == Some(LeftOutReason::NotAsked));
        left_out.map(|task| task.spec.name.to_string()).collect::<Vec<_>>()
    };
    assert_eq!(left_out("[schedule.nightly]\ncron = '0 3 * * *'\ntasks = ['fuzz']"), ["lint"]);
    assert_eq!(left_out("[schedule.nightly]\ncron = '0 3 * * *'\ntasks = ['lint']"), ["build", "fuzz"]);
    assert_eq!(left_out("[schedule.nightly]\ncron = '0 3 * * *'"), [""; 0]);
}

#[test]
fn a_mistake_in_a_schedule_is_told_with_its_place() {
    for (lines, told) in [
        ("cron = '0 0 31 2 *'", "2:8: the cron line never fires\nname a day of the month that the month has"),
        (
            "cron = '* * * * * *'",
            "2:8: the cron line has six fields\n\
             leave out the field of the seconds: a schedule fires at most once a minute;\n\
             the five fields are minute, hour, day of the month, month, day of the week",
        ),
        ("cron = '@daily'", "2:8: `@daily` is not a line of five fields\nwrite `0 0 * * *` instead"),
        (
            "timezone = 'UTC'",
            "1:11: schedule `nightly` has no `cron`\nadd a line that says when, such as `cron = \"17 3 * * *\"`",
        ),
        ("cron = '0 3 * * *'\ntimezone = 'Berlin'", "3:12: there is no time zone `Berlin`\nwrite `Europe/Berlin`"),
        (
            "cron = '0 3 * * *'\ntimezone = 'Europe/Berln'",
            "3:12: there is no time zone `Europe/Berln`\nwrite `Europe/Berlin`",
        ),
        (
            "cron = '0 3 * * *'\ntasks = ['build', 'fuz']",
            "3:19: schedule `nightly` runs `fuz`, which is not a task\nwrite `fuzz`, or add a task of that name",
        ),
        (
            "cron = '0 3 * * *'\ntasks = []",
            "3:9: `tasks` is empty, so that nothing would run\nleave `tasks` out for all tasks",
        ),
        (
            "cron = '0 3 * * *'\nbranch = 'release/*'",
            "3:10: `release/*` cannot name a branch\nwrite the name of one branch, such as `branch = \"main\"`",
        ),
        (
            "cron = '0 3 * * *'\ntask = ['fuzz']",
            "3:1: unknown key `task` of a schedule\nwrite `tasks`; the keys of a schedule are cron, timezone, branch, \
             tasks",
        ),
    ] {
        assert_eq!(mistake(lines), told);
    }
    let zone = "2:8: the cron line has a time zone in it\n\
                write `cron = \"0 3 * * *\"` and `timezone = \"Europe/Berlin\"`";
    assert_eq!(mistake("cron = 'CRON_TZ=Europe/Berlin 0 3 * * *'"), zone);
    assert!(mistake("cron = '61 3 * * *'").starts_with("2:8: the cron line cannot be read: "));
    assert!(mistake("cron = '0 3 * * *'\ntimezone = '../../etc/passwd'").contains("such as `Europe/Berlin`"));
    assert!(mistake("cron = 3").starts_with("2:8: `cron` must be a string, this is a whole number\n"));
    assert!(error(&format!("schedule = 'nightly'\n{TASKS}")).starts_with("f:1:12: `schedule` must be a table, "));
    let named = error(&format!("{TASKS}[schedule.'a b']\ncron = '0 3 * * *'"));
    assert!(named.starts_with("f:8:11: `a b` cannot name a schedule\n"), "{named}");
}

#[test]
fn two_schedules_of_one_name_and_too_many_of_them_are_refused() {
    let one = "[schedule.nightly]\ncron = '0 3 * * *'\n";
    let twice = error(&format!("{TASKS}{one}{one}"));
    assert!(twice.starts_with("f:10:11: duplicate key\n"), "{twice}");
    assert!(twice.contains("give each table, and each key in it, only once"), "{twice}");
    let schedules =
        |count: usize| (0..count).map(|at| format!("[schedule.s{at}]\ncron = '0 3 * * *'\n")).collect::<String>();
    assert_eq!(names(&schedules(MAX_SCHEDULES), "main").len(), MAX_SCHEDULES);
    assert!(error(&format!("{TASKS}{}", schedules(MAX_SCHEDULES + 1))).contains("a file has at most 50 schedules"));
}

/// Nobody would start it, so that the schedule would never run its own task.
#[test]
fn a_schedule_names_the_manual_tasks_that_its_tasks_need() {
    let tasks = "[task.a]\nrun = 'x'\nmanual = true\nmatrix = { v = [1, 2] }\n[task.b]\nrun = 'x'\nneeds = ['a']\n\
                 [task.c]\nrun = 'x'\nneeds = ['b']\n[schedule.nightly]\ncron = '0 3 * * *'\n";
    let text = error(&format!("{tasks}tasks = ['c']\n"));
    assert!(text.starts_with("f:13:10: schedule `nightly` runs `c`, which needs the manual task `a@1`\n"), "{text}");
    assert!(text.contains("name `a` too, so that it is meant"), "{text}");
    for named in ["'c', 'a'", "'a@1', 'a@2', 'b'", "'a'"] {
        drop(read("f", format!("{tasks}tasks = [{named}]\n").as_bytes()).unwrap());
    }
}
