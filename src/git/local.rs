//! The repository in which a person types a command: found from any directory in it, and only ever read. It tells what
//! a name means there (`HEAD~1`, `main`), and how the work tree differs from its commit. Called by commands alone.

use std::fs;
use std::path::{Path, PathBuf};

use git2::{ErrorCode, ObjectType, Oid, Repository, Status, StatusOptions, StatusShow};

use super::discovery::RepositoryPlace;
use super::error::GitError;
use super::objects::commit_id;
use super::program;
use super::watched::{BranchSelection, Watched};
use crate::model::{CommitId, RefName};

/// A person's own repository.
pub struct Local {
    place: RepositoryPlace,
    /// `None` for a repository that only the `git` program can read, such as one with reftable.
    repository: Option<Repository>,
}

/// How a work tree differs from the commit that HEAD names, in numbers of paths.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Difference {
    pub changed: usize,
    /// A directory without a tracked file counts as one.
    pub untracked: usize,
    pub ignored: usize,
}

/// A commit that a person has named, and the ref that the name stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamedCommit {
    pub commit: CommitId,
    /// `None` for a name that is no ref, such as the beginning of an id or `HEAD~1`, and for a detached HEAD.
    pub reference: Option<RefName>,
}

impl Local {
    /// Opens the repository that a directory belongs to, if there is one.
    pub fn discover(directory: &Path) -> Result<Option<Self>, GitError> {
        RepositoryPlace::of(directory).map(Self::open).transpose()
    }

    /// Opens the repository that the current directory belongs to, if there is one. `GIT_DIR` may name it.
    pub fn here() -> Result<Option<Self>, GitError> {
        RepositoryPlace::here().map(Self::open).transpose()
    }

    /// Opens a repository that was found.
    pub fn open(place: RepositoryPlace) -> Result<Self, GitError> {
        let RepositoryPlace { root, location, .. } = &place;
        match Repository::open(location) {
            Ok(repository) => {
                if root != location {
                    // Only variables say that this work tree is the repository's.
                    let failed = |source| GitError::Open { path: root.clone(), source };
                    repository.set_workdir(root, false).map_err(failed)?;
                }
                Ok(Self { place, repository: Some(repository) })
            }
            Err(error) if error.code() == ErrorCode::Owner => Err(GitError::Owner { path: location.clone() }),
            Err(error) if error.message().contains("unsupported extension") => Ok(Self { place, repository: None }),
            Err(source) => Err(GitError::Open { path: location.clone(), source }),
        }
    }

    /// Returns the place in which the repository was found.
    #[must_use]
    pub fn place(&self) -> &RepositoryPlace {
        &self.place
    }

    /// Returns the root of the work tree, or the directory of a bare repository.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.place.root
    }

    /// Returns the places by which others may know this repository: its directories, and its remotes.
    #[must_use]
    pub fn places(&self) -> Vec<String> {
        let mut places = vec![self.root().to_string_lossy().into_owned()];
        let Some(repository) = &self.repository else { return places };
        // A linked worktree belongs to the repository with the objects.
        places.push(repository.commondir().to_string_lossy().into_owned());
        let Ok(remotes) = repository.remotes() else { return places };
        for remote in remotes.iter().flatten().flatten().filter_map(|name| repository.find_remote(name).ok()) {
            places.extend(remote.url().ok().map(str::to_owned));
        }
        places
    }

    /// Returns the git directory if it is not in the work tree: that of a linked worktree or a submodule.
    #[must_use]
    pub fn outer_git_directory(&self) -> Option<PathBuf> {
        let directory = fs::canonicalize(self.repository.as_ref()?.commondir()).ok()?;
        (!directory.starts_with(self.root())).then_some(directory)
    }

    /// Returns the commit that a revision names here, as git reads it: `HEAD~1`, a branch, a tag, the beginning of an
    /// id. `None` if it names none.
    pub fn resolve(&self, revision: &str) -> Result<Option<CommitId>, GitError> {
        let Some(repository) = &self.repository else { return self.resolve_by_program(revision) };
        // The commit behind a tag is meant.
        match repository.revparse_single(revision).and_then(|object| object.peel_to_commit()) {
            Ok(commit) => Ok(Some(commit_id(commit.id()))),
            Err(error) if error.code() == ErrorCode::Ambiguous => self.disambiguated(repository, revision),
            Err(error) if matches!(error.code(), ErrorCode::NotFound | ErrorCode::InvalidSpec) => Ok(None),
            // libgit2 refuses commits that git accepts, such as one whose author has no date.
            Err(_) => self.resolve_by_program(revision),
        }
    }

    /// Finds the commit of an abbreviation that fits several objects. git, too, passes over files and directories.
    fn disambiguated(&self, repository: &Repository, revision: &str) -> Result<Option<CommitId>, GitError> {
        let path = || self.root().to_owned();
        let odb = repository.odb().map_err(|source| GitError::Open { path: path(), source })?;
        let is_meant = |id: &CommitId| {
            let kind = Oid::from_bytes(id.as_bytes()).and_then(|id| odb.read_header(id)).map(|(_, kind)| kind);
            matches!(kind, Ok(ObjectType::Commit | ObjectType::Tag))
        };
        let said = program::read(&self.git_dir(), &["rev-parse", &format!("--disambiguate={revision}")])?;
        let said = said.unwrap_or_default();
        let lines = String::from_utf8_lossy(&said);
        let commits: Vec<CommitId> = lines.lines().filter_map(|line| line.parse().ok()).filter(is_meant).collect();
        match commits.as_slice() {
            [only] => self.resolve(&only.to_string()),
            _ => Err(GitError::AmbiguousCommit { path: path(), revision: revision.to_owned(), commits }),
        }
    }

    /// Like [`Self::resolve`], but a revision that names no commit is an error.
    pub fn commit(&self, revision: &str) -> Result<CommitId, GitError> {
        if let Some(commit) = self.resolve(revision)? {
            return Ok(commit);
        }
        // A hook that runs before a push is accepted.
        let is_before_push = std::env::var_os("GIT_QUARANTINE_PATH").is_some_and(|path| !path.is_empty());
        Err(self.lacks(revision, is_before_push)?)
    }

    /// The error for a revision that names no commit.
    fn lacks(&self, revision: &str, is_before_push: bool) -> Result<GitError, GitError> {
        let path = self.root().to_owned();
        if is_before_push && revision.parse::<CommitId>().is_ok() {
            return Ok(GitError::Quarantined { path, revision: revision.to_owned() });
        }
        if (matches!(revision, "HEAD" | "@") || self.has_no_ref()) && self.resolve("HEAD")?.is_none() {
            return Ok(self.unborn());
        }
        Ok(GitError::NoCommit { path, revision: revision.to_owned() })
    }

    /// The error for a HEAD that names no commit: there is no branch yet, or there are others.
    fn unborn(&self) -> GitError {
        let absence = Watched::open(self.place.location()).and_then(|it| it.absence(&BranchSelection::Main));
        let text = absence.ok().and_then(|absence| absence.text_for_command(self.root(), self.place.has_tree()));
        match text {
            Some(text) => GitError::OtherBranch { text },
            None => GitError::Unborn { path: self.root().to_owned() },
        }
    }

    /// Whether the repository surely has no ref. False if that cannot be told.
    fn has_no_ref(&self) -> bool {
        let references = self.repository.as_ref().and_then(|repository| repository.references().ok());
        references.is_some_and(|mut references| references.next().is_none())
    }

    /// Like [`Self::commit`], with the full name of the ref that is named. `HEAD` stands for its branch.
    pub fn named(&self, revision: &str) -> Result<NamedCommit, GitError> {
        let commit = self.commit(revision)?;
        let found = self.repository.as_ref().and_then(|repository| repository.revparse_ext(revision).ok());
        let name = match found {
            Some((_, reference)) => reference.and_then(|reference| reference.name().ok().map(str::to_owned)),
            None => {
                let arguments =
                    ["rev-parse", "--verify", "--quiet", "--symbolic-full-name", "--end-of-options", revision];
                let said = program::read(&self.git_dir(), &arguments)?.unwrap_or_default();
                Some(String::from_utf8_lossy(&said).trim_end().to_owned())
            }
        };
        let reference = name.filter(|name| name.starts_with("refs/")).map(|name| RefName::new(&name));
        Ok(NamedCommit { commit, reference })
    }

    /// Returns how the work tree differs from HEAD's commit; `None` if that cannot be told.
    #[must_use]
    pub fn difference(&self) -> Option<Difference> {
        let repository = self.repository.as_ref()?;
        let mut options = StatusOptions::new();
        // Directories are not entered: one untracked directory is one difference.
        options.include_untracked(true).recurse_untracked_dirs(false);
        options.include_ignored(true).recurse_ignored_dirs(false).update_index(false);
        let statuses = repository.statuses(Some(&mut options)).ok()?;
        let mut difference = Difference::default();
        for status in statuses.iter().map(|entry| entry.status()) {
            if status.contains(Status::IGNORED) {
                difference.ignored += 1;
            } else if status.contains(Status::WT_NEW) {
                difference.untracked += 1;
            } else if !status.is_empty() {
                difference.changed += 1;
            }
        }
        Some(difference)
    }

    /// Returns the paths of the files that git tracks or would add; `None` if that cannot be told.
    #[must_use]
    pub fn paths(&self) -> Option<Vec<String>> {
        let repository = self.repository.as_ref()?;
        let text = |path: &[u8]| String::from_utf8_lossy(path).into_owned();
        let mut paths: Vec<String> = repository.index().ok()?.iter().map(|entry| text(&entry.path)).collect();
        let mut options = StatusOptions::new();
        options.show(StatusShow::Workdir).include_untracked(true).recurse_untracked_dirs(true);
        options.include_ignored(false).exclude_submodules(true).update_index(false);
        let statuses = repository.statuses(Some(&mut options)).ok()?;
        paths.extend(statuses.iter().map(|entry| text(entry.path_bytes())));
        Some(paths)
    }

    fn resolve_by_program(&self, revision: &str) -> Result<Option<CommitId>, GitError> {
        let wanted = format!("{revision}^{{commit}}");
        let arguments = ["rev-parse", "--verify", "--quiet", "--end-of-options", &wanted];
        let said = program::read(&self.git_dir(), &arguments)?;
        Ok(said.and_then(|id| String::from_utf8_lossy(&id).trim_end().parse().ok()))
    }

    fn git_dir(&self) -> PathBuf {
        let location = self.place.location();
        let inner = location.join(".git");
        if inner.exists() { inner } else { location.to_owned() }
    }
}

impl Difference {
    /// Whether the work tree is exactly the commit.
    #[must_use]
    pub fn is_none(&self) -> bool {
        *self == Self::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::git::tests::support::*;

    #[test]
    fn the_git_directory_of_a_linked_worktree_is_not_in_its_tree() {
        let repo = Repo::new();
        repo.write("a", "1").commit("first");
        let outer = |directory: &Path| Local::discover(directory).unwrap().unwrap().outer_git_directory();
        assert_eq!(outer(repo.path()), None);
        repo.git(&["worktree", "add", "--quiet", "../linked"]);
        let linked = repo.path().parent().unwrap().join("linked");
        assert_eq!(outer(&linked), Some(fs::canonicalize(repo.path().join(".git")).unwrap()));
    }

    #[test]
    fn a_name_means_what_git_says_from_any_directory_of_the_work_tree() {
        let repo = Repo::new();
        let first = repo.write("a", "1").commit("first");
        let second = repo.write("sub/b", "2").commit("second");
        repo.git(&["tag", "-a", "v1", "-m", "x", &first.to_string()]);
        let local = Local::discover(&repo.path().join("sub")).unwrap().unwrap();
        assert_eq!(local.root(), fs::canonicalize(repo.path()).unwrap());
        let short = &second.to_string()[..8];
        for (name, commit) in [("HEAD", second), ("HEAD~1", first), ("main", second), ("v1", first), (short, second)] {
            assert_eq!(local.resolve(name).unwrap(), Some(commit), "{name}");
        }
        for name in ["nosuch", "HEAD~9", "", "-x", "a b", "HEAD:a", "0000000"] {
            assert_eq!(local.resolve(name).unwrap(), None, "{name}");
        }
        assert!(local.commit("nosuch").unwrap_err().to_string().contains("has no commit `nosuch`"));
        assert!(Local::discover(Path::new("/")).unwrap().is_none());
    }

    #[test]
    fn a_repository_without_commits_says_so() {
        let repo = Repo::new();
        let error = |name: &str| Local::discover(repo.path()).unwrap().unwrap().commit(name).unwrap_err().to_string();
        for name in ["HEAD", "@", "main", "nosuch"] {
            assert!(error(name).contains("has no commit yet: make one with `git commit`"), "{name}: {}", error(name));
        }
        repo.write("a", "1").commit("first");
        repo.git(&["checkout", "--quiet", "--orphan", "new"]);
        let (root, error_of_head) = (repo.path().display(), error("HEAD"));
        assert_eq!(
            error_of_head,
            format!(
                "HEAD of {root} names new, which has no commit; the branch that is there: main. Make a commit, name it in \
                 place of HEAD, or check one out: git -C {root} switch main"
            )
        );
        assert!(error("nosuch").contains("has no commit `nosuch`: fetch it first"), "{}", error("nosuch"));
    }

    #[test]
    fn a_commit_that_git_accepts_is_found_whatever_its_lines_hold() {
        let repo = Repo::new();
        let tree = repo.raw_tree(&[]);
        for (name, lines) in [("dateless", "author A <a@b>\ncommitter\n"), ("bare", "")] {
            let id = repo.raw_object("commit", format!("tree {tree}\n{lines}\ntext\n").as_bytes());
            repo.git(&["update-ref", &format!("refs/heads/{name}"), &id]);
            let local = Local::discover(repo.path()).unwrap().unwrap();
            let NamedCommit { commit, reference } = local.named(name).unwrap();
            assert_eq!((commit.to_string(), reference), (id.clone(), Some(RefName::of_branch(name))));
            for revision in [&id[..], &id[..9]] {
                let NamedCommit { commit, reference } = local.named(revision).unwrap();
                assert_eq!((commit.to_string(), reference), (id.clone(), None), "{revision}");
            }
            assert_eq!(local.resolve(&format!("{name}~1")).unwrap(), None);
        }
    }

    /// git finds the commit whose abbreviation is also that of a file, and names the commits of an ambiguous one.
    #[test]
    fn an_abbreviation_of_several_objects_means_the_only_commit_among_them() {
        let repo = Repo::new();
        let mut stream = String::new();
        for number in 0..1000 {
            stream +=
                &format!("blob\ndata <<.\n{number}\n.\ncommit refs/x/{number}\ncommitter A <a@b> {number} +0000\n");
            stream += "data 0\n\n";
        }
        repo.git_with(&["fast-import", "--quiet"], stream.as_bytes());
        let objects = repo.git(&["cat-file", "--batch-all-objects", "--batch-check=%(objectname) %(objecttype)"]);
        let objects: Vec<(&str, &str)> = objects.lines().filter_map(|line| line.split_once(' ')).collect();
        let mut kinds: std::collections::BTreeMap<&str, Vec<(&str, &str)>> = std::collections::BTreeMap::new();
        objects.iter().for_each(|(id, kind)| kinds.entry(&id[..4]).or_default().push((id, kind)));
        let local = Local::discover(repo.path()).unwrap().unwrap();
        let mut seen = [0, 0];
        for (four, same) in kinds.iter().filter(|(_, same)| same.len() > 1) {
            let commits: Vec<&str> = same.iter().filter(|(_, kind)| *kind == "commit").map(|(id, _)| *id).collect();
            match commits.as_slice() {
                [] => {}
                [only] => {
                    assert_eq!(local.resolve(four).unwrap().map(|id| id.to_string()).as_deref(), Some(*only));
                    seen[0] += 1;
                }
                several => {
                    let error = local.commit(four).unwrap_err().to_string();
                    assert!(several.iter().all(|id| error.contains(&id[..12])), "{error}");
                    seen[1] += 1;
                }
            }
        }
        assert!(seen.iter().all(|count| *count > 0), "{seen:?}");
    }

    /// The variables of the quarantine are for git alone, and are kept from tasks.
    #[test]
    fn a_commit_of_a_push_that_is_not_accepted_is_told_as_that() {
        let repo = Repo::new();
        let local = Local::discover(repo.path()).unwrap().unwrap();
        let text = |revision: &str, is_before| local.lacks(revision, is_before).unwrap().to_string();
        let pushed = "4".repeat(40);
        assert!(
            text(&pushed, true).contains("in a post-receive hook and not in pre-receive"),
            "{}",
            text(&pushed, true)
        );
        assert!(text(&pushed, false).contains("has no commit yet: make one"));
        assert!(text("HEAD", true).contains("has no commit yet: make one"));
    }

    /// A commit cannot be made there, and the branches that were pushed are what is meant.
    #[test]
    fn a_bare_repository_whose_head_names_another_branch_names_those_that_were_pushed() {
        let repo = Repo::new();
        repo.write("a", "1").commit("first");
        let bare = repo.beside("app.git");
        let path = bare.to_str().unwrap();
        repo.git(&["init", "--quiet", "--bare", "--initial-branch=master", path]);
        let error = || Local::discover(&bare).unwrap().unwrap().commit("HEAD").unwrap_err().to_string();
        assert!(error().contains("has no commit yet"), "{}", error());
        repo.git(&["push", "--quiet", path, "main", "main:topic"]);
        assert_eq!(
            error(),
            format!(
                "HEAD of {path} names master, which has no commit; the branches that are there: main, topic. Name one of \
                 them in place of HEAD, or make it the main branch: git -C {path} symbolic-ref HEAD refs/heads/main"
            )
        );
    }

    #[test]
    fn a_name_stands_for_the_ref_that_git_takes_it_for() {
        let repo = Repo::new();
        let first = repo.write("a", "1").commit("first");
        let second = repo.write("a", "2").commit("second");
        repo.git(&["tag", "-a", "v1", "-m", "x", &first.to_string()]);
        repo.git(&["branch", "release/1", &first.to_string()]);
        let local = Local::discover(repo.path()).unwrap().unwrap();
        let named = |name: &str| {
            let NamedCommit { commit, reference } = local.named(name).unwrap();
            (commit, reference.map(|reference| reference.to_string()).unwrap_or_default())
        };
        let id = first.to_string();
        for (name, commit, reference) in [
            ("HEAD", second, "refs/heads/main"),
            ("main", second, "refs/heads/main"),
            ("refs/heads/main", second, "refs/heads/main"),
            ("heads/release/1", first, "refs/heads/release/1"),
            ("v1", first, "refs/tags/v1"),
            ("HEAD~1", first, ""),
            ("v1^{commit}", first, ""),
            (&id[..8], first, ""),
        ] {
            assert_eq!(named(name), (commit, reference.to_owned()), "{name}");
        }
        repo.git(&["checkout", "--quiet", "--detach"]);
        assert_eq!(named("HEAD"), (second, String::new()));
        assert!(local.named("nosuch").is_err());
    }

    /// Sabotage tried: ignored files are left out.
    #[test]
    fn a_difference_counts_what_a_runner_would_not_have() {
        let repo = Repo::new();
        repo.write(".gitignore", "ignored/\n").write("a", "1").commit("first");
        let local = Local::discover(repo.path()).unwrap().unwrap();
        assert!(local.difference().unwrap().is_none());
        fs::write(repo.path().join("a"), "changed").unwrap();
        fs::create_dir(repo.path().join("ignored")).unwrap();
        for name in ["ignored/1", "ignored/2", "new", "newer"] {
            fs::write(repo.path().join(name), "").unwrap();
        }
        assert_eq!(local.difference(), Some(Difference { changed: 1, untracked: 2, ignored: 1 }));
    }
}
