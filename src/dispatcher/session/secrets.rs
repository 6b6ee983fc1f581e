//! The secrets that a runner asks for when an attempt starts: checked against their rules here, in the session's own
//! thread. The values leave as a payload, which no log and no debug output of a message shows.

use super::connection::Session;
use crate::dispatcher::grants::Grant;
use crate::dispatcher::secrets::NotGiven;
use crate::model::reason::ErrorReason;
use crate::model::{AttemptId, RunnerName, SecretAsk};
use crate::protocol::runner::{SecretPart, ToRunner};
use crate::transport::Frame;

/// Returns the answer to a runner that asks for the secrets of an attempt, and why the attempt may not have them, if it
/// may not.
pub(super) fn answer(session: &Session, attempt: AttemptId, grant: &Grant) -> (Frame, Option<ErrorReason>) {
    let missing = |reason: String, denied| Frame::new(&ToRunner::SecretsMissing { attempt: attempt.0, reason, denied });
    let Some((source, task)) = &grant.secrets else {
        return (missing("the task asks for no secrets".into(), false), None);
    };
    let runner = RunnerName::recorded(&session.hello.name);
    let ask = SecretAsk {
        repo: &source.repo,
        reference: &source.trigger.reference,
        trust: source.trigger.trust,
        task: &task.name,
        runner: &runner,
        labels: session.access.own_labels(),
        is_private: session.is_private(),
    };
    let name = format!("{}/{}", grant.log.build, task.name);
    match session.shared.secrets.give(&task.recipe.secrets, &ask, name) {
        Ok(values) => {
            let part = |(name, value): &(String, Vec<u8>)| SecretPart { name: name.clone(), bytes: value.len() as u64 };
            let secrets: Vec<SecretPart> = values.iter().map(part).collect();
            let payload: Vec<u8> = values.into_iter().flat_map(|(_, value)| value).collect();
            let message = ToRunner::Secrets { attempt: attempt.0, secrets, bytes: payload.len() as u64 };
            (Frame::with_payload(&message, payload), None)
        }
        Err(NotGiven::Denied(reason)) => {
            log::warn!("attempt {attempt} of {}/{} on {runner}: {reason}", grant.log.build, task.name);
            (missing(reason.to_string(), true), Some(reason))
        }
        Err(NotGiven::NotNow(reason)) => {
            log::error!("attempt {attempt} of {}/{} gets no secrets: {reason}", grant.log.build, task.name);
            (missing(reason, false), None)
        }
    }
}
