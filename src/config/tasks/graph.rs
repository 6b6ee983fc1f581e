//! Finds the tasks that each task needs: every need names another task of the file, a whole matrix or a cell of one,
//! and there is no circle. What a task takes of them is found by `takes`.

use std::collections::{HashMap, HashSet};

use super::draft::{CellsOf, PlacedTask};
use super::findings::Findings;
use super::limits::MAX_NEEDS;
use super::mistake::Mistake;
use super::names::{Edge, Names};
use super::takes;
use crate::model::{Need, TaskName};

/// Tasks of a circle that an error names.
const MAX_SHOWN_CYCLE: usize = 12;
/// Circles that are reported. Each further one mostly shares tasks with them.
const MAX_CYCLES: usize = 10;

/// Finds the needs of all tasks. `parent` is the task that wrote the file, if one did. `broken` are the names of tasks
/// that are in the file and could not be read.
pub(super) fn find_needs(
    tasks: &mut [PlacedTask],
    matrices: &HashMap<&str, CellsOf>,
    broken: &HashSet<&str>,
    parent: Option<&TaskName>,
    found: &mut Findings,
) {
    let index = tasks.iter().enumerate().map(|(at, task)| (&*task.spec.name, at)).collect();
    let names = Names { tasks, index, matrices, broken, parent };
    let mut all = Vec::new();
    let mut count = 0;
    // The cells of a matrix have their needs from one place, whose mistakes are looked for once.
    let mut mistaken = HashSet::new();
    for (at, task) in tasks.iter().enumerate() {
        let place = task.needs.first().map_or(0, |need| need.place.start);
        if mistaken.contains(&place) {
            all.push(Vec::new());
            continue;
        }
        let mut of_task = Findings::default();
        let edges = names.edges(at, &mut of_task);
        if of_task.has_mistakes() {
            mistaken.insert(place);
        }
        found.append(of_task);
        count += edges.len();
        if count > MAX_NEEDS {
            let message = format!("the tasks of the file need one another more than {MAX_NEEDS} times");
            let help = "a need of a matrix counts once for each of its cells: put a task between the two";
            let place = task.needs.first().map_or(0..0, |need| need.place.clone());
            found.mistake(Mistake::new(place, message, help));
            return;
        }
        all.push(edges);
    }
    let mut told = HashSet::new();
    for cycle in find_cycles(&all) {
        let mistake = cycle_mistake(tasks, &all, &cycle);
        // Two matrices in a circle make many circles with one need.
        if told.insert(mistake.place.start) {
            found.mistake(mistake);
        }
    }
    let mut of_task = |(task, edges): (&PlacedTask, &Vec<Edge>)| -> Vec<Need> {
        let needed: Vec<usize> = edges.iter().map(|(needed, _)| *needed).collect();
        let takes = takes::of_task(task, &needed, &names, &mut count, found);
        let need = |(at, take): (&usize, _)| Need { take, ..Need::passed(names.tasks[*at].spec.name.clone()) };
        needed.iter().zip(takes).map(need).collect()
    };
    let needed: Vec<Vec<Need>> = names.tasks.iter().zip(&all).map(&mut of_task).collect();
    for (task, needed) in tasks.iter_mut().zip(needed) {
        task.needed = needed;
    }
}

/// Finds tasks of which each needs the next, and the last needs the first, at most [`MAX_CYCLES`] times. Does not
/// recurse, so that a long chain of needs cannot exhaust a thread's stack.
fn find_cycles(edges: &[Vec<Edge>]) -> Vec<Vec<usize>> {
    #[derive(Clone, Copy, PartialEq)]
    enum Visit {
        Never,
        OnPath,
        Done,
    }
    let mut cycles = Vec::new();
    let mut seen = vec![Visit::Never; edges.len()];
    for start in 0..edges.len() {
        // The path from `start` to the present task. Each entry has the index of its next need.
        let mut path = if seen[start] == Visit::Never { vec![(start, 0)] } else { continue };
        seen[start] = Visit::OnPath;
        while let Some((at, next)) = path.last_mut() {
            let Some((needed, _)) = edges[*at].get(*next).copied() else {
                seen[*at] = Visit::Done;
                path.pop();
                continue;
            };
            *next += 1;
            match seen[needed] {
                Visit::Done => {}
                Visit::Never => {
                    seen[needed] = Visit::OnPath;
                    path.push((needed, 0));
                }
                Visit::OnPath => {
                    // The tasks before this one on the path only lead into the circle.
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

/// Makes the mistake for a circle. Its place is the need of the circle's first task in the file.
fn cycle_mistake(tasks: &[PlacedTask], edges: &[Vec<Edge>], cycle: &[usize]) -> Mistake {
    let first = (0..cycle.len()).min_by_key(|at| tasks[cycle[*at]].name_place.start).unwrap_or(0);
    let in_order: Vec<usize> = cycle[first..].iter().chain(&cycle[..first]).copied().collect();
    // Cells are named only if a circle goes through several of one matrix.
    let written: HashSet<&str> = cycle.iter().map(|at| tasks[*at].spec.name.written()).collect();
    let is_plain = written.len() == cycle.len();
    let name = |task: usize| {
        let name = &tasks[task].spec.name;
        if is_plain { name.written() } else { name.as_str() }
    };
    let mut shown: Vec<&str> = in_order.iter().take(MAX_SHOWN_CYCLE).map(|task| name(*task)).collect();
    if in_order.len() > MAX_SHOWN_CYCLE {
        shown.push("…");
    }
    shown.push(name(in_order[0]));
    let (task, second) = (in_order[0], in_order[1 % in_order.len()]);
    let need = edges[task].iter().find(|(needed, _)| *needed == second);
    let place = need.map_or(tasks[task].name_place.clone(), |(_, number)| tasks[task].needs[*number].place.clone());
    let message = format!("tasks need one another in a circle: {}", shown.join(" -> "));
    Mistake::new(place, message, "remove one of these needs; `a -> b` says that a needs b")
}
