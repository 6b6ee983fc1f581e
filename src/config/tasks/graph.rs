//! Checks how tasks depend on one another: every need names another task of the file, and there is no cycle.

use std::collections::{HashMap, HashSet};

use super::draft::PlacedTask;
use super::findings::Findings;
use super::mistake::{Mistake, quote};
use super::suggest::nearest;

/// Tasks of a cycle that an error names.
const MAX_SHOWN_CYCLE: usize = 12;
/// Cycles that are reported. Each further one mostly shares tasks with them.
const MAX_CYCLES: usize = 10;

/// Checks the needs of all tasks. `broken` are the names of tasks that are in the file and could not be read.
pub(super) fn check_needs(tasks: &[PlacedTask], broken: &HashSet<&str>, found: &mut Findings) {
    let index: HashMap<&str, usize> = tasks.iter().enumerate().map(|(at, task)| (&*task.spec.name, at)).collect();
    for task in tasks {
        check_names(task, tasks, &|name| index.contains_key(name) || broken.contains(name), found);
    }
    for cycle in find_cycles(tasks, &index) {
        found.mistake(cycle_mistake(tasks, &cycle));
    }
}

fn check_names(task: &PlacedTask, tasks: &[PlacedTask], is_task: &dyn Fn(&str) -> bool, found: &mut Findings) {
    let name = &task.spec.name;
    let mut seen = HashSet::new();
    for need in &task.needs {
        let needed = &*need.value;
        let mut wrong = |message: String, help: String| found.mistake(Mistake::new(need.place.clone(), message, help));
        if needed == &**name {
            wrong(format!("task `{name}` needs itself"), "name other tasks only".to_owned());
        } else if !seen.insert(needed) {
            wrong(format!("task `{name}` needs {} twice", quote(needed)), "name each task once".to_owned());
        } else if !is_task(needed) {
            let others = tasks.iter().map(|other| &*other.spec.name).filter(|other| *other != &**name);
            let help = match nearest(needed, others) {
                Some(near) => format!("write `{near}`, or add a task of that name"),
                None => "name a task of this file, or add one of that name".to_owned(),
            };
            wrong(format!("task `{name}` needs {}, which is not a task", quote(needed)), help);
        }
    }
}

/// Finds tasks of which each needs the next, and the last needs the first, at most [`MAX_CYCLES`] times. Does not
/// recurse, so that a long chain of needs cannot exhaust a thread's stack.
fn find_cycles(tasks: &[PlacedTask], index: &HashMap<&str, usize>) -> Vec<Vec<usize>> {
    #[derive(Clone, Copy, PartialEq)]
    enum Visit {
        Never,
        OnPath,
        Done,
    }
    let mut cycles = Vec::new();
    let mut seen = vec![Visit::Never; tasks.len()];
    for start in 0..tasks.len() {
        // The path from `start` to the present task. Each entry has the index of its next need.
        let mut path = if seen[start] == Visit::Never { vec![(start, 0)] } else { continue };
        seen[start] = Visit::OnPath;
        while let Some((at, next)) = path.last_mut() {
            let Some(need) = tasks[*at].needs.get(*next) else {
                seen[*at] = Visit::Done;
                path.pop();
                continue;
            };
            *next += 1;
            // A need of itself, and of no task, is a mistake of its own.
            let Some(&needed) = index.get(&*need.value).filter(|needed| **needed != *at) else { continue };
            match seen[needed] {
                Visit::Done => {}
                Visit::Never => {
                    seen[needed] = Visit::OnPath;
                    path.push((needed, 0));
                }
                Visit::OnPath => {
                    // The tasks before this one on the path only lead into the cycle.
                    let tasks = path.iter().map(|(at, _)| *at);
                    cycles.push(tasks.skip_while(|at| *at != needed).collect());
                    if cycles.len() == MAX_CYCLES {
                        return cycles;
                    }
                }
            }
        }
    }
    cycles
}

/// Makes the mistake for a cycle. Its place is the need of the cycle's first task in the file.
fn cycle_mistake(tasks: &[PlacedTask], cycle: &[usize]) -> Mistake {
    let first = (0..cycle.len()).min_by_key(|at| tasks[cycle[*at]].name_place.start).unwrap_or(0);
    let in_order: Vec<usize> = cycle[first..].iter().chain(&cycle[..first]).copied().collect();
    let name = |task: usize| tasks[task].spec.name.as_str();
    let mut shown: Vec<&str> = in_order.iter().take(MAX_SHOWN_CYCLE).map(|task| name(*task)).collect();
    if in_order.len() > MAX_SHOWN_CYCLE {
        shown.push("…");
    }
    shown.push(name(in_order[0]));
    let second = name(in_order[1 % in_order.len()]);
    let task = &tasks[in_order[0]];
    let place =
        task.needs.iter().find(|need| *need.value == *second).map_or(task.name_place.clone(), |n| n.place.clone());
    let message = format!("tasks need one another in a circle: {}", shown.join(" -> "));
    Mistake::new(place, message, "remove one of these needs; `a -> b` says that a needs b")
}
