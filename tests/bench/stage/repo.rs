//! Repositories to watch, made with libgit2: commits are prepared first, so that a round only moves a ref.

use std::path::{Path, PathBuf};

use git2::{Oid, Repository, Signature, Time};

/// A repository with a main branch.
pub(crate) struct Repo {
    pub(crate) git: Repository,
    pub(crate) path: PathBuf,
}

impl Repo {
    pub(crate) fn new(path: &Path) -> Self {
        let mut options = git2::RepositoryInitOptions::new();
        options.bare(true).initial_head("main");
        let git = Repository::init_opts(path, &options).expect("a repository");
        Self { git, path: path.to_owned() }
    }

    /// A commit with this task file and beside it the entries of `others`; no ref names it yet.
    pub(crate) fn commit(&self, parent: Option<Oid>, message: &str, tasks: &str, others: &[(&str, Oid, i32)]) -> Oid {
        let mut tree = self.git.treebuilder(None).expect("a tree");
        let blob = self.git.blob(tasks.as_bytes()).expect("a blob");
        tree.insert(".surveil.toml", blob, 0o100_644).expect("an entry");
        for (name, id, mode) in others {
            tree.insert(name, *id, *mode).expect("an entry");
        }
        let tree = self.git.find_tree(tree.write().expect("a tree")).expect("a tree");
        let who = Signature::new("Ada Lovelace", "ada@example.org", &Time::new(1_700_000_000, 0)).expect("a person");
        let parent = parent.map(|id| self.git.find_commit(id).expect("a commit"));
        let parents: Vec<_> = parent.iter().collect();
        self.git.commit(None, &who, &who, message, &tree, &parents).expect("a commit")
    }

    /// A chain of commits in each of which one small file of several changes.
    pub(crate) fn chain(&self, count: usize, tasks: &str) -> Vec<Oid> {
        let readme = self.git.blob(b"A small repository.\n").expect("a blob");
        let mut commits: Vec<Oid> = Vec::new();
        for n in 0..count {
            let changed = self.git.blob(format!("this is version {n}\n").as_bytes()).expect("a blob");
            let others = [("README.md", readme, 0o100_644), ("changing.txt", changed, 0o100_644)];
            commits.push(self.commit(commits.last().copied(), &format!("change {n}"), tasks, &others));
        }
        commits
    }

    /// Moves the main branch, as `git update-ref` does.
    pub(crate) fn move_main(&self, to: Oid) {
        self.git.reference("refs/heads/main", to, true, "").expect("the ref can be written");
    }
}
