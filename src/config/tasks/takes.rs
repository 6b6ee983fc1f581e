//! Finds the artifacts that each task takes of the tasks that it needs: all of them, or those that its `take` names.

use std::collections::HashMap;

use super::draft::PlacedTask;
use super::findings::Findings;
use super::limits::MAX_NEEDS;
use super::mistake::{Mistake, quote};
use super::names::Names;
use super::suggest::nearest;
use super::value::Placed;
use crate::model::{Take, TaskSpec};

/// Returns what a task takes of each of the tasks that it needs, which are `needed` by their places in the file.
/// `count` is the number of needs and of single artifacts so far.
pub(super) fn of_task(
    task: &PlacedTask,
    needed: &[usize],
    names: &Names<'_>,
    count: &mut usize,
    found: &mut Findings,
) -> Vec<Take> {
    let Some(written) = &task.take else {
        let leaves = |at: &usize| !names.tasks[*at].spec.recipe.artifacts.is_empty();
        return needed.iter().map(|at| if leaves(at) { Take::All } else { Take::Nothing }).collect();
    };
    let places = needed.iter().enumerate().map(|(place, at)| (*at, place)).collect();
    let mut taking = Taking { task, names, places, takes: vec![Take::Nothing; needed.len()], count };
    // The cells of a matrix have one value, whose mistakes are told once.
    let mut of_value = Findings::default();
    for item in written {
        of_value.unless_wrong(taking.add(item));
    }
    if let Some(first) = written.first() {
        found.append_once(of_value, first.place.start);
    }
    taking.takes
}

/// Returns what a task of a file that another task wrote takes of that task.
pub(super) fn of_parent(task: &PlacedTask, parent: &TaskSpec) -> Result<Take, Mistake> {
    let rules = &parent.recipe.artifacts;
    let Some(written) = &task.take else { return Ok(if rules.is_empty() { Take::Nothing } else { Take::All }) };
    let (mut all, mut names) = (false, Vec::new());
    for item in written {
        let Some(rest) = item.value.strip_prefix(&*parent.name) else { continue };
        let name = rest.strip_prefix(':');
        if name.is_none() && !rest.is_empty() {
            // A task of the file, whose name begins as this one's.
            continue;
        }
        if !name.map_or(!rules.is_empty(), |name| rules.iter().any(|rule| rule.name == name)) {
            let message = format!("{} is no artifact of the task that wrote this file", quote(&item.value));
            let known: Vec<&str> = rules.iter().map(|rule| rule.name.as_str()).collect();
            let help =
                if known.is_empty() { "it leaves none".to_owned() } else { format!("it leaves {}", known.join(", ")) };
            return Err(Mistake::new(item.place.clone(), message, help));
        }
        match name {
            None => all = true,
            Some(name) => names.push(name.to_owned()),
        }
    }
    Ok(match names {
        _ if all => Take::All,
        names if names.is_empty() => Take::Nothing,
        names => Take::Only(names),
    })
}

/// The artifacts that a task takes, while its `take` is read.
struct Taking<'a> {
    task: &'a PlacedTask,
    names: &'a Names<'a>,
    /// The place in `takes` of each needed task.
    places: HashMap<usize, usize>,
    takes: Vec<Take>,
    count: &'a mut usize,
}

impl Taking<'_> {
    /// Adds what an entry names. What was told as a mistake of `needs` is not told again.
    fn add(&mut self, item: &Placed<std::sync::Arc<str>>) -> Result<(), Mistake> {
        let (names, text) = (self.names, &*item.value);
        let (own, tasks) = (self.task.spec.name.written(), names.tasks);
        let wrong = |message: String, help: String| Err(Mistake::new(item.place.clone(), message, help));
        // Cells may have a colon in their names, and artifacts have none.
        let parts = text.rsplit_once(':');
        let (of, artifact, range) = match (names.tasks_of(text), parts) {
            (Some(range), _) => (text, None, range),
            (None, Some((of, artifact))) if let Some(range) = names.tasks_of(of) => (of, Some(artifact), range),
            (None, _) => {
                let of = parts.map_or(text, |(of, _)| of);
                let is_known = |name: &str| {
                    names.parent.is_some_and(|parent| **parent == *name)
                        || names.broken.contains(name.split('@').next().unwrap_or(name))
                        || self.task.needs.iter().any(|need| *need.value == *name)
                };
                if is_known(text) || is_known(of) {
                    return Ok(());
                }
                let needs = self.task.needs.iter().map(|need| &*need.value);
                let help = match nearest(of, needs) {
                    Some(near) => format!("write `{}`", text.replacen(of, near, 1)),
                    None => "name one of its `needs`, or one artifact as `TASK:ARTIFACT`".to_owned(),
                };
                return wrong(format!("task `{own}` takes from {}, which is not a task", quote(of)), help);
            }
        };
        let needed: Vec<usize> = range.filter(|at| self.places.contains_key(at)).collect();
        if needed.is_empty() {
            if self.task.needs.iter().any(|need| *need.value == *of) {
                return Ok(());
            }
            let message = format!("task `{own}` takes from {}, which it does not need", quote(of));
            return wrong(message, format!("add it to `needs`, such as `needs = [\"{of}\"]`, or leave it out"));
        }
        let rules = |at: &usize| &tasks[*at].spec.recipe.artifacts;
        let leaves = |at: &usize| match artifact {
            Some(name) => rules(at).iter().any(|rule| rule.name == name),
            None => !rules(at).is_empty(),
        };
        let leaving: Vec<usize> = needed.iter().copied().filter(leaves).collect();
        if leaving.is_empty() {
            let known = needed.iter().flat_map(rules).map(|rule| rule.name.as_str());
            return match artifact {
                None => {
                    let help =
                        format!("write `artifacts` into `{of}`, such as `artifacts = [\"dist/**\"]`, or leave it out");
                    wrong(format!("task `{own}` takes from {}, which leaves no artifacts", quote(of)), help)
                }
                Some(name) => {
                    let help = match nearest(name, known) {
                        Some(near) => format!("write `{of}:{near}`"),
                        None => format!(
                            "write a name that stands under `artifacts` of `{of}`; its plain globs are `{of}:files`"
                        ),
                    };
                    let name = quote(name);
                    wrong(format!("task `{own}` takes {name} of {}, which leaves no such artifact", quote(of)), help)
                }
            };
        }
        for at in leaving {
            let take = &mut self.takes[self.places[&at]];
            let is_double = artifact.map_or(!take.is_nothing(), |name| take.covers(name));
            if is_double {
                return wrong(format!("task `{own}` takes {} twice", quote(text)), "name it once".to_owned());
            }
            match (artifact, take) {
                (None, take) => *take = Take::All,
                (Some(name), Take::Only(names)) => names.push(name.to_owned()),
                (Some(name), take) => *take = Take::Only(vec![name.to_owned()]),
            }
            *self.count += 1;
        }
        if *self.count > MAX_NEEDS {
            let message = format!("the tasks of the file need and take more than {MAX_NEEDS} times from one another");
            return wrong(message, "name a task without an artifact to take all that it leaves".to_owned());
        }
        Ok(())
    }
}
