//! The English for the rules of retention.

use crate::store::Rule;

/// Returns why a build was removed, as a phrase that follows the build's number.
pub(crate) fn words(rule: Rule) -> &'static str {
    match rule {
        Rule::Age => "too old for --keep-for",
        Rule::Count => "beyond the newest of --keep-builds",
        Rule::Size => "too much for --keep-logs",
    }
}
