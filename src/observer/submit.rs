//! Exchanges with the dispatcher about one repository: asks for its heads, and announces a difference together with the
//! source that the dispatcher lacks.
//!
//! A pack is sent in pieces while it is built, so that memory stays bounded for any size. Reads the repository and
//! never changes it. Decides nothing: [`super::watch`] does. Called by [`super::repo`].

use crate::git::{CommitText, Facts, GitError, Range, RefGlob, Watched};
use crate::model::{BuildId, CommitId, FactsId, ObservedRefs, RefName, RepoName};

use super::session::{Session, SessionOver, SessionTurn};
use super::translate::{self, MAX_ANCESTORS, MAX_RANGE_COMMITS, Past, Refused, Reply};
use super::watch::{AcceptedHeads, Announcement, FirstLook};

/// Size of a piece of a pack. Large enough that the message line is negligible, small enough that a `ping` between two
/// pieces does not wait long on a slow line.
const PIECE_BYTES: usize = 256 * 1024;

/// The dispatcher's answer to an announcement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Answer {
    Accepted { build: Option<BuildId>, moves: Option<u64> },
    Stale { head: Option<CommitId>, moves: Option<u64> },
    NeedSource,
    Refused(Refused),
}

/// Why an announcement has no answer.
#[derive(Debug)]
pub(crate) enum NoAnswer {
    /// The session ended before the answer.
    Over,
    /// The repository could not be read.
    Git(GitError),
}

impl From<SessionOver> for NoAnswer {
    fn from(_: SessionOver) -> Self {
        Self::Over
    }
}

impl From<GitError> for NoAnswer {
    fn from(error: GitError) -> Self {
        Self::Git(error)
    }
}

/// The dispatcher's answer to the question for heads.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum HeadsAnswer {
    Heads(AcceptedHeads),
    Refused(Refused),
}

/// Asks which heads of the repository the dispatcher has accepted, and tells what the repository says of its refs.
pub(crate) fn ask_heads(
    session: &Session,
    repo: &RepoName,
    (source, globs): (&str, &[RefGlob]),
    refs: &ObservedRefs,
) -> Result<HeadsAnswer, SessionOver> {
    let turn = session.turn();
    turn.send(&translate::status(repo, source, globs, refs))?;
    turn.answer(|reply| match reply {
        Reply::Heads { repo: ref of, .. } if of != repo.as_str() => Err(reply),
        Reply::Heads { heads, .. } => Ok(HeadsAnswer::Heads(heads)),
        Reply::Refused(refused) => Ok(HeadsAnswer::Refused(refused)),
        Reply::Noted { .. } | Reply::Accepted { .. } | Reply::Stale { .. } | Reply::NeedSource { .. } => Err(reply),
    })
}

/// Tells the dispatcher of the refs of a first look. Returns its refusal, if it refuses them.
pub(crate) fn note(session: &Session, repo: &RepoName, look: &FirstLook) -> Result<Option<Refused>, SessionOver> {
    let turn = session.turn();
    for piece in translate::existing(repo, look) {
        turn.send(&piece)?;
    }
    turn.answer(|reply| match reply {
        Reply::Noted { repo: ref of } if of == repo.as_str() => Ok(None),
        Reply::Refused(refused) => Ok(Some(refused)),
        Reply::Noted { .. }
        | Reply::Heads { .. }
        | Reply::Accepted { .. }
        | Reply::Stale { .. }
        | Reply::NeedSource { .. } => Err(reply),
    })
}

/// The source that goes with the announcement of a new head.
pub(crate) struct Delivery<'a> {
    pub watched: &'a Watched,
    /// The commits that a pack may leave out; `None` if no pack is needed.
    pub haves: Option<Vec<CommitId>>,
    pub facts: Option<Sent<'a>>,
}

/// The facts that go with a commit.
#[derive(Clone, Copy)]
pub(crate) struct Sent<'a> {
    pub facts: &'a Facts,
    /// Those that the dispatcher was told last.
    pub told: Option<&'a Facts>,
}

impl Sent<'_> {
    fn id(sent: Option<Self>) -> Option<FactsId> {
        sent.map(|sent| sent.facts.id)
    }
}

/// Announces a new head of a ref, after its source.
pub(crate) fn announce_head(
    session: &Session,
    repo: &RepoName,
    what: &Announcement,
    commit: CommitId,
    delivery: Delivery<'_>,
) -> Result<Answer, NoAnswer> {
    let watched = delivery.watched;
    // Read before the turn is taken, so that a slow repository does not hold up the others.
    let range = match what.reference.branch() {
        Some(_) => watched.range(what.before, commit, MAX_RANGE_COMMITS)?,
        None => Range { commits: vec![commit], count: None },
    };
    let text = watched.describe(commit)?;
    // The history of a ref that the dispatcher knows is at the dispatcher, and a tag is compared with nothing.
    let is_compared = what.before.is_none() && what.reference.tag().is_none();
    let ancestors = if is_compared { watched.first_parents(commit, MAX_ANCESTORS)? } else { Vec::new() };
    let turn = match delivery.haves {
        Some(haves) => send_pack(session, repo, (watched, delivery.facts), &range.commits, &haves)?,
        None => session.turn(),
    };
    let facts = Sent::id(delivery.facts);
    turn.send(&translate::announcement(repo, what, Past { range, facts, ancestors }, text))?;
    Ok(answer(&turn, repo, what)?)
}

/// Announces that a ref no longer exists.
pub(crate) fn announce_gone(session: &Session, repo: &RepoName, what: &Announcement) -> Result<Answer, SessionOver> {
    let turn = session.turn();
    let past = Past { range: Range { commits: Vec::new(), count: None }, facts: None, ancestors: Vec::new() };
    turn.send(&translate::announcement(repo, what, past, CommitText::default()))?;
    answer(&turn, repo, what)
}

/// Sends all of a commit whose source the dispatcher has lost. Changes no head.
pub(crate) fn supply(
    session: &Session,
    repo: &RepoName,
    (watched, facts): (&Watched, Option<&Facts>),
    commit: CommitId,
) -> Result<Answer, NoAnswer> {
    let facts = facts.map(|facts| Sent { facts, told: None });
    let turn = send_pack(session, repo, (watched, facts), &[commit], &[])?;
    turn.send(&translate::supply(repo, commit, Sent::id(facts)))?;
    Ok(turn.answer(|reply| match &reply {
        Reply::Accepted { repo: of, commit: named, .. } if of == repo.as_str() && *named == Some(commit) => {
            Ok(Answer::Accepted { build: None, moves: None })
        }
        Reply::NeedSource { repo: of, commit: named, .. } if of == repo.as_str() && *named == commit => {
            Ok(Answer::NeedSource)
        }
        Reply::Refused(refused) => Ok(Answer::Refused(refused.clone())),
        Reply::Noted { .. }
        | Reply::Heads { .. }
        | Reply::Accepted { .. }
        | Reply::Stale { .. }
        | Reply::NeedSource { .. } => Err(reply),
    })?)
}

fn answer(turn: &SessionTurn<'_>, repo: &RepoName, what: &Announcement) -> Result<Answer, SessionOver> {
    let announced = what.target();
    let is_ours = |of: &str, reference: &RefName| of == repo.as_str() && *reference == what.reference;
    turn.answer(|reply| match &reply {
        // A commit in the answer must be the announced one; a dispatcher may leave it out.
        Reply::Accepted { repo, reference, commit, build, moves }
            if is_ours(repo, reference) && (commit.is_none() || *commit == announced) =>
        {
            Ok(Answer::Accepted { build: *build, moves: *moves })
        }
        Reply::Stale { repo, reference, head, moves } if is_ours(repo, reference) => {
            Ok(Answer::Stale { head: *head, moves: *moves })
        }
        Reply::NeedSource { repo, reference, commit } if is_ours(repo, reference) && Some(*commit) == announced => {
            Ok(Answer::NeedSource)
        }
        Reply::Refused(refused) => Ok(Answer::Refused(refused.clone())),
        Reply::Noted { .. }
        | Reply::Heads { .. }
        | Reply::Accepted { .. }
        | Reply::Stale { .. }
        | Reply::NeedSource { .. } => Err(reply),
    })
}

/// Sends a pack of the commits. Returns the turn, so that the announcement that the pack belongs to follows it
/// directly.
fn send_pack<'a>(
    session: &'a Session,
    repo: &RepoName,
    (watched, facts): (&Watched, Option<Sent<'_>>),
    commits: &[CommitId],
    haves: &[CommitId],
) -> Result<SessionTurn<'a>, NoAnswer> {
    let mut pieces = OutgoingPack { session, repo, turn: None, buffer: Vec::new(), is_over: false };
    let mut add = |bytes: &[u8]| pieces.add(bytes);
    let built = match facts {
        Some(Sent { facts, told }) => watched.pack_with_facts(commits, haves, (facts, told), &mut add),
        None => watched.pack(commits, haves, &mut add),
    };
    if pieces.is_over {
        return Err(NoAnswer::Over);
    }
    if let Err(error) = built {
        if pieces.turn.is_some() {
            // No message takes a piece back, so the session must end to discard half a pack.
            session.close();
        }
        return Err(NoAnswer::Git(error));
    }
    Ok(pieces.finish()?)
}

/// A pack on its way out. It takes the turn with the first full piece, so that others may use the session while a large
/// pack is being prepared.
struct OutgoingPack<'a, 'b> {
    session: &'a Session,
    repo: &'b RepoName,
    turn: Option<SessionTurn<'a>>,
    /// Bytes that are not sent yet; at most one piece.
    buffer: Vec<u8>,
    is_over: bool,
}

impl<'a> OutgoingPack<'a, '_> {
    /// Adds a part of the pack, of any length. Returns false once the session is over.
    fn add(&mut self, mut bytes: &[u8]) -> bool {
        while self.buffer.len() + bytes.len() > PIECE_BYTES {
            let (now, later) = bytes.split_at(PIECE_BYTES - self.buffer.len());
            self.buffer.extend_from_slice(now);
            bytes = later;
            let full = std::mem::replace(&mut self.buffer, Vec::with_capacity(PIECE_BYTES));
            // From the first piece on, no other thread may send: pieces of two packs cannot be told apart.
            let turn = self.turn.get_or_insert_with(|| self.session.turn());
            if turn.send(&translate::piece(self.repo, false, full)).is_err() {
                self.is_over = true;
                return false;
            }
        }
        self.buffer.extend_from_slice(bytes);
        true
    }

    fn finish(self) -> Result<SessionTurn<'a>, SessionOver> {
        let turn = self.turn.unwrap_or_else(|| self.session.turn());
        // The buffer is empty only if the whole pack is.
        if !self.buffer.is_empty() {
            turn.send_with_next(&translate::piece(self.repo, true, self.buffer))?;
        }
        Ok(turn)
    }
}

#[cfg(test)]
mod tests {
    use std::thread::scope;

    use super::*;
    use crate::observer::session::tests::opened;
    use crate::observer::tests::support::Scripted;
    use crate::protocol::observer::FromObserver;

    /// Sends a pack in parts of these lengths, and returns the pieces as they arrived.
    fn pieces_of(parts: &[usize]) -> Vec<(bool, usize)> {
        let (live, mut dispatcher) = opened();
        let name = RepoName::new("app").unwrap();
        let whole: Vec<u8> = (0..parts.iter().sum()).map(|at: usize| (at % 251) as u8).collect();
        scope(|scope| {
            let receiving = scope.spawn(|| receive(&mut dispatcher));
            let mut pieces =
                OutgoingPack { session: &live.session, repo: &name, turn: None, buffer: Vec::new(), is_over: false };
            let mut rest = &whole[..];
            for part in parts {
                let (now, later) = rest.split_at(*part);
                assert!(pieces.add(now));
                rest = later;
            }
            let turn = pieces.finish().unwrap();
            turn.send(&translate::status(&name, "the end", &[], &ObservedRefs::default())).unwrap();
            let (arrived, content) = receiving.join().unwrap();
            assert!(content == whole, "the pack arrived changed");
            arrived
        })
    }

    fn receive(dispatcher: &mut Scripted) -> (Vec<(bool, usize)>, Vec<u8>) {
        let (mut pieces, mut content) = (Vec::new(), Vec::new());
        while let FromObserver::Pack { last, bytes, .. } = dispatcher.hear() {
            content.extend(dispatcher.payload(bytes));
            pieces.push((last, bytes as usize));
        }
        (pieces, content)
    }

    #[test]
    fn a_small_pack_is_one_piece() {
        assert_eq!(pieces_of(&[12, 0, 300]), [(true, 312)]);
    }

    #[test]
    fn a_pack_is_cut_into_full_pieces_and_the_last_one_says_so() {
        assert_eq!(pieces_of(&[PIECE_BYTES]), [(true, PIECE_BYTES)]);
        assert_eq!(pieces_of(&[PIECE_BYTES, 1]), [(false, PIECE_BYTES), (true, 1)]);
        assert_eq!(
            pieces_of(&[7, 3 * PIECE_BYTES]),
            [(false, PIECE_BYTES), (false, PIECE_BYTES), (false, PIECE_BYTES), (true, 7)]
        );
    }

    #[test]
    fn a_pack_far_larger_than_the_queue_arrives_whole() {
        assert_eq!(pieces_of(&[100_000; 200]).len(), 200 * 100_000 / PIECE_BYTES + 1);
    }

    #[test]
    fn a_pack_stops_when_the_session_ends() {
        let (live, dispatcher) = opened();
        let name = RepoName::new("app").unwrap();
        let mut pieces =
            OutgoingPack { session: &live.session, repo: &name, turn: None, buffer: Vec::new(), is_over: false };
        dispatcher.stream.close();
        live.session.close();
        // The outbox accepts some pieces before the end of the session shows.
        let part = vec![0; PIECE_BYTES];
        assert!((0..100).any(|_| !pieces.add(&part)));
        assert!(pieces.is_over);
    }
}
