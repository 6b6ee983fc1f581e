//! The command line: flags exactly as typed, then checked settings, then a role or a question to the dispatcher.
//!
//! Called only by `main`. It never ends the process, reads no clock of its own, and decides nothing about builds: it
//! prints the dispatcher's answers. All standard output goes through `output`, so that a closed pipe never ends a
//! command with 0 for something that did not pass. Log lines and errors go to standard error.
//!
//! In reading order: `arguments` and `implicit_observer` (the possible command lines), one file for each command,
//! `session` and `reconnect` (a command's connection to the dispatcher), and the parts that all share: flags,
//! output, tables, texts for times and sizes. No file here imports one that imports it; this one imports them all.

mod arguments;
mod authority;
mod flags;
mod image_flags;
mod implicit_observer;

mod dispatcher;
mod observer;
mod runner;
mod up;

mod archive;
mod artifact_entries;
mod artifacts;
mod cache;
mod control;
mod login;
mod logs;
mod runners;
mod show;
mod status;
mod submit;
mod token;
mod try_work;
mod watch;
mod why;

mod backup;
mod cacheprog;
mod check;
mod completions;
mod execute;
mod init;
mod manual;
mod plan;
mod plan_occasion;

mod build_name;
mod error;
mod excerpt;
mod exit_code;
mod fold;
// Compiled as a part of this room, so that it sees what is private here.
#[cfg(any(test, fuzzing))]
#[path = "../fuzz/cli.rs"]
pub(crate) mod fuzz;
mod hints;
mod human;
mod interrupt;
mod join;
mod local_build;
mod local_containers;
mod local_outcomes;
mod local_run;
mod local_services;
mod logging;
mod operator_flags;
mod output;
mod quantity;
mod reconnect;
mod report;
mod run_place;
mod secret;
mod server_check;
mod session;
mod stop_switch;
mod stored;
mod submission;
mod table;
mod task_order;
mod task_output;
mod typed_place;

use std::ffi::OsString;

use arguments::{Arguments, Subcommand};

use crate::model::visible_lines;
use crate::process;

pub use crate::error_chain::chain;
pub use error::CliError;
pub use exit_code::ExitCode;
pub(crate) use output::Output;

/// Whether these arguments ask for the hidden subcommand that supervises a slot. Checked before anything is set up.
#[must_use]
pub fn is_supervise(arguments: &[OsString]) -> bool {
    arguments.get(1).is_some_and(|word| word == "supervise")
}

/// Executes a command line. `arguments[0]` is the program.
pub fn run(arguments: Vec<OsString>) -> Result<ExitCode, CliError> {
    // The description of all commands takes 150 KiB: it must not live as long as a role does.
    let parsed = parse(arguments);
    match parsed {
        Ok(arguments) => perform(arguments),
        Err(error) => {
            // For clap, help and version are errors too, but they go to standard output and end with 0. If they cannot
            // be written, nobody reads them.
            drop(error.print());
            Ok(if error.exit_code() == 0 { ExitCode::Ok } else { ExitCode::Usage })
        }
    }
}

/// Returns an error and its causes as a terminal may show them: they quote texts of others.
#[must_use]
pub fn shown(error: &CliError) -> String {
    visible_lines(&chain(error))
}

fn parse(arguments: Vec<OsString>) -> Result<Arguments, clap::Error> {
    let words = implicit_observer::with_command(arguments, arguments::NAMES);
    let mut command = arguments::command_for(&words);
    let matches = command.try_get_matches_from_mut(words)?;
    Arguments::read(&matches).map_err(|error| error.format(&mut command))
}

fn perform(arguments: Arguments) -> Result<ExitCode, CliError> {
    let verbosity = arguments.verbosity;
    let command = &arguments.command;
    let is_role = matches!(command, Subcommand::Dispatcher(_) | Subcommand::Observer(_) | Subcommand::Runner(_));
    // It draws on the terminal, and starts the log itself.
    let is_up = matches!(command, Subcommand::Up(_));
    if is_role {
        logging::of_role(verbosity);
    } else if !is_up {
        logging::of_command(verbosity);
    }
    if is_role || is_up {
        // Only roles live long enough for idle memory to matter.
        process::give_back_when_idle().map_err(CliError::machine("start a thread"))?;
    }
    let mut out = Output::stdout();
    match arguments.command {
        Subcommand::Up(flags) => up::run(flags, arguments::NAMES, verbosity, out),
        Subcommand::Dispatcher(flags) => dispatcher::run(flags),
        Subcommand::Observer(flags) => observer::run(flags, arguments::NAMES),
        Subcommand::Runner(flags) => runner::run(flags),
        Subcommand::Status(flags) => status::run(flags, &mut out),
        Subcommand::Show(flags) => match flags.watched(&out) {
            Some((operator, build)) => watch::build(operator, build, out),
            None => show::run(flags, &mut out),
        },
        Subcommand::Watch(flags) => watch::run(&flags, out),
        Subcommand::Logs(flags) => logs::run(flags, &mut out),
        Subcommand::Artifacts(flags) => artifacts::run(flags, &mut out),
        Subcommand::Cache(flags) => cache::run(flags, &mut out),
        Subcommand::Why(flags) => why::run(flags, &mut out),
        Subcommand::Submit(flags) => submit::run(&flags, out),
        Subcommand::Try(flags) => try_work::run(&flags, out),
        Subcommand::Cancel(flags) => control::cancel(&flags, &mut out),
        Subcommand::Rerun(flags) => control::rerun(&flags, &mut out),
        Subcommand::Start(flags) => control::start(&flags, &mut out),
        Subcommand::Runners(flags) => runners::run(&flags, &mut out),
        Subcommand::Drain(flags) => control::drain(flags, &mut out),
        Subcommand::Resume(flags) => control::resume(flags, &mut out),
        Subcommand::Token(flags) => token::run(flags, &mut out),
        Subcommand::Authority(flags) => authority::run(flags, &mut out),
        Subcommand::Secret(flags) => secret::run(flags, &mut out),
        Subcommand::Login(flags) => login::login(flags, &mut out),
        Subcommand::Logout(flags) => login::logout(flags, &mut out),
        Subcommand::Wake(flags) => control::wake(&flags, &mut out),
        Subcommand::Run(flags) => execute::run(&flags, &mut out),
        Subcommand::Plan(flags) => plan::run(&flags, &mut out),
        Subcommand::Check(flags) => check::run(&flags, &mut out),
        Subcommand::Init(flags) => init::run(&flags, &mut out),
        Subcommand::Cacheprog(_) => cacheprog::run(&mut out),
        Subcommand::Backup(flags) => backup::backup(flags, &mut out),
        Subcommand::Restore(flags) => backup::restore(flags, &mut out),
        Subcommand::Completions(flags) => completions::run(&flags, arguments::command(), &mut out),
        Subcommand::Man(flags) => manual::run(&flags, arguments::command(), &mut out),
    }
}

#[cfg(test)]
mod tests;
