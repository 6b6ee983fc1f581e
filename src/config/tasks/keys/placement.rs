//! Readers of the keys that say what a task waits for, and where it runs.

use super::super::draft::Draft;
use super::super::limits::{MAX_LABELS, MAX_TAKES, MAX_TASKS};
use super::super::mistake::{Mistake, quote};
use super::super::value::{Placed, TableEntry, entries};
use crate::model::{Group, GroupName, Label};

pub(super) fn read_needs(entry: &TableEntry<'_, '_>, draft: &mut Draft<'_>) -> Result<(), Mistake> {
    let needs = entry.texts("list the names of tasks, such as `needs = [\"build\"]`", &mut draft.found)?;
    if needs.len() > MAX_TASKS {
        let message = format!("a task needs at most {MAX_TASKS} tasks");
        return Err(entry.wrong(message, "name those that must have passed before"));
    }
    draft.needs = needs.into_iter().map(|need| Placed { place: need.place, value: need.value.into() }).collect();
    Ok(())
}

pub(super) fn read_take(entry: &TableEntry<'_, '_>, draft: &mut Draft<'_>) -> Result<(), Mistake> {
    let help = "list needed tasks, or single artifacts of them, such as `take = [\"build\", \"test:coverage\"]`;\n\
                `take = []` takes none";
    let takes = entry.texts(help, &mut draft.found)?;
    if takes.len() > MAX_TAKES {
        let message = format!("a task takes at most {MAX_TAKES} artifacts");
        return Err(entry.wrong(message, "name a task without an artifact to take all that it leaves"));
    }
    let takes = takes.into_iter().map(|take| Placed { place: take.place, value: take.value.into() }).collect();
    draft.take = Some(takes);
    Ok(())
}

pub(super) fn read_labels(entry: &TableEntry<'_, '_>, draft: &mut Draft<'_>) -> Result<(), Mistake> {
    let help = "a label is WORD or KEY=VALUE, with letters, digits and . _ - + : @ / only,\n\
                such as `labels = [\"gpu\", \"os=linux\"]`";
    // Agents of Buildkite and labels of Woodpecker are tables of texts.
    if let Some(table) = entry.value.get_ref().as_table() {
        let text = |label: &TableEntry<'_, '_>| Some(format!("{}={}", label.key, label.value.get_ref().as_str()?));
        let labels: Vec<String> = entries(table).iter().filter_map(text).collect();
        let are_right = !labels.is_empty() && labels.iter().all(|label| Label::new(label).is_ok());
        let written = format!("write `labels = [\"{}\"]`", labels.join("\", \""));
        let help = if are_right && labels.len() <= 8 { &written } else { help };
        return Err(entry.wrong("`labels` must be a list of strings, this is a table", help));
    }
    let mut labels = Vec::new();
    for label in entry.texts(help, &mut draft.found)? {
        let message = || format!("{} is not a label", quote(label.value));
        let read = Label::new(label.value).map_err(|_| Mistake::new(label.place.clone(), message(), help));
        labels.extend(draft.found.unless_wrong(read));
    }
    labels.sort();
    labels.dedup();
    if labels.len() > MAX_LABELS {
        let message = format!("a task has at most {MAX_LABELS} labels");
        return Err(entry.wrong(message, "name what a runner must offer, and no more"));
    }
    draft.placement.labels = labels;
    Ok(())
}

pub(super) fn read_group(entry: &TableEntry<'_, '_>, draft: &mut Draft<'_>) -> Result<(), Mistake> {
    let help = "write a name of 1 to 100 visible characters, such as `group = \"staging\"`";
    let text = entry.text(help)?;
    let name = GroupName::new(text).map_err(|_| entry.wrong(format!("{} cannot name a group", quote(text)), help))?;
    draft.placement.group = Some(Group::new(name));
    Ok(())
}
