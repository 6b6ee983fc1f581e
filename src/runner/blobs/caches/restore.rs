//! Restores a cache: writes what is among the runner's copies, and receives the rest. If anything is wrong, or missing,
//! nothing stays: a part of a cache could be worse than none.

use std::fs;
use std::io;
use std::path::PathBuf;

use super::super::collect::ArtifactLimits;
use super::super::copying::Copying;
use super::super::download::DownloadError;
use super::super::fetch::{BlobSource, Fetch};
use super::super::placing::total_bytes;
use super::super::routes::CacheOffer;
use super::super::wanted_file::WantedFile;
use super::places::{CachePlaces, Root};
use super::question::{Asking, PATIENCE};
use crate::blobs::{Entry, EntryKind, read_manifest};
use crate::error_chain::chain;
use crate::git::remove_directory;

/// Why a cache was not restored.
#[derive(Debug)]
pub(super) enum NotRestored {
    Cancelled,
    /// In words for people.
    Problem(String),
}

impl NotRestored {
    fn of(what: &str, error: &dyn std::error::Error) -> Self {
        Self::Problem(format!("{what}: {}", chain(error)))
    }
}

/// The means to restore a cache.
pub(super) struct Restore<'a> {
    pub(super) asking: Asking<'a>,
    pub(super) copying: &'a Copying,
    pub(super) limits: ArtifactLimits,
    /// Bytes that the disk has room for.
    pub(super) room: u64,
    pub(super) places: &'a CachePlaces,
}

impl Restore<'_> {
    /// Restores a cache that the dispatcher has. Returns the number of bytes of its files that were received.
    pub(super) fn run(&self, offer: &CacheOffer) -> Result<u64, NotRestored> {
        let entries = self.entries(offer)?;
        let bytes = total_bytes(&entries);
        let Some(room) = self.room.checked_sub(bytes) else {
            let (needed, room) = (bytes >> 20, self.room >> 20);
            return Err(NotRestored::Problem(format!(
                "it needs {needed} MiB, and the runner's disk has {room} MiB to spare"
            )));
        };
        let missing = self.missing_paths();
        let placed = self.place(&entries, room);
        if placed.is_err() {
            missing.iter().for_each(|path| remove(path));
            // Such a directory is the attempt's own, and was new.
            let own = self.places.roots().iter().filter(|root| root.is_own());
            own.flat_map(|root| entries_in(&root.path)).for_each(|path| remove(&path));
        }
        placed
    }

    /// Returns the entries of a cache, all of them in its places.
    fn entries(&self, offer: &CacheOffer) -> Result<Vec<Entry>, NotRestored> {
        let texts = self.source().manifests(&self.copying.copies, &[offer.manifest]);
        let texts = texts.map_err(|error| not_received(error, &|_| "a manifest"))?;
        let text = texts.into_iter().next().unwrap_or_default();
        let mut entries = Vec::new();
        let mut wrong = None;
        let read = read_manifest(text.as_slice(), &mut |entry| {
            if wrong.is_none() {
                wrong = self.wrong(&entry, entries.len() as u64);
                entries.push(entry);
            }
            Ok(())
        });
        read.map_err(|error| NotRestored::of("its manifest cannot be used", &error))?;
        match wrong {
            Some(why) => Err(NotRestored::Problem(why)),
            None => Ok(entries),
        }
    }

    /// Returns why an entry is not restored. A manifest may come from anybody.
    fn wrong(&self, entry: &Entry, count: u64) -> Option<String> {
        if count >= self.limits.files {
            return Some(format!("it has more than {} files (--artifact-files of the runner)", self.limits.files));
        }
        let Some((root, below)) = self.places.locate(&entry.path) else {
            return Some(format!("its entry `{}` is none of its paths", entry.path));
        };
        match &entry.kind {
            EntryKind::Link { target } if !root.holds_link(below, target) => {
                Some(format!("its entry `{}` is a symbolic link out of it, to `{target}`", entry.path))
            }
            EntryKind::Link { .. } | EntryKind::File { .. } | EntryKind::EmptyDirectory => None,
        }
    }

    fn source(&self) -> BlobSource<'_> {
        let Asking { attempt, reports, cancelled } = self.asking;
        BlobSource { attempt, reports, cancelled, patience: Some(PATIENCE) }
    }

    /// Returns the cached paths of the work tree that are not there, which are removed again if the cache is not
    /// restored.
    fn missing_paths(&self) -> Vec<PathBuf> {
        let of_root = |root: &Root| -> Vec<PathBuf> {
            root.below.iter().filter(|path| !root.is_taken(path)).map(|path| root.path.join(path)).collect()
        };
        self.places.roots().iter().flat_map(of_root).collect()
    }

    /// Writes the entries. What is there already stays: a file of the commit, or one that another task left. Returns
    /// the number of bytes that were received. Copies have `room`.
    fn place(&self, entries: &[Entry], room: u64) -> Result<u64, NotRestored> {
        let (mut files, mut others) = (Vec::new(), Vec::new());
        for entry in entries {
            let is_wanted = |root: &Root, path: &str| !root.is_in_repository(path) && !root.is_taken(path);
            let Some((root, path)) = self.places.locate(&entry.path).filter(|(root, path)| is_wanted(root, path))
            else {
                continue;
            };
            let Entry { mtime_ns, .. } = *entry;
            match &entry.kind {
                EntryKind::File { blob, bytes, executable } => files.push(WantedFile {
                    root: &root.directory,
                    path,
                    blob: *blob,
                    bytes: *bytes,
                    executable: *executable,
                    mtime_ns,
                    is_passing: root.is_own(),
                }),
                EntryKind::Link { target } => others.push((root, path, Some(target), mtime_ns)),
                EntryKind::EmptyDirectory => others.push((root, path, None, mtime_ns)),
            }
        }
        let fetch = Fetch { source: self.source(), copying: self.copying, files: &files, room };
        let placed = fetch.run().map_err(|error| not_received(error, &|at| files[at].path)).and_then(|received| {
            for (root, path, link, mtime_ns) in &others {
                let made = match link {
                    Some(target) => root.directory.make_link(path, target, *mtime_ns),
                    None => root.directory.make_directory(path, *mtime_ns),
                };
                made.map_err(|error| NotRestored::of(&format!("could not write `{path}`"), &error))?;
            }
            Ok(received)
        });
        if placed.is_err() {
            // The error is ignored: most of them were not written. Directories are left.
            files.iter().for_each(|file| drop(file.root.remove(file.path)));
            others.iter().for_each(|(root, path, ..)| drop(root.directory.remove(path)));
        }
        placed
    }
}

/// `path` has the path of each place that the error may name.
fn not_received<'p>(error: DownloadError, path: &dyn Fn(usize) -> &'p str) -> NotRestored {
    match error {
        DownloadError::Cancelled => NotRestored::Cancelled,
        DownloadError::Missing { reason, .. } => NotRestored::Problem(reason),
        DownloadError::Write { at, error } => NotRestored::of(&format!("could not write `{}`", path(at)), &error),
        DownloadError::Lost(reason) => NotRestored::Problem(reason.to_string()),
    }
}

fn entries_in(directory: &std::path::Path) -> Vec<PathBuf> {
    fs::read_dir(directory).into_iter().flatten().flatten().map(|entry| entry.path()).collect()
}

fn remove(path: &std::path::Path) {
    let is_directory = fs::symlink_metadata(path).is_ok_and(|meta| meta.is_dir());
    let removed = if is_directory { remove_directory(path) } else { fs::remove_file(path) };
    match removed {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            log::warn!("a part of a cache cannot be removed from {}: {error}", path.display());
        }
        Ok(()) | Err(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use crossbeam_channel::{bounded, never};

    use super::super::super::collect::KeptTree;
    use super::super::super::repositories::Repositories;
    use super::*;
    use crate::blobs::{BlobCopies, sum, write_manifest};
    use crate::model::{AttemptId, BlobId, CacheKey, CacheRule};

    const LIMITS: ArtifactLimits = ArtifactLimits { files: 4, bytes: 1 << 20 };

    fn keep(copies: &BlobCopies, bytes: &[u8]) -> BlobId {
        let (id, _) = sum(bytes).unwrap();
        copies.keep_text(id, bytes).unwrap();
        id
    }

    /// Restores this manifest, all of which is among the copies, into `target` of a tree. A question to the dispatcher
    /// would count as a cancel.
    fn restored(place: &Path, manifest: &[u8], room: u64) -> Result<u64, String> {
        let copies = BlobCopies::open(place.join("copies"), 1 << 20);
        let tree = place.join("tree");
        fs::create_dir_all(&tree).unwrap();
        let rule = CacheRule { key: Vec::new(), paths: vec!["target".into()] };
        let repositories = Repositories::of(["target/sub"]);
        let kept = KeptTree { path: &tree, repositories: &repositories };
        let places = CachePlaces::of(&rule, kept, &[]).unwrap();
        let (reports, cancelled) = (bounded(1).0, never());
        let asking = Asking { attempt: AttemptId(1), reports: &reports, cancelled: &cancelled };
        let (key, manifest) = (CacheKey::of(BlobId([1; 32])), keep(&copies, manifest));
        let (from, scope) = (String::new(), String::new());
        let offer = CacheOffer { key, manifest, is_exact: true, files: 1, bytes: 1, from, scope };
        let copying = Copying::new(copies, std::sync::Arc::new(|| true));
        match (Restore { asking, copying: &copying, limits: LIMITS, room, places: &places }).run(&offer) {
            Ok(received) => Ok(received),
            Err(NotRestored::Problem(why)) => Err(why),
            Err(NotRestored::Cancelled) => Err("asked".into()),
        }
    }

    fn manifest(entries: &[(&str, EntryKind)]) -> Vec<u8> {
        let entry = |(path, kind): &(&str, EntryKind)| Entry { path: (*path).into(), mtime_ns: 1, kind: kind.clone() };
        let entries: Vec<Entry> = entries.iter().map(entry).collect();
        let mut text = Vec::new();
        write_manifest(&entries, &mut text).unwrap();
        text
    }

    /// S45: nothing of a manifest is restored if one of its entries is none of the cache's.
    #[test]
    fn a_manifest_with_an_entry_elsewhere_restores_nothing() {
        let place = tempfile::tempdir().unwrap();
        let link = |target: &str| EntryKind::Link { target: target.into() };
        let fine = ("tree/target/a", EntryKind::EmptyDirectory);
        for (entry, why) in [
            (("tree/x", EntryKind::EmptyDirectory), "its entry `tree/x` is none of its paths"),
            (("tree/targets/x", EntryKind::EmptyDirectory), "is none of its paths"),
            (("zzz/x", EntryKind::EmptyDirectory), "is none of its paths"),
            (("tree/target/../x", EntryKind::EmptyDirectory), "its manifest cannot be used"),
            (("tree/target/b", link("/etc/passwd")), "its manifest cannot be used"),
            (("tree/target/b", link("../../x")), "is a symbolic link out of it, to `../../x`"),
        ] {
            let text = restored(place.path(), &manifest(&[fine.clone(), entry.clone()]), 100).unwrap_err();
            assert!(text.contains(why), "{entry:?}: {text}");
        }
        let names = ["a", "b", "c", "d", "e"].map(|name| format!("tree/target/{name}"));
        let many: Vec<(&str, EntryKind)> = names.iter().map(|name| (&**name, EntryKind::EmptyDirectory)).collect();
        assert!(restored(place.path(), &manifest(&many), 100).unwrap_err().contains("more than 4 files"));
        assert!(restored(place.path(), b"no manifest\n", 100).unwrap_err().contains("its manifest cannot be used"));
        assert_eq!(entries_in(&place.path().join("tree")), [] as [PathBuf; 0]);
        assert_eq!(restored(place.path(), &manifest(&[fine]), 100), Ok(0));
    }

    #[test]
    fn all_of_a_cache_is_restored_or_nothing_and_no_file_is_replaced() {
        let place = tempfile::tempdir().unwrap();
        let copies = BlobCopies::open(place.path().join("copies"), 1 << 20);
        let (one, two) = (keep(&copies, b"one"), keep(&copies, b"two!"));
        let file = |blob, bytes| EntryKind::File { blob, bytes, executable: false };
        let both = manifest(&[("tree/target/a", file(one, 3)), ("tree/target/sub/b", file(two, 4))]);
        let target = place.path().join("tree/target");
        let why = restored(place.path(), &both, 6).unwrap_err();
        assert!(why.contains("disk has 0 MiB to spare") && !target.exists(), "{why}");
        assert_eq!(restored(place.path(), &both, 7), Ok(0));
        assert_eq!(fs::read(target.join("sub/b")).unwrap(), b"two!");
        // Files of the commit stay, and so do those beside the cache's own.
        fs::write(target.join("a"), "of the commit").unwrap();
        fs::remove_dir_all(target.join("sub")).unwrap();
        assert_eq!(restored(place.path(), &both, 7), Ok(0));
        assert_eq!(fs::read(target.join("a")).unwrap(), b"of the commit");
        assert!(target.join("sub/b").exists());
        // Of a copy that is damaged nothing stays, nor of those before it: it has to be received first.
        fs::remove_dir_all(&target).unwrap();
        let name = two.to_string();
        fs::write(place.path().join("copies").join(&name[..2]).join(&name[2..]), "tw0!").unwrap();
        assert_eq!(restored(place.path(), &both, 7), Err("asked".into()));
        assert!(!target.exists());
        // Nor beside the files of the commit.
        fs::create_dir(&target).unwrap();
        fs::write(target.join("z"), "of the commit").unwrap();
        assert_eq!(restored(place.path(), &both, 7), Err("asked".into()));
        assert!(!target.join("a").exists() && !target.join("sub/b").exists() && target.join("z").exists());
        fs::remove_dir_all(&target).unwrap();
        // A cache that an attempt without submodules saved changes no repository of one with them.
        let foreign = manifest(&[("tree/target/b", file(one, 3)), ("tree/target/sub/.git/hooks/x", file(two, 4))]);
        assert_eq!(restored(place.path(), &foreign, 7), Ok(0));
        assert!(target.join("b").exists() && !target.join("sub").exists());
        fs::remove_dir_all(&target).unwrap();
        // Nothing is written through a link.
        std::os::unix::fs::symlink(place.path(), &target).unwrap();
        keep(&copies, b"two!");
        assert!(restored(place.path(), &both, 7).is_err());
        assert!(!place.path().join("a").exists());
    }
}
