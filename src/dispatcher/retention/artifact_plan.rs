//! Decides which artifacts are to be removed. Pure: works on what the store says of builds and of what they left, and
//! on the sizes of blobs.
//!
//! Builds are compared by their numbers, and ages are those of finished builds, so that a clock that was set back makes
//! nothing old and changes no order. The artifacts of unfinished builds are never removed: their tasks may need them.

use std::cmp::Reverse;
use std::collections::{HashMap, HashSet};

use super::plan::count;
use crate::config::Retention;
use crate::model::{ArtifactRecord, AttemptId, BlobId, BuildId, ExpiryRule, RefName, RepoName, WallTime};
use crate::store::Surveyed;

/// Passes each blob of an artifact to the closure, with its size; the blob with the manifest, which names the artifact,
/// is one of them.
pub(super) type BlobsOf<'a, E> = dyn FnMut(BlobId, &mut dyn FnMut(BlobId, u64)) -> Result<(), E> + 'a;

/// An artifact that an attempt left, and that was not removed.
#[derive(Debug, Clone)]
pub(super) struct Left {
    pub(super) attempt: AttemptId,
    /// The end of the attempt.
    pub(super) ended: Option<WallTime>,
    pub(super) record: ArtifactRecord,
}

/// The artifacts that are there, collected build by build from the newest to the oldest.
pub(super) struct ArtifactPlan {
    limits: Retention,
    now: WallTime,
    /// Finished builds with artifacts that were added.
    of_repo: HashMap<RepoName, u32>,
    /// Refs of which a passed build with artifacts was added.
    passed: HashSet<(RepoName, RefName)>,
    standing: Vec<Standing>,
    going: Vec<Going>,
}

/// The artifacts of a build that no limit but that of the size removes.
struct Standing {
    rank: Rank,
    build: BuildId,
    repo: RepoName,
    artifacts: Vec<Left>,
}

/// The builds whose artifacts go last come first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Rank {
    /// An unfinished build.
    Unfinished,
    /// The newest passed build with artifacts of a branch or tag that is there.
    NewestPassed,
    Other,
}

/// An artifact that is to be removed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Going {
    pub(super) build: BuildId,
    pub(super) repo: RepoName,
    pub(super) attempt: AttemptId,
    pub(super) name: String,
    pub(super) rule: ExpiryRule,
}

/// The artifacts that are to be removed, and the blobs that stay.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct ArtifactDecision {
    pub(super) going: Vec<Going>,
    /// The blobs of all artifacts that stay.
    pub(super) marked: HashSet<BlobId>,
}

impl ArtifactPlan {
    pub(super) fn new(limits: Retention, now: WallTime) -> Self {
        let (of_repo, passed) = (HashMap::new(), HashSet::new());
        Self { limits, now, of_repo, passed, standing: Vec::new(), going: Vec::new() }
    }

    /// Adds the next older build, with all of its artifacts that are there.
    pub(super) fn add(&mut self, build: Surveyed, artifacts: Vec<Left>) {
        let Surveyed { id, repo, reference, lives, finished_at, passed, .. } = build;
        let Some(finished_at) = finished_at else {
            self.standing.push(Standing { rank: Rank::Unfinished, build: id, repo, artifacts });
            return;
        };
        let (past, artifacts): (Vec<Left>, Vec<Left>) = artifacts.into_iter().partition(|left| {
            left.record.keep_ms.is_some_and(|limit| self.age(left.ended.unwrap_or(finished_at)) >= limit)
        });
        self.go(id, &repo, past, ExpiryRule::KeepFor);
        // A build whose artifacts are gone counts for nothing, so that the next round decides the same.
        if artifacts.is_empty() {
            return;
        }
        let newer = count(&mut self.of_repo, repo.clone());
        if passed && lives && self.passed.insert((repo.clone(), reference)) {
            self.standing.push(Standing { rank: Rank::NewestPassed, build: id, repo, artifacts });
            return;
        }
        if self.limits.keep_artifacts_ms.is_some_and(|limit| self.age(finished_at) > limit) {
            self.go(id, &repo, artifacts, ExpiryRule::Age);
        } else if self.limits.keep_artifact_builds.is_some_and(|limit| newer >= limit) {
            self.go(id, &repo, artifacts, ExpiryRule::Count);
        } else {
            self.standing.push(Standing { rank: Rank::Other, build: id, repo, artifacts });
        }
    }

    /// Returns the artifacts that are to be removed. A blob counts once, however many artifacts have it, and for the
    /// build that goes last.
    pub(super) fn decide<E>(mut self, blobs_of: &mut BlobsOf<'_, E>) -> Result<ArtifactDecision, E> {
        let mut standing = std::mem::take(&mut self.standing);
        standing.sort_by_key(|one| (one.rank, Reverse(one.build)));
        let limit = self.limits.keep_artifacts.unwrap_or(u64::MAX);
        let mut marked: HashSet<BlobId> = HashSet::new();
        let (mut total, mut is_full) = (0_u64, false);
        for Standing { rank, build, repo, artifacts } in standing {
            let mut own: HashMap<BlobId, u64> = HashMap::new();
            for left in &artifacts {
                blobs_of(left.record.manifest, &mut |blob, bytes| _ = own.insert(blob, bytes))?;
            }
            let fresh: u64 = own.iter().filter(|(blob, _)| !marked.contains(blob)).map(|(_, bytes)| bytes).sum();
            if rank != Rank::Unfinished && (is_full || total.saturating_add(fresh) > limit) {
                // For a build that is too large by itself no other one has to go: that would make no room for it.
                is_full |= own.values().sum::<u64>() <= limit;
                self.go(build, &repo, artifacts, ExpiryRule::Size);
                continue;
            }
            total = total.saturating_add(fresh);
            marked.extend(own.into_keys());
        }
        Ok(ArtifactDecision { going: self.going, marked })
    }

    /// Returns the milliseconds since then; 0 if that is yet to come.
    fn age(&self, then: WallTime) -> u64 {
        u64::try_from(self.now.0.saturating_sub(then.0)).unwrap_or(0)
    }

    fn go(&mut self, build: BuildId, repo: &RepoName, artifacts: Vec<Left>, rule: ExpiryRule) {
        self.going.extend(artifacts.into_iter().map(|Left { attempt, record, .. }| Going {
            build,
            repo: repo.clone(),
            attempt,
            name: record.name,
            rule,
        }));
    }
}
