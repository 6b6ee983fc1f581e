//! `surveil completions`: what a shell sources to complete our command line.

use clap::Args;
use clap_complete::Shell;

use super::error::CliError;
use super::exit_code::ExitCode;
use super::output::Output;

const EXAMPLES: &str = "\
Examples:
  source <(surveil completions bash)
  surveil completions fish > ~/.config/fish/completions/surveil.fish";

/// Print what a shell needs to complete this program's command line
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct CompletionsFlags {
    /// The shell to write for
    shell: Shell,
}

/// Prints the script.
pub(crate) fn run(
    flags: &CompletionsFlags,
    mut program: clap::Command,
    out: &mut Output,
) -> Result<ExitCode, CliError> {
    // Into memory first: the generator panics where its writer fails.
    let mut script = Vec::new();
    clap_complete::generate(flags.shell, &mut program, "surveil", &mut script);
    out.bytes(&script)?;
    Ok(ExitCode::Ok)
}
