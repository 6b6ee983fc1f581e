//! The `schedules` thread turns wall-clock time into events: it tells the core which schedules have come due, each with
//! the plan of its branch's head. The core decides whether the time has fired before.
//!
//! The thread keeps nothing that a restart would need. It never fires anything itself, and never writes to the store.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError};

use super::core::{CoreHandle, ToCore};
use super::mirrors::{Coming, Intake, Mirrors};
use super::session::Observers;
use super::trust::TrustJudge;
use super::{DispatcherError, choice, limits};
use crate::clock;
use crate::config::{PlanContext, Timetable, zoned_time};
use crate::error_chain::chain;
use crate::model::{
    BuildSource, CommitId, Moment, RefName, RepoName, Schedule, ScheduleRule, Trigger, TriggerKind, WallTime,
};
use crate::scheduler::Event;
use crate::store::{PassScope, Readers};
use crate::threads::{self, Thread};

/// The state of the thread.
pub(crate) struct Schedules {
    core: CoreHandle,
    mirrors: Mirrors,
    observers: Observers,
    readers: Readers,
    trust: TrustJudge,
    /// The schedules of the core, and their number of changes when they were read.
    known: Vec<Upcoming>,
    changes: Option<u64>,
    /// When to try again, for schedules that came due and whose source cannot be read.
    waiting: HashMap<(RepoName, RefName, Arc<str>), Moment>,
}

/// A schedule with its times.
struct Upcoming {
    schedule: Schedule,
    rule: ScheduleRule,
    times: Timetable,
    next: Option<WallTime>,
}

impl Schedules {
    pub(crate) fn new(core: CoreHandle, mirrors: Mirrors, observers: Observers, asked: (Readers, TrustJudge)) -> Self {
        let (readers, trust) = asked;
        Self { core, mirrors, observers, readers, trust, known: Vec::new(), changes: None, waiting: HashMap::new() }
    }

    /// Starts the thread, which ends when `stop` closes.
    pub(crate) fn start(mut self, stop: Receiver<()>) -> Result<Thread<()>, DispatcherError> {
        let interval = Duration::from_millis(limits::SCHEDULE_CHECK_MS);
        let run = move || {
            loop {
                self.check(clock::wall());
                if stop.recv_timeout(interval) != Err(RecvTimeoutError::Timeout) {
                    return;
                }
            }
        };
        threads::spawn_large("schedules", run).map_err(|source| DispatcherError::Thread { name: "schedules", source })
    }

    /// Tells the core of each schedule that is due at this time.
    fn check(&mut self, now: WallTime) {
        self.refresh();
        let due = self.known.iter().filter(|upcoming| upcoming.next.is_some_and(|next| next <= now));
        for Upcoming { schedule, rule, times, .. } in due {
            let key = (schedule.repo.clone(), schedule.reference.clone(), schedule.name.clone());
            if self.waiting.get(&key).is_some_and(|again| clock::now() < *again) {
                continue;
            }
            let Some(due) = times.due(schedule.last_due, now) else { continue };
            let is_new = self.waiting.insert(key, clock::now().after(limits::SCHEDULE_RETRY_MS)).is_none();
            self.fire(schedule, rule, due, is_new);
        }
    }

    /// Reads the schedules again if one has changed since the last time. A core that is busy is asked at the next
    /// check.
    fn refresh(&mut self) {
        let known = self.changes;
        let changed = self.core.look(move |seen| {
            let changes = seen.scheduler.schedule_changes();
            (Some(changes) != known).then(|| (changes, seen.scheduler.schedules()))
        });
        let Ok(Some((changes, schedules))) = changed else { return };
        self.changes = Some(changes);
        self.waiting.clear();
        self.known = schedules.into_iter().filter_map(Upcoming::of).collect();
    }

    /// Makes the plan of a schedule that is due, and tells the core. If its source is missing, it is asked for, and the
    /// schedule is tried again later.
    fn fire(&self, schedule: &Schedule, rule: &ScheduleRule, due: WallTime, is_new: bool) {
        let Schedule { repo, reference, name, .. } = schedule;
        let (of, branch) = (repo.clone(), reference.clone());
        let Ok(Some(commit)) = self.core.look(move |seen| seen.scheduler.head(&of, &branch)) else { return };
        let (at, timezone) = (zoned_time(due, &rule.timezone), rule.timezone.clone());
        if is_new {
            log::info!("schedule {name} of {} in {repo} came due at {at}", reference.short());
        }
        let kind = TriggerKind::Schedule { name: name.clone(), due, timezone };
        let judged = self.readers.open().and_then(|reader| self.trust.judge_stored(repo, reference, &*reader));
        let trust = match judged {
            Ok(trust) => trust,
            Err(error) => return log::warn!("schedule {name} of {} in {repo} waits: {error}", reference.short()),
        };
        let trigger = Trigger { kind, trust, reference: reference.clone() };
        let (subject, author) = (String::new(), String::new());
        let source = BuildSource { repo: repo.clone(), commit, trigger, subject, author };
        if let Err(why) = self.mirrors.arriving(repo, || self.announce(source))
            && is_new
        {
            log::warn!("schedule {name} of {} in {repo} waits: {why}", reference.short());
        }
    }

    /// Tells the core of a due schedule. Returns the reason why that is not possible now.
    fn announce(&self, mut source: BuildSource) -> Result<(), String> {
        let (repo, commit): (RepoName, CommitId) = (source.repo.clone(), source.commit);
        match self.mirrors.take_in(&repo, commit, (Coming::Earlier, None), PlanContext::Build(&source)) {
            Intake::Taken(taken) => {
                let mut plan = taken.plan.map_err(|mistake| mistake.text);
                if let Ok(plan) = &mut plan {
                    let passes = |scope: &PassScope| self.readers.open()?.passes(scope);
                    choice::choose(plan, &source, &[], passes, &taken.mirror);
                }
                let text = taken.mirror.describe(commit).map_err(|error| chain(&error))?;
                taken.mirror.return_to_pool();
                (source.subject, source.author) = (text.subject, text.author);
                self.core.send(ToCore::Event(Event::ScheduleDue { source: Box::new(source), plan }));
                Ok(())
            }
            Intake::NeedSource => {
                self.observers.ask_for_source(&repo, commit);
                Err(format!("the source of {} is missing, and its observer is asked for it", commit.short()))
            }
            Intake::Refused(error) => Err(chain(&error)),
        }
    }
}

impl Upcoming {
    /// A schedule with the first of its times that has not fired. `None` if this machine does not know the time zone.
    fn of(schedule: Schedule) -> Option<Self> {
        let rule = schedule.rule.clone()?;
        let Some(times) = Timetable::of(&rule) else {
            let Schedule { name, repo, .. } = &schedule;
            log::error!(
                "schedule {name} of {repo} cannot fire: this machine does not know the time zone {}; install tzdata",
                rule.timezone
            );
            return None;
        };
        let next = times.next_after(schedule.last_due);
        Some(Self { schedule, rule, times, next })
    }
}
