//! The problems that `surveil status` shows. A thread that notices a problem sets it under a name, and clears it when
//! it is over.

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::MetadataExt;
use std::sync::{Arc, Mutex};

use super::data_dir::DataDir;
use super::limits::DISK_LOW_BYTES;
use super::mirrors::MissingSources;
use crate::threads;

/// The present problems, by name. The lock is held for a look-up only.
#[derive(Debug, Clone, Default)]
pub(crate) struct Warnings(Arc<Mutex<BTreeMap<String, String>>>);

impl Warnings {
    /// Sets the problem of that name, or clears it.
    pub(crate) fn set(&self, name: &str, text: Option<String>) {
        let mut all = threads::lock(&self.0);
        match text {
            Some(text) => drop(all.insert(name.to_owned(), text)),
            None => drop(all.remove(name)),
        }
    }

    /// Returns all problems, a sentence each.
    pub(crate) fn list(&self) -> Vec<String> {
        threads::lock(&self.0).values().cloned().collect()
    }
}

/// Returns the problems of mirrors: commits that observers were asked for and have not sent yet.
pub(crate) fn of_mirrors(missing: &MissingSources) -> Vec<String> {
    let sentence = |(repo, count)| {
        let commits = if count == 1 { "1 commit".to_owned() } else { format!("{count} commits") };
        format!("the mirror of {repo} is being rebuilt: {commits} asked of its observer")
    };
    missing.counts().into_iter().map(sentence).collect()
}

/// Returns the problems of disks that have little room left, each disk once.
pub(crate) fn of_disks(data: &DataDir) -> Vec<String> {
    let mut seen = BTreeSet::new();
    let mut found = Vec::new();
    for path in [data.root().to_owned(), data.logs(), data.root().join("mirrors")] {
        let (Ok(meta), Ok(disk)) = (std::fs::metadata(&path), rustix::fs::statvfs(&path)) else { continue };
        let free = disk.f_bavail.saturating_mul(disk.f_frsize);
        if seen.insert(meta.dev()) && free < DISK_LOW_BYTES {
            let word = if free < 1 << 20 { "full" } else { "nearly full" };
            found.push(format!("the disk of {} is {word}: {} MiB are free", path.display(), free >> 20));
        }
    }
    found
}
