//! The promises, each as a plain function over what happened. None knows how the dispatcher works inside; those about
//! coming back, which have to keep track of who was heard when, are in `losses.rs`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use surveil::model::{
    AttemptId, BuildId, CommitId, Ending, JobId, Outcome, Record, RepoName, RunnerId, SessionId, TaskSpec, Verdict,
};
use surveil::scheduler::{Effect, Event, Reply, ToRunner};

use crate::history::{Announcement, Broken, Entry, Fact, History, Promise};
use crate::losses;

type Checker = fn(&[Entry]) -> Result<(), String>;

const CHECKERS: &[(Promise, Checker)] = &[
    (Promise::S1, s1),
    (Promise::S2, s2),
    (Promise::S3, s3),
    (Promise::S5, s5),
    (Promise::S6, s6),
    (Promise::S7, s7),
    (Promise::S8, s8),
    (Promise::S9, s9),
    (Promise::S10, s10),
    (Promise::S11, s11),
    (Promise::L1, l1),
];

/// Every promise that this history breaks, each with where that shows first.
pub(crate) fn check(history: &History) -> Vec<Broken> {
    let mut found = losses::check(&history.entries);
    for (promise, checker) in CHECKERS {
        if let Err(text) = checker(&history.entries) {
            found.push(Broken { promise: *promise, text, after: first_bad(&history.entries, *checker) });
        }
    }
    found
}

/// A checker stops at the first thing that is wrong, so the shortest story that it rejects ends there.
fn first_bad(story: &[Entry], checker: Checker) -> usize {
    let (mut good, mut bad) = (0, story.len());
    while good + 1 < bad {
        let middle = (good + bad) / 2;
        *(if checker(&story[..middle]).is_ok() { &mut good } else { &mut bad }) = middle;
    }
    good
}

fn facts(story: &[Entry]) -> impl Iterator<Item = &Fact> {
    story.iter().map(|entry| &entry.fact)
}

fn demand(kept: bool, text: impl FnOnce() -> String) -> Result<(), String> {
    if kept { Ok(()) } else { Err(text()) }
}

/// A commit that was acknowledged is durable, before the acknowledgement leaves.
fn s1(story: &[Entry]) -> Result<(), String> {
    let mut builds: BTreeMap<BuildId, Announcement> = BTreeMap::new();
    for fact in facts(story) {
        match fact {
            Fact::Committed(Record::BuildAdded { build, .. }) => {
                builds.insert(build.id, Announcement::of(&build.source));
            }
            Fact::Released(Effect::Reply { reply: Reply::Accepted { build: Some(build) }, .. }) => {
                demand(builds.contains_key(build), || format!("{build} is acknowledged and not durable"))?;
            }
            Fact::Acknowledged { announcement, build } => {
                let same = builds.get(build) == Some(announcement);
                demand(same, || format!("{announcement:?} was acknowledged as {build}, which is another or lost"))?;
            }
            _ => {}
        }
    }
    Ok(())
}

/// One announcement makes one build, however often it is made.
fn s2(story: &[Entry]) -> Result<(), String> {
    let mut builds: BTreeMap<Announcement, BuildId> = BTreeMap::new();
    for fact in facts(story) {
        if let Fact::Committed(Record::BuildAdded { build, .. }) = fact {
            let earlier = builds.insert(Announcement::of(&build.source), build.id);
            demand(earlier.is_none(), || format!("{} and {earlier:?} are of one announcement", build.id))?;
        }
    }
    Ok(())
}

/// In the end the accepted heads are the repositories' heads, and each has a build.
fn s3(story: &[Entry]) -> Result<(), String> {
    let mut accepted = BTreeMap::new();
    let mut built = BTreeSet::new();
    for fact in facts(story) {
        match fact {
            Fact::Committed(Record::HeadMoved { repo, branch, head }) => {
                let key = (repo.clone(), branch.clone());
                match head {
                    Some(head) => accepted.insert(key, *head),
                    None => accepted.remove(&key),
                };
            }
            Fact::Committed(Record::BuildAdded { build, .. }) => {
                let source = &build.source;
                built.insert((source.repo.clone(), source.branch.clone(), source.commit));
            }
            Fact::Ended { heads } => {
                for head in heads {
                    demand(built.contains(head), || format!("{head:?} was never built"))?;
                }
                let real: BTreeMap<_, _> = heads.iter().map(|(r, b, head)| ((r.clone(), b.clone()), *head)).collect();
                demand(accepted == real, || format!("accepted heads are {accepted:?}, the real ones {real:?}"))?;
            }
            _ => {}
        }
    }
    Ok(())
}

/// Nothing is promised that is not durable; least of all after a write has failed.
fn s5(story: &[Entry]) -> Result<(), String> {
    let (mut leased, mut finished) = (BTreeSet::new(), BTreeSet::new());
    let mut failing = false;
    for fact in facts(story) {
        match fact {
            Fact::CommitFailed => failing = true,
            Fact::Crashed(_) => failing = false,
            Fact::Committed(record) => {
                failing = false;
                match record {
                    Record::AttemptLeased(attempt) => drop(leased.insert(attempt.id)),
                    Record::AttemptFinished { attempt, .. } => drop(finished.insert(*attempt)),
                    _ => {}
                }
            }
            Fact::Released(effect) => {
                demand(!failing, || format!("{effect:?} left although nothing can be written"))?;
                let Effect::Send { message, .. } = effect else { continue };
                let durable = match message {
                    ToRunner::Lease(lease) => leased.contains(&lease.attempt),
                    ToRunner::Registered { held, .. } => held.iter().all(|lease| leased.contains(&lease.attempt)),
                    ToRunner::Recorded { attempt } | ToRunner::Cancel { attempt } => finished.contains(attempt),
                    ToRunner::NameTaken(_) | ToRunner::Stale { .. } | ToRunner::Ack { .. } | ToRunner::Drain => true,
                };
                demand(durable, || format!("{message:?} left before its record"))?;
            }
            _ => {}
        }
    }
    Ok(())
}

/// An attempt has one recorded outcome, and a result that is delivered again gets the answer it had. That of a lost
/// attempt is the exception: what is kept of it does not tell who said so, and both answers make a runner forget it.
fn s6(story: &[Entry]) -> Result<(), String> {
    let mut outcomes: BTreeMap<AttemptId, &Outcome> = BTreeMap::new();
    let mut answers: BTreeMap<AttemptId, bool> = BTreeMap::new();
    for fact in facts(story) {
        let (attempt, is_recorded) = match fact {
            Fact::Committed(Record::AttemptFinished { attempt, outcome, .. }) => {
                let earlier = outcomes.insert(*attempt, outcome);
                demand(earlier.is_none(), || format!("{attempt} ended as {earlier:?} and as {outcome:?}"))?;
                continue;
            }
            Fact::Answered { attempt, is_recorded } => (*attempt, *is_recorded),
            _ => continue,
        };
        if let Some(outcome) = outcomes.get(&attempt)
            && !matches!(outcome, Outcome::Lost(_))
        {
            let first = *answers.entry(attempt).or_insert(is_recorded);
            demand(first == is_recorded, || format!("the result of {attempt} was answered in two ways"))?;
        }
    }
    Ok(())
}

/// An outcome is what the runner that holds the lease said, and what really happened there.
fn s7(story: &[Entry]) -> Result<(), String> {
    let mut sessions: BTreeMap<SessionId, Arc<str>> = BTreeMap::new();
    let mut names: BTreeMap<RunnerId, Arc<str>> = BTreeMap::new();
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
                    (Outcome::Lost(_), _) | (Outcome::Cancelled, Some(Event::CancelAsked { .. })) => continue,
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

/// Of a job one attempt at most is not finished, and no attempt's number is given out twice.
fn s8(story: &[Entry]) -> Result<(), String> {
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

/// What is exclusive is not leased again before what ran of it has really ended. A machine that stood still meanwhile
/// is excused: nothing can end what is frozen.
fn s9(story: &[Entry]) -> Result<(), String> {
    let mut exclusive: BTreeSet<(RepoName, CommitId, Arc<str>)> = BTreeSet::new();
    let mut jobs: BTreeMap<JobId, bool> = BTreeMap::new();
    let mut running: BTreeMap<AttemptId, (JobId, Arc<str>)> = BTreeMap::new();
    let mut thawed: BTreeMap<Arc<str>, u64> = BTreeMap::new();
    for Entry { at, fact } in story {
        match fact {
            Fact::Arrived(Event::CommitObserved { source, plan: Ok(tasks), .. }) => {
                for task in tasks.iter().filter(|task| task.exclusive) {
                    exclusive.insert((source.repo.clone(), source.commit, task.name.clone()));
                }
            }
            Fact::Decided(Effect::Persist(Record::BuildAdded { build, jobs: added })) => {
                let (repo, commit) = (&build.source.repo, build.source.commit);
                let is = |task: &TaskSpec| exclusive.contains(&(repo.clone(), commit, task.name.clone()));
                jobs.extend(added.iter().map(|job| (job.id, is(&job.task))));
            }
            Fact::Began { attempt, job, name, .. } => {
                // What was about to begin when the machine froze begins before it finds out how late it is.
                if thawed.get(name).is_none_or(|thawed| *at > thawed + 1_000) {
                    running.insert(*attempt, (*job, name.clone()));
                }
            }
            Fact::Over { attempt, .. } => drop(running.remove(attempt)),
            Fact::Froze { name, until } => {
                running.retain(|_, (_, on)| on != name);
                thawed.insert(name.clone(), *until);
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

/// A verdict follows from how the jobs ended, a job's ending from its attempts; and both stay, until a rerun.
fn s10(story: &[Entry]) -> Result<(), String> {
    let mut book = Book::default();
    for fact in facts(story) {
        if let Fact::Committed(record) = fact {
            book.take(record)?;
        }
    }
    Ok(())
}

#[derive(Default)]
struct Book {
    jobs: BTreeMap<JobId, Page>,
    verdicts: BTreeMap<BuildId, Option<Verdict>>,
    attempts: BTreeMap<AttemptId, JobId>,
}

struct Page {
    build: BuildId,
    allow_failure: bool,
    ending: Option<Ending>,
    /// A rerun may take its ending back.
    may_begin_anew: bool,
    last: Option<Outcome>,
    losses: u32,
}

impl Book {
    fn take(&mut self, record: &Record) -> Result<(), String> {
        match record {
            Record::BuildAdded { build, jobs } => {
                self.verdicts.insert(build.id, None);
                for job in jobs {
                    let (build, allow_failure) = (job.build, job.task.allow_failure);
                    let page =
                        Page { build, allow_failure, ending: None, may_begin_anew: false, last: None, losses: 0 };
                    self.jobs.insert(job.id, page);
                }
            }
            Record::JobQueued { job, .. } | Record::JobWaiting { job } => {
                let page = self.page(job)?;
                demand(page.ending.is_none() || page.may_begin_anew, || format!("{job} was finished and goes on"))?;
                if std::mem::take(&mut page.may_begin_anew) {
                    (page.ending, page.losses, page.last) = (None, 0, None);
                }
            }
            Record::AttemptLeased(attempt) => {
                self.attempts.insert(attempt.id, attempt.job);
                let page = self.page(&attempt.job)?;
                demand(page.ending.is_none(), || format!("{} was finished and is leased", attempt.job))?;
            }
            Record::AttemptFinished { attempt, outcome, .. } => {
                let job = self.attempts.get(attempt).copied().ok_or_else(|| format!("{attempt} was never leased"))?;
                let page = self.page(&job)?;
                page.losses += u32::from(matches!(outcome, Outcome::Lost(_)));
                page.last = Some(outcome.clone());
            }
            Record::JobFinished { job, ending } => {
                let page = self.page(job)?;
                let is_true = page.ending.is_none() && page.bears_out(ending);
                demand(is_true, || format!("{job} is {ending:?} after {:?}, {:?}", page.ending, page.last))?;
                (page.ending, page.may_begin_anew) = (Some(ending.clone()), false);
            }
            Record::BuildFinished { build, verdict, .. } => {
                let of = self.jobs.values().filter(|page| page.build == *build);
                let due = Verdict::of(of.map(|page| (page.ending.as_ref(), page.allow_failure)));
                demand(due == Some(*verdict), || format!("{build} is {verdict:?} and should be {due:?}"))?;
                let earlier = self.verdicts.insert(*build, Some(*verdict)).flatten();
                demand(earlier.is_none(), || format!("{build} was {earlier:?} already"))?;
            }
            Record::BuildReopened { build } => {
                self.verdicts.insert(*build, None);
                let of = self.jobs.values_mut().filter(|page| page.build == *build);
                of.for_each(|page| page.may_begin_anew = true);
            }
            Record::HeadMoved { .. } | Record::RunnerSaved(_) | Record::LateResult { .. } | Record::Decided(_) => {}
        }
        Ok(())
    }

    fn page(&mut self, job: &JobId) -> Result<&mut Page, String> {
        self.jobs.get_mut(job).ok_or_else(|| format!("{job} is unknown"))
    }
}

impl Page {
    /// Whether the attempts so far can end the job so.
    fn bears_out(&self, ending: &Ending) -> bool {
        match (ending, &self.last) {
            (Ending::Passed, last) => *last == Some(Outcome::Passed),
            (Ending::Failed, Some(Outcome::Failed(_) | Outcome::Killed(_) | Outcome::TimedOut)) => true,
            (Ending::Failed, _) => false,
            (Ending::Errored(why), _) if why.starts_with("given up") => self.losses >= crate::dispatcher::MAX_LOSSES,
            (Ending::Errored(_) | Ending::Cancelled | Ending::Skipped(_), _) => true,
        }
    }
}

/// No attempt is begun twice, whoever was restarted. The rest of S11 is in `losses.rs`.
fn s11(story: &[Entry]) -> Result<(), String> {
    let mut begun = BTreeSet::new();
    for fact in facts(story) {
        if let Fact::Began { attempt, .. } = fact {
            demand(begun.insert(*attempt), || format!("{attempt} was begun twice"))?;
        }
    }
    Ok(())
}

/// After faults have stopped, every build reaches a verdict.
fn l1(story: &[Entry]) -> Result<(), String> {
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
