//! The note at the end of a log, about facts that the log itself does not contain. Pure.

use crate::cli::human;

/// Returns a note on the end of a log that the log itself does not contain.
pub(super) fn end_note(outcome: Option<&str>, missing: Option<&str>) -> Option<String> {
    match (outcome, missing) {
        // The last output of a lost attempt may or may not have arrived.
        (Some("lost"), Some(why)) => Some(format!("the attempt was lost, and output may be missing: {why}")),
        // A dispatcher of before gave this as a reason for missing output.
        (Some("cancelled"), None | Some("cancelled")) => Some("cancelled".to_owned()),
        (Some(outcome), Some(why)) => Some(format!("{}, and output is missing: {why}", human::words(outcome))),
        (None, Some(why)) => Some(format!("output is missing: {why}")),
        (Some(outcome @ ("timed_out" | "killed" | "could_not_start")), None) => Some(human::words(outcome)),
        (_, None) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn output_is_called_missing_only_if_it_is() {
        let words = |outcome, missing| end_note(outcome, missing).unwrap_or_default();
        assert_eq!(words(Some("passed"), None), "");
        assert_eq!(words(Some("failed"), None), "");
        assert_eq!(words(Some("cancelled"), None), "cancelled");
        assert_eq!(words(Some("cancelled"), Some("cancelled")), "cancelled", "as a dispatcher of before says");
        assert_eq!(words(Some("timed_out"), None), "timed out");
        assert_eq!(words(Some("passed"), Some("too long")), "passed, and output is missing: too long");
        let lost = words(Some("lost"), Some("its lease ran out"));
        assert_eq!(lost, "the attempt was lost, and output may be missing: its lease ran out");
    }
}
