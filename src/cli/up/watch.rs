//! The session that tells `surveil up` what happens, read in a thread of its own.

use crossbeam_channel::{Receiver, Sender, bounded, never};

use super::roles::Roles;
use crate::cli::error::CliError;
use crate::cli::session::{KeepAlive, Session};
use crate::error_chain::chain;
use crate::protocol::operator::{BuildReport, FromOperator, ToOperator};
use crate::threads::{self, Thread};
use crate::transport::Stream;

/// News that may wait while lines are being written. Where more come, the session waits, and the dispatcher may close
/// it.
const NEWS_CAPACITY: usize = 1024;
/// Finished builds to know from before, so that they are not told as news.
const KNOWN_BUILDS: u32 = 100;

/// What the dispatcher says of a build.
#[derive(Debug)]
pub(crate) enum News {
    /// So it was when the watch began.
    Before(BuildReport),
    /// Something about it changed.
    Change(BuildReport),
}

/// A session that is being read. Dropping it ends that.
pub(crate) struct Watch {
    news: Receiver<News>,
    stream: Stream,
    _alive: KeepAlive,
    _thread: Thread<()>,
}

impl Watch {
    /// Watches from now on; what there is already comes first.
    pub(crate) fn start(roles: &Roles) -> Result<Self, CliError> {
        Self::open(roles, News::Before)
    }

    /// Watches on after a session was lost. What has changed meanwhile is news.
    pub(crate) fn again(roles: &Roles) -> Result<Self, CliError> {
        Self::open(roles, News::Change)
    }

    fn open(roles: &Roles, first: fn(BuildReport) -> News) -> Result<Self, CliError> {
        let mut session = roles.session()?.watch()?;
        // Asked only now, so that nothing falls between what was before and what changes.
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

    /// What happens, in order. Closed when the session is.
    pub(crate) fn news(&self) -> &Receiver<News> {
        &self.news
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        // Either is what the reader may be waiting for: bytes, or room. After this it ends, and is joined.
        self.stream.close();
        self.news = never();
    }
}

/// The builds there are already.
fn known(session: &mut Session, repo: &str) -> Result<Vec<BuildReport>, CliError> {
    let question = FromOperator::Status { repo: Some(repo.to_owned()), limit: KNOWN_BUILDS };
    let ToOperator::Status(report) = session.ask(&question)? else { return Err(CliError::Unexpected("`status`")) };
    Ok(report.builds)
}

/// Passes on what is known, then what is read, until the session ends or nobody listens.
fn pass_on(session: &mut Session, known: Vec<News>, sender: &Sender<News>) -> Result<(), CliError> {
    for news in known {
        if sender.send(news).is_err() {
            return Ok(());
        }
    }
    loop {
        let ToOperator::Build(build) = session.next()? else { return Err(CliError::Unexpected("`watch`")) };
        if sender.send(News::Change(*build)).is_err() {
            return Ok(());
        }
    }
}
