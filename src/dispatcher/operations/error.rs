//! The reasons why an operation was not done. Skins branch on the variants; the texts are for people.

use std::io;
use std::path::PathBuf;

use crate::dispatcher::authority::RotationError;
use crate::dispatcher::caches::CacheError;
use crate::dispatcher::core::NoAnswer;
use crate::dispatcher::retention;
use crate::dispatcher::secrets::SecretError;
use crate::dispatcher::session::credentials::Denied;
use crate::git::GitError;
use crate::model::reason::RefusalReason;
use crate::model::{BlobId, Build, BuildId, CommitId, RefName, RepoName, TaskName};
use crate::store::{Rule, Scope, StoreError};

/// The reason why an operation was not done.
#[derive(Debug, thiserror::Error)]
pub(crate) enum OperationError {
    #[error(
        "no build `{}`{}: name one by number, by at least 4 digits of its commit, or `latest`",
        quoted(name),
        among(scope)
    )]
    NoBuild { name: String, scope: Scope },
    /// The beginning of several commits. The candidates are the newest build of each, newest first.
    #[error(
        "`{}` is the beginning of several commits: give more of its digits, or the number of a build{}",
        quoted(name), candidates(name, named, *has_more)
    )]
    Ambiguous { name: String, named: Vec<Build>, has_more: bool },
    /// The build of that number is not among those that were asked for.
    #[error("build {build} is of repository {repo}, {reference}, and not of the one that was named")]
    Elsewhere { build: BuildId, repo: RepoName, reference: RefName },
    #[error("build {build} was removed {}, with its logs: it was {}", ago(*days), retention::words(*rule))]
    Removed { build: BuildId, rule: Rule, days: i64 },
    #[error(
        "build {build} is not there any more: it was removed long ago, or made after the backup that this dispatcher \
         was restored from"
    )]
    RemovedLongAgo { build: BuildId },
    #[error("build {build} has no task `{}`{}", quoted(task), others(task, tasks))]
    NoTask { build: BuildId, task: String, tasks: Vec<TaskName> },
    #[error("build {build} has no tasks{}", problem.as_ref().map(|text| format!(": {text}")).unwrap_or_default())]
    NoTasks { build: BuildId, problem: Option<String> },
    #[error("build {build} has several tasks, name one: {}", list(tasks))]
    SeveralTasks { build: BuildId, tasks: Vec<TaskName> },
    #[error("task {task} of build {build} has no service {}", quoted(service))]
    NoService { build: BuildId, task: TaskName, service: String },
    #[error("task {task} of build {build} has no attempt {number}")]
    NoAttempt { build: BuildId, task: TaskName, number: u32 },
    #[error("task {task} of build {build} has not been attempted: see `surveil why {build}`")]
    NotAttempted { build: BuildId, task: TaskName },
    #[error("no repository named {} is known: {}", quoted(name), known_repos(known))]
    NoRepo { name: String, known: Vec<RepoName> },
    #[error(
        "no observer watches {} now{}: {}",
        if *is_known { quoted(name) } else { format!("a repository named {}", quoted(name)) },
        nearest.as_ref().map(|name| format!(" (did you mean {name}?)")).unwrap_or_default(),
        watched_repos(watched)
    )]
    NotWatched { name: String, is_known: bool, nearest: Option<String>, watched: Vec<RepoName> },
    #[error(
        "the observer of {repo} at {} is of a version that cannot be woken: update it; until then it looks at every \
         interval",
        quoted(place)
    )]
    ObserverTooOld { repo: RepoName, place: String },
    #[error(
        "no runner named {} was ever connected{}: `surveil runners` lists those that are",
        quoted(name), nearest.as_ref().map(|name| format!(" (did you mean {name}?)")).unwrap_or_default()
    )]
    NoRunner { name: String, nearest: Option<String> },
    #[error(
        "commit {} has no task `{}`{}; it has {}",
        commit.short(),
        quoted(task),
        nearest.as_ref().map(|task| format!(" (did you mean {task}?)")).unwrap_or_default(),
        list(tasks)
    )]
    UnknownTask { commit: CommitId, task: String, nearest: Option<TaskName>, tasks: Vec<TaskName> },
    #[error(
        "no task of this build has an input `{}`: {}",
        quoted(name),
        if known.is_empty() { "they have none".to_owned() } else { format!("they have {}", known.join(", ")) }
    )]
    UnknownInput { name: String, known: Vec<String> },
    #[error(
        "task {task} needs a value for {}: give it with --set {}=VALUE, or leave the task out with --task",
        names.join(", "), names[0]
    )]
    MissingInputs { task: TaskName, names: Vec<String> },
    /// A task that a named one needs waits for a person, and nobody named it.
    #[error("task {task} is needed and is manual: name it too, with --task {}, so that it is meant", task.written())]
    ManualNeed { task: TaskName },
    /// A pack is broken, or the mirror cannot be written or read.
    #[error("the dispatcher could not receive the source of {}", commit.short())]
    Source { commit: CommitId, source: Box<GitError> },
    #[error("the dispatcher could not keep the pack")]
    Spool(#[source] io::Error),
    /// The rules of tokens and credentials refuse it.
    #[error(transparent)]
    Denied(#[from] Denied),
    #[error(transparent)]
    Rotation(#[from] RotationError),
    /// An order about caches is not done.
    #[error(transparent)]
    Cache(#[from] CacheError),
    /// An order about secrets is not done.
    #[error(transparent)]
    Secret(#[from] SecretError),
    /// The scheduler has refused.
    #[error("{0}")]
    Refused(RefusalReason),
    #[error(transparent)]
    NoAnswer(#[from] NoAnswer),
    #[error("the dispatcher's store could not be read")]
    Store(#[from] StoreError),
    #[error("the log {} could not be read", path.display())]
    Log { path: PathBuf, source: io::Error },
    #[error("the dispatcher has no blob {blob}: retention removed it, or it was damaged on the disk")]
    NoBlob { blob: BlobId },
    #[error("blob {blob} could not be read")]
    Blob { blob: BlobId, source: io::Error },
}

fn ago(days: i64) -> String {
    match days {
        ..1 => "today".to_owned(),
        1 => "a day ago".to_owned(),
        days => format!("{days} days ago"),
    }
}

/// Formats `; it has build, lint`, or that the name is that of a matrix, with its cells.
fn others(task: &str, tasks: &[TaskName]) -> String {
    let cells: Vec<TaskName> =
        tasks.iter().filter(|name| name.cell().is_some() && name.written() == task).cloned().collect();
    if cells.is_empty() {
        format!("; it has {}", list(tasks))
    } else {
        format!(", it is a matrix: name one of {}", some_of(&cells))
    }
}

/// Names the first tasks of a long list.
fn some_of(tasks: &[TaskName]) -> String {
    let more = tasks.len().saturating_sub(NAMED_CELLS);
    let named = list(&tasks[..tasks.len() - more]);
    if more == 0 { named } else { format!("{named} and {more} more") }
}

fn list(tasks: &[TaskName]) -> String {
    tasks.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

/// Formats ` of repository app, refs/heads/main`.
fn among(scope: &Scope) -> String {
    let repo = scope.repo.as_ref().map(|repo| format!(" of repository {}", quoted(repo)));
    let reference = scope.reference.as_ref().map(|reference| format!(" of {}", quoted(reference)));
    repo.into_iter().chain(reference).collect()
}

/// Formats one line for each build, such as `b12  68e8a1b2c3d4  Fix the thing`.
fn candidates(name: &str, named: &[Build], has_more: bool) -> String {
    let digits = COMMIT_DIGITS.max(name.len() + 4);
    let mut text = String::new();
    for build in named {
        let (commit, source) = (build.source.commit.to_string(), &build.source);
        let commit = commit.get(..digits).unwrap_or(&commit);
        text.push_str(&format!("\n  {}  {commit}  {}", build.id, quoted_to(&source.subject, SUBJECT_CHARS)));
    }
    if has_more {
        text.push_str("\n  and more");
    }
    text
}

/// Names the repositories that are watched, as far as a person reads them.
fn watched_repos(watched: &[RepoName]) -> String {
    if watched.is_empty() {
        return "no repository is watched; `surveil observer REPO` watches one".to_owned();
    }
    let named: Vec<&str> = watched.iter().take(NAMED_REPOS).map(RepoName::as_str).collect();
    let more = watched.len() - named.len();
    let and_more = if more > 0 { format!(" and {more} more") } else { String::new() };
    format!("watched {} {}{and_more}", if watched.len() == 1 { "is" } else { "are" }, named.join(", "))
}

/// Names the repositories that there are, as far as a person reads them.
fn known_repos(known: &[RepoName]) -> String {
    let named: Vec<&str> = known.iter().take(NAMED_REPOS).map(RepoName::as_str).collect();
    let more = known.len() - named.len();
    match named.as_slice() {
        [] => "there is none yet; `surveil observer REPO` watches one".to_owned(),
        [one] => format!("there is only {one}"),
        named if more > 0 => format!("there are {} and {more} more", named.join(", ")),
        named => format!("there are {}", named.join(", ")),
    }
}

/// The number of repositories that are named.
const NAMED_REPOS: usize = 20;

/// Returns a person's text as part of a sentence: on one line, readable, and cut if it is long.
fn quoted(text: &str) -> String {
    quoted_to(text, QUOTE_CHARS)
}

fn quoted_to(text: &str, chars: usize) -> String {
    match text.char_indices().nth(chars) {
        Some((end, _)) => format!("{}…", text[..end].escape_debug()),
        None => text.escape_debug().to_string(),
    }
}

/// The number of characters after which such a text is cut.
const QUOTE_CHARS: usize = 100;
/// The number of characters of a subject in a list of candidates.
const SUBJECT_CHARS: usize = 50;

/// Most cells of a matrix that an error names.
const NAMED_CELLS: usize = 6;

/// The fewest digits of a commit in a list of candidates.
const COMMIT_DIGITS: usize = 12;
