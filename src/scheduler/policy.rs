//! The numbers that decisions depend on. Durations are in milliseconds.

use crate::model::{Label, PoolId, Snapshot};

/// The settings of the operator that decisions depend on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    /// Interval of the pings of peers, and of the check for silent ones.
    pub heartbeat_interval_ms: u64,
    /// Interval of the check of leases and the queue: the shorter of the two ticks.
    pub tick_ms: u64,
    /// Silence after which a connected runner is lost. It is also the time that a lease lasts without renewal, and the
    /// time that restored leases wait for their runners after a restart.
    pub heartbeat_timeout_ms: u64,
    /// The reconnect window: after a runner's connection has closed, its jobs go to others unless it is back by then.
    pub reconnect_ms: u64,
    /// Losses after which a job is given up: the job may be the cause of them.
    pub max_losses: u32,
    /// Time without a connected runner that fits a queued job, after which the job is errored.
    pub queue_timeout_ms: u64,
    /// The pools in which runners may be started, in the order of preference.
    pub pools: Vec<Pool>,
    /// Requests to start a runner are numbered from the number after this one. Each start of the dispatcher has
    /// another.
    pub last_spawn: u64,
}

/// A place where runners may be started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pool {
    pub id: PoolId,
    /// The labels that a runner of the pool would offer.
    pub labels: Vec<Label>,
    /// The slots that a runner of the pool would have.
    pub slots: u32,
    /// How many of its runners may be connected before no further one is asked for.
    pub max: u32,
}

impl Policy {
    /// Returns how long a lease lasts after each renewal. An exclusive lease lasts longer: its runner ends the attempt
    /// by itself after half of this time without a word from the dispatcher, and ending it takes time, too.
    pub(super) fn lease_ms(&self, exclusive: bool) -> u64 {
        if exclusive { 2 * self.heartbeat_timeout_ms + 30_000 } else { self.heartbeat_timeout_ms }
    }
}

/// Time that a job waits for a runner to join by itself before one is started.
pub(super) const SPAWN_AFTER_MS: u64 = 500;
/// Time that a started runner has to join before another is started.
pub(super) const SPAWN_PATIENCE_MS: u64 = 10_000;
/// Rest of a runner that reported a failure of infrastructure, so that others may take the job. It is also the first
/// pause of a job that keeps coming to nothing, the first delay of a pool whose start failed, and the base of a
/// quarantine. Each of these doubles with each failure in a row.
pub(super) const REST_FIRST_MS: u64 = 1_000;
/// The longest quarantine, pause or delay.
pub(super) const REST_MAX_MS: u64 = 300_000;
/// Failures on one runner within this time are one failure: a full disk, a lost connection and a restarted process take
/// all attempts along.
pub(super) const TOGETHER_MS: u64 = 1_000;
/// Losses before the task's process started (no source, a full disk, a runner that was lost first) after which a job is
/// given up all the same, because every build ends. The job pauses longer after each, so this takes most of an hour.
pub(super) const MAX_BLAMELESS_LOSSES: u32 = 20;
/// Number of recorded results that are remembered, so that a result that is delivered again gets the same answer.
pub(super) const RECORDED_CAPACITY: usize = Snapshot::RECORDED_MAX;
/// Number of drained runners that a reason names. A sentence with more is not read.
pub(super) const NAMED_RUNNERS: usize = 5;
