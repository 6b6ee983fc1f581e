//! The evidence that tasks leave: when they began and ended, and what they asked.

use std::collections::BTreeMap;

use surveil::model::{Attempt, AttemptId, Incarnation, Outcome, WallTime};

use super::{Inner, Leased};
use crate::entries::{Asked, Verb};
use crate::promises::history::{CacheAnswer, Fact};
use crate::tasks::Sign;

impl Inner {
    /// New evidence by attempt, including attempts that ended without any.
    pub(super) fn signs(&mut self) -> BTreeMap<AttemptId, Vec<Option<Sign>>> {
        let dead: Vec<AttemptId> = self.running.iter().copied().filter(|id| !self.place.is_alive(*id)).collect();
        let lines = self.place.lines();
        let mut signs: BTreeMap<AttemptId, Vec<Option<Sign>>> = BTreeMap::new();
        let new = lines[self.signs_noted..].iter().copied();
        let early = std::mem::take(&mut self.signs_early);
        for (attempt, sign) in early.into_iter().chain(new) {
            if self.eyes.attempts().contains_key(&attempt) {
                signs.entry(attempt).or_default().push(Some(sign));
            } else {
                self.signs_early.push((attempt, sign));
            }
        }
        self.signs_noted = lines.len();
        for attempt in dead {
            signs.entry(attempt).or_default().push(None);
        }
        signs
    }

    pub(super) fn sign(&mut self, attempt: AttemptId, sign: Option<Sign>) {
        let Some(Leased { attempt: Attempt { job, .. }, runner, task, .. }) = self.leased.get(&attempt) else {
            return;
        };
        let (job, name, outcome) = (*job, runner.clone(), task.outcome());
        match sign {
            Some(Sign::Begin) => {
                let incarnation = self.holders.get(&attempt).copied().unwrap_or(Incarnation(0));
                self.running.insert(attempt);
                self.note(Fact::Began { attempt, job, name, incarnation });
            }
            // Another execution of the same job was running when this one began.
            Some(Sign::Overlap) => self.note(Fact::Overlapped { attempt }),
            Some(Sign::End(code)) => {
                let real = if code == 0 { Outcome::Passed } else { Outcome::Failed(code) };
                assert_eq!(real, outcome, "a task does what it was told to");
                // Its children may still be there, so this is not yet its end.
                self.note(Fact::Over { attempt, outcome: Some(real) });
            }
            Some(Sign::Asked(asked)) => self.asked(attempt, asked),
            None => {
                self.running.remove(&attempt);
                self.note(Fact::Over { attempt, outcome: None });
            }
        }
    }

    /// A task asked its tool cache.
    fn asked(&mut self, attempt: AttemptId, asked: Asked) {
        let [begun, ended] = [asked.begun, asked.ended].map(|at| self.since(WallTime(at)));
        let answer = self.place.client().answer(attempt, asked);
        self.tally.asked += 1;
        self.tally.hits += usize::from(matches!(answer, CacheAnswer::Entry { .. }));
        self.tally.waited_ms = self.tally.waited_ms.max(ended.saturating_sub(begun));
        self.note(Fact::CacheAsked { attempt, begun, ended, is_again: asked.verb == Verb::Again, answer });
    }
}
