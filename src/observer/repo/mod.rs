//! One observed repository. Its thread owns the handle and the [`Watch`], carries out the steps that the watch asks
//! for, and reports the results to it.
//!
//! The thread reads the repository at every interval, which alone finds every change; at each notification and each
//! wake, which find most changes sooner; and in each new session. No error of the repository ends the thread; only a
//! refusal that is final for the repository does. It never dials and never chooses what to announce. Started and given
//! sessions by [`super::repo_threads`]. What it announces goes through `announcements.rs`.

mod announcements;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, TryRecvError, at, never, select_biased};

use crate::clock;
use crate::error_chain::chain;
use crate::git::{BranchSelection, Facts, GitError, Head, RefGlob, Watched};
use crate::model::{BranchName, ObservedRefs, RefName, RepoName};

use super::failures::Failures;
use super::notify::Notifier;
use super::session::{Session, SessionOver};
use super::submit::{self, HeadsAnswer};
use super::translate::{RefusalKind, Refused};
use super::wakes::WakePace;
use super::watch::{FirstLook, Step, Watch};

/// The first and the longest pause before a repository that could not be read is read again.
const RETRY_FIRST: Duration = Duration::from_millis(500);
const RETRY_MAX: Duration = Duration::from_secs(10);

/// Interval of looks while a long list of refs is announced.
const LOOK_PACE: Duration = Duration::from_secs(1);

/// Limit of attempts to list the directories until no new one appears. If directories come and go without end, the next
/// look lists them again.
const LISTINGS_MAX: usize = 5;

/// The dispatcher refused the repository for good: its name belongs to another source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct NameTaken {
    pub text: String,
}

/// Why the current round of work ends early.
enum Leave {
    /// A step failed; the next look is due after a pause.
    Pause,
    /// The session is over. The next one starts from the beginning.
    Session,
    /// The dispatcher refused the repository for good.
    Name(NameTaken),
    /// The observer is ending.
    Stopped,
}

impl From<SessionOver> for Leave {
    fn from(_: SessionOver) -> Self {
        Self::Session
    }
}

/// The parameters of a repository's thread.
pub(crate) struct Orders {
    pub number: usize,
    pub name: RepoName,
    pub path: PathBuf,
    /// The repository's location, as the dispatcher is told.
    pub source: String,
    pub selection: BranchSelection,
    /// The patterns for refs that are no branches.
    pub globs: Vec<RefGlob>,
    /// How many of the newest refs of a first look are built.
    pub backlog: usize,
    pub interval: Duration,
    /// Whether the repository is a mirror, which does not exist before its first fetch.
    pub is_mirror: bool,
    /// The URL of a mirror's remote. It may hold credentials.
    pub url: Option<String>,
    /// The work directory, below which submodules and LFS objects are fetched.
    pub work: PathBuf,
    /// Whether the mirror was fetched since the start.
    pub is_fetched: Arc<AtomicBool>,
    /// Brings each new session. Its end means that the observer ends.
    pub sessions: Receiver<Arc<Session>>,
    pub wakes: Receiver<()>,
    pub wake: Sender<()>,
    /// The thread that wakes concern: this one, or the fetching one of a mirror.
    pub ask: Sender<()>,
    /// Wakes; none if they concern the fetching thread.
    pub asked: Receiver<()>,
}

/// The body of a repository's thread.
pub(crate) struct Repo {
    orders: Orders,
    watch: Watch,
    /// Opened at the first look, and again after each error.
    watched: Option<Watched>,
    notifier: Option<Notifier>,
    is_notifier_refused: bool,
    failures: Failures,
    is_mirror_awaited: bool,
    /// The last log line about an absence of heads, while that lasts.
    said_absence: Option<String>,
    /// The default branch as the dispatcher was told it.
    default_branch: Option<BranchName>,
    /// Whether the log says that the dispatcher takes branches only.
    said_old: bool,
    /// When to look if no notification comes.
    due: Instant,
    pace: WakePace,
    /// When to look again while a long list of refs is announced.
    next_look: Instant,
    session: Option<Arc<Session>>,
    /// The facts of a source that the dispatcher was told last.
    told: Option<Facts>,
}

impl Repo {
    pub(crate) fn new(orders: Orders) -> Self {
        let mut repo = Self {
            watch: Watch::new(orders.selection.clone()),
            watched: None,
            notifier: None,
            is_notifier_refused: false,
            failures: Failures::new(RETRY_FIRST.min(orders.interval), RETRY_MAX.max(orders.interval)),
            is_mirror_awaited: orders.is_mirror,
            said_absence: None,
            default_branch: None,
            said_old: false,
            due: clock::instant(),
            pace: WakePace::default(),
            next_look: clock::instant(),
            session: None,
            told: None,
            orders,
        };
        match Notifier::start(&format!("notify{}", repo.orders.number), repo.orders.wake.clone()) {
            Ok(notifier) => repo.notifier = Some(notifier),
            Err(error) => repo.say_notifier_refused(&error),
        }
        repo
    }

    /// Observes until the channel of sessions closes, or until the repository is refused for good.
    pub(crate) fn run(mut self) -> Option<NameTaken> {
        while self.wait() {
            match self.work() {
                Ok(()) | Err(Leave::Pause) => {}
                Err(Leave::Session) => {
                    self.session = None;
                    self.watch.session_closed();
                }
                Err(Leave::Name(taken)) => return Some(taken),
                Err(Leave::Stopped) => return None,
            }
        }
        None
    }

    /// Waits for a reason to look. Returns false if the observer ends.
    fn wait(&mut self) -> bool {
        loop {
            // Without a session a notification changes nothing: the next session starts with a look.
            let (wakes, asked, due) = match &self.session {
                Some(_) => (self.orders.wakes.clone(), self.orders.asked.clone(), at(self.due)),
                None => (never(), never(), never()),
            };
            // Biased, so that a new session, or the end of the observer, comes before notifications that never stop.
            select_biased! {
                recv(self.orders.sessions) -> session => {
                    let Ok(session) = session else { return false };
                    self.enter(session);
                }
                recv(wakes) -> _ => {}
                recv(asked) -> _ => {
                    self.due = self.due.min(self.pace.ask(clock::instant()));
                    continue;
                }
                recv(due) -> _ => {
                    // A directory that was replaced through its parent sends no notification, so all are watched again.
                    self.arm();
                }
            }
            break;
        }
        self.watch.look_again();
        let now = clock::instant();
        self.pace.looked(now);
        self.due = now + self.orders.interval;
        true
    }

    fn enter(&mut self, session: Arc<Session>) {
        session.resend.register(self.orders.name.as_str(), self.orders.wake.clone());
        session.wakes.register(self.orders.name.as_str(), self.orders.ask.clone());
        self.watch.session_closed();
        self.session = Some(session);
    }

    /// Carries out the watch's steps until it has none.
    fn work(&mut self) -> Result<(), Leave> {
        loop {
            match self.orders.sessions.try_recv() {
                Ok(session) => self.enter(session),
                Err(TryRecvError::Empty) => {}
                Err(TryRecvError::Disconnected) => return Err(Leave::Stopped),
            }
            // Checked in every round: a newer session may have replaced the one that a step has just used.
            let Some(session) = self.session.clone() else { return Ok(()) };
            for commit in session.resend.take(self.orders.name.as_str()) {
                self.supply(&session, commit)?;
            }
            // A long list of announcements must not hide what is pushed meanwhile.
            if clock::instant() >= self.next_look {
                self.next_look = clock::instant() + LOOK_PACE;
                self.watch.look_again();
            }
            match self.watch.next(clock::now()) {
                Step::Ask => self.ask(&session)?,
                Step::Look => self.look()?,
                Step::Date(heads) => self.date(&heads)?,
                Step::Note(look) => self.note(&session, look)?,
                Step::Announce(what) => self.announce(&session, &what)?,
                Step::Rest => return Ok(()),
            }
        }
    }

    fn ask(&mut self, session: &Session) -> Result<(), Leave> {
        let globs = if session.takes_refs { &self.orders.globs[..] } else { &[] };
        self.watch.watch_refs(globs);
        if !session.takes_refs && !self.orders.globs.is_empty() && !std::mem::replace(&mut self.said_old, true) {
            log::warn!(
                "{}: the dispatcher knows of branches only: update it to have tags and other refs built",
                self.orders.name
            );
        }
        // Without a handle this is the first look, or the one after an error.
        let found = match &self.watched {
            Some(watched) => watched.default_branch(),
            None => Watched::open(&self.orders.path).and_then(|watched| watched.default_branch()),
        };
        // What cannot be read now may be known from before.
        self.default_branch = found.ok().flatten().or(self.default_branch.take());
        let mut named = self.orders.selection.names();
        let tags = globs.iter().filter(|glob| glob.is_name()).map(|glob| RefName::new(glob.as_str()));
        named.extend(tags.filter(|reference| reference.tag().is_some()));
        let refs = ObservedRefs { default_branch: self.default_branch.clone(), named };
        match submit::ask_heads(session, &self.orders.name, (&self.orders.source, globs), &refs)? {
            HeadsAnswer::Heads(heads) => {
                self.watch.told(heads);
                Ok(())
            }
            HeadsAnswer::Refused(refused) => {
                self.leave_if_final(&refused)?;
                Err(self.pause(&format!("the dispatcher refuses its heads: {}", refused.text)))
            }
        }
    }

    fn look(&mut self) -> Result<(), Leave> {
        let began = clock::instant();
        let read = self.read_heads();
        // Nine tenths of the time are for announcements, however long a look takes.
        let now = clock::instant();
        self.next_look = now + LOOK_PACE.max(9 * (now - began));
        match read {
            Ok(heads) => {
                if self.failures.resolve() {
                    log::info!("{} can be observed again", self.orders.name);
                }
                self.say_absence(!heads.iter().any(|head| head.reference.branch().is_some()));
                self.watch.seen(heads);
                Ok(())
            }
            Err(error) => {
                // After any error a fresh handle has the better chance.
                self.watched = None;
                Err(self.pause(&format!("could not be read: {}", chain(&error))))
            }
        }
    }

    /// Reads the times of refs.
    fn date(&mut self, heads: &[Head]) -> Result<(), Leave> {
        let Some(watched) = &self.watched else {
            self.watch.look_again();
            return Ok(());
        };
        match watched.times(heads) {
            Ok(times) => self.watch.dated(heads.iter().map(|head| head.reference.clone()).zip(times)),
            Err(error) => {
                self.watched = None;
                self.watch.look_again();
                return Err(self.pause(&format!("could not be read: {}", chain(&error))));
            }
        }
        Ok(())
    }

    /// Tells the dispatcher of the refs of a first look, except for the newest, which are built.
    fn note(&mut self, session: &Session, mut look: FirstLook) -> Result<(), Leave> {
        let Some(watched) = &self.watched else {
            self.watch.look_again();
            return Ok(());
        };
        let count = look.refs.len();
        if self.orders.backlog > 0 {
            match watched.newest(&look.refs, self.orders.backlog) {
                Ok(newest) => look.refs.retain(|head| !newest.contains(&head.reference)),
                Err(error) => {
                    self.watched = None;
                    self.watch.look_again();
                    return Err(self.pause(&format!("could not be read: {}", chain(&error))));
                }
            }
        }
        if let Some(refused) = submit::note(session, &self.orders.name, &look)? {
            self.leave_if_final(&refused)?;
            return Err(self.pause(&format!("the dispatcher refuses the first look: {}", refused.text)));
        }
        let (name, old, patterns) = (&self.orders.name, look.refs.len(), look.patterns);
        let patterns = patterns.iter().map(RefGlob::as_str).collect::<Vec<_>>().join(" ");
        log::info!("{name}: first look at {patterns}: {old} of {count} refs are not built, because they are old");
        self.watch.looked();
        Ok(())
    }

    fn read_heads(&mut self) -> Result<Vec<Head>, GitError> {
        let is_fetched = !self.orders.is_mirror || self.orders.is_fetched.load(Ordering::Acquire);
        self.watch.set_current(is_fetched);
        if self.watched.is_none() {
            self.watched = Some(Watched::open(&self.orders.path)?);
            self.is_mirror_awaited = false;
            self.arm();
        } else if self.notifier.as_ref().is_some_and(Notifier::take_outdated) {
            self.arm();
        }
        let watched = self.watched.as_ref().expect("opened above");
        // A mirror has no default branch before its first fetch, and any repository may be given another one. The
        // dispatcher must know it before it judges the next commit.
        let default_branch = watched.default_branch().unwrap_or_default();
        if default_branch.is_some() && default_branch != self.default_branch {
            self.watch.looked();
        }
        let mut heads = watched.heads(&self.orders.selection)?;
        heads.extend(watched.matching(&self.orders.globs)?);
        Ok(heads)
    }

    fn leave_if_final(&self, refused: &Refused) -> Result<(), Leave> {
        match refused.kind {
            RefusalKind::Name => Err(Leave::Name(NameTaken { text: refused.text.clone() })),
            RefusalKind::Token | RefusalKind::Protocol | RefusalKind::Later => Err(Leave::Session),
            RefusalKind::Request => Ok(()),
        }
    }

    /// Logs a problem, once for each cause, and delays the next look, longer each time.
    fn pause(&mut self, what: &str) -> Leave {
        let (text, pause) = self.failures.note(what.to_owned());
        // A mirror does not exist before its first fetch, and the fetching thread logs a failed fetch.
        if let Some(text) = text.filter(|_| !self.is_mirror_awaited) {
            log::warn!("{} {text}; trying again", self.orders.name);
        }
        self.due = clock::instant() + pause;
        Leave::Pause
    }

    /// Watches the directories in which a change shows. Called before a look, so that no change falls between the two.
    fn arm(&mut self) {
        let (Some(notifier), Some(watched)) = (&self.notifier, &self.watched) else { return };
        let mut directories = watched.notify_paths(&self.orders.globs);
        for _ in 0..LISTINGS_MAX {
            if let Err(error) = notifier.watch(&directories) {
                return self.say_notifier_refused(&error);
            }
            // A directory may have been made in another one before that was watched.
            let again = watched.notify_paths(&self.orders.globs);
            if again == directories {
                return;
            }
            directories = again;
        }
    }

    fn say_notifier_refused(&mut self, error: &std::io::Error) {
        if !std::mem::replace(&mut self.is_notifier_refused, true) {
            let interval = self.orders.interval.as_millis();
            log::warn!(
                "{} has no file-system notification and is looked at every {interval} ms: {error}",
                self.orders.name
            );
        }
    }

    /// Logs why there is nothing to observe, once for each reason.
    fn say_absence(&mut self, is_empty: bool) {
        let text = self.watched.as_ref().filter(|_| is_empty).and_then(|watched| {
            let absence = watched.absence(&self.orders.selection).ok()?;
            let place =
                if self.orders.is_mirror { self.orders.source.clone() } else { self.orders.path.display().to_string() };
            Some(absence.text(&place, Some(&*self.orders.path).filter(|_| !self.orders.is_mirror)))
        });
        if let Some(text) = text.as_ref().filter(|text| self.said_absence.as_ref() != Some(text)) {
            log::warn!("{}: nothing to observe: {text}", self.orders.name);
        }
        self.said_absence = text;
    }
}
