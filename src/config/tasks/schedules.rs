//! Reads the tables `[schedule.NAME]`, and plans the builds of schedules.

use std::collections::{HashMap, HashSet};
use std::ops::Range;

use super::PlanContext;
use super::choice::choose_tasks;
use super::draft::{PlacedSchedule, PlacedTask};
use super::file::FileDraft;
use super::findings::Findings;
use super::foreign::{self, Level};
use super::keys::SCHEDULE_KEYS;
use super::limits::{MAX_SCHEDULES, NAME_RULE};
use super::mistake::{Mistake, quote};
use super::suggest::nearest;
use super::value::{Placed, TableEntry, entries, kind};
use crate::config::schedule::{CronMistake, DEFAULT_TIMEZONE, is_timezone, read_cron, timezones};
use crate::model::{BranchName, Plan, PlannedSchedule, RefName, ScheduleRule, TaskName, TriggerKind};

const EXAMPLE: &str =
    "write each schedule as a table with its name, such as\n[schedule.nightly]\ncron = \"17 3 * * *\"";

/// A schedule of a file, for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckedSchedule {
    pub name: String,
    pub rule: ScheduleRule,
    /// `None` for the repository's default branch.
    pub branch: Option<String>,
    /// The tasks that it names; `None` for all.
    pub tasks: Option<Vec<String>>,
}

/// The schedules of a file, without references into it.
pub(super) type Schedules = Vec<CheckedSchedule>;

/// Reads all schedules.
pub(super) fn read_schedules<'t, 'i>(top: &TableEntry<'t, 'i>, file: &mut FileDraft<'t, 'i>) {
    let Some(table) = file.found.unless_wrong(top.table(EXAMPLE)) else { return };
    for (at, entry) in entries(table).into_iter().enumerate() {
        if at == MAX_SCHEDULES {
            let message = format!("a file has at most {MAX_SCHEDULES} schedules");
            let help = "let one schedule run several tasks";
            file.found.mistake(Mistake::new(entry.key_place, message, help));
            break;
        }
        let schedule = read_schedule(&entry, &mut file.found);
        file.schedules.extend(schedule);
    }
}

fn read_schedule<'t>(schedule: &TableEntry<'t, '_>, found: &mut Findings) -> Option<PlacedSchedule<'t>> {
    let (name, place) = (schedule.key, schedule.key_place.clone());
    let Some(table) = schedule.value.get_ref().as_table() else {
        let message = format!("schedule {} must be a table, this is {}", quote(name), kind(schedule.value.get_ref()));
        found.mistake(Mistake::new(place, message, EXAMPLE));
        return None;
    };
    if !is_name(name) {
        found.mistake(Mistake::new(place.clone(), format!("{} cannot name a schedule", quote(name)), NAME_RULE));
    }
    let (mut cron, mut timezone, mut branch, mut tasks) = (None, DEFAULT_TIMEZONE, None, None);
    let mut has_cron = false;
    for entry in entries(table) {
        match entry.key {
            "cron" => {
                has_cron = true;
                cron = found.unless_wrong(read_cron_line(&entry));
            }
            "timezone" => timezone = found.unless_wrong(read_timezone(&entry)).unwrap_or(timezone),
            "branch" => branch = found.unless_wrong(read_branch(&entry)),
            "tasks" => {
                let read = entry.texts("write a list of tasks, such as `tasks = [\"fuzz\"]`", found);
                tasks = found.unless_wrong(read.and_then(|tasks| not_empty(&entry, tasks)));
            }
            unknown => found.mistake(unknown_key(&entry, unknown)),
        }
    }
    if !has_cron {
        let help = "add a line that says when, such as `cron = \"17 3 * * *\"`";
        found.mistake(Mistake::new(place, format!("schedule {} has no `cron`", quote(name)), help));
    }
    let rule = ScheduleRule { cron: cron?.into(), timezone: timezone.into() };
    Some(PlacedSchedule { name, rule, branch, tasks })
}

/// Whether the text can name a schedule: the rule is that of tasks.
fn is_name(text: &str) -> bool {
    TaskName::plain(text).is_ok()
}

fn read_cron_line<'t>(entry: &TableEntry<'t, '_>) -> Result<&'t str, Mistake> {
    let text = entry.text("write five fields, such as `cron = \"17 3 * * *\"`")?;
    read_cron(text).map(|_| text).map_err(|CronMistake { what, help }| entry.wrong(what, help))
}

fn read_timezone<'t>(entry: &TableEntry<'t, '_>) -> Result<&'t str, Mistake> {
    let text = entry.text("write the name of a time zone, such as `timezone = \"Europe/Berlin\"`")?;
    if is_timezone(text) {
        return Ok(text);
    }
    let known = timezones();
    if known.is_empty() {
        let what = "this machine has no database of time zones (/usr/share/zoneinfo)";
        return Err(entry.wrong(what, "install the package `tzdata` on it, or leave `timezone` out for UTC"));
    }
    // People write the name of a place alone.
    let is_place = |zone: &&String| zone.rsplit('/').next().is_some_and(|place| place.eq_ignore_ascii_case(text));
    let near = known.iter().find(is_place).map(String::as_str);
    let help = match near.or_else(|| nearest(text, known.iter().map(String::as_str))) {
        Some(near) => format!("write `{near}`"),
        None => "write a name of the time zone database, such as `Europe/Berlin`, or leave it out for UTC".to_owned(),
    };
    Err(entry.wrong(format!("there is no time zone {}", quote(text)), help))
}

fn read_branch<'t>(entry: &TableEntry<'t, '_>) -> Result<&'t str, Mistake> {
    let help = "write the name of one branch, such as `branch = \"main\"`";
    let text = entry.text(help)?;
    let is_odd = |c: char| c.is_control() || " ~^:?*[\\".contains(c);
    if text.is_empty() || text.starts_with("refs/") || text.contains("..") || text.contains(is_odd) {
        return Err(entry.wrong(format!("{} cannot name a branch", quote(text)), help));
    }
    Ok(text)
}

fn not_empty<'t>(entry: &TableEntry<'t, '_>, tasks: Vec<Placed<&'t str>>) -> Result<Vec<Placed<&'t str>>, Mistake> {
    if entry.value.get_ref().as_array().is_some_and(|list| list.is_empty()) {
        return Err(entry.wrong("`tasks` is empty, so that nothing would run", "leave `tasks` out for all tasks"));
    }
    Ok(tasks)
}

fn unknown_key(entry: &TableEntry<'_, '_>, key: &str) -> Mistake {
    let all = format!("the keys of a schedule are {}", SCHEDULE_KEYS.join(", "));
    let help = match (nearest(key, SCHEDULE_KEYS), foreign::answer(Level::Schedule, key)) {
        (Some(near), _) => format!("write `{near}`; {all}"),
        (None, Some(answer)) => answer.to_owned(),
        (None, None) => all,
    };
    Mistake::new(entry.key_place.clone(), format!("unknown key {} of a schedule", quote(key)), help)
}

/// Checks that the tasks of all schedules are there. `broken` are the names of tasks that are in the file and could not
/// be read.
pub(super) fn check_tasks(
    schedules: &[PlacedSchedule<'_>],
    tasks: &[PlacedTask],
    broken: &HashSet<&str>,
    found: &mut Findings,
) {
    for PlacedSchedule { name, tasks: named, .. } in schedules {
        for Placed { place, value } in named.iter().flatten() {
            let is_there = tasks.iter().any(|task| is_meant(value, &task.spec.name)) || broken.contains(value);
            if !is_there {
                found.mistake(unknown_task(name, value, place.clone(), tasks));
            }
        }
        if let Some((Placed { place, value }, manual)) = manual_need(named.as_deref().unwrap_or_default(), tasks) {
            let message = format!("schedule `{name}` runs `{value}`, which needs the manual task `{manual}`");
            let help = format!("name `{}` too, so that it is meant", manual.written());
            found.mistake(Mistake::new(place.clone(), message, help));
        }
    }
}

/// Returns the first of the named tasks that needs a manual one, directly or not, which is not named, and that one:
/// nobody would start it, so that the schedule would never run the task. Each task is looked at once.
fn manual_need<'a, 't>(
    named: &'a [Placed<&'t str>],
    tasks: &'a [PlacedTask],
) -> Option<(&'a Placed<&'t str>, &'a TaskName)> {
    let names: HashSet<&str> = named.iter().map(|named| named.value).collect();
    let is_named = |task: &TaskName| names.contains(task.as_str()) || names.contains(task.written());
    let by_name: HashMap<&TaskName, &PlacedTask> = tasks.iter().map(|task| (&task.spec.name, task)).collect();
    let mut meant: HashMap<&str, Vec<&PlacedTask>> = HashMap::new();
    for task in tasks.iter().filter(|task| is_named(&task.spec.name)) {
        let name = &task.spec.name;
        let key = if names.contains(name.as_str()) { name.as_str() } else { name.written() };
        meant.entry(key).or_default().push(task);
    }
    let mut seen = HashSet::new();
    for root in named {
        let mut open = meant.remove(root.value).unwrap_or_default();
        while let Some(task) = open.pop() {
            for needed in task.needed.iter().filter_map(|need| by_name.get(&need.task)) {
                let name = &needed.spec.name;
                if needed.spec.placement.manual && !is_named(name) {
                    return Some((root, name));
                }
                if seen.insert(name) {
                    open.push(needed);
                }
            }
        }
    }
    None
}

fn unknown_task(schedule: &str, task: &str, place: Range<usize>, tasks: &[PlacedTask]) -> Mistake {
    let message = format!("schedule `{schedule}` runs {}, which is not a task", quote(task));
    let help = match nearest(task, tasks.iter().map(|task| &*task.spec.name)) {
        Some(near) => format!("write `{near}`, or add a task of that name"),
        None => "name a task of this file, or add one of that name".to_owned(),
    };
    Mistake::new(place, message, help)
}

/// Whether a schedule that names `named` means this task: it is the task itself or a cell of its matrix.
fn is_meant(named: &str, task: &str) -> bool {
    task.strip_prefix(named).is_some_and(|rest| rest.is_empty() || rest.starts_with('@'))
}

impl From<PlacedSchedule<'_>> for CheckedSchedule {
    fn from(schedule: PlacedSchedule<'_>) -> Self {
        let PlacedSchedule { name, rule, branch, tasks } = schedule;
        let tasks = tasks.map(|tasks| tasks.into_iter().map(|task| task.value.to_owned()).collect());
        Self { name: name.to_owned(), rule, branch: branch.map(str::to_owned), tasks }
    }
}

impl CheckedSchedule {
    /// Whether it is a schedule of this branch, in a repository with these default branches.
    fn is_of(&self, branch: &BranchName, defaults: &[BranchName]) -> bool {
        match &self.branch {
            Some(name) => **name == *branch.as_str(),
            None => defaults.contains(branch),
        }
    }
}

/// Puts the schedules of a branch into the plan of its new head, and the schedule that came due into that of its own
/// build. If that names tasks, leaves out all that it neither names nor needs.
pub(super) fn apply(schedules: Schedules, context: PlanContext<'_>, mut plan: Plan) -> Plan {
    let schedules = match context {
        PlanContext::Head(source, defaults) => of_head(schedules, &source.trigger.reference, defaults),
        PlanContext::Build(source) => due(schedules, &source.trigger.kind),
        PlanContext::WrittenBy(_) | PlanContext::Unknown => return plan,
    };
    if let PlanContext::Build(_) = context
        && let Some(named) = schedules.iter().find_map(|schedule| schedule.tasks.as_ref())
    {
        let all = plan.tasks.iter().map(|task| &task.spec.name);
        let meant = all.filter(|task| named.iter().any(|name| is_meant(name, task)));
        let meant: Vec<String> = meant.map(ToString::to_string).collect();
        plan = choose_tasks(plan, &meant).expect("these are names of its tasks");
    }
    let planned = |CheckedSchedule { name, rule, tasks, .. }: CheckedSchedule| PlannedSchedule {
        name: name.into(),
        rule,
        names_tasks: tasks.is_some(),
    };
    plan.schedules = schedules.into_iter().map(planned).collect();
    plan
}

/// The schedules of a branch. No other ref has any.
fn of_head(mut schedules: Schedules, reference: &RefName, defaults: &[BranchName]) -> Schedules {
    let branch = reference.branch().map(BranchName::new);
    schedules.retain(|schedule| branch.as_ref().is_some_and(|branch| schedule.is_of(branch, defaults)));
    schedules
}

/// The schedule that caused a build, if one did and it is still in the file.
fn due(mut schedules: Schedules, trigger: &TriggerKind) -> Schedules {
    let due = if let TriggerKind::Schedule { name, .. } = trigger { Some(&**name) } else { None };
    schedules.retain(|schedule| due == Some(&*schedule.name));
    schedules
}
