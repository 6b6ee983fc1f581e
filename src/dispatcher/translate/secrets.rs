//! Orders about secrets, and the report of them.

use super::repo;
use crate::model::glob::matches_no_ref;
use crate::model::secret::{MAX_RULE_ITEMS, is_secret_name};
use crate::model::{Label, Secret, SecretRule, TaskName};
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
    if refs.len().max(tasks.len()).max(labels.len()) > MAX_RULE_ITEMS {
        return Err(refused(format!("a rule names at most {MAX_RULE_ITEMS} globs or labels")));
    }
    let of_refs = refs.iter().map(|glob| (glob, wrong_ref(glob)));
    let of_tasks = tasks.iter().map(|glob| (glob, wrong_task(glob)));
    if let Some((glob, why)) = of_refs.chain(of_tasks).find_map(|(glob, why)| Some((glob, why?))) {
        return Err(refused(format!("`{}` {why}", Refusal::quote(glob))));
    }
    let labels = labels.iter().map(|label| Label::new(label).map_err(|error| refused(error.to_string())));
    let labels = labels.collect::<Result<Vec<_>, _>>()?;
    let repo = of.map(|repo| repo.to_string());
    Ok((name.clone(), SecretRule { repo, refs: refs.clone(), tasks: tasks.clone(), labels }))
}

/// Returns why a glob of a rule can match no ref, so that no build would ever get the secret.
fn wrong_ref(glob: &str) -> Option<String> {
    if glob.len() > MAX_GLOB_BYTES {
        return Some("is too long for a glob".to_owned());
    }
    matches_no_ref(glob, if glob.starts_with("refs/") { "ref" } else { "branch" })
}

/// Returns why a glob of a rule can match no name of a task.
fn wrong_task(glob: &str) -> Option<String> {
    // Whatever a wildcard stands for, what is wrong with a letter in its place stays wrong.
    let is_wrong = glob.len() > MAX_GLOB_BYTES || TaskName::new(&glob.replace(['*', '?'], "x")).is_err();
    is_wrong.then(|| "matches no task: `*` is any text, `?` one character, and names have no blanks or brackets".into())
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

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(refs: &[&str], tasks: &[&str]) -> Option<String> {
        let texts = |list: &[&str]| list.iter().map(|text| (*text).to_owned()).collect();
        let order = SecretOrder {
            name: "TOKEN".into(),
            repo: None,
            refs: texts(refs),
            tasks: texts(tasks),
            labels: Vec::new(),
            short: false,
            bytes: 8,
        };
        secret_order(&order).err().map(|refusal| refusal.text)
    }

    /// The owner of the secret would look for the reason in every build that lacks it.
    #[test]
    fn a_rule_that_no_build_can_meet_is_refused() {
        assert_eq!(refused(&["main", "release/*", "refs/tags/v*"], &["deploy*", "test@stable,*", "*"]), None);
        for (glob, why) in [
            ("release/[0-9]*", "has a class of characters"),
            ("refs/tags/v[0-9]*", "has a class of characters"),
            ("!main", "takes back"),
            ("", "matches no branch"),
            ("refs/a..b", "matches no ref"),
        ] {
            let told = refused(&[glob], &[]).unwrap_or_else(|| panic!("{glob}"));
            assert!(told.starts_with(&format!("`{glob}` {why}")), "{told}");
        }
        for glob in ["deploy[0-9]", "a b", "", "!deploy"] {
            assert!(refused(&[], &[glob]).is_some_and(|told| told.contains("matches no task")), "{glob}");
        }
    }
}
