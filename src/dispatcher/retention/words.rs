//! The rules of retention in words.

use crate::store::Rule;

/// Why a build went, to go on after its number.
pub(crate) fn words(rule: Rule) -> &'static str {
    match rule {
        Rule::Age => "too old for --keep-for",
        Rule::Count => "beyond the newest of --keep-builds",
        Rule::Size => "too much for --keep-logs",
    }
}
