//! Orders about secrets, and the report of them.

use super::repo;
use crate::model::secret::{MAX_RULE_ITEMS, is_secret_name};
use crate::model::{Label, Secret, SecretRule};
use crate::protocol::hello::{ErrorCode, Refusal};
use crate::protocol::operator::{SecretOrder, SecretReport, SecretsReport};

/// The longest glob of a rule.
const MAX_GLOB_BYTES: usize = 1024;

/// Reads the name and the rule of a `set_secret`.
pub(crate) fn secret_order(order: &SecretOrder) -> Result<(String, SecretRule), Refusal> {
    let refused = |text: String| Refusal::new(ErrorCode::Refused, text).because("secret_wrong");
    let SecretOrder { name, repo: of, refs, tasks, labels, .. } = order;
    secret_name(name)?;
    let of = of.as_deref().map(|name| repo(name).map_err(|refusal| refused(refusal.text))).transpose()?;
    let globs = refs.iter().chain(tasks);
    if refs.len().max(tasks.len()).max(labels.len()) > MAX_RULE_ITEMS {
        return Err(refused(format!("a rule names at most {MAX_RULE_ITEMS} globs or labels")));
    }
    let is_wrong = |glob: &&String| glob.is_empty() || glob.len() > MAX_GLOB_BYTES || glob.contains(char::is_control);
    if let Some(glob) = globs.into_iter().find(is_wrong) {
        return Err(refused(format!("`{}` is no glob", Refusal::quote(glob))));
    }
    let labels = labels.iter().map(|label| Label::new(label).map_err(|error| refused(error.to_string())));
    let labels = labels.collect::<Result<Vec<_>, _>>()?;
    let repo = of.map(|repo| repo.to_string());
    Ok((name.clone(), SecretRule { repo, refs: refs.clone(), tasks: tasks.clone(), labels }))
}

/// Refuses a text that no secret can have as its name.
pub(crate) fn secret_name(name: &str) -> Result<(), Refusal> {
    if is_secret_name(name) {
        return Ok(());
    }
    let text = format!(
        "`{}` cannot name a secret: it is the name of a variable, of letters, digits and _, and does not begin with SURVEIL",
        Refusal::quote(name)
    );
    Err(Refusal::new(ErrorCode::Refused, text).because("secret_wrong"))
}

/// Returns the report of these secrets. No value is in it.
pub(crate) fn secrets_report(secrets: Vec<Secret>) -> SecretsReport {
    let report = |secret: Secret| {
        let Secret { name, rule: SecretRule { repo, refs, tasks, labels }, set_at, set_by, last_use, sealed: _ } =
            secret;
        let (used_ms, used_by) = last_use.map(|last| (last.at.0, last.task)).unzip();
        let labels = labels.iter().map(ToString::to_string).collect();
        SecretReport { name, repo, refs, tasks, labels, set_ms: set_at.0, set_by, used_ms, used_by }
    };
    SecretsReport { secrets: secrets.into_iter().map(report).collect(), more: false }
}
