//! The announcements of one repository on their way: what is sent with each, and what its answer changes. The watch
//! chooses what is announced, and in which order.

use super::{Leave, Orders, Repo};
use crate::clock;
use crate::config::{MAX_TASK_FILE_BYTES, TASK_FILE, source_needs};
use crate::error_chain::chain;
use crate::git::{Facts, GitError, SourcePlaces, Watched};
use crate::model::{CommitId, RefName, SourceNeeds};
use crate::observer::session::Session;
use crate::observer::submit::{self, Answer, Delivery, NoAnswer, Sent};
use crate::observer::translate::RefusalKind;
use crate::observer::watch::{Announcement, Change};

impl Repo {
    /// Announces what the watch asks for, and tells the watch of the answer.
    pub(super) fn announce(&mut self, session: &Session, what: &Announcement) -> Result<(), Leave> {
        let mut sent = None;
        let answer = match what.change {
            Change::Head { commit, everything } => {
                let Some(watched) = &self.watched else {
                    self.watch.look_again();
                    return Ok(());
                };
                match source_facts(&self.orders, watched, commit) {
                    Ok(facts) => {
                        let haves = match everything {
                            // Without haves the pack holds the whole commit.
                            true => Some(Vec::new()),
                            false if self.watch.is_delivered(commit) && facts.is_none() => None,
                            false => Some(self.watch.haves(what)),
                        };
                        let told = self.told.as_ref().filter(|_| !everything);
                        let along = facts.as_ref().map(|facts| Sent { facts, told });
                        let delivery = Delivery { watched, haves, facts: along };
                        let answer = submit::announce_head(session, &self.orders.name, what, commit, delivery);
                        sent = facts;
                        answer
                    }
                    Err(error) => Err(NoAnswer::Git(error)),
                }
            }
            Change::Gone => match self.is_gone(&what.reference) {
                Ok(true) => submit::announce_gone(session, &self.orders.name, what).map_err(NoAnswer::from),
                Ok(false) => {
                    log::debug!("{} {} is not gone after all", self.orders.name, what.reference.short());
                    self.watch.refused(what, clock::now());
                    self.watch.look_again();
                    return Ok(());
                }
                Err(error) => Err(NoAnswer::Git(error)),
            },
        };
        match answer {
            Ok(answer) => {
                if let Answer::Accepted { .. } = answer {
                    self.told = sent.or(self.told.take());
                }
                self.answered(what, answer)
            }
            Err(NoAnswer::Over) => Err(Leave::Session),
            Err(NoAnswer::Git(error)) => {
                // A force push and a garbage collection may have removed the commit meanwhile: look again.
                log::warn!("{} could not be sent: {}; trying again", self.show(what), chain(&error));
                self.watched = None;
                self.watch.refused(what, clock::now());
                self.watch.look_again();
                Ok(())
            }
        }
    }

    /// Sends all of a commit whose source the dispatcher has lost, if the commit is still here.
    pub(super) fn supply(&mut self, session: &Session, commit: CommitId) -> Result<(), Leave> {
        let (name, short) = (self.orders.name.clone(), commit.short());
        let watched = match self.watched.take() {
            Some(watched) => Ok(watched),
            None => Watched::open(&self.orders.path),
        };
        let sent = watched.map_err(NoAnswer::from).and_then(|watched| {
            let facts = source_facts(&self.orders, &watched, commit).map_err(NoAnswer::from);
            let sent = facts.and_then(|facts| submit::supply(session, &name, (&watched, facts.as_ref()), commit));
            self.watched = Some(watched);
            sent
        });
        match sent {
            Ok(Answer::Accepted { .. }) => log::info!("{name} {short} was lost at the dispatcher and is sent again"),
            Ok(Answer::Refused(refused)) => {
                self.leave_if_final(&refused)?;
                log::warn!("{name} {short} was lost at the dispatcher and cannot be sent again: {}", refused.text);
            }
            Ok(Answer::NeedSource | Answer::Stale { .. }) => {
                log::warn!("{name} {short} was lost at the dispatcher, sent whole, and is still not complete");
            }
            Err(NoAnswer::Over) => return Err(Leave::Session),
            Err(NoAnswer::Git(error)) => {
                log::warn!("{name} {short} was lost at the dispatcher and cannot be sent again: {}", chain(&error));
            }
        }
        Ok(())
    }

    /// Whether a ref that was missing is also missing for a fresh handle. A ref that is announced as gone by mistake
    /// does more harm than a delay.
    fn is_gone(&mut self, reference: &RefName) -> Result<bool, GitError> {
        let fresh = Watched::open(&self.orders.path)?;
        let found = fresh.find(reference)?;
        // The fresh handle read the repository last, so it serves the next look.
        self.watched = Some(fresh);
        Ok(found.is_none())
    }

    fn answered(&mut self, what: &Announcement, answer: Answer) -> Result<(), Leave> {
        let now = clock::now();
        match answer {
            Answer::Accepted { build, moves } => {
                match (what.change, build) {
                    (Change::Gone, _) => log::info!("{}", self.show(what)),
                    (Change::Head { .. }, Some(build)) => log::info!("{build} {} accepted", self.show(what)),
                    (Change::Head { .. }, None) => log::info!("{} accepted", self.show(what)),
                }
                self.watch.accepted(what, moves);
            }
            // Another observer of the same repository was faster, or the dispatcher's data is older than ours.
            Answer::Stale { head, moves } => {
                let show = head.map_or_else(|| "unknown".to_owned(), |head| format!("at {}", head.short()));
                log::debug!("{} is stale: the dispatcher's branch is {show}", self.show(what));
                if !self.watch.stale(what, head, moves, now) {
                    log::warn!(
                        "{} stays stale: the dispatcher's branch is {show}; trying again later",
                        self.show(what)
                    );
                }
            }
            Answer::NeedSource => {
                log::debug!("{} needs all of its source", self.show(what));
                if !self.watch.need_source(what, now) {
                    log::warn!("{} was sent whole and is still not complete; trying again later", self.show(what));
                }
            }
            Answer::Refused(refused) => {
                if matches!(refused.kind, RefusalKind::Protocol | RefusalKind::Request) {
                    // An announcement that is malformed would end the next session as well, and with it the other
                    // repositories' exchanges. So it waits, too.
                    let is_first = self.watch.refused(what, now);
                    let level = if is_first { log::Level::Warn } else { log::Level::Debug };
                    let show = self.show(what);
                    log::log!(level, "{show} was refused: {}; trying again, less and less often", refused.text);
                }
                self.leave_if_final(&refused)?;
            }
        }
        Ok(())
    }

    /// Formats an announcement as `app main 4f2a91c`, or as `app topic gone`.
    fn show(&self, what: &Announcement) -> String {
        match what.change {
            Change::Head { commit, .. } => {
                format!("{} {} {}", self.orders.name, what.reference.short(), commit.short())
            }
            Change::Gone => format!("{} {} gone", self.orders.name, what.reference.short()),
        }
    }
}

/// Returns the facts that the tasks of a commit want of its source. A mistake in the task file is told by the
/// dispatcher.
fn source_facts(orders: &Orders, watched: &Watched, commit: CommitId) -> Result<Option<Facts>, GitError> {
    let text = watched.read_file(commit, TASK_FILE, MAX_TASK_FILE_BYTES)?;
    let needs = text.map_or(SourceNeeds::NOTHING, |text| source_needs(&text));
    watched.facts(commit, needs, SourcePlaces { work: &orders.work, base: orders.url.as_deref() })
}
