//! Values that people gave to inputs: which ones a task runs with.

use std::collections::BTreeMap;
use std::sync::Arc;

use surveil::model::{JobId, Record, TaskSpec};
use surveil::scheduler::{Effect, Lease, RunnerCommand};

use super::{Book, Judge, Step, follow};
use crate::promises::checkers::{demand, facts};
use crate::promises::history::{Entry, Fact};
use crate::promises::terms::Terms;

/// A task runs with the values that were given last, and with the defaults of its other inputs.
pub(in crate::promises) fn inputs(story: &[Entry], terms: &Terms) -> Result<(), String> {
    follow::<Inputs>(story, terms)
}

#[derive(Default)]
struct Inputs;

impl Judge for Inputs {
    fn record(&mut self, _: &Book, _: &Step<'_>, _: &Record) -> Result<(), String> {
        Ok(())
    }

    fn end(&mut self, book: &Book, step: &Step<'_>) -> Result<(), String> {
        for lease in step.effects.iter().flat_map(|effect| leases(effect)) {
            let Some(job) = book.jobs.get(&lease.job) else { continue };
            for input in &job.task.spec.placement.inputs {
                let (expected, leased) = (job.value(&input.name), value(&lease.task, &input.name));
                demand(expected.map(String::as_str) == leased, || {
                    format!("{} of {} is {leased:?}, and {expected:?} was given", input.name, lease.job)
                })?;
            }
        }
        Ok(())
    }
}

/// The values with which a lease leaves are recorded before.
pub(in crate::promises) fn recorded_inputs(story: &[Entry], _: &Terms) -> Result<(), String> {
    let mut tasks: BTreeMap<JobId, Arc<TaskSpec>> = BTreeMap::new();
    for fact in facts(story) {
        match fact {
            Fact::Committed(Record::BuildAdded { jobs, .. } | Record::JobsJoined { jobs, .. }) => {
                tasks.extend(jobs.iter().map(|job| (job.id, Arc::clone(&job.task))));
            }
            Fact::Committed(Record::TaskGiven { job, task }) => drop(tasks.insert(*job, Arc::clone(task))),
            Fact::Released(effect) => {
                for lease in leases(effect) {
                    let Some(task) = tasks.get(&lease.job) else { continue };
                    let differs = |name: &&String| value(task, name) != value(&lease.task, name);
                    let name = task.placement.inputs.iter().map(|input| &input.name).find(differs);
                    demand(name.is_none(), || {
                        format!("{} leaves with a {name:?} that is not recorded", lease.attempt)
                    })?;
                }
            }
            _ => {}
        }
    }
    Ok(())
}

fn leases(effect: &Effect) -> Vec<&Lease> {
    match effect {
        Effect::Send { message: RunnerCommand::Lease(lease), .. } => vec![lease],
        Effect::Send { message: RunnerCommand::Registered { held, .. }, .. } => held.iter().collect(),
        _ => Vec::new(),
    }
}

fn value<'a>(task: &'a TaskSpec, name: &str) -> Option<&'a str> {
    let variables = task.recipe.env.iter();
    variables.filter(|(variable, _)| variable == name).map(|(_, value)| &**value).next_back()
}
