//! How much history a task's tree has, and the facts of a commit's source, by which history is sent and kept.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::{CommitId, CommitIdError};

/// A number of commits on each line of history, the commit itself included, as `git clone --depth` counts them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Depth(pub u32);

/// The reason why a text is no depth.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no depth of history: a number from 1 or `full` expected")]
pub struct DepthError(pub String);

impl Depth {
    /// The commit without its parents.
    pub const ALONE: Self = Self(1);
    /// All commits that there are.
    pub const FULL: Self = Self(u32::MAX);

    /// The word for [`Depth::FULL`].
    pub const FULL_WORD: &str = "full";

    /// Whether it is the commit without its parents.
    #[must_use]
    pub fn is_alone(&self) -> bool {
        *self == Self::ALONE
    }
}

impl fmt::Display for Depth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if *self == Self::FULL { f.write_str(Self::FULL_WORD) } else { write!(f, "{}", self.0) }
    }
}

impl FromStr for Depth {
    type Err = DepthError;

    fn from_str(text: &str) -> Result<Self, DepthError> {
        if text == Self::FULL_WORD {
            return Ok(Self::FULL);
        }
        let number = text.parse().ok().filter(|number| (1..u32::MAX).contains(number));
        number.map(Self).ok_or_else(|| DepthError(text.chars().take(80).collect()))
    }
}

impl TryFrom<String> for Depth {
    type Error = DepthError;

    fn try_from(text: String) -> Result<Self, DepthError> {
        text.parse()
    }
}

impl From<Depth> for String {
    fn from(depth: Depth) -> Self {
        depth.to_string()
    }
}

/// The id of the facts of a commit's source: the id of the blob that holds them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct FactsId(pub CommitId);

impl fmt::Display for FactsId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for FactsId {
    type Err = CommitIdError;

    fn from_str(text: &str) -> Result<Self, CommitIdError> {
        text.parse().map(Self)
    }
}

impl TryFrom<String> for FactsId {
    type Error = CommitIdError;

    fn try_from(text: String) -> Result<Self, CommitIdError> {
        text.parse()
    }
}

impl From<FactsId> for String {
    fn from(id: FactsId) -> Self {
        id.to_string()
    }
}

/// Which submodules a tree has.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Submodules {
    /// None: their directories are empty.
    #[default]
    No,
    /// Those of the commit, and not those in them.
    Direct,
    /// All, however deep.
    Recursive,
}

impl Submodules {
    /// Whether there are none.
    #[must_use]
    pub fn is_no(&self) -> bool {
        *self == Self::No
    }
}

/// The wishes of a commit's tasks about its source, beside its tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SourceNeeds {
    pub history: Depth,
    pub tags: bool,
    pub submodules: Submodules,
    /// Whether the contents of files in Git LFS are wanted in place of their pointers.
    pub lfs: bool,
}

impl SourceNeeds {
    /// The commit alone.
    pub const NOTHING: Self = Self { history: Depth::ALONE, tags: false, submodules: Submodules::No, lfs: false };

    /// Returns what is enough for both.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self {
            history: self.history.max(other.history),
            tags: self.tags || other.tags,
            submodules: self.submodules.max(other.submodules),
            lfs: self.lfs || other.lfs,
        }
    }

    /// Whether this is enough for `other`.
    #[must_use]
    pub fn covers(self, other: Self) -> bool {
        self.and(other) == self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_depth_is_a_number_of_commits_or_full() {
        for (text, depth) in [("1", Depth::ALONE), ("50", Depth(50)), ("full", Depth::FULL)] {
            assert_eq!((text.parse(), depth.to_string().as_str()), (Ok(depth), text));
        }
        for text in ["0", "-1", "", "Full", "4294967295", "4294967296", "1.5"] {
            assert!(text.parse::<Depth>().is_err(), "{text}");
        }
        assert!(Depth::FULL > Depth(u32::MAX - 1) && Depth::ALONE.is_alone());
    }

    #[test]
    fn needs_together_are_the_greater_of_each() {
        let needs = |depth, tags, submodules, lfs| SourceNeeds { history: Depth(depth), tags, submodules, lfs };
        let (deep, tags) = (needs(5, false, Submodules::Recursive, true), needs(2, true, Submodules::Direct, false));
        let both = needs(5, true, Submodules::Recursive, true);
        assert_eq!((deep.and(tags), tags.and(deep)), (both, both));
        assert!(both.covers(deep) && both.covers(tags) && !deep.covers(tags) && !tags.covers(deep));
        assert!(SourceNeeds::NOTHING.covers(SourceNeeds::NOTHING));
    }
}
