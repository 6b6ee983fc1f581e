//! Brings a commit and a request for its build to the dispatcher, with the source that the dispatcher lacks. Called by
//! `surveil submit` and `surveil try`. A request that was interrupted is sent again over the next session, and makes no
//! second build.

use std::path::Path;

use super::CliError;
use super::session::{KeepAlive, Session};
use crate::config::{ConfigError, ObservedRepo, work_dir};
use crate::git::{GitError, RepositoryPlace};
use crate::model::CommitId;
use crate::protocol::operator::{FromOperator, SubmitOrder, ToOperator};
use crate::transport::Frame;

/// Size of a piece of a pack: the message line is negligible beside it, and it is far from the limit of a payload.
const PIECE_BYTES: usize = 256 * 1024;

/// Takes a piece of a pack, and stops it by returning false.
pub(crate) type Sink<'a> = &'a mut dyn FnMut(&[u8]) -> bool;

/// Builds a pack of the commit for a receiver that has these commits.
pub(crate) type BuildPack<'a> = &'a dyn Fn(&[CommitId], Sink<'_>) -> Result<(), GitError>;

/// A commit whose build is asked for.
pub(crate) struct Submission<'a> {
    pub(crate) order: SubmitOrder,
    pub(crate) pack: BuildPack<'a>,
}

/// The source that the dispatcher has already.
pub(crate) struct Held {
    pub(crate) commits: Vec<CommitId>,
    /// The most bytes that a file of a commit may have.
    pub(crate) max_file: Option<u64>,
}

/// Asks of which of these commits the dispatcher has the source.
pub(crate) fn held(session: &mut Session, repo: &str, commits: &[CommitId]) -> Result<Held, CliError> {
    let commits = commits.iter().map(CommitId::to_string).collect();
    let answer = session.ask(&FromOperator::Haves { repo: repo.to_owned(), commits })?;
    let ToOperator::Haves { commits, max_file, .. } = answer else { return Err(CliError::Unexpected("`haves`")) };
    Ok(Held { commits: commits.iter().filter_map(|id| id.parse().ok()).collect(), max_file })
}

impl Submission<'_> {
    /// Sends the commit to a dispatcher that has these commits, and its order. Returns the number of the build. Sends
    /// all of it again when it is called again.
    pub(crate) fn send(&self, session: &mut Session, held: &[CommitId]) -> Result<u64, CliError> {
        // The facts of the source may be new.
        if self.order.facts.is_some() || held.iter().all(|held| held.to_string() != self.order.commit) {
            self.send_pack(session, held)?;
        }
        if let Some(build) = self.order(session)? {
            return Ok(build);
        }
        // An object that a commit of the dispatcher should have is missing there, so all of the source is sent.
        self.send_pack(session, &[])?;
        self.order(session)?.ok_or(CliError::Unexpected("a commit that was sent whole"))
    }

    /// Gives the order. Returns `None` if the dispatcher lacks source.
    fn order(&self, session: &mut Session) -> Result<Option<u64>, CliError> {
        session.send(&FromOperator::Submit(Box::new(self.order.clone())))?;
        // Taking in a large pack lasts longer than a silence may.
        let _alive = session.keep_alive()?;
        let answer = session.next()?;
        if matches!(answer, ToOperator::NeedSource { .. }) {
            return Ok(None);
        }
        let ToOperator::Submitted { build } = answer else { return Err(CliError::Unexpected("`submit`")) };
        Ok(Some(build))
    }

    fn send_pack(&self, session: &mut Session, haves: &[CommitId]) -> Result<(), CliError> {
        let mut pieces = Pieces {
            repo: &self.order.repo,
            alive: Some(session.keep_alive()?),
            session,
            held_back: None,
            failed: None,
        };
        let built = (self.pack)(haves, &mut |bytes| pieces.add(bytes));
        if let Some(error) = pieces.failed {
            return Err(error);
        }
        // After an error half a pack may be at the dispatcher: the next session begins anew.
        built?;
        pieces.finish()
    }
}

/// A pack on its way out.
struct Pieces<'a> {
    repo: &'a str,
    session: &'a mut Session,
    /// Keeps the session alive while the pack is prepared. From the first piece on, nothing else may write.
    alive: Option<KeepAlive>,
    /// The last piece so far: only the end of the pack tells that it is the last one.
    held_back: Option<Vec<u8>>,
    failed: Option<CliError>,
}

impl Pieces<'_> {
    /// Adds a part of the pack. Returns false once it cannot be sent.
    fn add(&mut self, bytes: &[u8]) -> bool {
        drop(self.alive.take());
        match &mut self.held_back {
            Some(piece) if piece.len() + bytes.len() <= PIECE_BYTES => piece.extend_from_slice(bytes),
            held_back => {
                if let Some(piece) = held_back.replace(bytes.to_vec())
                    && let Err(error) = self.send(piece, false)
                {
                    self.failed = Some(error);
                }
            }
        }
        self.failed.is_none()
    }

    fn finish(mut self) -> Result<(), CliError> {
        drop(self.alive.take());
        match self.held_back.take() {
            Some(piece) => self.send(piece, true),
            None => Ok(()),
        }
    }

    fn send(&mut self, piece: Vec<u8>, last: bool) -> Result<(), CliError> {
        let message = FromOperator::Pack { repo: self.repo.to_owned(), last, bytes: piece.len() as u64 };
        self.session.send_frame(&Frame::with_payload(&message, piece))
    }
}

/// Draws the id of an order.
pub(crate) fn draw_id() -> Result<String, CliError> {
    let halves = [getrandom::u64(), getrandom::u64()];
    let [high, low] = halves.map(|half| half.map_err(std::io::Error::other));
    let failed = || CliError::machine("draw a random number");
    Ok(format!("{:016x}{:016x}", high.map_err(failed())?, low.map_err(failed())?))
}

/// Describes a repository on this machine as an observer would: with the same name and place.
pub(crate) fn as_observed(place: &RepositoryPlace, name: Option<&str>) -> Result<ObservedRepo, ConfigError> {
    let location: &Path = place.location();
    ObservedRepo::new(&location.to_string_lossy(), name, &work_dir(None))
}

/// Reads the value of an input as it is typed.
pub(crate) fn named_value(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err("write NAME=VALUE, such as version=1.4.0".into()),
    }
}
