//! Orders about the certificate authority, and how far its replacement has come.

use super::error::OperationError;
use super::questions::Operations;
use crate::dispatcher::authority::{Authority, Rotation};
use crate::dispatcher::core::NoAnswer;

impl Operations {
    /// Makes the next authority. Returns a sentence about it.
    pub(crate) fn rotate(&self) -> Result<String, OperationError> {
        let next = self.running_authority()?.rotate()?;
        Ok(format!("the next authority is made, with the pin {next}"))
    }

    /// Makes the next authority the only one. Returns a sentence about it.
    pub(crate) fn finish_rotation(&self, is_forced: bool) -> Result<String, OperationError> {
        let pin = self.running_authority()?.finish(self.credentials.joined(), is_forced)?;
        Ok(format!("the authority is replaced by the one with the pin {pin}"))
    }

    /// Returns how far the replacement of the authority has come; `None` if it is not being replaced.
    pub(super) fn rotation(&self) -> Option<Rotation> {
        self.authority.as_ref()?.rotation(self.credentials.joined())
    }

    fn running_authority(&self) -> Result<&Authority, OperationError> {
        self.authority.as_ref().ok_or(OperationError::NoAnswer(NoAnswer::Absent))
    }
}

impl Rotation {
    /// Returns a sentence for `surveil status`.
    pub(super) fn warning(&self) -> String {
        let joined = self.joined;
        match self.missing.len() {
            0 => "the authority is being replaced, and all peers that joined have the next pin: \
                  `surveil authority rotate --finish` makes it the only one"
                .to_owned(),
            missing => format!(
                "the authority is being replaced: {} of {joined} peers that joined have the next pin \
                 (`surveil authority show` names the others)",
                joined - missing
            ),
        }
    }
}
