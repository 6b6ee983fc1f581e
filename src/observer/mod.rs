//! The role that notices commits and announces them.
//!
//! It keeps no state of its own: the dispatcher remembers which heads it accepted, the observer compares them with the
//! heads that are there. So it may be killed, moved or started late and misses nothing. It only reads the watched
//! repositories, and it never decides what a commit amounts to.
//!
//! Each repository has a thread (`repo`, deciding by the pure `watch`), woken by `notify` and `fetch`; all share
//! one `session`, over which `submit` speaks. This file dials, tells the threads of each new session, and ends them.
//! Called by the command line.

mod crew;
mod fetch;
mod lost;
mod notify;
mod repo;
#[cfg(test)]
mod scripted;
mod session;
#[cfg(test)]
mod stories;
mod submit;
#[cfg(test)]
mod tests;
mod translate;
mod trouble;
mod watch;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, bounded, select};

use crate::clock;
use crate::config::{ObserverSettings, RepoLocation};
use crate::error_chain::chain;
use crate::git::{GitError, Watched};
use crate::model::{Address, RepoName};
use crate::shutdown::Stop;
use crate::threads;
use crate::transport::Backoff;

pub use session::DialError;
#[cfg(any(test, fuzzing))]
pub(crate) use translate::{read_greeting, read_reply};

use crew::{Crew, Ending, Why};
use session::{Caller, Live, SessionError};
use translate::RefusalKind;

/// The first and the longest pause between two tries to reach a dispatcher.
const DIAL_FIRST_MS: u64 = 100;
const DIAL_MAX_MS: u64 = 5_000;
/// The pause after a refusal that only a person can mend.
const REFUSED_PAUSE: Duration = Duration::from_secs(10);
/// A session that lasted this long was a success; after a shorter one the pauses go on growing.
const SETTLED: Duration = Duration::from_secs(1);
/// How often an absence that lasts is mentioned again.
const REMIND: Duration = Duration::from_secs(60);
/// The longest name that an observer gives itself towards the dispatcher.
const MAX_NAME_CHARS: usize = 200;

/// Why an observer could not start or had to end.
#[derive(Debug, thiserror::Error)]
pub enum ObserverError {
    #[error("could not observe {}: give the path of a git repository", path.display())]
    Open { path: PathBuf, source: Box<GitError> },
    #[error(transparent)]
    Dial(DialError),
    #[error(
        "the dispatcher knows another repository by the name {repo}: {text}; observe this one under another name with \
         --name"
    )]
    NameTaken { repo: RepoName, text: String },
    #[error("there is no repository to observe: give the path of one")]
    NoRepository,
    #[error("the thread that observes {repo} panicked")]
    Panicked { repo: RepoName },
    #[error("could not start a thread")]
    Thread(#[source] std::io::Error),
}

/// Observes until a message on `stop`. A dispatcher that is away is waited for.
pub fn run(settings: ObserverSettings, stop: &Receiver<Stop>) -> Result<(), ObserverError> {
    check_repositories(&settings)?;
    let crew = Crew::start(&settings).map_err(ObserverError::Thread)?;
    let result = Observer::new(&settings, &crew, stop).run();
    crew.end();
    result
}

/// A path that is no repository is a mistake of whoever typed it, so it is told at once. URLs may be away for a while.
fn check_repositories(settings: &ObserverSettings) -> Result<(), ObserverError> {
    for repo in &settings.repos {
        if let RepoLocation::Path(path) = &repo.location
            && let Err(source) = Watched::open(path)
        {
            return Err(ObserverError::Open { path: path.clone(), source: Box::new(source) });
        }
    }
    Ok(())
}

/// Keeps a session with the dispatcher for as long as the observer runs.
struct Observer<'a> {
    settings: &'a ObserverSettings,
    crew: &'a Crew,
    stop: &'a Receiver<Stop>,
    caller: Caller,
    backoff: Backoff,
    had_session: bool,
    /// What was last said about the dispatcher's absence, and when.
    absence: Option<(String, Instant)>,
    /// Repositories that are not refused.
    remaining: usize,
}

/// Whether to go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Next {
    Dial,
    Stop,
}

/// What came of dialling.
enum Dialled {
    Reached(Address, Live),
    Failed(DialError),
    Stopped,
}

impl<'a> Observer<'a> {
    fn new(settings: &'a ObserverSettings, crew: &'a Crew, stop: &'a Receiver<Stop>) -> Self {
        let incarnation = draw();
        let names: Vec<&str> = settings.repos.iter().map(|repo| repo.name.as_str()).collect();
        let caller = Caller {
            name: names.join(",").chars().take(MAX_NAME_CHARS).collect(),
            incarnation,
            token: settings.token.clone(),
        };
        let backoff = Backoff::new(DIAL_FIRST_MS, DIAL_MAX_MS, incarnation);
        let remaining = settings.repos.len();
        Self { settings, crew, stop, caller, backoff, had_session: false, absence: None, remaining }
    }

    fn run(mut self) -> Result<(), ObserverError> {
        let mut least_pause = Duration::ZERO;
        loop {
            if self.pause(least_pause)? == Next::Stop {
                return Ok(());
            }
            least_pause = Duration::ZERO;
            match self.dial()? {
                Dialled::Stopped => return Ok(()),
                Dialled::Reached(address, live) => {
                    if self.attend(&address, live)? == Next::Stop {
                        return Ok(());
                    }
                }
                Dialled::Failed(error) => {
                    if error.is_final() {
                        if !self.had_session {
                            return Err(ObserverError::Dial(error));
                        }
                        least_pause = REFUSED_PAUSE;
                    }
                    self.say_absence(&error);
                }
            }
        }
    }

    /// Waits before the next try.
    fn pause(&mut self, at_least: Duration) -> Result<Next, ObserverError> {
        let deadline = clock::instant() + self.backoff.next_delay().max(at_least);
        loop {
            select! {
                recv(self.stop) -> _ => return Ok(Next::Stop),
                recv(self.crew.endings) -> ending => self.member_ended(ending.ok())?,
                recv(crossbeam_channel::at(deadline)) -> _ => return Ok(Next::Dial),
            }
        }
    }

    /// Dials in a thread of its own, because a name or an address that does not answer takes seconds.
    fn dial(&mut self) -> Result<Dialled, ObserverError> {
        let (tell, result) = bounded(1);
        let (caller, addresses) = (self.caller.clone(), self.settings.dispatch.clone());
        let thread = threads::spawn("obs-dial", move || drop(tell.send(caller.dial(&addresses))));
        let thread = thread.map_err(ObserverError::Thread)?;
        loop {
            select! {
                recv(result) -> result => return Ok(match result {
                    Ok(Ok((address, live))) => Dialled::Reached(address, live),
                    Ok(Err(error)) => Dialled::Failed(error),
                    // It panicked, which the panic's hook has told.
                    Err(_) => Dialled::Failed(DialError::Thread(std::io::ErrorKind::Other.into())),
                }),
                recv(self.stop) -> _ => {
                    // It ends by itself within the dial's timeout, and owns nothing but a connection.
                    std::mem::forget(thread);
                    return Ok(Dialled::Stopped);
                }
                recv(self.crew.endings) -> ending => self.member_ended(ending.ok())?,
            }
        }
    }

    /// Lets the repositories use the session until it ends.
    fn attend(&mut self, address: &Address, live: Live) -> Result<Next, ObserverError> {
        log::info!("dispatcher at {address} reached, session {}", live.session);
        self.had_session = true;
        self.absence = None;
        let began = clock::instant();
        self.crew.offer(&live.session);
        let error = loop {
            select! {
                recv(self.stop) -> _ => return Ok(Next::Stop),
                recv(self.crew.endings) -> ending => self.member_ended(ending.ok())?,
                recv(live.ended) -> error => break error.unwrap_or(SessionError::Closed),
            }
        };
        drop(live);
        if clock::instant() - began >= SETTLED {
            self.backoff.reset();
        }
        match &error {
            // The repository that it is about says so itself.
            SessionError::Refused(refused) if refused.kind == RefusalKind::Name => {}
            SessionError::Refused(_)
            | SessionError::Closed
            | SessionError::Broken(_)
            | SessionError::Nonsense(_)
            | SessionError::Silent
            | SessionError::Flooded => log::warn!("dispatcher at {address} lost: {}; dialling again", chain(&error)),
        }
        Ok(Next::Dial)
    }

    /// A repository's thread ended although nobody asked it to.
    fn member_ended(&mut self, ending: Option<Ending>) -> Result<(), ObserverError> {
        let Some(Ending { repo, why }) = ending else { return Err(ObserverError::NoRepository) };
        match why {
            Why::Stopped => Ok(()),
            Why::Panicked => Err(ObserverError::Panicked { repo }),
            Why::Name(taken) => {
                let error = ObserverError::NameTaken { repo, text: taken.text };
                self.remaining -= 1;
                if self.remaining == 0 {
                    return Err(error);
                }
                log::error!("{error}");
                Ok(())
            }
        }
    }

    /// Says that there is no dispatcher: at once, when the cause changes, and now and then.
    fn say_absence(&mut self, error: &DialError) {
        let (text, now) = (chain(error), clock::instant());
        let is_news = match &self.absence {
            Some((said, at)) => *said != text || now - *at >= REMIND,
            None => true,
        };
        if is_news {
            log::warn!("{text}; trying again");
            self.absence = Some((text, now));
        }
    }
}

/// A random number; where the system has none, the time will do: it only tells two starts apart and spreads retries.
fn draw() -> u64 {
    getrandom::u64().unwrap_or_else(|_| clock::wall().0.unsigned_abs())
}
