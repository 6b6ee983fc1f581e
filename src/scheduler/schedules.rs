//! Schedules: which times have fired. The task file of a branch's head says which schedules the branch has; a thread of
//! the dispatcher tells when one has come due. Here each time fires at most once, over all restarts: what has fired is
//! recorded together with the build. The times are wall-clock times and are only compared with one another.

use std::sync::Arc;

use super::Scheduler;
use super::state::LiveSchedule;
use super::turn::Turn;
use crate::model::{BuildSource, CommitId, Plan, PlannedSchedule, Record, RefName, RepoName, Schedule, TriggerKind};

impl Scheduler {
    /// Takes over the schedules of a branch's new head; none if the branch has ended. Those that are unchanged go on.
    pub(super) fn accept_schedules(
        &mut self,
        turn: &mut Turn,
        (repo, reference): (&RepoName, &RefName),
        planned: &[PlannedSchedule],
    ) {
        let known = self.schedules.get(&(repo.clone(), reference.clone()));
        let of_name = |name: &Arc<str>| known.and_then(|known| known.get(name));
        let is_gone = |name: &Arc<str>| planned.iter().all(|schedule| schedule.name != *name);
        let mut changed: Vec<(Arc<str>, LiveSchedule)> = known
            .iter()
            .flat_map(|known| known.iter())
            .filter(|(name, live)| live.rule.is_some() && is_gone(name))
            .map(|(name, live)| (name.clone(), LiveSchedule { rule: None, ..live.clone() }))
            .collect();
        for PlannedSchedule { name, rule, .. } in planned {
            let live = of_name(name);
            if live.is_none_or(|live| live.rule.as_ref() != Some(rule)) {
                // Times before the change are over: they belong to the old rule. The last time never goes back, so that
                // none fires twice after a wall clock was set back.
                let last_due = live.map_or(turn.at, |live| live.last_due.max(turn.at));
                changed.push((name.clone(), LiveSchedule { rule: Some(rule.clone()), last_due }));
            }
        }
        for (name, live) in changed {
            self.save_schedule(turn, (repo.clone(), reference.clone()), name, live);
        }
    }

    /// Adds the build of a schedule that came due. Does nothing if that time or a later one has fired, or if the branch
    /// has moved since the plan was made: then the schedule is looked at again with the new head.
    pub(super) fn fire_schedule(&mut self, turn: &mut Turn, source: BuildSource, plan: Result<Plan, String>) {
        let TriggerKind::Schedule { name, due, .. } = &source.trigger.kind else { return };
        let key = (source.repo.clone(), source.trigger.reference.clone());
        let is_head = self.heads.get(&key).is_some_and(|head| head.commit == source.commit);
        let live = self.schedules.get(&key).and_then(|schedules| schedules.get(name));
        let Some(live) = live.filter(|live| is_head && live.rule.is_some() && *due > live.last_due) else { return };
        let fired = LiveSchedule { last_due: *due, ..live.clone() };
        self.save_schedule(turn, key, name.clone(), fired);
        self.add_build(turn, source, plan);
    }

    fn save_schedule(
        &mut self,
        turn: &mut Turn,
        (repo, reference): (RepoName, RefName),
        name: Arc<str>,
        live: LiveSchedule,
    ) {
        let LiveSchedule { rule, last_due } = live.clone();
        self.schedules.entry((repo.clone(), reference.clone())).or_default().insert(name.clone(), live);
        self.schedule_changes += 1;
        turn.persist(Record::ScheduleSaved(Schedule { repo, reference, name, rule, last_due }));
    }

    /// Puts a schedule of the store into the state.
    pub(super) fn restore_schedule(&mut self, schedule: Schedule) {
        let Schedule { repo, reference, name, rule, last_due } = schedule;
        self.schedules.entry((repo, reference)).or_default().insert(name, LiveSchedule { rule, last_due });
    }

    /// Returns a number that grows with each change of a schedule. It starts anew with each scheduler.
    #[must_use]
    pub fn schedule_changes(&self) -> u64 {
        self.schedule_changes
    }

    /// Returns the schedules that have not ended, by repository, branch and name.
    #[must_use]
    pub fn schedules(&self) -> Vec<Schedule> {
        let all = self.schedules.iter().flat_map(|(key, schedules)| schedules.iter().map(move |it| (key, it)));
        let live = all.filter(|(_, (_, live))| live.rule.is_some());
        live.map(|((repo, reference), (name, live))| Schedule {
            repo: repo.clone(),
            reference: reference.clone(),
            name: name.clone(),
            rule: live.rule.clone(),
            last_due: live.last_due,
        })
        .collect()
    }

    /// Returns the accepted head of a ref.
    #[must_use]
    pub fn head(&self, repo: &RepoName, reference: &RefName) -> Option<CommitId> {
        self.heads.get(&(repo.clone(), reference.clone())).map(|head| head.commit)
    }
}
