//! The places of one cache: the paths of its rule that this attempt has, each with the directory in which it lies.
//!
//! An entry of a cache's manifest has a path that begins with its place: `tree/target/debug/x` is below the work tree,
//! `home/.cargo/registry/x` below the home directory. A path below the home directory has a directory of the attempt's
//! own, which its view shows there: what other attempts left at home is not saved, and what is restored is seen by no
//! other attempt.

use std::fs::{self, File};
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use rustix::fs::Stat;

use super::super::collect::KeptTree;
use super::super::repositories::Repositories;
use crate::blobs::{TreeDirectory, stays_inside};
use crate::model::CacheRule;

/// The beginnings of the paths of entries.
const TREE: &str = "tree";
const HOME: &str = "home";

/// The paths of a cache.
#[derive(Debug)]
pub(super) struct CachePlaces {
    roots: Vec<Root>,
}

/// A directory in which paths of a cache lie.
#[derive(Debug)]
pub(super) struct Root {
    /// The beginning of the paths of its entries, without a slash at its end.
    prefix: String,
    pub(super) path: PathBuf,
    pub(super) directory: Arc<TreeDirectory>,
    /// The cached paths below it; empty if all of it is cached.
    pub(super) below: Vec<String>,
    /// Nothing in them is saved or restored.
    repositories: Repositories,
}

/// A directory that an attempt sees in the place of one below its home directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct HomeDirectory {
    /// The path below the home directory.
    pub(crate) below: String,
    /// The directory itself.
    pub(crate) path: PathBuf,
}

impl CachePlaces {
    /// The places of a rule for an attempt in this work tree, with these directories below its home directory. A path
    /// below the home directory that is not among them is left out.
    pub(super) fn of(rule: &CacheRule, tree: KeptTree<'_>, homes: &[HomeDirectory]) -> io::Result<Self> {
        let mut roots = Vec::new();
        for below in rule.home_paths() {
            if let Some(home) = homes.iter().find(|home| home.below == below) {
                let directory = Arc::new(TreeDirectory::open_adding(&home.path)?);
                let prefix = format!("{HOME}/{below}");
                let (below, repositories) = (Vec::new(), Repositories::default());
                roots.push(Root { prefix, path: home.path.clone(), directory, below, repositories });
            }
        }
        let below: Vec<String> = rule.tree_paths().map(str::to_owned).collect();
        if !below.is_empty() {
            let directory = Arc::new(TreeDirectory::open_adding(tree.path)?);
            let (path, repositories) = (tree.path.to_owned(), tree.repositories.clone());
            roots.push(Root { prefix: TREE.to_owned(), path, directory, below, repositories });
        }
        Ok(Self { roots })
    }

    pub(super) fn roots(&self) -> &[Root] {
        &self.roots
    }

    /// The cached paths, as entries have them.
    pub(super) fn names(&self) -> impl Iterator<Item = String> {
        self.roots.iter().flat_map(|root| {
            let all = root.below.is_empty().then(|| root.prefix.clone());
            all.into_iter().chain(root.below.iter().map(|below| root.entry(below)))
        })
    }

    /// Returns a cached path as its task names it.
    pub(super) fn told(name: &str) -> String {
        let below = |place: &str| name.strip_prefix(place).and_then(|rest| rest.strip_prefix('/'));
        match (below(TREE), below(HOME)) {
            (Some(path), _) => path.to_owned(),
            (None, Some(path)) => format!("{}{path}", CacheRule::HOME),
            (None, None) => name.to_owned(),
        }
    }

    /// Returns the directory of an entry, and the entry's path in it; `None` if the path is not one of this cache.
    pub(super) fn locate<'p>(&self, entry: &'p str) -> Option<(&Root, &'p str)> {
        self.roots.iter().find_map(|root| {
            let below = entry.strip_prefix(&root.prefix)?.strip_prefix('/')?;
            root.has(below).then_some((root, below))
        })
    }

    /// Opens the file of an entry for reading.
    pub(super) fn open(&self, entry: &str) -> io::Result<(File, Stat)> {
        let (root, below) = self.locate(entry).ok_or(io::ErrorKind::NotFound)?;
        root.directory.file(below)
    }
}

impl Root {
    /// Whether it is a directory of the attempt's own, which ends with it.
    pub(super) fn is_own(&self) -> bool {
        self.below.is_empty()
    }

    /// Returns the path of an entry.
    pub(super) fn entry(&self, below: &str) -> String {
        format!("{}/{below}", self.prefix)
    }

    /// Whether a path in the directory is cached.
    pub(super) fn has(&self, path: &str) -> bool {
        self.below.is_empty() || self.below.iter().any(|below| is_at_or_in(path, below))
    }

    /// Whether a path is in a repository that the runner makes anew for each attempt.
    pub(super) fn is_in_repository(&self, path: &str) -> bool {
        self.repositories.have(path)
    }

    /// Whether something in this directory of it may be cached.
    pub(super) fn may_have_in(&self, directory: &str) -> bool {
        if self.is_in_repository(directory) {
            return false;
        }
        self.has(directory) || self.below.iter().any(|below| is_at_or_in(below, directory))
    }

    /// Whether a symbolic link at this path stays in the directory.
    pub(super) fn holds_link(&self, path: &str, target: &str) -> bool {
        stays_inside(path, target)
    }

    /// Whether there is something at this path, or in place of a directory above it.
    pub(super) fn is_taken(&self, path: &str) -> bool {
        !matches!(fs::symlink_metadata(self.path.join(path)), Err(error) if error.kind() == io::ErrorKind::NotFound)
    }
}

fn is_at_or_in(path: &str, directory: &str) -> bool {
    path.strip_prefix(directory).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// S45: an entry lies at or below a path of the rule, whatever a manifest says.
    #[test]
    fn an_entry_is_found_in_its_place_and_nowhere_else() {
        let (tree, own) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let paths = ["target", "web/node_modules", "~/.cargo/registry", "~/.m2"].map(str::to_owned).into();
        let rule = CacheRule { key: Vec::new(), paths };
        let homes = [HomeDirectory { below: ".cargo/registry".into(), path: own.path().to_owned() }];
        let repositories = Repositories::of(["target/sub"]);
        let kept = KeptTree { path: tree.path(), repositories: &repositories };
        let places = CachePlaces::of(&rule, kept, &homes).unwrap();
        let names: Vec<String> = places.names().collect();
        assert_eq!(
            names,
            ["home/.cargo/registry", "tree/target", "tree/web/node_modules"],
            "what is not there is left out"
        );
        let found = |entry: &str| places.locate(entry).map(|(root, below)| root.path.join(below));
        assert_eq!(found("tree/target/debug/x"), Some(tree.path().join("target/debug/x")));
        assert_eq!(found("tree/target"), Some(tree.path().join("target")));
        assert_eq!(found("home/.cargo/registry/index/a"), Some(own.path().join("index/a")));
        for other in
            ["tree/targets", "tree/src/x", "tree", "home/.cargo/registry", "home/.cargo/bin/x", "home/.m2/x", "x"]
        {
            assert_eq!(found(other), None, "{other}");
        }
        let told: Vec<String> = places.names().map(|name| CachePlaces::told(&name)).collect();
        assert_eq!(told, ["~/.cargo/registry", "target", "web/node_modules"]);
        let root = &places.roots()[1];
        let may =
            ["target", "web", "web/src", "src", "target/sub", "target/sub/.git"].map(|path| root.may_have_in(path));
        assert_eq!(may, [true, true, false, false, true, false]);
    }
}
