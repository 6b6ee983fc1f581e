//! What a runner calls itself and what it says it offers.

use std::sync::Arc;

use super::ConfigError;

/// The longest label, and the longest name made from a host's: what a table still shows in one line.
const MAX_LABEL_BYTES: usize = 100;

/// Checks a label as typed: `WORD` or `KEY=VALUE`, of letters, digits and `. _ - + : @ /`, each part starting with a
/// letter or digit.
pub fn parse_label(text: &str) -> Result<Arc<str>, ConfigError> {
    if is_label(text) { Ok(text.into()) } else { Err(ConfigError::Label(text.chars().take(80).collect())) }
}

/// What every runner offers without being told: `os=…`, `arch=…` and `hostname=…`.
#[must_use]
pub fn own_facts() -> Vec<Arc<str>> {
    vec![
        format!("os={}", std::env::consts::OS).into(),
        format!("arch={}", std::env::consts::ARCH).into(),
        format!("hostname={}", default_runner_name()).into(),
    ]
}

/// The host's name, with what is not safe in a name replaced.
#[must_use]
pub fn default_runner_name() -> Arc<str> {
    safe_name(&rustix::system::uname().nodename().to_string_lossy())
}

fn is_label(text: &str) -> bool {
    let is_part = |part: &str| {
        part.starts_with(|c: char| c.is_ascii_alphanumeric())
            && part.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-+:@/".contains(&b))
    };
    text.len() <= MAX_LABEL_BYTES
        && match text.split_once('=') {
            Some((key, value)) => is_part(key) && is_part(value),
            None => is_part(text),
        }
}

/// `host` as a name of `A-Z a-z 0-9 . _ -` that starts with a letter or digit; `runner` where nothing is left of it.
fn safe_name(host: &str) -> Arc<str> {
    let replaced: String =
        host.chars().map(|c| if c.is_ascii_alphanumeric() || "._-".contains(c) { c } else { '-' }).collect();
    let name = replaced.trim_start_matches(|c: char| !c.is_ascii_alphanumeric());
    // The label `hostname=NAME` has to stay within its own limit.
    let name = &name[..name.len().min(MAX_LABEL_BYTES - "hostname=".len())];
    if name.is_empty() { "runner".into() } else { name.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_is_a_word_or_a_key_with_a_value() {
        for text in ["gpu", "os=linux", "cuda=12.4", "image=ghcr.io/a/b:1", "7z", "c++", "zone=eu-1"] {
            assert_eq!(&*parse_label(text).unwrap(), text);
        }
        for text in ["", "=", "a=", "=b", "a=b=c", "a b", "a,b", "-x", "é", "a\nb", &"a".repeat(101)] {
            assert!(parse_label(text).is_err(), "{text}");
        }
        assert_eq!(
            parse_label("two words").unwrap_err().to_string(),
            "`two words` is not a label: write WORD or KEY=VALUE, with letters, digits and . _ - + : @ / only, \
             such as gpu or os=linux"
        );
    }

    #[test]
    fn a_hosts_name_is_made_safe() {
        for (host, name) in [
            ("w1", "w1"),
            ("build.example.org", "build.example.org"),
            ("-odd host/ü", "odd-host--"),
            ("", "runner"),
            ("...", "runner"),
        ] {
            assert_eq!(&*safe_name(host), name);
        }
        assert_eq!(safe_name(&"a".repeat(300)).len(), 91);
    }

    #[test]
    fn a_runners_own_facts_are_labels() {
        let facts = own_facts();
        assert!(facts.iter().all(|fact| is_label(fact)), "{facts:?}");
        let keys: Vec<&str> = facts.iter().filter_map(|fact| fact.split_once('=').map(|(key, _)| key)).collect();
        assert_eq!(keys, ["os", "arch", "hostname"]);
    }
}
