//! The order of refs of one age: numbers in their names count as numbers, so that `v2` comes before `v10`.

use std::cmp::Ordering;

use super::RefName;

impl RefName {
    /// Compares two names as people count: a run of digits is compared as a number. Names that differ only in zeros
    /// before a number are compared as texts.
    #[must_use]
    pub fn cmp_by_numbers(&self, other: &Self) -> Ordering {
        let (mut left, mut right) = (self.as_str(), other.as_str());
        loop {
            let (a, b) = (first_part(left), first_part(right));
            if a.is_empty() || b.is_empty() {
                // Only the whole names tell `v01` from `v1`.
                return left.len().min(1).cmp(&right.len().min(1)).then_with(|| self.as_str().cmp(other.as_str()));
            }
            let ordering = match (a.as_bytes()[0].is_ascii_digit(), b.as_bytes()[0].is_ascii_digit()) {
                (true, true) => {
                    let (a, b) = (a.trim_start_matches('0'), b.trim_start_matches('0'));
                    a.len().cmp(&b.len()).then_with(|| a.cmp(b))
                }
                _ => a.cmp(b),
            };
            if ordering != Ordering::Equal {
                return ordering;
            }
            (left, right) = (&left[a.len()..], &right[b.len()..]);
        }
    }
}

/// Returns the digits that a text begins with, or else what comes before its first digit.
fn first_part(text: &str) -> &str {
    let is_number = text.starts_with(|first: char| first.is_ascii_digit());
    let end = text.find(|letter: char| letter.is_ascii_digit() != is_number).unwrap_or(text.len());
    &text[..end]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_in_names_are_compared_as_numbers() {
        let expected =
            ["", "refs/pull/9/head", "refs/pull/10/head", "v", "v1", "v1.2", "v1.10", "v1.020", "v2", "v10", "w"];
        let mut names: Vec<RefName> = expected.iter().rev().map(|name| RefName::new(name)).collect();
        names.sort_by(RefName::cmp_by_numbers);
        assert_eq!(names.iter().map(RefName::as_str).collect::<Vec<_>>(), expected);
        let cmp = |a: &str, b: &str| RefName::new(a).cmp_by_numbers(&RefName::new(b));
        assert_eq!(cmp("v01", "v1"), Ordering::Less);
        assert_eq!(cmp("v1", "v01"), Ordering::Greater);
        assert_eq!(cmp("v01", "v01"), Ordering::Equal);
        assert_eq!(cmp("v99999999999999999999", "v100000000000000000000"), Ordering::Less);
    }
}
