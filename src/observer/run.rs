//! The observer's main loop. Dials the dispatcher, gives each new session to the threads of the repositories, and ends
//! them. Reads no repository, except to check at the start that each path is one.

use std::time::Duration;

use crossbeam_channel::{Receiver, bounded, select};

use super::error::ObserverError;
use super::repo_threads::{EndCause, RepoThreads, ThreadEnd};
use super::session::{Caller, DialError, Live, SessionError};
use super::translate::RefusalKind;
use crate::clock;
use crate::config::{KnownPins, ObserverSettings, RepoLocation};
use crate::error_chain::chain;
use crate::git::Watched;
use crate::model::Address;
use crate::shutdown::Stop;
use crate::threads;
use crate::transport::{Absence, Backoff, REFUSED_PAUSE};

/// The first and the longest pause between two attempts to reach a dispatcher.
const DIAL_FIRST_MS: u64 = 100;
const DIAL_MAX_MS: u64 = 5_000;
/// A session that lasted this long was a success. After a shorter one the pauses go on growing.
const SETTLED: Duration = Duration::from_secs(1);
/// The longest name that an observer gives itself in its hello.
const MAX_NAME_CHARS: usize = 200;

/// Observes until a message arrives on `stop`. Waits for a dispatcher that cannot be reached.
pub fn run(settings: ObserverSettings, stop: &Receiver<Stop>) -> Result<(), ObserverError> {
    check_repositories(&settings)?;
    let repo_threads = RepoThreads::start(&settings).map_err(ObserverError::Thread)?;
    let result = Observer::new(&settings, &repo_threads, stop).run();
    repo_threads.end();
    result
}

/// Checks each path at once, because a path that is no repository is a mistake in the command line. URLs are not
/// checked: a remote may be away for a while.
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

/// Keeps a session with the dispatcher as long as the observer runs.
struct Observer<'a> {
    settings: &'a ObserverSettings,
    repo_threads: &'a RepoThreads,
    stop: &'a Receiver<Stop>,
    caller: Caller,
    backoff: Backoff,
    had_session: bool,
    /// What was logged about the dispatcher's absence.
    absence: Absence,
    /// The misunderstandings with the dispatcher that were logged, and whether the last session ended with one.
    misunderstandings: Absence,
    was_misunderstood: bool,
    /// Number of repositories that are not refused.
    remaining: usize,
}

/// Whether the main loop continues.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Next {
    Dial,
    Stop,
}

/// The result of dialling.
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
            pins: KnownPins::new(settings.pins.clone(), settings.token.clone()),
        };
        let backoff = Backoff::new(DIAL_FIRST_MS, DIAL_MAX_MS, incarnation);
        let remaining = settings.repos.len();
        Self {
            settings,
            repo_threads,
            stop,
            caller,
            backoff,
            had_session: false,
            absence: Absence::default(),
            misunderstandings: Absence::default(),
            was_misunderstood: false,
            remaining,
        }
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
                    if self.was_misunderstood {
                        least_pause = REFUSED_PAUSE;
                    }
                }
                Dialled::Failed(error) => {
                    // Before the first session it is a mistake in the settings, which the person sees at once. Later
                    // the dispatcher may have been changed, so the observer goes on trying, slowly.
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

    /// Waits before the next attempt.
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

    /// Dials in a thread of its own, because a name or an address that does not answer takes seconds, and a stop must
    /// not wait for it.
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
                    // The thread panicked; the panic hook has logged it.
                    Err(_) => Dialled::Failed(DialError::Thread(std::io::ErrorKind::Other.into())),
                }),
                recv(self.stop) -> _ => {
                    // The thread ends by itself within the dial's timeout, and owns only a connection.
                    std::mem::forget(thread);
                    return Ok(Dialled::Stopped);
                }
                recv(self.repo_threads.ends) -> end => self.thread_ended(end.ok())?,
            }
        }
    }

    /// Gives the session to the repositories and waits until it ends.
    fn attend(&mut self, address: &Address, live: Live) -> Result<Next, ObserverError> {
        // A row of sessions that end with the same misunderstanding is told once, not once for each session.
        let level = if self.was_misunderstood { log::Level::Debug } else { log::Level::Info };
        log::log!(level, "dispatcher at {address} reached, session {}", live.session);
        self.had_session = true;
        self.absence.over();
        let began = clock::instant();
        self.repo_threads.offer(&live.session);
        let error = loop {
            select! {
                recv(self.stop) -> _ => return Ok(Next::Stop),
                recv(self.repo_threads.ends) -> end => self.thread_ended(end.ok())?,
                recv(live.ended) -> error => break error.unwrap_or(SessionError::Closed),
            }
        };
        // Ends the session's threads before the next dial.
        drop(live);
        if clock::instant() - began >= SETTLED {
            self.backoff.reset();
        }
        self.was_misunderstood = error.is_misunderstanding();
        if self.was_misunderstood {
            let text = chain(&error);
            if self.misunderstandings.is_news(&text, clock::now()) {
                let every = REFUSED_PAUSE.as_secs();
                log::error!("dispatcher at {address} lost: {text}; dialling again every {every} s");
            }
            return Ok(Next::Dial);
        }
        self.misunderstandings.over();
        // The repository that such a refusal concerns logs it.
        if !matches!(&error, SessionError::Refused(refused) if refused.kind == RefusalKind::Name) {
            log::warn!("dispatcher at {address} lost: {}; dialling again", chain(&error));
        }
        Ok(Next::Dial)
    }

    /// Deals with the end of a repository's thread that nobody asked for.
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

    /// Logs that there is no dispatcher, if that is news.
    fn say_absence(&mut self, error: &DialError) {
        let text = chain(error);
        if self.absence.is_news(&text, clock::now()) {
            log::warn!("{text}; trying again");
        }
    }
}

/// Returns a random number. If the system has none, the time will do: the number only tells two starts apart and
/// spreads retries.
fn draw() -> u64 {
    getrandom::u64().unwrap_or_else(|_| clock::wall().0.unsigned_abs())
}
