//! Suggestions for misspelt names.

/// The longest text that is compared. No known name is longer, and the time of a comparison grows with the square.
const MAX_COMPARED_CHARS: usize = 100;

/// Returns the known name nearest to `typed`, if no more than a third of its letters differ, or one.
pub(crate) fn nearest<'a>(typed: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    if typed.chars().nth(MAX_COMPARED_CHARS).is_some() {
        return None;
    }
    let typed = plain(typed);
    let allowed = (typed.chars().count() / 3).max(1);
    known
        .into_iter()
        .map(|name| (strsim::osa_distance(&typed, &plain(name)), name))
        .filter(|(distance, name)| *distance <= allowed && *distance < name.chars().count())
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, name)| name)
}

/// Removes the differences that people overlook: capitals, and `-` for `_`.
pub(super) fn plain(name: &str) -> String {
    name.to_lowercase().replace('-', "_")
}

/// Removes the differences between the ways in which programs write a word of several parts.
pub(super) fn without_signs(word: &str) -> String {
    word.to_lowercase().replace(['-', '_'], "")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_is_recognised_and_a_stranger_is_not() {
        let known = ["build", "test", "unit-test", "b"];
        for (typed, meant) in [
            ("biuld", Some("build")),
            ("Build", Some("build")),
            ("tset", Some("test")),
            ("unit_tests", Some("unit-test")),
            ("deploy", None),
            ("x", None),
            ("", None),
        ] {
            assert_eq!(nearest(typed, known), meant, "{typed}");
        }
        assert_eq!(nearest(&"b".repeat(1 << 20), known), None);
    }
}
