//! Asks the dispatcher about caches. A dispatcher that is away or silent for long is no reason to wait: a cache is
//! there to save time.

use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, select};

use super::super::super::slot_common::SlotReport;
use super::super::line::Line;
use super::super::line_request::{NoLine, wait_for_line};
use super::super::routes::{BlobAnswer, CacheOffer};
use crate::model::{AttemptId, CacheKey};
use crate::transport::Frame;

/// How long the dispatcher may be away or silent.
pub(super) const PATIENCE: Duration = Duration::from_secs(30);

/// The way to the dispatcher for an attempt.
#[derive(Clone, Copy)]
pub(super) struct Asking<'a> {
    pub(super) attempt: AttemptId,
    pub(super) reports: &'a Sender<SlotReport>,
    pub(super) cancelled: &'a Receiver<()>,
}

/// Why there is no answer.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum NoAnswer {
    Cancelled,
    /// The dispatcher was away or silent for too long.
    Silent,
}

/// The answer to a question about a cache.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// The cache that may be restored, if there is one, and the most bytes of one that is saved.
    Found { max_bytes: u64, offer: Option<CacheOffer> },
    /// The cache is saved, unless there is a reason why not.
    Saved { reason: Option<String> },
}

impl Asking<'_> {
    /// Sends a question about a key, over the next session too if one ends, and returns the answer to it.
    pub(super) fn ask(&self, of: &CacheKey, question: &dyn Fn() -> Frame) -> Result<Answer, NoAnswer> {
        loop {
            let line = wait_for_line(self.attempt, (self.reports, self.cancelled), Some(PATIENCE));
            let line = line.map_err(|why| if why == NoLine::Late { NoAnswer::Silent } else { NoAnswer::Cancelled })?;
            line.session.say(&question());
            // Without an answer the session has ended.
            if let Some(answer) = self.answer(&line, of)? {
                return Ok(answer);
            }
        }
    }

    /// Waits for the answer about a key. An answer to an earlier question may come first. Returns `None` if the session
    /// has ended.
    fn answer(&self, line: &Line, of: &CacheKey) -> Result<Option<Answer>, NoAnswer> {
        loop {
            let answer = select! {
                recv(line.answers) -> answer => answer,
                recv(self.cancelled) -> _ => return Err(NoAnswer::Cancelled),
                default(PATIENCE) => return Err(NoAnswer::Silent),
            };
            match answer {
                Ok(BlobAnswer::Cache { key, max_bytes, found }) if key == of.as_str() => {
                    return Ok(Some(Answer::Found { max_bytes, offer: found }));
                }
                Ok(BlobAnswer::CacheSaved { key, reason }) if key == of.as_str() => {
                    return Ok(Some(Answer::Saved { reason }));
                }
                Ok(_) => {}
                Err(_) => return Ok(None),
            }
        }
    }
}
