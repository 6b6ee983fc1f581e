//! The order of refs of one age: numbers in their names count as numbers, so that `v2` comes before `v10`.

use std::cmp::Ordering;

use super::RefName;

impl RefName {
    /// Compares two names as people count: a run of digits is compared as a number, and comes before letters. Names
    /// that differ only in zeros before a number are compared as texts.
    #[must_use]
    pub fn cmp_by_numbers(&self, other: &Self) -> Ordering {
        let (mut left, mut right) = (self.as_str().as_bytes(), other.as_str().as_bytes());
        loop {
            let same = common_prefix(left, right);
            (left, right) = (&left[same..], &right[same..]);
            let (a, b) = (digits(left), digits(right));
            if a.is_empty() || b.is_empty() {
                let is_number = |digits: &[u8]| !digits.is_empty();
                // At the end only the whole names tell `v01` from `v1`.
                let ends = left.is_empty().cmp(&right.is_empty()).reverse();
                let by_kind = is_number(a).cmp(&is_number(b)).reverse();
                return ends
                    .then(by_kind)
                    .then_with(|| left.cmp(right))
                    .then_with(|| self.as_str().cmp(other.as_str()));
            }
            let ordering = {
                let (a, b) = (without_zeros(a), without_zeros(b));
                a.len().cmp(&b.len()).then_with(|| a.cmp(b))
            };
            if ordering != Ordering::Equal {
                return ordering;
            }
            (left, right) = (&left[a.len()..], &right[b.len()..]);
        }
    }
}

/// The size of the blocks in which names are compared first: thousands of names may begin with the same two thousand
/// letters.
const BLOCK_BYTES: usize = 64;

/// Returns the number of bytes with which both begin, without a number that is cut.
fn common_prefix(left: &[u8], right: &[u8]) -> usize {
    let blocks = left.chunks_exact(BLOCK_BYTES).zip(right.chunks_exact(BLOCK_BYTES));
    let whole = blocks.take_while(|(a, b)| a == b).count() * BLOCK_BYTES;
    let rest = left[whole..].iter().zip(&right[whole..]).take_while(|(a, b)| a == b).count();
    let same = &left[..whole + rest];
    same.len() - same.iter().rev().take_while(|byte| byte.is_ascii_digit()).count()
}

/// Returns the digits that a text begins with.
fn digits(text: &[u8]) -> &[u8] {
    let end = text.iter().position(|byte| !byte.is_ascii_digit()).unwrap_or(text.len());
    &text[..end]
}

fn without_zeros(digits: &[u8]) -> &[u8] {
    let start = digits.iter().position(|digit| *digit != b'0').unwrap_or(digits.len());
    &digits[start..]
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
