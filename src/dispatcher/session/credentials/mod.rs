//! Join tokens, and the credentials of peers that joined: who may open a session, in which role, under which name.
//!
//! `ledger.rs` has the rules. This file keeps the one ledger of the dispatcher, which every session reads. A change is
//! decided and made durable on the core's thread, which owns the store, and is in force when it returns. Only then
//! anybody hears of it: a join token is spent before the credential leaves.

mod access;
mod denied;
mod ledger;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

pub(crate) use access::{Access, MAX_PERSON_CHARS};
pub(crate) use denied::Denied;
use ledger::{Changes, Ledger, State};
pub(crate) use ledger::{Joiner, NewToken, expires_at, state};

use crate::clock;
use crate::dispatcher::core::{CoreHandle, ToCore};
use crate::model::{Credential, CredentialId, CredentialKind, SessionId, WallTime};
use crate::protocol::hello::Role;
use crate::protocol::token::{Token, TokenKind};
use crate::threads;
use crate::transport::Stream;

/// The letters of an id. Those that people mix up are left out.
const ID_LETTERS: &[u8; 32] = b"23456789abcdefghijkmnpqrstuvwxyz";
/// The letters of an id that is drawn.
const ID_LEN: usize = 4;
/// Tries to draw an id that is free: of a million ids at most 50,000 are taken.
const ID_TRIES: u32 = 30;

/// The join tokens and credentials of a dispatcher, and the sessions that were opened with them. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Credentials(Arc<Inner>);

struct Inner {
    ledger: Mutex<Ledger>,
    live: Mutex<HashMap<SessionId, (CredentialId, Stream)>>,
    core: CoreHandle,
}

impl Credentials {
    /// Takes the rows of the store.
    pub(crate) fn new(rows: Vec<Credential>, core: CoreHandle) -> Self {
        Self(Arc::new(Inner { ledger: Mutex::new(Ledger::new(rows)), live: Mutex::default(), core }))
    }

    /// Admits a peer with a credential.
    pub(crate) fn admit(&self, token: &Token, role: Role, name: &str) -> Result<Arc<Credential>, Denied> {
        let now = clock::wall();
        let (row, is_due) = {
            let ledger = threads::lock(&self.0.ledger);
            let row = ledger.admit(token, role, name, now)?;
            (Arc::new(row.clone()), ledger::is_touch_due(row, now))
        };
        if is_due {
            self.touch(vec![row.id.clone()]);
        }
        Ok(row)
    }

    /// Notes that a session was opened with this credential. A credential that was revoked meanwhile is refused: its
    /// other sessions have been closed already.
    pub(crate) fn enter(&self, session: SessionId, id: &CredentialId, stream: &Stream) -> Result<(), Denied> {
        threads::lock(&self.0.live).insert(session, (id.clone(), stream.clone()));
        threads::lock(&self.0.ledger).valid(id, clock::wall()).map(drop)
    }

    pub(crate) fn leave(&self, session: SessionId) {
        threads::lock(&self.0.live).remove(&session);
    }

    /// Lets a peer join, and returns its credential. The token is spent durably.
    pub(crate) fn join(&self, joiner: Joiner) -> Result<Credential, Denied> {
        // A peer without the secret costs the core nothing.
        threads::lock(&self.0.ledger).known(&joiner.token)?;
        with_free_id(|id| {
            let joiner = joiner.clone();
            self.change(move |ledger, now| ledger.join(&joiner, id, now))
        })
    }

    /// Creates a join token for a person, if the name is known. Returns it, and the text that is told once, with these
    /// pins of the dispatcher.
    pub(crate) fn create(
        &self,
        new: NewToken,
        by: Option<String>,
        pins: Vec<String>,
    ) -> Result<(Credential, String), Denied> {
        let mut bytes = [0u8; 32];
        getrandom::fill(&mut bytes).map_err(|error| Denied::NotNow(error.to_string()))?;
        let secret: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        let token = with_free_id(|id| {
            let (new, by, secret) = (new.clone(), by.clone(), secret.clone());
            self.change(move |ledger, now| ledger.create(&new, by, id, &secret, now))
        })?;
        let text = Token { kind: TokenKind::Join, id: token.id.to_string(), secret, pins };
        Ok((token, text.text()))
    }

    /// Revokes a credential, or a join token and what came from it, and then ends their sessions, except for `asking`,
    /// which still gets its answer. `by` is the name of the person, if it is known. Returns those that are revoked by
    /// this.
    pub(crate) fn revoke(
        &self,
        id: &CredentialId,
        by: Option<String>,
        asking: Option<SessionId>,
    ) -> Result<Vec<Credential>, Denied> {
        let wanted = id.clone();
        let revoked = self.change(move |ledger, now| ledger.revoke(&wanted, by, now))?;
        let live = threads::lock(&self.0.live);
        for (session, (owner, stream)) in live.iter() {
            if Some(*session) != asking && revoked.iter().any(|row| row.id == *owner) {
                log::warn!("session {session} ends: its credential {owner} was revoked");
                stream.close();
            }
        }
        Ok(revoked)
    }

    /// Records that the credentials of open sessions are in use. Called at intervals that are far shorter than a day.
    pub(crate) fn touch_live(&self) {
        let mut ids: Vec<CredentialId> = threads::lock(&self.0.live).values().map(|(id, _)| id.clone()).collect();
        ids.sort_unstable();
        ids.dedup();
        if !ids.is_empty() {
            self.touch(ids);
        }
    }

    fn touch(&self, ids: Vec<CredentialId>) {
        if let Err(error) = self.change(move |ledger, now| Ok((ledger.touch(&ids, now), ()))) {
            log::warn!("the use of credentials could not be recorded: {error}");
        }
    }

    /// Returns all join tokens and credentials, the newest first, each with the number of its open sessions.
    pub(crate) fn list(&self) -> Vec<(Credential, usize)> {
        let mut rows: Vec<Credential> = threads::lock(&self.0.ledger).rows().cloned().collect();
        rows.sort_by(|one, other| (other.created_at, &one.id).cmp(&(one.created_at, &other.id)));
        let live = threads::lock(&self.0.live);
        let sessions = |id: &CredentialId| live.values().filter(|(owner, _)| owner == id).count();
        rows.into_iter().map(|row| (sessions(&row.id), row)).map(|(count, row)| (row, count)).collect()
    }

    /// Returns the peers whose credentials are valid, each as a text for people.
    pub(crate) fn joined(&self) -> Vec<(CredentialId, String)> {
        let now = clock::wall();
        let ledger = threads::lock(&self.0.ledger);
        let rows = ledger.rows().filter(|row| matches!(row.kind, CredentialKind::Joined { .. }));
        let valid = rows.filter(|row| state(row, now) == State::Valid);
        let words = |row: &Credential| format!("{} {}", row.role.word(), row.name.as_deref().unwrap_or_default());
        valid.map(|row| (row.id.clone(), words(row))).collect()
    }

    /// Returns a sentence for each credential that expires soon because nobody uses it.
    pub(crate) fn warnings(&self, now: WallTime) -> Vec<String> {
        let ledger = threads::lock(&self.0.ledger);
        let sentence = |row: &Credential| {
            let days = expires_at(row).0.saturating_sub(now.0) / (24 * 60 * 60 * 1000);
            let name = row.name.as_deref().unwrap_or_default();
            format!("the credential {} of {} {name} expires in {days} days: it is not used", row.id, row.role.word())
        };
        ledger.expiring(now).into_iter().map(sentence).collect()
    }

    /// Decides about a change on the core's thread, makes it durable, and puts it in force.
    fn change<T: Send + 'static>(
        &self,
        decide: impl FnOnce(&Ledger, WallTime) -> Result<(Changes, T), Denied> + Send + 'static,
    ) -> Result<T, Denied> {
        let this = self.clone();
        let answered = self.0.core.answered(|answer| {
            ToCore::Store(Box::new(move |store| {
                let decided = decide(&threads::lock(&this.0.ledger), clock::wall());
                let done = match decided {
                    Ok((changes, value)) if changes.is_empty() => Ok(value),
                    Ok((changes, value)) => match store.save_credentials(&changes.saved, &changes.forgotten) {
                        Ok(()) => {
                            threads::lock(&this.0.ledger).put(changes);
                            Ok(value)
                        }
                        Err(error) if error.is_transient() => Err(Denied::NotNow(error.to_string())),
                        Err(error) => return Err(error),
                    },
                    Err(denied) => Err(denied),
                };
                // If the session has ended meanwhile, nobody waits for the answer.
                drop(answer.try_send(done));
                Ok(())
            }))
        });
        answered.unwrap_or(Err(Denied::Ending))
    }
}

/// Draws ids until one is free.
fn with_free_id<T>(mut attempt: impl FnMut(CredentialId) -> Result<T, Denied>) -> Result<T, Denied> {
    for _ in 0..ID_TRIES {
        let mut bytes = [0u8; ID_LEN];
        getrandom::fill(&mut bytes).map_err(|error| Denied::NotNow(error.to_string()))?;
        let text: String = bytes.iter().map(|byte| char::from(ID_LETTERS[usize::from(byte % 32)])).collect();
        let Some(id) = CredentialId::new(&text) else { continue };
        match attempt(id) {
            Err(Denied::IdTaken) => {}
            other => return other,
        }
    }
    Err(Denied::IdTaken)
}
