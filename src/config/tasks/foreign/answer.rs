//! An answer, and the tables in which it is one.

/// The table in which a key stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Level {
    /// The top of the file.
    File,
    Build,
    /// A task, a template or the defaults.
    Task,
    Step,
    When,
    Retry,
    Schedule,
    Service,
    Input,
}

/// An answer, with the keys that it is for.
pub(super) struct Answer {
    /// The tables in which it is the answer. Empty for all tables that have no answer of their own.
    pub(super) levels: &'static [Level],
    /// Without capitals, `-` and `_`.
    pub(super) keys: &'static [&'static str],
    pub(super) text: &'static str,
}

pub(super) const fn any(keys: &'static [&'static str], text: &'static str) -> Answer {
    Answer { levels: &[], keys, text }
}

pub(super) const fn at(levels: &'static [Level], keys: &'static [&'static str], text: &'static str) -> Answer {
    Answer { levels, keys, text }
}
