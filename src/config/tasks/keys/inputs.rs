//! Reader of `inputs`: the variables whose values a person may give when asking for a build.

use super::super::draft::Draft;
use super::super::foreign::{self, Level};
use super::super::limits::MAX_INPUTS;
use super::super::mistake::{Mistake, quote};
use super::super::value::{TableEntry, entries, refuse_nul};
use super::execution::RESERVED_ENV;
use crate::model::Input;

const HELP: &str = "write a table for each, such as\n\
                    `inputs = { version = { default = \"\", description = \"version to publish\" } }`";

pub(super) fn read_inputs(entry: &TableEntry<'_, '_>, draft: &mut Draft<'_>) -> Result<(), Mistake> {
    for input in entries(entry.table(HELP)?) {
        let read = read_input(&input);
        let Some(read) = draft.found.unless_wrong(read) else { continue };
        let inputs = &mut draft.placement.inputs;
        inputs.retain(|other| other.name != read.name);
        inputs.push(read);
    }
    if draft.placement.inputs.len() > MAX_INPUTS {
        let message = format!("a task has at most {MAX_INPUTS} inputs");
        return Err(entry.wrong(message, "let one input name a file or a set of values"));
    }
    Ok(())
}

fn read_input(input: &TableEntry<'_, '_>) -> Result<Input, Mistake> {
    let (name, place) = (input.key, input.key_place.clone());
    let is_first = |c: char| c.is_ascii_alphabetic() || c == '_';
    let is_name = name.starts_with(is_first) && name.chars().all(|c| is_first(c) || c.is_ascii_digit());
    if !is_name {
        let message = format!("{} cannot name an input", quote(name));
        let help = "the task has it in a variable of this name: use letters, digits and `_`, such as `version`";
        return Err(Mistake::new(place, message, help));
    }
    if name.starts_with(RESERVED_ENV) {
        let message = format!("{} is reserved: the runner sets variables of that prefix", quote(name));
        return Err(Mistake::new(place, message, "use another name"));
    }
    let mut read = Input { name: name.to_owned(), default: None, description: String::new(), given: None };
    for part in entries(input.table(HELP)?) {
        let text = || part.text(HELP);
        match part.key {
            "default" => read.default = Some(text()?.to_owned()),
            "description" => text()?.clone_into(&mut read.description),
            other => {
                let message = format!("unknown key {} of an input", quote(other));
                let help = foreign::answer(Level::Input, other);
                let help = help.unwrap_or("an input has `default` and `description`");
                return Err(Mistake::new(part.key_place, message, help));
            }
        }
        refuse_nul(part.value.span(), text()?)?;
    }
    Ok(read)
}
