//! Runners: they join, stay alive, drain, go away and are lost.

use super::tables::{Member, Timer};
use super::turn::Turn;
use super::{Effect, Policy, RunnerCommand, RunnerJoined, Scheduler};
use crate::model::reason::{CloseReason, LossReason, Notice};
use crate::model::{AttemptId, DrainOrder, Moment, PoolId, Record, Runner, RunnerId, RunnerName, SessionId};

impl Scheduler {
    /// Adds a runner that is new or has come back, and reconciles the attempts that it holds with its leases.
    pub(super) fn join_runner(&mut self, turn: &mut Turn, joined: RunnerJoined) {
        let id = self.known_id(turn, &joined.name);
        if let Some(member) = self.tables.roster().member(id) {
            if member.incarnation == Some(joined.incarnation) && joined.session < member.newest_session {
                // The runner gave this connection up before its registration was read: the registration is outdated.
                turn.effects.push(Effect::CloseSession { session: joined.session, reason: CloseReason::Overtaken });
                return;
            }
            if let Some(old) = member.session() {
                if member.incarnation != Some(joined.incarnation) {
                    let (session, runner) = (joined.session, joined.name);
                    turn.send(session, RunnerCommand::NameTaken { runner: runner.clone() });
                    turn.effects.push(Effect::CloseSession { session, reason: CloseReason::NameTaken { runner } });
                    return;
                }
                // The process has noticed earlier than the dispatcher that the old connection is dead.
                turn.effects.push(Effect::CloseSession { session: old, reason: CloseReason::Replaced });
            }
        }
        let was = self.tables.roster().member(id).and_then(|member| member.incarnation);
        let restarted = was.is_some_and(|was| was != joined.incarnation);
        let health = match self.tables.roster().member(id) {
            Some(it) => it.health.clone(),
            None => self.past_health.remove(&id).unwrap_or_default(),
        };
        let is_told = |drain: DrainOrder| drain.ending == Some(joined.incarnation);
        // The numbered names of runners that the dispatcher starts come again: a new process has only the name.
        if joined.spawned && !self.drain_of(&joined.name).is_some_and(is_told) {
            self.lift_drain(turn, &joined.name, None);
        }
        let drain = self.drain_of(&joined.name);
        let is_told = drain.is_some_and(is_told);
        // A runner that an earlier dispatcher started answers no request, but occupies its place in the local pool.
        let pool = self.answer_spawn(joined.spawn).or(joined.spawned.then_some(PoolId::LOCAL));
        let (slots, holding, session) = (joined.slots, joined.holding, joined.session);
        turn.note(Notice::RunnerJoined { runner: joined.name.clone(), id, slots, holding: holding.len() });
        let mut member = Member::new(id, joined.name, Some(session), turn.now);
        member.incarnation = Some(joined.incarnation);
        (member.slots, member.labels, member.isolation) = (slots, joined.labels, joined.isolation);
        member.tiers = joined.tiers;
        (member.draining, member.drained) = (joined.draining || is_told, drain.is_some());
        let stays_idle = member.drained && !member.draining;
        (member.warm, member.pool, member.health) = (joined.warm.into_iter().collect(), pool, health);
        self.tables.insert_member(turn.now, member, self.policy.heartbeat_timeout_ms);
        self.reconcile_holding(turn, id, &holding, restarted);
        if joined.draining {
            self.confirm_drain(turn, id);
        } else if is_told {
            // The process may not have received the order, so it is sent again.
            turn.send(session, RunnerCommand::Drain);
        } else if stays_idle {
            turn.note(Notice::RunnerDrained { runner: self.known_name(id) });
        }
    }

    /// Compares the attempts that a runner says that it holds with its leases. Attempts without a lease are gone, and
    /// leases without an attempt are lost.
    fn reconcile_holding(&mut self, turn: &mut Turn, id: RunnerId, holding: &[AttemptId], restarted: bool) {
        let member = self.tables.roster().member(id).expect("it has joined just now");
        let (incarnation, session, promised) = (member.incarnation, member.newest_session, member.holds().clone());
        let drained = member.drained && !member.draining;
        let (mut held, mut gone, mut cancelled) = (Vec::new(), Vec::new(), Vec::new());
        for attempt in holding {
            match self.tables.leases().of_runner(*attempt, id) {
                Some(lease) if lease.cancelled => cancelled.push(*attempt),
                Some(_) => {
                    self.tables.adopt(turn.now, *attempt, incarnation);
                    held.push(self.lease_message(*attempt));
                }
                None => gone.push(*attempt),
            }
        }
        turn.send(session, RunnerCommand::Registered { held, gone, drained });
        for attempt in cancelled {
            turn.send(session, RunnerCommand::Cancel { attempt });
        }
        for attempt in promised {
            let Some(lease) = self.tables.leases().get(attempt) else { continue };
            // An earlier process of this name may be out of reach and still execute it. An exclusive attempt then waits
            // for its own deadline.
            if !holding.contains(&attempt) && (!lease.exclusive || lease.given_to == incarnation) {
                self.lose(turn, attempt, if restarted { LossReason::RunnerRestarted } else { LossReason::NotHeld });
            }
        }
    }

    /// Renews the leases of the attempts that a ping names, and answers which of them are gone.
    pub(super) fn renew(&mut self, turn: &mut Turn, session: SessionId, holding: &[AttemptId]) {
        self.hear(turn.now, session);
        let Some(runner) = self.tables.roster().by_session(session) else { return };
        let mut gone = Vec::new();
        for attempt in holding {
            // If its result is recorded, the answer to the result is on its way, and it must not be called gone.
            if !self.tables.renew(turn.now, *attempt, runner) && !self.recent_results.is_of(*attempt, runner) {
                gone.push(*attempt);
            }
        }
        turn.send(session, RunnerCommand::Ack { gone });
    }

    /// Notes that the runner of a session is alive.
    pub(super) fn hear(&mut self, now: Moment, session: SessionId) {
        if let Some(id) = self.tables.roster().by_session(session) {
            self.tables.hear(now, id);
        }
    }

    pub(super) fn begin_drain(&mut self, turn: &mut Turn, session: SessionId) {
        self.hear(turn.now, session);
        let Some(id) = self.tables.roster().by_session(session) else { return };
        self.confirm_drain(turn, id);
    }

    /// The runner says that it drains. From now on it does so even if the dispatcher is restarted.
    fn confirm_drain(&mut self, turn: &mut Turn, id: RunnerId) {
        self.tables.update(id, turn.now, |member| {
            member.draining = true;
            turn.note(Notice::RunnerDraining { runner: member.name.clone(), holding: member.holds().len() });
        });
    }

    /// Marks a runner as away. Its attempts go on: it may come back within the reconnect window.
    pub(super) fn close_session(&mut self, turn: &mut Turn, session: SessionId) {
        let Some(id) = self.tables.roster().by_session(session) else { return };
        self.tables.set_away(turn.now, id, Some(self.policy.reconnect_ms));
        if let Some(member) = self.tables.roster().member(id) {
            turn.note(Notice::RunnerAway { runner: member.name.clone(), holding: member.holds().len() });
        }
        self.forget_empty_away(turn);
    }

    /// Loses the attempts of connected runners that have been silent for too long.
    pub(super) fn check_heartbeats(&mut self, turn: &mut Turn) {
        let silent = |timer: &Timer| if let Timer::Silence(id) = timer { Some(*id) } else { None };
        for id in self.tables.over(turn.now, silent) {
            let Some(session) = self.tables.roster().member(id).and_then(Member::session) else { continue };
            let silent_ms = self.heard_at(id).map_or(0, |heard| turn.now.since(heard));
            turn.effects.push(Effect::CloseSession { session, reason: CloseReason::Silent { silent_ms } });
            self.tables.set_away(turn.now, id, None);
            self.lose_all(turn, id, &LossReason::Silent { silent_ms });
        }
        self.forget_empty_away(turn);
    }

    /// Lets a connected runner rest whose lease ran out, if it was not heard for two intervals. It is about to be lost,
    /// and must not get the same job once more. The rest ends when it is either heard or lost.
    pub(super) fn rest_if_doubtful(&mut self, turn: &Turn, id: RunnerId) {
        let Policy { heartbeat_interval_ms, heartbeat_timeout_ms, .. } = self.policy;
        let Some(heard) = self.heard_at(id) else { return };
        if turn.now.since(heard) > 2 * heartbeat_interval_ms {
            let judged = heard.after(heartbeat_timeout_ms + heartbeat_interval_ms);
            self.tables.update(id, turn.now, |member| member.health.pause_until(judged));
        }
    }

    /// When a connected runner was last heard. Later by the gaps that were forgiven.
    fn heard_at(&self, id: RunnerId) -> Option<Moment> {
        self.tables.deadlines().since(&Timer::Silence(id))
    }

    /// Whether a runner is away and not expected back.
    pub(super) fn is_lost(&self, id: RunnerId) -> bool {
        let is_away = self.tables.roster().member(id).is_none_or(|member| member.session().is_none());
        is_away && !self.tables.deadlines().is_set(&Timer::Return(id))
    }

    /// Loses the attempts of runners that did not come back within their window.
    pub(super) fn lose_the_away(&mut self, turn: &mut Turn) {
        let overdue = |timer: &Timer| if let Timer::Return(id) = timer { Some(*id) } else { None };
        for id in self.tables.over(turn.now, overdue) {
            self.tables.give_up_return(id);
            self.lose_all(turn, id, &LossReason::ConnectionClosed);
        }
    }

    /// Loses all attempts of a runner, except exclusive ones. These wait for their own deadline, by which the runner
    /// has ended them.
    fn lose_all(&mut self, turn: &mut Turn, id: RunnerId, reason: &LossReason) {
        let holds = self.tables.roster().member(id).map(|member| member.holds().clone()).unwrap_or_default();
        for attempt in holds {
            let Some(lease) = self.tables.leases().get(attempt) else { continue };
            if lease.exclusive && !self.tables.deadlines().is_over(&Timer::Lease(attempt), turn.now) {
                continue;
            }
            self.lose(turn, attempt, reason.clone());
        }
    }

    /// Forgets runners that are away and hold nothing. Their failures are kept in `past_health`.
    pub(super) fn forget_empty_away(&mut self, turn: &mut Turn) {
        for id in self.tables.roster().empty_away() {
            let Some(member) = self.tables.remove_member(id) else { continue };
            if member.pool.is_some() {
                // Nobody starts this runner again.
                self.lift_drain(turn, &member.name, None);
            }
            if !member.health.is_clean() {
                self.past_health.insert(id, member.health);
            }
        }
    }

    fn known_id(&mut self, turn: &mut Turn, name: &RunnerName) -> RunnerId {
        if let Some(known) = self.known_runners.get(name) {
            return known.id;
        }
        self.last_runner += 1;
        let runner = Runner {
            id: RunnerId(self.last_runner),
            name: name.clone(),
            first_seen: turn.at,
            drain: None,
            ordered: None,
        };
        turn.persist(Record::RunnerSaved(runner.clone()));
        let id = runner.id;
        self.known_runners.insert(name.clone(), runner);
        id
    }

    /// Returns the name of a runner, for people.
    pub(super) fn known_name(&self, id: RunnerId) -> RunnerName {
        let member = self.tables.roster().member(id).map(|member| &member.name);
        let earlier = || self.known_runners.values().find(|known| known.id == id).map(|known| &known.name);
        member.or_else(earlier).cloned().unwrap_or_else(|| RunnerName::recorded(&id.to_string()))
    }
}
