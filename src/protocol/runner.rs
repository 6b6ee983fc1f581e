//! Messages between a runner and the dispatcher.

use std::sync::Arc;

use serde::ser::Error;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;

use super::blobs::{ArtifactEnd, BlobOffset, BlobPart, BlobPiece, BlobQuestion, BlobRequest, NeededArtifact};
use super::caches::{CacheAnswer, CacheQuestion, CacheSave};
use super::execution::{Execution, Tiers};
use super::hello::Refusal;
use super::tool_entries::{EntryAnswer, EntryPiece, EntryQuestion};
use crate::model::recipe::{self, Recipe};

pub use super::stream_name::StreamName;

/// Runner to dispatcher.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum FromRunner {
    /// Tells what the runner offers and which attempts it still holds. It is the first message after `welcome`. Answer:
    /// `registered`.
    Register {
        /// The number of attempts that it can execute at once, 1 to 1024.
        slots: u32,
        /// The runner's labels: `key=value` or bare words. None by default.
        #[serde(default)]
        labels: Vec<String>,
        /// The way in which it ends every process of an attempt: `pid_namespace` or `subreaper`.
        isolation: String,
        /// The tiers that it offers to tasks, for people. None by default.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        tiers: Option<Tiers>,
        /// The attempts that it is executing, or whose results or logs it has not delivered yet. None by default.
        #[serde(default)]
        holding: Vec<u64>,
        /// The commit of each repository's work tree, so that a job can go to the runner that needs the least source.
        /// None by default.
        #[serde(default)]
        warm: Vec<WarmTree>,
        /// Whether the dispatcher started this runner itself. False by default.
        #[serde(default)]
        spawned: bool,
        /// The number that the dispatcher gave this runner when it started it. None by default.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        spawn: Option<u64>,
        /// Whether it drains: it finishes the attempts that it holds and takes no new ones. False by default.
        #[serde(default)]
        draining: bool,
        /// Whether it takes `source_ahead`. False by default.
        #[serde(default)]
        takes_source: bool,
        /// Whether it takes leases of cells of a matrix, whose names have `@` and `,`. False by default.
        #[serde(default)]
        takes_cells: bool,
    },
    /// Shows that the runner is alive, and renews the leases in `holding`. An attempt that the dispatcher counts as
    /// held and that is missing here for the length of a lease is lost. Answer: `ack`.
    Ping { holding: Vec<u64> },
    /// Asks for the source of the commit of a held lease. Answer: `pack` pieces, or `source_missing`.
    Source {
        attempt: u64,
        /// Commits of this repository of which the runner has the whole tree. None by default.
        #[serde(default)]
        haves: Vec<String>,
        /// The facts that it has of some of these commits, with all that they name. None by default.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        facts: Vec<HeldFacts>,
    },
    /// Asks for the secrets of a held lease whose task names some, when its attempt starts. Answer: `secrets`, or
    /// `secrets_missing`.
    Secrets { attempt: u64 },
    /// States that the task's process has started. No answer.
    Started { attempt: u64 },
    /// Carries a piece of one of the attempt's streams: `bytes` raw bytes follow, which belong at `offset`. Answer, in
    /// time: `log_ack`.
    Log {
        attempt: u64,
        #[serde(default, skip_serializing_if = "StreamName::is_log")]
        stream: StreamName,
        offset: u64,
        bytes: u64,
        /// When the bytes were read: pairs of an offset in the piece and the age of the byte there in milliseconds, in
        /// ascending order of offsets. The age holds up to the next pair. By default all bytes are new.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        ages: Vec<(u64, u64)>,
    },
    /// Reports the end of the attempt. Answer: `ok`, `stale`, or `log_ack` if bytes of a stream are missing; the runner
    /// then sends those, and this message again.
    Results {
        attempt: u64,
        outcome: String,
        /// The exit code of `failed`, or the signal of `killed`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        code: Option<i32>,
        /// The reason of `could_not_start` or `lost`, a sentence.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reason: Option<String>,
        /// With `lost`: the code of the reason, if there is one. See "Reasons" in the protocol document.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reason_code: Option<String>,
        /// The time for which the task's process ran, in milliseconds.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        duration_ms: Option<u64>,
        /// The length of the whole log, in bytes. 0 by default.
        #[serde(default)]
        log_bytes: u64,
        /// CRC-32 (IEEE) of the whole log.
        #[serde(default)]
        log_crc32: u32,
        /// The reason why output is missing from the log, if it is.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        log_missing: Option<String>,
        /// The streams beside the log that must be whole before the result counts.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        streams: Vec<StreamEnd>,
        /// Those of a task with steps, in order.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        steps: Vec<StepEnd>,
        /// How the attempt was executed: its tier, and what its processes used. None by default.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        execution: Option<Box<Execution>>,
        /// The file of further tasks that a task with `expand` wrote; absent if it wrote none. Only with `passed`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        tasks: Option<Box<WrittenFile>>,
        /// The outputs of the attempt, as pairs of a name and a value. None by default.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        outputs: Vec<(String, String)>,
        /// The artifacts that the attempt left, whose blobs are `settled`.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        artifacts: Vec<ArtifactEnd>,
    },
    /// Asks which of these blobs the dispatcher lacks. Answer: `lacks`.
    Have(BlobQuestion),
    /// Carries a piece of a blob that the dispatcher lacks: `bytes` raw bytes follow. Answer: `blob_ack` or
    /// `blob_refused`.
    Blob(BlobPiece),
    /// Asks to make everything that was sent for the attempt durable. Each manifest, and each blob that it names, must
    /// be there. Answer: `settled` or `blob_refused`.
    Settle { attempt: u64, manifests: Vec<String> },
    /// Asks for pieces of blobs, which are files of the artifacts that the attempt takes. Answer, for each of them in
    /// order: `blob` or `blob_missing`; or one `blob_refused`.
    Want(BlobRequest),
    /// Asks for the cache that the attempt may restore: the one of this key, or the newest of the family. Answer:
    /// `cache`.
    FindCache(CacheQuestion),
    /// Saves a cache under its key, if the build's own scope has none of it. Its blobs are `settled`. Answer:
    /// `cache_saved`.
    SaveCache(CacheSave),
    /// Asks for an entry of the tool cache, or for a further piece of it. Answer: `entry`.
    FindEntry(EntryQuestion),
    /// Carries an entry of the tool cache, or a piece of one: `bytes` raw bytes follow. Answer: `entry_ack`.
    KeepEntry(EntryPiece),
    /// States that the runner finishes the attempts that it holds and takes no new ones. No answer.
    Draining,
}

/// Dispatcher to runner.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum ToRunner {
    /// Answers `register`. The runner ends and forgets the attempts in `gone`, which it no longer holds.
    Registered {
        #[serde(default)]
        gone: Vec<u64>,
        /// For each attempt that is still held: the offsets at which its streams continue. None by default.
        #[serde(default)]
        logs: Vec<LogOffset>,
        /// Whether an operator drained this runner, so that it stays connected and gets no `runtask` until an operator
        /// resumes it. False by default.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        drained: bool,
    },
    /// Grants a lease: the runner executes the attempt. The lease lasts `lease_ms` after each `ping` that names it.
    Runtask(Box<Runtask>),
    /// Carries a small commit's source before its lease, which is being recorded and follows as a rule. `bytes` raw
    /// bytes follow: one whole pack of the objects that the commit has and the commit before it has not.
    SourceAhead { repo: String, commit: String, bytes: u64 },
    /// Carries a piece of the pack that `source` asked for: `bytes` raw bytes follow.
    Pack {
        attempt: u64,
        last: bool,
        bytes: u64,
        /// The id of the facts of the commit's source, a blob that came with the pack, as did all that they name. Only
        /// in the last piece, and absent if the pack is of the commit alone.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        facts: Option<String>,
    },
    /// States that the source cannot be provided, so that the attempt cannot be executed here.
    SourceMissing { attempt: u64, reason: String },
    /// Carries the secrets that `secrets` asked for: the values follow as `bytes` raw bytes, one behind the other.
    Secrets { attempt: u64, secrets: Vec<SecretPart>, bytes: u64 },
    /// States that the attempt gets no secrets. `denied`: it may not have them, so it could not start.
    SecretsMissing {
        attempt: u64,
        reason: String,
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        denied: bool,
    },
    /// Orders the runner to end the attempt, with TERM and then KILL, and to report it as cancelled.
    Cancel { attempt: u64 },
    /// Confirms the stream's bytes before `offset`; the runner continues at `offset`. It keeps the whole stream until
    /// `ok` or `stale`, because a dispatcher that lost power may ask for bytes again.
    LogAck {
        attempt: u64,
        #[serde(default, skip_serializing_if = "StreamName::is_log")]
        stream: StreamName,
        offset: u64,
    },
    /// Answers `have`.
    Lacks { attempt: u64, blobs: Vec<BlobOffset> },
    /// Confirms a piece: what is before `offset` has arrived. Behind the last piece the blob is verified.
    BlobAck { attempt: u64, blob: String, offset: u64 },
    /// Confirms that the blobs of the attempt are durable.
    Settled { attempt: u64 },
    /// States that a piece, or a `settle`, was not taken, and why. The runner begins anew with `have`, or gives up.
    BlobRefused {
        attempt: u64,
        reason: String,
        /// `disk_full` or `wrong_bytes`; absent for other reasons.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reason_code: Option<String>,
    },
    /// Carries a piece of a blob that `want` asked for: `bytes` raw bytes follow.
    Blob(BlobPart),
    /// States that the dispatcher does not have a blob that `want` asked for.
    BlobMissing { attempt: u64, blob: String, reason: String },
    /// Answers `find_cache`. The blobs of a cache that was found stay for a day, whatever is removed.
    Cache(CacheAnswer),
    /// Answers `save_cache`: the cache is durable, unless there is a `reason` why not.
    CacheSaved {
        attempt: u64,
        key: String,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reason: Option<String>,
    },
    /// Answers `find_entry`: `bytes` raw bytes follow, a piece of the entry that was found.
    Entry(EntryAnswer),
    /// Answers `keep_entry`: the dispatcher has the piece, unless there is a `reason` why not. Then the rest of the
    /// entry need not be sent.
    EntryAck {
        attempt: u64,
        request: u64,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reason: Option<String>,
    },
    /// Confirms that the result is durable. The runner may forget the attempt.
    Ok { attempt: u64 },
    /// States that the lease was no longer held. The dispatcher keeps the late result as evidence, but it changes no
    /// verdict. The runner forgets the attempt.
    Stale { attempt: u64 },
    /// Answers `ping`. Attempts in `gone` are no longer held.
    Ack {
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        gone: Vec<u64>,
    },
    /// Orders the runner to finish the attempts that it holds and then to end: an operator asked for it.
    Drain,
    /// Refuses a message, or ends the session.
    Error(Refusal),
}

/// The fields of `runtask`: a lease, with everything that is needed to execute the attempt.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Runtask {
    pub attempt: u64,
    pub lease_ms: u64,
    pub build: u64,
    /// The number of this attempt within its job, from 1.
    pub number: u32,
    pub repo: String,
    pub branch: String,
    /// The full name of a ref that is no branch, as in `dispatch`; `HEAD` if the build concerns no ref. Absent for a
    /// branch.
    #[serde(default, rename = "ref", skip_serializing_if = "Option::is_none")]
    pub reference: Option<String>,
    /// The event that caused the build: `push`, `tag`, `ref`, `pull`, `schedule`, `manual` or `try`. Absent from
    /// dispatchers before it existed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub event: Option<String>,
    /// Whether the build is trusted. Absent from dispatchers before it existed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trusted: Option<bool>,
    /// The repository's default branch. Absent if the dispatcher does not know it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default_branch: Option<String>,
    /// The number of the runner's slots that the attempt takes. Absent if it is one.
    #[serde(default = "one_slot", skip_serializing_if = "is_one_slot")]
    pub slots: u32,
    /// The commit that the branch was at before; none by default, as for a new branch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<String>,
    pub commit: String,
    /// The place from which the observer reads the repository, without credentials; none by default, if it is not
    /// known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// The outputs of the tasks that this one needs, as pairs of a name and a value: variables for the attempt. None by
    /// default.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub outputs: Vec<(String, String)>,
    /// The reason why the attempt cannot get these outputs. It then could not start.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outputs_missing: Option<String>,
    /// The scopes of the attempt's tool cache: those that it reads, in this order. The first one is its own, into which
    /// it writes. None by default, as for a task without a tool cache.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub cache_scopes: Vec<CacheScopeName>,
    /// The artifacts of needed tasks that are put into the work tree before the task starts; a later one wins. None by
    /// default.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub artifacts: Vec<NeededArtifact>,
    /// The reason why the attempt cannot get these artifacts. It then could not start.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub artifacts_missing: Option<String>,
    /// A task that cannot be read spoils this attempt alone, not the session; the error says what is wrong with it.
    #[serde(serialize_with = "serialize_task", deserialize_with = "deserialize_task")]
    pub task: Result<WireTask, String>,
}

/// The name of a scope: a ref, and whether the builds are trusted that write into it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CacheScopeName {
    /// The full name.
    #[serde(rename = "ref")]
    pub reference: String,
    pub trusted: bool,
}

/// A task, as far as a runner needs it: the recipe's keys stand beside the name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WireTask {
    pub name: String,
    #[serde(flatten, with = "recipe::shared")]
    pub recipe: Arc<Recipe>,
}

fn one_slot() -> u32 {
    1
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes fields by reference")]
fn is_one_slot(slots: &u32) -> bool {
    *slots == 1
}

fn serialize_task<S: Serializer>(task: &Result<WireTask, String>, serializer: S) -> Result<S::Ok, S::Error> {
    task.as_ref().map_err(S::Error::custom)?.serialize(serializer)
}

/// Reads a task in two steps, so that a mistake in it does not make the whole message unreadable.
fn deserialize_task<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Result<WireTask, String>, D::Error> {
    let value = Value::deserialize(deserializer)?;
    Ok(WireTask::deserialize(value).map_err(|error| error.to_string()))
}

/// The facts that a runner has of a commit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeldFacts {
    pub commit: String,
    pub facts: String,
}

/// One of the values in the payload of `secrets`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SecretPart {
    pub name: String,
    pub bytes: u64,
}

/// The commit of a repository's work tree.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WarmTree {
    pub repo: String,
    pub commit: String,
}

/// The number of bytes of an attempt's stream that the dispatcher has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogOffset {
    pub attempt: u64,
    #[serde(default, skip_serializing_if = "StreamName::is_log")]
    pub stream: StreamName,
    pub offset: u64,
}

/// A stream beside the log, when the attempt has ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StreamEnd {
    pub stream: StreamName,
    pub bytes: u64,
    /// CRC-32 (IEEE) of the whole stream.
    pub crc32: u32,
    /// The reason why bytes are missing from the stream, if any are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub missing: Option<String>,
}

/// The file of further tasks that a task wrote.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WrittenFile {
    /// All of it.
    Text(String),
    /// The reason why it cannot be sent: it is too long, or is no text.
    Problem(String),
}

/// The result of one step of a task.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StepEnd {
    pub name: String,
    /// As the `outcome` of the whole. None if the step was left out, because of a step before it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outcome: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<i32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason_code: Option<String>,
    /// The time for which its process ran, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub duration_ms: Option<u64>,
    /// Where its section of the log begins and ends.
    #[serde(default)]
    pub log_start: u64,
    #[serde(default)]
    pub log_end: u64,
}
