//! The builds that commands are about, as people name them: by number, by commit, as `latest`, or by a name that the
//! repository of the current directory knows (`HEAD~1`, `main`). Every command that takes a build reads it here.

use std::io::Write;

use clap::Args;

use super::CliError;
use super::report::short;
use super::session::Session;
use super::table::one_line;
use crate::config::repo_name_from;
use crate::git::Local;
use crate::model::{CommitId, RefName, TaskName};
use crate::protocol::hello::{ErrorCode, Refusal};
use crate::protocol::operator::{BuildReport, FromOperator, ToOperator};

/// The newest build.
const LATEST: &str = "latest";

/// The build, and the task of it, that a command is about.
#[derive(Debug, Clone, Args)]
pub(crate) struct BuildFlags {
    /// The build: its number (12, b12, #12), the beginning of its commit, `latest`, or a name of the repository here
    /// (HEAD~1, main); or BUILD/TASK
    build: String,
    /// One task of the build
    task: Option<String>,
    /// The build is of this repository [default for `latest`: the one of the current directory, if it has builds]
    #[arg(long, value_name = "NAME")]
    repo: Option<String>,
    /// The build is of this branch
    #[arg(long, value_name = "BRANCH")]
    branch: Option<String>,
}

/// A build as the dispatcher is asked for it.
#[derive(Debug)]
pub(crate) struct NamedBuild {
    pub(crate) build: String,
    pub(crate) task: Option<String>,
}

impl BuildFlags {
    /// The build of that name, without a task.
    pub(crate) fn new(build: String, repo: Option<String>, branch: Option<String>) -> Self {
        Self { build, task: None, repo, branch }
    }

    /// Refuses what can never be meant, before a dispatcher is asked.
    pub(crate) fn check(&self) -> Result<(), CliError> {
        self.split(None).map(drop)
    }

    /// Finds the build that is meant. A name that does not say by itself which build that is, such as `latest`, is told
    /// on stderr with what it means.
    pub(crate) fn resolve(&self, session: &mut Session) -> Result<NamedBuild, CliError> {
        self.resolve_quietly(session).map(|(named, report)| {
            if let Some(report) = report {
                let (repo, branch) = (one_line(&report.repo), one_line(&report.branch));
                let what = format!("b{} of {repo} {branch}: {}", report.build, one_line(&report.subject));
                // Without a stderr, nobody can be told.
                drop(writeln!(std::io::stderr(), "surveil: {} is {what}", one_line(&self.build)));
            }
            named
        })
    }

    /// Like [`BuildFlags::resolve`], for a command that shows what it found. Returns the report of a build that had to
    /// be looked up.
    pub(crate) fn resolve_quietly(&self, session: &mut Session) -> Result<(NamedBuild, Option<BuildReport>), CliError> {
        let local = Local::here()?;
        let (name, task) = self.split(local.as_ref())?;
        let is_scoped = self.repo.is_some() || self.branch.is_some();
        let is_whole = is_number(&name) || (is_hex(&name) && !is_ref_here(&name, local.as_ref()));
        if is_whole && !is_scoped {
            return Ok((NamedBuild { build: name, task }, None));
        }
        let report = self.find(session, &name, local.as_ref())?;
        Ok((NamedBuild { build: format!("b{}", report.build), task }, Some(report)))
    }

    /// Splits the build from its task. A branch may have slashes, too.
    fn split(&self, local: Option<&Local>) -> Result<(String, Option<String>), CliError> {
        let (typed, task) = (&*self.build, self.task.clone());
        let front = typed.split_once('/').filter(|(build, _)| *build == LATEST || is_number(build) || is_hex(build));
        match (front, task) {
            (Some(_), Some(_)) => {
                Err(CliError::Usage(format!("`{typed}` already names a task: leave out the second one")))
            }
            // The whole may be a branch (`cafe/menu`), if this cannot be meant.
            (Some((build, task)), None) => Ok((build.to_owned(), Some(task.to_owned()))),
            (None, Some(task)) => Ok((typed.to_owned(), Some(task))),
            (None, None) => {
                let behind = typed.rsplit_once('/').filter(|_| resolved(typed, local).is_none());
                match behind {
                    Some((build, task)) if TaskName::new(task).is_ok() => Ok((build.to_owned(), Some(task.to_owned()))),
                    _ => Ok((typed.to_owned(), None)),
                }
            }
        }
    }

    fn find(&self, session: &mut Session, name: &str, local: Option<&Local>) -> Result<BuildReport, CliError> {
        if name == LATEST {
            return self.find_near(session, (name, None), local);
        }
        let here = resolved(name, local);
        // A name of a branch means its own build, if another branch is at the same commit, too.
        let reference = local.and_then(|local| local.named(name).ok()?.reference);
        let reference = reference.as_ref();
        if is_number(name) || is_hex(name) {
            let found = ask(session, name, self.repo.clone(), self.branch.clone())?;
            return match (found, here) {
                (Ok(build), Some(commit)) if build.commit != commit.to_string() => Err(refused(
                    ErrorCode::Refused,
                    format!(
                        "`{name}` is ambiguous: it is commit {} here, and the beginning of {}, which is b{}",
                        short(&commit.to_string()),
                        short(&build.commit),
                        build.build
                    ),
                )),
                (Err(CliError::Refused(refusal)), Some(commit)) if refusal.code == ErrorCode::NotFound => {
                    self.find_near(session, (&commit.to_string(), reference), local)
                }
                (found, _) => found,
            };
        }
        let Some(commit) = here else { return self.find_unknown(session, name, local) };
        let commit = commit.to_string();
        let found = self.find_near(session, (&commit, reference), local);
        let is_missing = matches!(&found, Err(CliError::Refused(refusal)) if refusal.code == ErrorCode::NotFound);
        if is_missing {
            let text = format!("there is no build of commit {}, which is {name} here", short(&commit));
            return Err(refused(ErrorCode::NotFound, text));
        }
        found
    }

    /// Finds the build among those of the named repository; else of the one that the current directory belongs to, if
    /// the dispatcher knows it; else of all. A build for the ref comes before others of the same commit.
    fn find_near(
        &self,
        session: &mut Session,
        (name, reference): (&str, Option<&RefName>),
        local: Option<&Local>,
    ) -> Result<BuildReport, CliError> {
        let repos: Vec<String> = match &self.repo {
            Some(repo) => vec![repo.clone()],
            None => {
                let places = local.map(Local::places).unwrap_or_default();
                places.iter().map(|place| repo_name_from(place).to_string()).collect()
            }
        };
        let of_ref = reference.filter(|_| self.branch.is_none()).map(|reference| Some(reference.to_string()));
        for repo in repos {
            for branch in of_ref.iter().chain([&self.branch]) {
                if let Ok(build) = ask(session, name, Some(repo.clone()), branch.clone())? {
                    return Ok(build);
                }
            }
        }
        ask(session, name, self.repo.clone(), self.branch.clone())?
    }

    /// Looks for a branch that the repository here does not have, if a repository was named.
    fn find_unknown(&self, session: &mut Session, name: &str, local: Option<&Local>) -> Result<BuildReport, CliError> {
        if self.repo.is_some()
            && self.branch.is_none()
            && let Ok(build) = ask(session, LATEST, self.repo.clone(), Some(name.to_owned()))?
        {
            return Ok(build);
        }
        let place = match local {
            Some(local) => format!("the repository {} has no commit of that name", local.root().display()),
            None => "the current directory is in no repository that could know the name".to_owned(),
        };
        let text = format!(
            "no build `{}`: {place}; name a build by number, by at least 4 digits of its commit, or `latest`",
            // As it was typed: `origin/main` could be task `main` of a build `origin`.
            Refusal::quote(&self.build)
        );
        Err(refused(ErrorCode::NotFound, text))
    }
}

/// The most finished builds that a dispatcher lists, among which those of a branch are looked for.
pub(crate) const MAX_LISTED: u32 = 1000;

/// Leaves the unfinished builds of a branch, or of the ref with this full name, and that many of the newest finished
/// ones. If there is none at all, that is an error, as for an unknown repository.
pub(crate) fn keep_branch(builds: &mut Vec<BuildReport>, branch: &str, limit: u32) -> Result<(), CliError> {
    let full = if branch.starts_with("refs/") { branch.to_owned() } else { format!("refs/heads/{branch}") };
    // A dispatcher of before tells the short name only.
    let is_of = |build: &BuildReport| match &*build.reference {
        "" => build.branch == branch,
        reference => reference == full,
    };
    builds.retain(is_of);
    if builds.is_empty() {
        let text = format!("no build of {} is among the newest {MAX_LISTED}", Refusal::quote(branch));
        return Err(refused(ErrorCode::NotFound, text));
    }
    let mut left = limit;
    builds.retain(|build| {
        let is_finished = build.finished_ms.is_some();
        let stays = !is_finished || left > 0;
        left -= u32::from(stays && is_finished);
        stays
    });
    Ok(())
}

/// Asks for a build. The inner error is a refusal, after which the session goes on.
fn ask(
    session: &mut Session,
    name: &str,
    repo: Option<String>,
    branch: Option<String>,
) -> Result<Result<BuildReport, CliError>, CliError> {
    match session.ask(&FromOperator::Show { build: name.to_owned(), repo: repo.clone(), branch }) {
        // An older dispatcher does not look at the repository.
        Ok(ToOperator::Build(report)) if repo.is_some_and(|repo| repo != report.repo) => Ok(Err(refused(
            ErrorCode::NotFound,
            format!("the dispatcher found only b{}, of {}", report.build, report.repo),
        ))),
        Ok(ToOperator::Build(report)) => Ok(Ok(*report)),
        Ok(_) => Err(CliError::Unexpected("`show`")),
        Err(CliError::Refused(refusal)) => Ok(Err(CliError::Refused(refusal))),
        Err(error) => Err(error),
    }
}

fn refused(code: ErrorCode, text: String) -> CliError {
    CliError::Refused(Refusal::new(code, text))
}

/// The commit that a name means in the repository here.
fn resolved(name: &str, local: Option<&Local>) -> Option<CommitId> {
    local.and_then(|local| local.resolve(name).ok().flatten())
}

/// Whether hexadecimal digits are the name of a branch or tag here, and not only the beginning of a commit.
fn is_ref_here(name: &str, local: Option<&Local>) -> bool {
    resolved(name, local).is_some_and(|commit| !commit.to_string().starts_with(&name.to_ascii_lowercase()))
}

/// Whether the text is a build's number: `12`, `b12`, `#12`.
fn is_number(text: &str) -> bool {
    let number = text.strip_prefix(['b', '#']).unwrap_or(text);
    number.starts_with(|first: char| matches!(first, '1'..='9')) && number.bytes().all(|b| b.is_ascii_digit())
}

/// Whether the text may be the beginning of a commit.
fn is_hex(text: &str) -> bool {
    (4..=64).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_hexdigit())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::tests::support::build;

    #[test]
    fn a_list_of_one_branch_has_all_that_is_unfinished_and_the_newest_of_the_rest() {
        let of = |number, state: &str, branch: &str| BuildReport {
            branch: branch.into(),
            reference: format!("refs/heads/{branch}"),
            finished_ms: (state != "running").then_some(1),
            ..build(number, state, vec![])
        };
        let all = || {
            vec![
                of(9, "running", "topic"),
                of(8, "running", "main"),
                of(7, "passed", "main"),
                of(6, "failed", "topic"),
                of(5, "passed", "main"),
                BuildReport { branch: "refs/tags/v1".into(), reference: "refs/tags/v1".into(), ..of(4, "passed", "") },
                BuildReport { reference: String::new(), ..of(3, "passed", "main") },
            ]
        };
        let kept = |branch: &str, limit| {
            let mut builds = all();
            keep_branch(&mut builds, branch, limit).map(|()| builds.iter().map(|build| build.build).collect::<Vec<_>>())
        };
        assert_eq!(kept("main", 2).unwrap(), [8, 7, 5]);
        assert_eq!(kept("refs/heads/main", 9).unwrap(), [8, 7, 5]);
        assert_eq!(kept("main", 9).unwrap(), [8, 7, 5, 3]);
        assert_eq!(kept("topic", 0).unwrap(), [9]);
        assert_eq!(kept("refs/tags/v1", 1).unwrap(), [4]);
        assert_eq!(kept("nosuch", 1).unwrap_err().exit_code().number(), 6);
    }

    #[test]
    fn a_task_follows_its_build_as_a_word_or_behind_a_slash() {
        let split = |build: &str, task: Option<&str>| {
            let (build, task) = (build.to_owned(), task.map(str::to_owned));
            BuildFlags { build, task, repo: None, branch: None }.split(None)
        };
        for (build, task, expected) in [
            ("b12", None, ("b12", None)),
            ("b12/test", None, ("b12", Some("test"))),
            ("12", Some("test"), ("12", Some("test"))),
            ("latest/test", None, ("latest", Some("test"))),
            ("4f2a/test", None, ("4f2a", Some("test"))),
            ("HEAD~1/test", None, ("HEAD~1", Some("test"))),
            ("release/1.0/test", None, ("release/1.0", Some("test"))),
            ("release/1.0", Some("test"), ("release/1.0", Some("test"))),
        ] {
            let (name, of_task) = split(build, task).unwrap();
            assert_eq!((&*name, of_task.as_deref()), expected, "{build} {task:?}");
        }
        assert!(split("12/a", Some("b")).is_err());
    }
}
