//! Standard output. Every command writes through this one writer. It never panics on a closed pipe, leaves colours out
//! if they are unwanted (no terminal, or `NO_COLOR`), and copies logs unchanged.
//!
//! A closed pipe is an error for a command that only answers a question. A command with an exit code that means
//! something more calls [`Output::outlive_reader`] first, and does its work to the end.

use std::fmt::Display;
use std::io::{self, IsTerminal, Write};

use anstream::adapter::strip_str;
use anstyle::{AnsiColor, Style};

use super::CliError;
use crate::model::visible_lines;

/// The destination of a command's answer.
pub(crate) struct Output {
    sink: Box<dyn Write + Send>,
    is_coloured: bool,
    /// The terminal's width; `None` if the output is no terminal, so that lines may have any length.
    width: Option<usize>,
    /// A reader that goes away is no error.
    outlives_reader: bool,
}

impl Output {
    /// The process's standard output.
    pub(crate) fn stdout() -> Self {
        let stdout = io::stdout();
        let is_coloured = anstream::AutoStream::choice(&stdout) != anstream::ColorChoice::Never;
        let width = if stdout.is_terminal() { terminal_columns() } else { None };
        Self { sink: Box::new(stdout), is_coloured, width, outlives_reader: false }
    }

    /// Writes plain text into `sink`.
    #[cfg(test)]
    pub(crate) fn plain(sink: Box<dyn Write + Send>) -> Self {
        Self { sink, is_coloured: false, width: None, outlives_reader: false }
    }

    /// From now on a reader that goes away is no error: the rest of the output is dropped, and the command goes on to
    /// its exit code. For commands whose exit code is a verdict, or whose work is done when they print.
    pub(crate) fn outlive_reader(&mut self) {
        self.outlives_reader = true;
    }

    /// The width of the terminal, if the output is one.
    pub(crate) fn width(&self) -> Option<usize> {
        self.width
    }

    /// Whether colours are wanted.
    pub(crate) fn is_coloured(&self) -> bool {
        self.is_coloured
    }

    /// Writes one or several lines.
    pub(crate) fn line(&mut self, text: impl Display) -> Result<(), CliError> {
        let mut text = text.to_string();
        // Colours are our own; text of others was cleaned before it got here, and is once more.
        if !self.is_coloured {
            text = strip_str(&text).to_string();
        }
        let mut text = harmless(&text);
        text.push('\n');
        self.bytes(text.as_bytes())
    }

    /// Writes bytes unchanged, and flushes them.
    pub(crate) fn bytes(&mut self, bytes: &[u8]) -> Result<(), CliError> {
        // Flushed at once, so that a followed log appears as it is written.
        match self.sink.write_all(bytes).and_then(|()| self.sink.flush()) {
            Err(error) if self.outlives_reader && error.kind() == io::ErrorKind::BrokenPipe => {
                self.sink = Box::new(io::sink());
                Ok(())
            }
            result => result.map_err(CliError::Output),
        }
    }
}

/// Returns lines in which only our own colours control the terminal.
fn harmless(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('\u{1b}') {
        let colour = colour_length(&rest[at..]);
        shown.push_str(&visible_lines(&rest[..at]));
        match colour {
            0 => shown.push_str(&visible_lines("\u{1b}")),
            length => shown.push_str(&rest[at..at + length]),
        }
        rest = &rest[at + colour.max(1)..];
    }
    shown + &visible_lines(rest)
}

/// Returns the length of the sequence for a colour or a weight, such as `ESC [ 1 ; 31 m`, that the text begins with.
fn colour_length(text: &str) -> usize {
    let Some(inner) = text.strip_prefix("\u{1b}[") else { return 0 };
    let digits = inner.bytes().take_while(|byte| byte.is_ascii_digit() || *byte == b';').count();
    if inner.as_bytes().get(digits) == Some(&b'm') { 2 + digits + 1 } else { 0 }
}

/// The width of the terminal at standard output.
fn terminal_columns() -> Option<usize> {
    let size = rustix::termios::tcgetwinsize(rustix::stdio::stdout()).ok()?;
    (size.ws_col > 0).then_some(usize::from(size.ws_col))
}

/// A state or an outcome in its colour. If colours are unwanted, [`Output::line`] removes them again.
pub(crate) fn painted(word: &str) -> String {
    let style = style_of(word);
    format!("{style}{word}{style:#}")
}

/// Text that stands out.
pub(crate) fn bold(text: impl Display) -> String {
    let style = Style::new().bold();
    format!("{style}{text}{style:#}")
}

/// Text of less importance.
pub(crate) fn dim(text: impl Display) -> String {
    let style = Style::new().dimmed();
    format!("{style}{text}{style:#}")
}

/// The colour of a state.
fn style_of(word: &str) -> Style {
    let colour = match word {
        "passed" | "connected" | "ok" => AnsiColor::Green,
        "failed" | "killed" | "timed_out" | "timed out" => AnsiColor::Red,
        "errored" | "lost" | "could_not_start" | "could not start" | "away" => AnsiColor::Magenta,
        "running" | "draining" => AnsiColor::Cyan,
        "cancelled" | "skipped" | "flaky" | "resting" | "drained" | "warning" => AnsiColor::Yellow,
        _ => return Style::new().dimmed(),
    };
    Style::new().fg_color(Some(colour.into()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::tests::support::Collected;

    /// A pipe whose reader is gone.
    struct Closed;

    impl Write for Closed {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::ErrorKind::BrokenPipe.into())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn colours_are_left_out_where_nobody_wants_them() {
        let collected = Collected::default();
        collected.output().line(format_args!("b1 {}", painted("passed"))).unwrap();
        assert_eq!(collected.text(), "b1 passed\n");
    }

    #[test]
    fn nothing_but_our_own_colours_controls_the_terminal() {
        let painted = painted("passed");
        let text = harmless(&format!("{painted} a\u{1b}[2J\u{1b}]0;title\u{7} \u{202e}b\nc\u{1b}"));
        assert_eq!(text, format!("{painted} a\u{fffd}[2J\u{fffd}]0;title\u{fffd} \u{fffd}b\nc\u{fffd}"));
        let collected = Collected::default();
        collected.output().line("a\u{200b}b\u{9b}c").unwrap();
        assert_eq!(collected.text(), "a\u{fffd}b\u{fffd}c\n");
    }

    #[test]
    fn a_reader_that_goes_away_is_told_from_other_errors() {
        let error = Output::plain(Box::new(Closed)).line("x").unwrap_err();
        assert!(error.is_broken_pipe());
    }

    #[test]
    fn a_command_that_outlives_its_reader_goes_on_without_it() {
        let mut out = Output::plain(Box::new(Closed));
        out.outlive_reader();
        out.line("x").unwrap();
        out.bytes(b"y").unwrap();
    }

    #[test]
    fn log_bytes_are_passed_on_as_they_are() {
        let collected = Collected::default();
        collected.output().bytes(b"\x1b[31m\xff\0").unwrap();
        assert_eq!(collected.bytes(), b"\x1b[31m\xff\0");
    }
}
