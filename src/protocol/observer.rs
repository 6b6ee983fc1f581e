//! Messages between an observer and the dispatcher.

use serde::{Deserialize, Serialize};

use super::hello::Refusal;

/// Observer to dispatcher.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum FromObserver {
    /// Asks for the heads that the dispatcher accepted last. It is the first message about a repository in a session.
    /// Answer: `heads`.
    Status {
        repo: String,
        /// The place of the repository, `host:path` or a URL: for people, and to distinguish two repositories of one
        /// name.
        source: String,
        /// The patterns for refs that are no branches, by which the observer watches the repository: globs of full
        /// names, such as `refs/tags/v*`. None by default.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        patterns: Vec<String>,
        /// The repository's default branch, without `refs/heads/`. Absent if the observer does not know it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        default_branch: Option<String>,
        /// The full names of the branches and tags that the observer watches by name, and not by a pattern. None by
        /// default.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        named: Vec<String>,
    },
    /// Names refs that were there when the observer looked at `patterns` for the first time: they are not to be built
    /// before they move. Several messages name the refs of one look; the last of them has the patterns. Answer to the
    /// last one: `noted`.
    Existing {
        repo: String,
        refs: Vec<Head>,
        /// Whether another `existing` continues this one. Absent if not.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        more: bool,
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        patterns: Vec<String>,
    },
    /// Carries a piece of a pack: `bytes` raw bytes follow this line. Pieces arrive in order, of one pack at a time.
    /// The `dispatch` or `supply` that the pack belongs to follows the last piece. No answer of its own.
    Pack { repo: String, last: bool, bytes: u64 },
    /// Announces a commit as the new head of a ref. The pack before has its source, or the dispatcher has it
    /// already. Answer: `ok`, `stale`, `need_source` or `error`.
    Dispatch {
        repo: String,
        branch: String,
        /// The full name of a ref that is no branch, such as `refs/tags/v1`. Absent for a branch, which `branch` names;
        /// for another ref, `branch` means nothing.
        #[serde(default, rename = "ref", skip_serializing_if = "Option::is_none")]
        reference: Option<String>,
        /// The head that `heads` or the last `ok` named; absent for a ref that the dispatcher does not know.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        before: Option<String>,
        commit: String,
        /// The first-parent commits after `before` up to and including `commit`, oldest first. Empty by default.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        range: Vec<String>,
        /// The number of first-parent commits after `before` up to and including `commit`, if `range` does not list
        /// all of them; 0 if `commit` does not follow `before`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        commits: Option<u64>,
        /// Of a ref that the dispatcher does not know: the first-parent commits before `commit`, the nearest first.
        /// Empty by default.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        ancestors: Vec<String>,
        /// The kind of the trigger: `push`, the default, for a branch, `tag` for a tag, `ref` for any other ref.
        #[serde(default = "push", skip_serializing_if = "is_push")]
        trigger: String,
        #[serde(default)]
        subject: String,
        #[serde(default)]
        author: String,
        /// The `moves` of the message that told this ref's head: the last `heads`, or an `ok` or `stale` about the ref
        /// since. Absent from observers before it existed.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        seen: Option<u64>,
        /// The id of the facts of the commit's source, a blob that the dispatcher has or that the pack before has, with
        /// the history that they name. Absent if the commit alone was sent.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        facts: Option<String>,
    },
    /// States that the pack before holds the whole commit, as `lost_source` asked. Changes no head. Answer: `ok`
    /// without a build, `need_source` or `error`.
    Supply {
        repo: String,
        commit: String,
        /// As in `dispatch`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        facts: Option<String>,
    },
    /// States that the ref no longer exists. Answer: `ok` without a build, or `stale`.
    Gone {
        repo: String,
        branch: String,
        /// As in `dispatch`.
        #[serde(default, rename = "ref", skip_serializing_if = "Option::is_none")]
        reference: Option<String>,
        before: String,
        /// As in `dispatch`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        seen: Option<u64>,
    },
    /// Shows that the observer is alive, every `ping_interval_ms`. Answer: `ack`.
    Ping,
}

/// Dispatcher to observer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum ToObserver {
    /// Names the heads that were accepted last for the repository; none for a new repository.
    Heads {
        repo: String,
        heads: Vec<Head>,
        /// Whether another `heads` continues this one. Absent if not.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        more: bool,
        /// The number of moves that were accepted for the repository, over all refs.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        moves: Option<u64>,
        /// Those of the patterns in `status` at which no observer has looked yet. Absent if there are none.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        unseen: Vec<String>,
    },
    /// Answers the last `existing` of a look: it is durable, or another observer has looked at one of the patterns
    /// before. The observer sends `status` again.
    Noted { repo: String },
    /// Confirms that the announcement is durable: the commit will be built, whatever happens.
    Ok {
        repo: String,
        branch: String,
        /// As in the announcement.
        #[serde(default, rename = "ref", skip_serializing_if = "Option::is_none")]
        reference: Option<String>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        commit: Option<String>,
        /// The number of the commit's build, made now or when the commit was announced first. Absent if there is none.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        build: Option<u64>,
        /// As in `heads`. Absent after `supply`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        moves: Option<u64>,
    },
    /// Refuses an announcement whose `before` is not the accepted head of the ref, or that was made before the
    /// observer knew of the ref's last move. The observer compares anew with `head`.
    Stale {
        repo: String,
        branch: String,
        /// As in the announcement.
        #[serde(default, rename = "ref", skip_serializing_if = "Option::is_none")]
        reference: Option<String>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        head: Option<String>,
        /// As in `heads`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        moves: Option<u64>,
    },
    /// Asks for a pack of the whole commit, then the same `dispatch` again: the dispatcher lacks objects of it.
    NeedSource {
        repo: String,
        branch: String,
        /// As in the announcement.
        #[serde(default, rename = "ref", skip_serializing_if = "Option::is_none")]
        reference: Option<String>,
        commit: String,
    },
    /// Asks, at any time, for a pack of the whole commit, then `supply`: the source of this accepted commit is lost.
    /// The observer does nothing if it no longer has the commit.
    LostSource { repo: String, commit: String },
    /// Asks, at any time, for a look at the repository at once. Sent only to an observer that said `takes_wakes`. No
    /// answer.
    Wake { repo: String },
    /// Answers `ping`.
    Ack,
    /// Refuses a message, or ends the session.
    Error(Refusal),
}

/// One accepted head.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Head {
    pub branch: String,
    /// As in `dispatch`.
    #[serde(default, rename = "ref", skip_serializing_if = "Option::is_none")]
    pub reference: Option<String>,
    pub commit: String,
    /// Whether the ref was only noted by `existing`: the dispatcher does not have the commit's source. Absent if not.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub noted: bool,
}

/// The trigger of an announcement that names none.
pub(super) fn push() -> String {
    "push".to_owned()
}

fn is_push(trigger: &String) -> bool {
    trigger == "push"
}
