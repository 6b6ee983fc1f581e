//! The tree of one commit in a fresh directory, such as a runner makes it: the commit's source is copied into a store,
//! and the tree is filled from there. Removed when it is dropped. `surveil run --clean` calls it.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use super::error::GitError;
use super::pack_store::PackStore;
use super::watched::{SourcePlaces, Watched};
use super::worktree::{TreeSource, WorkTree, remove_directory};
use crate::locked::Locked;
use crate::model::{CommitId, FactsId, SourceNeeds, Submodules};

/// The name of the store in a place.
const STORE: &str = "store.git";

/// Names of places begin so until they are locked.
const UNFINISHED: &str = ".new-";

/// A tree that is always brought to one commit.
pub struct CleanTree {
    place: PathBuf,
    tree: WorkTree,
    commit: CommitId,
    /// The facts of the commit's source, if more than the commit was copied.
    facts: Option<FactsId>,
    /// Why submodules and contents in Git LFS are missing, a sentence each.
    problems: [Vec<String>; 2],
    /// Tells other processes that the place is in use.
    _lock: Locked,
}

impl CleanTree {
    /// Copies the source of a commit into a fresh directory below `parent`. Removes what processes that were killed
    /// have left there.
    pub fn new(source: &Watched, commit: CommitId, parent: &Path) -> Result<Self, GitError> {
        fs::create_dir_all(parent).map_err(GitError::io("make directory", parent))?;
        remove_abandoned(parent);
        let (place, lock) = take_place(parent)?;
        let made = fill(source, commit, &place);
        if made.is_err() {
            drop(remove_directory(&place));
        }
        Ok(Self { tree: made?, place, commit, facts: None, problems: Default::default(), _lock: lock })
    }

    /// The directory of the tree.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.tree.path()
    }

    /// The directory of the objects that git in the tree reads.
    #[must_use]
    pub fn objects(&self) -> &Path {
        self.tree.objects()
    }

    /// A path beside the tree that goes with it. Nothing is made there.
    #[must_use]
    pub fn beside(&self, name: &str) -> PathBuf {
        self.place.join(name)
    }

    /// Returns what of the commit is in the way of a path in the tree, as [`WorkTree::in_the_way`] does.
    #[must_use]
    pub fn in_the_way(&self, path: &str, is_directory: bool) -> Option<String> {
        self.tree.in_the_way(path, is_directory)
    }

    /// The paths of the submodules that are in the tree, as [`WorkTree::submodules`] tells them.
    pub fn submodules(&self) -> impl Iterator<Item = &str> {
        self.tree.submodules()
    }

    /// Copies what tasks want of the commit's source beside its tree.
    pub fn take_facts(
        &mut self,
        source: &Watched,
        needs: SourceNeeds,
        places: SourcePlaces<'_>,
    ) -> Result<(), GitError> {
        if let Some(facts) = source.facts(self.commit, needs, places)? {
            store_of(&self.place, self.commit)?.take_facts_from(source, self.commit, &facts)?;
            self.facts = Some(facts.id);
            self.problems = [facts.facts.problems, facts.facts.lfs_problems];
        }
        Ok(())
    }

    /// Returns why the tree cannot be as a task wants it: a line for each thing that is missing.
    #[must_use]
    pub fn lacks(&self, needs: SourceNeeds) -> Option<String> {
        let [submodules, lfs] = &self.problems;
        let of_submodules = submodules.iter().filter(|_| needs.submodules != Submodules::No);
        let problems: Vec<&str> = of_submodules.chain(lfs.iter().filter(|_| needs.lfs)).map(String::as_str).collect();
        (!problems.is_empty()).then(|| problems.join("\n"))
    }

    /// Returns what of the tree may not be as its task expects, as [`WorkTree::notes`] does.
    pub fn notes(&self) -> impl Iterator<Item = &'static str> {
        self.tree.notes()
    }

    /// Makes the tree exactly the commit's: whatever else is in it is removed. Its repository has what `needs` says, as
    /// far as that was copied.
    pub fn bring(&mut self, needs: SourceNeeds) -> Result<(), GitError> {
        let facts = self.facts.filter(|_| needs != SourceNeeds::NOTHING);
        self.tree.check_out_with(self.commit, &[], TreeSource { needs, facts })
    }
}

impl Drop for CleanTree {
    fn drop(&mut self) {
        // What cannot be removed now is removed by a later run.
        if let Err(error) = remove_directory(&self.place) {
            log::warn!("could not remove {}: {error}", self.place.display());
        }
    }
}

fn fill(source: &Watched, commit: CommitId, place: &Path) -> Result<WorkTree, GitError> {
    store_of(place, commit)?.take_from(source, commit, &[])?;
    WorkTree::open(&place.join(STORE), &place.join("tree"))
}

fn store_of(place: &Path, commit: CommitId) -> Result<PackStore, GitError> {
    PackStore::open(&place.join(STORE), commit)
}

/// Makes a directory of its own. It has its final name only when it is locked, so that no other process takes it for
/// abandoned.
fn take_place(parent: &Path) -> Result<(PathBuf, Locked), GitError> {
    let name = format!("{}-{:08x}", std::process::id(), getrandom::u32().unwrap_or_default());
    let (unfinished, place) = (parent.join(format!("{UNFINISHED}{name}")), parent.join(name));
    fs::create_dir(&unfinished).map_err(GitError::io("make directory", &unfinished))?;
    let lock_path = unfinished.join("lock");
    let lock = File::create(&lock_path).map_err(GitError::io("make", &lock_path))?;
    lock.lock().map_err(GitError::io("lock", &lock_path))?;
    let lock = Locked::new(lock);
    fs::rename(&unfinished, &place).map_err(GitError::io("make directory", &place))?;
    Ok((place, lock))
}

/// Removes the places that no process has locked. What fails is left for the next time.
fn remove_abandoned(parent: &Path) {
    let Ok(entries) = fs::read_dir(parent) else { return };
    for entry in entries.flatten().filter(|entry| !entry.file_name().to_string_lossy().starts_with(UNFINISHED)) {
        let Ok(lock) = File::open(entry.path().join("lock")) else { continue };
        if lock.try_lock().is_ok() {
            let lock = Locked::new(lock);
            drop(remove_directory(&entry.path()));
            drop(lock);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::git::tests::support::*;

    #[test]
    fn a_clean_tree_is_the_commit_alone_each_time_and_leaves_nothing() {
        let repo = Repo::new();
        let first = repo.write("a", "1").commit("first");
        repo.write("b", "2").commit("second");
        fs::write(repo.path().join("untracked"), "").unwrap();
        let parent = tempfile::tempdir().unwrap();
        // What a killed run has left, with a directory that cannot be entered.
        let abandoned = parent.path().join("1-00000000");
        fs::create_dir_all(abandoned.join("tree/locked")).unwrap();
        fs::write(abandoned.join("lock"), "").unwrap();
        let source = Watched::open(repo.path()).unwrap();
        let mut clean = CleanTree::new(&source, first, parent.path()).unwrap();
        for _ in 0..2 {
            clean.bring(SourceNeeds::NOTHING).unwrap();
            let mut names: Vec<_> =
                fs::read_dir(clean.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
            names.sort_unstable();
            assert_eq!(names, [".git", "a"]);
            fs::write(clean.path().join("a"), "changed").unwrap();
            fs::create_dir(clean.path().join("product")).unwrap();
        }
        // Another run beside it takes nothing away.
        drop(CleanTree::new(&source, first, parent.path()).unwrap());
        assert!(clean.path().exists() && !abandoned.exists());
        drop(clean);
        assert_eq!(fs::read_dir(parent.path()).unwrap().count(), 0);
    }
}
