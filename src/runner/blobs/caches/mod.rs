//! The caches of an attempt: restored before its first command, saved when it has passed. A slot does this on its own
//! thread, while nothing of the attempt runs. Whatever goes wrong is a line in the log, and never the attempt's fault.

mod collect;
mod key;
mod places;
mod question;
mod restore;

use std::collections::BTreeMap;

use super::super::slot_common::{Common, SlotWork};
use super::collect::KeptTree;
use super::copying::Copying;
use super::hashing::CollectError;
use super::placing::entry_count;
use super::routes::CacheOffer;
use super::translate;
use super::upload::{Upload, UploadError};
use crate::blobs::{EntryKind, sum, write_manifest};
use crate::model::{CacheRule, Outcome, SavedCache, visible};
use collect::{Collected, collect};
use key::{Named, key_of};
use places::CachePlaces;
use question::{Answer, Asking, NoAnswer, PATIENCE};
use restore::{NotRestored, Restore};

pub(crate) use places::HomeDirectory;

/// Paths that a line names.
const TOLD_PATHS: usize = 5;

/// The caches of one attempt.
pub(crate) struct AttemptCaches<'a> {
    pub(crate) common: &'a Common,
    pub(crate) copying: &'a Copying,
    pub(crate) work: &'a SlotWork,
    pub(crate) tree: KeptTree<'a>,
    /// The directories that the attempt sees below its home directory.
    pub(crate) homes: &'a [HomeDirectory],
}

/// A cache that is saved if the attempt passes.
pub(crate) struct Unsaved {
    named: Named,
    places: CachePlaces,
    max_bytes: u64,
}

/// How the work on one cache ended early.
enum Stopped {
    /// It was said why.
    Missed,
    Cancelled,
}

impl AttemptCaches<'_> {
    /// Restores all caches. Returns those to save, because there is none of their key. `say` writes a line into the
    /// attempt's log.
    pub(crate) fn restore(&self, say: &mut dyn FnMut(&str)) -> Result<Vec<Unsaved>, Outcome> {
        let mut unsaved = Vec::new();
        for rule in &self.work.assignment.recipe.caches {
            match self.restore_one(rule, say) {
                Ok(one) => unsaved.extend(one),
                Err(Stopped::Missed) => {}
                Err(Stopped::Cancelled) => return Err(Outcome::Cancelled),
            }
        }
        Ok(unsaved)
    }

    fn restore_one(&self, rule: &CacheRule, say: &mut dyn FnMut(&str)) -> Result<Option<Unsaved>, Stopped> {
        let assignment = &self.work.assignment;
        let missed = |say: &mut dyn FnMut(&str), why: &str| {
            say(&format!("surveil: the cache of {} is left out: {why}", rule.paths.join(", ")));
            Stopped::Missed
        };
        let absent = |path: &&str| !self.homes.iter().any(|home| home.below == **path);
        for path in rule.home_paths().filter(absent) {
            say(&format!(
                "surveil: `~/{path}` is not cached here: a guarded attempt has a directory of its own there if its \
                 runner can mount, and if no file or link is in the way"
            ));
        }
        let places = CachePlaces::of(rule, self.tree, self.homes)
            .map_err(|error| missed(say, &format!("its directory cannot be opened: {error}")))?;
        if places.roots().is_empty() {
            return Err(Stopped::Missed);
        }
        let named = key_of(rule, &places, (&assignment.recipe, &assignment.task), self.tree);
        let named = named.map_err(|why| missed(say, &why))?;
        let key = named.key.short();
        for glob in &named.idle {
            say(&format!("surveil: no file matches `{glob}`, a part of the key of cache {key}"));
        }
        let question = || translate::find_cache(assignment.attempt, &named.family, &named.key);
        let (max_bytes, offer) = match self.asking().ask(&named.key, &question) {
            Ok(Answer::Found { max_bytes, offer }) => (max_bytes, offer),
            Ok(Answer::Saved { .. }) => return Err(missed(say, "the dispatcher did not answer the question")),
            Err(NoAnswer::Cancelled) => return Err(Stopped::Cancelled),
            Err(NoAnswer::Silent) => return Err(missed(say, &silence())),
        };
        if max_bytes == 0 {
            return Err(missed(say, "the dispatcher keeps no caches (--keep-caches)"));
        }
        let is_exact = offer.as_ref().is_some_and(|offer| offer.is_exact);
        match offer {
            None => say(&format!("surveil: there is no cache {key} yet")),
            Some(offer) => self.restore_offer(&places, &offer, key, say)?,
        }
        Ok((!is_exact).then_some(Unsaved { named, places, max_bytes }))
    }

    fn restore_offer(
        &self,
        places: &CachePlaces,
        offer: &CacheOffer,
        key: &str,
        say: &mut dyn FnMut(&str),
    ) -> Result<(), Stopped> {
        let (limits, room) = (self.common.artifact_limits, self.room());
        let restore = Restore { asking: self.asking(), copying: self.copying, limits, room, places };
        let what = if offer.is_exact { String::new() } else { format!("there is no cache {key} yet; as a start, ") };
        let (from, scope) = (visible(&offer.from), visible(&offer.scope));
        let of = format!("cache {} of {from}, {scope}", offer.key.short());
        match restore.run(offer) {
            Ok(received) => {
                let CacheOffer { files, bytes, .. } = offer;
                let files = entry_count(*files);
                say(&format!("surveil: {what}restored {of}: {files}, {bytes} bytes, {received} of them received"));
                Ok(())
            }
            Err(NotRestored::Cancelled) => Err(Stopped::Cancelled),
            Err(NotRestored::Problem(why)) => {
                say(&format!("surveil: {what}{of} could not be restored: {why}"));
                Ok(())
            }
        }
    }

    /// Saves the caches of an attempt that has passed. Returns the outcome, which is another one only if the attempt
    /// was cancelled meanwhile.
    pub(crate) fn save(&self, unsaved: Vec<Unsaved>, say: &mut dyn FnMut(&str)) -> Outcome {
        for one in unsaved {
            let key = one.named.key.short().to_owned();
            match self.save_one(one, say) {
                Ok(()) => {}
                Err(CollectError::Cancelled) => return Outcome::Cancelled,
                Err(CollectError::Problem(why)) => say(&format!("surveil: cache {key} is not saved: {why}")),
            }
        }
        Outcome::Passed
    }

    fn save_one(&self, unsaved: Unsaved, say: &mut dyn FnMut(&str)) -> Result<(), CollectError> {
        let problem = |why: String| Err(CollectError::Problem(why));
        let Unsaved { named: Named { family, key, about, .. }, places, max_bytes } = unsaved;
        let Common { artifact_limits, reports, copies, .. } = self.common;
        let (attempt, cancelled) = (self.work.assignment.attempt, &self.work.cancelled);
        // The next attempt here restores it, so the runner's own copies are made of the same bytes.
        let copied = |bytes: u64| (copies.takes(bytes) && bytes <= self.room()).then(|| copies.clone());
        let Collected { entries, bytes, left_out } = collect(&places, *artifact_limits, max_bytes, &copied, cancelled)?;
        if !left_out.is_empty() {
            let (some, count) = (left_out.iter().take(TOLD_PATHS).map(String::as_str), left_out.len());
            let some = some.collect::<Vec<_>>().join(", ");
            let paths = if count == 1 {
                "1 path that is no file".to_owned()
            } else {
                format!("{count} paths that are no files")
            };
            say(&format!("surveil: cache {} leaves out {paths}: {some}", key.short()));
        }
        if entries.is_empty() {
            return problem("there is nothing at its paths".to_owned());
        }
        let failed = |error: std::io::Error| CollectError::Problem(error.to_string());
        let mut text = Vec::new();
        write_manifest(&entries, &mut text).map_err(failed)?;
        let (manifest, _) = sum(text.as_slice()).map_err(failed)?;
        if let Err(error) = copies.keep_text(manifest, &text).and_then(|()| copies.shrink()) {
            log::debug!("no copy of the manifest of a cache: {error}");
        }
        let file = |entry: &crate::blobs::Entry| match entry.kind {
            EntryKind::File { blob, bytes, .. } => Some((blob, (entry.path.clone(), bytes))),
            EntryKind::Link { .. } | EntryKind::EmptyDirectory => None,
        };
        let paths: BTreeMap<_, _> = entries.iter().filter_map(file).collect();
        let files = paths.iter().map(|(blob, (path, bytes))| (*blob, (path.as_str(), *bytes))).collect();
        let (manifests, open) = ([(manifest, text)].into(), |path: &str| places.open(path));
        let upload = Upload {
            attempt,
            open: &open,
            files: &files,
            manifests: &manifests,
            reports,
            cancelled,
            patience: Some(PATIENCE),
        };
        match upload.run() {
            Ok(()) => {}
            Err(UploadError::Cancelled) => return Err(CollectError::Cancelled),
            Err(UploadError::Changed(why)) => return problem(why),
            Err(UploadError::Lost(reason)) => return problem(reason.to_string()),
        }
        let count = entries.len() as u64;
        let saved = SavedCache { family, key, about, manifest, files: count, bytes };
        match self.asking().ask(&saved.key, &|| translate::save_cache(attempt, &saved)) {
            Ok(Answer::Saved { reason: None }) => {
                say(&format!("surveil: saved cache {}: {}, {bytes} bytes", saved.key.short(), entry_count(count)));
                Ok(())
            }
            Ok(Answer::Saved { reason: Some(reason) }) => problem(visible(&reason)),
            Ok(Answer::Found { .. }) => problem("the dispatcher did not answer the question".to_owned()),
            Err(NoAnswer::Cancelled) => Err(CollectError::Cancelled),
            Err(NoAnswer::Silent) => problem(silence()),
        }
    }

    /// The bytes that the disk has to spare.
    fn room(&self) -> u64 {
        self.common.layout.free().unwrap_or(0).saturating_sub(self.common.min_free)
    }

    fn asking(&self) -> Asking<'_> {
        let (attempt, reports) = (self.work.assignment.attempt, &self.common.reports);
        Asking { attempt, reports, cancelled: &self.work.cancelled }
    }
}

fn silence() -> String {
    format!("the dispatcher has not answered for {} s", PATIENCE.as_secs())
}
