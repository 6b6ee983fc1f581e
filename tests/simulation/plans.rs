//! Commits, each with a task file of its own.

use surveil::model::reason::LeftOutReason;
use surveil::model::{
    BuildSettings, CommitId, Condition, Group, GroupName, Label, Need, Plan, PlannedTask, RetryCause, RetryRule,
    Script, SlotCount, Supersede, TaskName, TaskSpec,
};

use crate::dice::Dice;
use crate::leavings::add_leavings;
use crate::observer::Repo;
use crate::schedules::add_schedules;
use crate::written_tasks::add_extras;

/// Makes a commit with a task file of its own.
pub(crate) fn new_commit(dice: &mut Dice, repo: &mut Repo) -> CommitId {
    let mut raw = [0; 20];
    raw[0] = repo.commits.len() as u8 + 1;
    raw[1] = repo.name.as_str().len() as u8;
    raw[2..10].copy_from_slice(&dice.roll().to_be_bytes());
    let commit = CommitId::from_bytes(&raw).expect("20 bytes");
    let mut plan = plan(dice, repo.is_deploying);
    if let (true, Ok(plan)) = (repo.is_scheduled, &mut plan) {
        add_schedules(plan, commit);
    }
    if let Ok(plan) = &mut plan {
        add_extras(plan, commit);
        add_leavings(plan, commit);
    }
    repo.commits.push(commit);
    repo.plans.insert(commit, plan);
    commit
}

fn plan(dice: &mut Dice, is_deploying: bool) -> Result<Plan, String> {
    if dice.percent(4) {
        return Err("the task file has a mistake".into());
    }
    let count = dice.below(5);
    let tasks = (0..count).map(|at| planned(dice, at, is_deploying)).collect();
    Ok(Plan { tasks, settings: settings(dice), schedules: Vec::new() })
}

/// Returns a task of some name, which may need those of earlier names.
pub(crate) fn planned(dice: &mut Dice, at: usize, is_deploying: bool) -> PlannedTask {
    let mut spec = task(dice, at, is_deploying);
    spec.placement.manual = dice.percent(8);
    let left_out = dice.percent(8).then(|| LeftOutReason::NotForEvent { event: "push".into() });
    PlannedTask { left_out, ..PlannedTask::of(spec) }
}

fn task(dice: &mut Dice, at: usize, is_deploying: bool) -> TaskSpec {
    let names = ["a", "b", "c", "d"];
    let mut task = TaskSpec::new(TaskName::recorded(names[at]), Script::Shell("true".into()));
    let condition = match dice.below(8) {
        0 => Condition::Failed,
        1 => Condition::Finished,
        _ => Condition::Passed,
    };
    for need in &names[..at] {
        if dice.percent(25) {
            task.placement.needs.push(Need { condition, ..Need::passed(TaskName::recorded(need)) });
        }
    }
    let labels: &[&str] = match dice.below(20) {
        0 => &["moon"],
        1..4 => &["gpu"],
        4..8 => &["linux"],
        _ => &[],
    };
    task.placement.labels = labels.iter().map(|label| Label::recorded(label)).collect();
    if dice.percent(25) {
        task.placement.retries = 1 + u32::from(dice.percent(30));
        task.placement.retry = retry(dice);
    }
    task.placement.allow_failure = dice.percent(12);
    task.recipe_mut().exclusive = is_deploying || dice.percent(20);
    task.placement.slots = SlotCount(if dice.percent(12) { 2 } else { 1 });
    task.placement.priority = if dice.percent(30) { dice.below(5) as i32 - 2 } else { 0 };
    if dice.percent(30) {
        let name = GroupName::recorded(if dice.percent(60) { "staging" } else { "licences" });
        let limit = if &*name == "staging" { 1 } else { 1 + dice.below(3) as u32 };
        task.set_group(Group { limit, ..Group::new(name) });
    }
    task
}

fn retry(dice: &mut Dice) -> RetryRule {
    let on: &[RetryCause] = match dice.below(6) {
        0 => &[RetryCause::Exit(75)],
        1 => &[RetryCause::Signal, RetryCause::Timeout],
        2 => &[RetryCause::Failed],
        _ => &[],
    };
    let delay_ms = if dice.percent(40) { dice.ms(500, 8_000) } else { 0 };
    RetryRule { on: on.to_vec(), delay_ms, elsewhere: dice.percent(50) }
}

fn settings(dice: &mut Dice) -> BuildSettings {
    let supersede = match dice.below(8) {
        0 => Supersede::Queued,
        1 => Supersede::Running,
        _ => Supersede::No,
    };
    let timeout_ms = dice.percent(6).then(|| dice.ms(5_000, 40_000));
    BuildSettings { timeout_ms, fail_fast: dice.percent(20), supersede, ..BuildSettings::default() }
}
