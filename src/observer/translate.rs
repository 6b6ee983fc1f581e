//! Translates model values into wire messages and back, for the observer. Only this file of the room sees both. It
//! checks a message of the dispatcher once, so that the other files may trust it.
//!
//! Does no I/O except reading the next message from a given reader. Called by [`super::session`] and [`super::submit`].

use crate::git::{self, CommitText, Range, RefGlob};
use crate::model::{BranchName, BuildId, CommitId, CommitIdError, FactsId, ObservedRefs, RefName, RepoName, SessionId};
use crate::protocol::hello::{ErrorCode, Greeting, Hello, Opening, Refusal, Remedy, Role};
use crate::protocol::limits::{MAX_LINE_BYTES, MAX_NAMED_REFS, PIECE_BYTES};
use crate::protocol::observer::{FromObserver, Head, ToObserver};
use crate::protocol::pieces::cut_heads;
use crate::transport::{Frame, FrameReader, TransportError};

use super::watch::{AcceptedHeads, Announcement, Change, FirstLook, KnownHead};

pub(crate) use crate::protocol::limits::{MAX_ANCESTORS, MAX_RANGE_COMMITS};

/// Lengths to which a subject and an author are cut. Long enough to recognise a commit, and short enough that a line
/// with a full range stays far below its limit.
const MAX_SUBJECT_CHARS: usize = 500;
const MAX_AUTHOR_CHARS: usize = 200;

/// The parameters of a session that the dispatcher has agreed to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Agreed {
    pub session: SessionId,
    pub ping_interval_ms: u64,
    pub timeout_ms: u64,
    /// Whether the dispatcher takes refs that are no branches.
    pub takes_refs: bool,
}

/// The dispatcher's answer to a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Reply {
    Heads { repo: String, heads: AcceptedHeads, more: bool },
    Noted { repo: String },
    Accepted { repo: String, reference: RefName, commit: Option<CommitId>, build: Option<BuildId>, moves: Option<u64> },
    Stale { repo: String, reference: RefName, head: Option<CommitId>, moves: Option<u64> },
    NeedSource { repo: String, reference: RefName, commit: CommitId },
    Refused(Refused),
}

/// The dispatcher's answer to `hello`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum HelloAnswer {
    /// With the pins by which the dispatcher is to be known from now on; none if they are known.
    Agreed(Agreed, Vec<String>),
    Refused(Refused),
    /// It closed the connection without an answer.
    Closed,
}

/// A message of the dispatcher within a session, or the end of the session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Heard {
    /// The answer to a request.
    Reply(Reply),
    /// The dispatcher has lost the source of an accepted commit and asks for it. It sends this by itself, not as a
    /// reply.
    LostSource { repo: String, commit: CommitId },
    /// An operator asks for a look at the repository at once.
    Wake { repo: String },
    /// The answer to a ping.
    Alive,
    /// A message with an impossible commit id.
    Malformed(CommitIdError),
    /// It closed the connection.
    Closed,
}

/// A refusal: its meaning for an observer, and a sentence for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refused {
    pub kind: RefusalKind,
    pub text: String,
}

/// The observer's reaction to a refusal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RefusalKind {
    /// The token is wrong. The session is over.
    Token,
    /// The two programs do not understand each other. The session is over.
    Protocol,
    /// The repository's name belongs to another source. Final for that repository; the session is over.
    Name,
    /// The dispatcher cannot serve anyone now, but may later. The session is over.
    Later,
    /// This one request failed and may succeed later. The session goes on.
    Request,
}

impl RefusalKind {
    /// Whether the dispatcher closes the connection after this refusal.
    pub(crate) fn ends_session(self) -> bool {
        self != Self::Request
    }
}

/// Makes the first message of a session.
pub(crate) fn hello(name: &str, incarnation: u64, token: String, pins: Vec<String>) -> Frame {
    let hello = Hello::new(Role::Observer, name.to_owned(), incarnation, token);
    Frame::new(&Opening::Hello(Hello { pins, ..hello }))
}

/// Makes the question for the heads of a repository at this place.
pub(crate) fn status(repo: &RepoName, source: &str, globs: &[RefGlob], refs: &ObservedRefs) -> Frame {
    Frame::new(&FromObserver::Status {
        repo: repo.to_string(),
        source: source.to_owned(),
        patterns: globs.iter().map(|glob| glob.as_str().to_owned()).collect(),
        default_branch: refs.default_branch.as_ref().map(BranchName::to_string),
        named: refs.named.iter().take(MAX_NAMED_REFS).map(RefName::to_string).collect(),
    })
}

pub(crate) fn piece(repo: &RepoName, last: bool, bytes: Vec<u8>) -> Frame {
    let message = FromObserver::Pack { repo: repo.to_string(), last, bytes: bytes.len() as u64 };
    Frame::with_payload(&message, bytes)
}

/// Makes the messages that name the refs of a first look.
pub(crate) fn existing(repo: &RepoName, look: &FirstLook) -> Vec<Frame> {
    let head = |found: &git::Head| {
        let (branch, reference) = found.reference.written();
        Head { branch, reference, commit: found.commit.to_string(), noted: false }
    };
    let pieces = cut_heads(look.refs.iter().map(head).collect(), PIECE_BYTES);
    let last = pieces.len() - 1;
    let patterns: Vec<_> = look.patterns.iter().map(|glob| glob.as_str().to_owned()).collect();
    let message = |(at, refs)| {
        let (repo, more) = (repo.to_string(), at < last);
        let patterns = if more { Vec::new() } else { patterns.clone() };
        Frame::new(&FromObserver::Existing { repo, refs, more, patterns })
    };
    pieces.into_iter().enumerate().map(message).collect()
}

/// The commits before an announced one, as far as a dispatcher wants to know them.
pub(crate) struct Past {
    pub range: Range,
    /// The facts of the commit's source that go along.
    pub facts: Option<FactsId>,
    /// The nearest first; none for a ref that the dispatcher knows.
    pub ancestors: Vec<CommitId>,
}

/// Makes the message of an announcement. `past` and `text` describe a new head, and are empty if the ref is gone.
pub(crate) fn announcement(repo: &RepoName, what: &Announcement, past: Past, text: CommitText) -> Frame {
    let Past { range, facts, ancestors } = past;
    let repo = repo.to_string();
    let (branch, reference) = what.reference.written();
    let before = what.before.map(|commit| commit.to_string());
    let is_push = what.reference.branch().is_some();
    Frame::new(&match what.change {
        Change::Head { commit, .. } => FromObserver::Dispatch {
            repo,
            branch,
            reference,
            before,
            commit: commit.to_string(),
            // A branch that is new follows nothing, and needs no number. Only a push has commits.
            commits: (is_push && what.before.is_some() && range.count != Some(range.commits.len() as u64))
                .then(|| range.count.unwrap_or(0)),
            range: if is_push { range.commits.iter().map(CommitId::to_string).collect() } else { Vec::new() },
            ancestors: ancestors.iter().map(CommitId::to_string).collect(),
            facts: facts.map(|facts| facts.to_string()),
            subject: shorten(text.subject, MAX_SUBJECT_CHARS),
            author: shorten(text.author, MAX_AUTHOR_CHARS),
            trigger: if is_push {
                "push"
            } else if what.reference.tag().is_some() {
                "tag"
            } else {
                "ref"
            }
            .to_owned(),
            seen: what.seen,
        },
        Change::Gone => {
            FromObserver::Gone { repo, branch, reference, before: before.unwrap_or_default(), seen: what.seen }
        }
    })
}

/// Makes the message that says: the pack before it is all of a commit whose source was lost.
pub(crate) fn supply(repo: &RepoName, commit: CommitId, facts: Option<FactsId>) -> Frame {
    let facts = facts.map(|facts| facts.to_string());
    Frame::new(&FromObserver::Supply { repo: repo.to_string(), commit: commit.to_string(), facts })
}

fn shorten(mut text: String, max_chars: usize) -> String {
    if let Some((end, _)) = text.char_indices().nth(max_chars) {
        text.truncate(end);
    }
    text
}

pub(crate) fn ping() -> Frame {
    Frame::new(&FromObserver::Ping)
}

/// Reads the answer to `hello`.
pub(crate) fn read_greeting(reader: &mut FrameReader) -> Result<HelloAnswer, TransportError> {
    Ok(match reader.read::<Greeting>(MAX_LINE_BYTES)? {
        Some(Greeting::Welcome(welcome)) => {
            let agreed = Agreed {
                session: SessionId(welcome.session),
                ping_interval_ms: welcome.ping_interval_ms,
                timeout_ms: welcome.timeout_ms,
                takes_refs: welcome.takes_refs,
            };
            HelloAnswer::Agreed(agreed, welcome.pins)
        }
        Some(Greeting::Error(refusal)) => HelloAnswer::Refused(refused(refusal)),
        None => HelloAnswer::Closed,
    })
}

/// Reads the next message from the dispatcher.
pub(crate) fn read_next(reader: &mut FrameReader) -> Result<Heard, TransportError> {
    Ok(match reader.read::<ToObserver>(MAX_LINE_BYTES)? {
        Some(message) => heard(message).unwrap_or_else(Heard::Malformed),
        None => Heard::Closed,
    })
}

fn known_head(head: Head) -> Result<KnownHead, CommitIdError> {
    let reference = RefName::read(&head.branch, head.reference.as_deref());
    Ok(KnownHead { reference, commit: head.commit.parse()?, is_noted: head.noted })
}

fn heard(message: ToObserver) -> Result<Heard, CommitIdError> {
    let optional = |commit: Option<String>| commit.map(|text| text.parse()).transpose();
    Ok(Heard::Reply(match message {
        ToObserver::Heads { repo, heads, more, moves, unseen } => {
            let heads = heads.into_iter().map(known_head).collect::<Result<_, CommitIdError>>()?;
            let unseen = unseen.iter().map(|pattern| RefGlob::new(pattern)).collect();
            Reply::Heads { repo, more, heads: AcceptedHeads { heads, moves, unseen } }
        }
        ToObserver::Noted { repo } => Reply::Noted { repo },
        ToObserver::Ok { repo, branch, reference, commit, build, moves } => Reply::Accepted {
            repo,
            reference: RefName::read(&branch, reference.as_deref()),
            commit: optional(commit)?,
            build: build.map(BuildId),
            moves,
        },
        ToObserver::Stale { repo, branch, reference, head, moves } => {
            Reply::Stale { repo, reference: RefName::read(&branch, reference.as_deref()), head: optional(head)?, moves }
        }
        ToObserver::NeedSource { repo, branch, reference, commit } => {
            Reply::NeedSource { repo, reference: RefName::read(&branch, reference.as_deref()), commit: commit.parse()? }
        }
        ToObserver::Error(refusal) => Reply::Refused(refused(refusal)),
        ToObserver::LostSource { repo, commit } => return Ok(Heard::LostSource { repo, commit: commit.parse()? }),
        ToObserver::Wake { repo } => return Ok(Heard::Wake { repo }),
        ToObserver::Ack => return Ok(Heard::Alive),
    }))
}

/// Returns the refusal that stands for an answer that is longer than a message may be.
pub(crate) fn unreadable(error: &TransportError) -> Refused {
    let text = format!("{error}: update the dispatcher to a version that sends it in pieces");
    Refused { kind: RefusalKind::Request, text }
}

/// Appends a reply to the earlier pieces of the same answer. Returns it with whether more pieces follow.
pub(crate) fn join(earlier: Option<Reply>, reply: Reply) -> (Reply, bool) {
    let has_more = matches!(reply, Reply::Heads { more: true, .. });
    match (earlier, reply) {
        (Some(Reply::Heads { repo: of, heads: mut all, .. }), Reply::Heads { repo, heads, more }) if of == repo => {
            all.heads.extend(heads.heads);
            (Reply::Heads { repo, heads: AcceptedHeads { heads: all.heads, ..heads }, more }, has_more)
        }
        (_, reply) => (reply, has_more),
    }
}

fn refused(refusal: Refusal) -> Refused {
    let kind = match refusal.code.remedy() {
        _ if refusal.code == ErrorCode::Token => RefusalKind::Token,
        _ if refusal.code == ErrorCode::NameTaken => RefusalKind::Name,
        Remedy::Person => RefusalKind::Protocol,
        Remedy::Time => RefusalKind::Later,
        Remedy::OtherRequest => RefusalKind::Request,
    };
    Refused { kind, text: refusal.text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_announcement_fits_a_line() {
        let commit = CommitId::from_bytes(&[0xab; 32]).unwrap();
        let what = Announcement {
            reference: RefName::of_branch("\u{1}".repeat(4096)),
            before: Some(commit),
            seen: Some(u64::MAX),
            change: Change::Head { commit, everything: false },
        };
        // Control characters take the most bytes in JSON.
        let text = CommitText {
            subject: "\u{1}".repeat(1 << 20),
            author: "\u{1f980}".repeat(1 << 20),
            ..CommitText::default()
        };
        let repo = RepoName::new(&"a".repeat(100)).unwrap();
        let range = Range { commits: vec![commit; MAX_RANGE_COMMITS], count: Some(u64::MAX) };
        let ancestors = vec![commit; MAX_ANCESTORS];
        let facts = Some(FactsId(commit));
        let frame = announcement(&repo, &what, Past { range, facts, ancestors }, text);
        assert!(frame.line.len() < MAX_LINE_BYTES / 4, "{} bytes", frame.line.len());
    }

    #[test]
    fn a_short_text_is_sent_as_it_is() {
        assert_eq!(shorten("\u{e9}t\u{e9}".into(), 3), "\u{e9}t\u{e9}");
        assert_eq!(shorten("\u{e9}t\u{e9}".into(), 2), "\u{e9}t");
    }
}
