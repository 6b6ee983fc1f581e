//! The program's entry: hands over to the command line, prints an error chain once, and picks the exit code. The
//! only file that ends the process.

use std::ffi::OsString;
use std::io::Write;
use std::process::ExitCode;

use surveil::{cli, process};

fn main() -> ExitCode {
    let arguments: Vec<OsString> = std::env::args_os().collect();
    // A runner starts one such process for each slot, so nothing is set up before it.
    if cli::is_supervise(&arguments) {
        return end(process::supervise().map(|()| cli::ExitCode::Ok).map_err(cli::CliError::Process));
    }
    end(cli::run(arguments))
}

/// Says what went wrong, if anything did, and turns it into what the shell sees.
fn end(result: Result<cli::ExitCode, cli::CliError>) -> ExitCode {
    let code = match result {
        Ok(code) => code,
        // Whoever read our output has read enough (`surveil logs | head`).
        Err(error) if error.is_broken_pipe() => cli::ExitCode::Ok,
        Err(error) => {
            // Where stderr is gone, too, only the exit code is left to say it.
            drop(writeln!(std::io::stderr(), "surveil: {}", cli::chain(&error)));
            error.exit_code()
        }
    };
    ExitCode::from(code.number())
}
