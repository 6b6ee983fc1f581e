//! Why an attempt timed out.

use serde::{Deserialize, Serialize};

use super::{RecordedReason, StoredReason};

stored_reason! {
    /// Why an attempt timed out: which of the limits it reached. The runner words all but the first.
    pub enum TimeoutReason {
        /// The time that the whole attempt may take.
        Whole = "timeout",
        /// The time that it may go on without printing anything.
        Quiet { text: String } = "quiet_timeout",
        /// The time that one of its steps may take.
        Step { text: String } = "step_timeout",
    }
}

impl TimeoutReason {
    /// The attempt printed nothing for this long.
    #[must_use]
    pub fn quiet(quiet_ms: u64) -> Self {
        let span = match quiet_ms {
            ms if ms.is_multiple_of(60_000) => format!("{} min", ms / 60_000),
            ms if ms.is_multiple_of(1000) => format!("{} s", ms / 1000),
            ms => format!("{ms} ms"),
        };
        Self::Quiet { text: format!("it printed nothing for {span}") }
    }

    /// The step of that name reached its own timeout.
    #[must_use]
    pub fn step(name: &str) -> Self {
        Self::Step { text: format!("step `{name}` reached its timeout") }
    }

    /// The timeout that a runner reports. One without a text is that of the whole attempt, as of runners that know no
    /// other; a code of a newer runner leaves the text.
    #[must_use]
    pub fn reported(code: Option<&str>, text: Option<String>) -> Self {
        match (code, text.filter(|text| !text.trim().is_empty())) {
            (_, None) => Self::Whole,
            (Some("quiet_timeout"), Some(text)) => Self::Quiet { text },
            (Some("step_timeout"), Some(text)) => Self::Step { text },
            (code, Some(text)) => Self::Recorded(RecordedReason { code: code.map(str::to_owned), text }),
        }
    }

    /// The text, unless the word of the outcome says all.
    #[must_use]
    pub fn detail(&self) -> Option<String> {
        (*self != Self::Whole).then(|| self.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reported_timeout_keeps_its_text_and_one_without_is_of_the_whole() {
        let reported = |code, text: &str| TimeoutReason::reported(code, Some(text.into()));
        assert_eq!(TimeoutReason::reported(None, None), TimeoutReason::Whole);
        assert_eq!(reported(Some("quiet_timeout"), " "), TimeoutReason::Whole);
        let quiet = TimeoutReason::quiet(600_000);
        assert_eq!(quiet.to_string(), "it printed nothing for 10 min");
        assert_eq!(reported(quiet.code(), &quiet.to_string()), quiet);
        let step = TimeoutReason::step("test");
        assert_eq!(reported(step.code(), &step.to_string()), step);
        let newer = reported(Some("newer"), "it was odd");
        assert_eq!((newer.code(), newer.detail().as_deref()), (Some("newer"), Some("it was odd")));
        let spans = [(1500, "1500 ms"), (90_000, "90 s"), (3_600_000, "60 min")];
        for (ms, span) in spans {
            assert_eq!(TimeoutReason::quiet(ms).to_string(), format!("it printed nothing for {span}"));
        }
    }
}
