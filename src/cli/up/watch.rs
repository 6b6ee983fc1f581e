//! The session from which `surveil up` learns what happens, read in a thread of its own.

use crossbeam_channel::{Receiver, Sender, bounded, never};

use super::roles::Roles;
use crate::cli::CliError;
use crate::cli::session::{KeepAlive, Session};
use crate::error_chain::chain;
use crate::protocol::hello::ErrorCode;
use crate::protocol::operator::{BuildReport, FromOperator, ToOperator};
use crate::threads::{self, Thread};
use crate::transport::Stream;

/// News that may wait while lines are being written. If more arrive, the session waits, and the dispatcher may close
/// it.
const NEWS_CAPACITY: usize = 1024;
/// Number of finished builds that are fetched at the start, so that they are not shown as news.
const KNOWN_BUILDS: u32 = 100;

/// A report about a build.
#[derive(Debug)]
pub(crate) enum News {
    /// The build's state when the watch began.
    Before(BuildReport),
    /// The build has changed.
    Change(BuildReport),
}

/// A session that is being read. Dropping it ends the reading.
pub(crate) struct WatchSession {
    news: Receiver<News>,
    stream: Stream,
    _alive: KeepAlive,
    _thread: Thread<()>,
}

impl WatchSession {
    /// Watches from now on. Existing builds come first, as `first`: at the start `News::Before`; after a session was
    /// lost `News::Change`, because changes since then are news.
    pub(crate) fn open(roles: &Roles, first: fn(BuildReport) -> News) -> Result<Self, CliError> {
        let mut session = roles.session()?.watch()?;
        // Asked after the watch has begun, so that no change falls between the two.
        let known = known(&mut roles.session()?, roles.repo())?.into_iter().map(first).collect();
        let stream = session.stream();
        let alive = session.keep_alive()?;
        let (sender, news) = bounded(NEWS_CAPACITY);
        let thread = threads::spawn_large("watch", move || {
            if let Err(error) = pass_on(&mut session, known, &sender) {
                log::debug!("the watching session ended: {}", chain(&error));
            }
        })
        .map_err(CliError::machine("start a thread"))?;
        Ok(Self { news, stream, _alive: alive, _thread: thread })
    }

    /// The reports, in order. Closed when the session is.
    pub(crate) fn news(&self) -> &Receiver<News> {
        &self.news
    }
}

impl Drop for WatchSession {
    fn drop(&mut self) {
        // The reader waits either for bytes or for room in the channel. After this it ends, and is joined.
        self.stream.close();
        // Replaces the receiver: without one, a blocked send returns with an error.
        self.news = never();
    }
}

/// The builds that exist already.
fn known(session: &mut Session, repo: &str) -> Result<Vec<BuildReport>, CliError> {
    let question = FromOperator::Status { repo: Some(repo.to_owned()), limit: KNOWN_BUILDS };
    match session.ask(&question) {
        Ok(ToOperator::Status(report)) => Ok(report.builds),
        // Before the first start nothing was ever observed under this name.
        Err(CliError::Refused(refusal)) if refusal.code == ErrorCode::NotFound => Ok(Vec::new()),
        Ok(_) => Err(CliError::Unexpected("`status`")),
        Err(error) => Err(error),
    }
}

/// Sends the known builds, then the reports that are read, until the session ends or nobody receives.
fn pass_on(session: &mut Session, known: Vec<News>, sender: &Sender<News>) -> Result<(), CliError> {
    if known.into_iter().any(|news| sender.send(news).is_err()) {
        return Ok(());
    }
    loop {
        let ToOperator::Build(build) = session.next()? else { return Err(CliError::Unexpected("`watch`")) };
        if sender.send(News::Change(*build)).is_err() {
            return Ok(());
        }
    }
}
