//! The interface between the slots and the core: the state that all slots share, their work, and their reports.

use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crossbeam_channel::{Receiver, Sender};

use super::assignment::{Assignment, AttemptResult, HeldSource};
use super::blobs::{ArtifactLimits, LineWanted};
use super::executor::Executors;
use super::guard::AttemptGuard;
use super::images::{ContainerTool, Images};
use super::layout::Layout;
use super::routes::Piece;
use super::shared_repos::SharedRepos;
use super::tool_cache::Tiers;
use super::upload::Upload;
use crate::blobs::BlobCopies;
use crate::model::reason::LossReason;
use crate::model::{Ability, AttemptId, CommitId, Moment, Outcome, RepoName, RunnerName};

/// The state that all slots share.
pub(super) struct Common {
    pub(super) runner: RunnerName,
    pub(super) layout: Arc<Layout>,
    pub(super) repos: Arc<SharedRepos>,
    pub(super) local_source: Option<PathBuf>,
    /// The variables of the runner's environment that attempts inherit.
    pub(super) inherited: Vec<(OsString, OsString)>,
    pub(super) log_limit: u64,
    pub(super) artifact_limits: ArtifactLimits,
    pub(super) tool_cache: Arc<Tiers>,
    /// Copies of files of caches and of taken artifacts, so that they need not be sent again.
    pub(super) copies: BlobCopies,
    pub(super) min_free: u64,
    pub(super) grace_ms: u64,
    /// The time since which leases are surely renewed, as the core last knew.
    pub(super) renewed: AtomicU64,
    pub(super) executors: Executors,
    /// `None` if the runner has no container tool.
    pub(super) images: Option<Arc<Images>>,
    /// The abilities that this runner offers to tasks.
    pub(super) abilities: Vec<Ability>,
    /// `None` if the kernel does not let this runner guard its attempts.
    pub(super) guard: Option<AttemptGuard>,
    pub(super) reports: Sender<SlotReport>,
    pub(super) uploads: Sender<Upload>,
}

impl Common {
    /// Returns the container tool with the executor of its processes.
    pub(super) fn container_tool(&self) -> ContainerTool {
        let (make, layout) = (self.executors.tools.clone(), self.layout.clone());
        ContainerTool::new(self.images.clone(), Arc::new(move || make(&layout)))
    }

    /// Whether the disk has room for an attempt.
    pub(super) fn check_disk(&self) -> Result<(), Outcome> {
        let min_free = self.min_free;
        match self.layout.free() {
            Ok(free) if free >= min_free => Ok(()),
            Ok(free) => {
                let (free, wanted) = (free >> 20, min_free >> 20);
                Err(Outcome::Lost(LossReason::DiskFull {
                    text: format!("free disk space of {free} MiB is below the {wanted} MiB that are kept free"),
                }))
            }
            Err(error) => Err(Outcome::Lost(format!("could not find out the free disk space: {error}").into())),
        }
    }

    /// S9: the source may have taken long to arrive, or the machine may have slept meanwhile, and the core may not have
    /// noticed yet that an exclusive attempt is over. So the slot checks, as late as it can.
    pub(super) fn check_exclusive(&self, assignment: &Assignment, now: Moment) -> Result<(), Outcome> {
        let renewed = Moment(self.renewed.load(Ordering::Relaxed));
        if assignment.may_start(now, renewed, self.grace_ms) {
            return Ok(());
        }
        Err(Outcome::Lost(LossReason::CutOff {
            text: "the runner was cut off from the dispatcher before the process could start".into(),
        }))
    }
}

/// An attempt for a slot to execute.
pub(super) struct SlotWork {
    pub(super) assignment: Box<Assignment>,
    /// A message here ends the attempt.
    pub(super) cancelled: Receiver<()>,
}

/// A report of a slot to the core.
pub(super) enum SlotReport {
    /// The slot needs the source of its attempt.
    SourceWanted { attempt: AttemptId, haves: HeldSource, pieces: Sender<Piece> },
    /// The slot needs the secrets of its attempt.
    SecretsWanted { attempt: AttemptId, answer: Sender<Piece> },
    /// The attempt's process has started.
    Started(AttemptId),
    /// The slot has messages about blobs for the dispatcher.
    LineWanted(LineWanted),
    /// The attempt has ended and the slot is free.
    Ended {
        attempt: AttemptId,
        report: AttemptResult,
        /// The commit of the slot's work tree after the attempt.
        warm: Option<(RepoName, CommitId)>,
    },
}
