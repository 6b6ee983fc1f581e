//! A secret as the dispatcher keeps it, and the rule that says to which attempts it goes. The value itself is sealed:
//! no type of the model holds it.

use serde::{Deserialize, Serialize};

use super::reason::SecretDenial;
use super::{Label, RefName, RepoName, RunnerName, TaskName, Trust, WallTime, glob};

/// The shortest value of a secret, unless a person insists: a shorter one is a word of ordinary text, and masking it
/// would eat the log.
pub const MIN_SECRET_BYTES: usize = 8;
/// The longest value of a secret. An environment takes no longer variable than twice that.
pub const MAX_SECRET_BYTES: usize = 64 * 1024;
/// The length of all secrets of one task together.
pub const MAX_SECRETS_BYTES: usize = 128 * 1024;
/// The most secrets of one task.
pub const MAX_SECRETS: usize = 32;
/// The longest name of a secret: a table still shows it in one line.
const MAX_SECRET_NAME: usize = 100;
/// The most globs or labels of a rule.
pub const MAX_RULE_ITEMS: usize = 100;

/// A secret of a dispatcher.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Secret {
    /// The name of the variable in which a task gets it.
    pub name: String,
    pub rule: SecretRule,
    /// The value, encrypted. It can be opened only with the dispatcher's key, under this name and this rule.
    pub sealed: Vec<u8>,
    pub set_at: WallTime,
    /// The person who set it, if the name is known.
    pub set_by: Option<String>,
    /// The newest attempt that got it.
    pub last_use: Option<SecretUse>,
}

/// The last use of a secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SecretUse {
    pub at: WallTime,
    /// The task, as people type it: `b12/deploy`.
    pub task: String,
}

/// The attempts to which a secret goes. An empty list allows all.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SecretRule {
    /// The repository; `None` for all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub repo: Option<String>,
    /// Globs for branches; one that begins with `refs/` is for the full name of a ref.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub refs: Vec<String>,
    /// Globs for names of tasks.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tasks: Vec<String>,
    /// Labels that the runner's credential must have, all of them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub labels: Vec<Label>,
}

/// An attempt that asks for a secret.
#[derive(Debug, Clone, Copy)]
pub struct SecretAsk<'a> {
    pub repo: &'a RepoName,
    pub reference: &'a RefName,
    pub trust: Trust,
    pub task: &'a TaskName,
    pub runner: &'a RunnerName,
    /// The labels of the runner's credential. Labels that a runner only claims are none of them.
    pub labels: &'a [Label],
    /// Nobody on the way can read what the runner is sent.
    pub is_private: bool,
}

impl SecretRule {
    /// Whether the secret is one of this repository.
    #[must_use]
    pub fn is_for(&self, repo: &RepoName) -> bool {
        self.repo.as_deref().is_none_or(|own| own == repo.as_str())
    }

    /// Returns the first rule that stands against this attempt; `None` if it may have the secret.
    #[must_use]
    pub fn denial(&self, ask: &SecretAsk<'_>) -> Option<SecretDenial> {
        if !self.is_for(ask.repo) {
            return Some(SecretDenial::Unknown);
        }
        if ask.trust != Trust::Trusted {
            return Some(SecretDenial::Untrusted);
        }
        if !self.refs.is_empty() && !self.refs.iter().any(|glob| matches_ref(glob, ask.reference)) {
            return Some(SecretDenial::Ref { what: ask.reference.short().to_owned(), allowed: self.refs.clone() });
        }
        if !self.tasks.is_empty() && !self.tasks.iter().any(|glob| glob::matches_name(glob, ask.task)) {
            return Some(SecretDenial::Task { allowed: self.tasks.clone() });
        }
        let missing = self.labels.iter().find(|label| !ask.labels.contains(label));
        if let Some(label) = missing {
            return Some(SecretDenial::Runner { runner: ask.runner.clone(), label: label.clone() });
        }
        (!ask.is_private).then(|| SecretDenial::Connection { runner: ask.runner.clone() })
    }
}

/// Whether a glob of a rule matches a ref. Without `refs/` at its beginning it is for branches, so that `v*` matches no
/// tag, and one for tags no branch.
fn matches_ref(glob: &str, reference: &RefName) -> bool {
    if glob.starts_with("refs/") {
        return glob::matches_name(glob, reference.as_str());
    }
    reference.branch().is_some_and(|branch| glob::matches_name(glob, branch))
}

/// Whether a text can name a secret: it is the name of a variable that the runner does not set itself.
#[must_use]
pub fn is_secret_name(name: &str) -> bool {
    name.len() <= MAX_SECRET_NAME
        && super::output::is_variable_name(name.as_bytes())
        && !name.to_ascii_uppercase().starts_with("SURVEIL")
}

/// Returns what of a value is the text of a variable: without the line feed that `echo` and editors add.
#[must_use]
pub fn without_line_feed(value: &[u8]) -> &[u8] {
    let value = value.strip_suffix(b"\n").unwrap_or(value);
    value.strip_suffix(b"\r").unwrap_or(value)
}

/// Returns why this cannot be the value of a secret, for people; `None` if it can.
#[must_use]
pub fn wrong_value(value: &[u8], may_be_short: bool) -> Option<String> {
    let length = without_line_feed(value).len();
    if length == 0 {
        return Some("the value is empty".into());
    }
    if value.len() > MAX_SECRET_BYTES {
        return Some(format!(
            "the value has {} bytes, and a secret has at most {} KiB: keep larger things encrypted in the repository, \
             and only their key here",
            value.len(),
            MAX_SECRET_BYTES >> 10
        ));
    }
    (length < MIN_SECRET_BYTES && !may_be_short).then(|| {
        format!(
            "the value has fewer than {MIN_SECRET_BYTES} bytes: such a text is found everywhere, so masking it would eat \
             the log, and it is guessed easily; --short takes it all the same"
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule() -> SecretRule {
        SecretRule {
            repo: Some("app".into()),
            refs: vec!["release/*".into(), "refs/tags/v*".into()],
            tasks: vec!["deploy*".into()],
            labels: vec![Label::recorded("deploy")],
        }
    }

    /// Asks as an attempt that may have the secret, with one difference.
    fn asked(rule: &SecretRule, change: impl for<'a> FnOnce(&mut SecretAsk<'a>)) -> Option<&'static str> {
        let (repo, reference) = (RepoName::new("app").unwrap(), RefName::of_branch("release/1"));
        let (task, runner) = (TaskName::recorded("deploy-web"), RunnerName::recorded("w1"));
        let labels = [Label::recorded("deploy"), Label::recorded("gpu")];
        let mut ask = SecretAsk {
            repo: &repo,
            reference: &reference,
            trust: Trust::Trusted,
            task: &task,
            runner: &runner,
            labels: &labels,
            is_private: true,
        };
        change(&mut ask);
        rule.denial(&ask).map(|denial| denial.code())
    }

    #[test]
    fn each_part_of_a_rule_stands_against_an_attempt_that_does_not_match_it() {
        let rule = rule();
        assert_eq!(asked(&rule, |_| {}), None);
        let leak = |name: &str| &*Box::leak(Box::new(RefName::new(name)));
        for (reference, wanted) in [
            ("refs/heads/main", Some("ref")),
            ("refs/heads/release", Some("ref")),
            ("refs/tags/v1", None),
            ("refs/heads/v1", Some("ref")),
            ("refs/tags/release/1", Some("ref")),
            ("HEAD", Some("ref")),
        ] {
            assert_eq!(asked(&rule, |ask| ask.reference = leak(reference)), wanted, "{reference}");
        }
        assert_eq!(asked(&rule, |ask| ask.trust = Trust::Untrusted), Some("untrusted"));
        assert_eq!(asked(&rule, |ask| ask.is_private = false), Some("connection"));
        assert_eq!(asked(&rule, |ask| ask.labels = &[]), Some("runner_label"));
        let all = SecretRule::default();
        assert_eq!(asked(&all, |ask| ask.labels = &[]), None, "a rule without a label allows every runner");
        assert_eq!(asked(&all, |ask| ask.trust = Trust::Untrusted), Some("untrusted"), "whatever the rule");
        let other = SecretRule { repo: Some("lib".into()), ..SecretRule::default() };
        assert_eq!(asked(&other, |_| {}), Some("unknown"), "it says no more to another repository");
        let tests = SecretRule { tasks: vec!["test".into()], ..SecretRule::default() };
        assert_eq!(asked(&tests, |_| {}), Some("task"));
    }

    #[test]
    fn a_value_is_bounded_and_no_word_of_ordinary_text() {
        assert_eq!(wrong_value(b"12345678\n", false), None);
        assert!(wrong_value(b"1234567\n", false).unwrap().contains("--short"));
        assert_eq!(wrong_value(b"1234567\n", true), None);
        for empty in [&b""[..], b"\n", b"\r\n"] {
            assert_eq!(wrong_value(empty, true).as_deref(), Some("the value is empty"));
        }
        assert_eq!(wrong_value(&vec![b'x'; MAX_SECRET_BYTES], false), None);
        let long = wrong_value(&vec![b'x'; 1 << 20], true).unwrap();
        assert!(long.starts_with("the value has 1048576 bytes, and a secret has at most 64 KiB"), "{long}");
    }

    #[test]
    fn a_secret_has_the_name_of_a_variable() {
        for name in ["NPM_TOKEN", "a", "_1", "GIT_TOKEN"] {
            assert!(is_secret_name(name), "{name}");
        }
        for name in ["", "1A", "A-B", "SURVEIL_TOKEN", "surveil_x", "a b", "ä", &"x".repeat(101)] {
            assert!(!is_secret_name(name), "{name}");
        }
    }
}
