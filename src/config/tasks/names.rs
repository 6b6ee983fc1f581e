//! The names by which the tasks of a file need one another, and take artifacts from one another.

use std::collections::{HashMap, HashSet};
use std::ops::Range;

use super::draft::{CellsOf, PlacedTask};
use super::findings::Findings;
use super::matrix::part_of_name;
use super::mistake::{Mistake, quote};
use super::suggest::nearest;
use crate::model::TaskName;

/// The names that a need may have.
pub(super) struct Names<'n> {
    pub(super) tasks: &'n [PlacedTask],
    pub(super) index: HashMap<&'n str, usize>,
    pub(super) matrices: &'n HashMap<&'n str, CellsOf>,
    /// Names of tasks that are in the file and could not be read.
    pub(super) broken: &'n HashSet<&'n str>,
    /// The task that wrote the file. Its artifacts may be taken.
    pub(super) parent: Option<&'n TaskName>,
}

/// A task that another one needs: its index, and the need that names it.
pub(super) type Edge = (usize, usize);

impl Names<'_> {
    /// Returns the tasks that a task needs, each once.
    pub(super) fn edges(&self, at: usize, found: &mut Findings) -> Vec<Edge> {
        let task = &self.tasks[at];
        let name = task.spec.name.written();
        let mut edges: Vec<Edge> = Vec::new();
        let mut seen = HashSet::new();
        let mut written = HashSet::new();
        for (number, need) in task.needs.iter().enumerate() {
            let needed = &*need.value;
            let mut wrong =
                |message: String, help: String| found.mistake(Mistake::new(need.place.clone(), message, help));
            if !written.insert(needed) {
                wrong(format!("task `{name}` needs {} twice", quote(needed)), "name each task once".to_owned());
                continue;
            }
            let Some(tasks) = self.tasks_of(needed) else {
                if !self.broken.contains(needed.split('@').next().unwrap_or(needed)) {
                    let (message, help) = self.unknown(name, needed);
                    wrong(message, help);
                }
                continue;
            };
            if tasks.contains(&at) {
                wrong(format!("task `{name}` needs itself"), "name other tasks only".to_owned());
                continue;
            }
            edges.extend(tasks.filter(|needed| seen.insert(*needed)).map(|needed| (needed, number)));
        }
        edges
    }

    /// Returns the tasks of a need's name: a task, a cell, or all cells of a matrix.
    pub(super) fn tasks_of(&self, needed: &str) -> Option<Range<usize>> {
        let one = |at: &usize| *at..*at + 1;
        if let Some(cells) = self.matrices.get(needed) {
            return Some(cells.tasks.clone());
        }
        self.index.get(needed).map(one).or_else(|| {
            // Values may have been replaced in it, and a name has them in a safe form.
            let (name, cell) = needed.split_once('@')?;
            let safe: Vec<String> = cell.split(',').map(part_of_name).collect();
            self.index.get(&*format!("{name}@{}", safe.join(","))).map(one)
        })
    }

    /// Says why a name is that of no task, and what to write.
    fn unknown(&self, task: &str, needed: &str) -> (String, String) {
        let message = |why: &str| format!("task `{task}` needs {}, {why}", quote(needed));
        if let Some((name, cell)) = needed.split_once('@') {
            if let Some(cells) = self.matrices.get(name) {
                let message = if cells.excluded.contains(cell) {
                    message("which `matrix_exclude` leaves out")
                } else {
                    message(&format!("which is no cell of the matrix of {}", quote(name)))
                };
                let near = nearest(needed, self.tasks[cells.tasks.clone()].iter().map(|cell| &*cell.spec.name));
                let help = match near {
                    Some(near) => format!("write `{near}`, or `{name}` for all cells"),
                    None => format!("`surveil check` lists the cells; `{name}` stands for all of them"),
                };
                return (message, help);
            }
            if self.index.contains_key(name) {
                return (message("which has no matrix"), format!("write `{name}`"));
            }
        }
        let others = self.tasks.iter().map(|other| other.spec.name.written()).filter(|other| *other != task);
        let help = match nearest(needed, others) {
            Some(near) => format!("write `{near}`, or add a task of that name"),
            None => "name a task of this file, or add one of that name".to_owned(),
        };
        (message("which is not a task"), help)
    }
}
