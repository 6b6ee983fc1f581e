//! `${matrix.AXIS}` in the strings of a task: replaced by the value of each cell while the build is planned. Never in
//! commands, where a value with a quote would become code.

use std::borrow::Cow;
use std::ops::Range;

use toml::Spanned;
use toml::de::DeValue;

use super::mistake::{Mistake, quote};
use super::suggest::nearest;

/// The beginning of a placeholder. Its end is `}`.
const BEGIN: &str = "${matrix.";
/// The form of other programs: `${{ matrix.AXIS }}`.
const FOREIGN: &str = "${{";

/// Whether there is a placeholder in a string of the value, or something that is meant for one.
pub(super) fn is_in(value: &DeValue<'_>) -> bool {
    match value {
        DeValue::String(text) => text.contains(BEGIN) || is_foreign(text),
        DeValue::Array(items) => items.iter().any(|item| is_in(item.get_ref())),
        DeValue::Table(table) => table.iter().any(|(_, item)| is_in(item.get_ref())),
        DeValue::Integer(_) | DeValue::Float(_) | DeValue::Boolean(_) | DeValue::Datetime(_) => false,
    }
}

/// Returns the value with the values of a cell in place of the placeholders. Without axes, each placeholder is a
/// mistake.
pub(super) fn replaced<'i>(
    value: &Spanned<DeValue<'i>>,
    axes: &[&str],
    values: &[String],
) -> Result<Spanned<DeValue<'i>>, Mistake> {
    let place = value.span();
    let new = match value.get_ref() {
        DeValue::String(text) => DeValue::String(Cow::Owned(replaced_text(text, &place, axes, values)?)),
        DeValue::Array(items) => {
            let items: Result<Vec<_>, Mistake> = items.iter().map(|item| replaced(item, axes, values)).collect();
            DeValue::Array(items?.into_iter().collect())
        }
        DeValue::Table(table) => {
            let item =
                |(key, item): (&Spanned<_>, &Spanned<DeValue<'i>>)| Ok((key.clone(), replaced(item, axes, values)?));
            let items: Result<Vec<_>, Mistake> = table.iter().map(item).collect();
            DeValue::Table(items?.into_iter().collect())
        }
        DeValue::Integer(_) | DeValue::Float(_) | DeValue::Boolean(_) | DeValue::Datetime(_) => value.get_ref().clone(),
    };
    Ok(Spanned::new(place, new))
}

fn replaced_text(text: &str, place: &Range<usize>, axes: &[&str], values: &[String]) -> Result<String, Mistake> {
    let wrong = |message: String, help: String| Err(Mistake::new(place.clone(), message, help));
    if is_foreign(text) {
        let help = "write `${matrix.AXIS}`, with one brace and without blanks";
        return wrong("nothing replaces `${{ … }}`".to_owned(), help.to_owned());
    }
    let mut new = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once(BEGIN) {
        let Some((axis, behind)) = after.split_once('}') else {
            return wrong(format!("`{BEGIN}` has no end"), "write `${matrix.AXIS}`".to_owned());
        };
        let Some(at) = axes.iter().position(|known| *known == axis) else {
            let typed = quote(&format!("{BEGIN}{axis}}}"));
            return if axes.is_empty() {
                let help = "write `matrix`, a table of lists, or leave the placeholder out";
                wrong(format!("the task has no matrix, so nothing replaces {typed}"), help.to_owned())
            } else {
                let near = nearest(axis, axes.iter().copied()).unwrap_or(axes[0]);
                let help = format!("write `{BEGIN}{near}}}`, or add the axis to `matrix`");
                wrong(format!("the matrix has no axis for {typed}"), help)
            };
        };
        new.push_str(before);
        new.push_str(&values[at]);
        rest = behind;
    }
    new.push_str(rest);
    Ok(new)
}

fn is_foreign(text: &str) -> bool {
    text.split(FOREIGN).skip(1).any(|after| after.trim_start().starts_with("matrix."))
}
