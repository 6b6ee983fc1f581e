//! The numbers that decisions depend on. Durations are in milliseconds.

use crate::model::{Label, PoolId};

use crate::model::Snapshot;

/// What the operator of a dispatcher may choose about its decisions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    /// How often peers ping, and how often their silence is looked for.
    pub heartbeat_interval_ms: u64,
    /// How often leases are looked at: the shorter of the two ticks.
    pub tick_ms: u64,
    /// Silence after which a connected runner is lost. Also how long a lease lasts without renewal, and how long
    /// restored leases wait for their runners after a restart.
    pub heartbeat_timeout_ms: u64,
    /// How long a runner whose connection closed may take to come back before its jobs go to others.
    pub reconnect_ms: u64,
    /// Losses after which a job is given up: it may be what kills its runners.
    pub max_losses: u32,
    /// How long a job waits while no runner fits it, before it is errored.
    pub queue_timeout_ms: u64,
    /// Where runners may be started, in the order of preference.
    pub pools: Vec<Pool>,
    /// The number after which those of requests to start a runner begin: another one at each start of the dispatcher.
    pub last_spawn: u64,
}

/// A place where runners may be started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pool {
    pub id: PoolId,
    /// What a runner there would offer.
    pub labels: Vec<Label>,
    /// How many of its runners may be connected before no further one is asked for.
    pub max: u32,
}

impl Policy {
    /// How long a lease lasts after each renewal. An exclusive one lasts longer: its runner ends it by itself after
    /// half of this without word from the dispatcher, and the ending takes its time too.
    pub(super) fn lease_ms(&self, exclusive: bool) -> u64 {
        if exclusive { 2 * self.heartbeat_timeout_ms + 30_000 } else { self.heartbeat_timeout_ms }
    }
}

/// How long work waits for a runner to turn up by itself before one is started here.
pub(super) const SPAWN_AFTER_MS: u64 = 500;
/// How long a started runner may take to register before another is started.
pub(super) const SPAWN_PATIENCE_MS: u64 = 10_000;
/// How long a runner that reported a failure of infrastructure gets nothing, so that others may take the job. Also the
/// first quarantine, which doubles with each failure in a row, and the first pause of a job that keeps coming to
/// nothing.
pub(super) const REST_FIRST_MS: u64 = 1_000;
/// The longest quarantine or pause.
pub(super) const REST_MAX_MS: u64 = 300_000;
/// Failures on one runner within this are one failure: a disk that is full, a connection that is lost and a process
/// that restarts take everything along that is executing.
pub(super) const TOGETHER_MS: u64 = 1_000;
/// Losses that are not the job's doing (no source, a full disk, a runner that never got to start it) after which it is
/// given up all the same: every build ends. The job pauses longer after each, so this takes most of an hour.
pub(super) const MAX_BLAMELESS_LOSSES: u32 = 20;
/// How many delivered results are remembered, so that one that is delivered again gets the same answer.
pub(super) const RECORDED_CAPACITY: usize = Snapshot::RECORDED_MAX;
