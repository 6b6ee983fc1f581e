//! Reads the tables whose keys tasks inherit: `[defaults]` and `[template.NAME]`.

use super::draft::Draft;
use super::file::FileDraft;
use super::layers::{self, Layer, Owner};
use super::limits::{MAX_TEMPLATES, NAME_RULE};
use super::mistake::{Mistake, quote};
use super::value::{TableEntry, entries, kind};
use crate::model::TaskName;

const TEMPLATE_HELP: &str =
    "write each template as a table with its name, such as\n[template.rust]\nlabels = [\"rust\"]";

/// Reads the defaults of all tasks.
pub(super) fn read_defaults<'t, 'i>(top: &TableEntry<'t, 'i>, file: &mut FileDraft<'t, 'i>) {
    let help = "write keys that all tasks have in common, such as\n[defaults]\ntimeout = \"30m\"";
    let Some(table) = file.found.unless_wrong(top.table(help)) else { return };
    file.defaults = Layer::read(table, Owner::Defaults, &mut file.found);
    layers::check_values(&file.defaults, Draft::new(file.context), &mut file.found);
}

/// Reads all templates.
pub(super) fn read_templates<'t, 'i>(top: &TableEntry<'t, 'i>, file: &mut FileDraft<'t, 'i>) {
    let Some(table) = file.found.unless_wrong(top.table(TEMPLATE_HELP)) else { return };
    for entry in entries(table) {
        let (name, place) = (entry.key, entry.key_place.clone());
        if file.templates.count() == MAX_TEMPLATES {
            let message = format!("a file has at most {MAX_TEMPLATES} templates");
            file.found.mistake(Mistake::new(place, message, "leave out those that no task extends"));
            break;
        }
        let Some(table) = entry.value.get_ref().as_table() else {
            let message = format!("template {} must be a table, this is {}", quote(name), kind(entry.value.get_ref()));
            file.found.mistake(Mistake::new(place, message, TEMPLATE_HELP));
            file.templates.add_broken(name);
            continue;
        };
        if TaskName::plain(name).is_err() {
            file.found.mistake(Mistake::new(place, format!("{} cannot name a template", quote(name)), NAME_RULE));
        }
        let layer = Layer::read(table, Owner::Template(name), &mut file.found);
        layers::check_values(&layer, Draft::new(file.context), &mut file.found);
        file.templates.add(name, layer);
    }
    file.templates.link(&mut file.found);
}
