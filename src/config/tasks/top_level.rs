//! The keys at the top of a task file: the only list of them. A new key is one entry of [`TOP_KEYS`], with its reader
//! in a file of its own, and a field of [`FileDraft`] for its value.

use super::draft::FileDraft;
use super::task;
use super::value::TableEntry;

/// One key at the top of the file.
pub(super) struct TopKey {
    pub(super) name: &'static str,
    /// Reads the value. Mistakes go to the findings of the file.
    pub(super) read: for<'t> fn(&TableEntry<'t, '_>, &mut FileDraft<'t>),
}

/// All keys at the top of the file, in the order in which they are read: a task depends on all others.
pub(super) static TOP_KEYS: &[TopKey] = &[TopKey { name: "task", read: task::read_tasks }];

/// Returns the names of all keys, as advice.
pub(super) fn known() -> String {
    let names: Vec<String> = TOP_KEYS.iter().map(|key| format!("`{}`", key.name)).collect();
    match names.as_slice() {
        [only] => format!("the only key here is {only}"),
        _ => format!("the keys here are {}", names.join(", ")),
    }
}
