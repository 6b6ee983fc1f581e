//! The secrets of a dispatcher: who gets which, and the orders about them. The store has them sealed, and `vault.rs`
//! opens one only for an attempt that may have it, in the thread of the session that asks.

mod vault;

use std::path::Path;
use std::sync::{Arc, Mutex};

use super::core::{CoreHandle, ToCore};
use super::data_dir::DataDir;
use crate::clock;
use crate::error_chain::chain;
use crate::model::reason::{ErrorReason, SecretDenial};
use crate::model::recipe::WantedSecret;
use crate::model::secret::{MAX_SECRETS_BYTES, wrong_value};
use crate::model::{RepoName, Secret, SecretAsk, SecretRule, SecretUse};
use crate::store::{Readers, Store, StoreError};
use crate::threads;
use vault::{Vault, VaultError};

/// The most secrets of a dispatcher: each attempt that asks for one looks through them.
const MAX_STORED: usize = 10_000;

/// The secrets of a dispatcher. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Secrets(Arc<Inner>);

struct Inner {
    vault: Vault,
    readers: Readers,
    core: CoreHandle,
    /// Held while a secret is set, so that two of them do not draw two keys.
    setting: Mutex<()>,
}

/// The reason why an order about secrets is not done.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SecretError {
    #[error("{0}")]
    Wrong(String),
    #[error("there is no secret {name}{}: `surveil secret list` lists them", of_repo(repo.as_deref()))]
    None { name: String, repo: Option<String> },
    #[error("the value of a secret travels over an encrypted connection, or within one machine, and this is neither")]
    Connection,
    #[error("the dispatcher cannot write it to its disk now: {0}")]
    NotNow(String),
    #[error("the dispatcher is shutting down")]
    Ending,
    #[error(transparent)]
    Vault(#[from] VaultError),
    #[error("the secrets cannot be read")]
    Store(#[from] StoreError),
}

/// Why an attempt gets no secrets.
#[derive(Debug)]
pub(crate) enum NotGiven {
    /// It may not have them.
    Denied(ErrorReason),
    /// It may ask again, in another attempt.
    NotNow(String),
}

/// Names and values of secrets.
pub(crate) type SecretValues = Vec<(String, Vec<u8>)>;

impl Secrets {
    pub(crate) fn new(data: &DataDir, key_file: Option<&Path>, readers: Readers, core: CoreHandle) -> Self {
        let key = key_file.map_or_else(|| data.secrets_key(), Path::to_owned);
        Self(Arc::new(Inner { vault: Vault::new(key), readers, core, setting: Mutex::new(()) }))
    }

    /// Sets a secret, in place of one of that name for the same repository. Returns whether it was there.
    pub(crate) fn set(
        &self,
        (name, rule): (String, SecretRule),
        value: Vec<u8>,
        may_be_short: bool,
        by: Option<String>,
    ) -> Result<bool, SecretError> {
        if let Some(why) = wrong_value(&value, may_be_short) {
            return Err(SecretError::Wrong(why));
        }
        let _setting = threads::lock(&self.0.setting);
        let stored = self.list()?;
        let is_known = stored.iter().any(|other| other.name == name && other.rule.repo == rule.repo);
        if !is_known && stored.len() >= MAX_STORED {
            return Err(SecretError::Wrong(format!("there are {MAX_STORED} secrets, which is the limit")));
        }
        let sealed = self.0.vault.seal(&name, &rule, value, !stored.is_empty())?;
        let secret = Secret { name, rule, sealed, set_at: clock::wall(), set_by: by, last_use: None };
        self.change(move |store| store.save_secret(&secret))?;
        Ok(is_known)
    }

    /// Removes a secret.
    pub(crate) fn remove(&self, name: String, repo: Option<String>) -> Result<(), SecretError> {
        let (own, of) = (name.clone(), repo.clone());
        let was_there = self.change(move |store| store.remove_secret(&own, of.as_deref()))?;
        if was_there { Ok(()) } else { Err(SecretError::None { name, repo }) }
    }

    /// Returns all secrets, sealed, by name.
    pub(crate) fn list(&self) -> Result<Vec<Secret>, SecretError> {
        Ok(self.0.readers.open()?.secrets()?)
    }

    /// Returns the secrets that an attempt asks for, if it may have all of them. Their use is recorded before.
    pub(crate) fn give(
        &self,
        wanted: &[WantedSecret],
        ask: &SecretAsk<'_>,
        task: String,
    ) -> Result<SecretValues, NotGiven> {
        let not_now = |error: SecretError| NotGiven::NotNow(chain(&error));
        let stored = self.list().map_err(not_now)?;
        let mut values = SecretValues::new();
        let mut used = Vec::new();
        for WantedSecret { name, file } in wanted {
            let denied = |denial| NotGiven::Denied(ErrorReason::SecretDenied { secret: name.clone(), denial });
            let secret = find(&stored, name, ask.repo).ok_or_else(|| denied(SecretDenial::Unknown))?;
            if let Some(denial) = secret.rule.denial(ask) {
                return Err(denied(denial));
            }
            let value = match self.0.vault.open(name, &secret.rule, &secret.sealed) {
                Ok(value) => value,
                Err(error) => {
                    log::error!("the secret {name} cannot be opened: {}", chain(&error));
                    return Err(denied(SecretDenial::Sealed));
                }
            };
            if !file && value.contains(&0) {
                return Err(denied(SecretDenial::Nul));
            }
            if values.iter().map(|(_, value): &(_, Vec<u8>)| value.len()).sum::<usize>() + value.len()
                > MAX_SECRETS_BYTES
            {
                return Err(denied(SecretDenial::TooLong { limit: MAX_SECRETS_BYTES }));
            }
            values.push((name.clone(), value));
            used.push((name.clone(), secret.rule.repo.clone()));
        }
        let last = SecretUse { at: clock::wall(), task };
        let noted = self.change(move |store| {
            used.iter().try_for_each(|(name, repo)| store.note_secret_use(name, repo.as_deref(), &last))
        });
        noted.map_err(not_now)?;
        Ok(values)
    }

    /// Makes a change on the core's thread, which owns the store.
    fn change<T: Send + 'static>(
        &self,
        change: impl FnOnce(&mut dyn Store) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, SecretError> {
        let answered = self.0.core.answered(|answer| {
            ToCore::Store(Box::new(move |store| {
                let done = match change(store) {
                    Ok(value) => Ok(value),
                    Err(error) if error.is_transient() => Err(SecretError::NotNow(error.to_string())),
                    Err(error) => return Err(error),
                };
                // If the session has ended meanwhile, nobody waits for the answer.
                drop(answer.try_send(done));
                Ok(())
            }))
        });
        answered.unwrap_or(Err(SecretError::Ending))
    }
}

/// Returns the secret of that name for a repository: its own before that of all repositories.
fn find<'a>(stored: &'a [Secret], name: &str, repo: &RepoName) -> Option<&'a Secret> {
    let named = || stored.iter().filter(|secret| secret.name == name && secret.rule.is_for(repo));
    named().find(|secret| secret.rule.repo.is_some()).or_else(|| named().next())
}

fn of_repo(repo: Option<&str>) -> String {
    repo.map_or_else(|| " of all repositories".to_owned(), |repo| format!(" of the repository {repo}"))
}
