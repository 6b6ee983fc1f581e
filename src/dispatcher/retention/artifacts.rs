//! The artifacts of builds, and their blobs, as the `retention` thread finds them.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::artifact_plan::{ArtifactDecision, ArtifactPlan, Going, Left};
use crate::blobs::{BlobStore, ManifestError};
use crate::config::Retention;
use crate::model::{BlobId, BuildId, ExpiryRule, RepoName, WallTime};
use crate::store::{Reader, StoreError};

/// The reason why artifacts are not removed now.
#[derive(Debug, thiserror::Error)]
pub(super) enum SweepError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    #[error("could not remove blobs")]
    Files(#[from] std::io::Error),
}

/// Decides which artifacts are to be removed at `now`, and which blobs stay.
pub(super) fn decide(
    limits: Retention,
    blobs: &BlobStore,
    reader: &dyn Reader,
    now: WallTime,
) -> Result<ArtifactDecision, SweepError> {
    let mut of_build: HashMap<BuildId, Vec<Left>> = HashMap::new();
    for (attempt, artifacts) in reader.all_artifacts()? {
        // A build that was removed since has no attempts.
        let Some(found) = reader.attempt(attempt)? else { continue };
        for record in artifacts.into_iter().filter(|record| record.removed.is_none()) {
            let left = Left { attempt, ended: found.finished_at, record };
            of_build.entry(found.build).or_default().push(left);
        }
    }
    let mut plan = ArtifactPlan::new(limits, now);
    reader.survey(&mut |build| {
        if let Some(artifacts) = of_build.remove(&build.id) {
            plan.add(build, artifacts);
        }
    })?;
    plan.decide(&mut |manifest, each| each_blob(blobs, manifest, each))
}

/// Adds the blobs of all caches to those that stay.
pub(super) fn mark_caches(
    blobs: &BlobStore,
    reader: &dyn Reader,
    marked: &mut HashSet<BlobId>,
) -> Result<(), SweepError> {
    let manifests: HashSet<BlobId> = reader.caches(None)?.into_iter().map(|entry| entry.saved.manifest).collect();
    for manifest in manifests {
        marked.insert(manifest);
        // The blobs of a damaged manifest are of no use without it.
        blobs.manifest(manifest, &mut |entry| {
            marked.extend(entry.blob());
            Ok(())
        })?;
    }
    Ok(())
}

/// Passes each blob of an artifact to `each`, with the bytes that it takes on the disk. The files of a damaged manifest
/// are of no use without it, so they may be left out.
fn each_blob(blobs: &BlobStore, manifest: BlobId, each: &mut dyn FnMut(BlobId, u64)) -> Result<(), SweepError> {
    each(manifest, blobs.stored_bytes(manifest)?);
    blobs.manifest(manifest, &mut |entry| {
        if let Some(blob) = entry.blob() {
            each(blob, blobs.stored_bytes(blob)?);
        }
        Ok(())
    })?;
    Ok(())
}

/// Returns the limits as the log says them at the start.
pub(super) fn limits_sentence(limits: Retention) -> String {
    let mut kept = Vec::new();
    kept.extend(limits.keep_artifacts_ms.map(|ms| format!("for {}", duration(ms))));
    kept.extend(limits.keep_artifact_builds.map(|builds| format!("of the newest {builds} builds of each repository")));
    kept.extend(limits.keep_artifacts.map(|bytes| format!("up to {} in all", size(bytes))));
    match kept.as_slice() {
        [] => "artifacts are kept as long as their builds".to_owned(),
        kept => format!(
            "artifacts are kept {}; those of the newest passed build of each branch and tag go last, and by size alone",
            kept.join(", ")
        ),
    }
}

/// Returns a line for each repository, such as `removed 3 artifacts of app, of b1 to b7, too old for
/// --keep-artifacts-for`.
pub(super) fn sentences(gone: &[&Going], rule: ExpiryRule) -> Vec<String> {
    let mut of_repo: BTreeMap<&RepoName, Vec<BuildId>> = BTreeMap::new();
    for one in gone {
        of_repo.entry(&one.repo).or_default().push(one.build);
    }
    let sentence = |(repo, builds): (&RepoName, Vec<BuildId>)| {
        let count = builds.len();
        let artifacts = if count == 1 { "1 artifact".to_owned() } else { format!("{count} artifacts") };
        let builds = match (builds.iter().min(), builds.iter().max()) {
            (Some(first), Some(last)) if first < last => format!("{first} to {last}"),
            (first, _) => first.map(ToString::to_string).unwrap_or_default(),
        };
        format!("removed {artifacts} of {repo}, of {builds}, {}", rule.phrase())
    };
    of_repo.into_iter().map(sentence).collect()
}

/// Formats a duration in the largest unit that divides it.
fn duration(ms: u64) -> String {
    in_units(ms, &[("days", 86_400_000), ("h", 3_600_000), ("min", 60_000), ("s", 1000), ("ms", 1)])
}

/// Formats a size in the largest unit that divides it.
fn size(bytes: u64) -> String {
    in_units(bytes, &[("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10), ("bytes", 1)])
}

fn in_units(value: u64, units: &[(&str, u64)]) -> String {
    let divides = |(_, factor): &&(&str, u64)| value > 0 && value.is_multiple_of(*factor);
    let (unit, factor) = units.iter().find(divides).or(units.last()).copied().unwrap_or(("", 1));
    format!("{} {unit}", value / factor)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::defaults;
    use crate::model::AttemptId;

    #[test]
    fn the_log_says_the_limits_at_the_start() {
        let never = Retention {
            keep_artifacts_ms: None,
            keep_artifact_builds: None,
            keep_artifacts: None,
            ..defaults::RETENTION
        };
        let last = "; those of the newest passed build of each branch and tag go last, and by size alone";
        for (limits, text) in [
            (never, "artifacts are kept as long as their builds".to_owned()),
            (
                defaults::RETENTION,
                format!(
                    "artifacts are kept for 90 days, of the newest 500 builds of each repository, up to 50 GiB in \
                     all{last}"
                ),
            ),
            (
                Retention { keep_artifacts: Some(1500), ..never },
                format!("artifacts are kept up to 1500 bytes in all{last}"),
            ),
        ] {
            assert_eq!(limits_sentence(limits), text);
        }
    }

    #[test]
    fn the_log_says_what_was_removed_of_each_repository() {
        let going = |repo: &str, build: u64| Going {
            build: BuildId(build),
            repo: RepoName::new(repo).unwrap(),
            attempt: AttemptId(build),
            name: "files".into(),
            rule: ExpiryRule::Age,
        };
        let gone = [going("lib", 9), going("app", 7), going("app", 3), going("app", 3)];
        let texts = sentences(&gone.iter().collect::<Vec<_>>(), ExpiryRule::Age);
        let expected = [
            "removed 3 artifacts of app, of b3 to b7, too old for --keep-artifacts-for",
            "removed 1 artifact of lib, of b9, too old for --keep-artifacts-for",
        ];
        assert_eq!(texts, expected);
        assert_eq!(sentences(&[], ExpiryRule::Age), [] as [String; 0]);
    }
}
