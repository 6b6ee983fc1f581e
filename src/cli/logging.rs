//! Where log lines go and how many there are. Roles say what they do (`info`); commands for people only say what goes
//! wrong (`warn`). The only file that sets the logger up.

use std::io::Write;

use env_logger::{Builder, Env, Target};
use log::LevelFilter;

use super::arguments::Verbosity;

/// Levels from silent to chatty; `-v` and `-q` go up and down this list.
const LEVELS: [LevelFilter; 5] =
    [LevelFilter::Error, LevelFilter::Warn, LevelFilter::Info, LevelFilter::Debug, LevelFilter::Trace];

/// Starts the log of a process that mainly works: a role.
pub(crate) fn of_role(verbosity: Verbosity) {
    start(builder(LevelFilter::Info, verbosity));
}

/// Starts the log of a command that mainly answers a person.
pub(crate) fn of_command(verbosity: Verbosity) {
    start(builder(LevelFilter::Warn, verbosity));
}

/// As [`of_command`], for a command that draws on the terminal and must write log lines in between itself.
pub(crate) fn through(writer: Box<dyn Write + Send>, verbosity: Verbosity) {
    let mut builder = builder(LevelFilter::Warn, verbosity);
    builder.target(Target::Pipe(writer));
    start(builder);
}

fn builder(usual: LevelFilter, verbosity: Verbosity) -> Builder {
    let level = level(usual, verbosity);
    let mut builder = Builder::new();
    builder.filter_level(level).parse_env(Env::new().filter("RUST_LOG"));
    builder.format_target(level >= LevelFilter::Debug).format_timestamp_millis();
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
