//! The place where `surveil run` executes: the work tree as it is, or a tree of one commit alone.

use std::path::{Path, PathBuf};

use crossbeam_channel::Receiver;

use super::CliError;
use super::report::short;
use super::typed_place::{place_of, real_directory, tree_root};
use crate::config::{CheckedTasks, ObservedRepo, check_directory, repo_name_from};
use crate::git::{CleanTree, CommitText, Difference, Local, RepositoryPlace, SourcePlaces, Watched};
use crate::model::{BuildSettings, Outcome, RefName, SourceNeeds, TaskSpec};
use crate::runner::HandOver;

/// The place of a local run.
pub(crate) enum RunPlace {
    AsItIs(OwnTree),
    Clean(Box<CleanPlace>),
}

/// The work tree as it is.
pub(crate) struct OwnTree {
    directory: PathBuf,
    /// The git directory, if it is not in the tree.
    outer_git: Option<PathBuf>,
}

/// A tree of one commit alone, and the artifacts that tasks left in it.
pub(crate) struct CleanPlace {
    tree: CleanTree,
    artifacts: HandOver,
}

/// The repository, ref and commit of an attempt's environment. Outside a repository there is only a name.
#[derive(Debug, Default)]
pub(crate) struct Origin {
    pub(crate) repo: String,
    /// The branch that is checked out, if HEAD is not detached.
    pub(crate) reference: Option<RefName>,
    /// The repository's default branch, as an observer of it would tell.
    pub(crate) default_branch: Option<String>,
    pub(crate) commit: String,
    pub(crate) text: Option<CommitText>,
    /// The place that an observer of the work tree would tell.
    pub(crate) url: Option<String>,
}

/// A place with the tasks that are in it.
pub(crate) struct Prepared {
    pub(crate) place: RunPlace,
    pub(crate) tasks: Vec<TaskSpec>,
    pub(crate) settings: BuildSettings,
    pub(crate) origin: Origin,
}

impl RunPlace {
    /// Takes the work tree of a directory as it is. Says so if it differs from the commit.
    pub(crate) fn as_it_is(typed: &Path) -> Result<Prepared, CliError> {
        let root = tree_root(typed, "the tasks run")?;
        let CheckedTasks { tasks, settings, .. } = check_directory(&root)?;
        let directory = real_directory(&root)?;
        let place = place_of(typed);
        let origin = Origin::of(&directory, place.as_ref());
        let local = place.and_then(|place| Local::open(place).ok());
        if let Some(words) = local.as_ref().and_then(|local| as_it_is_words(local.difference(), &origin.commit)) {
            log::warn!("{words}");
        }
        let outer_git = local.and_then(|local| local.outer_git_directory());
        Ok(Prepared { place: Self::AsItIs(OwnTree { directory, outer_git }), tasks, settings, origin })
    }

    /// Makes a tree of the commit that `revision` names in the directory's repository, below the directory `work`.
    pub(crate) fn clean(typed: &Path, revision: &str, work: &Path) -> Result<Prepared, CliError> {
        // A directory that does not exist is an error of its own.
        real_directory(typed)?;
        let none = || CliError::Usage(format!("{} is in no git repository, so --clean has no commit", typed.display()));
        let local = Local::open(place_of(typed).ok_or_else(none)?)?;
        let commit = local.commit(revision)?;
        let source = Watched::open(local.place().location())?;
        let mut clean = CleanTree::new(&source, commit, &work.join("clean"))?;
        clean.bring(SourceNeeds::NOTHING)?;
        let CheckedTasks { tasks, settings, .. } = check_directory(clean.path())?;
        let needs = tasks.iter().map(|task| task.recipe.source_needs()).fold(SourceNeeds::NOTHING, SourceNeeds::and);
        clean.take_facts(&source, needs, SourcePlaces { work, base: None })?;
        let text = source.describe(commit).ok();
        let origin = Origin { commit: commit.to_string(), text, ..Origin::of(local.root(), Some(local.place())) };
        let artifacts = HandOver::new(clean.beside("artifacts"));
        let place = Self::Clean(Box::new(CleanPlace { tree: clean, artifacts }));
        Ok(Prepared { place, tasks, settings, origin })
    }

    pub(crate) fn directory(&self) -> &Path {
        match self {
            Self::AsItIs(own) => &own.directory,
            Self::Clean(clean) => clean.tree.path(),
        }
    }

    /// A directory outside of the tree that git in the tree reads.
    pub(crate) fn objects(&self) -> Option<&Path> {
        match self {
            Self::AsItIs(own) => own.outer_git.as_deref(),
            Self::Clean(clean) => Some(clean.tree.objects()),
        }
    }

    /// A directory above which a task's git does not look for a repository.
    pub(crate) fn ceiling(&self) -> &Path {
        match self {
            // The work tree is the user's own, so git may look for its repository in any directory above.
            Self::AsItIs(_) => Path::new("/"),
            Self::Clean(clean) => clean.tree.path().parent().unwrap_or(Path::new("/")),
        }
    }

    /// Gets the place ready for an attempt: a clean tree has nothing of other attempts but the artifacts that this one
    /// takes, and the history that it wants. Returns lines about them, or the reason why the attempt cannot start.
    pub(crate) fn make_ready(&mut self, task: &TaskSpec) -> Result<Result<Vec<String>, String>, CliError> {
        let Self::Clean(clean) = self else { return Ok(Ok(Vec::new())) };
        let CleanPlace { tree, artifacts } = &mut **clean;
        let needs = task.recipe.source_needs();
        if let Some(why) = tree.lacks(needs) {
            return Ok(Err(why));
        }
        tree.bring(needs)?;
        let taken = artifacts.hand_on(task, tree.path(), &|path, is_directory| tree.in_the_way(path, is_directory));
        let notes = tree.notes().map(|note| format!("surveil: {note}"));
        Ok(taken.map(|lines| notes.chain(lines).collect()))
    }

    /// Keeps the artifacts of an attempt for the tasks that take them. Returns the outcome that counts. In the work
    /// tree as it is, they are there anyway.
    pub(crate) fn keep_artifacts(
        &mut self,
        task: &TaskSpec,
        outcome: Outcome,
        cancelled: &Receiver<()>,
        say: &mut dyn FnMut(&str),
    ) -> Outcome {
        let Self::Clean(clean) = self else { return outcome };
        let CleanPlace { tree, artifacts } = &mut **clean;
        let submodules: Vec<String> = tree.submodules().map(str::to_owned).collect();
        artifacts.keep(task, (tree.path(), &submodules), outcome, cancelled, say)
    }
}

impl Origin {
    fn of(directory: &Path, place: Option<&RepositoryPlace>) -> Self {
        let repo = repo_name_from(&directory.to_string_lossy()).to_string();
        let location = place.map_or(directory, RepositoryPlace::location);
        let url = ObservedRepo::new(&location.to_string_lossy(), None, Path::new("")).ok().map(|repo| repo.source);
        let Ok(watched) = Watched::open(location) else { return Self { repo, ..Self::default() } };
        let default_branch = watched.default_branch().ok().flatten().map(|branch| branch.to_string());
        // If HEAD is detached, there is a commit but no branch.
        match watched.head_commit() {
            Ok(Some((branch, commit))) => {
                let reference = branch.map(RefName::of_branch);
                let text = watched.describe(commit).ok();
                Self { repo, reference, default_branch, commit: commit.to_string(), text, url }
            }
            Ok(None) | Err(_) => Self { repo, default_branch, url, ..Self::default() },
        }
    }
}

/// The sentence about a work tree that is not exactly its commit; `None` if it is. What cannot be told may differ.
fn as_it_is_words(difference: Option<Difference>, commit: &str) -> Option<String> {
    let what = match difference {
        Some(difference) if difference.is_none() => return None,
        Some(Difference { changed, untracked, ignored }) => {
            let counts = [(changed, "changed"), (untracked, "untracked"), (ignored, "ignored")];
            let counts = counts.into_iter().filter(|(count, _)| *count > 0);
            let counts: Vec<String> = counts.map(|(count, word)| format!("{count} {word}")).collect();
            format!(" (paths: {})", counts.join(", "))
        }
        None => String::new(),
    };
    let commit = if commit.is_empty() { "a commit".to_owned() } else { format!("commit {}", short(commit)) };
    Some(format!(
        "the tasks run in the work tree as it is, which is not {commit} alone{what}: --clean runs them as a runner would"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_work_tree_that_is_its_commit_is_not_spoken_of() {
        let words = |changed, untracked, ignored| {
            as_it_is_words(Some(Difference { changed, untracked, ignored }), "4f2a91c04f2a91c0")
        };
        assert_eq!(words(0, 0, 0), None);
        let expected = "the tasks run in the work tree as it is, which is not commit 4f2a91c alone (paths: 2 changed, \
                        1 ignored): --clean runs them as a runner would";
        assert_eq!(words(2, 0, 1).unwrap(), expected);
        assert!(as_it_is_words(None, "").unwrap().contains("not a commit alone: --clean"));
    }
}
