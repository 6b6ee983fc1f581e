//! Readers of the keys that say how far a task is kept from the rest of its runner's machine.

use super::super::draft::Draft;
use super::super::mistake::{Mistake, quote};
use super::super::value::TableEntry;
use crate::model::{Pull, Tier};

/// The longest name of an image: a registry, a path of 255 characters, a tag and a digest.
const MAX_IMAGE_CHARS: usize = 500;

pub(super) fn read_isolation(entry: &TableEntry<'_, '_>, draft: &mut Draft<'_>) -> Result<(), Mistake> {
    let help = "write `\"shared\"`, `\"guarded\"` or `\"sealed\"`, such as `isolation = \"guarded\"`";
    let text = entry.text(help)?;
    let tier = Tier::of_task(text).ok_or_else(|| {
        let help = match text {
            "image" | "container" | "docker" | "podman" => "name the image, such as `image = \"rust:1.95\"`",
            "none" => "write `isolation = \"shared\"`, or leave it out for what the runner does by itself",
            _ => help,
        };
        entry.wrong(format!("{} is no isolation", quote(text)), help)
    })?;
    draft.recipe.isolation = Some(tier);
    Ok(())
}

pub(super) fn read_image(entry: &TableEntry<'_, '_>, draft: &mut Draft<'_>) -> Result<(), Mistake> {
    draft.recipe.image = Some(image_name(entry)?);
    Ok(())
}

/// Reads the name of an image.
pub(crate) fn image_name(entry: &TableEntry<'_, '_>) -> Result<String, Mistake> {
    let help = "write the name of an image as `podman run` and `docker run` take it, such as `image = \"rust:1.95\"`";
    if let Some(named) = entry.value.get_ref().as_table().and_then(|table| table.get("image")?.get_ref().as_str()) {
        let help = if is_image(named) { format!("write `image = \"{named}\"`") } else { help.to_owned() };
        return Err(entry.wrong("`image` must be a string, this is a table", help));
    }
    let text = entry.text(help)?;
    if !is_image(text) {
        return Err(entry.wrong(format!("{} cannot name an image", quote(text)), help));
    }
    Ok(text.to_owned())
}

/// Whether a text can be the name of an image. It is an argument of another program, which must not take it for an
/// option.
fn is_image(text: &str) -> bool {
    let is_first = |c: char| c.is_ascii_alphanumeric() || matches!(c, '/' | '.' | '_');
    let is_part = |c: char| c.is_ascii_alphanumeric() || matches!(c, '/' | '.' | '_' | '-' | ':' | '@' | '+' | '~');
    // Such as `oci-archive:/file`, which reads a file of the runner's machine.
    let is_transport = text.contains(":/");
    text.len() <= MAX_IMAGE_CHARS && text.starts_with(is_first) && text.chars().all(is_part) && !is_transport
}

pub(super) fn read_pull(entry: &TableEntry<'_, '_>, draft: &mut Draft<'_>) -> Result<(), Mistake> {
    draft.recipe.pull = pull(entry)?;
    Ok(())
}

/// Reads when an image is fetched.
pub(crate) fn pull(entry: &TableEntry<'_, '_>) -> Result<Pull, Mistake> {
    let help = "write `\"missing\"`, `\"always\"` or `\"never\"`, such as `pull = \"always\"`";
    if let Some(flag) = entry.value.get_ref().as_bool() {
        let word = if flag { "always" } else { "missing" };
        return Err(entry.wrong("`pull` must be a string, this is true or false", format!("write `pull = \"{word}\"`")));
    }
    let text = entry.text(help)?;
    Pull::of(text).ok_or_else(|| entry.wrong(format!("{} says no time to pull", quote(text)), help))
}
