//! The rights of a session: the one table of the orders of operators and the role that each needs.

use std::sync::Arc;

use super::denied::Denied;
use super::ledger;
use crate::model::{AccessRole, Credential, CredentialId, Label, RepoName};
use crate::protocol::hello::{ErrorCode, Refusal};
use crate::protocol::operator::FromOperator;

/// The rights of a session.
#[derive(Debug, Clone, Default)]
pub(crate) struct Access {
    /// The credential with which it was opened. `None` for the secret of a role, which is for the machine of the
    /// dispatcher: it has all rights of the role.
    credential: Option<Arc<Credential>>,
    /// The person's name as the command says it. It counts for a session without a credential only.
    user: Option<String>,
}

/// Characters of the name of a person that are recorded.
pub(crate) const MAX_PERSON_CHARS: usize = 200;

/// Returns the role that an operator's message needs.
fn needed_role(message: &FromOperator) -> AccessRole {
    match message {
        FromOperator::Status { .. }
        | FromOperator::Show { .. }
        | FromOperator::Why { .. }
        | FromOperator::Runners
        | FromOperator::Logs(_)
        | FromOperator::Artifacts { .. }
        | FromOperator::Fetch { .. }
        | FromOperator::Passes(_)
        | FromOperator::Caches(_)
        | FromOperator::Watch
        | FromOperator::LogOut
        | FromOperator::Ping => AccessRole::Reader,
        FromOperator::Cancel { .. }
        | FromOperator::Rerun { .. }
        | FromOperator::Start { .. }
        | FromOperator::Wake { .. }
        | FromOperator::RemoveCaches(_)
        | FromOperator::Haves { .. }
        | FromOperator::Pack { .. }
        | FromOperator::Submit(_) => AccessRole::Member,
        FromOperator::Drain { .. }
        | FromOperator::Resume { .. }
        | FromOperator::CreateToken(_)
        | FromOperator::Tokens
        | FromOperator::RevokeToken { .. }
        | FromOperator::RotateAuthority { .. }
        | FromOperator::SetSecret(_)
        | FromOperator::Secrets
        | FromOperator::RemoveSecret { .. } => AccessRole::Admin,
    }
}

impl Access {
    pub(crate) fn of(credential: Option<Arc<Credential>>, user: Option<&str>) -> Self {
        let user = user.filter(|user| !user.is_empty());
        Self { credential, user: user.map(|user| user.chars().take(MAX_PERSON_CHARS).collect()) }
    }

    /// Returns the name that is recorded with an order: that of the credential, else the one that the command says,
    /// which may be any. `None` for a command that says none.
    pub(crate) fn person(&self) -> Option<&str> {
        match &self.credential {
            Some(credential) => credential.name.as_deref(),
            None => self.user.as_deref(),
        }
    }

    pub(crate) fn id(&self) -> Option<&CredentialId> {
        self.credential.as_ref().map(|it| &it.id)
    }

    /// Refuses a message of an operator whose role does not reach for it.
    pub(crate) fn check_order(&self, message: &FromOperator) -> Result<(), Refusal> {
        let needed = needed_role(message);
        match &self.credential {
            Some(credential) if credential.role < needed => {
                let text = format!(
                    "{} is {}, and this needs the role {needed}: ask an admin of the dispatcher for a join token of that \
                     role (surveil token create --role {needed})",
                    credential.name.as_deref().unwrap_or_else(|| credential.id.as_str()),
                    credential.role.with_article(),
                    needed = needed.word(),
                );
                Err(Refusal::new(ErrorCode::Refused, text).because("role"))
            }
            _ => Ok(()),
        }
    }

    /// Returns the labels of a runner that claims these.
    pub(crate) fn labels(&self, claimed: Vec<Label>) -> Result<Vec<Label>, Denied> {
        match &self.credential {
            Some(credential) => ledger::labels(credential, claimed),
            None => Ok(claimed),
        }
    }

    /// Returns the labels of the credential. The secret of a role has none.
    pub(crate) fn own_labels(&self) -> &[Label] {
        self.credential.as_ref().map_or(&[], |credential| &credential.labels)
    }

    /// Refuses an observer that speaks of a repository which is not among those of its credential.
    pub(crate) fn check_repo(&self, repo: &RepoName) -> Result<(), Denied> {
        match &self.credential {
            Some(credential) if !credential.repos.contains(repo) => Err(Denied::Repo {
                id: credential.id.clone(),
                repo: repo.to_string(),
                allowed: credential.repos.iter().map(ToString::to_string).collect(),
            }),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dispatcher::session::credentials::tests::credential;
    use crate::protocol::caches::CacheSelection;
    use crate::protocol::operator::{LogQuestion, PassQuestion, SecretOrder, TokenOrder};

    /// An order of every kind, and who may give it: reader, member, admin.
    #[test]
    fn every_order_needs_a_role_and_the_secret_of_the_role_operator_is_enough_for_all() {
        let (build, task, runner, repo) = ("b1".to_owned(), "t".to_owned(), "w1".to_owned(), "app".to_owned());
        let order = TokenOrder { role: "admin".into(), name: None, labels: vec![], repos: vec![], ttl_ms: 1, uses: 1 };
        let passes = PassQuestion { repo: repo.clone(), reference: String::new(), commits: vec![], tasks: vec![] };
        let start =
            FromOperator::Start { build: build.clone(), task, by: String::new(), force: false, inputs: [].into() };
        let (all, members, admins) = ([true; 3], [false, true, true], [false, false, true]);
        for (order, may) in [
            (FromOperator::Status { repo: None, limit: 1 }, all),
            (FromOperator::Show { build: build.clone(), repo: None, branch: None }, all),
            (FromOperator::Why { build: build.clone(), task: None }, all),
            (FromOperator::Runners, all),
            (FromOperator::Logs(LogQuestion::of_attempt(1, "t", 1, 0, false)), all),
            (FromOperator::Passes(passes), all),
            (FromOperator::Artifacts { build: build.clone(), task: None }, all),
            (FromOperator::Fetch { blob: String::new() }, all),
            (FromOperator::Caches(CacheSelection::default()), all),
            (FromOperator::Watch, all),
            (FromOperator::LogOut, all),
            (FromOperator::Ping, all),
            (FromOperator::Cancel { build: build.clone(), task: None }, members),
            (FromOperator::Rerun { build, failed: false, task: None }, members),
            (start, members),
            (FromOperator::Wake { repo: repo.clone() }, members),
            (FromOperator::RemoveCaches(CacheSelection::default()), members),
            (FromOperator::Haves { repo: repo.clone(), commits: vec![] }, members),
            (FromOperator::Pack { repo, last: true, bytes: 0 }, members),
            (FromOperator::Submit(Box::default()), members),
            (FromOperator::Drain { runner: runner.clone() }, admins),
            (FromOperator::Resume { runner }, admins),
            (FromOperator::CreateToken(order), admins),
            (FromOperator::Tokens, admins),
            (FromOperator::RevokeToken { id: "a".into() }, admins),
            (FromOperator::RotateAuthority { finish: false, force: false }, admins),
            (FromOperator::SetSecret(SecretOrder::default()), admins),
            (FromOperator::Secrets, admins),
            (FromOperator::RemoveSecret { name: "A".into(), repo: None }, admins),
        ] {
            let roles = [AccessRole::Reader, AccessRole::Member, AccessRole::Admin];
            let answers = roles.map(|role| {
                let access = Access::of(Some(Arc::new(Credential { role, ..credential("7f3k") })), None);
                access.check_order(&order).is_ok()
            });
            assert_eq!(answers, may, "{order:?}");
            assert_eq!(Access::default().check_order(&order), Ok(()));
        }
    }
    #[test]
    fn the_name_of_a_credential_counts_and_not_the_one_that_its_peer_says() {
        let alice = Credential { name: Some("alice".into()), ..credential("7f3k") };
        let access = Access::of(Some(Arc::new(alice)), Some("bob@attic"));
        assert_eq!(access.person(), Some("alice"));
        assert_eq!(Access::of(None, Some("bob@attic")).person(), Some("bob@attic"));
        assert_eq!(Access::of(None, Some("")).person(), None);
        assert_eq!(Access::of(None, Some(&"é".repeat(300))).person().unwrap().chars().count(), MAX_PERSON_CHARS);
        assert_eq!(Access::default().person(), None);
    }
}
