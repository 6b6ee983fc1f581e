//! The wish for a join token.

use super::repo;
use crate::dispatcher::session::credentials::NewToken;
use crate::model::{AccessRole, Label};
use crate::protocol::hello::{ErrorCode, Refusal};
use crate::protocol::operator::TokenOrder;

/// Reads the fields of `create_token`.
pub(crate) fn new_token(order: TokenOrder) -> Result<NewToken, Refusal> {
    let TokenOrder { role, name, labels, repos, ttl_ms, uses } = order;
    let refused = |text: String| Refusal::new(ErrorCode::Refused, text).because("token_wrong");
    let role = AccessRole::of_word(&role).ok_or_else(|| {
        refused(format!("there is no role {}: write observer, runner, reader, member or admin", Refusal::quote(&role)))
    })?;
    let labels = labels.iter().map(|label| Label::new(label).map_err(|error| refused(error.to_string())));
    let repos = repos.iter().map(|name| repo(name).map_err(|refusal| refused(refusal.text)));
    let (mut labels, mut repos) = (labels.collect::<Result<Vec<_>, _>>()?, repos.collect::<Result<Vec<_>, _>>()?);
    labels.sort_unstable();
    labels.dedup();
    repos.sort_unstable();
    repos.dedup();
    Ok(NewToken { role, name, labels, repos, ttl_ms, uses })
}
