//! Collects the files of a cache when its task has passed, with the hash of each file. A cache that could not be
//! restored exactly is not saved.

use crossbeam_channel::Receiver;

use super::super::collect::ArtifactLimits;
use super::super::hashing::{CollectError, Hashing};
use super::places::CachePlaces;
use crate::blobs::{BlobCopies, Entry, EntryKind, Found, FoundKind, path_fault};
use crate::model::BlobId;

/// The files of a cache.
#[derive(Debug)]
pub(super) struct Collected {
    /// In the order of a manifest.
    pub(super) entries: Vec<Entry>,
    pub(super) bytes: u64,
    /// Paths that are no files, such as sockets, and are left out.
    pub(super) left_out: Vec<String>,
}

/// Collects what is in the places of a cache, within the limits of the runner and of the dispatcher. `copies` has the
/// place of copies for so many bytes of files.
pub(super) fn collect(
    places: &CachePlaces,
    limits: ArtifactLimits,
    max_bytes: u64,
    copies: &dyn Fn(u64) -> Option<BlobCopies>,
    cancelled: &Receiver<()>,
) -> Result<Collected, CollectError> {
    let (mut entries, mut left_out, mut bytes) = (Vec::new(), Vec::new(), 0u64);
    for root in places.roots() {
        root.directory.walk::<CollectError>(&|directory| root.may_have_in(directory), &mut |found| {
            let Found { path, mtime_ns, kind } = found;
            if !root.has(&path) || root.is_in_repository(&path) {
                return Ok(());
            }
            if entries.len() as u64 >= limits.files {
                return problem(format!("it has more than {} files (--artifact-files of the runner)", limits.files));
            }
            let entry = root.entry(&path);
            if let Some(fault) = path_fault(&entry) {
                return problem(fault);
            }
            let kind = match kind {
                FoundKind::File { executable, bytes: length } => {
                    bytes = bytes.saturating_add(length);
                    if bytes > max_bytes.min(limits.bytes) {
                        return problem(too_large(bytes, max_bytes, limits.bytes));
                    }
                    EntryKind::File { blob: BlobId([0; 32]), bytes: length, executable }
                }
                FoundKind::Link { target: Some(target) } if root.holds_link(&path, &target) => {
                    EntryKind::Link { target }
                }
                FoundKind::Link { target: Some(target) } => {
                    return problem(format!("`{path}` is a symbolic link out of it, to `{target}`"));
                }
                FoundKind::Link { target: None } => {
                    return problem(format!("`{path}` is a symbolic link whose target is not UTF-8"));
                }
                FoundKind::EmptyDirectory => EntryKind::EmptyDirectory,
                FoundKind::BadName => return problem(format!("the name of `{path}` is not UTF-8")),
                FoundKind::Special(what) => {
                    left_out.push(format!("`{path}` is {what}"));
                    return Ok(());
                }
            };
            entries.push(Entry { path: entry, mtime_ns, kind });
            Ok(())
        })?;
    }
    // They are read when it is known that all of them are few enough.
    let (open, copies) = (|path: &str| places.open(path), copies(bytes));
    Hashing { open: &open, copies: copies.as_ref(), cancelled }.run(&mut entries)?;
    entries.sort_by(|one, other| one.path.split('/').cmp(other.path.split('/')));
    Ok(Collected { entries, bytes, left_out })
}

fn problem<T>(text: String) -> Result<T, CollectError> {
    Err(CollectError::Problem(text))
}

fn too_large(bytes: u64, of_dispatcher: u64, of_runner: u64) -> String {
    let (limit, flag) = if of_dispatcher <= of_runner {
        (of_dispatcher, "half of --keep-caches of the dispatcher")
    } else {
        (of_runner, "--artifact-size of the runner")
    };
    format!("it has {} MiB or more, and at most {} MiB are saved ({flag})", bytes >> 20, limit >> 20)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::ffi::OsStringExt;
    use std::path::Path;

    use crossbeam_channel::never;

    use super::super::super::collect::KeptTree;
    use super::super::super::repositories::Repositories;
    use super::*;
    use crate::model::CacheRule;

    const LIMITS: ArtifactLimits = ArtifactLimits { files: 5, bytes: 1000 };

    fn collected(tree: &Path, max_bytes: u64) -> Result<Vec<String>, String> {
        let rule = CacheRule { key: Vec::new(), paths: vec!["target".into(), "a/b".into()] };
        let repositories = Repositories::of(["target/sub"]);
        let kept = KeptTree { path: tree, repositories: &repositories };
        let places = CachePlaces::of(&rule, kept, &[]).unwrap();
        match collect(&places, LIMITS, max_bytes, &|_| None, &never()) {
            Ok(found) => Ok(found.entries.into_iter().map(|entry| entry.path).chain(found.left_out).collect()),
            Err(CollectError::Problem(why)) => Err(why),
            Err(CollectError::Cancelled) => panic!("nobody cancels it"),
        }
    }

    #[test]
    fn a_cache_has_what_can_be_restored_and_is_not_saved_with_anything_else() {
        let tree = tempfile::tempdir().unwrap();
        let at = |path: &str| tree.path().join(path);
        assert_eq!(collected(tree.path(), 100), Ok(vec![]));
        fs::create_dir_all(at("target/empty")).unwrap();
        fs::create_dir_all(at("a/other")).unwrap();
        fs::write(at("a/b"), "file").unwrap();
        fs::write(at("a/c"), "not cached").unwrap();
        fs::write(at("target/x"), "content").unwrap();
        std::os::unix::fs::symlink("../a/c", at("target/link")).unwrap();
        fs::create_dir_all(at("target/sub/.git/hooks")).unwrap();
        fs::write(at("target/sub/.git/hooks/post-checkout"), "not cached").unwrap();
        let entries = ["tree/a/b", "tree/target/empty", "tree/target/link", "tree/target/x"];
        assert_eq!(collected(tree.path(), 100).unwrap(), entries);
        let _socket = std::os::unix::net::UnixListener::bind(at("target/socket")).unwrap();
        assert_eq!(collected(tree.path(), 100).unwrap()[4..], ["`target/socket` is a socket"]);
        let says = |text: &str| {
            let why = collected(tree.path(), 100).unwrap_err();
            assert!(why.contains(text), "{why}");
        };
        for target in ["/usr/bin/python3", "../../x"] {
            std::os::unix::fs::symlink(target, at("target/out")).unwrap();
            says("is a symbolic link out of it");
            fs::remove_file(at("target/out")).unwrap();
        }
        let odd = tree.path().join("target").join(std::ffi::OsString::from_vec(vec![b'a', 0xff]));
        fs::write(&odd, "").unwrap();
        says("is not UTF-8");
        fs::remove_file(&odd).unwrap();
        fs::write(at("target/y"), [0; 100]).unwrap();
        says("at most 0 MiB are saved (half of --keep-caches of the dispatcher)");
        fs::write(at("target/y"), [0; 10]).unwrap();
        fs::write(at("target/z"), "").unwrap();
        says("it has more than 5 files");
    }
}
