//! Orders about join tokens and credentials.

use super::error::OperationError;
use super::questions::Operations;
use crate::dispatcher::authority::Authority;
use crate::dispatcher::core::NoAnswer;
use crate::dispatcher::session::credentials::{Denied, NewToken};
use crate::model::{Credential, CredentialId, SessionId};

impl Operations {
    /// Creates a join token. Returns it, and the text to paste, which nobody can be told again.
    pub(crate) fn create_token(
        &self,
        new: NewToken,
        by: Option<String>,
    ) -> Result<(Credential, String), OperationError> {
        self.need_dispatcher()?;
        let pins = self.authority.as_ref().map(Authority::pin_texts).unwrap_or_default();
        Ok(self.credentials.create(new, by, pins)?)
    }

    /// Returns all join tokens and credentials, the newest first, each with the number of its open sessions.
    pub(crate) fn tokens(&self) -> Result<Vec<(Credential, usize)>, OperationError> {
        self.need_dispatcher()?;
        Ok(self.credentials.list())
    }

    /// Revokes a join token with all that came from it, or a credential. Returns a sentence about what was revoked.
    pub(crate) fn revoke_token(&self, id: &str, by: Option<String>) -> Result<String, OperationError> {
        self.need_dispatcher()?;
        let unknown = || Denied::NoSuchId { id: id.to_owned() };
        let revoked = self.credentials.revoke(&CredentialId::new(id).ok_or_else(unknown)?, by, None)?;
        if revoked.is_empty() {
            return Ok(format!("{id} was revoked before"));
        }
        let name = |row: &Credential| match &row.name {
            Some(name) => format!("{} ({} {name})", row.id, row.role.word()),
            None => format!("{} ({})", row.id, row.role.word()),
        };
        let names: Vec<String> = revoked.iter().map(name).collect();
        Ok(format!("revoked {}", names.join(", ")))
    }

    /// Revokes the credential of the session that asks, and ends its other sessions.
    pub(crate) fn log_out(
        &self,
        session: SessionId,
        id: &CredentialId,
        by: Option<&str>,
    ) -> Result<String, OperationError> {
        self.need_dispatcher()?;
        self.credentials.revoke(id, by.map(str::to_owned), Some(session))?;
        Ok(format!("revoked {id}"))
    }

    fn need_dispatcher(&self) -> Result<(), OperationError> {
        if self.core.is_absent() { Err(NoAnswer::Absent.into()) } else { Ok(()) }
    }
}
