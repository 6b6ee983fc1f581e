//! Abilities: the keys of a recipe that a runner of the protocol's first version passes over. Such a runner would
//! execute the task in another way than its author means, so a job with such a key goes only to runners that know it.
//!
//! A runner tells its abilities as labels, `can=WORD`, and a task that needs one asks for that label. So they need no
//! rules of their own for placing a job and for telling why it waits.

use super::{Label, Recipe, SourceNeeds, Tier};

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
        /// The task leaves files.
        Artifacts = "artifacts",
        /// The task finds files in its work tree that needed tasks left. No key of a recipe tells it.
        Take = "take",
        /// An attempt sees nothing of Surveil and of other attempts, [`super::Tier::Guarded`].
        Guarded = "guarded",
        /// An attempt writes only into places of its own, [`super::Tier::Sealed`].
        Sealed = "sealed",
        /// The task is executed in a container of an image.
        Image = "image",
        /// The task has no network.
        NoNetwork = "no_network",
        /// An attempt has limits of memory, processes or processor time.
        Limits = "limits",
        /// The attempt gets secrets, and the runner masks them.
        Secrets = "secrets",
        /// The attempt has a cache for its build tools.
        ToolCache = "tool_cache",
        /// The attempt has services beside it.
        Services = "services",
        /// The attempt has services in containers beside it.
        ServiceImages = "service_images",
        /// The tree is more than the commit alone: the runner knows the facts of a source, such as its history.
        Facts = "facts",
        /// The tree has the contents of files in Git LFS.
        Lfs = "lfs",
    }
}

impl Ability {
    /// The abilities that this program has on every machine.
    pub const OF_PROGRAM: [Self; 11] = [
        Self::Dir,
        Self::QuietTimeout,
        Self::Steps,
        Self::Expand,
        Self::Artifacts,
        Self::Take,
        Self::Secrets,
        Self::ToolCache,
        Self::Services,
        Self::Facts,
        Self::Lfs,
    ];

    /// Returns the abilities that a runner needs to execute a recipe.
    pub fn needed_for(recipe: &Recipe) -> impl Iterator<Item = Self> {
        let needs = [
            (Self::Dir, recipe.dir.is_some()),
            (Self::QuietTimeout, recipe.quiet_timeout_ms.is_some()),
            (Self::Steps, !recipe.steps.is_empty()),
            (Self::Expand, recipe.expand),
            (Self::Artifacts, !recipe.artifacts.is_empty()),
            (Self::Guarded, recipe.isolation == Some(Tier::Guarded)),
            (Self::Sealed, recipe.isolation == Some(Tier::Sealed)),
            (Self::Image, recipe.image.is_some()),
            // The tool that runs the image takes the network away.
            (Self::NoNetwork, !recipe.network && recipe.image.is_none()),
            (Self::Limits, recipe.has_limits()),
            (Self::Secrets, !recipe.secrets.is_empty()),
            (Self::ToolCache, recipe.tool_cache),
            (Self::Services, !recipe.services.is_empty()),
            (Self::ServiceImages, recipe.services.iter().any(|service| service.image.is_some())),
            (Self::Lfs, recipe.lfs),
            (Self::Facts, recipe.facts.is_some() || recipe.source_needs() != SourceNeeds::NOTHING),
        ];
        needs.into_iter().filter(|(_, is_needed)| *is_needed).map(|(ability, _)| ability)
    }

    /// Returns the first ability that a recipe needs and that is not among these. A task is never executed with less
    /// than it asks for.
    pub fn missing_for(recipe: &Recipe, offered: &[Self]) -> Option<Self> {
        Self::needed_for(recipe).find(|ability| !offered.contains(ability))
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

    /// The noun of what a machine does not offer that lacks it; `None` for a key that only the program has to know.
    #[must_use]
    pub fn offer(self) -> Option<&'static str> {
        match self {
            Self::Guarded => Some("isolation `guarded`"),
            Self::Sealed => Some("isolation `sealed`"),
            Self::Image => Some("container images (`image`)"),
            Self::ServiceImages => Some("services in container images (`image` in `[service.NAME]`)"),
            Self::NoNetwork => Some("tasks without network (`network = false`)"),
            Self::Limits => Some("limits of an attempt (`memory`, `processes`, `cpus`)"),
            Self::Dir | Self::QuietTimeout | Self::Steps | Self::Expand => None,
            Self::Artifacts | Self::Take | Self::Secrets | Self::ToolCache | Self::Services => None,
            Self::Facts | Self::Lfs => None,
        }
    }

    /// The tier that it is, if it is one.
    #[must_use]
    pub fn tier(self) -> Option<Tier> {
        match self {
            Self::Guarded => Some(Tier::Guarded),
            Self::Sealed => Some(Tier::Sealed),
            Self::Dir | Self::QuietTimeout | Self::Steps | Self::Expand => None,
            Self::Artifacts | Self::Take | Self::Secrets | Self::ToolCache | Self::Services => None,
            Self::Facts | Self::Lfs => None,
            Self::Image | Self::ServiceImages | Self::NoNetwork | Self::Limits => None,
        }
    }

    /// Returns the ability of this program that a label stands for.
    #[must_use]
    pub fn of_label(label: &str) -> Option<Self> {
        let word = Self::word_of(label)?;
        let machine = [Self::Guarded, Self::Sealed, Self::Image, Self::ServiceImages, Self::NoNetwork, Self::Limits];
        Self::OF_PROGRAM.into_iter().chain(machine).find(|ability| ability.word() == word)
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
        let recipe = Recipe { dir: Some("a".into()), quiet_timeout_ms: Some(1), ..plain.clone() };
        let labels: Vec<Label> = Ability::needed_for(&recipe).map(Ability::label).collect();
        assert_eq!(labels.iter().map(Label::as_str).collect::<Vec<_>>(), ["can=dir", "can=quiet_timeout"]);
        assert_eq!((Ability::word_of("can=dir"), Ability::word_of("gpu")), (Some("dir"), None));
        let guarded = Recipe { isolation: Some(Tier::Guarded), network: false, memory_bytes: Some(1), ..plain };
        let needed: Vec<&str> = Ability::needed_for(&guarded).map(|ability| ability.word()).collect();
        assert_eq!(needed, ["guarded", "no_network", "limits"]);
        assert_eq!(Ability::missing_for(&guarded, &Ability::OF_PROGRAM), Some(Ability::Guarded));
        let all = [Ability::Guarded, Ability::NoNetwork, Ability::Limits];
        assert_eq!(Ability::missing_for(&guarded, &all), None);
        let image = Recipe { image: Some("a".into()), isolation: None, ..guarded };
        let needed: Vec<&str> = Ability::needed_for(&image).map(|ability| ability.word()).collect();
        assert_eq!(needed, ["image", "limits"], "the tool takes the network away");
        let shared = Recipe { isolation: Some(Tier::Shared), ..Recipe::new(Script::Shell("true".into())) };
        assert_eq!(Ability::needed_for(&shared).count(), 0, "runners of the first version offer it");
        assert!(Ability::OF_PROGRAM.iter().all(|ability| Ability::word_of(&ability.label()) == Some(ability.word())));
    }
}
