//! Tiers: how far an attempt is kept from the rest of its runner's machine.

use std::fmt;

use serde::{Deserialize, Serialize};

worded! {
    /// How far an attempt is kept from the rest of its runner's machine, weakest first. An image is beside this order:
    /// it is in force only for a task that names one.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
    #[serde(rename_all = "snake_case")]
    pub enum Tier: word {
        /// The attempt sees and reaches what the runner's user does.
        Shared = "shared",
        /// It sees neither the files of Surveil nor other attempts, and has a temporary directory of its own.
        Guarded = "guarded",
        /// It also cannot write anywhere but into its work tree, its temporary directory and its home directory.
        Sealed = "sealed",
        /// It is executed in a container of the image that its task names.
        Image = "image",
    }
}

impl Tier {
    /// The tiers that a task can ask for by `isolation`, and a runner can offer by itself, weakest first.
    pub const ORDERED: [Self; 3] = [Self::Shared, Self::Guarded, Self::Sealed];

    /// Returns the tier that a task or an operator names.
    #[must_use]
    pub fn of_task(word: &str) -> Option<Self> {
        Self::ORDERED.into_iter().find(|tier| tier.word() == word)
    }
}

/// The tiers that a runner offers to tasks. One that asks for less than the least has the least.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TierRange {
    pub least: Tier,
    pub most: Tier,
}

impl TierRange {
    /// All tiers that a runner can offer by itself.
    pub const ALL: Self = Self { least: Tier::Shared, most: Tier::Sealed };

    /// Reads `TIER`, `LEAST..MOST`, `LEAST..` or `..MOST`.
    #[must_use]
    pub fn read(typed: &str) -> Option<Self> {
        let (least, most) = typed.split_once("..").unwrap_or((typed, typed));
        let tier = |word: &str, end| {
            if word.is_empty() && typed.len() > 2 { Some(end) } else { Tier::of_task(word) }
        };
        let range = Self { least: tier(least, Self::ALL.least)?, most: tier(most, Self::ALL.most)? };
        (range.least <= range.most).then_some(range)
    }
}

impl fmt::Display for TierRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { least, most } = self;
        if least == most { f.write_str(least.word()) } else { write!(f, "{}..{}", least.word(), most.word()) }
    }
}

/// The tiers of a runner, as it tells them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TierOffer {
    pub range: TierRange,
    /// The means by which attempts are guarded, for people. Empty if none are.
    pub means: String,
}

worded! {
    /// When a runner fetches the image of a task from its registry.
    #[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
    #[serde(rename_all = "snake_case")]
    pub enum Pull: word {
        /// If the runner does not have it.
        #[default]
        Missing = "missing",
        /// Before each attempt.
        Always = "always",
        /// Never: the runner has to have it.
        Never = "never",
    }
}

impl Pull {
    const ALL: [Self; 3] = [Self::Missing, Self::Always, Self::Never];

    /// Returns the choice with this word.
    #[must_use]
    pub fn of(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|pull| pull.word() == word)
    }

    /// Whether it is what a task has that says nothing.
    #[must_use]
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_of_tiers_reads_back_and_an_end_that_is_left_out_is_the_last_one() {
        let read = |typed: &str| TierRange::read(typed).map(|range| range.to_string());
        for (typed, shown) in [
            ("guarded", "guarded"),
            ("guarded..sealed", "guarded..sealed"),
            ("sealed..sealed", "sealed"),
            ("guarded..", "guarded..sealed"),
            ("..guarded", "shared..guarded"),
        ] {
            assert_eq!(read(typed).as_deref(), Some(shown), "{typed}");
        }
        for typed in
            ["", "..", "sealed..guarded", "image", "guarded..image", "guarded...sealed", "a..b", "guarded,sealed"]
        {
            assert_eq!(read(typed), None, "{typed}");
        }
    }
}
