//! `surveil plan`: prints which tasks a build would run, which not, and why. Nothing is built. The task file is that of
//! the work tree; what has changed since a task passed is asked of the dispatcher, if one answers.

use std::collections::{HashMap, HashSet};
use std::path::PathBuf;

use clap::Args;
use serde::Serialize;

use super::error::CliError;
use super::flags::FormatFlags;
use super::operator_flags::OperatorFlags;
use super::plan_occasion::{Asked, Repository, event, named_schedule, occasion};
use super::report::{present, short};
use super::session::Session;
use super::table::{Column, Table};
use super::task_order::{in_order, no_such_task, settle};
use super::typed_place::tree_root;
use super::{ExitCode, Output, fold, human};
use crate::config::{CheckedTasks, check_directory, choose_tasks};
use crate::error_chain::chain;
use crate::model::glob::PathGlobs;
use crate::model::reason::{ChangeReason, StoredReason};
use crate::model::{
    BuildId, ChangeJudge, Changes, CommitId, Plan, PlannedTask, RefName, Service, TaskName, TaskSpec, TriggerEvent,
    visible,
};
use crate::protocol::hello::ErrorCode;
use crate::protocol::limits::MAX_ANCESTORS;
use crate::protocol::operator::{FromOperator, PassQuestion, PassReport, ToOperator};

const EXAMPLES: &str = "\
Without options: the plan of a build that a push of HEAD to the current branch would make. Tasks are in the order in \
which they could run; those that do not need one another run at the same time. If a dispatcher answers, it tells in \
which build each task passed last, and how long the tasks take; `changed` is judged by the paths in which HEAD differs \
from that build's commit. Otherwise everything counts as changed, unless --changed names the paths.

Examples:
  surveil plan
  surveil plan --tag v1.2
  surveil plan --branch release/1 --changed src/lib.rs --changed Cargo.toml
  surveil plan --schedule nightly --json";

/// Print which tasks a build would run, which not, and why, without building anything
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct PlanFlags {
    /// A directory of the repository, or one with a .surveil.toml
    #[arg(default_value = ".")]
    dir: PathBuf,
    /// The build is of this branch [default: the current one]
    #[arg(long, value_name = "BRANCH", conflicts_with = "tag")]
    branch: Option<String>,
    /// The build is of this tag
    #[arg(long, value_name = "TAG")]
    tag: Option<String>,
    /// The event of the build: push, tag, pull, ref, schedule, manual or try [default: push, or tag with --tag]
    #[arg(long, value_name = "EVENT", value_parser = event)]
    event: Option<TriggerEvent>,
    /// The build is that of this schedule, with the tasks that it names
    #[arg(long, value_name = "NAME", conflicts_with_all = ["branch", "tag", "event", "changed"])]
    schedule: Option<String>,
    /// A path that counts as changed since every task passed; may be repeated. All others count as not changed
    #[arg(long = "changed", value_name = "PATH")]
    changed: Vec<String>,
    #[command(flatten)]
    format: FormatFlags,
    #[command(flatten)]
    operator: OperatorFlags,
}

/// The plan as `--format json` prints it.
#[derive(Debug, PartialEq, Eq, Serialize)]
struct PlanReport {
    event: &'static str,
    #[serde(rename = "ref")]
    reference: String,
    /// HEAD, if there is one.
    commit: Option<String>,
    /// In the order in which they could run.
    tasks: Vec<TaskReport>,
    /// Tasks that those with `expand` wrote in a build before. They may join this one, too.
    written: Vec<WrittenReport>,
    /// Whether a dispatcher knows the repository.
    #[serde(skip)]
    has_past: bool,
    /// The expected time of the build with as many runners as it can use; absent if the time of a task is not known.
    expected_ms: Option<u64>,
}

/// A task that another one wrote in a build before.
#[derive(Debug, PartialEq, Eq, Serialize)]
struct WrittenReport {
    task: String,
    writer: String,
    /// The median of the last passes.
    median_ms: u64,
}

#[derive(Debug, PartialEq, Eq, Serialize)]
struct TaskReport {
    task: String,
    /// `runs`, `held` or `left_out`.
    state: &'static str,
    /// Why, if there is a reason.
    detail: Option<String>,
    reason_code: Option<String>,
    needs: Vec<String>,
    /// The services that are started before it.
    services: Vec<ServiceReport>,
    /// Whether it may write further tasks, which join the build when it passes.
    expand: bool,
    /// The median of the last passes.
    median_ms: Option<u64>,
}

/// A service of a task.
#[derive(Debug, PartialEq, Eq, Serialize)]
struct ServiceReport {
    name: String,
    /// Absent for a program of the runner's machine.
    image: Option<String>,
}

/// Prints the plan.
pub(crate) fn run(flags: &PlanFlags, out: &mut Output) -> Result<ExitCode, CliError> {
    let root = tree_root(&flags.dir, "tasks are read")?;
    let CheckedTasks { tasks, settings: _, warnings, schedules } = check_directory(&root)?;
    let repository = Repository::of(&flags.dir)?;
    let schedule = flags.schedule.as_deref().map(|name| named_schedule(&schedules, name)).transpose()?;
    let asked = Asked { branch: flags.branch.as_deref(), tag: flags.tag.as_deref(), event: flags.event, schedule };
    let (event, reference) = occasion(&asked, repository.as_ref())?;
    if event == TriggerEvent::Schedule && schedule.is_none() {
        log::warn!("a schedule runs only the tasks that it names, and those that they need: see --schedule NAME");
    }
    let order: Vec<TaskSpec> = in_order(&tasks, &[])?.into_iter().cloned().collect();
    let mut plan = Plan::of(order);
    let mut to_judge = Vec::new();
    match schedule.and_then(|schedule| schedule.tasks.as_ref()) {
        Some(named) => plan = choose_tasks(plan, named).map_err(|wrong| no_such_task(&wrong.name, &tasks))?,
        None => to_judge = plan.leave_out_unmet(event, &reference),
    }
    let past = past(flags, repository.as_ref(), &reference, &plan);
    let mut given = HashMap::new();
    if !flags.changed.is_empty() {
        given = judge_given(&mut plan, &to_judge, &flags.changed);
    } else if past.is_known {
        judge(&mut plan, &to_judge, &past, repository.as_ref());
    } else if !to_judge.is_empty() {
        log::warn!(
            "no dispatcher tells when tasks passed last: everything counts as changed (--changed PATH says what)"
        );
    }
    let out_by_paths: HashSet<TaskName> =
        given.iter().filter(|(_, given)| !given.runs).map(|(name, _)| name.clone()).collect();
    settle(&mut plan, |name| out_by_paths.contains(name));
    let is_in = |task: &&PlannedTask| task.left_out.is_none() && !out_by_paths.contains(&task.spec.name);
    let runs = |task: &&PlannedTask| is_in(task) && !task.held;
    let expected_ms = expected_ms(plan.tasks.iter().filter(runs), &past);
    let tasks: Vec<TaskReport> =
        plan.tasks.iter().map(|task| report(task, given.remove(&task.spec.name), &past)).collect();
    let report = PlanReport {
        event: event.word(),
        reference: reference.to_string(),
        commit: repository.and_then(|it| it.head).map(|commit| commit.to_string()),
        expected_ms,
        has_past: past.is_known,
        written: plan.tasks.iter().filter(is_in).flat_map(|task| written_by(&task.spec, &past)).collect(),
        tasks,
    };
    out.outlive_reader();
    present(&report, flags.format.get(), out, print)?;
    for warning in &warnings {
        log::warn!("{warning}");
    }
    Ok(ExitCode::Ok)
}

/// The facts that a dispatcher knows of the tasks.
#[derive(Default)]
struct Past {
    tasks: HashMap<String, PassReport>,
    /// Whether a dispatcher knows the repository.
    is_known: bool,
}

/// Asks the dispatcher. Without one there is no past.
fn past(flags: &PlanFlags, repository: Option<&Repository>, reference: &RefName, plan: &Plan) -> Past {
    let Some(repository) = repository else { return Past::default() };
    match ask(&flags.operator, repository, reference, plan) {
        Ok(past) => past,
        Err(error) if error.is_unreachable() => Past::default(),
        Err(error) => {
            log::warn!("{}", visible(&chain(&error)));
            Past::default()
        }
    }
}

fn ask(operator: &OperatorFlags, repository: &Repository, reference: &RefName, plan: &Plan) -> Result<Past, CliError> {
    let mut session: Session = operator.connect_or_read()?;
    let mut commits = Vec::new();
    if let Some(head) = repository.head {
        commits.push(head.to_string());
        commits.extend(repository.watched.first_parents(head, MAX_ANCESTORS)?.iter().map(CommitId::to_string));
    }
    for repo in &repository.names {
        let (repo, reference, commits) = (repo.clone(), reference.to_string(), commits.clone());
        let tasks = plan.tasks.iter().map(|task| task.spec.name.to_string()).collect();
        match session.ask(&FromOperator::Passes(PassQuestion { repo, reference, commits, tasks })) {
            Ok(ToOperator::Passes(report)) => {
                let tasks = report.tasks.into_iter().map(|task| (task.task.clone(), task)).collect();
                return Ok(Past { tasks, is_known: true });
            }
            Ok(_) => return Err(CliError::Unexpected("`passes`")),
            Err(CliError::Refused(refusal)) if refusal.code == ErrorCode::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    log::warn!("the dispatcher does not know this repository");
    Ok(Past::default())
}

/// Judges tasks by the past that the dispatcher told, as it would judge them itself.
fn judge(plan: &mut Plan, to_judge: &[usize], past: &Past, repository: Option<&Repository>) {
    let mut judge = ChangeJudge::default();
    let mut compared: HashMap<CommitId, Option<Option<std::sync::Arc<[String]>>>> = HashMap::new();
    for at in to_judge {
        let spec = &plan.tasks[*at].spec;
        let pass = past.tasks.get(&*spec.name);
        let pass = pass.and_then(|it| Some((BuildId(it.build?), it.commit.as_ref()?, it.definition)));
        let changes = match (pass, repository.and_then(|it| Some((it, it.head?)))) {
            (None, _) | (_, None) => Changes::Runs(ChangeReason::NoPass),
            (Some((build, since, definition)), _) if definition != Some(spec.definition()) => {
                Changes::Runs(ChangeReason::DefinitionChanged { since: since.clone(), build })
            }
            (Some((build, since, _)), Some((repository, head))) => {
                let paths = since.parse().ok().and_then(|since: CommitId| {
                    let differing = || repository.watched.changed_paths(since, head).ok().map(|it| it.map(Into::into));
                    compared.entry(since).or_insert_with(differing).clone().map(|paths| (since, paths))
                });
                let text = since.clone();
                match paths {
                    Some((since, Some(paths))) => Changes::Paths { since, build, paths },
                    Some((_, None)) => Changes::Runs(ChangeReason::ManyChanged { since: text, build }),
                    None => Changes::Runs(ChangeReason::NotComparable { since: text, build }),
                }
            }
        };
        plan.judge(*at, &changes, &mut judge);
    }
}

/// Judges tasks by paths that the person named. Returns the reasons: there is no build to compare with.
fn judge_given(plan: &mut Plan, to_judge: &[usize], paths: &[String]) -> HashMap<TaskName, Given> {
    let plain = |path: &String| path.strip_prefix("./").unwrap_or(path).to_owned();
    let paths: Vec<String> = paths.iter().map(plain).collect();
    let mut reasons = HashMap::new();
    for at in to_judge {
        let task = &plan.tasks[*at];
        let Some(when) = &task.spec.placement.when else { continue };
        let globs = PathGlobs::new(&when.changed);
        let given = match paths.iter().find(|path| globs.matches(path)) {
            Some(path) => Given { runs: true, text: format!("{path} changed") },
            None => Given { runs: false, text: format!("no given path matches {}", when.changed.join(", ")) },
        };
        reasons.insert(task.spec.name.clone(), given);
    }
    reasons
}

/// The judgement by paths that the person named.
struct Given {
    runs: bool,
    text: String,
}

fn report(task: &PlannedTask, given: Option<Given>, past: &Past) -> TaskReport {
    let PlannedTask { spec, left_out, because, held, .. } = task;
    let (state, detail, code) = match (left_out, given) {
        (Some(reason), _) => ("left_out", Some(reason.to_string()), reason.code()),
        (None, _) if *held && spec.placement.manual => ("held", Some("until somebody starts it".to_owned()), None),
        (None, _) if *held => ("held", Some("until somebody starts what it needs".to_owned()), None),
        (None, Some(Given { runs: false, text })) => ("left_out", Some(text), Some("nothing_changed")),
        (None, Some(Given { runs: true, text })) => ("runs", Some(text), Some("path_changed")),
        (None, None) => {
            let code = because.as_ref().and_then(StoredReason::code);
            ("runs", because.as_ref().map(ToString::to_string), code)
        }
    };
    TaskReport {
        task: spec.name.to_string(),
        state,
        detail,
        reason_code: code.map(str::to_owned),
        needs: spec.placement.needs.iter().map(|need| need.task.to_string()).collect(),
        services: spec.recipe.services.iter().map(ServiceReport::of).collect(),
        expand: spec.recipe.expand,
        median_ms: past.tasks.get(&*spec.name).and_then(|it| it.median_ms),
    }
}

impl ServiceReport {
    fn of(service: &Service) -> Self {
        let (name, image) = service.name_and_image();
        Self { name: name.to_owned(), image: image.map(str::to_owned) }
    }
}

/// Returns the tasks that a task wrote in a build before, by name.
fn written_by<'a>(writer: &'a TaskSpec, past: &'a Past) -> impl Iterator<Item = WrittenReport> + use<'a> {
    let is_own = |name: &str| name.strip_prefix(&*writer.name).is_some_and(|rest| rest.starts_with('/'));
    let mut known: Vec<_> = past.tasks.values().filter(|it| writer.recipe.expand && is_own(&it.task)).collect();
    known.sort_unstable_by(|one, other| one.task.cmp(&other.task));
    known.into_iter().filter_map(|it| {
        Some(WrittenReport { task: it.task.clone(), writer: writer.name.to_string(), median_ms: it.median_ms? })
    })
}

/// The longest chain of tasks that need one another, by their usual times.
fn expected_ms<'a>(tasks: impl Iterator<Item = &'a PlannedTask>, past: &Past) -> Option<u64> {
    let (mut ends, mut longest) = (HashMap::<&str, u64>::new(), 0);
    // Each task comes behind those that it needs.
    for task in tasks {
        let needs = task.spec.placement.needs.iter();
        let begin = needs.filter_map(|need| ends.get(&*need.task)).max().copied().unwrap_or(0);
        let end = begin + past.tasks.get(&*task.spec.name)?.median_ms?;
        ends.insert(&task.spec.name, end);
        // Their needs among one another are known only when they are written.
        longest = longest.max(written_by(&task.spec, past).map(|it| end + it.median_ms).max().unwrap_or(0));
    }
    ends.into_values().max().map(|end| end.max(longest))
}

const STATE: Column = Column::value("STATE", 0);
const TASK: Column = Column::text("TASK", 0, (12, 40));
const NEEDS: Column = Column::text("NEEDS", 2, (8, 30));
const WHY: Column = Column::text("WHY", 0, (20, 80));
const COLUMNS: &[Column] = &[STATE, TASK, NEEDS, WHY];
const TIMED_COLUMNS: &[Column] = &[STATE, TASK, NEEDS, Column::value("USUALLY", 1), WHY];

fn print(report: &PlanReport, out: &mut Output) -> Result<(), CliError> {
    let commit = report.commit.as_ref().map(|commit| format!(" at {}", short(commit))).unwrap_or_default();
    let reference = RefName::new(&report.reference);
    out.line(format_args!("{} of {}{commit}:", report.event, visible(reference.short())))?;
    // Without a dispatcher no time is known, and the column says nothing.
    let is_timed = !report.written.is_empty() || report.tasks.iter().any(|task| task.median_ms.is_some());
    let mut table = Table::new(if is_timed { TIMED_COLUMNS } else { COLUMNS });
    for task in &report.tasks {
        let time = task.median_ms.filter(|_| task.state != "left_out").map(human::duration);
        let needs = fold::names(task.needs.iter().map(String::as_str));
        let written: Vec<&WrittenReport> = report.written.iter().filter(|it| it.writer == task.task).collect();
        let writes = (task.expand && task.state != "left_out").then(|| match (written.is_empty(), report.has_past) {
            (false, _) => "may write further tasks, such as these".to_owned(),
            (true, true) => "may write further tasks; none has passed yet".to_owned(),
            (true, false) => "may write further tasks; no dispatcher tells which".to_owned(),
        });
        let services = task.services.iter().map(|service| (&*service.name, service.image.as_deref()));
        let beside = fold::beside(services).filter(|_| task.state != "left_out");
        let detail = task.detail.clone().into_iter().chain(beside).chain(writes).collect::<Vec<_>>().join("; ");
        let mut cells = vec![human::words(task.state), task.task.clone(), needs];
        cells.extend(is_timed.then(|| time.unwrap_or_default()));
        cells.push(detail);
        table.row(cells);
        for it in written {
            let time = human::duration(it.median_ms);
            let state = "may join".to_owned();
            table.row(vec![state, it.task.clone(), it.writer.clone(), time, "as in a build before".to_owned()]);
        }
    }
    table.print(out)?;
    let running = report.tasks.iter().filter(|task| task.state == "runs").count();
    let all = human::count(report.tasks.len() as u64, "task");
    let time = report.expected_ms.map(|ms| format!(", usually within {} if runners are free", human::duration(ms)));
    out.line(format_args!("{running} of {all} run{}", time.unwrap_or_default()))
}
