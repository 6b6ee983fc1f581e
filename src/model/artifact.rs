//! Artifacts: files that a task leaves, and that later tasks and people get.

use serde::{Deserialize, Serialize};

use super::{BlobId, Outcome, TaskName, WallTime};

/// Files of the work tree that are kept under one name when a task has ended. It is a part of a recipe.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ArtifactRule {
    /// Unique within the task.
    pub name: String,
    /// Globs, [`super::glob::PathGlobs`]. A glob after `!` takes back what globs before it match.
    pub paths: Vec<String>,
    /// The outcomes of an attempt after which they are kept.
    #[serde(default, skip_serializing_if = "KeptOn::is_default")]
    pub on: KeptOn,
    /// How long they are kept at most; `None` for as long as the build.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keep_ms: Option<u64>,
    /// Whether an attempt that passed fails if a glob matches nothing, or a file cannot be kept.
    #[serde(default = "yes", skip_serializing_if = "is_yes")]
    pub required: bool,
}

impl ArtifactRule {
    /// The name of the artifact whose globs have no table of their own.
    pub const PLAIN_NAME: &str = "files";

    /// A rule with defaults for everything but its name.
    #[must_use]
    pub fn new(name: &str) -> Self {
        Self { name: name.to_owned(), paths: Vec::new(), on: KeptOn::default(), keep_ms: None, required: true }
    }
}

fn yes() -> bool {
    true
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes fields by reference")]
fn is_yes(flag: &bool) -> bool {
    *flag
}

/// The artifacts of a needed task that are put into the work tree before an attempt starts.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Take {
    #[default]
    Nothing,
    /// All that the task left.
    All,
    /// Those of these names, as far as the task left them.
    Only(Vec<String>),
}

impl Take {
    /// The most artifacts that an attempt takes. Their names and manifests come with its lease, in one message.
    pub const MAX: usize = 1000;

    /// Whether nothing is taken, whatever the task left.
    #[must_use]
    pub fn is_nothing(&self) -> bool {
        *self == Self::Nothing
    }

    /// Whether an artifact of this name is taken.
    #[must_use]
    pub fn covers(&self, name: &str) -> bool {
        match self {
            Self::Nothing => false,
            Self::All => true,
            Self::Only(names) => names.iter().any(|one| one == name),
        }
    }
}

/// An artifact of a needed task that an attempt takes, as its lease names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TakenArtifact {
    pub task: TaskName,
    /// [`ArtifactRule::name`].
    pub name: String,
    /// The blob with its manifest.
    pub manifest: BlobId,
}

/// The outcomes of an attempt after which an artifact is kept.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KeptOn {
    /// The attempt passed.
    #[default]
    Passed,
    /// The attempt ran and did not pass.
    Failed,
    /// Either of both.
    Always,
}

impl KeptOn {
    /// The words in a task file.
    pub const WORDS: [(&str, Self); 3] = [("passed", Self::Passed), ("failed", Self::Failed), ("always", Self::Always)];

    /// Whether an artifact is kept after this outcome. An attempt that was lost or cancelled leaves none.
    #[must_use]
    pub fn covers(self, outcome: &Outcome) -> bool {
        match outcome {
            Outcome::Passed => self != Self::Failed,
            Outcome::Failed(_) | Outcome::Killed(_) | Outcome::TimedOut(_) => self != Self::Passed,
            Outcome::CouldNotStart(_) | Outcome::Cancelled | Outcome::Lost(_) => false,
        }
    }

    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes fields by reference")]
    fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// An artifact that an attempt left. It is on the wire and in the store as it is, so a field is only ever added, with a
/// default.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ArtifactRecord {
    /// [`ArtifactRule::name`].
    pub name: String,
    /// The blob with the manifest, which names the files and their blobs.
    pub manifest: BlobId,
    /// Entries of the manifest.
    pub files: u64,
    /// Bytes of all files together, as they were in the work tree.
    pub bytes: u64,
    /// [`ArtifactRule::keep_ms`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keep_ms: Option<u64>,
    /// When and why it was removed although its build is still there; `None` for one that is kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub removed: Option<ArtifactRemoval>,
}

/// The removal of an artifact whose build stays.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ArtifactRemoval {
    pub at: WallTime,
    pub rule: ExpiryRule,
}

/// The limit for which an artifact was removed. It is in the store by these names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ExpiryRule {
    /// The time that its task gives it, [`ArtifactRule::keep_ms`].
    KeepFor,
    /// Its build finished too long ago.
    Age,
    /// Too many newer builds of the repository have artifacts.
    Count,
    /// All artifacts together were too large.
    Size,
}

impl ExpiryRule {
    /// All rules, in the order in which they are applied.
    pub const ALL: [Self; 4] = [Self::KeepFor, Self::Age, Self::Count, Self::Size];

    /// The word on the wire.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::KeepFor => "keep_for",
            Self::Age => "age",
            Self::Count => "count",
            Self::Size => "size",
        }
    }

    /// Why an artifact was removed, as a phrase that follows its name.
    #[must_use]
    pub fn phrase(self) -> &'static str {
        match self {
            Self::KeepFor => "older than its keep_for",
            Self::Age => "too old for --keep-artifacts-for",
            Self::Count => "beyond the newest builds of --keep-artifact-builds",
            Self::Size => "too much for --keep-artifacts",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::reason::TimeoutReason;

    #[test]
    fn an_artifact_is_kept_after_the_outcomes_of_its_rule_and_never_of_a_lost_attempt() {
        let covered = |outcome: &Outcome| KeptOn::WORDS.map(|(_, on)| on.covers(outcome));
        assert_eq!(covered(&Outcome::Passed), [true, false, true]);
        for outcome in [Outcome::Failed(1), Outcome::Killed(9), Outcome::TimedOut(TimeoutReason::Whole)] {
            assert_eq!(covered(&outcome), [false, true, true]);
        }
        for outcome in [Outcome::Cancelled, Outcome::CouldNotStart("x".into()), Outcome::Lost("x".into())] {
            assert_eq!(covered(&outcome), [false; 3]);
        }
    }

    #[test]
    fn artifacts_are_taken_by_their_names() {
        let covered = |take: Take| ["files", "coverage"].map(|name| take.covers(name));
        assert_eq!(covered(Take::Nothing), [false, false]);
        assert_eq!(covered(Take::All), [true, true]);
        assert_eq!(covered(Take::Only(vec!["coverage".into()])), [false, true]);
        let text = |take: &Take| serde_json::to_string(take).unwrap();
        assert_eq!(text(&Take::All), r#""all""#, "it is stored");
        assert_eq!(text(&Take::Only(vec!["a".into()])), r#"{"only":["a"]}"#);
    }

    #[test]
    fn a_rule_with_defaults_is_short() {
        let rule = ArtifactRule { paths: vec!["dist/**".into()], ..ArtifactRule::new("files") };
        let text = serde_json::to_string(&rule).unwrap();
        assert_eq!(text, r#"{"name":"files","paths":["dist/**"]}"#);
        assert_eq!(serde_json::from_str::<ArtifactRule>(&text).unwrap(), rule);
    }
}
