//! Sets up the logger: where log lines go, and which levels are shown. Roles log their work (`info`); commands for
//! people log only problems (`warn`). No other file sets the logger up.

use std::io::Write;

use clap::{ArgAction, Args};
use env_logger::{Builder, Env, Target};
use log::{Level, LevelFilter};

use crate::model::{visible, visible_lines};

/// Levels from silent to verbose; `-v` and `-q` move along this list.
const LEVELS: [LevelFilter; 5] =
    [LevelFilter::Error, LevelFilter::Warn, LevelFilter::Info, LevelFilter::Debug, LevelFilter::Trace];

/// The global flags for the log level.
#[derive(Debug, Clone, Copy, Default, Args)]
pub(crate) struct Verbosity {
    /// Log more; twice for everything. If RUST_LOG is set, it decides instead
    #[arg(short, long, global = true, action = ArgAction::Count, help_heading = "Logging")]
    pub(crate) verbose: u8,
    /// Log only warnings and errors; twice for errors only
    #[arg(short, long, global = true, action = ArgAction::Count, help_heading = "Logging")]
    pub(crate) quiet: u8,
}

/// Starts the log of a role.
pub(crate) fn of_role(verbosity: Verbosity) {
    let mut builder = builder(LevelFilter::Info, verbosity);
    builder.format(|line, record| {
        let (time, style) = (line.timestamp_millis(), line.default_level_style(record.level()));
        // One line for each event, whatever the text of others in it holds.
        let text = visible(&record.args().to_string());
        writeln!(line, "{time} {style}{:5}{style:#} {text}", record.level())
    });
    start(builder);
}

/// Starts the log of a command that answers a person.
pub(crate) fn of_command(verbosity: Verbosity) {
    start(for_people(verbosity));
}

/// Like [`of_command`], but for a command that draws on the terminal and must write log lines itself in between.
pub(crate) fn through(writer: Box<dyn Write + Send>, verbosity: Verbosity) {
    let mut builder = for_people(verbosity);
    builder.target(Target::Pipe(writer));
    start(builder);
}

/// Formats lines for people: without a time, with the level as a word.
fn for_people(verbosity: Verbosity) -> Builder {
    let mut builder = builder(LevelFilter::Warn, verbosity);
    builder.format(|line, record| {
        let word = match record.level() {
            Level::Error => "error: ",
            Level::Warn => "warning: ",
            Level::Info | Level::Debug | Level::Trace => "",
        };
        writeln!(line, "surveil: {word}{}", visible_lines(&record.args().to_string()))
    });
    builder
}

fn builder(usual: LevelFilter, verbosity: Verbosity) -> Builder {
    let level = level(usual, verbosity);
    let mut builder = Builder::new();
    builder.filter_level(level).parse_env(Env::new().filter("RUST_LOG"));
    builder
}

fn start(mut builder: Builder) {
    // Only a test that runs several commands in one process has started a logger before; the first one stays.
    drop(builder.try_init());
}

/// Moves the default level by the flags.
fn level(usual: LevelFilter, verbosity: Verbosity) -> LevelFilter {
    let usual = LEVELS.iter().position(|level| *level == usual).unwrap_or(0);
    let index = (usual + usize::from(verbosity.verbose)).saturating_sub(usize::from(verbosity.quiet));
    LEVELS[index.min(LEVELS.len() - 1)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_flag_moves_the_level_by_one_and_stops_at_the_ends() {
        let level = |verbose, quiet| level(LevelFilter::Info, Verbosity { verbose, quiet });
        assert_eq!(level(0, 0), LevelFilter::Info);
        assert_eq!(level(1, 0), LevelFilter::Debug);
        assert_eq!(level(9, 0), LevelFilter::Trace);
        assert_eq!(level(0, 1), LevelFilter::Warn);
        assert_eq!(level(0, 9), LevelFilter::Error);
        assert_eq!(level(1, 1), LevelFilter::Info);
    }
}
