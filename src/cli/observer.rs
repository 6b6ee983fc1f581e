//! `surveil observer`: turns flags into settings, then runs the role. The word `observer` may be left out.

use std::path::{Path, PathBuf};

use clap::Args;
use crossbeam_channel::Receiver;

use super::flags::DispatchFlags;
use super::flags::{RefFlags, branch_glob};
use super::join::{JoinFlags, Membership, Newcomer};
use super::quantity::Millis;
use super::typed_place::holder;
use super::{CliError, ExitCode, implicit_observer, interrupt};
use crate::config::{
    ObservedRepo, ObserverSettings, RepoLocation, default_runner_name, defaults, without_credentials, work_dir,
};
use crate::git::Watched;
use crate::observer;
use crate::protocol::hello::Role;
use crate::shutdown::Stop;

const EXAMPLES: &str = "\
The observer has no state: the dispatcher remembers the last head that it accepted for each branch, so an observer \
that is stopped, moved or started late misses nothing. The word `observer` may be left out.

A repository is only ever read. A change in a local one is noticed at once, without waiting for the next look. A URL \
is fetched with the git program into a mirror of the observer's own, so your ssh keys and credential helpers work as \
usual. With --fetch, the remote of a local repository (origin, or else the only one) is mirrored in the same way: its \
branches are watched, and the local repository stays as it is.

Examples:
  surveil --dispatch=localhost:9000 /srv/git/app.git
  surveil observer . --branch 'release/*' --branch main
  surveil observer https://example.org/team/app.git --interval 1m
  surveil observer ~/src/app --fetch
  surveil observer ~/one/app ~/two/app --name app --name app-two";

/// Watch repositories and announce their commits to the dispatcher
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct ObserverFlags {
    /// Repositories to watch: paths (bare, work tree, linked worktree, or any directory in one) or URLs
    #[arg(value_name = "REPO", required = true)]
    pub(crate) repos: Vec<String>,
    /// The repository's name at the dispatcher; with several REPOs one --name for each, in their order [default: the
    /// last path component]
    #[arg(long = "name", value_name = "NAME", help_heading = "Watching")]
    pub(crate) names: Vec<String>,
    /// Branches to watch, as a glob; may be repeated [default: the branch that HEAD names]
    #[arg(long = "branch", value_name = "GLOB", value_parser = branch_glob, help_heading = "Watching")]
    pub(crate) branches: Vec<String>,
    #[command(flatten)]
    pub(crate) refs: RefFlags,
    /// Watch the remote of a local repository instead of the repository itself
    #[arg(long, help_heading = "Watching")]
    pub(crate) fetch: bool,
    /// Time between two looks at a repository [default: 1s; 30s over the network]
    #[arg(long, value_name = "TIME", help_heading = "Watching")]
    pub(crate) interval: Option<Millis>,
    /// Directory for mirrors of remotes [default: ~/.cache/surveil]
    #[arg(long, value_name = "DIR", env = "SURVEIL_WORK", help_heading = "Watching")]
    pub(crate) work: Option<PathBuf>,

    #[command(flatten)]
    pub(crate) dispatch: DispatchFlags,
    #[command(flatten)]
    pub(crate) join: JoinFlags,
}

impl ObserverFlags {
    /// Joins the dispatcher, if a token is given. A peer that joined before has its credential.
    fn join(&self, stop: &Receiver<Stop>) -> Result<Option<Membership>, CliError> {
        if self.dispatch.proof.token_file.is_some() {
            return Ok(None);
        }
        let newcomer = Newcomer {
            role: Role::Observer,
            word: "observer",
            directory: &work_dir(self.work.clone()),
            dispatch: &self.dispatch.dispatch,
            pins: &self.dispatch.proof.pins,
            name: None,
            default_name: default_runner_name().to_string(),
        };
        newcomer.join(&self.join, stop)
    }

    /// Checks the flags and makes settings of them.
    pub(crate) fn settings(
        self,
        membership: Option<Membership>,
        commands: &[&str],
    ) -> Result<ObserverSettings, CliError> {
        let (names, most) = (self.names.len(), self.repos.len());
        if names != 0 && names != most {
            let text =
                format!("{most} REPOs and {names} --name: write one --name for each REPO, in their order, or none");
            return Err(CliError::Usage(text));
        }
        let work = work_dir(self.work);
        let mut repos = Vec::with_capacity(most);
        for (at, location) in self.repos.iter().enumerate() {
            let repo = observed(location, self.names.get(at).map(String::as_str), &work, commands, |text| {
                log::info!("{text}")
            })?;
            repos.push(if self.fetch { followed(repo, &work)? } else { repo });
        }
        refuse_twins(&self.repos, &repos)?;
        let is_remote = repos.iter().any(|repo| matches!(repo.location, RepoLocation::Url { .. }));
        let usual = if is_remote { defaults::REMOTE_INTERVAL_MS } else { defaults::OBSERVER_INTERVAL_MS };
        Ok(ObserverSettings {
            pins: membership
                .as_ref()
                .map_or_else(|| self.dispatch.proof.find_pins(&self.dispatch.dispatch), |joined| joined.pins.clone()),
            token: membership.map_or_else(|| self.dispatch.proof.token("observer"), |joined| joined.token),
            dispatch: self.dispatch.dispatch,
            repos,
            branches: self.branches,
            refs: self.refs.patterns(),
            backlog: self.refs.backlog(),
            interval_ms: self.interval.map_or(usual, |interval| interval.0),
            work,
        })
    }
}

/// Refuses two repositories of one name: they would share a mirror and a history. Names that differ in case only are
/// equal to most people, and to some disks.
fn refuse_twins(typed: &[String], repos: &[ObservedRepo]) -> Result<(), CliError> {
    for (at, repo) in repos.iter().enumerate() {
        let before = &repos[..at];
        if let Some(twin) = before.iter().position(|other| other.source == repo.source) {
            let (one, two) = (without_credentials(&typed[twin]), without_credentials(&typed[at]));
            return Err(CliError::Usage(format!("`{one}` and `{two}` are one repository: leave one out")));
        }
        let is_twin = |other: &ObservedRepo| other.name.as_str().eq_ignore_ascii_case(repo.name.as_str());
        if let Some(twin) = before.iter().find(|other| is_twin(other)) {
            let (one, two, name, other) = (shown(twin), shown(repo), &repo.name, &twin.name);
            let names = if other == name { format!("`{name}`") } else { format!("`{other}` and `{name}`") };
            return Err(CliError::Usage(format!(
                "{one} and {two} would be named {names}, and their builds would be mixed: give each REPO a name of its \
                 own, with one --name for each, in their order"
            )));
        }
    }
    Ok(())
}

/// The place of a repository for the person who typed it: on this machine, or a URL without credentials.
fn shown(repo: &ObservedRepo) -> String {
    match &repo.location {
        RepoLocation::Path(path) => path.display().to_string(),
        RepoLocation::Url { .. } => repo.source.clone(),
    }
}

/// Reads one repository as typed; a directory in a repository stands for the whole one, which `tell` says. If it is the
/// name of one of `commands`, the error says how to write that.
pub(crate) fn observed(
    location: &str,
    name: Option<&str>,
    work: &Path,
    commands: &[&str],
    tell: impl FnOnce(&str),
) -> Result<ObservedRepo, CliError> {
    let repo = ObservedRepo::new(location, name, work)?;
    let RepoLocation::Path(path) = &repo.location else { return Ok(repo) };
    if path.exists() {
        let found = holder(Path::new(location), "which is watched", tell)?;
        return match found.as_deref().and_then(Path::to_str) {
            Some(root) => Ok(ObservedRepo::new(root, name, work)?),
            None => Ok(repo),
        };
    }
    Err(CliError::Usage(if implicit_observer::is_command(commands, location) {
        format!("there is no repository `{location}`; if you mean the command, write it first: surveil {location} …")
    } else {
        format!("there is no repository at {}", path.display())
    }))
}

/// Replaces a local repository by its remote. A URL stays as it is.
fn followed(repo: ObservedRepo, work: &Path) -> Result<ObservedRepo, CliError> {
    let RepoLocation::Path(path) = &repo.location else { return Ok(repo) };
    let remote = Watched::open(path)?.remote_url()?;
    Ok(repo.following(&remote, work)?)
}

/// Runs the role until a signal.
pub(crate) fn run(flags: ObserverFlags, commands: &[&str]) -> Result<ExitCode, CliError> {
    let stop = interrupt::stop_now()?;
    let membership = flags.join(&stop)?;
    observer::run(flags.settings(membership, commands)?, &stop)?;
    Ok(ExitCode::Ok)
}
