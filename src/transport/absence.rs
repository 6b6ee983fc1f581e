//! Which tries to reach a dispatcher are worth a log line. Pure: time is an argument, and the caller logs.

use crate::model::Moment;

/// Interval at which a lasting cause is logged again.
const REMIND_MS: u64 = 10 * 60 * 1000;

/// A dispatcher with which there is no session, as far as the log tells of it.
#[derive(Debug, Default)]
pub struct Absence {
    said: Option<(String, Moment)>,
}

impl Absence {
    /// Whether to log this cause now: it is the first one, another one than before, or was logged long ago.
    pub fn is_news(&mut self, cause: &str, now: Moment) -> bool {
        let is_known = self.said.as_ref().is_some_and(|(said, at)| said == cause && now.since(*at) < REMIND_MS);
        if !is_known {
            self.said = Some((cause.to_owned(), now));
        }
        !is_known
    }

    /// Notes a session. The next absence is news, whatever its cause.
    pub fn over(&mut self) {
        self.said = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lasting_cause_is_told_once_and_again_after_a_long_time() {
        let mut absence = Absence::default();
        let mut told = |cause: &str, ms| absence.is_news(cause, Moment(ms));
        assert!(told("refused", 0));
        assert!((1..600).all(|second| !told("refused", second * 1000)));
        assert!(told("refused", 600_000) && !told("refused", 600_001));
        assert!(told("name taken", 600_002) && told("refused", 600_003));
        absence.over();
        assert!(absence.is_news("refused", Moment(600_004)));
    }
}
