//! Orders about secrets.

use super::error::OperationError;
use super::questions::Operations;
use crate::dispatcher::core::NoAnswer;
use crate::dispatcher::secrets::{SecretError, Secrets};
use crate::model::{Secret, SecretRule};

impl Operations {
    /// Sets a secret. `is_private`: nobody could read the value on its way. Returns a sentence about it.
    pub(crate) fn set_secret(
        &self,
        (name, rule): (String, SecretRule),
        value: Vec<u8>,
        (may_be_short, is_private): (bool, bool),
        by: Option<String>,
    ) -> Result<String, OperationError> {
        if !is_private {
            return Err(SecretError::Connection.into());
        }
        let (named, of) = (name.clone(), of_repo(&rule));
        let was_there = self.of_secrets()?.set((name, rule), value, may_be_short, by)?;
        Ok(format!("{} the secret {named}{of}", if was_there { "replaced" } else { "set" }))
    }

    /// Returns all secrets, sealed, by name.
    pub(crate) fn secrets(&self) -> Result<Vec<Secret>, OperationError> {
        Ok(self.of_secrets()?.list()?)
    }

    /// Removes a secret. Returns a sentence about it.
    pub(crate) fn remove_secret(&self, name: String, repo: Option<String>) -> Result<String, OperationError> {
        let of = of_repo(&SecretRule { repo: repo.clone(), ..SecretRule::default() });
        self.of_secrets()?.remove(name.clone(), repo)?;
        Ok(format!("removed the secret {name}{of}"))
    }

    fn of_secrets(&self) -> Result<&Secrets, OperationError> {
        Ok(self.secrets.as_ref().ok_or(NoAnswer::Absent)?)
    }
}

fn of_repo(rule: &SecretRule) -> String {
    rule.repo.as_ref().map(|repo| format!(" of the repository {repo}")).unwrap_or_default()
}
