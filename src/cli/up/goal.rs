//! The build that `surveil up --once` waits for: the build of the branch's head at the start.

use std::path::Path;

use super::roles::RoleSettings;
use crate::cli::CliError;
use crate::cli::session::Session;
use crate::config::RepoLocation;
use crate::git::{BranchSelection, Head, Watched};
use crate::protocol::hello::ErrorCode;
use crate::protocol::operator::{BuildReport, FromOperator, ToOperator};

/// The awaited build.
#[derive(Debug)]
pub(crate) struct Goal {
    repo: String,
    head: Head,
    /// The build's number, when it is known.
    build: Option<u64>,
}

impl Goal {
    /// The build of the current head.
    pub(crate) fn of(settings: &RoleSettings) -> Result<Self, CliError> {
        let RepoLocation::Path(path) = &settings.repo.location else {
            return Err(CliError::Usage("--once and --rerun need a repository on this machine, not a URL".into()));
        };
        let head = current_head(path, &settings.flags.branches)?;
        Ok(Self { repo: settings.repo.name.to_string(), head, build: None })
    }

    /// Asks for the build, in case it exists already.
    pub(crate) fn find(&mut self, session: &mut Session) -> Result<Option<BuildReport>, CliError> {
        // The same commit on another branch or in another repository has a build of its own.
        let (repo, branch) = (Some(self.repo.clone()), Some(self.head.reference.short().to_owned()));
        match session.ask(&FromOperator::Show { build: self.head.commit.to_string(), repo, branch }) {
            Ok(ToOperator::Build(build)) => {
                self.build = Some(build.build);
                Ok(Some(*build))
            }
            Ok(_) => Err(CliError::Unexpected("`show`")),
            Err(CliError::Refused(refusal)) if refusal.code == ErrorCode::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Whether this report is of the awaited build.
    pub(crate) fn is(&self, build: &BuildReport) -> bool {
        match self.build {
            Some(number) => build.build == number,
            None => {
                build.repo == self.repo
                    && build.branch == self.head.reference.short()
                    && build.commit == self.head.commit.to_string()
            }
        }
    }
}

/// The head of the branch that HEAD names, or else of the first watched branch.
fn current_head(path: &Path, branches: &[String]) -> Result<Head, CliError> {
    let watched = Watched::open(path)?;
    let selection = |globs: &[String]| match globs {
        [] => BranchSelection::Main,
        globs => BranchSelection::Matching(globs.to_vec()),
    };
    let heads = watched.heads(&selection(branches))?;
    let main = watched.heads(&BranchSelection::Main)?;
    let chosen = main.into_iter().find(|main| heads.contains(main)).or_else(|| heads.into_iter().next());
    match chosen {
        Some(head) => Ok(head),
        None => {
            Err(CliError::Usage(watched.absence(&selection(branches))?.text(&path.display().to_string(), Some(path))))
        }
    }
}
