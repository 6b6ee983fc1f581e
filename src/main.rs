//! The program's entry: calls the command line, prints an error chain once, and chooses the exit code. The only file
//! that ends the process.

use std::ffi::OsString;
use std::io::Write;
use std::process::ExitCode;

use surveil::{cli, process};

fn main() -> ExitCode {
    let arguments: Vec<OsString> = std::env::args_os().collect();
    // A runner starts one such process for each slot, so it skips all other setup.
    if cli::is_supervise(&arguments) {
        return end(process::supervise().map(|()| cli::ExitCode::Ok).map_err(cli::CliError::Process));
    }
    end(cli::run(arguments))
}

/// Prints the error, if there is one, and returns the exit code.
fn end(result: Result<cli::ExitCode, cli::CliError>) -> ExitCode {
    let code = match result {
        Ok(code) => code,
        // The reader of the output has read enough (`surveil logs | head`). Nothing is printed, but this is not 0: the
        // command may not have come to what it was asked for.
        Err(error) if error.is_broken_pipe() => cli::ExitCode::Unread,
        Err(error) => {
            // If stderr is gone too, the exit code alone reports the error.
            drop(writeln!(std::io::stderr(), "surveil: {}", cli::shown(&error)));
            error.exit_code()
        }
    };
    ExitCode::from(code.number())
}
