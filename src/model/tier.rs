//! Tiers: how far an attempt is kept from the rest of its runner's machine.

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
