//! The certificate authority of this dispatcher: one private key in the data directory, drawn at the first start. All
//! else is made of it at each start. A dispatcher loads it before it listens.
//!
//! Beside the key stands its pin, for commands of the same user and for scripts, which need no key. While the authority
//! is replaced, a second key stands there, and the ids of the credentials whose peers have its pin already.

mod files;
#[cfg(test)]
mod tests;

use std::collections::{BTreeSet, HashMap};
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard};

use files::{key_file, next_file, read, read_taken, remove_leftovers, taken_file, write_pin, write_taken};

use super::data_dir::{DataDir, sync_directory, write_private};
use super::{DispatcherError, pin};
use crate::model::{CredentialId, Pin, SessionId};
use crate::threads;
use crate::transport::{AuthorityKey, CertificateError, Stream, TlsServer};

/// The most peers that an error names.
const MAX_NAMES: usize = 10;

/// The authority, and the next one while it is replaced. Clones share it.
#[derive(Clone)]
pub(crate) struct Authority(Arc<Inner>);

struct Inner {
    data: DataDir,
    tls: TlsServer,
    state: Mutex<State>,
    /// Held by the thread that changes the files; the state's lock is not held meanwhile. The number of ids in their
    /// file.
    changing: Mutex<usize>,
    /// Open sessions of peers that take pins.
    sessions: Mutex<HashMap<SessionId, Stream>>,
}

struct State {
    current: Arc<AuthorityKey>,
    next: Option<Arc<AuthorityKey>>,
    /// Credentials whose peers have the pin of `next`.
    taken: BTreeSet<CredentialId>,
}

/// How far the replacement of the authority has come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Rotation {
    /// The next pin.
    pub(crate) next: Pin,
    /// The number of peers that joined.
    pub(crate) joined: usize,
    /// The peers among them that do not have the next pin.
    pub(crate) missing: Vec<String>,
}

/// The reason why the authority is not replaced.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RotationError {
    #[error("the authority is not being replaced: begin with `surveil authority rotate`")]
    NotBegun,
    #[error(
        "{} not have the next pin yet: {}; wait until they have connected, revoke what is gone (surveil token revoke), \
         or give --force: then they have to be given the new pin, or join again",
        if names.len() == 1 { "1 peer that joined does".to_owned() } else { format!("{} peers that joined do", names.len()) },
        some_of(names)
    )]
    NotTaken { names: Vec<String> },
    #[error("a backup is being made, or old builds are being removed: try again in a minute")]
    Held,
    #[error("could not write {}", path.display())]
    Write { path: PathBuf, source: io::Error },
    #[error(transparent)]
    Certificate(#[from] CertificateError),
}

impl Authority {
    /// Reads the authority's key. A key that does not exist yet is drawn at random and written. A key that cannot be
    /// read is never replaced: all peers would have to be told the new pin.
    pub(crate) fn load(data: &DataDir) -> Result<Self, DispatcherError> {
        let path = key_file(data);
        let failed = |path: PathBuf| |source| DispatcherError::AuthorityUnwritten { path, source };
        let certificate = |source| DispatcherError::Certificate { source };
        let key = match read(&path)? {
            Some(key) => key,
            None => {
                let key = AuthorityKey::generate().map_err(certificate)?;
                write_private(&path, key.to_der()).map_err(failed(path.clone()))?;
                log::info!("certificate authority made, with the key {}", path.display());
                key
            }
        };
        if pin::pin(data.root()) != Some(key.pin()) {
            write_pin(data, key.pin()).map_err(failed(pin::file(data.root())))?;
            // Peers rely on the pin from now on, so the names must outlast a power cut, too.
            for directory in [data.tls(), data.root().to_owned()] {
                sync_directory(&directory).map_err(failed(directory.clone()))?;
            }
        }
        // A finish that was cut short leaves the key that took its place already.
        let next = read(&next_file(data))?.filter(|next| next.pin() != key.pin());
        if next.is_none() {
            remove_leftovers(data);
        }
        let (current, next) = (Arc::new(key), next.map(Arc::new));
        let taken = if next.is_some() { read_taken(data) } else { BTreeSet::new() };
        let tls = TlsServer::new(current.clone(), next.clone()).map_err(certificate)?;
        Ok(Self(Arc::new(Inner {
            data: data.clone(),
            tls,
            changing: Mutex::new(taken.len()),
            state: Mutex::new(State { current, next, taken }),
            sessions: Mutex::default(),
        })))
    }

    /// Returns the server's half of encrypted connections.
    pub(crate) fn tls(&self) -> &TlsServer {
        &self.0.tls
    }

    /// Returns the pin by which peers know this dispatcher.
    pub(crate) fn pin(&self) -> Pin {
        self.state().current.pin()
    }

    /// Returns the pin by which peers know this dispatcher, and behind it the next one while the authority is replaced.
    pub(crate) fn pins(&self) -> Vec<Pin> {
        let state = self.state();
        [Some(&state.current), state.next.as_ref()].into_iter().flatten().map(|key| key.pin()).collect()
    }

    /// Returns the pins as tokens and messages carry them.
    pub(crate) fn pin_texts(&self) -> Vec<String> {
        self.pins().iter().map(Pin::to_string).collect()
    }

    /// Returns the pins to tell a peer that knows these: none if it knows the right ones, or does not take any.
    pub(crate) fn news_for(&self, known: &[String]) -> Vec<String> {
        let pins = self.pin_texts();
        if known.is_empty() || known == pins { Vec::new() } else { pins }
    }

    /// Notes that the peer with this credential knows these pins. A note that cannot be written is lost with this
    /// process, and made again at the peer's next session.
    pub(crate) fn note(&self, credential: &CredentialId, known: &[String]) {
        {
            let mut state = self.state();
            let next = state.next.as_ref().map(|key| key.pin().to_string());
            if !next.is_some_and(|next| known.contains(&next)) || !state.taken.insert(credential.clone()) {
                return;
            }
        }
        let mut written = threads::lock(&self.0.changing);
        let taken = {
            let state = self.state();
            // One write has the notes of all sessions that waited for the lock meanwhile.
            if state.next.is_none() || state.taken.len() == *written {
                return;
            }
            state.taken.clone()
        };
        match write_taken(&self.0.data, &taken) {
            Ok(()) => *written = taken.len(),
            Err(error) => log::warn!("could not write {}: {error}", taken_file(&self.0.data).display()),
        }
    }

    /// Notes the session of a peer that takes pins.
    pub(crate) fn enter(&self, session: SessionId, stream: &Stream) {
        threads::lock(&self.0.sessions).insert(session, stream.clone());
    }

    pub(crate) fn leave(&self, session: SessionId) {
        threads::lock(&self.0.sessions).remove(&session);
    }

    /// Returns how many of the peers with these credentials have the next pin, and who does not; `None` if the
    /// authority is not being replaced.
    pub(crate) fn rotation(&self, peers: Vec<(CredentialId, String)>) -> Option<Rotation> {
        let state = self.state();
        let next = state.next.as_ref()?.pin();
        let joined = peers.len();
        let missing = peers.into_iter().filter(|(id, _)| !state.taken.contains(id)).map(|(_, name)| name);
        Some(Rotation { next, joined, missing: missing.collect() })
    }

    /// Makes the next authority, whose pin connected peers are told at once. Returns its pin. Does nothing if there is
    /// one.
    pub(crate) fn rotate(&self) -> Result<Pin, RotationError> {
        let mut written = threads::lock(&self.0.changing);
        let current = {
            let state = self.state();
            if let Some(next) = &state.next {
                return Ok(next.pin());
            }
            state.current.clone()
        };
        let data = &self.0.data;
        let next = Arc::new(AuthorityKey::generate()?);
        // Nobody has heard of the new key yet, so a start may find it or not if this is cut short. The file with the
        // ids comes first: ids of an earlier rotation must not stand beside the new key.
        write_taken(data, &BTreeSet::new())
            .map_err(failed(taken_file(data)))
            .and_then(|()| write_private(&next_file(data), next.to_der()).map_err(failed(next_file(data))))
            .and_then(|()| sync_directory(&data.tls()).map_err(failed(data.tls())))
            .inspect_err(|_| remove_leftovers(data))?;
        self.0.tls.replace(current, Some(next.clone()))?;
        *written = 0;
        let mut state = self.state();
        (state.next, state.taken) = (Some(next.clone()), BTreeSet::new());
        drop(state);
        log::warn!("the authority is being replaced: the next pin is {}", next.pin());
        self.tell_sessions();
        Ok(next.pin())
    }

    /// Makes the next authority the only one. Of `peers`, those without its pin have to join again, and unless
    /// `is_forced` there must be none of them.
    pub(crate) fn finish(&self, peers: Vec<(CredentialId, String)>, is_forced: bool) -> Result<Pin, RotationError> {
        let mut written = threads::lock(&self.0.changing);
        let Rotation { missing: names, .. } = self.rotation(peers).ok_or(RotationError::NotBegun)?;
        if !names.is_empty() && !is_forced {
            return Err(RotationError::NotTaken { names });
        }
        let next = self.state().next.clone().ok_or(RotationError::NotBegun)?;
        let data = &self.0.data;
        // A backup must not copy the old key after this, and miss the next one.
        let _hold = data.hold(true).map_err(failed(data.root().to_owned()))?.ok_or(RotationError::Held)?;
        // From here on a start finds the new authority alone, and corrects the rest. If a step fails, the order can be
        // repeated; until then peers with either pin are accepted.
        write_private(&key_file(data), next.to_der()).map_err(failed(key_file(data)))?;
        sync_directory(&data.tls()).map_err(failed(data.tls()))?;
        self.0.tls.replace(next.clone(), None)?;
        *written = 0;
        let mut state = self.state();
        (state.current, state.next) = (next.clone(), None);
        state.taken.clear();
        drop(state);
        if let Err(error) = write_pin(data, next.pin()) {
            log::error!("could not write the new pin to {}: {error}", pin::file(data.root()).display());
        }
        remove_leftovers(data);
        log::warn!("the authority is replaced: the pin is {}", next.pin());
        self.tell_sessions();
        Ok(next.pin())
    }

    /// Ends the sessions of peers that take pins. They come back at once, and hear of the pins in `welcome`.
    fn tell_sessions(&self) {
        for stream in threads::lock(&self.0.sessions).values() {
            stream.close();
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        threads::lock(&self.0.state)
    }
}

fn failed(path: PathBuf) -> impl FnOnce(io::Error) -> RotationError {
    |source| RotationError::Write { path, source }
}

/// Lists the first names of a long list.
fn some_of(names: &[String]) -> String {
    let listed = names.iter().take(MAX_NAMES).map(String::as_str).collect::<Vec<_>>().join(", ");
    let more = names.len().saturating_sub(MAX_NAMES);
    if more > 0 { format!("{listed} and {more} more") } else { listed }
}
