//! Restores a cache: receives what is not among the runner's copies, and then writes all of it. If anything is wrong,
//! or missing, nothing stays: a part of a cache could be worse than none.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::PathBuf;

use super::super::collect::ArtifactLimits;
use super::super::download::{Download, DownloadError, Places, WantedBlob};
use super::super::routes::CacheOffer;
use super::places::{CachePlaces, Root};
use super::question::{Asking, PATIENCE};
use crate::blobs::{BlobCopies, CopyWriter, Entry, EntryKind, read_manifest};
use crate::error_chain::chain;
use crate::git::remove_directory;
use crate::model::BlobId;

/// The longest manifest that is read.
const MAX_MANIFEST_BYTES: u64 = 256 << 20;

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
    pub(super) copies: &'a BlobCopies,
    pub(super) limits: ArtifactLimits,
    /// Bytes that the disk has room for.
    pub(super) room: u64,
    pub(super) places: &'a CachePlaces,
}

impl Restore<'_> {
    /// Restores a cache that the dispatcher has. Returns the number of bytes of its files that were received.
    pub(super) fn run(&self, offer: &CacheOffer) -> Result<u64, NotRestored> {
        let entries = self.entries(offer)?;
        let files = files_of(&entries);
        let lacking: Vec<(BlobId, u64)> = files
            .iter()
            .map(|(blob, bytes)| (*blob, *bytes))
            .filter(|(blob, bytes)| !self.copies.has(*blob, *bytes))
            .collect();
        let received: u64 = lacking.iter().map(|(_, bytes)| bytes).sum();
        let all: u64 = entries.iter().map(bytes_of).sum();
        if received.saturating_add(all) > self.room {
            let (needed, room) = ((received + all) >> 20, self.room >> 20);
            return Err(NotRestored::Problem(format!(
                "it needs {needed} MiB, and the runner's disk has {room} MiB to spare"
            )));
        }
        self.receive(&lacking)?;
        let made = self.missing_paths();
        let placed = entries.iter().try_for_each(|entry| self.place(entry));
        if placed.is_err() {
            made.into_iter().for_each(|path| remove(&path));
        }
        if !lacking.is_empty()
            && let Err(error) = self.copies.shrink()
        {
            log::warn!("could not remove old copies of cached files: {error}");
        }
        placed.map(|()| received)
    }

    /// Returns the entries of a cache, all of them in its places.
    fn entries(&self, offer: &CacheOffer) -> Result<Vec<Entry>, NotRestored> {
        let manifest = offer.manifest;
        let mut text = Vec::new();
        // Its length is not told: a copy is as long as it is.
        let length = self.copies.length(manifest).filter(|bytes| *bytes <= MAX_MANIFEST_BYTES);
        let has_copy = match length {
            Some(bytes) => self.copies.read(manifest, bytes, &mut text).unwrap_or(false),
            None => false,
        };
        if !has_copy {
            let wanted = [WantedBlob { blob: manifest, bytes: None, limit: MAX_MANIFEST_BYTES }];
            text = self.download(&wanted, Text(Vec::new()))?.0;
            // If it cannot be kept, it is received again the next time.
            let kept = self.copies.begin().and_then(|mut copy| {
                io::Write::write_all(&mut copy, &text)?;
                self.copies.keep(manifest, copy)
            });
            kept.unwrap_or_else(|error| log::debug!("no copy of a cache's manifest: {error}"));
        }
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

    /// Receives blobs into the runner's copies.
    fn receive(&self, blobs: &[(BlobId, u64)]) -> Result<(), NotRestored> {
        let wanted: Vec<WantedBlob> =
            blobs.iter().map(|(blob, bytes)| WantedBlob { blob: *blob, bytes: Some(*bytes), limit: *bytes }).collect();
        self.download(&wanted, Copies { copies: self.copies, wanted: &wanted }).map(drop)
    }

    fn download<P: Places>(&self, wanted: &[WantedBlob], places: P) -> Result<P, NotRestored> {
        let Asking { attempt, reports, cancelled } = self.asking;
        let download = Download::new(attempt, (reports, cancelled), wanted, places).with_patience(PATIENCE);
        download.run().map_err(|error| match error {
            DownloadError::Cancelled => NotRestored::Cancelled,
            DownloadError::Missing { reason, .. } => NotRestored::Problem(reason),
            DownloadError::Write { error, .. } => NotRestored::of("the runner could not write it", &error),
            DownloadError::Lost(reason) => NotRestored::Problem(reason.to_string()),
        })
    }

    /// Returns the cached paths that are not there, which are removed again if the cache is not restored.
    fn missing_paths(&self) -> Vec<PathBuf> {
        let of_root = |root: &Root| -> Vec<PathBuf> {
            match root.below.as_slice() {
                // The directory is the attempt's own, and new.
                [] => entries_in(&root.path),
                below => below.iter().filter(|path| !root.is_taken(path)).map(|path| root.path.join(path)).collect(),
            }
        };
        self.places.roots().iter().flat_map(of_root).collect()
    }

    /// Writes one entry. What is there already stays: a file of the commit, or one that another task left.
    fn place(&self, entry: &Entry) -> Result<(), NotRestored> {
        let Some((root, below)) = self.places.locate(&entry.path) else { return Ok(()) };
        if root.is_taken(below) {
            return Ok(());
        }
        let failed = |error: io::Error| NotRestored::of(&format!("could not write `{below}`"), &error);
        match &entry.kind {
            EntryKind::Link { target } => root.directory.make_link(below, target, entry.mtime_ns).map_err(failed),
            EntryKind::EmptyDirectory => root.directory.make_directory(below, entry.mtime_ns).map_err(failed),
            EntryKind::File { blob, bytes, executable } => {
                for is_second in [false, true] {
                    let mut placing = root.directory.begin_file(below, *executable).map_err(failed)?;
                    if self.copies.read(*blob, *bytes, &mut placing).map_err(failed)? {
                        return placing.finish(entry.mtime_ns).map_err(failed);
                    }
                    if !is_second {
                        // The copy was damaged, or went meanwhile.
                        self.receive(&[(*blob, *bytes)])?;
                    }
                }
                Err(NotRestored::Problem(format!("the runner's copy of `{below}` is damaged again and again")))
            }
        }
    }
}

fn bytes_of(entry: &Entry) -> u64 {
    if let EntryKind::File { bytes, .. } = entry.kind { bytes } else { 0 }
}

/// Returns each blob of these entries once, with its length.
fn files_of(entries: &[Entry]) -> BTreeMap<BlobId, u64> {
    entries.iter().filter_map(|entry| Some((entry.blob()?, bytes_of(entry)))).collect()
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

/// A manifest that is received into memory.
struct Text(Vec<u8>);

impl Places for Text {
    type Writer = Vec<u8>;

    fn begin(&mut self, _at: usize) -> io::Result<Vec<u8>> {
        Ok(Vec::new())
    }

    fn end(&mut self, _at: usize, text: Vec<u8>) -> io::Result<()> {
        self.0 = text;
        Ok(())
    }
}

/// Files that are received into the runner's copies.
struct Copies<'a> {
    copies: &'a BlobCopies,
    wanted: &'a [WantedBlob],
}

impl Places for Copies<'_> {
    type Writer = CopyWriter;

    fn begin(&mut self, _at: usize) -> io::Result<CopyWriter> {
        self.copies.begin()
    }

    fn end(&mut self, at: usize, copy: CopyWriter) -> io::Result<()> {
        self.copies.keep(self.wanted[at].blob, copy)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::path::Path;

    use crossbeam_channel::{bounded, never};

    use super::*;
    use crate::blobs::{sum, write_manifest};
    use crate::model::{AttemptId, CacheKey, CacheRule};

    const LIMITS: ArtifactLimits = ArtifactLimits { files: 4, bytes: 1 << 20 };

    fn keep(copies: &BlobCopies, bytes: &[u8]) -> BlobId {
        let (id, _) = sum(bytes).unwrap();
        let mut copy = copies.begin().unwrap();
        copy.write_all(bytes).unwrap();
        copies.keep(id, copy).unwrap();
        id
    }

    /// Restores this manifest, all of which is among the copies, into `target` of a tree. A question to the dispatcher
    /// would count as a cancel.
    fn restored(place: &Path, manifest: &[u8], room: u64) -> Result<u64, String> {
        let copies = BlobCopies::open(place.join("copies"), 1 << 20);
        let tree = place.join("tree");
        fs::create_dir_all(&tree).unwrap();
        let rule = CacheRule { key: Vec::new(), paths: vec!["target".into()] };
        let places = CachePlaces::of(&rule, &tree, &[]).unwrap();
        let (reports, cancelled) = (bounded(1).0, never());
        let asking = Asking { attempt: AttemptId(1), reports: &reports, cancelled: &cancelled };
        let (key, manifest) = (CacheKey::of(BlobId([1; 32])), keep(&copies, manifest));
        let (from, scope) = (String::new(), String::new());
        let offer = CacheOffer { key, manifest, is_exact: true, files: 1, bytes: 1, from, scope };
        match (Restore { asking, copies: &copies, limits: LIMITS, room, places: &places }).run(&offer) {
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
        // Nothing is written through a link.
        std::os::unix::fs::symlink(place.path(), &target).unwrap();
        keep(&copies, b"two!");
        assert!(restored(place.path(), &both, 7).is_err());
        assert!(!place.path().join("a").exists());
    }
}
