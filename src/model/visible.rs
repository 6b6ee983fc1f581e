//! Text of others as it may be shown: commit subjects, names of authors, branches and runners, labels, reasons, lines
//! of logs. Whoever may commit or connect chooses such text, and it is shown on terminals and pages.
//!
//! A terminal obeys control characters, bidirectional controls make a text read as something else, and characters
//! without a width make two names look alike. All of them are replaced, so that every shown character takes the width
//! that it seems to take. Every place that shows text of others uses this file.

/// Stands for a character that is not shown.
const REPLACEMENT: char = '\u{fffd}';

/// Number of accents that one letter may carry. Languages need three; more are piled up to cover other lines.
const ACCENTS_MAX: usize = 4;

/// Returns the text on one line, without characters that a terminal obeys or does not show. Blanks of all kinds become
/// a space. Joiners and variants within an emoji or a script that needs them are left out, others are replaced.
#[must_use]
pub fn visible(text: &str) -> String {
    kept(text, |_| false)
}

/// Like [`visible`], for text of several lines: line feeds and tabs stay.
#[must_use]
pub fn visible_lines(text: &str) -> String {
    kept(text, |c| matches!(c, '\n' | '\t'))
}

/// Returns the character that is shown for this one: itself, a space for blanks, or a replacement.
#[must_use]
pub fn visible_char(c: char) -> char {
    match c {
        '\t' | '\n' | '\u{b}' | '\u{c}' | '\r' | '\u{85}' | '\u{2028}' | '\u{2029}' => ' ',
        c if c.is_control() || is_unseen(c) => REPLACEMENT,
        c => c,
    }
}

fn kept(text: &str, stays: impl Fn(char) -> bool) -> String {
    let mut shown = String::with_capacity(text.len());
    let mut accents = 0;
    for c in text.chars() {
        accents = if is_accent(c) { accents + 1 } else { 0 };
        if accents > ACCENTS_MAX {
            continue;
        }
        // Without the joiner, a joined emoji falls into its parts, which have a width that every terminal agrees on.
        let is_within = shown.chars().next_back().is_some_and(|before| !before.is_ascii() && before != REPLACEMENT);
        if is_within && matches!(c, '\u{200c}' | '\u{200d}' | '\u{fe00}'..='\u{fe0f}') {
            continue;
        }
        shown.push(if stays(c) { c } else { visible_char(c) });
    }
    shown
}

/// Whether a character has no width and is no accent, or reorders the text around it. These are Unicode's
/// default-ignorable characters and the marks of annotations.
fn is_unseen(c: char) -> bool {
    matches!(
        c,
        '\u{ad}'
            | '\u{34f}'
            | '\u{61c}'
            | '\u{115f}'..='\u{1160}'
            | '\u{17b4}'..='\u{17b5}'
            | '\u{180b}'..='\u{180f}'
            | '\u{200b}'..='\u{200f}'
            | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}'
            | '\u{3164}'
            | '\u{fe00}'..='\u{fe0f}'
            | '\u{feff}'
            | '\u{ffa0}'
            | '\u{fff0}'..='\u{fffb}'
            | '\u{1bca0}'..='\u{1bca3}'
            | '\u{1d173}'..='\u{1d17a}'
            | '\u{e0000}'..='\u{e0fff}'
    )
}

/// Whether a character is drawn over the one before it.
fn is_accent(c: char) -> bool {
    matches!(
        c,
        '\u{300}'..='\u{36f}'
            | '\u{483}'..='\u{489}'
            | '\u{1ab0}'..='\u{1aff}'
            | '\u{1dc0}'..='\u{1dff}'
            | '\u{20d0}'..='\u{20ff}'
            | '\u{fe20}'..='\u{fe2f}'
    )
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Point 10 of the faults from the field.
    #[test]
    fn nothing_is_shown_that_a_terminal_obeys_or_hides() {
        for (text, shown) in [
            ("Fix the thing", "Fix the thing"),
            ("Grüße, 日本語, עברית, e\u{301}", "Grüße, 日本語, עברית, e\u{301}"),
            ("a\u{1b}[2Jb\rc\td\ne", "a\u{fffd}[2Jb c d e"),
            ("\u{9b}31m \u{7f}\u{0}", "\u{fffd}31m \u{fffd}\u{fffd}"),
            ("user\u{202e}nimda\u{202c}", "user\u{fffd}nimda\u{fffd}"),
            ("\u{2066}x\u{2069}\u{61c}\u{200f}", "\u{fffd}x\u{fffd}\u{fffd}\u{fffd}"),
            ("ma\u{200b}in ma\u{200d}in \u{feff}main", "ma\u{fffd}in ma\u{fffd}in \u{fffd}main"),
            ("a\u{2028}b\u{2029}c\u{85}d", "a b c d"),
            ("👩\u{200d}💻 ❤\u{fe0f} می\u{200c}خواهم", "👩💻 ❤ میخواهم"),
            ("\u{e0041}\u{e0042}", "\u{fffd}\u{fffd}"),
            (&format!("z{}", "\u{335}".repeat(90)), "z\u{335}\u{335}\u{335}\u{335}"),
        ] {
            assert_eq!(visible(text), shown, "{text:?}");
        }
        assert_eq!(visible_lines("a\n\tb\r\n\u{1b}c"), "a\n\tb \n\u{fffd}c");
    }

    proptest! {
        #[test]
        fn no_text_gets_through_with_a_character_that_is_not_seen(text in any::<String>()) {
            let shown = visible(&text);
            prop_assert!(!shown.chars().any(|c| c.is_control() || is_unseen(c)), "{shown:?}");
            prop_assert_eq!(visible(&shown), shown.clone(), "shown twice it stays");
            let lines = visible_lines(&text);
            prop_assert!(!lines.chars().any(|c| (c.is_control() && c != '\n' && c != '\t') || is_unseen(c)));
        }
    }
}
