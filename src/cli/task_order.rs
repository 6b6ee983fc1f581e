//! Selects tasks, and puts each behind those that it needs: for `surveil run` and `surveil plan`. Pure.

use std::collections::{HashMap, HashSet};

use super::CliError;
use super::fold;
use crate::model::reason::LeftOutReason;
use crate::model::{Ending, EndingKind, Need, Plan, Readiness, RefName, TaskName, TaskSpec, TriggerEvent};

/// Returns the requested tasks, all cells of a requested matrix, or all, together with the tasks that they need. Each
/// comes after its needs, and otherwise in the order of the task file.
pub(crate) fn in_order<'a>(tasks: &'a [TaskSpec], wanted: &[String]) -> Result<Vec<&'a TaskSpec>, CliError> {
    let mut roots = Vec::new();
    for name in wanted {
        let before = roots.len();
        roots.extend(tasks.iter().filter(|task| task.name.is_meant_by(name)));
        if roots.len() == before {
            return Err(no_such_task(name, tasks));
        }
    }
    if wanted.is_empty() {
        roots.extend(tasks);
    }
    let index: HashMap<&str, &TaskSpec> = tasks.iter().map(|task| (&*task.name, task)).collect();
    let (mut planned, mut seen) = (Vec::new(), HashSet::new());
    // A stack of tasks, each with whether its needs are planned already. An explicit stack, so that a chain of a
    // thousand tasks needs no deep recursion.
    let mut open: Vec<(&TaskSpec, bool)> = roots.into_iter().rev().map(|task| (task, false)).collect();
    while let Some((task, needs_are_planned)) = open.pop() {
        if needs_are_planned {
            planned.push(task);
        } else if seen.insert(&*task.name) {
            // The task comes back after its needs, which are pushed on top of it.
            open.push((task, true));
            let needed = |need: &Need| index.get(&*need.task).copied();
            open.extend(task.placement.needs.iter().rev().filter_map(needed).map(|task| (task, false)));
        }
    }
    Ok(planned)
}

/// Returns the tasks that a push to this branch would leave out whatever it changes, each with its reason.
pub(crate) fn left_out_of_push(tasks: &[TaskSpec], branch: &RefName) -> HashMap<TaskName, LeftOutReason> {
    let mut plan = Plan::of(tasks.to_vec());
    plan.leave_out_unmet(TriggerEvent::Push, branch);
    plan.tasks.into_iter().filter_map(|task| Some((task.spec.name, task.left_out?))).collect()
}

/// Returns the tasks for `surveil run`, in order: those that are requested, else all. A manual task runs only if it is
/// requested itself.
pub(crate) fn to_run<'a>(tasks: &'a [TaskSpec], wanted: &[String]) -> Result<Vec<&'a TaskSpec>, CliError> {
    let planned = in_order(tasks, wanted)?;
    let is_asked = |task: &TaskSpec| wanted.is_empty() || wanted.iter().any(|name| task.name.is_meant_by(name));
    if let Some(manual) = planned.iter().find(|task| task.placement.manual && !is_asked(task)) {
        let name = &manual.name;
        return Err(CliError::Usage(format!("`{name}` is needed and is manual: name it too, so that it is meant")));
    }
    Ok(planned)
}

/// Settles which tasks of a plan cannot start, and which are held because they need a held one. Each task comes behind
/// those that it needs. `is_out` adds tasks to those that the plan leaves out.
pub(crate) fn settle(plan: &mut Plan, is_out: impl Fn(&TaskName) -> bool) {
    let mut settled: HashMap<TaskName, (TaskSpec, Option<EndingKind>)> = HashMap::new();
    let mut held: HashSet<TaskName> = HashSet::new();
    for task in &mut plan.tasks {
        let needs = task.spec.placement.needs.iter();
        let known = needs.clone().filter_map(|need| Some((need.condition, settled.get(&need.task)?)));
        let readiness = Readiness::of(known.map(|(condition, (needed, ending))| (condition, *ending, needed)));
        if task.left_out.is_none()
            && let Readiness::Never(Ending::LeftOut(reason)) = readiness
        {
            task.left_out = Some(*reason);
        }
        let is_left_out = task.left_out.is_some() || is_out(&task.spec.name);
        task.held = !is_left_out && (task.held || needs.clone().any(|need| held.contains(&need.task)));
        if task.held {
            held.insert(task.spec.name.clone());
        }
        let ending = is_left_out.then_some(EndingKind::LeftOut);
        settled.insert(task.spec.name.clone(), (task.spec.clone(), ending));
    }
}

/// Makes an error that names the nearest task, and all tasks.
pub(crate) fn no_such_task(name: &str, tasks: &[TaskSpec]) -> CliError {
    let nearest =
        tasks.iter().max_by(|a, b| strsim::jaro_winkler(name, &a.name).total_cmp(&strsim::jaro_winkler(name, &b.name)));
    let hint = match nearest {
        Some(task) if strsim::jaro_winkler(name, &task.name) > 0.8 => format!("; did you mean `{}`?", task.name),
        _ => String::new(),
    };
    // The cells are listed if their matrix is the one that is meant.
    let is_near = |task: &&TaskSpec| name.contains('@') && task.name.written() == fold::written(name);
    let near: Vec<&str> = tasks.iter().filter(is_near).map(|task| &*task.name).collect();
    let names = if near.is_empty() { fold::names(tasks.iter().map(|task| &*task.name)) } else { near.join(", ") };
    CliError::Usage(format!("there is no task `{name}`{hint} (tasks: {names})"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Script;

    fn tasks() -> Vec<TaskSpec> {
        [("deploy", &["test", "lint"][..]), ("test", &["build"]), ("build", &[]), ("lint", &["build"]), ("docs", &[])]
            .into_iter()
            .map(|(name, needs)| {
                let mut task = TaskSpec::new(TaskName::new(name).unwrap(), Script::Shell("true".into()));
                task.placement.needs = needs.iter().map(|need| Need::passed(TaskName::new(need).unwrap())).collect();
                task
            })
            .collect()
    }

    fn names(wanted: &[&str]) -> Vec<String> {
        let wanted: Vec<String> = wanted.iter().map(|name| (*name).to_owned()).collect();
        in_order(&tasks(), &wanted).unwrap().iter().map(|task| task.name.to_string()).collect()
    }

    #[test]
    fn a_task_comes_after_what_it_needs_and_only_once() {
        assert_eq!(names(&[]), ["build", "test", "lint", "deploy", "docs"]);
        assert_eq!(names(&["test"]), ["build", "test"]);
        assert_eq!(names(&["docs", "lint", "docs"]), ["docs", "build", "lint"]);
    }

    #[test]
    fn a_manual_task_runs_only_if_it_is_named() {
        let mut tasks = tasks();
        tasks[1].placement.manual = true;
        let planned = |wanted: &[&str]| {
            let wanted: Vec<String> = wanted.iter().map(|name| (*name).to_owned()).collect();
            to_run(&tasks, &wanted).map(|planned| planned.iter().map(|task| task.name.to_string()).collect::<Vec<_>>())
        };
        assert_eq!(planned(&[]).unwrap(), ["build", "test", "lint", "deploy", "docs"], "what is held has its place");
        assert_eq!(planned(&["test"]).unwrap(), ["build", "test"]);
        assert_eq!(planned(&["test", "deploy"]).unwrap(), ["build", "test", "lint", "deploy"]);
        let error = planned(&["deploy"]).unwrap_err().to_string();
        assert_eq!(error, "`test` is needed and is manual: name it too, so that it is meant");
    }

    #[test]
    fn a_manual_task_that_is_left_out_or_can_never_start_holds_nothing() {
        use crate::model::Condition;
        use crate::model::reason::StoredReason;
        let plan = |out: &[&str]| {
            let mut tasks = tasks();
            tasks[1].placement.manual = true;
            tasks[3].placement.manual = true;
            tasks[3].placement.needs[0].condition = Condition::Failed;
            let mut plan = Plan::of(in_order(&tasks, &[]).unwrap().into_iter().cloned().collect());
            settle(&mut plan, |name| out.contains(&&**name));
            let word = |task: &crate::model::PlannedTask| match (&task.left_out, task.held) {
                (Some(reason), _) => format!("{} {}", task.spec.name, reason.code().unwrap()),
                (None, true) => format!("{} held", task.spec.name),
                (None, false) => task.spec.name.to_string(),
            };
            plan.tasks.iter().map(word).collect::<Vec<_>>()
        };
        assert_eq!(plan(&[]), ["build", "test held", "lint held", "deploy held", "docs"]);
        assert_eq!(plan(&["test"]), ["build", "test", "lint held", "deploy held", "docs"]);
        assert_eq!(plan(&["test", "build"]), ["build", "test", "lint nothing_failed", "deploy", "docs"]);
    }

    #[test]
    fn a_mistyped_task_is_told_its_nearest_name() {
        let error = in_order(&tasks(), &["tets".to_owned()]).unwrap_err().to_string();
        assert_eq!(error, "there is no task `tets`; did you mean `test`? (tasks: deploy, test, build, lint, docs)");
    }

    #[test]
    fn the_name_of_a_matrix_means_all_its_cells() {
        let task = |name: &str| TaskSpec::new(TaskName::new(name).unwrap(), Script::Shell("true".into()));
        let tasks: Vec<TaskSpec> = ["build", "test@1", "test@2", "tests"].map(task).into();
        let planned = |name: &str| {
            let planned = in_order(&tasks, &[name.to_owned()]).map_err(|error| error.to_string());
            planned.map(|planned| planned.iter().map(|task| task.name.to_string()).collect::<Vec<_>>())
        };
        assert_eq!(planned("test").unwrap(), ["test@1", "test@2"]);
        assert_eq!(planned("test@2").unwrap(), ["test@2"]);
        assert!(planned("test@3").unwrap_err().contains("(tasks: test@1, test@2)"));
        assert!(planned("x").unwrap_err().contains("(tasks: build, test@…, tests)"));
    }
}
