//! Repeated failures: each cause is reported once, and the pause before the next attempt grows.
//!
//! Holds no clock and logs nothing itself. Used for repositories that cannot be read and for remotes that cannot be
//! fetched.

use std::time::Duration;

/// A row of failures without a success between them; it may be empty.
#[derive(Debug)]
pub(crate) struct Failures {
    first: Duration,
    longest: Duration,
    /// The last cause reported, and the pause after the next failure.
    last: Option<Failure>,
}

/// The last failure of a row.
#[derive(Debug)]
struct Failure {
    text: String,
    next_pause: Duration,
}

impl Failures {
    pub(crate) fn new(first: Duration, longest: Duration) -> Self {
        Self { first, longest: longest.max(first), last: None }
    }

    /// Notes a failure. Returns its text if it differs from the last one, and the pause before the next attempt.
    pub(crate) fn note(&mut self, text: String) -> (Option<String>, Duration) {
        let (is_new, pause) = match &self.last {
            Some(last) => (last.text != text, last.next_pause),
            None => (true, self.first),
        };
        self.last = Some(Failure { text: text.clone(), next_pause: pause.saturating_mul(2).min(self.longest) });
        (is_new.then_some(text), pause)
    }

    /// Notes a success. Returns whether it ends a row of failures.
    pub(crate) fn resolve(&mut self) -> bool {
        self.last.take().is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cause_is_said_once_and_the_pauses_grow_to_a_limit() {
        let second = Duration::from_secs(1);
        let mut failures = Failures::new(second, 3 * second);
        let (locked, broken) = ("locked".to_owned(), "broken".to_owned());
        assert_eq!(failures.note(locked.clone()), (Some("locked".into()), second));
        assert_eq!(failures.note(locked.clone()), (None, 2 * second));
        assert_eq!(failures.note(broken.clone()), (Some("broken".into()), 3 * second));
        assert_eq!(failures.note(broken.clone()), (None, 3 * second));
        assert!(failures.resolve());
        assert!(!failures.resolve());
        assert_eq!(failures.note(locked.clone()), (Some("locked".into()), second));
    }
}
