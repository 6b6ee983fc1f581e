//! The deadlines: all timers of the scheduler in one table, which can be listed and shifted.
//!
//! A renewal is frequent and costs one write into a map. `order` has most timers under the moment at which they
//! were last filed, which is never later than the deadline. When that moment comes, the timer is filed anew.

use std::collections::{BTreeMap, BTreeSet, hash_map};
use std::sync::Arc;

use rustc_hash::FxHashMap;

use crate::model::{AttemptId, BuildId, JobId, Label, Moment, PoolId, RunnerId, SpawnId};

/// One thing that the scheduler waits for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Timer {
    /// An attempt is lost unless its runner renews the lease: the runner, its machine or the network may be gone.
    Lease(AttemptId),
    /// A connected runner is lost unless it is heard: a connection may be dead without being closed.
    Silence(RunnerId),
    /// A runner that is away is lost unless it comes back: most connections that break are opened again at once.
    Return(RunnerId),
    /// A queued job is errored unless a connected runner fits it: nobody may ever start such a runner.
    Fit(JobId),
    /// The same patience, from the last moment at which a connected runner fitted a demand, its labels and its slots:
    /// the time that a job waits for a busy runner does not count.
    DemandFit(Arc<[Label]>, u32),
    /// A runner that was asked for is given up unless it joins: its start may hang.
    Spawn(SpawnId),
    /// A job that keeps coming to nothing pauses: what nobody can do must not be tried without end.
    Retry(JobId),
    /// A runner on which infrastructure failed gets nothing new: a full disk would otherwise eat the queue.
    Rest(RunnerId),
    /// A pool is asked for no runner after a start that came to nothing: the next would fail as well.
    Respawn(PoolId),
    /// A build is cancelled unless it has its verdict: it may take no longer.
    Build(BuildId),
    /// Exclusive attempts from before the restart have ended by then: nobody can say earlier that they have.
    OldExclusives,
}

impl Timer {
    /// Whether a runner has until then to be heard or to join, or a build until its runners have reported. The
    /// dispatcher hears no runner while it is held up, so that time does not count. The other timers wait for time
    /// alone.
    fn waits_for_others(&self) -> bool {
        !matches!(self, Self::Retry(_) | Self::Rest(_) | Self::Respawn(_) | Self::OldExclusives)
    }

    /// Whether the deadline is over. A runner that is heard in the last millisecond is in time.
    fn is_over(&self, at: Moment, now: Moment) -> bool {
        if matches!(self, Self::Lease(_) | Self::Silence(_) | Self::Return(_)) { at < now } else { at <= now }
    }

    /// Whether it belongs to nothing in another table, so that it is set and cleared by itself.
    pub(super) fn stands_alone(&self) -> bool {
        matches!(self, Self::DemandFit(..) | Self::Spawn(_) | Self::Respawn(_) | Self::Build(_) | Self::OldExclusives)
    }
}

/// When a timer was set, and when it is over.
#[derive(Debug, Clone, Copy)]
struct Entry {
    since: Moment,
    at: Moment,
    /// The time that it gets when it is set or renewed.
    whole_ms: u64,
    /// The moment under which it stands in `order`; at most `at`.
    filed: Moment,
}

/// All timers that are set. Those that are set and cleared with every lease are apart, in maps that are sorted by
/// number: jobs and attempts come and go about in that order, so the processor's cache has the part that is in use.
#[derive(Debug, Default)]
pub(crate) struct Deadlines {
    /// Not in the order of time, because leases come and go far more often than they are checked: a check goes through
    /// all of them.
    leases: FxHashMap<AttemptId, Entry>,
    /// Not in the order of time, because such a deadline has no consequence while a busy runner fits the job: the check
    /// of the queue reads it instead.
    fits: BTreeMap<JobId, Entry>,
    filed: FxHashMap<Timer, Entry>,
    /// The timers of `filed` by the moment under which they stand.
    order: BTreeSet<(Moment, Timer)>,
}

impl Deadlines {
    fn get(&self, timer: &Timer) -> Option<&Entry> {
        if let Timer::Lease(attempt) = timer {
            self.leases.get(attempt)
        } else if let Timer::Fit(job) = timer {
            self.fits.get(job)
        } else {
            self.filed.get(timer)
        }
    }

    /// Sets a timer, or sets it anew.
    pub(super) fn set(&mut self, timer: Timer, since: Moment, whole_ms: u64) {
        let at = since.after(whole_ms);
        let entry = Entry { since, at, whole_ms, filed: at };
        if let Timer::Lease(attempt) = timer {
            self.leases.insert(attempt, entry);
        } else if let Timer::Fit(job) = timer {
            self.fits.insert(job, entry);
        } else {
            self.file(timer, entry);
        }
    }

    fn file(&mut self, timer: Timer, entry: Entry) {
        let at = entry.at;
        match self.filed.entry(timer) {
            hash_map::Entry::Occupied(mut set) if set.get().filed <= at => {
                let filed = set.get().filed;
                set.insert(Entry { filed, ..entry });
            }
            hash_map::Entry::Occupied(mut set) => {
                self.order.remove(&(set.get().filed, set.key().clone()));
                self.order.insert((at, set.key().clone()));
                set.insert(entry);
            }
            hash_map::Entry::Vacant(set) => {
                self.order.insert((at, set.key().clone()));
                set.insert(entry);
            }
        }
    }

    /// Gives a timer that is set its whole time again.
    pub(super) fn renew(&mut self, timer: &Timer, now: Moment) {
        let entry = if let Timer::Lease(attempt) = timer {
            self.leases.get_mut(attempt)
        } else if let Timer::Fit(job) = timer {
            self.fits.get_mut(job)
        } else {
            self.filed.get_mut(timer)
        };
        if let Some(entry) = entry {
            // Never earlier than before, so that it stays where it is filed.
            (entry.since, entry.at) = (now, now.after(entry.whole_ms).max(entry.at));
        }
    }

    /// Clears a timer. Returns whether it was set.
    pub(super) fn clear(&mut self, timer: &Timer) -> bool {
        if let Timer::Lease(attempt) = timer {
            self.leases.remove(attempt).is_some()
        } else if let Timer::Fit(job) = timer {
            self.fits.remove(job).is_some()
        } else if let Some(entry) = self.filed.remove(timer) {
            self.order.remove(&(entry.filed, timer.clone()));
            true
        } else {
            false
        }
    }

    /// Returns when a timer is over, if it is set.
    pub(crate) fn at(&self, timer: &Timer) -> Option<Moment> {
        self.get(timer).map(|entry| entry.at)
    }

    /// Returns when a timer was set or renewed. Gaps that were forgiven make it later.
    pub(crate) fn since(&self, timer: &Timer) -> Option<Moment> {
        self.get(timer).map(|entry| entry.since)
    }

    pub(crate) fn is_set(&self, timer: &Timer) -> bool {
        self.get(timer).is_some()
    }

    /// Whether a timer is set and over.
    pub(crate) fn is_over(&self, timer: &Timer, now: Moment) -> bool {
        self.at(timer).is_some_and(|at| timer.is_over(at, now))
    }

    /// Returns the timers that are over and that `pick` chooses, ordered by what `pick` returns. They stay set.
    pub(super) fn over<T: Ord>(&mut self, now: Moment, pick: impl Fn(&Timer) -> Option<T>) -> Vec<T> {
        self.refile(now);
        let over = self.order.iter().take_while(|(at, _)| *at <= now).filter(|(at, timer)| timer.is_over(*at, now));
        let mut picked: Vec<T> = over.filter_map(|(_, timer)| pick(timer)).collect();
        picked.sort_unstable();
        picked
    }

    /// Returns the attempts whose leases are over.
    pub(super) fn expired_leases(&self, now: Moment) -> Vec<AttemptId> {
        let over = self.leases.iter().filter(|(attempt, entry)| Timer::Lease(**attempt).is_over(entry.at, now));
        let mut expired: Vec<AttemptId> = over.map(|(attempt, _)| *attempt).collect();
        expired.sort_unstable();
        expired
    }

    /// Files timers anew that stand under a moment up to `until` and were renewed since.
    fn refile(&mut self, until: Moment) {
        let filed = self.order.iter().take_while(|(filed, _)| *filed <= until);
        let early: Vec<_> = filed.filter(|(filed, timer)| *filed < self.filed[timer].at).cloned().collect();
        for key in early {
            self.order.remove(&key);
            let entry = self.filed.get_mut(&key.1).expect("what is in order is set");
            entry.filed = entry.at;
            self.order.insert((entry.at, key.1));
        }
    }

    /// Adds a gap in which no runner was heard to every deadline that waits for others. A timer that was set since the
    /// dispatcher woke up has all of its time already, so no timer gets more than its whole time from now.
    pub(super) fn shift(&mut self, now: Moment, gap_ms: u64) {
        let filed = self.filed.iter_mut().filter(|(timer, _)| timer.waits_for_others()).map(|(_, entry)| entry);
        for entry in filed.chain(self.leases.values_mut()).chain(self.fits.values_mut()) {
            entry.since = entry.since.after(gap_ms).min(now);
            entry.at = entry.at.after(gap_ms).min(now.after(entry.whole_ms));
        }
    }

    /// Adds a short gap to the windows of runners that are away; no window gets longer than `most_ms` by that.
    pub(super) fn shift_returns(&mut self, now: Moment, gap_ms: u64, most_ms: u64) {
        for (timer, entry) in &mut self.filed {
            if let Timer::Return(_) = timer {
                let latest = now.after(entry.whole_ms).min(entry.since.after(most_ms));
                entry.at = entry.at.after(gap_ms).min(latest).max(entry.at);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    impl Deadlines {
        /// Returns the earliest deadline at which something is found to be over.
        pub(crate) fn next(&self) -> Option<Moment> {
            self.filed.values().chain(self.leases.values()).map(|entry| entry.at).min()
        }
    }

    /// One timer of every kind. A new kind does not compile before it has its place here.
    fn one_of_each() -> Vec<Timer> {
        let next = |timer: &Timer| match timer {
            Timer::Lease(_) => Some(Timer::Silence(RunnerId(1))),
            Timer::Silence(_) => Some(Timer::Return(RunnerId(1))),
            Timer::Return(_) => Some(Timer::Fit(JobId(1))),
            Timer::Fit(_) => Some(Timer::DemandFit(Arc::from(vec![Label::new("gpu").unwrap()]), 1)),
            Timer::DemandFit(..) => Some(Timer::Spawn(SpawnId(1))),
            Timer::Spawn(_) => Some(Timer::Retry(JobId(1))),
            Timer::Retry(_) => Some(Timer::Rest(RunnerId(1))),
            Timer::Rest(_) => Some(Timer::Respawn(PoolId(1))),
            Timer::Respawn(_) => Some(Timer::Build(BuildId(1))),
            Timer::Build(_) => Some(Timer::OldExclusives),
            Timer::OldExclusives => None,
        };
        std::iter::successors(Some(Timer::Lease(AttemptId(1))), next).collect()
    }

    #[test]
    fn a_gap_shifts_every_kind_that_waits_for_others_and_no_other() {
        let mut deadlines = Deadlines::default();
        for timer in one_of_each() {
            deadlines.set(timer, Moment(1_000), 10_000);
        }
        deadlines.shift(Moment(8_000), 5_000);
        let kept: Vec<Timer> =
            one_of_each().into_iter().filter(|timer| deadlines.at(timer) == Some(Moment(11_000))).collect();
        assert_eq!(
            kept,
            [Timer::Retry(JobId(1)), Timer::Rest(RunnerId(1)), Timer::Respawn(PoolId(1)), Timer::OldExclusives,]
        );
        for timer in one_of_each().into_iter().filter(|timer| !kept.contains(timer)) {
            assert_eq!(deadlines.at(&timer), Some(Moment(16_000)), "{timer:?}");
            assert_eq!(deadlines.since(&timer), Some(Moment(6_000)), "{timer:?}");
        }
    }

    #[test]
    fn no_timer_gets_more_than_its_whole_time_by_a_gap() {
        let mut deadlines = Deadlines::default();
        deadlines.set(Timer::Lease(AttemptId(1)), Moment(60_000), 10_000);
        deadlines.shift(Moment(60_001), 59_000);
        assert_eq!(deadlines.at(&Timer::Lease(AttemptId(1))), Some(Moment(70_001)));
    }

    #[test]
    fn a_timer_that_was_renewed_is_found_when_it_is_over_and_not_before() {
        let silence = |id| Timer::Silence(RunnerId(id));
        let runner = |timer: &Timer| if let Timer::Silence(id) = timer { Some(*id) } else { None };
        let mut deadlines = Deadlines::default();
        deadlines.set(silence(2), Moment(0), 1_000);
        deadlines.set(silence(1), Moment(10), 1_000);
        deadlines.set(Timer::Rest(RunnerId(1)), Moment(0), 500);
        deadlines.renew(&silence(2), Moment(900));
        assert_eq!(deadlines.next(), Some(Moment(500)));
        deadlines.clear(&Timer::Rest(RunnerId(1)));
        assert_eq!(deadlines.next(), Some(Moment(1_010)));
        assert_eq!(deadlines.over(Moment(1_010), runner), [], "the last millisecond is in time");
        assert_eq!(deadlines.over(Moment(1_011), runner), [RunnerId(1)]);
        assert_eq!(deadlines.over(Moment(1_901), runner), [RunnerId(1), RunnerId(2)], "in order of their numbers");
        // An earlier deadline than before is found as well.
        deadlines.set(silence(2), Moment(0), 100);
        assert_eq!(deadlines.next(), Some(Moment(100)));
        assert_eq!(deadlines.over(Moment(101), runner), [RunnerId(2)]);
    }

    #[test]
    fn a_lease_that_was_renewed_runs_out_when_it_is_over_and_not_before() {
        let mut deadlines = Deadlines::default();
        deadlines.set(Timer::Lease(AttemptId(2)), Moment(0), 1_000);
        deadlines.set(Timer::Lease(AttemptId(1)), Moment(10), 1_000);
        deadlines.renew(&Timer::Lease(AttemptId(2)), Moment(900));
        assert_eq!(deadlines.next(), Some(Moment(1_010)));
        assert_eq!(deadlines.expired_leases(Moment(1_010)), [], "the last millisecond is in time");
        assert_eq!(deadlines.expired_leases(Moment(1_011)), [AttemptId(1)]);
        assert_eq!(deadlines.expired_leases(Moment(1_901)), [AttemptId(1), AttemptId(2)], "in order of their numbers");
        deadlines.clear(&Timer::Lease(AttemptId(1)));
        assert_eq!(deadlines.expired_leases(Moment(1_901)), [AttemptId(2)]);
    }
}
