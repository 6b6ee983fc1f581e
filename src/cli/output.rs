//! Standard output: the one writer through which every command speaks. It never panics on a closed pipe, leaves
//! colours out where nobody wants them (not a terminal, `NO_COLOR`), and passes logs on as the bytes they are.

use std::fmt::Display;
use std::io::{self, IsTerminal, Write};

use anstream::adapter::strip_str;
use anstyle::{AnsiColor, Style};

use super::error::CliError;

/// Where a command's answer goes.
pub(crate) struct Output {
    sink: Box<dyn Write + Send>,
    is_coloured: bool,
    /// The terminal's columns; `None` where the output is no terminal and lines may be as long as they are.
    width: Option<usize>,
}

impl Output {
    /// The process's standard output.
    pub(crate) fn stdout() -> Self {
        let stdout = io::stdout();
        let is_coloured = anstream::AutoStream::choice(&stdout) != anstream::ColorChoice::Never;
        let width = if stdout.is_terminal() { terminal_columns() } else { None };
        Self { sink: Box::new(stdout), is_coloured, width }
    }

    /// Plain text into `sink`.
    #[cfg(test)]
    pub(crate) fn plain(sink: Box<dyn Write + Send>) -> Self {
        Self { sink, is_coloured: false, width: None }
    }

    /// Columns of the terminal, if this is one.
    pub(crate) fn width(&self) -> Option<usize> {
        self.width
    }

    /// Writes one line, or several.
    pub(crate) fn line(&mut self, text: impl Display) -> Result<(), CliError> {
        let mut text = text.to_string();
        if !self.is_coloured {
            text = strip_str(&text).to_string();
        }
        text.push('\n');
        self.bytes(text.as_bytes())
    }

    /// Writes bytes as they are, and at once.
    pub(crate) fn bytes(&mut self, bytes: &[u8]) -> Result<(), CliError> {
        self.sink.write_all(bytes).and_then(|()| self.sink.flush()).map_err(CliError::Output)
    }
}

/// The columns of the terminal behind standard output.
fn terminal_columns() -> Option<usize> {
    let size = rustix::termios::tcgetwinsize(rustix::stdio::stdout()).ok()?;
    (size.ws_col > 0).then_some(usize::from(size.ws_col))
}

/// A state or an outcome in its colour. Where colours are unwanted, [`Output::line`] takes them out again.
pub(crate) fn painted(word: &str) -> String {
    let style = style_of(word);
    format!("{style}{word}{style:#}")
}

/// For what stands out.
pub(crate) fn bold(text: impl Display) -> String {
    let style = Style::new().bold();
    format!("{style}{text}{style:#}")
}

/// For what may be overlooked.
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
        "cancelled" | "skipped" | "flaky" | "resting" | "warning" => AnsiColor::Yellow,
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
    fn a_reader_that_goes_away_is_told_from_other_errors() {
        let error = Output::plain(Box::new(Closed)).line("x").unwrap_err();
        assert!(error.is_broken_pipe());
    }

    #[test]
    fn log_bytes_are_passed_on_as_they_are() {
        let collected = Collected::default();
        collected.output().bytes(b"\x1b[31m\xff\0").unwrap();
        assert_eq!(collected.bytes(), b"\x1b[31m\xff\0");
    }
}
