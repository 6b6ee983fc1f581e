//! Abilities: the keys of a recipe that a runner of the protocol's first version passes over. Such a runner would
//! execute the task in another way than its author means, so a job with such a key goes only to runners that know it.
//!
//! A runner tells its abilities as labels, `can=WORD`, and a task that needs one asks for that label. So they need no
//! rules of their own for placing a job and for telling why it waits.

use super::{Label, Recipe};

/// The key of an ability's label.
const PREFIX: &str = "can=";

worded! {
    /// A key of a recipe that is younger than the first version of the protocol.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub enum Ability: word {
        /// The task starts in a directory below the root of the work tree.
        Dir = "dir",
        /// The task is ended if it prints nothing for a while.
        QuietTimeout = "quiet_timeout",
        /// The task has several commands.
        Steps = "steps",
        /// The task may write a file with further tasks. A runner that knows it also knows the names of such tasks.
        Expand = "expand",
    }
}

impl Ability {
    /// The abilities of this program.
    pub const ALL: [Self; 4] = [Self::Dir, Self::QuietTimeout, Self::Steps, Self::Expand];

    /// Returns the abilities that a runner needs to execute a recipe.
    pub fn needed_for(recipe: &Recipe) -> impl Iterator<Item = Self> {
        let needs = [
            (Self::Dir, recipe.dir.is_some()),
            (Self::QuietTimeout, recipe.quiet_timeout_ms.is_some()),
            (Self::Steps, !recipe.steps.is_empty()),
            (Self::Expand, recipe.expand),
        ];
        needs.into_iter().filter(|(_, is_needed)| *is_needed).map(|(ability, _)| ability)
    }

    /// The label by which a runner offers it.
    ///
    /// # Panics
    ///
    /// Never: words are made of a label's letters.
    #[must_use]
    pub fn label(self) -> Label {
        Label::new(&format!("{PREFIX}{}", self.word())).expect("words are made of a label's letters")
    }

    /// Returns the word of the ability that a label stands for, maybe one of a newer program.
    #[must_use]
    pub fn word_of(label: &str) -> Option<&str> {
        label.strip_prefix(PREFIX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Script;

    #[test]
    fn a_recipe_asks_for_the_abilities_that_it_needs_and_for_no_others() {
        let plain = Recipe::new(Script::Shell("true".into()));
        assert_eq!(Ability::needed_for(&plain).count(), 0, "runners of the first version execute it");
        let recipe = Recipe { dir: Some("a".into()), quiet_timeout_ms: Some(1), ..plain };
        let labels: Vec<Label> = Ability::needed_for(&recipe).map(Ability::label).collect();
        assert_eq!(labels.iter().map(Label::as_str).collect::<Vec<_>>(), ["can=dir", "can=quiet_timeout"]);
        assert_eq!((Ability::word_of("can=dir"), Ability::word_of("gpu")), (Some("dir"), None));
        assert!(Ability::ALL.iter().all(|ability| Ability::word_of(&ability.label()) == Some(ability.word())));
    }
}
