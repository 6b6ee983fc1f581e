//! The condition of a task, `when` in the task file: the builds in which the task runs, and the paths on which it
//! depends.

use serde::{Deserialize, Serialize};

use super::glob::matches_name;
use super::{RefName, Trigger};

/// The condition of a task. Each list that is not empty must admit the build; an empty list is not given.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct When {
    /// Globs for the branches whose builds have the task.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub branches: Vec<String>,
    /// Globs for the tags whose builds have the task.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub events: Vec<TriggerEvent>,
    /// Globs for the paths on which the task depends.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub changed: Vec<String>,
}

worded! {
    /// The event that asks for a build, as task files name it: see [`super::Trigger::event`].
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
    #[serde(rename_all = "snake_case")]
    pub enum TriggerEvent: word {
        Push = "push",
        Tag = "tag",
        Pull = "pull",
        Ref = "ref",
        Schedule = "schedule",
        Manual = "manual",
        Try = "try",
    }
}

impl TriggerEvent {
    /// All events.
    pub const ALL: [Self; 7] = [Self::Push, Self::Tag, Self::Pull, Self::Ref, Self::Schedule, Self::Manual, Self::Try];

    /// Returns the event of a trigger.
    #[must_use]
    pub fn of(trigger: &Trigger) -> Self {
        Self::of_word(trigger.event()).expect("each event of a trigger has a word here")
    }

    /// Returns the event of a word.
    #[must_use]
    pub fn of_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|event| event.word() == word)
    }

    /// Whether builds of this event leave out tasks of which no path has changed. A schedule, and a person who asks for
    /// a build of a commit, want the tasks to run; a tag is mostly made at a commit that was built before.
    #[must_use]
    pub fn judges_changes(self) -> bool {
        match self {
            Self::Push | Self::Pull | Self::Ref | Self::Try => true,
            Self::Tag | Self::Schedule | Self::Manual => false,
        }
    }
}

/// Which part of a condition a build does not meet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unmet {
    /// The event is not among those of the task.
    Event,
    /// The ref is not among those of the task.
    Ref,
}

impl When {
    /// Returns the part of the condition that a build of this event and ref does not meet.
    #[must_use]
    pub fn unmet(&self, event: TriggerEvent, reference: &RefName) -> Option<Unmet> {
        let names_event = self.events.contains(&event);
        if !self.events.is_empty() && !names_event {
            return Some(Unmet::Event);
        }
        let (globs, name) = match (reference.branch(), reference.tag()) {
            (Some(branch), _) => (&self.branches[..], branch),
            (None, Some(tag)) => (&self.tags[..], tag),
            (None, None) => (&[][..], ""),
        };
        let is_met = if globs.is_empty() {
            // Refs of this kind have no list of their own. Beside a list of another kind they are not meant, unless
            // the event says so.
            (self.branches.is_empty() && self.tags.is_empty()) || names_event
        } else {
            globs.iter().any(|glob| matches_name(glob, name))
        };
        (!is_met).then_some(Unmet::Ref)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn when(branches: &[&str], tags: &[&str], events: &[TriggerEvent]) -> When {
        let list = |globs: &[&str]| globs.iter().map(|glob| (*glob).to_owned()).collect();
        When { branches: list(branches), tags: list(tags), events: events.to_vec(), changed: Vec::new() }
    }

    /// Which of these builds have the task: a push to `main`, to `topic`, the tag `v1`, the tag `x`, a pull request, a
    /// schedule of `main`.
    fn admitted(when: &When) -> [bool; 6] {
        let builds = [
            (TriggerEvent::Push, "refs/heads/main"),
            (TriggerEvent::Push, "refs/heads/topic"),
            (TriggerEvent::Tag, "refs/tags/v1"),
            (TriggerEvent::Tag, "refs/tags/x"),
            (TriggerEvent::Pull, "refs/pull/1/head"),
            (TriggerEvent::Schedule, "refs/heads/main"),
        ];
        builds.map(|(event, reference)| when.unmet(event, &RefName::new(reference)).is_none())
    }

    #[test]
    fn lists_of_refs_judge_refs_of_their_kind_and_leave_out_those_without_a_list() {
        use TriggerEvent::{Pull, Push, Tag};
        assert_eq!(admitted(&When::default()), [true; 6]);
        assert_eq!(admitted(&when(&["main"], &[], &[])), [true, false, false, false, false, true]);
        assert_eq!(admitted(&when(&[], &["v*"], &[])), [false, false, true, false, false, false]);
        assert_eq!(admitted(&when(&["ma*"], &["v*"], &[])), [true, false, true, false, false, true]);
        assert_eq!(admitted(&when(&[], &[], &[Push])), [true, true, false, false, false, false]);
        assert_eq!(admitted(&when(&["main"], &[], &[Push, Pull])), [true, false, false, false, true, false]);
        assert_eq!(admitted(&when(&["main"], &[], &[Push, Tag])), [true, false, true, true, false, false]);
        assert_eq!(admitted(&when(&["main"], &["v*"], &[Push, Tag, Pull])), [true, false, true, false, true, false]);
    }

    #[test]
    fn the_event_is_named_before_the_ref() {
        let when = when(&["main"], &[], &[TriggerEvent::Push]);
        let topic = RefName::new("refs/heads/topic");
        assert_eq!(when.unmet(TriggerEvent::Manual, &topic), Some(Unmet::Event));
        assert_eq!(when.unmet(TriggerEvent::Push, &topic), Some(Unmet::Ref));
    }

    #[test]
    fn each_event_of_a_trigger_has_its_word() {
        for event in TriggerEvent::ALL {
            assert_eq!(TriggerEvent::of_word(event.word()), Some(event));
            assert_eq!(serde_json::to_string(&event).unwrap(), format!("\"{}\"", event.word()));
        }
        assert_eq!(TriggerEvent::of_word("pull_request"), None);
    }
}
