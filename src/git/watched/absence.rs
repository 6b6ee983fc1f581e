//! Why a repository has no head to observe, and what to do about it. A new bare repository whose HEAD names another
//! branch than the one that was pushed is the most common case. Reads refs, and changes nothing.

use std::path::Path;

use super::{BranchSelection, Watched, short_name};
use crate::git::error::GitError;
use crate::git::refs::HeadPointer;
use crate::quoting::{shell_path, shell_word};

/// Number of branches that a text names.
const NAMED_MAX: usize = 5;

/// Why a selection of branches has no head. Branches are named without `refs/heads/`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Absence {
    /// There is no branch at all.
    NoBranch,
    /// HEAD names a ref that does not exist.
    Unborn { head: String, branches: Vec<String> },
    /// HEAD names no branch but is at a commit.
    Detached { branches: Vec<String> },
    /// No branch matches one of these patterns.
    NoMatch { patterns: Vec<String>, branches: Vec<String> },
}

impl Watched {
    /// Returns why [`Self::heads`] returned nothing for this selection.
    pub fn absence(&self, selection: &BranchSelection) -> Result<Absence, GitError> {
        let branches: Vec<String> = self.refs.branches()?.iter().map(|(name, _)| short_name(name).to_owned()).collect();
        let head = self.refs.head()?;
        Ok(match (selection, head) {
            (BranchSelection::Main, HeadPointer::Detached(_)) => Absence::Detached { branches },
            (_, _) if branches.is_empty() => Absence::NoBranch,
            (BranchSelection::Main, HeadPointer::Names(head)) => {
                Absence::Unborn { head: short_name(&head).to_owned(), branches }
            }
            (BranchSelection::Matching(patterns), _) => {
                Absence::NoMatch { patterns: patterns.iter().map(ToString::to_string).collect(), branches }
            }
        })
    }
}

impl Absence {
    /// Returns one sentence: what is missing in `place`, which branches are there, and what to type. `local` is the
    /// path of a repository on this machine, in which git can be called.
    #[must_use]
    pub fn text(&self, place: &str, local: Option<&Path>) -> String {
        match self {
            Self::NoBranch => format!("{place} has no branch with a commit yet: commit or push one"),
            Self::Unborn { head, branches } => {
                let chosen = likely_main(branches);
                let pointed = pointed_to(chosen);
                let command = match local {
                    Some(path) => format!("git -C {} {pointed}", shell_path(path)),
                    None => format!("git {pointed} (in that repository)"),
                };
                format!(
                    "HEAD of {place} names {head}, which has no commit; {}. Watch a branch whatever HEAD names with \
                     --branch {}, or make it the main branch: {command}",
                    listed(branches),
                    shell_word(chosen)
                )
            }
            Self::Detached { branches } => {
                let mut text = format!(
                    "HEAD of {place} is detached, as during a rebase, so it names no branch; nothing starts until it \
                     does"
                );
                if !branches.is_empty() {
                    let chosen = shell_word(likely_main(branches));
                    text.push_str(&format!(", or watch a branch whatever HEAD names: --branch {chosen}"));
                }
                text
            }
            Self::NoMatch { patterns, branches } => {
                let patterns: Vec<_> =
                    patterns.iter().map(|pattern| format!("--branch {}", shell_word(pattern))).collect();
                format!("no branch of {place} matches {}; {}", patterns.join(" "), listed(branches))
            }
        }
    }

    /// Like [`Self::text`], for a command that takes a commit of the repository at `root`. `None` if there is no other
    /// branch to name.
    pub(in crate::git) fn text_for_command(&self, root: &Path, has_tree: bool) -> Option<String> {
        let Self::Unborn { head, branches } = self else { return None };
        let (place, chosen) = (shell_path(root), likely_main(branches));
        let name = if branches.len() == 1 { "it" } else { "one of them" };
        let ways_out = if has_tree {
            let switch = format!("git -C {place} switch {}", shell_word(chosen));
            format!("Make a commit, name {name} in place of HEAD, or check one out: {switch}")
        } else {
            format!("Name {name} in place of HEAD, or make it the main branch: git -C {place} {}", pointed_to(chosen))
        };
        let listed = listed(branches);
        Some(format!("HEAD of {} names {head}, which has no commit; {listed}. {ways_out}", root.display()))
    }
}

/// The command of git that makes HEAD name a branch.
fn pointed_to(branch: &str) -> String {
    format!("symbolic-ref HEAD {}", shell_word(&format!("refs/heads/{branch}")))
}

/// Returns the branch that is most likely meant as the main one.
fn likely_main(branches: &[String]) -> &str {
    let usual = ["main", "master", "trunk"].into_iter().find(|usual| branches.iter().any(|branch| branch == usual));
    usual.or(branches.first().map(String::as_str)).unwrap_or("main")
}

/// Names the branches that are there, the first few of many.
fn listed(branches: &[String]) -> String {
    let mut text = match branches {
        [_] => "the branch that is there: ".to_owned(),
        _ => "the branches that are there: ".to_owned(),
    };
    // The likely main branch comes first, so that it is named among thousands of others.
    let main = likely_main(branches);
    let others = branches.iter().map(String::as_str).filter(|branch| *branch != main);
    text.push_str(&std::iter::once(main).chain(others).take(NAMED_MAX).collect::<Vec<_>>().join(", "));
    if let Some(more) = branches.len().checked_sub(NAMED_MAX).filter(|more| *more > 0) {
        text.push_str(&format!(" and {more} more"));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::git::tests::support::{Repo, git_in};

    fn text(repo: &Path, selection: &BranchSelection) -> String {
        let watched = Watched::open(repo).unwrap();
        assert_eq!(watched.heads(selection).unwrap(), []);
        watched.absence(selection).unwrap().text("the repository", Some(Path::new("/srv/my app.git")))
    }

    /// Point 9 of the faults from the field.
    #[test]
    fn a_head_that_names_another_branch_than_was_pushed_is_told_with_both_ways_out() {
        let repo = Repo::new();
        repo.write("file", "1").commit("first");
        let bare = repo.beside("app.git");
        repo.git(&["init", "--quiet", "--bare", "--initial-branch=master", bare.to_str().unwrap()]);
        assert_eq!(
            text(&bare, &BranchSelection::Main),
            "the repository has no branch with a commit yet: commit or push one"
        );
        repo.git(&["push", "--quiet", bare.to_str().unwrap(), "main", "main:topic"]);
        assert_eq!(
            text(&bare, &BranchSelection::Main),
            "HEAD of the repository names master, which has no commit; the branches that are there: main, topic. Watch \
             a branch whatever HEAD names with --branch main, or make it the main branch: \
             git -C '/srv/my app.git' symbolic-ref HEAD refs/heads/main"
        );
        // The command is right.
        git_in(&bare, &["symbolic-ref", "HEAD", "refs/heads/main"]);
        assert_eq!(Watched::open(&bare).unwrap().heads(&BranchSelection::Main).unwrap().len(), 1);
    }

    #[test]
    fn many_branches_are_named_by_the_first_few_and_the_likely_one() {
        let branches: Vec<String> = (0..12).map(|n| format!("a{n}")).chain(["main".to_owned()]).collect();
        let text = Absence::Unborn { head: "x".into(), branches }.text("it", None);
        assert!(text.contains("are there: main, a0, a1, a2, a3 and 8 more."), "{text}");
        assert!(text.ends_with("git symbolic-ref HEAD refs/heads/main (in that repository)"), "{text}");
    }

    #[test]
    fn a_detached_head_starts_nothing_and_says_so() {
        let repo = Repo::new();
        repo.write("file", "1").commit("first");
        repo.git(&["switch", "--quiet", "--detach"]);
        repo.git(&["branch", "it's"]);
        repo.git(&["branch", "--delete", "--force", "main"]);
        let told = text(repo.path(), &BranchSelection::Main);
        assert!(told.contains("is detached, as during a rebase"), "{told}");
        assert!(told.ends_with(r"--branch 'it'\''s'"), "{told}");
    }

    #[test]
    fn patterns_that_nothing_matches_are_told_with_the_branches_that_are_there() {
        let repo = Repo::new();
        repo.write("file", "1").commit("first");
        let selection = BranchSelection::Matching(vec!["release/*".into()]);
        assert_eq!(
            text(repo.path(), &selection),
            "no branch of the repository matches --branch 'release/*'; the branch that is there: main"
        );
    }
}
