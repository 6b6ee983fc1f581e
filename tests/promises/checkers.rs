//! The promises, each as a plain function over a history. None knows the dispatcher's internals. The promises about
//! coming back, which track when each runner was heard, are in `losses.rs`, the one about verdicts in
//! `verdicts.rs`, those about announcements in `intake.rs`, and answers to operators in `orders.rs`.

use std::collections::{BTreeMap, BTreeSet};

use surveil::model::reason::OrderDone;
use surveil::model::{
    AttemptId, CommitId, JobId, Outcome, Record, RepoName, RunnerId, RunnerName, SessionId, TaskName, TaskSpec,
};
use surveil::scheduler::{Effect, Event, Reply, RunnerCommand};

use super::history::{Broken, Entry, Fact, History, Promise};
use super::orders::{self, Orders};
use super::terms::Terms;
use super::{files, intake, losses, outside, plans, schedules, shares, slots, tool_cache, verdicts};

type Checker = fn(&[Entry], &Terms) -> Result<(), String>;

const CHECKERS: &[(Promise, Checker)] = &[
    (Promise::S1, intake::s1),
    (Promise::S2, intake::s2),
    (Promise::S3, intake::s3),
    (Promise::S5, s5),
    (Promise::S6, s6),
    (Promise::S7, s7),
    (Promise::S8, s8),
    (Promise::S9, s9),
    (Promise::S10, verdicts::s10),
    (Promise::S11, s11),
    (Promise::S12, outside::s12),
    (Promise::S13, outside::s13),
    (Promise::S14, outside::s14),
    (Promise::S15, outside::s15),
    (Promise::S16, outside::s16),
    (Promise::S19, outside::s19),
    (Promise::S22, outside::s22),
    (Promise::S27, s27),
    (Promise::S34, schedules::s34),
    (Promise::S34, schedules::s34_keys),
    (Promise::S35, shares::s35),
    (Promise::S37, shares::s37),
    (Promise::S37, shares::s37_priorities),
    (Promise::S43, tool_cache::s43),
    (Promise::S44, files::s44),
    (Promise::S46, tool_cache::s46),
    (Promise::S47, files::s47),
    (Promise::L1, l1),
    (Promise::Drain, orders::drain),
    (Promise::Slots, slots::slots),
    (Promise::ToolCache, tool_cache::tool_cache),
];

/// Promises that need each event together with its effects, which only the dispatcher can tell.
const INSIDE: &[(Promise, Checker)] = &[
    (Promise::S34, plans::s34),
    (Promise::S36, plans::s36),
    (Promise::Held, plans::held),
    (Promise::Cancels, plans::cancels),
    (Promise::Retries, plans::retries),
    (Promise::S53, plans::s53),
    (Promise::Inputs, plans::inputs),
    (Promise::Inputs, plans::recorded_inputs),
    (Promise::Leavings, plans::leavings),
    (Promise::Secrets, plans::secrets),
];

/// Returns every broken promise of a history, with the first entry that shows it. The history must hold all inputs and
/// decisions of the dispatcher, in their order.
pub(crate) fn check(history: &History, terms: &Terms) -> Vec<Broken> {
    let mut found = losses::check(&history.entries, terms);
    found.extend(check_by(INSIDE, history, terms));
    found.extend(check_from_outside(history, terms));
    found
}

/// Like [`check`], for a history without the dispatcher's own times.
pub(crate) fn check_from_outside(history: &History, terms: &Terms) -> Vec<Broken> {
    check_by(CHECKERS, history, terms)
}

fn check_by(checkers: &[(Promise, Checker)], history: &History, terms: &Terms) -> Vec<Broken> {
    let mut found = Vec::new();
    for (promise, checker) in checkers {
        if let Err(text) = checker(&history.entries, terms) {
            let after = first_bad(&history.entries, *checker, terms);
            found.push(Broken { promise: *promise, text, after });
        }
    }
    found
}

/// A checker stops at the first thing that is wrong, so the shortest story that it rejects ends there.
fn first_bad(story: &[Entry], checker: Checker, terms: &Terms) -> usize {
    let (mut good, mut bad) = (0, story.len());
    while good + 1 < bad {
        let middle = (good + bad) / 2;
        *(if checker(&story[..middle], terms).is_ok() { &mut good } else { &mut bad }) = middle;
    }
    good
}

pub(crate) fn facts(story: &[Entry]) -> impl Iterator<Item = &Fact> {
    story.iter().map(|entry| &entry.fact)
}

pub(crate) fn demand(kept: bool, text: impl FnOnce() -> String) -> Result<(), String> {
    if kept { Ok(()) } else { Err(text()) }
}

/// No effect leaves before its record is durable, in particular not after a failed write.
fn s5(story: &[Entry], _: &Terms) -> Result<(), String> {
    let (mut leased, mut finished) = (BTreeSet::new(), BTreeSet::new());
    let mut failing = false;
    let mut orders = Orders::default();
    for fact in facts(story) {
        match fact {
            Fact::CommitFailed => failing = true,
            Fact::Crashed(_) => failing = false,
            Fact::Arrived(event) => orders.ask(event),
            Fact::Committed(record) => {
                failing = false;
                orders.take(record);
                match record {
                    Record::AttemptLeased(attempt) => drop(leased.insert(attempt.id)),
                    Record::AttemptFinished { attempt, .. } => drop(finished.insert(*attempt)),
                    _ => {}
                }
            }
            Fact::Released(effect) => {
                demand(!failing, || format!("{effect:?} left although nothing can be written"))?;
                if let Effect::Reply { request, reply: Reply::Done(done) } = effect
                    && !matches!(done, OrderDone::NothingToCancel { .. })
                {
                    orders.check(*request)?;
                }
                let Effect::Send { message, .. } = effect else { continue };
                let durable = match message {
                    RunnerCommand::Lease(lease) => leased.contains(&lease.attempt),
                    RunnerCommand::Registered { held, .. } => held.iter().all(|lease| leased.contains(&lease.attempt)),
                    RunnerCommand::Recorded { attempt } | RunnerCommand::Cancel { attempt } => {
                        finished.contains(attempt)
                    }
                    RunnerCommand::NameTaken { .. }
                    | RunnerCommand::Stale { .. }
                    | RunnerCommand::Ack { .. }
                    | RunnerCommand::Drain => true,
                };
                demand(durable, || format!("{message:?} left before its record"))?;
            }
            _ => {}
        }
    }
    Ok(())
}

/// An attempt has one recorded outcome, and a repeated result gets the answer that the first one got. The result of a
/// lost attempt is the exception: its record does not name the sender, and both answers make a runner forget the
/// attempt.
fn s6(story: &[Entry], _: &Terms) -> Result<(), String> {
    let mut outcomes: BTreeMap<AttemptId, &Outcome> = BTreeMap::new();
    // Answers to results only, because other messages get the same answers.
    let mut said: BTreeSet<(SessionId, AttemptId, bool)> = BTreeSet::new();
    let mut answers: BTreeMap<AttemptId, bool> = BTreeMap::new();
    let mut cause = None;
    for fact in facts(story) {
        match fact {
            Fact::Committed(Record::AttemptFinished { attempt, outcome, .. }) => {
                let earlier = outcomes.insert(*attempt, outcome);
                demand(earlier.is_none(), || format!("{attempt} ended as {earlier:?} and as {outcome:?}"))?;
            }
            Fact::Arrived(event) => cause = Some(event),
            Fact::Decided(Effect::Send {
                session,
                message: message @ (RunnerCommand::Recorded { attempt } | RunnerCommand::Stale { attempt }),
            }) if matches!(cause, Some(Event::AttemptFinished { .. })) => {
                said.insert((*session, *attempt, matches!(message, RunnerCommand::Recorded { .. })));
            }
            Fact::Answered { session, attempt, is_recorded } => {
                let is_final = outcomes.get(attempt).is_some_and(|outcome| !matches!(outcome, Outcome::Lost(_)));
                if is_final && said.contains(&(*session, *attempt, *is_recorded)) {
                    let first = *answers.entry(*attempt).or_insert(*is_recorded);
                    demand(first == *is_recorded, || format!("the result of {attempt} was answered in two ways"))?;
                }
            }
            _ => {}
        }
    }
    Ok(())
}

/// An outcome agrees with the report of the lease's holder, and with the real ending of the attempt.
fn s7(story: &[Entry], _: &Terms) -> Result<(), String> {
    let mut sessions: BTreeMap<SessionId, RunnerName> = BTreeMap::new();
    let mut names: BTreeMap<RunnerId, RunnerName> = BTreeMap::new();
    let mut runners: BTreeMap<AttemptId, RunnerId> = BTreeMap::new();
    let mut real: BTreeMap<AttemptId, &Outcome> = BTreeMap::new();
    let mut cause = None;
    for fact in facts(story) {
        match fact {
            Fact::Arrived(event) => {
                if let Event::RunnerJoined(joined) = event {
                    sessions.insert(joined.session, joined.name.clone());
                }
                cause = Some(event);
            }
            Fact::Over { attempt, outcome: Some(outcome) } => drop(real.insert(*attempt, outcome)),
            Fact::Decided(Effect::Persist(Record::RunnerSaved(runner))) => {
                names.insert(runner.id, runner.name.clone());
            }
            Fact::Decided(Effect::Persist(Record::AttemptLeased(attempt))) => {
                runners.insert(attempt.id, attempt.runner);
            }
            Fact::Decided(Effect::Persist(Record::AttemptFinished { attempt, outcome, .. })) => {
                let said = match (outcome, cause) {
                    (Outcome::Lost(_), _) => continue,
                    // Which cancels there may be is judged with the verdicts.
                    (Outcome::Cancelled, _) if !is_about(cause, *attempt) => continue,
                    (_, Some(Event::AttemptFinished { session, attempt: of, outcome: said, .. })) => {
                        let holder = runners.get(attempt).and_then(|id| names.get(id));
                        of == attempt && said == outcome && sessions.get(session) == holder
                    }
                    _ => false,
                };
                demand(said, || format!("{attempt} is {outcome:?} because of {cause:?}"))?;
                let happened = real.get(attempt) == Some(&outcome);
                demand(happened, || format!("{attempt} is {outcome:?}, and really {:?}", real.get(attempt)))?;
            }
            _ => {}
        }
    }
    Ok(())
}

/// Whether an event is the end of this attempt.
fn is_about(event: Option<&Event>, attempt: AttemptId) -> bool {
    matches!(event, Some(Event::AttemptFinished { attempt: of, .. }) if *of == attempt)
}

/// A job has at most one unfinished attempt, and no attempt's number is used twice.
fn s8(story: &[Entry], _: &Terms) -> Result<(), String> {
    let mut open: BTreeMap<JobId, AttemptId> = BTreeMap::new();
    let mut last = AttemptId(0);
    for fact in facts(story) {
        match fact {
            Fact::Committed(Record::AttemptLeased(attempt)) => {
                demand(attempt.id > last, || format!("{} comes after {last}", attempt.id))?;
                last = attempt.id;
                let other = open.insert(attempt.job, attempt.id);
                demand(other.is_none(), || format!("{} is leased as {} beside {other:?}", attempt.job, attempt.id))?;
            }
            Fact::Committed(Record::AttemptFinished { attempt, .. }) => open.retain(|_, held| held != attempt),
            _ => {}
        }
    }
    Ok(())
}

/// An exclusive job is not leased again before its last attempt has really ended. A machine that stood still meanwhile
/// is excused: nothing can end a frozen process.
fn s9(story: &[Entry], _: &Terms) -> Result<(), String> {
    let mut exclusive: BTreeSet<(RepoName, CommitId, TaskName)> = BTreeSet::new();
    let mut jobs: BTreeMap<JobId, bool> = BTreeMap::new();
    let mut running: BTreeMap<AttemptId, (JobId, RunnerName)> = BTreeMap::new();
    let mut thawed: BTreeMap<RunnerName, u64> = BTreeMap::new();
    let mut excused: BTreeSet<JobId> = BTreeSet::new();
    for Entry { at, fact } in story {
        match fact {
            Fact::Arrived(event) => {
                let Some((source, plan)) = plans::planned(event) else { continue };
                for task in plan.tasks.iter().map(|task| &task.spec).filter(|task| task.recipe.exclusive) {
                    exclusive.insert((source.repo.clone(), source.commit, task.name.clone()));
                }
            }
            Fact::Decided(Effect::Persist(Record::BuildAdded { build, jobs: added })) => {
                let (repo, commit) = (&build.source.repo, build.source.commit);
                let is = |task: &TaskSpec| exclusive.contains(&(repo.clone(), commit, task.name.clone()));
                jobs.extend(added.iter().map(|job| (job.id, is(&job.task))));
            }
            Fact::Decided(Effect::Persist(Record::JobsJoined { jobs: joined, .. })) => {
                jobs.extend(joined.iter().map(|job| (job.id, job.task.recipe.exclusive)));
            }
            // An attempt that was about to begin when the machine froze begins before the runner notices the delay.
            Fact::Began { name, .. } if thawed.get(name).is_some_and(|thawed| *at <= thawed + 1_000) => {}
            Fact::Began { attempt, job, name, .. } => drop(running.insert(*attempt, (*job, name.clone()))),
            Fact::Over { attempt, .. } => drop(running.remove(attempt)),
            Fact::Froze { name, until } => {
                let is_frozen = |(job, on): &(JobId, RunnerName)| (on == name).then_some(*job);
                excused.extend(running.values().filter_map(is_frozen));
                running.retain(|_, (_, on)| on != name);
                thawed.insert(name.clone(), *until);
            }
            Fact::Overlapped { attempt } => {
                let is_excused = running.get(attempt).is_some_and(|(job, _)| excused.contains(job));
                demand(is_excused, || format!("{attempt} began beside another of its job"))?;
            }
            Fact::Decided(Effect::Persist(Record::AttemptLeased(attempt))) if jobs.get(&attempt.job) == Some(&true) => {
                let other = running.iter().find(|(_, (job, _))| *job == attempt.job);
                demand(other.is_none(), || format!("{} is leased again while {other:?} still runs", attempt.job))?;
            }
            _ => {}
        }
    }
    Ok(())
}

/// No attempt begins twice, whichever process was restarted. The rest of S11 is in `losses.rs`.
fn s11(story: &[Entry], _: &Terms) -> Result<(), String> {
    let mut begun = BTreeSet::new();
    for fact in facts(story) {
        if let Fact::Began { attempt, .. } = fact {
            demand(begun.insert(*attempt), || format!("{attempt} was begun twice"))?;
        }
    }
    Ok(())
}

/// Only a report of the runner that holds an attempt's lease ends the attempt.
fn s27(story: &[Entry], _: &Terms) -> Result<(), String> {
    let mut sessions: BTreeMap<SessionId, RunnerName> = BTreeMap::new();
    let mut names: BTreeMap<RunnerId, RunnerName> = BTreeMap::new();
    let mut runners: BTreeMap<AttemptId, RunnerId> = BTreeMap::new();
    let mut cause = None;
    for fact in facts(story) {
        match fact {
            Fact::Arrived(event) => {
                if let Event::RunnerJoined(joined) = event {
                    sessions.insert(joined.session, joined.name.clone());
                }
                cause = Some(event);
            }
            Fact::Decided(Effect::Persist(Record::RunnerSaved(runner))) => {
                names.insert(runner.id, runner.name.clone());
            }
            Fact::Decided(Effect::Persist(Record::AttemptLeased(attempt))) => {
                runners.insert(attempt.id, attempt.runner);
            }
            Fact::Decided(Effect::Persist(Record::AttemptFinished { attempt, outcome, .. })) => {
                let Some(Event::AttemptFinished { session, .. }) = cause else { continue };
                // The failure of one attempt may cancel the others of its build.
                if *outcome == Outcome::Cancelled && !is_about(cause, *attempt) {
                    continue;
                }
                let (said_by, holder) = (sessions.get(session), runners.get(attempt).and_then(|id| names.get(id)));
                demand(said_by == holder, || format!("{attempt} of {holder:?} is ended by {said_by:?}"))?;
            }
            _ => {}
        }
    }
    Ok(())
}

/// After faults have stopped, every build reaches a verdict.
fn l1(story: &[Entry], _: &Terms) -> Result<(), String> {
    let mut open = BTreeSet::new();
    for fact in facts(story) {
        match fact {
            Fact::Committed(Record::BuildAdded { build, .. }) => drop(open.insert(build.id)),
            Fact::Committed(Record::BuildReopened { build }) => drop(open.insert(*build)),
            Fact::Committed(Record::BuildFinished { build, .. }) => drop(open.remove(build)),
            Fact::Ended { .. } => demand(open.is_empty(), || format!("no verdict for {open:?}"))?,
            _ => {}
        }
    }
    Ok(())
}
