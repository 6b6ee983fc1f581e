//! Readers of `history`, `tags` and `submodules`: what a task's tree has beside the files of the commit.

use super::super::draft::Draft;
use super::super::mistake::{Mistake, quote};
use super::super::value::{TableEntry, kind};
use crate::model::{Depth, Submodules};

/// The most commits that can be named. Whoever wants more wants all.
const MAX_COMMITS: u32 = 1_000_000;

const HISTORY: &str = "write the number of commits, such as `history = 50`, or `history = \"full\"`";
const LABELS: &str = "write `tags = true` for the tags of the repository, or leave it out;\n\
                      labels that a runner must have are `labels = [\"gpu\"]`";

pub(super) fn read_history(entry: &TableEntry<'_, '_>, draft: &mut Draft<'_>) -> Result<(), Mistake> {
    let value = entry.value.get_ref();
    draft.recipe.history = match value.as_str() {
        Some(Depth::FULL_WORD) => Depth::FULL,
        Some(other) => {
            return Err(
                entry.wrong(format!("`history` must be a number or \"full\", this is {}", quote(other)), HISTORY)
            );
        }
        None if value.as_integer().is_none() => {
            return Err(
                entry.wrong(format!("`history` must be a number or \"full\", this is {}", kind(value)), HISTORY)
            );
        }
        None => Depth(entry.number(1..=MAX_COMMITS)?),
    };
    Ok(())
}

pub(super) fn read_tags(entry: &TableEntry<'_, '_>, draft: &mut Draft<'_>) -> Result<(), Mistake> {
    // Elsewhere the word means the labels of a runner.
    let value = entry.value.get_ref();
    let Some(flag) = value.as_bool() else {
        return Err(entry.wrong(format!("`tags` must be true or false, this is {}", kind(value)), LABELS));
    };
    draft.recipe.tags = flag;
    Ok(())
}

const RECURSIVE: &str = "recursive";

pub(super) fn read_submodules(entry: &TableEntry<'_, '_>, draft: &mut Draft<'_>) -> Result<(), Mistake> {
    let help = "write `submodules = true`, or `submodules = \"recursive\"` for those in submodules too";
    let value = entry.value.get_ref();
    draft.recipe.submodules = match (value.as_bool(), value.as_str()) {
        (Some(true), _) => Submodules::Direct,
        (Some(false), _) => Submodules::No,
        (None, Some(RECURSIVE)) => Submodules::Recursive,
        (None, Some(other)) => {
            let message = format!("`submodules` must be true, false or \"{RECURSIVE}\", this is {}", quote(other));
            return Err(entry.wrong(message, help));
        }
        (None, None) => {
            let message = format!("`submodules` must be true, false or \"{RECURSIVE}\", this is {}", kind(value));
            return Err(entry.wrong(message, help));
        }
    };
    Ok(())
}
