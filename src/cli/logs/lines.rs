//! The lines of logs with what stands before each: the name of its task, its time, or both. Pure. A line is printed
//! when it is whole, so that lines of two tasks are never mixed.

use anstyle::{AnsiColor, Style};

use crate::cli::human;

/// Bytes of a line that are held back until its end. A longer line is printed in several, each with its prefix.
const MAX_HELD_BYTES: usize = 256 * 1024;

const NO_TIMES: &str = "lines with - have no time: the dispatcher keeps times since a newer version, or could not";

/// The colours of tasks, in turn.
const COLOURS: [AnsiColor; 6] =
    [AnsiColor::Cyan, AnsiColor::Yellow, AnsiColor::Green, AnsiColor::Magenta, AnsiColor::Blue, AnsiColor::BrightCyan];

/// The prefixes of all logs that are printed together.
#[derive(Debug)]
pub(super) struct Prefixes {
    /// The width of the longest name so far.
    width: usize,
    is_coloured: bool,
    pub(super) content: Content,
    /// Whether a line without a known time was printed, and whether that was told.
    is_untimed: bool,
    was_told: bool,
}

/// The text before a line.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Content {
    pub(super) names: bool,
    pub(super) times: bool,
}

/// The lines of one attempt's log.
#[derive(Debug)]
pub(super) struct Lines {
    name: String,
    colour: AnsiColor,
    /// The beginning of a line whose end has not come yet.
    held: Vec<u8>,
    /// The time of its first byte.
    begun_ms: Option<i64>,
}

impl Prefixes {
    /// The prefixes for these attempts: the names of their tasks, and their numbers.
    pub(super) fn new<'a>(attempts: impl Iterator<Item = (&'a str, u32)>, is_coloured: bool, content: Content) -> Self {
        let widths = attempts.map(|(task, number)| name_of(task, number).chars().count());
        Self { width: widths.max().unwrap_or(0), is_coloured, content, is_untimed: false, was_told: false }
    }

    /// Returns, once, what is to be said of lines without a known time.
    pub(super) fn note_of_missing_times(&mut self) -> Option<&'static str> {
        (self.is_untimed && !std::mem::replace(&mut self.was_told, true)).then_some(NO_TIMES)
    }

    /// Formats `test  | 2026-11-23T14:05:10.250Z `.
    fn of(&mut self, name: &str, colour: AnsiColor, at_ms: Option<i64>) -> String {
        let time = match at_ms {
            _ if !self.content.times => String::new(),
            Some(at_ms) => format!("{} ", human::precise_moment(at_ms)),
            None => {
                self.is_untimed = true;
                "- ".to_owned()
            }
        };
        if !self.content.names {
            return time;
        }
        // The second attempt of the task with the longest name has a longer one.
        self.width = self.width.max(name.chars().count());
        let style = if self.is_coloured { Style::new().fg_color(Some(colour.into())) } else { Style::new() };
        format!("{style}{name:width$} |{style:#} {time}", width = self.width)
    }
}

impl Lines {
    /// The log of an attempt of the task at this place among the build's tasks.
    pub(super) fn new(task: &str, place: usize, number: u32) -> Self {
        Self { name: name_of(task, number), colour: COLOURS[place % COLOURS.len()], held: Vec::new(), begun_ms: None }
    }

    /// Takes the next bytes of the log, with the time of the first of them. Puts all lines that are whole now into
    /// `text`.
    pub(super) fn push(&mut self, (bytes, at_ms): (&[u8], Option<i64>), prefixes: &mut Prefixes, text: &mut Vec<u8>) {
        for part in bytes.split_inclusive(|byte| *byte == b'\n') {
            if self.held.is_empty() {
                self.begun_ms = at_ms;
            }
            self.held.extend_from_slice(part);
            if self.held.ends_with(b"\n") || self.held.len() >= MAX_HELD_BYTES {
                self.end(prefixes, text);
            }
        }
    }

    /// Puts a line without an end into `text`: no more of it comes.
    pub(super) fn end(&mut self, prefixes: &mut Prefixes, text: &mut Vec<u8>) {
        if self.held.is_empty() {
            return;
        }
        text.extend_from_slice(prefixes.of(&self.name, self.colour, self.begun_ms).as_bytes());
        text.append(&mut self.held);
        if !text.ends_with(b"\n") {
            text.push(b'\n');
        }
    }
}

/// The name of an attempt in its prefix, like that of its log file: `test`, `test.2`.
fn name_of(task: &str, number: u32) -> String {
    if number > 1 { format!("{task}.{number}") } else { task.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAMES: Content = Content { names: true, times: false };

    fn printed(pieces: &[(usize, &[u8])], is_coloured: bool) -> String {
        let mut prefixes = Prefixes::new([("a", 1), ("test", 1)].into_iter(), is_coloured, NAMES);
        let mut logs = [Lines::new("a", 0, 1), Lines::new("test", 1, 2)];
        let mut text = Vec::new();
        for (log, piece) in pieces {
            logs[*log].push((piece, None), &mut prefixes, &mut text);
        }
        logs.iter_mut().for_each(|log| log.end(&mut prefixes, &mut text));
        String::from_utf8(text).unwrap()
    }

    #[test]
    fn lines_are_never_mixed_and_a_prefix_is_as_wide_as_the_longest() {
        let pieces: [(usize, &[u8]); 5] = [(0, b"one\nhal"), (1, b"x\n\n"), (0, b"f"), (1, b"open"), (0, b"\r\n")];
        let expected = "a    | one\ntest.2 | x\ntest.2 | \na      | half\r\ntest.2 | open\n";
        assert_eq!(printed(&pieces, false), expected);
    }

    #[test]
    fn colours_are_for_terminals_and_only_in_the_prefix() {
        assert_eq!(printed(&[(0, b"\x1b[1mx\n")], true), "\x1b[36ma    |\x1b[0m \x1b[1mx\n");
    }

    #[test]
    fn a_line_has_the_time_of_its_first_byte() {
        let printed = |content: Content| {
            let mut prefixes = Prefixes::new([("a", 1)].into_iter(), false, content);
            let (mut lines, mut text) = (Lines::new("a", 0, 1), Vec::new());
            for (piece, at_ms) in [(&b"one\nha"[..], Some(1500)), (b"lf\ntwo\n", Some(61_000)), (b"x", None)] {
                lines.push((piece, at_ms), &mut prefixes, &mut text);
            }
            lines.end(&mut prefixes, &mut text);
            assert_eq!(prefixes.note_of_missing_times(), content.times.then_some(NO_TIMES));
            assert_eq!(prefixes.note_of_missing_times(), None, "it is said once");
            String::from_utf8(text).unwrap()
        };
        let times = "1970-01-01T00:00:01.500Z one\n1970-01-01T00:00:01.500Z half\n1970-01-01T00:01:01.000Z two\n- x\n";
        assert_eq!(printed(Content { names: false, times: true }), times);
        let both: String = times.lines().map(|line| format!("a | {line}\n")).collect();
        assert_eq!(printed(Content { names: true, times: true }), both);
    }

    #[test]
    fn a_line_without_an_end_is_held_back_to_a_limit() {
        let long = vec![b'x'; MAX_HELD_BYTES + 1];
        let text = printed(&[(0, &long), (0, b"\n")], false);
        let lengths: Vec<usize> = text.lines().map(str::len).collect();
        assert_eq!(lengths, ["a    | ".len() + MAX_HELD_BYTES + 1, "a    | ".len()], "cut at the end of a piece");
    }
}
