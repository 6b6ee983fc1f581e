//! Real repositories for tests, made by the `git` program in a sealed environment.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use git2::{ObjectFormat, ObjectType};
use tempfile::TempDir;

use crate::git::hash::id_of;
use crate::git::{PackStore, Watched};
use crate::model::CommitId;

/// A repository in a temporary directory of its own, with a work tree.
pub(crate) struct Repo {
    root: TempDir,
    path: PathBuf,
}

impl Repo {
    pub(crate) fn new() -> Self {
        Self::with(&[])
    }

    /// A repository made by `git init` with these arguments.
    pub(crate) fn with(arguments: &[&str]) -> Self {
        let root = TempDir::new().unwrap();
        let path = root.path().join("repo");
        fs::create_dir(&path).unwrap();
        let repo = Self { root, path };
        let mut words = vec!["init", "--quiet", "--initial-branch=main"];
        words.extend(arguments);
        repo.git(&words);
        repo
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// A path beside the repository, removed with it.
    pub(crate) fn beside(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }

    pub(crate) fn git(&self, arguments: &[&str]) -> String {
        git_in(&self.path, arguments)
    }

    /// Runs git with this input and returns its output, whatever the exit code.
    pub(crate) fn git_with(&self, arguments: &[&str], input: &[u8]) -> Vec<u8> {
        let file = self.beside("input");
        fs::write(&file, input).unwrap();
        let mut command = Command::new("git");
        sealed(command.current_dir(&self.path)).args(arguments).stdin(fs::File::open(&file).unwrap());
        command.output().unwrap().stdout
    }

    pub(crate) fn write(&self, file: &str, content: impl AsRef<[u8]>) -> &Self {
        let path = self.path.join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
        self
    }

    /// Commits everything in the work tree.
    pub(crate) fn commit(&self, subject: &str) -> CommitId {
        self.git(&["add", "--all"]);
        self.git(&["commit", "--quiet", "--allow-empty", "--message", subject]);
        self.head()
    }

    pub(crate) fn head(&self) -> CommitId {
        self.git(&["rev-parse", "HEAD"]).parse().unwrap()
    }

    pub(crate) fn watched(&self) -> Watched {
        Watched::open(&self.path).unwrap()
    }

    /// An empty store for commits of this repository.
    pub(crate) fn store(&self, like: CommitId) -> PackStore {
        PackStore::open(&self.beside("store"), like).unwrap()
    }

    /// Stores an object unchanged, however wrong, and returns its id.
    pub(crate) fn raw_object(&self, kind: &str, content: &[u8]) -> String {
        let file = self.beside("raw-object");
        fs::write(&file, content).unwrap();
        self.git(&["hash-object", "--literally", "-w", "-t", kind, file.to_str().unwrap()])
    }

    /// Makes a commit of a tree with these entries, unchanged: mode, name, id.
    pub(crate) fn raw_commit(&self, entries: &[(&str, &[u8], &str)]) -> CommitId {
        let tree = self.raw_tree(entries);
        self.git(&["commit-tree", "-m", "made by hand", &tree]).parse().unwrap()
    }

    /// Puts the tree below that many directories called `d`, and returns the uppermost. Starts git once.
    pub(crate) fn deep_tree(&self, mut tree: String, depth: usize) -> String {
        let mut paths = String::new();
        for at in 0..depth {
            let content = [b"40000 d\0", tree.parse::<CommitId>().unwrap().as_bytes()].concat();
            let path = self.beside(&format!("tree-{at}"));
            fs::write(&path, &content).unwrap();
            paths += &format!("{}\n", path.display());
            tree = id_of(ObjectFormat::Sha1, ObjectType::Tree, &content).to_string();
        }
        let ids = self.git_with(&["hash-object", "--literally", "-w", "-t", "tree", "--stdin-paths"], paths.as_bytes());
        assert!(ids.ends_with(format!("{tree}\n").as_bytes()));
        tree
    }

    pub(crate) fn raw_tree(&self, entries: &[(&str, &[u8], &str)]) -> String {
        let mut content = Vec::new();
        for (mode, name, id) in entries {
            content.extend_from_slice(mode.as_bytes());
            content.push(b' ');
            content.extend_from_slice(name);
            content.push(0);
            content.extend_from_slice(id.parse::<CommitId>().unwrap().as_bytes());
        }
        self.raw_object("tree", &content)
    }
}

/// Runs git without any configuration of the machine or the user, and with a fixed identity.
pub(crate) fn git_in(directory: &Path, arguments: &[&str]) -> String {
    let output = sealed(Command::new("git").current_dir(directory)).args(arguments).output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "git {arguments:?}: {errors}");
    String::from_utf8(output.stdout).unwrap().trim_end().to_owned()
}

/// Takes the machine's and the user's configuration of git away from a command, and gives it an identity.
pub(crate) fn sealed(command: &mut Command) -> &mut Command {
    command.env_clear().env("PATH", std::env::var_os("PATH").unwrap()).env("HOME", "/nonexistent");
    command.env("GIT_CONFIG_GLOBAL", "/dev/null").env("GIT_CONFIG_NOSYSTEM", "1");
    for (role, date) in [("AUTHOR", "2026-01-02T03:04:05Z"), ("COMMITTER", "2026-01-02T03:04:05Z")] {
        command.env(format!("GIT_{role}_NAME"), "A U Thor").env(format!("GIT_{role}_EMAIL"), "author@example.com");
        command.env(format!("GIT_{role}_DATE"), date);
    }
    command
}

/// Returns the whole pack as one piece of bytes.
pub(crate) fn pack_of(watched: &Watched, commits: &[CommitId], haves: &[CommitId]) -> Vec<u8> {
    let mut pack = Vec::new();
    watched
        .pack(commits, haves, &mut |piece| {
            pack.extend_from_slice(piece);
            true
        })
        .unwrap();
    pack
}

/// Returns the number of objects that a pack announces.
pub(crate) fn objects_in(pack: &[u8]) -> u32 {
    u32::from_be_bytes(pack[8..12].try_into().unwrap())
}

/// Sends a commit from a watched repository to a store.
pub(crate) fn deliver(watched: &Watched, store: &PackStore, commit: CommitId, haves: &[CommitId]) {
    let mut receiver = store.receive().unwrap();
    receiver.write(&pack_of(watched, &[commit], haves)).unwrap();
    receiver.finish(commit, false).unwrap();
}
