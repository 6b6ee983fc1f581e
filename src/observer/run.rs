//! The observer's main loop: dials the dispatcher, gives each new session to the threads of the repositories, and ends
//! them. Never reads a repository, except to check at the start that each path is one.

use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, bounded, select};

use super::ObserverError;
use super::repo_threads::{EndCause, RepoThreads, ThreadEnd};
use super::session::{Caller, DialError, Live, SessionError};
use super::translate::RefusalKind;
use crate::clock;
use crate::config::{ObserverSettings, RepoLocation};
use crate::error_chain::chain;
use crate::git::Watched;
use crate::model::Address;
use crate::shutdown::Stop;
use crate::threads;
use crate::transport::Backoff;

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

/// Observes until a message on `stop`. A dispatcher that is away is waited for.
pub fn run(settings: ObserverSettings, stop: &Receiver<Stop>) -> Result<(), ObserverError> {
    check_repositories(&settings)?;
    let repo_threads = RepoThreads::start(&settings).map_err(ObserverError::Thread)?;
    let result = Observer::new(&settings, &repo_threads, stop).run();
    repo_threads.end();
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
    repo_threads: &'a RepoThreads,
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
    fn new(settings: &'a ObserverSettings, repo_threads: &'a RepoThreads, stop: &'a Receiver<Stop>) -> Self {
        let incarnation = draw();
        let names: Vec<&str> = settings.repos.iter().map(|repo| repo.name.as_str()).collect();
        let caller = Caller {
            name: names.join(",").chars().take(MAX_NAME_CHARS).collect(),
            incarnation,
            token: settings.token.clone(),
        };
        let backoff = Backoff::new(DIAL_FIRST_MS, DIAL_MAX_MS, incarnation);
        let remaining = settings.repos.len();
        Self { settings, repo_threads, stop, caller, backoff, had_session: false, absence: None, remaining }
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
                recv(self.repo_threads.ends) -> end => self.thread_ended(end.ok())?,
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
                recv(self.repo_threads.ends) -> end => self.thread_ended(end.ok())?,
            }
        }
    }

    /// Lets the repositories use the session until it ends.
    fn attend(&mut self, address: &Address, live: Live) -> Result<Next, ObserverError> {
        log::info!("dispatcher at {address} reached, session {}", live.session);
        self.had_session = true;
        self.absence = None;
        let began = clock::instant();
        self.repo_threads.offer(&live.session);
        let error = loop {
            select! {
                recv(self.stop) -> _ => return Ok(Next::Stop),
                recv(self.repo_threads.ends) -> end => self.thread_ended(end.ok())?,
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
    fn thread_ended(&mut self, end: Option<ThreadEnd>) -> Result<(), ObserverError> {
        let Some(ThreadEnd { repo, cause }) = end else { return Err(ObserverError::NoRepository) };
        match cause {
            EndCause::Stopped => Ok(()),
            EndCause::Panicked => Err(ObserverError::Panicked { repo }),
            EndCause::Name(taken) => {
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
