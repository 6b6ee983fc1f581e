//! The key of a cache: a hash of everything that its content depends on.

use std::env::consts::{ARCH, OS};

use super::super::collect::{Globs, KeptTree};
use super::super::hashing::hash;
use super::places::CachePlaces;
use crate::blobs::{Found, FoundKind, PathTrouble, TreeDirectory, sum};
use crate::error_chain::chain;
use crate::model::{CacheKey, CacheRule, Recipe, TaskName};

/// The most files whose contents are in a key, and the most bytes of all of them.
const MAX_KEY_FILES: usize = 10_000;
const MAX_KEY_BYTES: u64 = 1 << 30;
/// Files that are named to people.
const TOLD_FILES: usize = 20;
/// Digits of the hash of a file that are told.
const TOLD_DIGITS: usize = 12;

/// The key of a cache, and what it was made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Named {
    pub(super) family: CacheKey,
    pub(super) key: CacheKey,
    /// Lines for people.
    pub(super) about: String,
    /// The globs that match no file.
    pub(super) idle: Vec<String>,
}

/// Returns the key of a cache of this task. An error is for people.
pub(super) fn key_of(
    rule: &CacheRule,
    places: &CachePlaces,
    (recipe, task): (&Recipe, &TaskName),
    tree: KeptTree<'_>,
) -> Result<Named, String> {
    let cell = task.split_once('@').map(|(_, cell)| cell).unwrap_or_default();
    let image = recipe.image.as_deref().unwrap_or_default();
    // Bytes that no part has end each part.
    let mut text = format!("surveil cache 1\0{OS}\0{ARCH}\0{cell}\0{image}\0");
    let paths: Vec<String> = places.names().collect();
    paths.iter().for_each(|path| text.extend([path.as_str(), "\0"]));
    let failed = |error: std::io::Error| error.to_string();
    let family = CacheKey::of(sum(text.as_bytes()).map_err(failed)?.0);
    let mut about = vec![format!("{OS} {ARCH}")];
    about.extend(Some(format!("matrix cell {cell}")).filter(|_| !cell.is_empty()));
    about.extend(Some(format!("image {image}")).filter(|_| !image.is_empty()));
    let told: Vec<String> = paths.iter().map(|path| CachePlaces::told(path)).collect();
    about.push(format!("paths {}", told.join(" ")));
    let (files, idle) = key_files(rule, tree)?;
    text.push('\0');
    for (at, (path, content)) in files.iter().enumerate() {
        text.extend([path.as_str(), "\0", content.as_str(), "\0"]);
        if at < TOLD_FILES {
            let digits = &content[..content.floor_char_boundary(TOLD_DIGITS)];
            about.push(format!("{path} {digits}"));
        }
    }
    if files.len() > TOLD_FILES {
        about.push(format!("and {} more files", files.len() - TOLD_FILES));
    }
    let key = CacheKey::of(sum(text.as_bytes()).map_err(failed)?.0);
    Ok(Named { family, key, about: about.join("\n"), idle })
}

/// Why the files of a key cannot be read, for people.
struct Unreadable(String);

impl From<PathTrouble> for Unreadable {
    fn from(trouble: PathTrouble) -> Self {
        Self(chain(&trouble))
    }
}

/// A file, and its content in a word.
type KeyFile = (String, String);

/// Returns the files that the globs of a key match, each with its content in a word, and the globs without a match.
fn key_files(rule: &CacheRule, tree: KeptTree<'_>) -> Result<(Vec<KeyFile>, Vec<String>), String> {
    let root = TreeDirectory::open(tree.path).map_err(|error| format!("could not open the work tree: {error}"))?;
    let (mut globs, pruning) = (Globs::new(&rule.key), Globs::new(&rule.key));
    let mut found: Vec<Found> = Vec::new();
    let walked = tree.walk::<Unreadable>(&root, &pruning, &mut |one| {
        if matches!(one.kind, FoundKind::File { .. } | FoundKind::Link { target: Some(_) }) && globs.take(&one.path) {
            if found.len() == MAX_KEY_FILES {
                return Err(Unreadable(format!("its key has more than {MAX_KEY_FILES} files")));
            }
            found.push(one);
        }
        Ok(())
    });
    walked.map_err(|Unreadable(why)| why)?;
    let mut left = MAX_KEY_BYTES;
    let mut files = Vec::with_capacity(found.len());
    for Found { path, kind, .. } in found {
        let content = if let FoundKind::Link { target: Some(target) } = kind {
            format!("-> {target}")
        } else {
            let bytes = root.file(&path).map_or(0, |(_, stat)| u64::try_from(stat.st_size).unwrap_or(u64::MAX));
            left = left
                .checked_sub(bytes)
                .ok_or_else(|| format!("the files of its key have more than {MAX_KEY_BYTES} bytes"))?;
            hash(&|path| root.file(path), &path)?.0.to_string()
        };
        files.push((path, content));
    }
    Ok((files, globs.idle()))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use super::super::super::repositories::Repositories;
    use super::*;
    use crate::model::Script;

    fn key(tree: &Path, globs: &[&str], task: &str, recipe: &Recipe) -> Named {
        let rule =
            CacheRule { key: globs.iter().map(|glob| (*glob).to_owned()).collect(), paths: vec!["target".into()] };
        let repositories = Repositories::of(["sub"]);
        let tree = KeptTree { path: tree, repositories: &repositories };
        let places = CachePlaces::of(&rule, tree, &[]).unwrap();
        key_of(&rule, &places, (recipe, &TaskName::new(task).unwrap()), tree).unwrap()
    }

    #[test]
    fn a_key_follows_the_contents_of_its_files_and_the_cell_and_nothing_else() {
        let tree = tempfile::tempdir().unwrap();
        let write = |path: &str, text: &str| fs::write(tree.path().join(path), text).unwrap();
        fs::create_dir(tree.path().join("sub")).unwrap();
        write("Cargo.lock", "1");
        write("sub/Cargo.lock", "2");
        write("other", "3");
        let plain = Recipe::new(Script::Shell("true".into()));
        let of = |task: &str| key(tree.path(), &["**/Cargo.lock", "none*"], task, &plain);
        let first = of("test");
        assert_eq!(first.idle, ["none*"]);
        let lines: Vec<&str> = first.about.lines().collect();
        assert_eq!((lines[1], lines.len()), ("paths target", 4), "{lines:?}");
        assert!(lines[2].starts_with("Cargo.lock ") && lines[3].starts_with("sub/Cargo.lock "), "{lines:?}");
        write("other", "4");
        fs::create_dir(tree.path().join("sub/.git")).unwrap();
        write("sub/.git/Cargo.lock", "of a repository that the runner made");
        assert_eq!(of("lint"), first, "tasks share what has the same key");
        write("sub/Cargo.lock", "5");
        let second = of("test");
        assert!(second.family == first.family && second.key != first.key);
        let cell = of("test@os=linux");
        assert!(cell.family != first.family && cell.about.contains("\nmatrix cell os=linux\n"));
        let image = Recipe { image: Some("rust:1".into()), ..plain.clone() };
        assert_ne!(key(tree.path(), &["Cargo.lock"], "test", &image).family, first.family);
        // The boundaries between files are in the key.
        write("sub/Cargo.lock", "2");
        assert_eq!(of("test").key, first.key);
        fs::rename(tree.path().join("sub/Cargo.lock"), tree.path().join("sub/x.lock")).unwrap();
        assert_ne!(of("test").key, first.key);
    }
}
