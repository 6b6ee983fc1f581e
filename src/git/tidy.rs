//! Keeps the number of packs in a store small, because every lookup asks each of them. Safe while others read and
//! receive, and safe if killed at any point: the new pack is part of the store before the first old one goes.

use std::collections::HashSet;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use git2::Oid;

use super::error::GitError;
use super::pack;
use super::pack_store::{facts_notes, lfs_notes};
use super::receiver::{Landing, Receiver, recover};
use super::select::select;
use super::stored::{Stored, StoredPack};
use crate::locked::Locked;
use crate::model::CommitId;

/// Number of packs at which lookups are still fast. Each new pack makes libgit2 examine all others again.
const PACKS_MAX: usize = 20;

/// Number of packs that a merge leaves at most, so that the next merge is some time off.
const PACKS_LEFT: usize = 8;

/// Size limit of a merged pack. Larger packs change too rarely to be worth rewriting, and entries of packs beyond 2 GiB
/// are not found as quickly.
const MERGED_BYTES_MAX: u64 = 1 << 30;

/// Marker file. It is replaced after packs were removed, so that processes that have them open close them.
pub(super) const TIDIED: &str = "tidied";

/// Merges packs if there are too many, and recovers what killed receivers left.
pub(super) fn tidy(landing: &Arc<Landing>) -> Result<(), GitError> {
    let store = &landing.store;
    let objects = store.join("objects");
    recover(landing)?;
    facts_notes::trim(store)?;
    let packs = objects.join("pack");
    if packs_in(&packs)?.len() <= PACKS_MAX {
        return Ok(());
    }
    // One merge at a time. A second one would find little to do, so it gives up and leaves the rest to the next call.
    let lock_path = store.join("tidy.lock");
    let lock = File::create(&lock_path).map_err(GitError::io("make", &lock_path))?;
    if lock.try_lock().is_err() {
        return Ok(());
    }
    let _lock = Locked::new(lock);
    let old = to_merge(packs_in(&packs)?);
    if old.len() < 2 {
        return Ok(());
    }
    let merged = merge(landing, &old)?;
    remove_packs(landing, old.iter().filter(|pack| **pack != merged))
}

/// Writes the objects that these commits need into one pack, and removes all other packs.
pub(super) fn prune(landing: &Arc<Landing>, needed: &[CommitId]) -> Result<(), GitError> {
    let Landing { store, database, .. } = &**landing;
    let lock_path = store.join("tidy.lock");
    let lock = File::create(&lock_path).map_err(GitError::io("make", &lock_path))?;
    // Waits for a merge to end, unlike `tidy`: the caller wants the room that pruning frees.
    lock.lock().map_err(GitError::io("lock", &lock_path))?;
    let _lock = Locked::new(lock);
    let old: Vec<PathBuf> = packs_in(&store.join("objects").join("pack"))?.into_iter().map(|(_, path)| path).collect();
    let ids = database.with(|objects| {
        let there: Vec<CommitId> = needed.iter().copied().filter(|commit| objects.has_commit(*commit)).collect();
        select(objects, &there, &[], &facts_notes::kept(landing, objects, &there)?)
    })?;
    let kept = rewrite(landing, &old, &ids)?;
    // A note may not outlive what it tells of.
    facts_notes::remove_others(store, needed)?;
    lfs_notes::keep_only(store, &ids)?;
    remove_packs(landing, old.iter().filter(|pack| **pack != kept))
}

/// Removes packs whose objects are elsewhere or not needed, and makes processes that have them open close them.
fn remove_packs<'a>(landing: &Landing, packs: impl Iterator<Item = &'a PathBuf>) -> Result<(), GitError> {
    for pack in packs {
        remove_pack(pack)?;
    }
    // The marker is replaced instead of touched: times may repeat, but a new file has a new inode.
    let marker = landing.store.join(TIDIED);
    fs::remove_file(&marker).ok();
    File::create(&marker).map_err(GitError::io("make", &marker))?;
    landing.database.renew()
}

/// Lists the complete packs: size, and path without ending.
fn packs_in(directory: &Path) -> Result<Vec<(u64, PathBuf)>, GitError> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).map_err(GitError::io("read", directory))? {
        let path = entry.map_err(GitError::io("read", directory))?.path();
        if path.extension().is_some_and(|ending| ending == "idx")
            && let Ok(meta) = fs::metadata(path.with_extension("pack"))
        {
            found.push((meta.len(), path.with_extension("")));
        }
    }
    Ok(found)
}

/// Chooses the packs to merge: the smallest ones, until at most [`PACKS_LEFT`] remain, and then further until the next
/// pack is larger than all chosen before it together. So an object is rewritten only as often as the store's size
/// doubles.
fn to_merge(mut packs: Vec<(u64, PathBuf)>) -> Vec<PathBuf> {
    packs.sort();
    let total = packs.len();
    let mut sum = 0;
    let mut chosen = Vec::new();
    for (size, path) in packs {
        let is_needed = total - chosen.len() > PACKS_LEFT;
        // Stops at the first pack that is larger than all chosen ones together, which keeps rewriting logarithmic.
        if !is_needed && size > sum || sum + size > MERGED_BYTES_MAX {
            break;
        }
        sum += size;
        chosen.push(path);
    }
    chosen
}

/// Writes all objects of these packs into one pack. Returns its path without ending.
fn merge(landing: &Arc<Landing>, old: &[PathBuf]) -> Result<PathBuf, GitError> {
    let packs = open_all(landing, old)?;
    let mut seen = HashSet::new();
    let ids = packs.iter().flat_map(StoredPack::ids).filter_map(|raw| Oid::from_bytes(raw).ok());
    let ids: Vec<_> = ids.filter(|id| seen.insert(*id)).collect();
    rewrite(landing, old, &ids)
}

fn open_all(landing: &Landing, packs: &[PathBuf]) -> Result<Vec<StoredPack>, GitError> {
    packs.iter().map(|pack| StoredPack::open(&pack.with_extension("idx"), landing.database.format())).collect()
}

/// Writes these objects, which the packs `old` hold, into one pack. Returns its path without ending.
fn rewrite(landing: &Arc<Landing>, old: &[PathBuf], ids: &[Oid]) -> Result<PathBuf, GitError> {
    let Landing { store, database, .. } = &**landing;
    log::debug!("{} packs of {} become one with {} objects", old.len(), store.display(), ids.len());
    let stored = Stored { packs: open_all(landing, old)? };
    let receiver = database.with(|objects| {
        let mut receiver = Receiver::new(Arc::clone(landing))?;
        let mut failed = None;
        let written = pack::write(objects, Some(&stored), ids, &[], &mut |piece| {
            failed = receiver.write(piece).err();
            failed.is_none()
        });
        match failed {
            Some(error) => Err(error),
            None => written.map(|()| receiver),
        }
    })?;
    let name = receiver.publish_unchecked()?;
    Ok(store.join("objects").join("pack").join(format!("pack-{name}")))
}

/// Removes a pack, the index first: objects that no index names are no longer looked for, and a pack without index is
/// ignored.
fn remove_pack(pack: &Path) -> Result<(), GitError> {
    for ending in ["idx", "pack"] {
        let file = pack.with_extension(ending);
        fs::remove_file(&file).map_err(GitError::io("remove", &file))?;
    }
    Ok(())
}
