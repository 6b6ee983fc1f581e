//! Layers of keys: the table of a task, templates that it extends, and the defaults of the file. Each table is read
//! into a layer, and the layers of a task are laid over one another before their values are read.

use toml::de::DeTable;

use super::draft::Draft;
use super::findings::Findings;
use super::foreign::Level;
use super::keys::{KEYS, Key, advice_for, nearest_key};
use super::mistake::{Mistake, quote};
use super::value::{TableEntry, entries};
use super::{command, misplaced, replace};

/// The table that a layer was read from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Owner<'t> {
    Defaults,
    Template(&'t str),
    Task(&'t str),
    /// A table of `matrix_include`, which is about cells of the task.
    Cell(&'t str),
}

/// A key that a table sets, with its value.
#[derive(Debug, Clone)]
pub(super) struct SetKey<'t, 'i> {
    pub(super) key: &'static Key,
    pub(super) entry: TableEntry<'t, 'i>,
}

/// The known keys of one table, in the order of the file.
#[derive(Debug, Default)]
pub(super) struct Layer<'t, 'i> {
    pub(super) keys: Vec<SetKey<'t, 'i>>,
    /// Known keys whose names are probably misspelt in the table. They are told already, so they are not missing too.
    pub(super) misspelt: Vec<&'static str>,
}

impl<'t, 'i> Layer<'t, 'i> {
    /// Reads the keys of a table. Unknown keys, and keys that do not belong there, are mistakes.
    pub(super) fn read(table: &'t DeTable<'i>, owner: Owner<'_>, found: &mut Findings) -> Self {
        Self::of(entries(table), owner, found)
    }

    /// Reads the keys among the entries of a table.
    pub(super) fn of(entries: Vec<TableEntry<'t, 'i>>, owner: Owner<'_>, found: &mut Findings) -> Self {
        let mut layer = Self::default();
        for entry in entries {
            let Some(key) = KEYS.iter().find(|key| key.name == entry.key) else {
                layer.misspelt.extend(nearest_key(entry.key));
                found.mistake(unknown_key(&entry, owner));
                continue;
            };
            let name = key.name;
            if owner == Owner::Defaults && !key.is_common {
                let help = "write it in each task, or in a template that the tasks extend";
                let message = format!("`{name}` cannot stand in `[defaults]`");
                found.mistake(Mistake::new(entry.key_place, message, help));
                continue;
            }
            if matches!(owner, Owner::Cell(_)) && key.is_structure {
                let message = format!("`{name}` cannot stand in `matrix_include`");
                found.mistake(Mistake::new(entry.key_place, message, "write it in the task itself"));
                continue;
            }
            if let Some(other) = layer.keys.iter().find(|other| key.instead_of.contains(&other.key.name)) {
                let message = format!("{} has both `{}` and `{name}`", owner.text(), other.key.name);
                found.mistake(Mistake::new(
                    entry.key_place,
                    message,
                    "write one of them: each takes the place of the other",
                ));
                continue;
            }
            layer.keys.push(SetKey { key, entry });
        }
        layer
    }

    /// Returns the key of that name.
    pub(super) fn get(&self, name: &str) -> Option<&SetKey<'t, 'i>> {
        self.keys.iter().find(|set| set.key.name == name)
    }
}

impl SetKey<'_, '_> {
    /// Whether the value differs between the cells of a matrix.
    pub(super) fn is_replaced(&self) -> bool {
        self.key.is_replaced && replace::is_in(self.entry.value.get_ref())
    }
}

impl Owner<'_> {
    /// The table in the middle of a sentence.
    fn text(self) -> String {
        match self {
            Self::Defaults => "`[defaults]`".to_owned(),
            Self::Template(name) => format!("template {}", quote(name)),
            Self::Task(name) => format!("task {}", quote(name)),
            Self::Cell(name) => format!("`matrix_include` of task {}", quote(name)),
        }
    }
}

/// Returns the keys of all layers together: a later layer wins over an earlier one.
pub(super) fn overlaid<'l, 't: 'l, 'i: 'l>(
    layers: impl IntoIterator<Item = &'l Layer<'t, 'i>>,
) -> Vec<&'l SetKey<'t, 'i>> {
    laid_over(layers.into_iter().flat_map(|layer| &layer.keys))
}

/// Returns the keys that count: a later one wins over an earlier one. Keys that are merged are all there.
pub(super) fn laid_over<'l, 't: 'l, 'i: 'l>(
    keys: impl IntoIterator<Item = &'l SetKey<'t, 'i>>,
) -> Vec<&'l SetKey<'t, 'i>> {
    let mut all: Vec<&SetKey<'t, 'i>> = Vec::new();
    for new in keys {
        let gives_way =
            |old: &Key| old.name == new.key.name && !new.key.is_merged || new.key.instead_of.contains(&old.name);
        all.retain(|old| !gives_way(old.key));
        all.push(new);
    }
    all
}

/// Reads the values of a layer that is no task, so that a mistake is told even if no task takes the key.
pub(super) fn check_values(layer: &Layer<'_, '_>, mut draft: Draft<'_>, found: &mut Findings) {
    // Values that depend on a matrix are read for its cells.
    for set in layer.keys.iter().filter(|set| !set.is_replaced()) {
        read_value(set.key, &set.entry, &mut draft, found);
    }
}

/// Reads the value of a key into a task. Several tasks may read the same value, and its findings are told once.
pub(super) fn read_value(key: &Key, entry: &TableEntry<'_, '_>, draft: &mut Draft<'_>, found: &mut Findings) {
    let read = (key.read)(entry, draft);
    let mut of_value = std::mem::take(&mut draft.found);
    of_value.unless_wrong(read);
    if !key.is_replaced && !key.is_structure && replace::is_in(entry.value.get_ref()) {
        let message = format!("nothing is replaced inside `{}`, so that no value becomes a command", key.name);
        of_value.warning(entry.wrong(message, "each value of the matrix is a variable, such as `$MATRIX_VERSION`"));
    }
    found.append_once(of_value, entry.value.span().start);
}

fn unknown_key(entry: &TableEntry<'_, '_>, owner: Owner<'_>) -> Mistake {
    let names: Vec<&str> = KEYS.iter().map(|key| key.name).collect();
    let all = format!("the keys of a task are {}", names.join(", "));
    let help = match (misplaced::answer(Level::Task, entry.key), nearest_key(entry.key)) {
        (Some(answer), _) => answer,
        (None, Some("run")) if entry.value.get_ref().is_array() => command::advice_for_list(entry),
        (None, Some(key)) => advice_for(key, entry.key),
        (None, None) => all,
    };
    let message = format!("unknown key {} in {}", quote(entry.key), owner.text());
    Mistake::new(entry.key_place.clone(), message, help)
}
