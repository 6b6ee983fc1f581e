//! The texts about an attempt's limits: in its log, and in its record.

use crate::model::Recipe;
use crate::process::{Ended, Enforcement, Exit, ProcessError};

/// Units of a size, each a multiple of the one behind it, those of both kinds.
const UNITS: [(u64, &str); 6] =
    [(1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB"), (1_000_000_000, "GB"), (1_000_000, "MB"), (1000, "kB")];

/// Returns the lines about limits that Surveil adds behind the output of a command.
pub(super) fn limit_notes(noun: &str, recipe: &Recipe, ended: &Result<Ended, ProcessError>) -> Vec<String> {
    let (Ok(ended), Some(bytes)) = (ended, recipe.memory_bytes) else { return Vec::new() };
    let memory = memory(bytes);
    let is_failure = match ended.exit {
        Exit::Code(code) => code != 0,
        Exit::Signal(_) => true,
        Exit::TimedOut | Exit::Cancelled | Exit::CouldNotStart(_) => false,
    };
    if ended.enforcement.is_over_memory {
        return vec![format!("surveil: the {noun} used more than {memory}, so its processes were ended")];
    }
    // A program whose memory is refused may say anything about that.
    let is_by_process = ended.enforcement.gaps.iter().any(|gap| gap.starts_with("memory"));
    let note = || format!("surveil: no process of the {noun} can have more than {memory}: the kernel refuses it");
    (is_failure && is_by_process).then(note).into_iter().collect()
}

/// Returns the limit that an attempt exceeded, in words; empty if it exceeded none.
pub(super) fn exceeded(recipe: &Recipe, enforcement: &Enforcement) -> String {
    let bytes = recipe.memory_bytes.filter(|_| enforcement.is_over_memory);
    bytes.map(|bytes| format!("used more than {}", memory(bytes))).unwrap_or_default()
}

/// Formats a limit of memory as a task file has it.
fn memory(bytes: u64) -> String {
    let unit = UNITS.into_iter().find(|(unit, _)| bytes.is_multiple_of(*unit));
    let size = unit.map_or_else(|| format!("{bytes}"), |(unit, word)| format!("{}{word}", bytes / unit));
    format!("`memory = \"{size}\"`")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Script;

    #[test]
    fn a_limit_is_told_as_it_was_written() {
        for (bytes, text) in [(64 << 20, "64MiB"), (3 << 30, "3GiB"), (500_000_000, "500MB"), (1_500_001, "1500001")] {
            assert_eq!(memory(bytes), format!("`memory = \"{text}\"`"));
        }
    }

    #[test]
    fn a_command_that_was_ended_for_its_memory_is_told_so_and_one_that_failed_is_told_the_limit() {
        let recipe = Recipe { memory_bytes: Some(64 << 20), ..Recipe::new(Script::Shell("x".into())) };
        let ended = |exit, is_over_memory, gap: &str| {
            let enforcement = Enforcement { is_over_memory, gaps: vec![gap.to_owned()] };
            Ok(Ended { enforcement, ..Ended::before_start(exit) })
        };
        let notes = |ended| limit_notes("task", &recipe, &ended);
        let over = notes(ended(Exit::Signal(9), true, "cpus"));
        assert_eq!(over, ["surveil: the task used more than `memory = \"64MiB\"`, so its processes were ended"]);
        let refused = "surveil: no process of the task can have more than `memory = \"64MiB\"`: the kernel refuses it";
        assert_eq!(notes(ended(Exit::Code(2), false, "memory (x)")), [refused]);
        assert_eq!(notes(ended(Exit::Code(2), false, "cpus (x)")), [] as [&str; 0]);
        assert_eq!(notes(ended(Exit::Code(0), false, "memory (x)")), [] as [&str; 0]);
        assert_eq!(exceeded(&recipe, &Enforcement::default()), "");
        let over = Enforcement { is_over_memory: true, gaps: Vec::new() };
        assert_eq!(exceeded(&recipe, &over), "used more than `memory = \"64MiB\"`");
    }
}
