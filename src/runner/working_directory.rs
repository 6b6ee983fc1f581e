//! The directory in which a task starts. It is the same under a dispatcher and under `surveil run`.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

/// Returns the directory below the tree, if there is one. A reason is for people: the task cannot be started.
///
/// A task can go anywhere by itself, so this is no barrier against it. It keeps a link that an earlier attempt left
/// below a kept path, or a typing mistake, from being taken for a part of the commit.
pub fn working_directory(tree: &Path, dir: Option<&str>) -> Result<PathBuf, String> {
    let Some(dir) = dir else { return Ok(tree.to_owned()) };
    let path = tree.join(dir);
    let (real, root) = match path.canonicalize().and_then(|real| Ok((real, tree.canonicalize()?))) {
        Ok(found) => found,
        Err(error) if error.kind() == ErrorKind::NotFound => {
            return Err(format!("there is no directory {dir} in the work tree"));
        }
        Err(error) => return Err(format!("the directory {dir} cannot be entered: {error}")),
    };
    if !real.starts_with(root) {
        return Err(format!("the directory {dir} is outside of the work tree: a symbolic link leads there"));
    }
    if !real.is_dir() {
        return Err(format!("{dir} in the work tree is not a directory"));
    }
    Ok(path)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn a_directory_is_taken_only_if_it_is_in_the_tree() {
        let place = tempfile::tempdir().unwrap();
        let tree = place.path().join("tree");
        fs::create_dir_all(tree.join("a/b")).unwrap();
        fs::write(tree.join("file"), "").unwrap();
        symlink("a", tree.join("inside")).unwrap();
        symlink(place.path(), tree.join("outside")).unwrap();
        symlink("nothing", tree.join("dangling")).unwrap();
        symlink("loop", tree.join("loop")).unwrap();
        let found = |dir: &str| working_directory(&tree, Some(dir));
        assert_eq!(working_directory(&tree, None), Ok(tree.clone()));
        assert_eq!((found("a/b"), found("inside/b")), (Ok(tree.join("a/b")), Ok(tree.join("inside/b"))));
        for (dir, why) in [
            ("c", "there is no directory c in the work tree"),
            ("dangling", "there is no directory dangling in the work tree"),
            ("outside", "the directory outside is outside of the work tree: a symbolic link leads there"),
            ("outside/tree/a", "the directory outside/tree/a leads through"),
            ("file", "file in the work tree is not a directory"),
            ("file/x", "the directory file/x cannot be entered: Not a directory"),
            ("loop", "the directory loop cannot be entered: "),
        ] {
            match found(dir) {
                // A way out and in again ends in the tree.
                Ok(path) => assert_eq!((dir, path), ("outside/tree/a", tree.join(dir))),
                Err(text) => assert!(text.starts_with(why), "{dir}: {text}"),
            }
        }
    }
}
