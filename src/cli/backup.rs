//! `surveil backup` and `surveil restore`: copies a data directory and brings it back, and says what to do next.

use std::path::PathBuf;

use clap::Args;

use super::{CliError, ExitCode, Output, human};
use crate::config::data_dir;
use crate::dispatcher::{self, Copied};
use crate::model::{BuildId, TaskName};
use crate::quoting::{absolute, shell_path};

const BACKUP_EXAMPLES: &str = "\
The dispatcher may run meanwhile, and builds go on. The copy holds the store, the logs, the sources, the tokens \
and the certificate authority: keep it as secret as the data directory itself. It is checked before it counts as a \
backup.

Examples:
  surveil backup /backup/surveil-$(date +%F)
  surveil backup --check /backup/surveil-2026-11-25
  surveil backup --check";

const RESTORE_EXAMPLES: &str = "\
Nothing is ever overwritten: stop the dispatcher and move its data directory away first. Build numbers continue far \
beyond those of the backup, so that a build made since the backup is never mistaken for a new one. Runners and \
observers need not be stopped.

Examples:
  surveil restore /backup/surveil-2026-11-25
  surveil restore /backup/surveil-2026-11-25 --data /var/lib/surveil";

/// Number of missing logs that are listed by name.
const NAMED_MAX: usize = 5;

/// Copy a dispatcher's data directory, even while it runs
#[derive(Debug, Args)]
#[command(after_help = BACKUP_EXAMPLES)]
pub(crate) struct BackupFlags {
    /// The directory to copy to: empty, or not there yet
    #[arg(required_unless_present = "check")]
    directory: Option<PathBuf>,
    /// Copy nothing, but check the backup in DIRECTORY, or the data directory if no DIRECTORY is given
    #[arg(long, conflicts_with = "without_tokens")]
    check: bool,
    /// Leave out the tokens and the certificate authority; after a restore, runners and observers need the new ones
    #[arg(long)]
    without_tokens: bool,
    /// The dispatcher's data directory [default: ~/.local/state/surveil]
    #[arg(long, value_name = "DIR", env = "SURVEIL_DATA")]
    data: Option<PathBuf>,
}

/// Bring a backup back into use
#[derive(Debug, Args)]
#[command(after_help = RESTORE_EXAMPLES)]
pub(crate) struct RestoreFlags {
    /// The directory of the backup
    directory: PathBuf,
    /// The data directory to restore to: empty, or not there yet [default: ~/.local/state/surveil]
    #[arg(long, value_name = "DIR", env = "SURVEIL_DATA")]
    data: Option<PathBuf>,
}

pub(crate) fn backup(flags: BackupFlags, out: &mut Output) -> Result<ExitCode, CliError> {
    // Lines come after the work, and tell of it only.
    out.outlive_reader();
    let data = data_dir(flags.data);
    if flags.check {
        let directory = flags.directory.unwrap_or(data);
        let found = dispatcher::check(&directory)?;
        out.line(format_args!("{}: {} are sound", directory.display(), contents(&found)))?;
        name_missing(&found, out)?;
        return Ok(ExitCode::Ok);
    }
    let target = flags
        .directory
        .ok_or_else(|| CliError::Usage("name the directory to copy to: surveil backup DIRECTORY".into()))?;
    let copied = dispatcher::back_up(&data, &target, !flags.without_tokens)?;
    out.line(format_args!("copied {} to {}, and checked them there", contents(&copied), target.display()))?;
    name_missing(&copied, out)?;
    out.line(format_args!(
        "to bring it back: surveil restore {} --data EMPTY-DIRECTORY",
        shell_path(&absolute(&target))
    ))?;
    Ok(ExitCode::Ok)
}

pub(crate) fn restore(flags: RestoreFlags, out: &mut Output) -> Result<ExitCode, CliError> {
    out.outlive_reader();
    let data = data_dir(flags.data);
    let restored = dispatcher::restore(&flags.directory, &data)?;
    out.line(format_args!("restored {} to {}", contents(&restored.copied), data.display()))?;
    name_missing(&restored.copied, out)?;
    out.line(format_args!("new builds are numbered from {} on", BuildId(restored.last_build.0 + 1)))?;
    let next = if restored.copied.tokens {
        "runners and observers come back by themselves, and present heads are built"
    } else {
        "it draws new tokens and a new pin, which runners and observers on other machines need"
    };
    out.line(format_args!("next: start the dispatcher with --data {}; {next}", shell_path(&absolute(&data))))?;
    Ok(ExitCode::Ok)
}

/// Formats `40 builds (1.2 MiB), 12 logs (3.4 MiB), 7 blobs (1.0 MiB), 1 mirror (5.6 MiB) and the tokens`. Nothing is
/// said of blobs if there are none.
fn contents(copied: &Copied) -> String {
    let Copied { builds, store_bytes, logs, log_bytes, blobs, blob_bytes, .. } = copied;
    let Copied { mirrors, mirror_bytes, tokens, .. } = copied;
    let part = |count: u64, word: &str, bytes: u64| format!("{} ({})", human::count(count, word), human::bytes(bytes));
    let (builds, logs) = (part(*builds, "build", *store_bytes), part(*logs, "log", *log_bytes));
    let (mirrors, tokens) = (part(*mirrors, "mirror", *mirror_bytes), if *tokens { "the" } else { "no" });
    let blobs = if *blobs > 0 { format!("{}, ", part(*blobs, "blob", *blob_bytes)) } else { String::new() };
    format!("{builds}, {logs}, {blobs}{mirrors} and {tokens} tokens")
}

fn name_missing(copied: &Copied, out: &mut Output) -> Result<(), CliError> {
    let logs: Vec<String> = copied.missing.iter().map(|path| path.display().to_string()).collect();
    name("log", "missing or shorter than recorded (were they deleted by hand?)", &logs, out)?;
    let artifact = |(build, task, name): &(BuildId, TaskName, String)| format!("artifact `{name}` of {build}/{task}");
    let artifacts: Vec<String> = copied.incomplete.iter().map(artifact).collect();
    name("artifact", "not whole, because files are missing or damaged", &artifacts, out)
}

/// Says what is wrong with so many things, and names the first of them.
fn name(noun: &str, what: &str, things: &[String], out: &mut Output) -> Result<(), CliError> {
    if things.is_empty() {
        return Ok(());
    }
    out.line(format_args!("{} {what}:", human::count(things.len() as u64, noun)))?;
    for thing in things.iter().take(NAMED_MAX) {
        out.line(format_args!("  {thing}"))?;
    }
    if things.len() > NAMED_MAX {
        out.line("  …")?;
    }
    Ok(())
}
