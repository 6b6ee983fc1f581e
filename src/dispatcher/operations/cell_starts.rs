//! The orders that start the held cells of a matrix, one after the other. Pure.

use std::collections::{BTreeMap, BTreeSet};

use crate::model::reason::{NamedJobs, RefusalReason};
use crate::model::{Job, JobId, JobState};

/// Values for inputs, by name.
type Values = BTreeMap<String, String>;

/// Returns the held cells of a matrix in their order, each with the values for the inputs of the jobs that start with
/// it. Refuses what the scheduler would refuse of a later cell, so that all of them start or none.
pub(super) fn cell_starts(
    jobs: &[Job],
    matrix: &NamedJobs,
    values: &Values,
) -> Result<Vec<(JobId, Values)>, RefusalReason> {
    let mut held: Vec<&Job> = jobs.iter().filter(|job| job.state == JobState::Held).collect();
    let cells: Vec<&Job> = held.iter().copied().filter(|job| matrix.jobs.contains(&job.id)).collect();
    let Some(first) = cells.first() else {
        // The first cell tells why.
        return Ok(matrix.jobs.first().map(|job| (*job, values.clone())).into_iter().collect());
    };
    let mut known = BTreeSet::new();
    let mut orders = Vec::new();
    for cell in &cells {
        let mut taken = BTreeMap::new();
        let starting = starting(&mut held, cell);
        if let Some(needed) = held.iter().find(|other| is_needed(cell, other)) {
            let (build, task) = (cell.build, cell.task.name.clone());
            return Err(RefusalReason::NeedsHeld { build, task, needs: needed.task.name.clone() });
        }
        for job in starting {
            let mut spec = (*job.task).clone();
            let names = spec.set_inputs(values);
            if !names.is_empty() {
                let (build, task) = (job.build, job.task.name.clone());
                return Err(RefusalReason::MissingInputs { build, task, names });
            }
            for input in &job.task.placement.inputs {
                known.insert(input.name.clone());
                taken.extend(values.get_key_value(&input.name).map(|(name, value)| (name.clone(), value.clone())));
            }
        }
        orders.push((cell.id, taken));
    }
    if let Some(name) = values.keys().find(|name| !known.contains(*name)) {
        let (build, task, name) = (first.build, matrix.task.clone(), name.clone());
        return Err(RefusalReason::UnknownInput { build, task, name, known: known.into_iter().collect() });
    }
    Ok(orders)
}

/// Takes out of the held jobs a cell, and those that are held because of it alone, and returns them.
fn starting<'j>(held: &mut Vec<&'j Job>, cell: &'j Job) -> Vec<&'j Job> {
    held.retain(|job| job.id != cell.id);
    let mut found = vec![cell];
    let needs = |job: &Job, others: &[&Job]| others.iter().any(|other| is_needed(job, other));
    while let Some(at) =
        held.iter().position(|job| !job.task.placement.manual && needs(job, &found) && !needs(job, held))
    {
        found.push(held.remove(at));
    }
    found
}

fn is_needed(job: &Job, other: &Job) -> bool {
    job.task.placement.needs.iter().any(|need| need.task == other.task.name)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::model::{BuildId, Input, Need, Script, TaskName, TaskSpec};

    /// A job of a task `name` or `name needs…`, and the names of its inputs; of a cell, it is manual.
    fn job(id: u64, words: &str, inputs: &[&str], state: JobState) -> Job {
        let mut words = words.split(' ');
        let name = TaskName::new(words.next().unwrap()).unwrap();
        let mut task = TaskSpec::new(name.clone(), Script::Shell("true".into()));
        task.placement.manual = name.cell().is_some();
        task.placement.needs = words.map(|need| Need::passed(TaskName::new(need).unwrap())).collect();
        let input =
            |name: &&str| Input { name: (*name).into(), default: None, description: String::new(), given: None };
        task.placement.inputs = inputs.iter().map(input).collect();
        let (id, build, task) = (JobId(id), BuildId(1), Arc::new(task));
        Job { id, build, task, state, attempts: 0, failures: 0, losses: 0 }
    }

    #[test]
    fn each_held_cell_gets_the_values_for_what_starts_with_it() {
        let held = |id, words, inputs| job(id, words, inputs, JobState::Held);
        let jobs = [
            held(1, "deploy@a", &["x"]),
            job(2, "deploy@b", &["x"], JobState::Waiting),
            held(3, "deploy@c", &["x"]),
            held(4, "smoke deploy@a", &["s"]),
            held(5, "all deploy@a deploy@b deploy@c smoke", &["z"]),
        ];
        let task = TaskName::new("deploy").unwrap();
        let matrix = NamedJobs { task: task.clone(), jobs: [1, 2, 3].map(JobId).into(), is_matrix: true };
        let starts = |names: &[&str]| {
            let values = names.iter().map(|name| ((*name).to_owned(), "1".to_owned())).collect();
            let orders = cell_starts(&jobs, &matrix, &values)?;
            let names = |(job, values): (JobId, Values)| (job.0, values.into_keys().collect::<Vec<_>>().join(" "));
            Ok(orders.into_iter().map(names).collect::<Vec<_>>())
        };
        assert_eq!(starts(&["s", "x", "z"]).unwrap(), [(1, "s x".to_owned()), (3, "x z".to_owned())]);
        let all = TaskName::new("all").unwrap();
        let missing = RefusalReason::MissingInputs { build: BuildId(1), task: all, names: vec!["z".into()] };
        assert_eq!(starts(&["s", "x"]), Err(missing), "before the first cell is started");
        let waiting = [held(1, "deploy@a", &[]), held(2, "deploy@b go", &[]), held(3, "go", &[])];
        let (build, needs) = (BuildId(1), TaskName::new("go").unwrap());
        let needed = RefusalReason::NeedsHeld { build, task: TaskName::new("deploy@b").unwrap(), needs };
        assert_eq!(cell_starts(&waiting, &matrix, &Values::new()), Err(needed), "before the first cell is started");
        let known = ["s", "x", "z"].map(str::to_owned).into();
        let unknown = RefusalReason::UnknownInput { build: BuildId(1), task, name: "y".into(), known };
        assert_eq!(starts(&["s", "x", "y", "z"]), Err(unknown));
    }
}
