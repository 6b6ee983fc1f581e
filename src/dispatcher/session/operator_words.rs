//! Orders of operators in words: those of admins as a log tells them, and the refusals of what was not done.

use crate::dispatcher::authority::RotationError;
use crate::dispatcher::caches::CacheError;
use crate::dispatcher::core::NoAnswer;
use crate::dispatcher::operations::OperationError;
use crate::dispatcher::secrets::SecretError;
use crate::error_chain::chain;
use crate::protocol::caches::CacheSelection;
use crate::protocol::hello::{ErrorCode, Refusal};
use crate::protocol::operator::FromOperator;

/// Returns an order about runners, tokens, secrets, caches or the authority as a log tells it.
pub(super) fn of_admin(message: &FromOperator) -> Option<String> {
    Some(match message {
        FromOperator::Drain { runner } => format!("drain {}", Refusal::quote(runner)),
        FromOperator::Resume { runner } => format!("resume {}", Refusal::quote(runner)),
        FromOperator::RevokeToken { id } => format!("revoke {}", Refusal::quote(id)),
        FromOperator::CreateToken(order) => format!("create a token for the role {}", Refusal::quote(&order.role)),
        FromOperator::RotateAuthority { finish: false, .. } => "replace the authority".to_owned(),
        FromOperator::RotateAuthority { force: false, .. } => "make the next authority the only one".to_owned(),
        FromOperator::RotateAuthority { .. } => "make the next authority the only one by force".to_owned(),
        FromOperator::SetSecret(order) => format!("set the secret {}", Refusal::quote(&order.name)),
        FromOperator::RemoveCaches(CacheSelection { repo, key, tool, .. }) => {
            let of = |word: &str, name: &Option<String>| {
                name.as_ref().map(|name| format!(" {word} {}", Refusal::quote(name)))
            };
            format!(
                "remove caches{}{}{}",
                of("of", repo).unwrap_or_default(),
                of("with the key", key).unwrap_or_default(),
                of("of the tool", tool).unwrap_or_default()
            )
        }
        FromOperator::RemoveSecret { name, .. } => format!("remove the secret {}", Refusal::quote(name)),
        FromOperator::Status { .. }
        | FromOperator::Show { .. }
        | FromOperator::Why { .. }
        | FromOperator::Runners
        | FromOperator::Logs(_)
        | FromOperator::Artifacts { .. }
        | FromOperator::Fetch { .. }
        | FromOperator::Passes(_)
        | FromOperator::Cancel { .. }
        | FromOperator::Rerun { .. }
        | FromOperator::Start { .. }
        | FromOperator::Tokens
        | FromOperator::Secrets
        | FromOperator::Caches(_)
        | FromOperator::LogOut
        | FromOperator::Wake { .. }
        | FromOperator::Watch
        | FromOperator::Haves { .. }
        | FromOperator::Pack { .. }
        | FromOperator::Submit(_)
        | FromOperator::Ping => return None,
    })
}

/// Returns the refusal for an operation that was not done. Its kind, and the stable code of its reason, follow from the
/// error's variant.
pub(super) fn refusal(error: OperationError) -> Refusal {
    let (code, reason) = match &error {
        OperationError::NoBuild { .. } => (ErrorCode::NotFound, "no_build"),
        OperationError::Ambiguous { .. } => (ErrorCode::Refused, "ambiguous_build"),
        OperationError::Elsewhere { .. } => (ErrorCode::NotFound, "build_elsewhere"),
        OperationError::Removed { .. } => (ErrorCode::NotFound, "build_removed"),
        OperationError::RemovedLongAgo { .. } => (ErrorCode::NotFound, "build_removed_long_ago"),
        OperationError::NoTask { .. } => (ErrorCode::NotFound, "no_task"),
        OperationError::NoTasks { .. } => (ErrorCode::NotFound, "no_tasks"),
        OperationError::SeveralTasks { .. } => (ErrorCode::NotFound, "several_tasks"),
        OperationError::NoAttempt { .. } => (ErrorCode::NotFound, "no_attempt"),
        OperationError::NoService { .. } => (ErrorCode::NotFound, "no_service"),
        OperationError::NotAttempted { .. } => (ErrorCode::NotFound, "not_attempted"),
        OperationError::NoRepo { .. } => (ErrorCode::NotFound, "no_repo"),
        OperationError::NotWatched { .. } => (ErrorCode::NotFound, "not_watched"),
        OperationError::ObserverTooOld { .. } => (ErrorCode::Refused, "observer_too_old"),
        OperationError::NoRunner { .. } => (ErrorCode::NotFound, "no_runner"),
        OperationError::UnknownTask { .. } => (ErrorCode::NotFound, "no_task"),
        OperationError::UnknownInput { .. } => (ErrorCode::NotFound, "unknown_input"),
        OperationError::MissingInputs { .. } => (ErrorCode::Refused, "missing_input"),
        OperationError::ManualNeed { .. } => (ErrorCode::Refused, "manual_need"),
        OperationError::Source { .. } => (ErrorCode::BrokenSource, "broken_source"),
        OperationError::Spool(_) => (ErrorCode::Internal, "pack_not_kept"),
        OperationError::Denied(denied) => return denied.refusal(),
        OperationError::Rotation(RotationError::NotBegun) => (ErrorCode::Refused, "not_rotating"),
        OperationError::Rotation(RotationError::NotTaken { .. }) => (ErrorCode::Refused, "pin_not_taken"),
        OperationError::Rotation(RotationError::Held) => (ErrorCode::Refused, "files_held"),
        OperationError::Rotation(RotationError::Write { .. } | RotationError::Certificate(_)) => {
            (ErrorCode::Internal, "authority_not_written")
        }
        OperationError::Secret(error) => match error {
            SecretError::Wrong(_) => (ErrorCode::Refused, "secret_wrong"),
            SecretError::None { .. } => (ErrorCode::NotFound, "no_secret"),
            SecretError::Connection => (ErrorCode::Refused, "not_encrypted"),
            SecretError::NotNow(_) => (ErrorCode::Busy, "busy"),
            SecretError::Ending => (ErrorCode::ShuttingDown, "shutting_down"),
            SecretError::Vault(_) => (ErrorCode::Internal, "secrets_key"),
            SecretError::Store(_) => (ErrorCode::Internal, "store_unreadable"),
        },
        OperationError::Cache(error) => match error {
            CacheError::NoKey { .. } => (ErrorCode::NotFound, "no_cache"),
            CacheError::Ambiguous { .. } => (ErrorCode::Refused, "ambiguous_cache"),
            CacheError::TooLarge { .. } | CacheError::Incomplete => (ErrorCode::Refused, "cache_not_saved"),
            CacheError::NotNow(_) => (ErrorCode::Busy, "busy"),
            CacheError::Ending => (ErrorCode::ShuttingDown, "shutting_down"),
            CacheError::Store(_) => (ErrorCode::Internal, "store_unreadable"),
            CacheError::Manifest(_) => (ErrorCode::Internal, "blob_unreadable"),
        },
        OperationError::Refused(reason) => (ErrorCode::Refused, reason.code()),
        OperationError::NoAnswer(NoAnswer::Busy) => (ErrorCode::Busy, "busy"),
        OperationError::NoAnswer(NoAnswer::Absent) => (ErrorCode::Refused, "not_running"),
        OperationError::NoAnswer(NoAnswer::Ending) => (ErrorCode::ShuttingDown, "shutting_down"),
        OperationError::Store(_) => (ErrorCode::Internal, "store_unreadable"),
        OperationError::Log { .. } => (ErrorCode::Internal, "log_unreadable"),
        OperationError::NoBlob { .. } => (ErrorCode::NotFound, "no_blob"),
        OperationError::Blob { .. } => (ErrorCode::Internal, "blob_unreadable"),
    };
    if matches!(code, ErrorCode::Internal | ErrorCode::BrokenSource) {
        log::error!("{}", chain(&error));
    }
    Refusal::new(code, chain(&error)).because(reason)
}
