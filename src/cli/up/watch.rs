//! The session that tells `surveil up` what happens, read in a thread of its own.

use crossbeam_channel::{Receiver, Sender, bounded};

use crate::cli::CliError;
use crate::cli::session::{KeepAlive, Session};
use crate::protocol::operator::{BuildReport, FromOperator, ToOperator};
use crate::threads::{self, Thread};
use crate::transport::Stream;

/// News that may wait while lines are being written. Where more come, the session waits, and the dispatcher may close it.
const NEWS_CAPACITY: usize = 1024;
/// Finished builds to know from before, so that they are not told as news.
const KNOWN_BUILDS: u32 = 100;

/// What the dispatcher says of a build.
#[derive(Debug)]
pub(crate) enum News {
    /// It was finished before the watch began.
    Before(BuildReport),
    /// It is unfinished, or something about it changed.
    Change(BuildReport),
}

/// A session that is being read. Dropping it ends that.
pub(crate) struct Watch {
    news: Receiver<News>,
    stream: Stream,
    /// Dropped before the thread that it keeps the session alive for; the thread ends because the stream is closed.
    _alive: KeepAlive,
    _thread: Thread<()>,
}

impl Watch {
    /// Watches from now on; what is known of `repo` already comes first.
    pub(crate) fn start(mut session: Session, repo: &str) -> Result<Self, CliError> {
        // In this order nothing falls between what was before and what changes.
        session.send(&FromOperator::Watch)?;
        session.send(&FromOperator::Status { repo: Some(repo.to_owned()), limit: KNOWN_BUILDS })?;
        let stream = session.stream();
        let alive = session.keep_alive()?;
        let (sender, news) = bounded(NEWS_CAPACITY);
        let thread = threads::spawn_large("watch", move || {
            if let Err(error) = pass_on(&mut session, &sender) {
                log::debug!("the watching session ended: {}", crate::cli::chain(&error));
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
        // A reader that waits for room finds the channel closed only when the field goes, which is after this; so make
        // room first.
        self.stream.close();
        self.news = crossbeam_channel::never();
    }
}

/// Reads until the session ends or nobody listens.
fn pass_on(session: &mut Session, sender: &Sender<News>) -> Result<(), CliError> {
    loop {
        let mut news = Vec::new();
        match session.next()? {
            ToOperator::Build(build) => news.push(News::Change(build)),
            ToOperator::Status(report) => news.extend(
                report
                    .builds
                    .into_iter()
                    .map(|build| if build.finished_ms.is_some() { News::Before(build) } else { News::Change(build) }),
            ),
            other => log::debug!("nobody asked for {other:?}"),
        }
        for news in news {
            if sender.send(news).is_err() {
                return Ok(());
            }
        }
    }
}
