//! Finds the repository of a directory, as git does: the directory itself, or the nearest one above it that is the root
//! of a work tree or a bare repository. `GIT_CEILING_DIRECTORIES` and file systems end the way up, and `GIT_DIR` names
//! the repository of the current directory. Opens and changes nothing. Called for directories that people type.

use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use git2::Repository;

use super::watched::git_dir_of;

/// The variable that names the repository.
const GIT_DIR: &str = "GIT_DIR";

/// The place of a repository on this disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RepositoryPlace {
    pub(super) root: PathBuf,
    pub(super) location: PathBuf,
    has_tree: bool,
}

/// Reads a variable of the environment.
type Variables<'a> = &'a dyn Fn(&str) -> Option<OsString>;

impl RepositoryPlace {
    /// Finds the repository that a directory belongs to. `None` if it belongs to none, or is no directory.
    #[must_use]
    pub fn of(directory: &Path) -> Option<Self> {
        above(directory, &|name| std::env::var_os(name))
    }

    /// Finds the repository that the current directory belongs to. `GIT_DIR` and `GIT_WORK_TREE` say it for git, too. A
    /// `GIT_DIR` that names no repository from here is passed over: a hook leaves `.` in it, whatever directory its
    /// commands change to.
    #[must_use]
    pub fn here() -> Option<Self> {
        here(Path::new("."), &|name| std::env::var_os(name))
    }

    /// The root of the work tree; without one, the git directory.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// A path at which the repository can be opened. It is the root, except if only variables say that the root
    /// belongs to the repository.
    #[must_use]
    pub fn location(&self) -> &Path {
        &self.location
    }

    /// Whether the root is that of a work tree. A bare repository has none, and a git directory is in none.
    #[must_use]
    pub fn has_tree(&self) -> bool {
        self.has_tree
    }

    fn at(root: &Path, has_tree: bool) -> Self {
        Self { root: root.to_owned(), location: root.to_owned(), has_tree }
    }
}

fn here(directory: &Path, variables: Variables<'_>) -> Option<RepositoryPlace> {
    let set = |name: &str| variables(name).filter(|value| !value.is_empty());
    let named = set(GIT_DIR).and_then(|path| fs::canonicalize(directory.join(path)).ok());
    let Some(git_dir) = named.filter(|path| is_git_dir(path)) else { return above(directory, variables) };
    let directory = fs::canonicalize(directory).ok()?;
    let typed = set("GIT_WORK_TREE").and_then(|path| fs::canonicalize(directory.join(path)).ok());
    let Some(tree) = typed.or_else(|| tree_of(&git_dir, &directory)) else {
        return Some(RepositoryPlace::at(&git_dir, false));
    };
    let is_its_own = git_dir_of(&tree).is_ok_and(|found| found == git_dir);
    let location = if is_its_own { tree.clone() } else { git_dir };
    Some(RepositoryPlace { root: tree, location, has_tree: true })
}

/// The work tree of the git directory that `GIT_DIR` names, for a command in this directory; `None` for a bare one.
fn tree_of(git_dir: &Path, directory: &Path) -> Option<PathBuf> {
    let own = match Repository::open(git_dir) {
        Ok(repository) if repository.is_bare() => return None,
        Ok(repository) => repository.workdir().and_then(|tree| fs::canonicalize(tree).ok()),
        // The repository has an extension that libgit2 does not know.
        Err(_) => git_dir.parent().filter(|_| git_dir.ends_with(".git")).map(Path::to_owned),
    };
    // Like git, for which the current directory is the work tree then.
    Some(own.filter(|tree| directory.starts_with(tree)).unwrap_or_else(|| directory.to_owned()))
}

fn above(directory: &Path, variables: Variables<'_>) -> Option<RepositoryPlace> {
    let start = fs::canonicalize(directory).ok()?;
    let device = |place: &Path| fs::metadata(place).map(|metadata| metadata.dev()).ok();
    let first = device(&start).filter(|_| start.is_dir())?;
    let ceilings = variables("GIT_CEILING_DIRECTORIES").unwrap_or_default();
    let ceilings: Vec<PathBuf> =
        std::env::split_paths(&ceilings).filter_map(|ceiling| fs::canonicalize(ceiling).ok()).collect();
    let crosses = variables("GIT_DISCOVERY_ACROSS_FILESYSTEM")
        .is_some_and(|value| !matches!(value.to_string_lossy().as_ref(), "" | "0" | "false" | "no" | "off"));
    for place in start.ancestors() {
        let is_beyond = place != start && (ceilings.iter().any(|ceiling| ceiling == place));
        if is_beyond || (!crosses && device(place) != Some(first)) {
            return None;
        }
        let inner = place.join(".git");
        // A file names the git directory of a linked worktree or a submodule. An empty directory is no repository.
        if inner.is_file() || is_git_dir(&inner) {
            return Some(RepositoryPlace::at(place, true));
        }
        if is_git_dir(place) {
            return Some(RepositoryPlace::at(place, false));
        }
    }
    None
}

/// Whether git takes this directory for a git directory: that of a linked worktree names the shared one.
fn is_git_dir(place: &Path) -> bool {
    let has_head = place.join("HEAD").symlink_metadata().is_ok();
    let has_objects = place.join("objects").is_dir() && place.join("refs").is_dir();
    has_head && (has_objects || place.join("commondir").is_file())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::git::tests::support::*;

    fn real(path: &Path) -> PathBuf {
        fs::canonicalize(path).unwrap()
    }

    /// What git says of the same directory, with these variables: the root of the work tree, else the git directory.
    fn by_git(directory: &Path, set: &[(&str, &Path)]) -> Option<PathBuf> {
        let said = |question: &str| {
            let mut command = std::process::Command::new("git");
            let command = sealed(command.current_dir(directory)).args(["rev-parse", question]);
            let output = command.envs(set.iter().copied()).output().unwrap();
            let text = String::from_utf8(output.stdout).unwrap().trim_end().to_owned();
            (output.status.success() && !text.is_empty()).then(|| real(&directory.join(text)))
        };
        said("--show-toplevel").or_else(|| said("--absolute-git-dir"))
    }

    /// Repositories of every kind that a directory may be in, with directories to start at.
    fn kinds(repo: &Repo) -> Vec<PathBuf> {
        repo.write("sub/dir/file", "1").commit("first");
        let bare = repo.beside("bare.git");
        repo.git(&["clone", "--quiet", "--bare", ".", bare.to_str().unwrap()]);
        repo.git(&["worktree", "add", "--quiet", "../linked"]);
        let local = ["-c", "protocol.file.allow=always"];
        repo.git(&[&local[..], &["submodule", "--quiet", "add", bare.to_str().unwrap(), "inner"]].concat());
        fs::create_dir_all(repo.path().join("sub/empty/.git")).unwrap();
        let outside = repo.beside("outside");
        fs::create_dir(&outside).unwrap();
        let (root, linked) = (repo.path().to_owned(), repo.beside("linked"));
        vec![
            root.clone(),
            root.join("sub/dir"),
            root.join("sub/empty"),
            root.join("inner"),
            root.join("inner/sub"),
            root.join(".git/refs"),
            linked.clone(),
            linked.join("sub/dir"),
            bare.clone(),
            bare.join("objects"),
            outside,
        ]
    }

    #[test]
    fn every_directory_belongs_to_the_repository_that_git_names() {
        let repo = Repo::new();
        for directory in kinds(&repo) {
            let found = above(&directory, &|_| None).map(|place| place.root);
            assert_eq!(found, by_git(&directory, &[]), "{}", directory.display());
        }
        assert_eq!(above(&repo.path().join("sub/dir/file"), &|_| None), None, "a file is no directory");
    }

    #[test]
    fn the_way_up_ends_at_a_ceiling() {
        let repo = Repo::new();
        repo.write("sub/dir/file", "1").commit("first");
        let start = repo.path().join("sub/dir");
        for ceiling in [repo.path().join("sub"), repo.path().to_owned(), repo.beside(""), start.clone()] {
            let variables = |name: &str| (name == "GIT_CEILING_DIRECTORIES").then(|| ceiling.clone().into_os_string());
            let found = above(&start, &variables).map(|place| place.root);
            assert_eq!(found, by_git(&start, &[("GIT_CEILING_DIRECTORIES", &real(&ceiling))]), "{}", ceiling.display());
        }
    }

    #[test]
    fn git_dir_names_the_repository_of_the_current_directory() {
        let repo = Repo::new();
        let directories = kinds(&repo);
        let [root, bare, outside] = [&directories[0], &directories[8], &directories[10]];
        let linked = real(&root.join(".git/worktrees/linked"));
        let named = |directory: &Path, set: &[(&str, &Path)]| {
            let set: Vec<_> = set.iter().map(|(name, path)| (*name, path.as_os_str().to_owned())).collect();
            let variables = |name: &str| set.iter().find(|(key, _)| *key == name).map(|(_, path)| path.clone());
            here(directory, &variables).unwrap()
        };
        let dot_git = root.join(".git");
        let module = real(&root.join(".git/modules/inner"));
        for (directory, set) in [
            (root, vec![(GIT_DIR, Path::new(".git"))]),
            (outside, vec![(GIT_DIR, bare)]),
            (bare, vec![(GIT_DIR, Path::new("."))]),
            (outside, vec![(GIT_DIR, &*dot_git)]),
            (outside, vec![(GIT_DIR, &*dot_git), ("GIT_WORK_TREE", root)]),
            (&directories[6], vec![(GIT_DIR, &*linked)]),
            (&directories[3], vec![(GIT_DIR, &*module)]),
        ] {
            let place = named(directory, &set);
            assert_eq!(Some(&place.root), by_git(directory, &set).as_ref(), "{set:?}");
            let opened = Repository::open(place.location()).unwrap();
            assert_eq!(real(opened.path()), real(&directory.join(set[0].1)), "{set:?}");
        }
        // A hook of a bare repository leaves `.` in the variable.
        assert_eq!(named(&root.join("sub"), &[(GIT_DIR, Path::new("."))]).root, real(root));
    }
}
