//! `surveil cacheprog`: Go's helper for the tool cache of an attempt. Go starts it; the runner's `GOCACHEPROG` says so.

use std::io;

use clap::Args;

use super::{CliError, ExitCode, Output};
use crate::runner::{GO_ADDRESS, serve_go};

const EXAMPLES: &str = "\
Go 1.24 and newer start the program that the variable GOCACHEPROG names, and ask it for results on its standard input. \
A task with `tool_cache = true` has the variable already. Without the variable SURVEIL_TOOL_CACHE, results are kept \
below TMPDIR alone.

Examples:
  GOCACHEPROG='surveil cacheprog' go build ./...";

/// Serve Go as its cache: for the variable GOCACHEPROG of a task with `tool_cache`
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct CacheprogFlags {}

/// Serves Go until it is done.
pub(crate) fn run(out: &mut Output) -> Result<ExitCode, CliError> {
    let address = std::env::var(GO_ADDRESS).ok();
    let directory = std::env::temp_dir().join("surveil-go-cache");
    let mut failure = None;
    let mut tell = |line: &[u8]| {
        out.bytes(line).map_err(|error| {
            failure = Some(error);
            io::ErrorKind::BrokenPipe.into()
        })
    };
    let served = serve_go(address.as_deref(), &directory, &mut io::stdin().lock(), &mut tell);
    failure.map_or(Ok(()), Err)?;
    served.map_err(CliError::machine("serve Go as its cache"))?;
    Ok(ExitCode::Ok)
}
