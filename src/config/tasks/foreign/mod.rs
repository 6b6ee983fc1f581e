//! Answers for keys of other programs. An answer names the key of Surveil and shows a line to write, or says that there
//! is nothing yet and what to do in its place. Words that other programs use for the same value are aliases in
//! [`super::keys::KEYS`]; `misplaced` answers for keys of Surveil that stand in the wrong table.

mod answer;
mod inner;
mod tasks;

use super::suggest::without_signs;
use answer::Answer;

pub(super) use answer::Level;

/// Returns the answer for a key that the table does not have.
pub(super) fn answer(level: Level, typed: &str) -> Option<&'static str> {
    let word = without_signs(typed);
    let find = |is_at: &dyn Fn(&Answer) -> bool| {
        all().find(|answer| is_at(answer) && answer.keys.contains(&&*word)).map(|answer| answer.text)
    };
    find(&|answer| answer.levels.contains(&level)).or_else(|| find(&|answer| answer.levels.is_empty()))
}

/// Returns the keys that are answered in this table, for tests.
#[cfg(test)]
pub(super) fn keys_at(level: Level) -> impl Iterator<Item = &'static str> {
    let is_at = move |answer: &&Answer| answer.levels.is_empty() || answer.levels.contains(&level);
    all().filter(is_at).flat_map(|answer| answer.keys).copied()
}

fn all() -> impl Iterator<Item = &'static Answer> {
    tasks::ANSWERS.iter().chain(inner::ANSWERS)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn no_key_has_two_answers_in_one_table() {
        let mut seen = HashSet::new();
        for answer in all() {
            for key in answer.keys {
                assert_eq!(without_signs(key), *key, "it would never be found");
                for level in answer.levels {
                    assert!(seen.insert((Some(format!("{level:?}")), *key)), "{key} is there twice at {level:?}");
                }
                assert!(!answer.levels.is_empty() || seen.insert((None, *key)), "{key} is there twice");
            }
        }
    }

    #[test]
    fn answers_fit_on_a_screen() {
        for answer in all() {
            for line in answer.text.lines() {
                assert!(line.chars().count() <= 115, "{line}");
            }
            assert!(answer.text.lines().count() <= 6, "{}", answer.text);
        }
    }

    #[test]
    fn other_words_have_no_answer() {
        for level in [Level::File, Level::Build, Level::Task, Level::Step, Level::When, Level::Schedule] {
            assert_eq!(answer(level, "sunshine"), None, "{level:?}");
        }
    }
}
