//! The keys that say when a task starts and when it is tried again, and the settings of the build.

use super::*;
use crate::model::{BuildSettings, Condition, RetryCause, RetryRule, Supersede};

fn plan(text: &str) -> Plan {
    parse_tasks("f", text.as_bytes(), PlanContext::Unknown).unwrap()
}

#[test]
fn run_if_is_the_condition_of_all_needs() {
    let tasks = parse(
        "[task.a]\nrun = 'true'\n[task.b]\nrun = 'true'\nneeds = ['a']\nrun_if = 'finished'\n\
         [task.c]\nrun = 'true'\nneeds = ['a', 'b']\nrun_if = 'failed'\n",
    );
    let conditions = |task: &TaskSpec| task.placement.needs.iter().map(|need| need.condition).collect::<Vec<_>>();
    assert_eq!(conditions(&tasks[1]), [Condition::Finished]);
    assert_eq!(conditions(&tasks[2]), [Condition::Failed; 2]);
    assert!(line_error("needs = ['b']\nrun_if = 'always'").contains("must be `passed`, `failed` or `finished`"));
    assert!(line_error("run_if = 'failed'").contains("`run_if` without `needs` has no meaning"));
    // In the defaults it is for the tasks that need others.
    let tasks = parse("[defaults]\nrun_if = 'finished'\n[task.a]\nrun = 'a'\n[task.b]\nrun = 'b'\nneeds = ['a']\n");
    assert_eq!((conditions(&tasks[0]), conditions(&tasks[1])), (vec![], vec![Condition::Finished]));
}

#[test]
fn a_manual_task_is_held_in_the_plan() {
    let plan = plan("[task.a]\nrun = 'true'\n[task.deploy]\nrun = 'true'\nneeds = ['a']\nmanual = true\n");
    let held: Vec<bool> = plan.tasks.iter().map(|task| task.held && task.spec.placement.manual).collect();
    assert_eq!(held, [false, true]);
    assert!(line_error("manual = 'yes'").contains("`manual` must be true or false"));
}

#[test]
fn retries_are_a_number_or_a_rule() {
    let of = |line: &str| {
        let placement = parse(&format!("[task.a]\nrun = 'true'\n{line}\n")).remove(0).placement;
        (placement.retries, placement.retry)
    };
    assert_eq!(of("retries = 2"), (2, RetryRule::default()));
    assert_eq!(of("retry = { times = 2 }"), (2, RetryRule::default()));
    assert_eq!(of("retry = {}"), (1, RetryRule::default()));
    let rule = RetryRule {
        on: vec![RetryCause::Exit(75), RetryCause::Signal, RetryCause::Timeout],
        delay_ms: 30_000,
        elsewhere: true,
    };
    let line =
        "retry = { times = 3, on = ['exit:75', 'signal', 'timeout', 'signal'], delay = '30s', elsewhere = true }";
    assert_eq!(of(line), (3, rule));
    for (line, text) in [
        ("retry = 2", "`retry` must be a table"),
        ("retry = { times = 11 }", "`times` must be from 0 to 10"),
        ("retry = { on = ['exit:0'] }", "`exit:0` is no kind of failure"),
        ("retry = { on = ['exit:256'] }", "`exit:256` is no kind of failure"),
        ("retry = { on = ['sigterm'] }", "`sigterm` is no kind of failure"),
        ("retry = { on = [] }", "`on` is empty"),
        ("retry = { delay = '2d' }", "`delay` must be at most 1 days"),
        ("retry = { time = 2 }", "the keys of `retry` are times, on, delay, elsewhere"),
    ] {
        assert!(line_error(line).contains(text), "{line}: {}", line_error(line));
    }
    let both = error("[task.a]\nrun = 'true'\nretries = 2\nretry = { times = 2 }\n");
    assert!(both.starts_with("f:4:1: task `a` has both `retries` and `retry`"), "{both}");
    let over = parse("[defaults]\nretry = { times = 3, delay = '1s' }\n[task.a]\nrun = 'a'\nretries = 1\n").remove(0);
    assert_eq!(
        (over.placement.retries, over.placement.retry),
        (1, RetryRule::default()),
        "it takes the place of the rule"
    );
}

#[test]
fn the_table_of_the_build_has_its_settings() {
    let of = |table: &str| plan(&format!("{table}\n[task.a]\nrun = 'true'\n")).settings;
    assert_eq!(of(""), BuildSettings::default());
    let settings = BuildSettings {
        timeout_ms: Some(7_200_000),
        fail_fast: true,
        supersede: Supersede::Queued,
        ..BuildSettings::default()
    };
    assert_eq!(of("[build]\ntimeout = '2h'\nfail_fast = true\nsupersede = 'queued'"), settings);
    assert_eq!(of("build = { supersede = 'running' }").supersede, Supersede::Running);
    for (table, text) in [
        ("[build]\nsupersede = 'yes'", "f:2:13: `supersede` must be `no`, `queued` or `running`, this is `yes`"),
        ("[build]\ntimeout = '0s'", "f:2:11: `timeout` must be more than 0"),
        ("[build]\ntime_out = '1h'", "f:2:1: unknown key `time_out` in `[build]`"),
        ("build = 1", "f:1:9: `build` must be a table"),
    ] {
        let told = error(&format!("{table}\n[task.a]\nrun = 'true'\n"));
        assert!(told.starts_with(text), "{told}");
    }
}
