//! Reads single values of a task file as the type that a key wants, or as a mistake.

use std::fmt::Display;
use std::ops::{Range, RangeInclusive};

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::findings::Findings;
use super::mistake::{Mistake, quote};

/// Bytes of a value that advice repeats.
const MAX_REPEATED_BYTES: usize = 60;

/// A key of a table with its value, and the places of both.
#[derive(Debug, Clone)]
pub(crate) struct TableEntry<'t, 'i> {
    pub(crate) key: &'t str,
    pub(crate) key_place: Range<usize>,
    pub(crate) value: &'t Spanned<DeValue<'i>>,
}

/// A value with its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Placed<T> {
    pub(crate) place: Range<usize>,
    pub(crate) value: T,
}

/// Returns the entries of a table in the order of the file. The parser sorts them by name.
pub(crate) fn entries<'t, 'i>(table: &'t DeTable<'i>) -> Vec<TableEntry<'t, 'i>> {
    let mut entries: Vec<_> =
        table.iter().map(|(key, value)| TableEntry { key: key.get_ref(), key_place: key.span(), value }).collect();
    entries.sort_by_key(|entry| entry.key_place.start);
    entries
}

impl<'t, 'i> TableEntry<'t, 'i> {
    /// Returns the value if it is text.
    pub(crate) fn text(&self, example: &str) -> Result<&'t str, Mistake> {
        self.value.get_ref().as_str().ok_or_else(|| self.wrong_type("a string", example))
    }

    /// Returns the value if it is true or false.
    pub(crate) fn flag(&self) -> Result<bool, Mistake> {
        let example = format!("write `{} = true` or leave it out", self.key);
        self.value.get_ref().as_bool().ok_or_else(|| self.wrong_type("true or false", &example))
    }

    /// Returns the value if it is a whole number of at most `max`.
    pub(crate) fn count(&self, max: u32) -> Result<u32, Mistake> {
        self.number(0..=max)
    }

    /// Returns the value if it is a whole number within these bounds.
    pub(crate) fn number<N: Copy + Display + TryFrom<i64> + PartialOrd>(
        &self,
        allowed: RangeInclusive<N>,
    ) -> Result<N, Mistake> {
        let (key, least, most) = (self.key, allowed.start(), allowed.end());
        let help = format!("write a number from {least} to {most}, such as `{key} = 2`");
        let integer = self.value.get_ref().as_integer().ok_or_else(|| self.wrong_type("a whole number", &help))?;
        match i64::from_str_radix(integer.as_str(), integer.radix()).map(N::try_from) {
            Ok(Ok(number)) if allowed.contains(&number) => Ok(number),
            _ => Err(self.wrong(format!("`{key}` must be from {least} to {most}"), help)),
        }
    }

    /// Returns the texts of a list. Items that are no text are mistakes in `found`.
    pub(crate) fn texts(&self, example: &str, found: &mut Findings) -> Result<Vec<Placed<&'t str>>, Mistake> {
        let Some(list) = self.value.get_ref().as_array() else {
            return Err(match self.value.get_ref().as_str().filter(|text| is_plain(text)) {
                Some(text) => self.wrong_type("a list of strings", &format!("write `{} = [\"{text}\"]`", self.key)),
                None => self.wrong_type("a list of strings", example),
            });
        };
        let text = |item: &'t Spanned<DeValue<'i>>| match item.get_ref().as_str() {
            Some(text) => Ok(Placed { place: item.span(), value: text }),
            None => {
                let message = format!("`{}` must be a list of strings, this is {}", self.key, kind(item.get_ref()));
                Err(Mistake::new(item.span(), message, example))
            }
        };
        Ok(list.iter().filter_map(|item| found.unless_wrong(text(item))).collect())
    }

    /// Returns the value if it is a table.
    pub(crate) fn table(&self, help: &str) -> Result<&'t DeTable<'i>, Mistake> {
        self.value.get_ref().as_table().ok_or_else(|| self.wrong_type("a table", help))
    }

    /// Makes a mistake whose place is the value.
    pub(crate) fn wrong(&self, message: impl Into<String>, help: impl Into<String>) -> Mistake {
        Mistake::new(self.value.span(), message, help)
    }

    fn wrong_type(&self, wanted: &str, help: &str) -> Mistake {
        self.wrong(format!("{} must be {wanted}, this is {}", quote(self.key), kind(self.value.get_ref())), help)
    }
}

/// Returns a mistake if the text has a NUL character.
pub(crate) fn refuse_nul(place: Range<usize>, text: &str) -> Result<(), Mistake> {
    if text.contains('\0') {
        let help = "leave it out: no program can be given one";
        return Err(Mistake::new(place, "the text has a NUL character", help));
    }
    Ok(())
}

/// Whether advice can repeat the text between quotation marks.
fn is_plain(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= MAX_REPEATED_BYTES
        && text.chars().all(|c| c.is_ascii_graphic() && c != '"' && c != '\\')
}

/// Returns the name of a value's type, with its article.
pub(crate) fn kind(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a string",
        DeValue::Integer(_) => "a whole number",
        DeValue::Float(_) => "a number with a fraction",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date or time",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    }
}
