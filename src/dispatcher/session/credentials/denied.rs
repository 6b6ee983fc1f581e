//! The reasons why a token, a credential or an order about them is refused.

use crate::model::{AccessRole, CredentialId};
use crate::protocol::hello::{ErrorCode, Refusal, Role};

/// The reason why a token, a credential or an order about them is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Denied {
    /// The only answer for a peer that does not have the right secret.
    #[error("the token is not one of this dispatcher: check its address, or ask for a new one (surveil token create)")]
    Unknown,
    #[error("{} {id} has expired{}: join with a new one (surveil token create)", kind(*is_token), unused(*is_token))]
    Expired { id: CredentialId, is_token: bool },
    #[error("the join token {id} is used up: join with a new one (surveil token create)")]
    Used { id: CredentialId },
    #[error("{} {id} was revoked: join with a new one (surveil token create)", kind(*is_token))]
    Revoked { id: CredentialId, is_token: bool },
    #[error(
        "{id} is for the role {}, and not for {}: join with a token of that role (surveil token create --role {})",
        role.word(),
        role_word(*wanted),
        role_flag(*wanted)
    )]
    Role { id: CredentialId, role: AccessRole, wanted: Role },
    #[error(
        "{id} is for the name {own}, and not for {}: use that name (--name), or join with a token for this one \
         (surveil token create --name)",
        Refusal::quote(wanted)
    )]
    Name { id: CredentialId, own: String, wanted: String },
    #[error(
        "the name {} belongs to the credential {id}: use another name, or revoke that one first (surveil token revoke {id})",
        Refusal::quote(name)
    )]
    NameTaken { name: String, id: CredentialId },
    #[error(
        "{id} does not allow the label {label}: {}; join with a token that has it (surveil token create --label)",
        allowed_words(allowed)
    )]
    Label { id: CredentialId, label: String, allowed: Vec<String> },
    #[error(
        "{id} is not for the repository {repo}: it is for {}; join with a token that has it (surveil token create --repo)",
        allowed.join(", ")
    )]
    Repo { id: CredentialId, repo: String, allowed: Vec<String> },
    #[error("no token or credential has the id {}: `surveil token list` lists them", Refusal::quote(id))]
    NoSuchId { id: String },
    /// The order makes no sense.
    #[error("{0}")]
    Wrong(String),
    /// The id that was drawn is in use: draw another one.
    #[error("the drawn id is in use")]
    IdTaken,
    /// The change cannot be made durable now.
    #[error("the dispatcher cannot write it to its disk now: {0}")]
    NotNow(String),
    #[error("the dispatcher is shutting down")]
    Ending,
}

impl Denied {
    /// The refusal that a peer gets, and the stable code of its reason.
    pub(crate) fn refusal(&self) -> Refusal {
        let (code, reason) = match self {
            Self::Unknown => (ErrorCode::Token, "token_unknown"),
            Self::Expired { .. } => (ErrorCode::Token, "token_expired"),
            Self::Used { .. } => (ErrorCode::Token, "token_used"),
            Self::Revoked { .. } => (ErrorCode::Token, "token_revoked"),
            Self::Role { .. } => (ErrorCode::NotAllowed, "token_role"),
            Self::Name { .. } => (ErrorCode::NotAllowed, "token_name"),
            // Not `name_taken`, which passes by itself.
            Self::NameTaken { .. } => (ErrorCode::NotAllowed, "token_name_taken"),
            Self::Label { .. } => (ErrorCode::NotAllowed, "token_label"),
            Self::Repo { .. } => (ErrorCode::NotAllowed, "token_repo"),
            Self::NoSuchId { .. } => (ErrorCode::NotFound, "no_token"),
            Self::Wrong(_) => (ErrorCode::Refused, "token_wrong"),
            Self::IdTaken | Self::NotNow(_) => (ErrorCode::Busy, "busy"),
            Self::Ending => (ErrorCode::ShuttingDown, "shutting_down"),
        };
        Refusal::new(code, self.to_string()).because(reason)
    }
}

fn kind(is_token: bool) -> &'static str {
    if is_token { "the join token" } else { "the credential" }
}

fn unused(is_token: bool) -> &'static str {
    if is_token { "" } else { ", because it was not used for 90 days" }
}

fn role_word(role: Role) -> &'static str {
    match role {
        Role::Observer => "an observer",
        Role::Runner => "a runner",
        Role::Operator => "an operator",
    }
}

/// The value of `--role`, for an operator that of the least role that gives orders.
fn role_flag(role: Role) -> &'static str {
    match role {
        Role::Observer => "observer",
        Role::Runner => "runner",
        Role::Operator => "member",
    }
}

fn allowed_words(allowed: &[String]) -> String {
    if allowed.is_empty() { "it allows none".to_owned() } else { format!("it allows {}", allowed.join(", ")) }
}
