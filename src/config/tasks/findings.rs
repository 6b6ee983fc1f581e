//! Everything that was found wrong or doubtful in a task file, and its text for people.

use std::collections::HashSet;

use super::mistake::{Mistake, TaskFileError};

/// Mistakes, and warnings, that are remembered of one file. Further ones are only counted, so that a hostile file
/// cannot make the list longer than itself.
const MAX_REMEMBERED: usize = 200;

/// The mistakes and warnings of a file, in the order in which they were found.
#[derive(Debug, Clone, Default)]
pub(crate) struct Findings {
    mistakes: Vec<Mistake>,
    /// Mistakes beyond those in the list.
    uncounted: usize,
    warnings: Vec<Mistake>,
    /// Values whose findings are told: the place of the value, and whether it had a mistake.
    told: HashSet<(usize, bool)>,
}

impl Findings {
    /// Adds a mistake: the file cannot be used.
    pub(crate) fn mistake(&mut self, mistake: Mistake) {
        if self.mistakes.len() < MAX_REMEMBERED {
            self.mistakes.push(mistake);
        } else {
            self.uncounted += 1;
        }
    }

    /// Adds a doubt: the file can be used, but is probably not what its author means.
    pub(crate) fn warning(&mut self, warning: Mistake) {
        if self.warnings.len() < MAX_REMEMBERED {
            self.warnings.push(warning);
        }
    }

    /// Adds the mistake of a result, and returns the value of a result without one.
    pub(crate) fn unless_wrong<T>(&mut self, result: Result<T, Mistake>) -> Option<T> {
        result.map_err(|mistake| self.mistake(mistake)).ok()
    }

    /// Adds the findings of a part of the file.
    pub(crate) fn append(&mut self, part: Self) {
        part.mistakes.into_iter().for_each(|mistake| self.mistake(mistake));
        self.uncounted += part.uncounted;
        part.warnings.into_iter().for_each(|warning| self.warning(warning));
    }

    /// Adds the findings of a value that begins at this place of the file, unless they are told: several tasks may read
    /// one value.
    pub(crate) fn append_once(&mut self, of_value: Self, place: usize) {
        let is_mistaken = of_value.has_mistakes();
        if (is_mistaken || !of_value.warnings.is_empty()) && self.told.insert((place, is_mistaken)) {
            self.append(of_value);
        }
    }

    /// Removes what was found on these lines of the text.
    pub(crate) fn forget_lines(&mut self, text: &str, lines: &HashSet<usize>) {
        self.mistakes.retain(|mistake| !lines.contains(&mistake.line(text)));
        self.warnings.retain(|warning| !lines.contains(&warning.line(text)));
    }

    /// Whether there is any mistake.
    pub(crate) fn has_mistakes(&self) -> bool {
        !self.mistakes.is_empty()
    }

    /// Renders the first `shown` mistakes in the order of the file, and the number of all if there are several.
    pub(crate) fn error(mut self, name: &str, text: &str, shown: usize) -> TaskFileError {
        let count = self.mistakes.len() + self.uncounted;
        self.mistakes.sort_by_key(|mistake| mistake.place.start);
        let mut parts: Vec<String> =
            self.mistakes.iter().take(shown).map(|mistake| mistake.explain(name, text).text).collect();
        if count > shown {
            parts.push(format!("{count} mistakes; the first {shown} are shown"));
        } else if count > 1 {
            parts.push(format!("{count} mistakes"));
        }
        TaskFileError { text: parts.join("\n\n") }
    }

    /// Renders the warnings, in the order of the file.
    pub(crate) fn warnings(&mut self, name: &str, text: &str) -> Vec<String> {
        self.warnings.sort_by_key(|warning| warning.place.start);
        self.warnings.iter().map(|warning| warning.explain(name, text).text).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mistakes_are_shown_in_the_order_of_the_file_and_those_left_out_are_counted() {
        let found = |places: std::ops::Range<usize>| {
            let mut found = Findings::default();
            places.rev().for_each(|at| found.mistake(Mistake::new(at..at + 1, "wrong", "mend it")));
            found
        };
        let lines = |error: TaskFileError| -> Vec<String> {
            error
                .text
                .lines()
                .filter(|line| line.contains("wrong") || line.contains("mistakes"))
                .map(str::to_owned)
                .collect()
        };
        assert_eq!(lines(found(1..2).error("f", "abcdef", 5)), ["f:1:2: wrong"]);
        let three = ["f:1:1: wrong", "f:1:2: wrong", "f:1:3: wrong", "3 mistakes"];
        assert_eq!(lines(found(0..3).error("f", "abcdef", 5)), three);
        let two = ["f:1:1: wrong", "f:1:2: wrong", "3 mistakes; the first 2 are shown"];
        assert_eq!(lines(found(0..3).error("f", "abcdef", 2)), two);
        let mut many = found(0..MAX_REMEMBERED);
        many.append(found(0..300));
        assert_eq!(lines(many.error("f", "abcdef", 0)), ["500 mistakes; the first 0 are shown"]);
    }
}
