//! The cause of a build. A build is a repository, a commit and a trigger; the same trigger never makes two builds.

use std::fmt;
use std::sync::Arc;

use super::{BranchName, CommitId, WallTime};

/// A ref's full name, such as `refs/heads/main`. It may be any text that git allows, so it is never used as a path.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RefName(Arc<str>);

/// The namespace of branches.
const BRANCHES: &str = "refs/heads/";

/// The namespace of tags.
const TAGS: &str = "refs/tags/";

/// The namespaces in which forges show the heads of pull requests: GitHub, Gitea and Forgejo; GitLab; Bitbucket.
const PULLS: [&str; 3] = ["refs/pull/", "refs/merge-requests/", "refs/pull-requests/"];

impl RefName {
    /// Takes a full name without a check.
    #[must_use]
    pub fn new(name: &str) -> Self {
        Self(name.into())
    }

    /// The full name of a branch.
    #[must_use]
    pub fn of_branch(branch: impl fmt::Display) -> Self {
        Self(format!("{BRANCHES}{branch}").into())
    }

    /// The name that stands for a commit that no ref was named for: `HEAD`, as git calls a detached one.
    #[must_use]
    pub fn detached() -> Self {
        Self::new("HEAD")
    }

    /// The full name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The name without `refs/heads/`, if the ref is a branch.
    #[must_use]
    pub fn branch(&self) -> Option<&str> {
        self.0.strip_prefix(BRANCHES)
    }

    /// The name without `refs/tags/`, if the ref is a tag.
    #[must_use]
    pub fn tag(&self) -> Option<&str> {
        self.0.strip_prefix(TAGS)
    }

    /// Whether the ref shows a pull request of a forge.
    #[must_use]
    pub fn is_pull(&self) -> bool {
        PULLS.iter().any(|namespace| self.0.starts_with(namespace))
    }

    /// The ref as a sentence names it: `branch main`, `tag v1`, or the full name.
    #[must_use]
    pub fn described(&self) -> String {
        match (self.branch(), self.tag()) {
            (Some(branch), _) => format!("branch {branch}"),
            (None, Some(tag)) => format!("tag {tag}"),
            (None, None) => self.to_string(),
        }
    }

    /// Reads a name as messages have it: a branch without `refs/heads/`, or instead of it the full name.
    #[must_use]
    pub fn read(branch: &str, full: Option<&str>) -> Self {
        full.map_or_else(|| Self::of_branch(branch), Self::new)
    }

    /// The name as messages have it: the short name, and the full name if the ref is no branch.
    #[must_use]
    pub fn written(&self) -> (String, Option<String>) {
        (self.short().to_owned(), self.branch().is_none().then(|| self.to_string()))
    }

    /// The name as people know it: a branch without `refs/heads/`, any other ref in full.
    #[must_use]
    pub fn short(&self) -> &str {
        self.branch().unwrap_or(&self.0)
    }
}

impl fmt::Display for RefName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

worded! {
    /// Whether a build may use things that are reserved for the owners' own commits, such as secrets.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub enum Trust: word {
        Trusted = "trusted",
        Untrusted = "untrusted",
    }
}

worded! {
    /// The event that asks for a build, with the data of that kind of event.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub enum TriggerKind: word {
        /// A branch moved to the commit.
        Push {
            /// The number of the move, see [`Trigger::number`].
            number: u64,
            /// The head of the branch that the dispatcher accepted before; `None` for a new branch.
            before: Option<CommitId>,
            /// First-parent commits from `before` (exclusive) to the commit (inclusive), oldest first, bounded by the
            /// observer.
            range: Vec<CommitId>,
            /// The number of those commits, with the older ones that `range` leaves out. `None` if the commit does not
            /// follow `before`, as after a forced push, or if the number is not known.
            commits: Option<u64>,
        } = "push",
        /// A tag was made or moved. `number` and `before` are as for a push.
        Tag { number: u64, before: Option<CommitId> } = "tag",
        /// Another watched ref was made or moved, such as the head of a pull request. `number` and `before` are as for
        /// a push.
        Ref { number: u64, before: Option<CommitId> } = "ref",
        /// A schedule of the task file came due at this time. The time zone is the one in which the schedule is read.
        Schedule { name: Arc<str>, due: WallTime, timezone: Arc<str> } = "schedule",
        /// A person asked for a build of a commit. The asking program has made up the id, so that a request that is
        /// sent again makes no second build. `by` is the name of the person, if it is known.
        Manual { id: TriggerId, by: Option<Arc<str>> } = "manual",
        /// A person asked for a build of uncommitted work; `id` and `by` are as for a manual build.
        Try { id: TriggerId, by: Option<Arc<str>> } = "try",
    }
}

/// A random number by which a request for a build is recognised.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TriggerId(pub [u8; 16]);

/// The cause of a build.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trigger {
    pub kind: TriggerKind,
    /// The ref that the trigger concerns.
    pub reference: RefName,
    pub trust: Trust,
}

impl Trigger {
    /// A push to a trusted branch. `range` has all commits of the push. It has no number yet.
    #[must_use]
    pub fn push(branch: &BranchName, before: Option<CommitId>, range: Vec<CommitId>) -> Self {
        let commits = Some(range.len() as u64);
        Self::push_of(branch, before, range, commits)
    }

    /// Like [`Trigger::push`], of this number of commits.
    #[must_use]
    pub fn push_of(branch: &BranchName, before: Option<CommitId>, range: Vec<CommitId>, commits: Option<u64>) -> Self {
        Self { trust: Trust::Trusted, ..Self::of_move(RefName::of_branch(branch), before, range, commits) }
    }

    /// A move of a ref: a push of these commits if it is a branch. It has no number yet, and is untrusted until the
    /// operator's rules are asked.
    #[must_use]
    pub fn of_move(reference: RefName, before: Option<CommitId>, range: Vec<CommitId>, commits: Option<u64>) -> Self {
        let kind = if reference.branch().is_some() {
            TriggerKind::Push { number: 0, before, range, commits }
        } else if reference.tag().is_some() {
            TriggerKind::Tag { number: 0, before }
        } else {
            TriggerKind::Ref { number: 0, before }
        };
        Self { kind, reference, trust: Trust::Untrusted }
    }

    /// The event as task files and tasks know it: the kind's word, and `pull` for a ref that shows a pull request.
    #[must_use]
    pub fn event(&self) -> &'static str {
        match self.kind {
            TriggerKind::Ref { .. } if self.reference.is_pull() => "pull",
            TriggerKind::Push { .. }
            | TriggerKind::Tag { .. }
            | TriggerKind::Ref { .. }
            | TriggerKind::Schedule { .. }
            | TriggerKind::Manual { .. }
            | TriggerKind::Try { .. } => self.kind.word(),
        }
    }

    /// The same trigger with the number under which the dispatcher has accepted it, if it is a move of a ref.
    #[must_use]
    pub fn numbered(mut self, accepted: u64) -> Self {
        if let TriggerKind::Push { number, .. } | TriggerKind::Tag { number, .. } | TriggerKind::Ref { number, .. } =
            &mut self.kind
        {
            *number = accepted;
        }
        self
    }

    /// The number of a move among the accepted moves of all refs of its repository, from 1. It is 0 before the move is
    /// accepted, for builds from before moves were numbered, and for a trigger that moves no ref.
    #[must_use]
    pub fn number(&self) -> u64 {
        self.moved().map_or(0, |(number, _)| number)
    }

    /// The number of a move and the head before it, if the trigger is a move of a ref.
    fn moved(&self) -> Option<(u64, Option<CommitId>)> {
        match &self.kind {
            TriggerKind::Push { number, before, .. }
            | TriggerKind::Tag { number, before }
            | TriggerKind::Ref { number, before } => Some((*number, *before)),
            TriggerKind::Schedule { .. } | TriggerKind::Manual { .. } | TriggerKind::Try { .. } => None,
        }
    }

    /// Distinguishes the trigger from others of its kind, ref and commit, so that one trigger makes one build. The key
    /// of a move is its number, in eight bytes, and the head before it. A move without a number has only the head. The
    /// key of a schedule is the time at which it came due, in eight bytes, its name, a zero byte, and the time zone.
    #[must_use]
    pub fn key(&self) -> Vec<u8> {
        match &self.kind {
            TriggerKind::Push { number, before, .. }
            | TriggerKind::Tag { number, before }
            | TriggerKind::Ref { number, before } => {
                let mut key = if *number == 0 { Vec::new() } else { number.to_be_bytes().to_vec() };
                key.extend_from_slice(before.as_ref().map_or(&[], CommitId::as_bytes));
                key
            }
            TriggerKind::Schedule { name, due, timezone } => {
                [&due.0.to_be_bytes(), name.as_bytes(), b"\0", timezone.as_bytes()].concat()
            }
            TriggerKind::Manual { id, .. } | TriggerKind::Try { id, .. } => id.0.to_vec(),
        }
    }

    /// The name of the person who asked for the build, if somebody did and the name is known.
    #[must_use]
    pub fn asked_by(&self) -> Option<&Arc<str>> {
        if let TriggerKind::Manual { by, .. } | TriggerKind::Try { by, .. } = &self.kind { by.as_ref() } else { None }
    }

    /// The head before a move of a ref, if there was one.
    #[must_use]
    pub fn before(&self) -> Option<CommitId> {
        self.moved()?.1
    }

    /// The commits that a push brought.
    #[must_use]
    pub fn range(&self) -> &[CommitId] {
        if let TriggerKind::Push { range, .. } = &self.kind { range } else { &[] }
    }

    /// The number of commits that a push brought, if it is known; 0 for other triggers.
    #[must_use]
    pub fn commits(&self) -> Option<u64> {
        if let TriggerKind::Push { commits, .. } = &self.kind { *commits } else { Some(0) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn commit(at: u8) -> CommitId {
        CommitId::from_bytes(&[at; 20]).unwrap()
    }

    #[test]
    fn a_key_tells_pushes_apart_by_branch_and_number_and_not_by_their_range() {
        let key = |branch: &str, before, range: &[u8]| {
            let range = range.iter().map(|at| commit(*at)).collect();
            let trigger = Trigger::push(&BranchName::new(branch), before, range);
            (trigger.kind.word(), trigger.reference.clone(), trigger.key())
        };
        let numbered =
            |number, before| Trigger::push(&BranchName::new("main"), before, Vec::new()).numbered(number).key();
        assert_ne!(numbered(1, Some(commit(1))), numbered(3, Some(commit(1))), "the same heads, moved twice");
        assert_eq!(numbered(258, None), [0, 0, 0, 0, 0, 0, 1, 2]);
        assert_eq!(numbered(1, Some(commit(9)))[8..], [9; 20]);
        let main = RefName::new("refs/heads/main");
        assert_eq!(key("main", None, &[1]), ("push", main.clone(), Vec::new()));
        assert_eq!(key("main", Some(commit(1)), &[2]), ("push", main, vec![1; 20]));
        assert_eq!(key("main", Some(commit(1)), &[2]), key("main", Some(commit(1)), &[]));
        assert_ne!(key("main", None, &[]), key("topic", None, &[]));
        assert_ne!(key("main", Some(commit(1)), &[]), key("main", Some(commit(2)), &[]));
    }

    #[test]
    fn the_key_of_a_schedule_is_its_time_and_its_name_and_that_of_a_request_its_id() {
        let trigger = |kind| Trigger { kind, reference: RefName::new("refs/heads/main"), trust: Trust::Trusted };
        let (name, timezone) = ("nightly".into(), "UTC".into());
        let nightly = trigger(TriggerKind::Schedule { name, due: WallTime(258), timezone });
        assert_eq!(nightly.key(), [&[0, 0, 0, 0, 0, 0, 1, 2], &b"nightly\0UTC"[..]].concat());
        assert_eq!(trigger(TriggerKind::Manual { id: TriggerId([7; 16]), by: None }).key(), [7; 16]);
        assert_eq!((nightly.number(), nightly.before(), nightly.commits()), (0, None, Some(0)));
        assert_eq!(nightly.clone().numbered(5), nightly, "it moves no ref");
    }

    #[test]
    fn the_head_of_a_pull_request_is_the_event_pull_and_any_other_ref_the_event_ref() {
        let event = |reference: &str| {
            let kind = TriggerKind::Ref { number: 0, before: None };
            Trigger { kind, reference: RefName::new(reference), trust: Trust::Untrusted }.event()
        };
        for pull in ["refs/pull/12/head", "refs/merge-requests/3/head", "refs/pull-requests/4/from"] {
            assert_eq!(event(pull), "pull", "{pull}");
        }
        assert_eq!([event("refs/changes/01/1/2"), event("refs/pulls")], ["ref"; 2]);
        assert_eq!(Trigger::push(&BranchName::new("main"), None, Vec::new()).event(), "push");
    }

    #[test]
    fn a_branch_is_shown_without_its_namespace() {
        let main = RefName::of_branch("main");
        assert_eq!((main.as_str(), main.short(), main.branch()), ("refs/heads/main", "main", Some("main")));
        assert_eq!(
            (RefName::new("refs/tags/v1").short(), RefName::new("refs/tags/v1").branch()),
            ("refs/tags/v1", None)
        );
    }

    /// A branch may be called like a tag's ref.
    #[test]
    fn a_ref_reads_back_from_a_message_as_the_one_that_was_written() {
        for (name, branch, full) in [
            ("refs/heads/main", "main", None),
            ("refs/heads/refs/tags/v1", "refs/tags/v1", None),
            ("refs/tags/v1", "refs/tags/v1", Some("refs/tags/v1")),
            ("refs/pull/1/head", "refs/pull/1/head", Some("refs/pull/1/head")),
        ] {
            let written = RefName::new(name).written();
            assert_eq!((written.0.as_str(), written.1.as_deref()), (branch, full));
            assert_eq!(RefName::read(branch, full), RefName::new(name));
        }
    }

    #[test]
    fn the_kind_of_a_move_follows_from_the_namespace_of_its_ref() {
        for (name, kind) in [
            ("refs/heads/main", "push"),
            ("refs/heads/refs/tags/v1", "push"),
            ("refs/tags/v1", "tag"),
            ("refs/pull/1/head", "ref"),
            ("refs/notes/commits", "ref"),
        ] {
            let trigger = Trigger::of_move(RefName::new(name), Some(commit(1)), vec![commit(2)], Some(1));
            assert_eq!((trigger.kind.word(), trigger.before()), (kind, Some(commit(1))), "{name}");
        }
    }
}
