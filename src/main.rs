//! The program's entry: hands over to the command line, prints an error chain once, and picks the exit code. The
//! only file that ends the process.

use std::process::ExitCode;

fn main() -> ExitCode {
    if std::env::args_os().nth(1).is_some_and(|word| word == "supervise") && surveil::process::supervise().is_err() {
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}
