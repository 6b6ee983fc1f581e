//! Writes the history of real processes from outside evidence: the messages that pass, the
//! store as its readers see it, evidence that tasks leave, and the faults that were applied.
//!
//! The history is in an order that explains the observations. Before a message of the dispatcher is noted, the store is
//! read: the facts that the message promises must be there already. A record is noted together with the message that
//! must have been its cause, which has to have passed before; if no such message passed, the record stands without a
//! cause, and the checkers report that.

mod evidence;
mod files;
mod logs;
mod records;
mod sessions;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use surveil::model::reason::OrderDone;
use surveil::model::{
    Attempt, AttemptId, BuildId, CommitId, Ending, Incarnation, JobId, LogSummary, Outcome, Plan, Record, RefName,
    RepoName, RunnerId, RunnerName, SessionId, WallTime,
};
use surveil::scheduler::{Effect, Event, Reply, RequestId};
use surveil::threads;

use crate::canary::Canary;
use crate::promises::history::{Fact, History};
use crate::proxy::{Frame, Tap, Verdict, Way};
use crate::tasks::{KnownTask, Place, Sign};
use crate::wait;
use records::{Eyes, News};
use sessions::Session;

/// Interval at which the witness looks whether the machine stands still, in milliseconds.
const PULSE_MS: u64 = 100;
/// A delay of a look after which it did.
const STALL_MS: u64 = 400;

pub(crate) struct Witness {
    inner: Mutex<Inner>,
}

struct Inner {
    began: WallTime,
    history: History,
    eyes: Eyes,
    data: PathBuf,
    place: Place,
    /// The tasks of each commit.
    plans: BTreeMap<CommitId, Vec<KnownTask>>,
    sessions: BTreeMap<u64, Session>,
    /// Results that were sent up, whether they arrived or not.
    said: Vec<Said>,
    /// Leased attempts, with all parts of their log's path.
    leased: BTreeMap<AttemptId, Leased>,
    jobs: BTreeMap<JobId, (RepoName, KnownTask)>,
    runners: BTreeMap<RunnerId, RunnerName>,
    /// The process to which each lease was sent last.
    holders: BTreeMap<AttemptId, Incarnation>,
    signs_noted: usize,
    /// Evidence of attempts whose lease was not seen yet.
    signs_early: Vec<(AttemptId, Sign)>,
    running: BTreeSet<AttemptId>,
    /// All announcements, and the place of each repository.
    announced: Vec<Frame>,
    sources: BTreeMap<RepoName, String>,
    /// Builds that an operator wanted to cancel, whether the cancel was done or not.
    cancels: BTreeMap<BuildId, RequestId>,
    last_request: RequestId,
    tally: Tally,
    canary: Canary,
}

struct Leased {
    attempt: Attempt,
    task: KnownTask,
    repo: RepoName,
    runner: RunnerName,
}

/// A result as its runner sent it.
struct Said {
    /// Time at which the result passed. The dispatcher read it then or a little later; the exact time is unknown.
    at: u64,
    session: SessionId,
    name: RunnerName,
    attempt: AttemptId,
    outcome: Outcome,
    log: LogSummary,
    duration_ms: Option<u64>,
}

/// Counts of observations.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Tally {
    pub(crate) sessions: usize,
    pub(crate) messages: usize,
    pub(crate) acknowledged: usize,
    pub(crate) looks: usize,
    pub(crate) blind: usize,
    /// Messages that brought secrets to runners.
    pub(crate) secrets: usize,
    /// Requests to tool caches, those that an entry answered, and the entries that came from the dispatcher.
    pub(crate) asked: usize,
    pub(crate) hits: usize,
    pub(crate) fetched: usize,
    /// Longest time until such a request ended.
    pub(crate) waited_ms: u64,
}

impl Witness {
    pub(crate) fn new(data: &Path, place: Place, canary: Canary) -> Arc<Self> {
        let inner = Inner {
            began: surveil::clock::wall(),
            history: History::default(),
            eyes: Eyes::new(&data.join("surveil.db")),
            data: data.to_owned(),
            place,
            plans: BTreeMap::new(),
            sessions: BTreeMap::new(),
            said: Vec::new(),
            leased: BTreeMap::new(),
            jobs: BTreeMap::new(),
            runners: BTreeMap::new(),
            holders: BTreeMap::new(),
            signs_noted: 0,
            signs_early: Vec::new(),
            running: BTreeSet::new(),
            announced: Vec::new(),
            sources: BTreeMap::new(),
            cancels: BTreeMap::new(),
            last_request: RequestId(0),
            tally: Tally::default(),
            canary,
        };
        let witness = Arc::new(Self { inner: Mutex::new(inner) });
        let weak = Arc::downgrade(&witness);
        threads::spawn("pulse", move || pulse(&weak)).unwrap().detach();
        witness
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Milliseconds since the start of this witness; a record's time is converted in the same way.
    pub(crate) fn now(&self) -> u64 {
        self.lock().now()
    }

    pub(crate) fn note(&self, fact: Fact) {
        self.lock().note(fact);
    }

    /// The dispatcher is dead: durable state stays, and readers are opened anew.
    pub(crate) fn crashed(&self, how: &'static str) {
        let mut inner = self.lock();
        inner.look(false);
        inner.eyes.blink();
        inner.note(Fact::Crashed(how));
        inner.read_files_again();
    }

    /// Whether a task of this commit gets the secret.
    pub(crate) fn tells(&self, commit: CommitId) -> bool {
        self.lock().plans.get(&commit).is_some_and(|tasks| tasks.iter().any(|task| task.tells))
    }

    /// Notes a commit with its tasks.
    pub(crate) fn plan(&self, commit: CommitId, tasks: Vec<KnownTask>) {
        self.lock().plans.insert(commit, tasks);
    }

    /// Reads the store; returns the builds without a verdict.
    pub(crate) fn unfinished(&self) -> Vec<BuildId> {
        let mut inner = self.lock();
        inner.look(false);
        inner.eyes.unfinished()
    }

    /// The builds with a verdict, as of the last look.
    pub(crate) fn finished(&self) -> Vec<BuildId> {
        self.lock().eyes.finished()
    }

    /// An operator is about to cancel a build.
    pub(crate) fn cancel_asked(&self, build: BuildId) -> RequestId {
        let mut inner = self.lock();
        let request = inner.next_request();
        inner.cancels.insert(build, request);
        inner.note(Fact::Arrived(Event::CancelAsked { request, build, only: None, by: None }));
        request
    }

    /// An operator is about to run a build again.
    pub(crate) fn rerun_asked(&self, build: BuildId, failed_only: bool) -> Option<RequestId> {
        let mut inner = self.lock();
        let build = inner.eyes.watch_again(build)?;
        let request = inner.next_request();
        inner.note(Fact::Arrived(Event::RerunAsked {
            request,
            build: Box::new(build),
            failed_only,
            only: None,
            by: None,
        }));
        Some(request)
    }

    /// An operator hears that an order is done, so it is durable.
    pub(crate) fn done(&self, request: RequestId) {
        let mut inner = self.lock();
        if inner.look(false) {
            // No promise concerns the effect of this order.
            let done = OrderDone::Cancelled { build: BuildId(0), of: None, jobs: 0 };
            inner.note(Fact::Released(Effect::Reply { request, reply: Reply::Done(done) }));
        }
    }

    /// All announcements so far, unchanged.
    pub(crate) fn announcements(&self) -> Vec<Frame> {
        self.lock().announced.clone()
    }

    /// The place that an observer names for a repository.
    pub(crate) fn source(&self, repo: &RepoName) -> Option<String> {
        self.lock().sources.get(repo).cloned()
    }

    pub(crate) fn tally(&self) -> Tally {
        self.lock().tally
    }

    pub(crate) fn builds(&self) -> usize {
        self.lock().eyes.builds().len()
    }

    /// How often each kind of outcome was recorded.
    pub(crate) fn outcomes(&self) -> BTreeMap<&'static str, usize> {
        let inner = self.lock();
        let mut count = BTreeMap::new();
        for outcome in inner.eyes.attempts().values() {
            *count.entry(outcome.as_ref().map_or("none", Outcome::word)).or_default() += 1;
        }
        count
    }

    pub(crate) fn late(&self) -> usize {
        self.lock().eyes.late().unwrap()
    }

    /// Ends the history: reads everything once more, checks that finished builds have not changed, and returns the
    /// history.
    pub(crate) fn close(&self, heads: Vec<(RepoName, RefName, CommitId)>, accepted: &[Record]) -> History {
        let mut inner = self.lock();
        assert!(inner.look(true), "the store can be read in the end");
        for record in accepted {
            inner.note(Fact::Committed(record.clone()));
        }
        inner.read_logs();
        inner.read_all_files();
        let builds = inner.eyes.kept().unwrap();
        inner.note(Fact::Kept { builds });
        inner.note(Fact::Ended { heads });
        inner.history.clone()
    }
}

/// Notes when the machine stands still, which delays everything, as long as there is a witness. This thread has nothing
/// else to do.
fn pulse(witness: &Weak<Witness>) {
    let mut due = None;
    while let Some(witness) = witness.upgrade() {
        let now = surveil::clock::wall();
        if let Some(due) = due.filter(|due: &WallTime| now.0 > due.0 + STALL_MS.cast_signed()) {
            let mut inner = witness.lock();
            let since = inner.since(due);
            inner.note(Fact::Stalled { since });
        }
        drop(witness);
        due = Some(WallTime(surveil::clock::wall().0 + PULSE_MS.cast_signed()));
        wait(PULSE_MS);
    }
}

impl Tap for Witness {
    fn passes(&self, connection: u64, link: &str, way: Way, frame: &Frame) -> Verdict {
        let mut inner = self.lock();
        inner.tally.messages += 1;
        // The message that brings the secret to the runner of an attempt is the only one that may have it.
        if (way, frame.kind()) == (Way::Down, "secrets") {
            inner.tally.secrets += 1;
        } else if let Some(form) = inner.canary.seen_in(&frame.bytes) {
            let text = format!("on the wire, {way:?}, in a message `{}`, {form}", frame.kind());
            inner.note(Fact::SecretSeen { place: text });
        }
        match way {
            Way::Up => inner.hears(connection, link, frame),
            Way::Down => inner.says(connection, frame),
        }
        Verdict::Pass
    }

    fn ends(&self, connection: u64) {
        let mut inner = self.lock();
        if inner.sessions.remove(&connection).is_some_and(|session| session.is_joined) {
            inner.note(Fact::Arrived(Event::SessionClosed { session: SessionId(connection) }));
        }
    }
}

impl Inner {
    fn now(&self) -> u64 {
        self.since(surveil::clock::wall())
    }

    fn next_request(&mut self) -> RequestId {
        self.last_request.0 += 1;
        self.last_request
    }

    fn since(&self, at: WallTime) -> u64 {
        u64::try_from(at.0 - self.began.0).unwrap_or(0)
    }

    fn note(&mut self, fact: Fact) {
        let now = self.now();
        self.history.note(now, fact);
    }

    /// Notes new durable records and new evidence of tasks; returns whether the store could be read.
    fn look(&mut self, all: bool) -> bool {
        self.tally.looks += 1;
        let Ok(news) = self.eyes.look(all) else {
            self.tally.blind += 1;
            return false;
        };
        // Evidence is read after the store: a recorded end had left its evidence before.
        let mut signs = self.signs();
        let News { runners, builds, reopened, mut leases, mut outcomes, endings } = news;
        for runner in runners {
            self.runners.insert(runner.id, runner.name.clone());
            self.persist(Record::RunnerSaved(runner));
        }
        for (build, jobs) in builds {
            let tasks = self.plans.get(&build.source.commit).cloned().unwrap_or_default();
            let plan = Ok(Plan::of(tasks.iter().map(KnownTask::spec).collect()));
            let source = Box::new(build.source.clone());
            self.note(Fact::Arrived(Event::CommitObserved { request: RequestId(0), source, plan, seen: None }));
            self.persist(Record::BuildAdded { build: Box::new(build.clone()), jobs: jobs.clone() });
            self.builds_seen(&build, &jobs);
        }
        reopened.into_iter().for_each(|record| self.persist(record));
        // A job that was cancelled while it waited has made way for a lease of the same transaction.
        let busy: BTreeSet<JobId> = leases.values().chain(outcomes.values()).map(|attempt| attempt.job).collect();
        let is_early = |record: &Record| match record {
            Record::JobFinished { job, ending: Ending::Cancelled(_) } => !busy.contains(job),
            _ => false,
        };
        let (first, endings): (Vec<_>, Vec<_>) = endings.into_iter().partition(is_early);
        first.into_iter().for_each(|record| self.persist(record));
        let everyone: BTreeSet<AttemptId> = leases.keys().chain(outcomes.keys()).chain(signs.keys()).copied().collect();
        for attempt in everyone {
            if let Some(lease) = leases.remove(&attempt) {
                self.lease(lease);
            }
            for sign in signs.remove(&attempt).unwrap_or_default() {
                self.sign(attempt, sign);
            }
            if let Some(ended) = outcomes.remove(&attempt) {
                self.finish(ended);
            }
        }
        endings.into_iter().for_each(|record| self.persist(record));
        true
    }

    /// Adds a record at its own time.
    fn persist(&mut self, record: Record) {
        let at = match &record {
            Record::AttemptLeased(attempt) => self.since(attempt.leased_at),
            Record::AttemptFinished { at, .. } => self.since(*at),
            Record::BuildAdded { build, .. } => self.since(build.created_at),
            _ => self.now(),
        };
        self.history.note(at, Fact::Decided(Effect::Persist(record.clone())));
        self.history.note(at, Fact::Committed(record));
    }

    fn lease(&mut self, attempt: Attempt) {
        let Some((repo, task)) = self.task_of(&attempt) else { return };
        let runner = self.runners.get(&attempt.runner).cloned().unwrap_or_else(|| RunnerName::recorded("?"));
        self.leased.insert(attempt.id, Leased { attempt: attempt.clone(), task, repo, runner });
        self.persist(Record::AttemptLeased(attempt));
    }

    /// Notes an outcome, after the result from which it must follow.
    fn finish(&mut self, attempt: Attempt) {
        let Attempt { id, build, outcome: Some(outcome), log, duration_ms, finished_at: Some(at), runner, .. } =
            attempt
        else {
            return;
        };
        let holder = self.runners.get(&runner);
        // A runner that is stopped reports its attempts as cancelled, which counts only as a loss.
        let is_same =
            |said: &Outcome| *said == outcome || matches!((said, &outcome), (Outcome::Cancelled, Outcome::Lost(_)));
        let is_cause = |said: &&Said| said.attempt == id && is_same(&said.outcome) && Some(&said.name) == holder;
        let asked = self.cancels.get(&build).filter(|_| outcome == Outcome::Cancelled);
        if let Some(request) = asked {
            self.note(Fact::Arrived(Event::CancelAsked { request: *request, build, only: None, by: None }));
        } else if let Some(Said { at, session, outcome, log, duration_ms, .. }) = self.said.iter().rev().find(is_cause)
        {
            let (session, outcome, log, duration_ms) = (*session, outcome.clone(), log.clone(), *duration_ms);
            let event = Event::AttemptFinished {
                session,
                attempt: id,
                outcome,
                log,
                duration_ms,
                steps: vec![],
                execution: None,
            };
            self.history.note(*at, Fact::Arrived(event));
        } else {
            // No message said so, so only a tick can have found it.
            self.note(Fact::Arrived(Event::LeaseCheck));
        }
        self.persist(Record::AttemptFinished { attempt: id, outcome, log, duration_ms, at });
        self.read_files(id);
    }
}
