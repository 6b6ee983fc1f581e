//! Runners that the dispatcher starts itself: when it asks for one, which runner answers which request, and how long it
//! asks nothing of a pool after a start that failed.
//!
//! A request is open until a runner joins with its number, its start fails, its process ends, or its time is over. A
//! runner that joins with no number, or with a number that is not open, answers no request.

use super::policy::{self, Pool};
use super::state::LiveJob;
use super::tables::{Demand, Timer};
use super::turn::Turn;
use super::{Effect, Scheduler};
use crate::model::reason::Notice;
use crate::model::{JobId, Moment, PoolId, SpawnId};

impl Scheduler {
    /// Asks for a runner for a job that no connected runner fits, if a pool has one to give.
    pub(super) fn spawn_for(&mut self, turn: &mut Turn, job: JobId) {
        let Some(pool) = self.pool_for(&self.jobs[&job]) else { return };
        self.last_spawn += 1;
        let spawn = SpawnId(self.last_spawn);
        self.spawns.pools.insert(spawn, pool);
        self.tables.set_timer(Timer::Spawn(spawn), turn.now, policy::SPAWN_PATIENCE_MS);
        turn.note(Notice::RunnerStarting { pool });
        turn.effects.push(Effect::SpawnRunner { spawn, pool });
    }

    /// Returns the pool that should start a runner for a job now. While a runner that fits is being started, there is
    /// none: a start takes a moment, and more follow if one is not enough.
    pub(super) fn pool_for(&self, job: &LiveJob) -> Option<PoolId> {
        let fitting = || self.policy.pools.iter().filter(|pool| pool.fits(job.demand()));
        let is_set = |timer: Timer| self.tables.deadlines().is_set(&timer);
        let is_open = |pool| self.spawns.pools.iter().any(|(spawn, of)| *of == pool && is_set(Timer::Spawn(*spawn)));
        if fitting().any(|pool| is_open(pool.id)) {
            return None;
        }
        fitting().find(|it| !is_set(Timer::Respawn(it.id)) && self.runners_of(it.id) < it.max).map(|it| it.id)
    }

    fn runners_of(&self, pool: PoolId) -> u32 {
        let of_pool = self.tables.roster().members().filter(|it| it.pool == Some(pool) && it.session().is_some());
        u32::try_from(of_pool.count()).unwrap_or(u32::MAX)
    }

    /// Closes the request that a joining runner answers, and returns the runner's pool.
    pub(super) fn answer_spawn(&mut self, spawn: Option<SpawnId>) -> Option<PoolId> {
        let spawn = spawn?;
        let pool = *self.spawns.pools.get(&spawn)?;
        self.tables.clear_timer(&Timer::Spawn(spawn));
        self.spawns.failures.remove(&pool);
        Some(pool)
    }

    /// A runner could not be started.
    pub(super) fn spawn_failed(&mut self, turn: &mut Turn, spawn: SpawnId, why: &str) {
        let Some(pool) = self.spawns.pools.remove(&spawn) else { return };
        turn.note(Notice::RunnerNotStarted { pool, why: why.to_owned() });
        if self.tables.clear_timer(&Timer::Spawn(spawn)) {
            self.delay_pool(turn.now, pool);
        }
    }

    /// A started runner's process has ended. If it never joined, the start has failed.
    pub(super) fn spawn_gone(&mut self, turn: &mut Turn, spawn: SpawnId) {
        let Some(pool) = self.spawns.pools.remove(&spawn) else { return };
        if self.tables.clear_timer(&Timer::Spawn(spawn)) {
            turn.note(Notice::RunnerEndedEarly { pool });
            self.delay_pool(turn.now, pool);
        }
    }

    /// Closes requests whose runners should have joined by now. Such a runner is accepted if it joins later.
    pub(super) fn give_up_spawns(&mut self, turn: &Turn) {
        let overdue = |timer: &Timer| if let Timer::Spawn(spawn) = timer { Some(*spawn) } else { None };
        for spawn in self.tables.over(turn.now, overdue) {
            self.tables.clear_timer(&Timer::Spawn(spawn));
            if let Some(pool) = self.spawns.pools.get(&spawn).copied() {
                // The time that was spent on waiting counts as delay.
                self.delay_pool(Moment(turn.now.0.saturating_sub(policy::SPAWN_PATIENCE_MS)), pool);
            }
        }
    }

    /// Asks nothing of a pool for a while, longer after each failed start in a row.
    fn delay_pool(&mut self, since: Moment, pool: PoolId) {
        let failures = self.spawns.failures.entry(pool).or_default();
        let delay_ms = (policy::REST_FIRST_MS << (*failures).min(20)).min(policy::REST_MAX_MS);
        *failures += 1;
        self.tables.set_timer(Timer::Respawn(pool), since, delay_ms);
    }
}

impl Pool {
    /// Whether a runner of this pool could take a job with this demand.
    fn fits(&self, demand: Demand<'_>) -> bool {
        demand.slots <= self.slots && demand.labels.iter().all(|label| self.labels.contains(label))
    }
}
