//! `surveil man`: prints the manual page of a command, or writes all of them for a package.

use std::fs;
use std::path::{Path, PathBuf};

use clap::{Args, Command};
use clap_mangen::Man;

use super::{CliError, ExitCode, Output};

const EXAMPLES: &str = "\
Examples:
  surveil man runner | man -l -
  surveil man --into /usr/local/share/man/man1";

/// Print the manual page of this program, or of one of its commands
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct ManFlags {
    /// The command [default: the whole program]
    #[arg(value_name = "COMMAND", conflicts_with = "into")]
    command: Option<String>,
    /// Write the pages of all commands into this directory instead, which is made if it is missing
    #[arg(long, value_name = "DIR")]
    into: Option<PathBuf>,
}

/// Prints or writes the pages.
pub(crate) fn run(flags: &ManFlags, parser: Command, out: &mut Output) -> Result<ExitCode, CliError> {
    let pages = pages(parser)?;
    if let Some(directory) = &flags.into {
        write_all(&pages, directory)?;
        return Ok(ExitCode::Ok);
    }
    let name = flags.command.as_ref().map_or_else(|| "surveil".to_owned(), |command| format!("surveil-{command}"));
    let Some((_, text)) = pages.iter().find(|(page, _)| *page == name) else {
        let command = flags.command.as_deref().unwrap_or_default();
        return Err(CliError::Usage(format!("there is no command `{command}`: `surveil --help` lists them")));
    };
    out.bytes(text)?;
    Ok(ExitCode::Ok)
}

/// Makes the page of the program and of each command that help shows, with their names.
fn pages(mut parser: Command) -> Result<Vec<(String, Vec<u8>)>, CliError> {
    // Gives each command the global flags, and its name behind that of the program.
    parser.build();
    let is_shown = |command: &&Command| !command.is_hide_set() && command.get_name() != "help";
    let commands: Vec<Command> = parser.get_subcommands().filter(is_shown).cloned().collect();
    let mut pages = Vec::with_capacity(1 + commands.len());
    for command in std::iter::once(parser).chain(commands) {
        let name = command.get_display_name().unwrap_or_else(|| command.get_name()).to_owned();
        let mut text = Vec::new();
        let rendered = Man::new(command.version(env!("CARGO_PKG_VERSION"))).render(&mut text);
        rendered.map_err(CliError::machine("make a manual page"))?;
        pages.push((name, text));
    }
    Ok(pages)
}

fn write_all(pages: &[(String, Vec<u8>)], directory: &Path) -> Result<(), CliError> {
    let failed = |path: &Path| CliError::machine(format!("write {}", path.display()));
    fs::create_dir_all(directory).map_err(failed(directory))?;
    for (name, text) in pages {
        let path = directory.join(format!("{name}.1"));
        fs::write(&path, text).map_err(failed(&path))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::arguments;

    #[test]
    fn every_command_that_help_shows_has_a_manual_page() {
        let pages = pages(arguments::command()).unwrap();
        let page = |wanted: &str| {
            let found = pages.iter().find(|(name, _)| name == wanted);
            String::from_utf8(found.unwrap_or_else(|| panic!("no page {wanted}")).1.clone()).unwrap()
        };
        for command in arguments::command().get_subcommands().filter(|command| !command.is_hide_set()) {
            let text = page(&format!("surveil-{}", command.get_name()));
            assert!(text.contains(".SH SYNOPSIS") && text.contains(".SH OPTIONS"), "{text}");
            assert!(text.contains("quiet"), "the global flags, too: {text}");
        }
        assert!(page("surveil").contains("surveil\\-dispatcher(1)"));
        assert!(pages.iter().all(|(name, _)| name != "surveil-supervise"));
    }
}
