//! Messages between a runner and the dispatcher.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::hello::Refusal;
use crate::model::recipe::{self, Recipe};

/// Runner to dispatcher.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum FromRunner {
    /// The first message after `welcome`: what the runner offers and what it still holds. Answer: `registered`.
    Register {
        /// Attempts it can execute at once, 1 to 1024.
        slots: u32,
        /// What it offers: `key=value` or bare words.
        #[serde(default)]
        labels: Vec<String>,
        /// How it makes sure that nothing of an attempt is left: `pid_namespace` or `subreaper`.
        isolation: String,
        /// Attempts it is executing, or whose results or logs it has not delivered yet.
        #[serde(default)]
        holding: Vec<u64>,
        /// The commit each repository's work tree is at, so that work can go where little needs to travel.
        #[serde(default)]
        warm: Vec<WarmTree>,
        /// The dispatcher started this runner itself.
        #[serde(default)]
        spawned: bool,
        /// It drains: it finishes what it holds and wants nothing new.
        #[serde(default)]
        draining: bool,
        /// It wants `source_ahead`.
        #[serde(default)]
        takes_source: bool,
    },
    /// Still alive. `holding` renews those leases; one the dispatcher counts as held but that is missing here for a
    /// whole lease is lost. Answer: `ack`.
    Ping { holding: Vec<u64> },
    /// Asks for the source of the commit of a lease it holds. Answer: `pack` pieces, or `source_missing`.
    Source {
        attempt: u64,
        /// Commits of this repository whose trees the runner has complete.
        #[serde(default)]
        haves: Vec<String>,
    },
    /// The task's process has started. No answer.
    Started { attempt: u64 },
    /// `bytes` raw bytes of the attempt's output follow, which stand at `offset`. Answer, in time: `log_ack`.
    Log { attempt: u64, offset: u64, bytes: u64 },
    /// The attempt has ended. Answer: `ok`, `stale`, or `log_ack` where log bytes are missing: send those, then this
    /// again.
    Results {
        attempt: u64,
        outcome: String,
        /// The exit code of `failed`, the signal of `killed`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        code: Option<i32>,
        /// The reason of `could_not_start` and `lost`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reason: Option<String>,
        /// How long the task's process ran, in milliseconds.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        duration_ms: Option<u64>,
        /// The log's whole length.
        #[serde(default)]
        log_bytes: u64,
        /// CRC-32 (IEEE) of the whole log.
        #[serde(default)]
        log_crc32: u32,
        /// Why output is missing from the log, where it is.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        log_missing: Option<String>,
    },
    /// The runner finishes what it holds and wants nothing new. No answer.
    Draining,
}

/// Dispatcher to runner.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum ToRunner {
    /// The answer to `register`. Attempts named in `gone` are no longer held: end them and forget them.
    Registered {
        #[serde(default)]
        gone: Vec<u64>,
        /// For attempts still held that have logs: where to go on.
        #[serde(default)]
        logs: Vec<LogOffset>,
    },
    /// A lease: execute this. It lasts `lease_ms` after each `ping` that names it.
    Runtask(Box<Runtask>),
    /// A lease of this commit is being recorded and will follow, as a rule. `bytes` raw bytes follow now: a whole pack,
    /// of what the commit has and the one before it has not.
    SourceAhead {
        repo: String,
        commit: String,
        bytes: u64,
    },
    /// A piece of the pack asked for with `source`; `bytes` raw bytes follow.
    Pack {
        attempt: u64,
        last: bool,
        bytes: u64,
    },
    /// The source cannot be had; the attempt cannot be executed here.
    SourceMissing {
        attempt: u64,
        reason: String,
    },
    /// End the attempt, politely and then firmly, and report it as cancelled.
    Cancel {
        attempt: u64,
    },
    /// The dispatcher has the log bytes before `offset`. Send from `offset` if that is not what follows. Keep them all
    /// until `ok` or `stale`: a dispatcher that lost power may ask for some again.
    LogAck {
        attempt: u64,
        offset: u64,
    },
    /// The result is durable. The runner may forget the attempt.
    Ok {
        attempt: u64,
    },
    /// The lease was not held any more; what came for it is kept as evidence and counts for nothing. Forget the
    /// attempt.
    Stale {
        attempt: u64,
    },
    /// Answer to `ping`. Attempts in `gone` are no longer held.
    Ack {
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        gone: Vec<u64>,
    },
    /// Finish what is held, then end: an operator asked for it.
    Drain,
    Error(Refusal),
}

/// A lease, with all that is needed to execute the attempt.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Runtask {
    pub attempt: u64,
    pub lease_ms: u64,
    pub build: u64,
    /// This attempt's number within its job, from 1.
    pub number: u32,
    pub repo: String,
    pub branch: String,
    pub commit: String,
    /// A task that cannot be read spoils this attempt alone, not the session; the error says what is wrong with it.
    #[serde(with = "readable")]
    pub task: Result<WireTask, String>,
}

/// A task, as far as a runner needs it: the recipe's keys stand beside the name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WireTask {
    pub name: String,
    #[serde(flatten, with = "recipe::shared")]
    pub recipe: Arc<Recipe>,
}

/// Reads a task in two steps, so that a mistake in it does not make the whole message unreadable.
mod readable {
    use serde::ser::Error;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};
    use serde_json::Value;

    use super::WireTask;

    pub(super) fn serialize<S: Serializer>(task: &Result<WireTask, String>, serializer: S) -> Result<S::Ok, S::Error> {
        task.as_ref().map_err(S::Error::custom)?.serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Result<WireTask, String>, D::Error> {
        let value = Value::deserialize(deserializer)?;
        Ok(WireTask::deserialize(value).map_err(|error| error.to_string()))
    }
}

/// Where a repository's work tree stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WarmTree {
    pub repo: String,
    pub commit: String,
}

/// How much of an attempt's log the dispatcher has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogOffset {
    pub attempt: u64,
    pub offset: u64,
}
