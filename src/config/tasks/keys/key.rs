//! A key of a task: its name, its documentation and its reader.

use std::fmt;

use super::super::draft::Draft;
use super::super::mistake::Mistake;
use super::super::suggest::without_signs;
use super::super::value::TableEntry;

/// One key of a task.
pub(crate) struct Key {
    pub(crate) name: &'static str,
    /// A line with the key, for advice.
    pub(crate) example: &'static str,
    /// The key's row in the table of `docs/tasks.md`, behind the name: the type of the value, the value of a task
    /// without this key, and the meaning in a few words.
    pub(crate) row: &'static str,
    /// The JSON Schema of the value, as JSON.
    pub(crate) schema: &'static str,
    /// Words that other programs use for it, for people who come from there.
    pub(crate) aliases: &'static [&'static str],
    /// Whether the key may stand in `[defaults]`.
    pub(crate) is_common: bool,
    /// Whether a task has the entries of its own table besides those of its templates and the defaults. The value of
    /// any other key takes the place of theirs.
    pub(crate) is_merged: bool,
    /// Keys that say the same in another way. One table has only one of them, and it takes the place of the others in
    /// templates and defaults.
    pub(crate) instead_of: &'static [&'static str],
    /// Whether the key says of which tables and cells a task is made. It is read before the others, and stands neither
    /// in `[defaults]` nor in `matrix_include`.
    pub(crate) is_structure: bool,
    /// Whether `${matrix.AXIS}` is replaced in the strings of the value. It never is in commands.
    pub(crate) is_replaced: bool,
    /// Reads the value into the task.
    pub(crate) read: fn(&TableEntry<'_, '_>, &mut Draft<'_>) -> Result<(), Mistake>,
}

impl Key {
    /// A key as most are, to be completed.
    pub(super) const USUAL: Self = Self {
        name: "",
        example: "",
        row: "",
        schema: "",
        aliases: &[],
        is_common: true,
        is_merged: false,
        instead_of: &[],
        is_structure: false,
        is_replaced: true,
        read: |_, _| Ok(()),
    };

    /// A key that is read before the others, to be completed.
    pub(super) const STRUCTURE: Self = Self { is_common: false, is_structure: true, is_replaced: false, ..Self::USUAL };

    /// Whether another program calls the key so. Programs write words with `-`, `_` or capitals between their parts.
    pub(crate) fn has_alias(&self, typed: &str) -> bool {
        let word = without_signs(typed);
        self.aliases.iter().any(|alias| without_signs(alias) == word)
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}
