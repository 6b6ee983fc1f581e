//! Reader of `services`: the names of the services of a task. They are looked up when all keys of the task are read.

use super::super::draft::Draft;
use super::super::mistake::Mistake;
use super::super::value::{Placed, TableEntry};

pub(super) fn read_names(entry: &TableEntry<'_, '_>, draft: &mut Draft<'_>) -> Result<(), Mistake> {
    let help = "list the names of services, such as `services = [\"db\"]`, and write each as a table, such as\n\
                [service.db]\nrun = \"exec redis-server --port $PORT\"";
    let names = entry.texts(help, &mut draft.found)?;
    draft.services = names.into_iter().map(|Placed { place, value }| Placed { place, value: value.into() }).collect();
    Ok(())
}
