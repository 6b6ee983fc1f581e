//! Chooses tasks of a commit by their names, with the tasks that they need. Pure.

use std::collections::{HashMap, HashSet};

use super::suggest::nearest;
use crate::model::reason::LeftOutReason;
use crate::model::{Plan, PlannedTask, TaskName};

/// The error of a name that no task of the commit has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnknownTask {
    pub name: String,
    /// The task whose name is most like it, if one is.
    pub nearest: Option<TaskName>,
    /// All tasks of the commit.
    pub known: Vec<TaskName>,
}

/// Chooses the tasks of these names and the tasks that they need; all tasks if no name is given. The others are left
/// out. A named task runs whatever its own conditions say: somebody has asked for it.
pub fn choose_tasks(mut plan: Plan, names: &[String]) -> Result<Plan, UnknownTask> {
    if names.is_empty() {
        return Ok(plan);
    }
    let known = || plan.tasks.iter().map(|task| &task.spec.name);
    if let Some(name) = names.iter().find(|name| !known().any(|known| known.is_meant_by(name))) {
        let like = nearest(name, known().map(TaskName::as_str));
        let nearest = known().find(|known| Some(known.as_str()) == like).cloned();
        return Err(UnknownTask { name: name.clone(), nearest, known: known().cloned().collect() });
    }
    let mut wanted: HashSet<TaskName> = HashSet::new();
    let mut open: Vec<&TaskName> = known().filter(|known| names.iter().any(|name| known.is_meant_by(name))).collect();
    let index: HashMap<&TaskName, &PlannedTask> = plan.tasks.iter().map(|task| (&task.spec.name, task)).collect();
    while let Some(name) = open.pop() {
        if let Some(task) = index.get(name)
            && wanted.insert(name.clone())
        {
            open.extend(task.spec.placement.needs.iter().map(|need| &need.task));
        }
    }
    for task in &mut plan.tasks {
        if names.iter().any(|name| task.spec.name.is_meant_by(name)) {
            (task.left_out, task.held) = (None, false);
        } else if !wanted.contains(&task.spec.name) {
            (task.left_out, task.held) = (Some(LeftOutReason::NotAsked), false);
        }
    }
    Ok(plan)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Need, Script, TaskSpec};

    fn chosen(names: &[&str]) -> Result<Vec<String>, UnknownTask> {
        let task = |(name, needs): (&str, &[&str])| {
            let mut task = TaskSpec::new(TaskName::new(name).unwrap(), Script::Shell("true".into()));
            task.placement.needs = needs.iter().map(|need| Need::passed(TaskName::new(need).unwrap())).collect();
            task
        };
        let tasks = [("deploy", &["test", "lint"][..]), ("test", &["build"]), ("build", &[]), ("lint", &["build"])];
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut plan = Plan::of(tasks.into_iter().map(task).collect());
        plan.tasks.iter_mut().for_each(|task| task.held = *task.spec.name == *"deploy");
        let chosen = choose_tasks(plan, &names)?.tasks.into_iter().filter(|task| task.left_out.is_none());
        Ok(chosen.map(|task| format!("{}{}", task.spec.name, if task.held { " held" } else { "" })).collect())
    }

    #[test]
    fn the_named_tasks_are_chosen_with_all_that_they_need() {
        assert_eq!(chosen(&[]).unwrap(), ["deploy held", "test", "build", "lint"]);
        assert_eq!(chosen(&["build", "build"]).unwrap(), ["build"]);
        assert_eq!(chosen(&["lint", "test"]).unwrap(), ["test", "build", "lint"]);
        assert_eq!(chosen(&["deploy"]).unwrap(), ["deploy", "test", "build", "lint"], "nobody need start it");
    }

    #[test]
    fn the_name_of_a_matrix_chooses_all_its_cells() {
        let task = |name: &str| TaskSpec::new(TaskName::new(name).unwrap(), Script::Shell("true".into()));
        let chosen = |name: &str| -> Vec<String> {
            let plan = choose_tasks(Plan::of(["a@1", "a@2", "ab"].map(task).into()), &[name.to_owned()]).unwrap();
            plan.tasks.iter().filter(|task| task.left_out.is_none()).map(|task| task.spec.name.to_string()).collect()
        };
        assert_eq!(chosen("a"), ["a@1", "a@2"]);
        assert_eq!(chosen("a@2"), ["a@2"]);
    }

    #[test]
    fn an_unknown_task_is_told_with_the_nearest_and_all_others() {
        let error = chosen(&["build", "tset"]).unwrap_err();
        assert_eq!((&*error.name, error.nearest.as_deref(), error.known.len()), ("tset", Some("test"), 4));
    }
}
