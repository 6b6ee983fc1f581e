//! Messages between an observer and the dispatcher.

use serde::{Deserialize, Serialize};

use super::hello::Refusal;

/// Observer to dispatcher.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum FromObserver {
    /// Asks which heads the dispatcher last accepted. The first message about a repository in a session. Answer:
    /// `heads`.
    Status {
        repo: String,
        /// Where the repository is, for people and to tell two of one name apart: `host:path` or a URL.
        source: String,
    },
    /// A piece of a pack, `bytes` raw bytes behind this line; pieces arrive in order, at most one pack at a time. After
    /// the last piece comes the `dispatch` that it belongs to. No answer of its own.
    Pack { repo: String, last: bool, bytes: u64 },
    /// Announces a commit as the branch's new head. Its source is in the pack before, or the dispatcher has it already.
    /// Answer: `ok`, `stale`, `need_source` or `error`.
    Dispatch {
        repo: String,
        branch: String,
        /// The head that `heads` or the last `ok` named; absent for a branch the dispatcher does not know.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        before: Option<String>,
        commit: String,
        /// First-parent commits after `before` up to and including `commit`, oldest first.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        range: Vec<String>,
        /// What asks for the build. `push` is the only kind so far; any other one is refused.
        #[serde(default = "push", skip_serializing_if = "is_push")]
        trigger: String,
        #[serde(default)]
        subject: String,
        #[serde(default)]
        author: String,
    },
    /// The pack before is all of this commit, as `lost_source` asked for. Changes no head. Answer: `ok` without a
    /// build, `need_source` or `error`.
    Supply { repo: String, commit: String },
    /// The branch no longer exists. Answer: `ok` without a build, or `stale`.
    Gone { repo: String, branch: String, before: String },
    /// Sent every `ping_interval_ms`. Answer: `ack`.
    Ping,
}

/// Dispatcher to observer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum ToObserver {
    /// The heads last accepted for the repository; empty for a new one.
    Heads {
        repo: String,
        heads: Vec<Head>,
    },
    /// The announcement is durable: it will be built, whatever happens.
    Ok {
        repo: String,
        branch: String,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        commit: Option<String>,
        /// The number of the build that was made for it, now or when it was first announced.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        build: Option<u64>,
    },
    /// The branch's accepted head is not the `before` of the announcement. Compare anew with `head`.
    Stale {
        repo: String,
        branch: String,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        head: Option<String>,
    },
    /// The dispatcher lacks objects of the commit. Send a pack of all of it, then `dispatch` again.
    NeedSource {
        repo: String,
        branch: String,
        commit: String,
    },
    /// Unasked: the source of a commit that was accepted is lost. Send a pack of all of it, then `supply`, if it is
    /// still there.
    LostSource {
        repo: String,
        commit: String,
    },
    /// Answer to `ping`.
    Ack,
    Error(Refusal),
}

/// One accepted head.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Head {
    pub branch: String,
    pub commit: String,
}

/// The trigger of an announcement that names none.
pub(super) fn push() -> String {
    "push".to_owned()
}

fn is_push(trigger: &String) -> bool {
    trigger == "push"
}
