//! Keeps the artifacts of an attempt whose commands have ended, and says what that means for its outcome.
//!
//! A file that a task was to leave and did not leave is the task's fault: an attempt that passed has failed then. A
//! dispatcher that cannot store what was left is not: an attempt that passed is lost then, because its artifacts were
//! promised to others. In all other cases the attempt's own outcome stands, and its log has a line.

use std::collections::BTreeMap;

use crossbeam_channel::{Receiver, Sender};

use super::super::slot_common::SlotReport;
use super::collect::{ArtifactLimits, Collected, KeptTree, blobs_of, collect};
use super::hashing::CollectError;
use super::placing::entry_count;
use super::upload::{Upload, UploadError};
use crate::blobs::{TreeDirectory, sum, write_manifest};
use crate::model::{ArtifactRecord, ArtifactRule, AttemptId, BlobId, Outcome};

/// The attempt whose artifacts are kept.
pub(crate) struct Keeping<'a> {
    pub(crate) attempt: AttemptId,
    pub(crate) rules: &'a [ArtifactRule],
    pub(crate) tree: KeptTree<'a>,
    pub(crate) limits: ArtifactLimits,
    pub(crate) reports: &'a Sender<SlotReport>,
    pub(crate) cancelled: &'a Receiver<()>,
}

/// Keeps the artifacts that the task's rules name for this outcome. Returns the outcome that counts, and what is
/// durable at the dispatcher. `say` writes a line into the attempt's log.
pub(crate) fn keep_artifacts(
    keeping: &Keeping<'_>,
    outcome: Outcome,
    say: &mut dyn FnMut(&str),
) -> (Outcome, Vec<ArtifactRecord>) {
    let Keeping { rules, tree, limits, cancelled, .. } = *keeping;
    let (outcome, collected) = match collect_all(&Collecting { rules, tree, limits, cancelled }, outcome, say) {
        Ok(found) => found,
        Err(CollectError::Cancelled) => return (Outcome::Cancelled, Vec::new()),
        // It was said, and changed the outcome.
        Err(CollectError::Problem(_)) => return (Outcome::Failed(1), Vec::new()),
    };
    if collected.is_empty() {
        return (outcome, Vec::new());
    }
    let is_required = outcome == Outcome::Passed && collected.iter().any(|(rule, _)| rule.required);
    match send(keeping, &collected) {
        Ok(records) => {
            for ArtifactRecord { name, files, bytes, .. } in &records {
                say(&format!("surveil: kept artifact `{name}`: {}, {bytes} bytes", entry_count(*files)));
            }
            (outcome, records)
        }
        Err(UploadError::Cancelled) => (Outcome::Cancelled, Vec::new()),
        Err(UploadError::Changed(why)) if is_required => {
            say(&format!("surveil: artifacts could not be kept: {why}; so the task has failed"));
            (Outcome::Failed(1), Vec::new())
        }
        Err(UploadError::Lost(reason)) if is_required => (Outcome::Lost(reason), Vec::new()),
        Err(UploadError::Changed(why)) => {
            say(&format!("surveil: artifacts are not kept: {why}"));
            (outcome, Vec::new())
        }
        Err(UploadError::Lost(reason)) => {
            say(&format!("surveil: artifacts are not kept: {reason}"));
            (outcome, Vec::new())
        }
    }
}

/// The rules by which files are collected, and their tree.
pub(super) struct Collecting<'a> {
    pub(super) rules: &'a [ArtifactRule],
    pub(super) tree: KeptTree<'a>,
    pub(super) limits: ArtifactLimits,
    pub(super) cancelled: &'a Receiver<()>,
}

pub(super) type ByRule<'a> = Vec<(&'a ArtifactRule, Collected)>;

/// Collects the artifacts of an outcome. If a required one of a passed attempt is not there, those of a failed attempt.
pub(super) fn collect_all<'a>(
    collecting: &Collecting<'a>,
    mut outcome: Outcome,
    say: &mut dyn FnMut(&str),
) -> Result<(Outcome, ByRule<'a>), CollectError> {
    let mut has_failed = false;
    'again: loop {
        let mut collected: ByRule<'a> = Vec::new();
        let mut left = collecting.limits;
        for rule in collecting.rules.iter().filter(|rule| rule.on.covers(&outcome)) {
            let name = &rule.name;
            match collect(rule, collecting.tree, left, collecting.cancelled) {
                Ok(found) => {
                    left.files -= found.entries.len() as u64;
                    left.bytes -= found.bytes;
                    collected.push((rule, found));
                }
                Err(CollectError::Cancelled) => return Err(CollectError::Cancelled),
                Err(CollectError::Problem(why)) if rule.required && outcome == Outcome::Passed => {
                    say(&format!("surveil: artifact `{name}` could not be kept: {why}; so the task has failed"));
                    (outcome, has_failed) = (Outcome::Failed(1), true);
                    continue 'again;
                }
                // It was said when the outcome was another one.
                Err(CollectError::Problem(_)) if has_failed => {}
                Err(CollectError::Problem(why)) => say(&format!("surveil: artifact `{name}` is not kept: {why}")),
            }
        }
        return Ok((outcome, collected));
    }
}

/// Sends what was collected.
fn send(keeping: &Keeping<'_>, collected: &ByRule<'_>) -> Result<Vec<ArtifactRecord>, UploadError> {
    let changed = |error: std::io::Error| UploadError::Changed(error.to_string());
    let mut records = Vec::with_capacity(collected.len());
    let mut manifests: BTreeMap<BlobId, Vec<u8>> = BTreeMap::new();
    for (rule, Collected { entries, bytes }) in collected {
        let mut text = Vec::new();
        write_manifest(entries, &mut text).map_err(changed)?;
        let (manifest, _) = sum(text.as_slice()).map_err(changed)?;
        manifests.insert(manifest, text);
        records.push(ArtifactRecord {
            name: rule.name.clone(),
            manifest,
            files: entries.len() as u64,
            bytes: *bytes,
            keep_ms: rule.keep_ms,
            removed: None,
        });
    }
    let tree = TreeDirectory::open(keeping.tree.path).map_err(changed)?;
    let files = blobs_of(collected.iter().flat_map(|(_, collected)| &collected.entries));
    let Keeping { attempt, reports, cancelled, .. } = *keeping;
    let open = |path: &str| tree.file(path);
    let (files, manifests) = (&files, &manifests);
    Upload { attempt, open: &open, files, manifests, reports, cancelled, patience: None }.run()?;
    Ok(records)
}
