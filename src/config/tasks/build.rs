//! Reads the table `[build]`: the settings of the build as a whole.

use super::file::FileDraft;
use super::foreign::Level;
use super::keys::{BUILD_KEYS, read_duration};
use super::limits::MAX_TIMEOUT_MS;
use super::misplaced;
use super::mistake::{Mistake, quote};
use super::suggest::nearest;
use super::task::table_help;
use super::value::{TableEntry, entries};
use crate::model::Supersede;

const EXAMPLE: &str = "write a table, such as\n[build]\ntimeout = \"2h\"";

/// The values of `supersede`.
const SUPERSEDE: [(&str, Supersede); 3] =
    [("no", Supersede::No), ("queued", Supersede::Queued), ("running", Supersede::Running)];

/// Reads the table.
pub(super) fn read_build<'t, 'i>(top: &TableEntry<'t, 'i>, file: &mut FileDraft<'t, 'i>) {
    let Some(table) = file.found.unless_wrong(top.table(EXAMPLE)) else { return };
    if table.contains_key("run") {
        // Somebody means a task of that name.
        file.broken.insert(top.key);
        let message = "`[build]` has the settings of the build as a whole, and no `run`";
        file.found.mistake(Mistake::new(top.key_place.clone(), message, table_help(top.key)));
        return;
    }
    for entry in entries(table) {
        let settings = &mut file.settings;
        let read = match entry.key {
            "timeout" => read_duration(&entry, MAX_TIMEOUT_MS, "none").map(|ms| settings.timeout_ms = Some(ms)),
            "fail_fast" => entry.flag().map(|flag| settings.fail_fast = flag),
            "supersede" => read_supersede(&entry).map(|supersede| settings.supersede = supersede),
            unknown => Err(unknown_key(&entry, unknown)),
        };
        file.found.unless_wrong(read);
    }
}

fn read_supersede(entry: &TableEntry<'_, '_>) -> Result<Supersede, Mistake> {
    let help = "write `supersede = \"queued\"` or `\"running\"`, or leave it out for `\"no\"`";
    let text = entry.text(help)?;
    let known = SUPERSEDE.iter().find(|(word, _)| *word == text);
    known.map(|(_, supersede)| *supersede).ok_or_else(|| {
        entry.wrong(format!("`supersede` must be `no`, `queued` or `running`, this is {}", quote(text)), help)
    })
}

fn unknown_key(entry: &TableEntry<'_, '_>, key: &str) -> Mistake {
    let all = format!("the keys of `[build]` are {}", BUILD_KEYS.join(", "));
    let help = match (nearest(key, BUILD_KEYS), misplaced::answer(Level::Build, key)) {
        (Some(near), _) => format!("write `{near}`; {all}"),
        (None, Some(answer)) => answer,
        (None, None) => all,
    };
    Mistake::new(entry.key_place.clone(), format!("unknown key {} in `[build]`", quote(key)), help)
}
