//! A mistake in a task file, and its text: the place, the line with a caret below it, and what to write instead.
//!
//! Anybody who may commit writes the file, and its errors are printed on terminals and web pages. Therefore a quotation
//! from the file is shortened, and characters that would move a cursor or reverse the direction of text are replaced.

use std::ops::Range;

use crate::model::{visible, visible_char};

/// Characters of a line that are shown. A longer line is cut around the place.
const MAX_LINE_CHARS: usize = 100;
/// Characters of a cut line that are shown before the place.
const CHARS_BEFORE: usize = 40;
/// Characters of a name or value that are quoted within a sentence.
const MAX_QUOTE_CHARS: usize = 60;

/// A mistake in a task file or in the operator's file as text for people: line, column, the line itself, and what to
/// write instead.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text}")]
pub struct TaskFileError {
    pub text: String,
}

/// A mistake: the place, the message, and the advice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Mistake {
    /// Offsets in bytes of the file.
    pub(crate) place: Range<usize>,
    pub(crate) message: String,
    pub(crate) help: String,
}

impl Mistake {
    pub(crate) fn new(place: Range<usize>, message: impl Into<String>, help: impl Into<String>) -> Self {
        Self { place, message: message.into(), help: help.into() }
    }

    /// Returns the number of the line, counted from 1.
    pub(crate) fn line(&self, text: &str) -> usize {
        text[..text.floor_char_boundary(self.place.start)].matches('\n').count() + 1
    }

    /// Renders the mistake as `NAME:LINE:COLUMN: …`, for a file `name` with this text. Lines and columns are counted
    /// from 1, columns in characters.
    pub(crate) fn explain(&self, name: &str, text: &str) -> TaskFileError {
        let start = text.floor_char_boundary(self.place.start);
        let end = text.floor_char_boundary(self.place.end).max(start);
        let line_start = text[..start].rfind('\n').map_or(0, |newline| newline + 1);
        let line_end = text[start..].find('\n').map_or(text.len(), |newline| start + newline);
        let line = text[line_start..line_end].trim_end_matches('\r');
        let number = self.line(text);
        let column = text[line_start..start].chars().count();
        let marked = text[start..end.min(line_end)].trim_end_matches('\r').chars().count().max(1);

        let (excerpt, marks) = excerpt(line, column, marked);
        let gutter = " ".repeat(number.to_string().len());
        let top = format!("{}:{number}:{}: {}", visible(name), column + 1, self.message);
        let help = self.help.replace('\n', &format!("\n{gutter}         "));
        let shown = format!("{top}\n{gutter} |\n{number} | {excerpt}\n{gutter} | {marks}\n{gutter} = help: {help}");
        let text = shown.lines().map(str::trim_end).collect::<Vec<_>>().join("\n");
        TaskFileError { text }
    }
}

/// Quotes a name or value in backquotes, shortened and on one line.
pub(crate) fn quote(text: &str) -> String {
    let mut quoted: String = text.chars().take(MAX_QUOTE_CHARS).map(visible_char).collect();
    if text.chars().nth(MAX_QUOTE_CHARS).is_some() {
        quoted.push('…');
    }
    format!("`{quoted}`")
}

/// Returns the line, cut if it is long, and a line of carets below `marked` of its characters from `column` on.
fn excerpt(line: &str, column: usize, marked: usize) -> (String, String) {
    let length = line.chars().count();
    // Carriage returns at the end are not shown. A place among them is moved to the end of the shown line.
    let column = column.min(length);
    let first = if length > MAX_LINE_CHARS { column.saturating_sub(CHARS_BEFORE) } else { 0 };
    let last = length.min(first + MAX_LINE_CHARS);
    let cut: String = line.chars().skip(first).take(last - first).collect();
    let (left, right) = (if first > 0 { "…" } else { "" }, if last < length { "…" } else { "" });

    // A tab is marked by a tab, so that the caret stands below the place whatever width a terminal gives to tabs.
    let mut marks: String = left.chars().map(|_| ' ').collect();
    marks.extend(cut.chars().take(column - first).map(|c| if c == '\t' { '\t' } else { ' ' }));
    let room = last.saturating_sub(column).max(1);
    marks.extend(std::iter::repeat_n('^', marked.min(room)));
    let shown: String = cut.chars().map(|c| if c == '\t' { c } else { visible_char(c) }).collect();
    (format!("{left}{shown}{right}"), marks)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn explained(text: &str, place: Range<usize>) -> String {
        Mistake::new(place, "wrong", "do this\nor that").explain("f", text).text
    }

    #[test]
    fn the_place_is_shown_with_a_caret_below_it() {
        let text = "one\n  two three\n";
        assert_eq!(
            explained(text, 10..15),
            "f:2:7: wrong\n  |\n2 |   two three\n  |       ^^^^^\n  = help: do this\n          or that"
        );
    }

    #[test]
    fn columns_count_characters() {
        assert_eq!(
            explained("ä = ö x", 7..8),
            "f:1:6: wrong\n  |\n1 | ä = ö x\n  |      ^\n  = help: do this\n          or that"
        );
    }

    #[test]
    fn tabs_carriage_returns_and_line_ends_keep_the_caret_in_place() {
        assert!(explained("\ta\r\nb", 1..9).contains("1 | \ta\n  | \t^\n"));
        assert!(explained("ab", 2..2).contains("f:1:3: wrong\n  |\n1 | ab\n  |   ^\n"));
        assert!(explained("", 0..0).contains("f:1:1: wrong\n  |\n1 |\n  | ^\n"));
        assert!(explained("a\n", 2..2).contains("f:2:1: wrong\n  |\n2 |\n  | ^\n"));
    }

    #[test]
    fn the_gutter_is_as_wide_as_the_line_number() {
        let text = "x\n".repeat(99) + "bad";
        assert!(
            explained(&text, 198..201).contains("f:100:1: wrong\n    |\n100 | bad\n    | ^^^\n    = help: do this\n")
        );
    }

    #[test]
    fn a_long_line_is_cut_around_the_place() {
        let text = format!("{}here{}", "a".repeat(200), "b".repeat(200));
        let shown = explained(&text, 200..204);
        let excerpt = format!("1 | …{}here{}…\n", "a".repeat(40), "b".repeat(56));
        assert!(shown.contains(&excerpt), "{shown}");
        assert!(shown.contains(&format!("  | {}^^^^\n", " ".repeat(41))), "{shown}");
    }

    /// Found by fuzzing: such a file made the reader panic.
    #[test]
    fn a_place_among_the_carriage_returns_behind_a_long_line_is_at_its_end() {
        let text = format!("{}{}", "k".repeat(101), "\r".repeat(60));
        let shown = explained(&text, 160..161);
        assert!(shown.starts_with("f:1:161: wrong\n"), "{shown}");
        assert!(shown.contains(&format!("\n  | {}^\n", " ".repeat(41))), "{shown}");
    }

    #[test]
    fn what_a_terminal_would_obey_is_replaced() {
        assert!(!explained("a \u{1b}[31m\u{202e} b", 0..1).contains(['\u{1b}', '\u{202e}']));
        assert_eq!(quote("a\nb"), "`a b`");
        assert_eq!(quote(&"a".repeat(61)), format!("`{}…`", "a".repeat(60)));
    }

    proptest! {
        #[test]
        fn any_place_of_any_text_can_be_explained(text in any::<String>(), start in 0..200usize, length in 0..50usize) {
            explained(&text, start..start + length);
        }
    }
}
