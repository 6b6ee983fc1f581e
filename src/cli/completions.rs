//! `surveil completions`: prints the script that completes this command line in a shell.

use clap::Args;
use clap_complete::Shell;

use super::{CliError, ExitCode, Output};

const EXAMPLES: &str = "\
Examples:
  source <(surveil completions bash)
  surveil completions fish > ~/.config/fish/completions/surveil.fish";

/// Print a script for a shell that completes this program's command line
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct CompletionsFlags {
    /// The shell
    shell: Shell,
}

/// Prints the script.
pub(crate) fn run(flags: &CompletionsFlags, mut parser: clap::Command, out: &mut Output) -> Result<ExitCode, CliError> {
    // Generated in memory, because the generator panics if its writer fails.
    let mut script = Vec::new();
    clap_complete::generate(flags.shell, &mut parser, "surveil", &mut script);
    out.bytes(&script)?;
    Ok(ExitCode::Ok)
}
