//! The logs of attempts, as the dispatcher keeps them.

use surveil::model::Attempt;

use super::{Inner, Leased};
use crate::promises::history::Fact;

impl Inner {
    /// Compares every stored log with the known output of its task.
    pub(super) fn read_logs(&mut self) {
        let mut found = Vec::new();
        for (attempt, Leased { attempt: Attempt { build, number, .. }, task, repo, .. }) in &self.leased {
            let file = format!("logs/{repo}/{build}/{}.{number}.log", task.name);
            let kept = std::fs::read(self.data.join(file)).unwrap_or_default();
            let due = task.log(*attempt, &kept);
            self.tally.fetched += fetched(&kept);
            found.push(Fact::LogRead {
                attempt: *attempt,
                bytes: kept.len() as u64,
                crc32: crc32fast::hash(&kept),
                is_true: due.starts_with(&kept),
                is_whole: due == kept,
            });
        }
        found.into_iter().for_each(|fact| self.note(fact));
    }
}

/// The entries of the tool cache that came from the dispatcher, as a log tells.
fn fetched(log: &[u8]) -> usize {
    let text = String::from_utf8_lossy(log);
    let before = text.split_once(" of them from the dispatcher").map_or("", |(before, _)| before);
    before.rsplit(' ').next().and_then(|number| number.parse().ok()).unwrap_or(0)
}
