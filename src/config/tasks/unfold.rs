//! Reads the values of a task's keys: once for a task, or for each cell of its matrix. A value without placeholders is
//! read once for all cells.

use super::PlanContext;
use super::command;
use super::draft::Draft;
use super::findings::Findings;
use super::layers::{self, SetKey};
use super::matrix::Matrix;
use super::replace;
use super::value::TableEntry;

/// Reads the keys of a task without a matrix.
pub(super) fn one<'a>(
    keys: &[&SetKey<'_, '_>],
    context: PlanContext<'a>,
    has_own_shell: bool,
    found: &mut Findings,
) -> Draft<'a> {
    let mut draft = Draft::new(context);
    read(keys.iter().copied(), &[], &[], &mut draft, found);
    finish(keys, &mut draft, has_own_shell, found);
    draft
}

/// Reads the keys of a task for each cell of its matrix, in their order.
pub(super) fn cells<'a>(
    keys: &[&SetKey<'_, '_>],
    matrix: &Matrix<'_, '_>,
    context: PlanContext<'a>,
    has_own_shell: bool,
    found: &mut Findings,
) -> Vec<Draft<'a>> {
    let (differing, equal): (Vec<&SetKey>, Vec<&SetKey>) = keys.iter().copied().partition(|set| set.is_replaced());
    let mut base = Draft::new(context);
    read(equal.iter().copied(), &[], &[], &mut base, found);
    let mut drafts = Vec::with_capacity(matrix.cells.len());
    for cell in &matrix.cells {
        let mut draft;
        if cell.layers.is_empty() {
            draft = base.clone();
            read(differing.iter().copied(), &matrix.axes, &cell.values, &mut draft, found);
            finish(keys, &mut draft, has_own_shell, found);
        } else {
            let own = cell.layers.iter().flat_map(|at| &matrix.layers[*at].keys);
            let keys = layers::laid_over(keys.iter().copied().chain(own));
            draft = Draft::new(context);
            read(keys.iter().copied(), &matrix.axes, &cell.values, &mut draft, found);
            finish(&keys, &mut draft, has_own_shell, found);
        }
        let variables = matrix.variables.iter().cloned().zip(cell.values.iter().cloned());
        draft.recipe.env.splice(0..0, variables);
        drafts.push(draft);
    }
    drafts
}

/// Reads the values of keys, with the values of a cell in place of the placeholders.
fn read<'k, 't: 'k, 'i: 't>(
    keys: impl Iterator<Item = &'k SetKey<'t, 'i>>,
    axes: &[&str],
    values: &[String],
    draft: &mut Draft<'_>,
    found: &mut Findings,
) {
    for set in keys {
        if !set.is_replaced() {
            layers::read_value(set.key, &set.entry, draft, found);
            continue;
        }
        match replace::replaced(set.entry.value, axes, values) {
            Ok(value) => {
                let entry = TableEntry { value: &value, ..set.entry.clone() };
                layers::read_value(set.key, &entry, draft, found);
            }
            Err(mistake) => {
                let mut of_value = Findings::default();
                of_value.mistake(mistake);
                found.append_once(of_value, set.entry.value.span().start);
            }
        }
    }
}

/// Makes the script of a task. Its findings are told once for each value of `run`.
fn finish(keys: &[&SetKey<'_, '_>], draft: &mut Draft<'_>, has_own_shell: bool, found: &mut Findings) {
    let run = keys.iter().find(|set| matches!(set.key.name, "run" | "steps"));
    command::finish(draft, has_own_shell);
    let of_run = std::mem::take(&mut draft.found);
    if let Some(run) = run {
        // The findings of the value itself are told under its beginning.
        found.append_once(of_run, run.entry.value.span().end);
    }
}
