//! The tool cache, as the tasks of attempts see it. The facts about an attempt may come before those about the attempt
//! that wrote what it read, so the records are read first.

use std::collections::BTreeMap;

use surveil::model::{AttemptId, BuildId, Outcome, Record, RefName, RepoName, RunnerId, RunnerName, Trust};

use super::checkers::{demand, facts};
use super::history::{CacheAnswer, Entry, Fact};
use super::terms::Terms;

/// The branch whose trusted builds write for everybody.
const DEFAULT_BRANCH: &str = "refs/heads/main";
/// Longest wait of a task for an answer, in milliseconds: the 2 s that the dispatcher has, the time of a long entry,
/// and slack for a machine that has much to do.
const LONGEST_WAIT_MS: u64 = 2_000 + 10_000;

/// The part of the caches in which a build writes.
#[derive(PartialEq, Eq)]
struct Scope {
    repo: RepoName,
    reference: RefName,
    trust: Trust,
}

impl Scope {
    fn may_read(&self, of: &Self) -> bool {
        let is_for_all = of.trust == Trust::Trusted && of.reference.as_str() == DEFAULT_BRANCH;
        let is_of_ref = of.reference == self.reference && (of.trust == Trust::Trusted || of.trust == self.trust);
        of.repo == self.repo && (is_for_all || is_of_ref)
    }
}

/// The records that a story has about attempts.
#[derive(Default)]
struct Attempts<'a> {
    scopes: BTreeMap<BuildId, Scope>,
    leased: BTreeMap<AttemptId, (BuildId, RunnerId)>,
    runners: BTreeMap<RunnerId, &'a RunnerName>,
    outcomes: BTreeMap<AttemptId, &'a Outcome>,
}

impl<'a> Attempts<'a> {
    fn of(story: &'a [Entry]) -> Self {
        let mut attempts = Self::default();
        for fact in facts(story) {
            match fact {
                Fact::Committed(Record::RunnerSaved(runner)) => {
                    attempts.runners.insert(runner.id, &runner.name);
                }
                Fact::Committed(Record::BuildAdded { build, .. }) => {
                    let (repo, trigger) = (build.source.repo.clone(), &build.source.trigger);
                    let scope = Scope { repo, reference: trigger.reference.clone(), trust: trigger.trust };
                    attempts.scopes.insert(build.id, scope);
                }
                Fact::Committed(Record::AttemptLeased(attempt)) => {
                    attempts.leased.insert(attempt.id, (attempt.build, attempt.runner));
                }
                Fact::Committed(Record::AttemptFinished { attempt, outcome, .. }) => {
                    attempts.outcomes.insert(*attempt, outcome);
                }
                _ => {}
            }
        }
        attempts
    }

    fn scope(&self, attempt: AttemptId) -> Option<&Scope> {
        self.scopes.get(&self.leased.get(&attempt)?.0)
    }

    fn runner(&self, attempt: AttemptId) -> Option<&RunnerName> {
        self.runners.get(&self.leased.get(&attempt)?.1).copied()
    }

    /// Whether the task ended by itself, and not because of a runner or of a person.
    fn ended(&self, attempt: AttemptId) -> bool {
        matches!(self.outcomes.get(&attempt), Some(Outcome::Passed | Outcome::Failed(_)))
    }
}

/// An entry has the bytes that its writer stored under its name (S43).
pub(super) fn s43(story: &[Entry], _: &Terms) -> Result<(), String> {
    let damaged = facts(story).find_map(|fact| match fact {
        Fact::CacheAsked { attempt, answer: CacheAnswer::Damaged, .. } => Some(attempt),
        _ => None,
    });
    damaged.map_or(Ok(()), |attempt| Err(format!("{attempt} got an entry of other bytes from its tool cache")))
}

/// An entry that an untrusted build wrote is read by untrusted builds of its ref alone, and no entry is read in another
/// repository, or on another ref than that of the default branch (S46).
pub(super) fn s46(story: &[Entry], _: &Terms) -> Result<(), String> {
    let attempts = Attempts::of(story);
    for fact in facts(story) {
        let Fact::CacheAsked { attempt, answer: CacheAnswer::Entry { by }, .. } = fact else { continue };
        let Some(reader) = attempts.scope(*attempt) else { continue };
        let is_allowed = attempts.scope(*by).is_some_and(|writer| reader.may_read(writer));
        demand(is_allowed, || format!("{attempt} read an entry of the tool cache that {by} wrote"))?;
    }
    Ok(())
}

/// The tool cache fails no task, and keeps none waiting: each request has a whole answer in time, and an entry that an
/// attempt read or stored is there when it asks again.
pub(super) fn tool_cache(story: &[Entry], _: &Terms) -> Result<(), String> {
    let (attempts, mut frozen) = (Attempts::of(story), BTreeMap::<&RunnerName, Vec<(u64, u64)>>::new());
    // A stall may be noted behind what it delayed.
    let stall =
        |Entry { at, fact }: &Entry| if let Fact::Stalled { since } = fact { Some((*since, *at)) } else { None };
    let stalls: Vec<(u64, u64)> = story.iter().filter_map(stall).collect();
    for Entry { at, fact } in story {
        match fact {
            Fact::Froze { name, .. } => frozen.entry(name).or_default().push((*at, u64::MAX)),
            Fact::Thawed { name } => {
                frozen.entry(name).or_default().iter_mut().for_each(|freeze| freeze.1 = freeze.1.min(*at));
            }
            Fact::CacheAsked { attempt, begun, ended, is_again, answer } => {
                let of_runner = attempts.runner(*attempt).and_then(|runner| frozen.get(runner));
                let stood = |(from, until): &(u64, u64)| (*until).min(*ended).saturating_sub((*from).max(*begun));
                let stood: u64 = of_runner.into_iter().flatten().chain(&stalls).map(stood).sum();
                let waited = (ended - begun).saturating_sub(stood);
                demand(waited <= LONGEST_WAIT_MS, || format!("{attempt} waited {waited} ms for its tool cache"))?;
                let is_good = match answer {
                    CacheAnswer::Nothing => false,
                    CacheAnswer::Missing => !is_again,
                    CacheAnswer::Entry { .. } | CacheAnswer::Stored | CacheAnswer::Damaged => true,
                };
                demand(is_good || !attempts.ended(*attempt), || {
                    format!("{attempt} got the answer {answer:?} from its tool cache, asked again: {is_again}")
                })?;
            }
            _ => {}
        }
    }
    Ok(())
}
