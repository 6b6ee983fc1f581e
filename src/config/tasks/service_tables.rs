//! Reads the table of all services of a file.

use super::file::FileDraft;
use super::limits::MAX_FILE_SERVICES;
use super::mistake::Mistake;
use super::services::EXAMPLE;
use super::value::{TableEntry, entries};

/// Reads all services.
pub(super) fn read_services<'t, 'i>(top: &TableEntry<'t, 'i>, file: &mut FileDraft<'t, 'i>) {
    let Some(table) = file.found.unless_wrong(top.table(EXAMPLE)) else { return };
    for (at, entry) in entries(table).into_iter().enumerate() {
        if at == MAX_FILE_SERVICES {
            let message = format!("a file has at most {MAX_FILE_SERVICES} services");
            file.found.mistake(Mistake::new(entry.key_place, message, "leave out those that no task names"));
            break;
        }
        file.services.read(&entry, &mut file.found);
    }
}
