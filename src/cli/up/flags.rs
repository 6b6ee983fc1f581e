//! The flags of `surveil up`.

use std::path::PathBuf;

use clap::Args;

use crate::cli::flags::{RefFlags, branch_glob};
use crate::config::defaults;
use crate::protocol::limits::MAX_SLOTS;

const EXAMPLES: &str = "\
Runs a dispatcher, an observer and one runner, for a single machine or to try Surveil. Builds are remembered in the \
data directory, and other machines may join while it runs.

With --once, the exit code is the verdict: 0 passed, 1 failed, 3 errored, 4 cancelled. A commit that was built before \
is not built again without --rerun.

Examples:
  surveil up
  surveil up ~/src/app --slots 2
  surveil up . --once";

/// Everything in one process: watch a repository, build its commits, show what happens
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct UpFlags {
    /// The repository to watch: its path, any directory in it, or a URL
    #[arg(value_name = "REPO", default_value = ".")]
    pub(crate) repo: String,
    /// Stop when the build of the current head is finished, with its verdict as exit code
    #[arg(long)]
    pub(crate) once: bool,
    /// Build the current head again if it was built before
    #[arg(long)]
    pub(crate) rerun: bool,
    /// Branches to watch, as a glob; may be repeated [default: the branch that HEAD names]
    #[arg(long = "branch", value_name = "GLOB", value_parser = branch_glob)]
    pub(crate) branches: Vec<String>,
    #[command(flatten)]
    pub(crate) refs: RefFlags,
    /// The repository's name at the dispatcher [default: its last path component]
    #[arg(long, value_name = "NAME")]
    pub(crate) name: Option<String>,
    /// Most attempts to execute at a time [default: one for each core]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=MAX_SLOTS as i64))]
    pub(crate) slots: Option<u32>,
    /// The address to listen at; 0.0.0.0 lets other machines join
    #[arg(long, default_value = defaults::HOST)]
    pub(crate) host: String,
    /// The TCP port to listen at [default: 9000, or any free port if that is taken]
    #[arg(long)]
    pub(crate) port: Option<u16>,
    /// Directory for builds, logs, sources and tokens [default: ~/.local/state/surveil]
    #[arg(long, value_name = "DIR", env = "SURVEIL_DATA")]
    pub(crate) data: Option<PathBuf>,
    /// The runner's directory for stores and work trees [default: ~/.cache/surveil]
    #[arg(long, value_name = "DIR", env = "SURVEIL_WORK")]
    pub(crate) work: Option<PathBuf>,
}
