//! Keeps the number of packs in a store small: every lookup asks each of them. Safe beside readers and receivers, and
//! against being killed at any point: the new pack is part of the store before the first old one goes.

use std::collections::HashSet;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use git2::Oid;

use super::receiver::{Landing, Receiver, recover};
use super::select::select;
use super::stored::{Stored, StoredPack};
use super::{GitError, pack};
use crate::locked::Locked;
use crate::model::CommitId;

/// Up to here lookups are quick enough: each new pack has every one of them looked at again.
const PACKS_MAX: usize = 20;

/// How many a merge leaves at most, so that the next one is some time off.
const PACKS_LEFT: usize = 8;

/// Packs are not merged beyond this size: the largest are rewritten too seldom to be worth it, and entries of packs
/// beyond 2 GiB are not found as quickly.
const MERGED_BYTES_MAX: u64 = 1 << 30;

/// Replaced after packs were removed, so that those who have them open let go.
pub(super) const TIDIED: &str = "tidied";

/// Merges packs if there are too many, and takes care of what receivers left that were killed.
pub(super) fn tidy(landing: &Arc<Landing>) -> Result<(), GitError> {
    let store = &landing.store;
    let objects = store.join("objects");
    recover(landing)?;
    let packs = objects.join("pack");
    if packs_in(&packs)?.len() <= PACKS_MAX {
        return Ok(());
    }
    // One at a time; whoever comes second finds little to do the next time.
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

/// Writes what these commits have into one pack, and removes all others.
pub(super) fn prune(landing: &Arc<Landing>, needed: &[CommitId]) -> Result<(), GitError> {
    let Landing { store, database, .. } = &**landing;
    let lock_path = store.join("tidy.lock");
    let lock = File::create(&lock_path).map_err(GitError::io("make", &lock_path))?;
    lock.lock().map_err(GitError::io("lock", &lock_path))?;
    let _lock = Locked::new(lock);
    let old: Vec<PathBuf> = packs_in(&store.join("objects").join("pack"))?.into_iter().map(|(_, path)| path).collect();
    let ids = database.with(|objects| {
        let there: Vec<CommitId> = needed.iter().copied().filter(|commit| objects.has_commit(*commit)).collect();
        select(objects, &there, &[])
    })?;
    let kept = rewrite(landing, &old, &ids)?;
    remove_packs(landing, old.iter().filter(|pack| **pack != kept))
}

/// Removes packs whose objects are elsewhere or not needed, and lets those who have them open know.
fn remove_packs<'a>(landing: &Landing, packs: impl Iterator<Item = &'a PathBuf>) -> Result<(), GitError> {
    for pack in packs {
        remove_pack(pack)?;
    }
    // Replaced rather than touched: a new inode is a sure sign.
    let sign = landing.store.join(TIDIED);
    fs::remove_file(&sign).ok();
    File::create(&sign).map_err(GitError::io("make", &sign))?;
    landing.database.renew()
}

/// The packs that are whole: size, and path of the index without its ending.
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

/// The smallest packs, so many that few are left, and on to where the next one is larger than all before it together:
/// so an object is rewritten only as often as the store's size doubles.
fn to_merge(mut packs: Vec<(u64, PathBuf)>) -> Vec<PathBuf> {
    packs.sort();
    let total = packs.len();
    let mut sum = 0;
    let mut chosen = Vec::new();
    for (size, path) in packs {
        let is_needed = total - chosen.len() > PACKS_LEFT;
        if !is_needed && size > sum || sum + size > MERGED_BYTES_MAX {
            break;
        }
        sum += size;
        chosen.push(path);
    }
    chosen
}

/// Writes all that these packs hold into one, and returns its path without ending.
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

/// Writes these objects, which those packs hold, into one, and returns its path without ending.
fn rewrite(landing: &Arc<Landing>, old: &[PathBuf], ids: &[Oid]) -> Result<PathBuf, GitError> {
    let Landing { store, database, .. } = &**landing;
    log::debug!("{} packs of {} become one with {} objects", old.len(), store.display(), ids.len());
    let stored = Stored::of(open_all(landing, old)?);
    let receiver = database.with(|objects| {
        let mut receiver = Receiver::new(Arc::clone(landing))?;
        let mut failed = None;
        let written = pack::write(objects, Some(&stored), ids, &mut |piece| {
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

/// Removes the index first: what it does not name is no longer looked for, and a pack without index is no pack.
fn remove_pack(pack: &Path) -> Result<(), GitError> {
    for ending in ["idx", "pack"] {
        let file = pack.with_extension(ending);
        fs::remove_file(&file).map_err(GitError::io("remove", &file))?;
    }
    Ok(())
}
