//! The matrix of a task: its axes, and the cells, which are the combinations of their values. The number of cells is
//! known, and limited, before any of them is made.

use std::collections::{HashMap, HashSet};
use std::ops::Range;

use toml::Spanned;
use toml::de::DeValue;

use super::findings::Findings;
use super::keys::KEYS;
use super::layers::{Layer, Owner, SetKey};
use super::limits::{MAX_AXIS_CHARS, MAX_TASKS};
use super::mistake::{Mistake, quote};
use super::suggest::nearest;
use super::value::{TableEntry, entries, kind, refuse_nul};
use crate::model::is_of_cell;

const MATRIX_HELP: &str =
    "write a list of values for each axis, such as `matrix = { version = [\"1.85\", \"stable\"] }`";
const EXCLUDE_HELP: &str =
    "list tables of values, such as `matrix_exclude = [{ version = \"1.85\", features = \"all\" }]`";
const INCLUDE_HELP: &str = "list tables with a value for each axis, and keys of a task, such as\n\
                            `matrix_include = [{ version = \"nightly\", allow_failure = true }]`";
/// The largest number of cells that an error tells exactly.
const MAX_TOLD_CELLS: usize = 1_000_000_000;

/// The value of a cell's name for an empty text.
const EMPTY: &str = "_";

/// A matrix, unfolded.
#[derive(Debug)]
pub(super) struct Matrix<'t, 'i> {
    /// The names of the axes, in the order of the file.
    pub(super) axes: Vec<&'t str>,
    /// The variables that hold the values, in the same order.
    pub(super) variables: Vec<String>,
    pub(super) cells: Vec<Cell>,
    /// The parts behind `@` of combinations that are left out.
    pub(super) excluded: HashSet<String>,
    /// The keys of `matrix_include`, a layer for each of its tables.
    pub(super) layers: Vec<Layer<'t, 'i>>,
}

/// One combination of values.
#[derive(Debug)]
pub(super) struct Cell {
    /// The part of its name behind `@`.
    pub(super) name: String,
    /// One for each axis.
    pub(super) values: Vec<String>,
    /// The layers of [`Matrix::layers`] that are about it.
    pub(super) layers: Vec<usize>,
}

/// An axis while the matrix is read.
struct Axis<'t> {
    name: &'t str,
    values: Vec<String>,
}

/// Returns the matrix of a task's keys, if it has one. A matrix with a mistake is none, and `found` has the mistake.
pub(super) fn of<'t, 'i>(task: &str, keys: &[&SetKey<'t, 'i>], found: &mut Findings) -> Option<Matrix<'t, 'i>> {
    let get = |name: &str| keys.iter().find(|set| set.key.name == name).map(|set| &set.entry);
    let [matrix, exclude, include] = ["matrix", "matrix_exclude", "matrix_include"].map(get);
    if [matrix, exclude, include].iter().all(Option::is_none) {
        return None;
    }
    // Several tasks may have the matrix of one template: its mistakes are told once.
    let told = [matrix, exclude, include].iter().flatten().map(|entry| entry.value.span().start).max().unwrap_or(0);
    let mut of_matrix = Findings::default();
    let read = read(task, matrix, exclude, include, &mut of_matrix);
    let read = of_matrix.unless_wrong(read).filter(|_| !of_matrix.has_mistakes());
    found.append_once(of_matrix, told);
    read
}

/// Returns the part of a cell's name that stands for a value: other characters than a name may have become `-`.
pub(super) fn part_of_name(value: &str) -> String {
    if value.is_empty() {
        return EMPTY.to_owned();
    }
    value.chars().map(|c| if is_of_cell(c) { c } else { '-' }).collect()
}

fn read<'t, 'i>(
    task: &str,
    matrix: Option<&TableEntry<'t, 'i>>,
    exclude: Option<&TableEntry<'t, 'i>>,
    include: Option<&TableEntry<'t, 'i>>,
    found: &mut Findings,
) -> Result<Matrix<'t, 'i>, Mistake> {
    let excludes = exclude.map(|entry| tables(entry, EXCLUDE_HELP)).transpose()?.unwrap_or_default();
    let includes = include.map(|entry| tables(entry, INCLUDE_HELP)).transpose()?.unwrap_or_default();
    let axes = match matrix {
        Some(entry) => read_axes(entry)?,
        None => axes_of_includes(exclude.or(include), &includes)?,
    };
    let place = matrix.or(include).map_or(0..0, |entry| entry.value.span());
    let names: Vec<&str> = axes.iter().map(|axis| axis.name).collect();
    let variables = variables(&names, &place)?;
    let has_product = axes.iter().all(|axis| !axis.values.is_empty());
    let mut combinations = if has_product { product(&axes) } else { Vec::new() };

    let mut excluded = HashSet::new();
    for table in &excludes {
        let pattern = pattern(table, &axes)?;
        let before = excluded.len();
        excluded.extend((0..combinations.len()).filter(|at| is_like(&combinations[*at], &pattern)));
        let is_new = excluded.len() > before;
        if !is_new && !combinations.iter().any(|values| is_like(values, &pattern)) {
            let message = "no combination of the matrix has these values";
            found.mistake(Mistake::new(table.place.clone(), message, "leave the table out"));
        }
    }
    let mut left_out: HashSet<String> = excluded.iter().map(|at| name_of(&combinations[*at])).collect();
    let mut at = 0;
    combinations.retain(|_| {
        at += 1;
        !excluded.contains(&(at - 1))
    });
    let mut cells: Vec<Cell> =
        combinations.into_iter().map(|values| Cell { name: name_of(&values), values, layers: Vec::new() }).collect();

    let mut layers = Vec::new();
    for table in &includes {
        let (values, keys): (Vec<_>, Vec<_>) =
            entries_of(table).into_iter().partition(|entry| names.contains(&entry.key));
        layers.push(Layer::of(keys, Owner::Cell(task), found));
        let values = pattern_of(&values, &names)?;
        let layer = layers.len() - 1;
        let mut is_about_any = false;
        for cell in cells.iter_mut().filter(|cell| is_like(&cell.values, &values)) {
            cell.layers.push(layer);
            is_about_any = true;
        }
        if is_about_any && values.iter().any(Option::is_some) {
            continue;
        }
        let missing = names.iter().zip(&values).find(|(_, value)| value.is_none()).map(|(name, _)| *name);
        if let Some(missing) = missing {
            let message = format!("the table has no value for the axis {}, and no cell has its values", quote(missing));
            found.mistake(Mistake::new(table.place.clone(), message, INCLUDE_HELP));
            continue;
        }
        let values: Vec<String> = values.into_iter().flatten().collect();
        cells.push(Cell { name: name_of(&values), values, layers: vec![layer] });
    }
    for cell in &cells {
        left_out.remove(&cell.name);
    }
    if cells.is_empty() && !found.has_mistakes() {
        let message = "the matrix has no cell that is left";
        return Err(Mistake::new(place, message, "leave some combinations in, or the task out"));
    }
    let mut seen: HashMap<&str, &Cell> = HashMap::new();
    for cell in &cells {
        if let Some(other) = seen.insert(&cell.name, cell) {
            let message = format!(
                "two cells get the name {}: {} and {}",
                quote(&format!("{task}@{}", cell.name)),
                quote(&other.values.join(", ")),
                quote(&cell.values.join(", "))
            );
            let help = "use values that differ in letters, digits and . _ - + = : only";
            return Err(Mistake::new(place, message, help));
        }
    }
    Ok(Matrix { axes: names, variables, cells, excluded: left_out, layers })
}

/// A table of a list.
struct Listed<'t, 'i> {
    place: Range<usize>,
    table: &'t toml::de::DeTable<'i>,
}

fn entries_of<'t, 'i>(listed: &Listed<'t, 'i>) -> Vec<TableEntry<'t, 'i>> {
    entries(listed.table)
}

/// Returns the tables of a list.
fn tables<'t, 'i>(entry: &TableEntry<'t, 'i>, help: &str) -> Result<Vec<Listed<'t, 'i>>, Mistake> {
    let value = entry.value.get_ref();
    let Some(list) = value.as_array() else {
        return Err(
            entry.wrong(format!("{} must be a list of tables, this is {}", quote(entry.key), kind(value)), help)
        );
    };
    if list.len() > MAX_TASKS {
        return Err(entry.wrong(format!("{} has more than {MAX_TASKS} tables", quote(entry.key)), help));
    }
    let table = |item: &'t Spanned<DeValue<'i>>| match item.get_ref().as_table() {
        Some(table) if !table.is_empty() => Ok(Listed { place: item.span(), table }),
        Some(_) => Err(Mistake::new(item.span(), format!("a table of {} is empty", quote(entry.key)), help)),
        None => {
            let message = format!("{} must be a list of tables, this is {}", quote(entry.key), kind(item.get_ref()));
            Err(Mistake::new(item.span(), message, help))
        }
    };
    list.iter().map(table).collect()
}

/// Returns the key for an entry that other programs write into the matrix itself.
fn key_beside(axis: &TableEntry<'_, '_>) -> Option<&'static str> {
    let list = axis.value.get_ref().as_array()?;
    list.iter().find(|item| item.get_ref().is_table())?;
    match axis.key {
        "include" | "adjustments" => Some("matrix_include"),
        "exclude" => Some("matrix_exclude"),
        _ => None,
    }
}

/// Reads the axes of a matrix with their values. The product of their numbers is checked first.
fn read_axes<'t>(entry: &TableEntry<'t, '_>) -> Result<Vec<Axis<'t>>, Mistake> {
    // GitLab and others list the combinations.
    if entry.value.get_ref().is_array() {
        let help = "write the axes as a table, such as `matrix = { version = [\"1.85\", \"stable\"] }`; combinations that are\n\
                    listed one by one are `matrix_include = [{ version = \"1.85\" }, { version = \"stable\" }]`";
        return Err(entry.wrong("`matrix` must be a table, this is a list", help));
    }
    let table = entry.table(MATRIX_HELP)?;
    let mut lists = Vec::new();
    let mut count: usize = 1;
    for axis in entries(table) {
        let value = axis.value.get_ref();
        if let Some(key) = key_beside(&axis) {
            let message = format!("{} in `matrix` has tables, so it is no axis", quote(axis.key));
            return Err(Mistake::new(axis.key_place, message, format!("write `{key} = [{{ … }}]` beside `matrix`")));
        }
        let Some(list) = value.as_array() else {
            let message = format!("axis {} must be a list of values, this is {}", quote(axis.key), kind(value));
            return Err(axis.wrong(message, MATRIX_HELP));
        };
        check_axis(axis.key, axis.key_place.clone())?;
        if list.is_empty() {
            return Err(axis.wrong(format!("axis {} has no values", quote(axis.key)), MATRIX_HELP));
        }
        count = count.saturating_mul(list.len());
        lists.push((axis.clone(), list));
    }
    if lists.is_empty() {
        return Err(entry.wrong("`matrix` has no axis", MATRIX_HELP));
    }
    if count > MAX_TASKS {
        let count = if count > MAX_TOLD_CELLS { format!("more than {MAX_TOLD_CELLS}") } else { count.to_string() };
        let message = format!("the matrix has {count} cells, and a commit has at most {MAX_TASKS} tasks");
        return Err(entry.wrong(message, "let one task run several of the combinations"));
    }
    lists
        .into_iter()
        .map(|(axis, list)| {
            let mut values: Vec<String> = Vec::new();
            for item in list {
                let value = text_of(item, axis.key)?;
                if values.contains(&value) {
                    let message = format!("axis {} has the value {} twice", quote(axis.key), quote(&value));
                    return Err(Mistake::new(item.span(), message, "name each value once"));
                }
                values.push(value);
            }
            Ok(Axis { name: axis.key, values })
        })
        .collect()
}

/// Returns the axes of a matrix that consists of included cells only: keys that are no keys of a task.
fn axes_of_includes<'t>(
    entry: Option<&TableEntry<'t, '_>>,
    includes: &[Listed<'t, '_>],
) -> Result<Vec<Axis<'t>>, Mistake> {
    let mut axes = Vec::new();
    for axis in includes.first().map(entries_of).unwrap_or_default() {
        if !KEYS.iter().any(|key| key.name == axis.key) {
            check_axis(axis.key, axis.key_place.clone())?;
            axes.push(Axis { name: axis.key, values: Vec::new() });
        }
    }
    match entry {
        Some(entry) if axes.is_empty() => {
            Err(Mistake::new(entry.key_place.clone(), format!("{} has no `matrix`", quote(entry.key)), MATRIX_HELP))
        }
        _ => Ok(axes),
    }
}

fn check_axis(name: &str, place: Range<usize>) -> Result<(), Mistake> {
    let is_right = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    if name.is_empty() || name.len() > MAX_AXIS_CHARS || !name.chars().all(is_right) {
        let help = format!("use 1 to {MAX_AXIS_CHARS} of A-Z a-z 0-9 . _ -");
        return Err(Mistake::new(place, format!("{} cannot name an axis", quote(name)), help));
    }
    Ok(())
}

/// Returns the names of the variables that hold the values.
fn variables(axes: &[&str], place: &Range<usize>) -> Result<Vec<String>, Mistake> {
    let mut names: Vec<String> = Vec::new();
    for axis in axes {
        let name = format!("MATRIX_{}", axis.to_ascii_uppercase().replace(['.', '-'], "_"));
        if let Some(other) = names.iter().position(|known| *known == name) {
            let message = format!("axes {} and {} have one variable, {name}", quote(axes[other]), quote(axis));
            return Err(Mistake::new(place.clone(), message, "rename one of them"));
        }
        names.push(name);
    }
    Ok(names)
}

/// Returns a value as text. A number with a fraction is refused, because `3.10` would be `3.1`.
fn text_of(item: &Spanned<DeValue<'_>>, axis: &str) -> Result<String, Mistake> {
    match item.get_ref() {
        DeValue::String(text) => {
            refuse_nul(item.span(), text)?;
            Ok(text.clone().into_owned())
        }
        DeValue::Boolean(flag) => Ok(flag.to_string()),
        DeValue::Integer(number) => match i64::from_str_radix(number.as_str(), number.radix()) {
            Ok(number) => Ok(number.to_string()),
            Err(_) => Err(Mistake::new(item.span(), "the number is too large", "put it in quotes")),
        },
        DeValue::Float(number) => {
            let message = format!("a value of axis {} is a number with a fraction", quote(axis));
            let help = format!("put it in quotes, `\"{}\"`: as a number, 3.10 and 3.1 are the same", number.as_str());
            Err(Mistake::new(item.span(), message, help))
        }
        other @ (DeValue::Datetime(_) | DeValue::Array(_) | DeValue::Table(_)) => {
            let message = format!("a value of axis {} is {}", quote(axis), kind(other));
            Err(Mistake::new(item.span(), message, "write strings, whole numbers, true or false"))
        }
    }
}

/// Returns all combinations: the values of the last axis change first.
fn product(axes: &[Axis<'_>]) -> Vec<Vec<String>> {
    axes.iter().fold(vec![Vec::new()], |combinations, axis| {
        let with = |combination: &Vec<String>, value: &String| combination.iter().chain([value]).cloned().collect();
        combinations.iter().flat_map(|before| axis.values.iter().map(move |value| with(before, value))).collect()
    })
}

/// Returns the values of a table of `matrix_exclude`, one for each axis that it names.
fn pattern(listed: &Listed<'_, '_>, axes: &[Axis<'_>]) -> Result<Vec<Option<String>>, Mistake> {
    let names: Vec<&str> = axes.iter().map(|axis| axis.name).collect();
    let entries = entries_of(listed);
    let pattern = pattern_of(&entries, &names)?;
    for entry in &entries {
        let at = names.iter().position(|name| *name == entry.key).unwrap_or(0);
        let (axis, value) = (&axes[at], pattern[at].as_deref().unwrap_or_default());
        if !axis.values.iter().any(|known| known == value) {
            let message = format!("axis {} has no value {}", quote(axis.name), quote(value));
            let near = nearest(value, axis.values.iter().map(String::as_str));
            let help = near.map_or("name one of its values".to_owned(), |near| format!("write {}", quote(near)));
            return Err(entry.wrong(message, help));
        }
    }
    Ok(pattern)
}

/// Returns the values of these entries, one for each axis that they name.
fn pattern_of(entries: &[TableEntry<'_, '_>], names: &[&str]) -> Result<Vec<Option<String>>, Mistake> {
    let mut pattern = vec![None; names.len()];
    for entry in entries {
        let Some(at) = names.iter().position(|name| *name == entry.key) else {
            let help = match nearest(entry.key, names.iter().copied()) {
                Some(near) => format!("write `{near}`"),
                None => format!("the axes are {}", names.join(", ")),
            };
            let message = format!("the matrix has no axis {}", quote(entry.key));
            return Err(Mistake::new(entry.key_place.clone(), message, help));
        };
        pattern[at] = Some(text_of(entry.value, entry.key)?);
    }
    Ok(pattern)
}

fn is_like(values: &[String], pattern: &[Option<String>]) -> bool {
    values.iter().zip(pattern).all(|(value, wanted)| wanted.as_ref().is_none_or(|wanted| wanted == value))
}

fn name_of(values: &[String]) -> String {
    values.iter().map(|value| part_of_name(value)).collect::<Vec<_>>().join(",")
}
