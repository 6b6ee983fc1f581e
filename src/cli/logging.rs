//! Where log lines go and how many there are. Roles say what they do (`info`); commands for people only say what goes
//! wrong (`warn`). The only file that sets the logger up.

use std::io::Write;

use clap::{ArgAction, Args};
use env_logger::{Builder, Env, Target};
use log::{Level, LevelFilter};

/// Levels from silent to chatty; `-v` and `-q` go up and down this list.
const LEVELS: [LevelFilter; 5] =
    [LevelFilter::Error, LevelFilter::Warn, LevelFilter::Info, LevelFilter::Debug, LevelFilter::Trace];

/// How much is logged to standard error.
#[derive(Debug, Clone, Copy, Default, Args)]
pub(crate) struct Verbosity {
    /// Log more; twice for everything. RUST_LOG, where set, decides instead
    #[arg(short, long, global = true, action = ArgAction::Count, help_heading = "Logging")]
    pub(crate) verbose: u8,
    /// Log less: warnings and errors only; twice for errors only
    #[arg(short, long, global = true, action = ArgAction::Count, help_heading = "Logging")]
    pub(crate) quiet: u8,
}

/// Starts the log of a process that mainly works: a role.
pub(crate) fn of_role(verbosity: Verbosity) {
    let mut builder = builder(LevelFilter::Info, verbosity);
    builder.format(|line, record| {
        let (time, style) = (line.timestamp_millis(), line.default_level_style(record.level()));
        writeln!(line, "{time} {style}{:5}{style:#} {}", record.level(), record.args())
    });
    start(builder);
}

/// Starts the log of a command that mainly answers a person.
pub(crate) fn of_command(verbosity: Verbosity) {
    start(for_people(verbosity));
}

/// As [`of_command`], for a command that draws on the terminal and must write log lines in between itself.
pub(crate) fn through(writer: Box<dyn Write + Send>, verbosity: Verbosity) {
    let mut builder = for_people(verbosity);
    builder.target(Target::Pipe(writer));
    start(builder);
}

/// Lines among other lines for people, who see for themselves what time it is.
fn for_people(verbosity: Verbosity) -> Builder {
    let mut builder = builder(LevelFilter::Warn, verbosity);
    builder.format(|line, record| {
        let word = match record.level() {
            Level::Error => "error: ",
            Level::Warn => "warning: ",
            Level::Info | Level::Debug | Level::Trace => "",
        };
        writeln!(line, "surveil: {word}{}", record.args())
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
    // Only a test that calls several commands in one process finds a logger there already; the first one stays.
    drop(builder.try_init());
}

/// The usual level, moved by what was typed.
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
