//! Runners coming, going, and staying alive.

use std::collections::BTreeSet;

use super::attempts::Loss;
use super::state::Started;
use super::tables::{Member, Presence};
use super::turn::Turn;
use super::{Effect, Policy, Reply, RequestId, RunnerCommand, RunnerJoined, Scheduler};
use crate::model::{AttemptId, Moment, Record, Runner, RunnerId, RunnerName, SessionId};

impl Scheduler {
    /// Takes a runner in, new or come back, and reconciles what it holds.
    pub(super) fn join_runner(&mut self, turn: &mut Turn, joined: RunnerJoined) {
        let id = self.known_id(turn, &joined.name);
        if let Some(member) = self.roster.member(id)
            && member.incarnation == Some(joined.incarnation)
            && joined.session < member.newest
        {
            // It was given up by its own runner before it could be read; what it says there is outdated.
            let why = "its runner has dialled again since".into();
            turn.effects.push(Effect::CloseSession { session: joined.session, why });
            return;
        }
        if let Some(member) = self.roster.member(id)
            && let Presence::Connected(old) = member.presence
        {
            if member.incarnation != Some(joined.incarnation) {
                let text = format!("a runner named {} is connected already: give this one another --name", joined.name);
                turn.send(joined.session, RunnerCommand::NameTaken(text.clone()));
                turn.effects.push(Effect::CloseSession { session: joined.session, why: text.into() });
                return;
            }
            // The same process has noticed before us that the old connection is dead.
            turn.effects.push(Effect::CloseSession { session: old, why: "its runner came back on a new one".into() });
        }
        let RunnerJoined {
            session,
            name,
            incarnation,
            slots,
            labels,
            isolation,
            holding,
            warm,
            spawned,
            draining: drains,
        } = joined;
        if spawned {
            self.spawns.pending.pop();
        }
        let before = self.roster.remove(id);
        let (holds, health, was, drained, asked) = match before {
            Some(it) => (it.holds, it.health, it.incarnation, it.draining, it.drain_asked),
            None => (BTreeSet::new(), self.past.remove(&id).unwrap_or_default(), None, false, Vec::new()),
        };
        let restarted = was.is_some_and(|was| was != incarnation);
        // It is the process that drains, and it may have missed that it was asked to.
        let (was_asked, drain_asked) = if restarted { (false, Vec::new()) } else { (drained, asked.clone()) };
        if restarted {
            let text = format!("runner {name} was started again before it heard of it: ask again");
            asked.into_iter().for_each(|request| turn.reply(request, Reply::Refused(text.clone())));
        }
        turn.note(format!("runner {name} joined as {id} with {slots} slots, holding {} attempts", holding.len()));
        let member = Member {
            id,
            name,
            incarnation: Some(incarnation),
            presence: Presence::Connected(session),
            newest: session,
            slots,
            labels,
            isolation,
            last_heard: turn.now,
            holds,
            draining: drains || was_asked,
            drain_asked,
            warm: warm.into_iter().collect(),
            spawned,
            health,
        };
        self.roster.insert(member, turn.now);
        self.reconcile_holding(turn, id, session, &holding, restarted);
        if drains {
            self.confirm_drain(turn, id);
        } else if was_asked {
            turn.send(session, RunnerCommand::Drain);
        }
    }

    /// Compares what a runner that (re)joined holds with what it was promised.
    fn reconcile_holding(
        &mut self,
        turn: &mut Turn,
        id: RunnerId,
        session: SessionId,
        holding: &[AttemptId],
        restarted: bool,
    ) {
        let incarnation = self.roster.member(id).and_then(|member| member.incarnation);
        let promised = self.roster.member(id).map(|member| member.holds.clone()).unwrap_or_default();
        let (mut held, mut gone, mut cancelled) = (Vec::new(), Vec::new(), Vec::new());
        for attempt in holding {
            match self.leases.get_mut(attempt).filter(|lease| lease.runner == id) {
                Some(lease) if lease.cancelled => cancelled.push(*attempt),
                Some(lease) => {
                    lease.deadline = turn.now.after(self.policy.lease_ms(lease.exclusive));
                    lease.given_to = incarnation;
                    held.push(self.lease_message(*attempt));
                }
                None => gone.push(*attempt),
            }
        }
        turn.send(session, RunnerCommand::Registered { held, gone });
        for attempt in cancelled {
            turn.send(session, RunnerCommand::Cancel { attempt });
        }
        for attempt in promised {
            let Some(lease) = self.leases.get(&attempt) else { continue };
            // Another process may execute it still, out of reach and under the same name: what is exclusive waits for
            // its own deadline then.
            if !holding.contains(&attempt) && (!lease.exclusive || lease.given_to == incarnation) {
                let why = if restarted { "its runner restarted" } else { "its runner came back without it" };
                let counts = lease.started == Started::Yes;
                if restarted {
                    self.blame(turn, id, attempt, why);
                }
                self.lose(turn, attempt, Loss { why: why.into(), counts, reported: false });
            }
        }
    }

    /// Renews what a ping names, and says what of it is no longer held.
    pub(super) fn renew(&mut self, turn: &mut Turn, session: SessionId, holding: &[AttemptId]) {
        self.hear(turn.now, session);
        let Some(runner) = self.roster.by_session(session) else { return };
        let mut gone = Vec::new();
        for attempt in holding {
            match self.leases.get_mut(attempt).filter(|lease| lease.runner == runner) {
                Some(lease) => lease.deadline = turn.now.after(self.policy.lease_ms(lease.exclusive)),
                // Its result is recorded and the answer to that is on its way: nothing to say about it here.
                None if self.recorded.contains(attempt) => {}
                None => gone.push(*attempt),
            }
        }
        turn.send(session, RunnerCommand::Ack { gone });
    }

    /// Notes that a session's runner is alive.
    pub(super) fn hear(&mut self, now: Moment, session: SessionId) {
        if let Some(member) = self.roster.by_session(session).and_then(|id| self.roster.member_mut(id)) {
            member.last_heard = now;
        }
    }

    pub(super) fn begin_drain(&mut self, turn: &mut Turn, session: SessionId) {
        self.hear(turn.now, session);
        let Some(id) = self.roster.by_session(session) else { return };
        self.confirm_drain(turn, id);
    }

    /// The runner says that it drains: from now on that is true whatever becomes of the dispatcher.
    fn confirm_drain(&mut self, turn: &mut Turn, id: RunnerId) {
        if let Some(member) = self.roster.member_mut(id) {
            member.draining = true;
            turn.note(format!("runner {} drains: {} attempts to finish", member.name, member.holds.len()));
            let text = format!("runner {} finishes {} attempts, then ends", member.name, member.holds.len());
            for request in std::mem::take(&mut member.drain_asked) {
                turn.reply(request, Reply::Done(text.clone()));
            }
        }
        self.roster.refresh(id, turn.now);
    }

    /// An operator wants a runner to drain. The answer waits for the runner's own word.
    pub(super) fn drain_runner(&mut self, turn: &mut Turn, request: RequestId, runner: RunnerId) {
        let Some(member) = self.roster.member_mut(runner) else {
            turn.reply(request, Reply::Refused("that runner is not connected".into()));
            return;
        };
        member.draining = true;
        member.drain_asked.push(request);
        if let Some(session) = member.session() {
            turn.send(session, RunnerCommand::Drain);
        }
        self.roster.refresh(runner, turn.now);
    }

    /// The runner is not expected back, so nobody can say that it drains.
    fn refuse_drain(&mut self, turn: &mut Turn, id: RunnerId) {
        let Some(member) = self.roster.member_mut(id) else { return };
        let text = format!("runner {} went away before it heard of it: ask again when it is back", member.name);
        for request in std::mem::take(&mut member.drain_asked) {
            turn.reply(request, Reply::Refused(text.clone()));
        }
    }

    /// A closed connection changes no attempt yet: its runner may come back within the reconnect window.
    pub(super) fn close_session(&mut self, turn: &mut Turn, session: SessionId) {
        let Some(id) = self.roster.by_session(session) else { return };
        let until = turn.now.after(self.policy.reconnect_ms);
        self.roster.set_presence(id, Presence::Away { since: turn.now, until }, turn.now);
        if let Some(member) = self.roster.member(id) {
            turn.note(format!("runner {} is away, holding {} attempts", member.name, member.holds.len()));
        }
        self.forget_empty_away(turn);
    }

    /// Loses connected runners that have been silent for too long.
    pub(super) fn check_heartbeats(&mut self, turn: &mut Turn) {
        let limit = self.policy.heartbeat_timeout_ms;
        let silent: Vec<(RunnerId, SessionId, u64)> = self
            .roster
            .members()
            .filter_map(|member| Some((member.id, member.session()?, turn.now.since(member.last_heard))))
            .filter(|(_, _, silence)| *silence > limit)
            .collect();
        for (id, session, silence) in silent {
            let why = format!("its runner was silent for {} s", silence / 1000);
            turn.effects.push(Effect::CloseSession { session, why: why.clone().into() });
            self.roster.set_presence(id, Presence::Away { since: turn.now, until: turn.now }, turn.now);
            self.lose_all(turn, id, &why);
        }
        self.forget_empty_away(turn);
    }

    /// Gives nothing to a connected runner that was not heard lately until it is either heard or lost: one of its
    /// leases ran out, and it must not be given the same job once more.
    pub(super) fn rest_if_doubtful(&mut self, turn: &Turn, id: RunnerId) {
        let Policy { heartbeat_interval_ms, heartbeat_timeout_ms, .. } = self.policy;
        let Some(member) = self.roster.member_mut(id) else { return };
        if turn.now.since(member.last_heard) > 2 * heartbeat_interval_ms {
            let judged = member.last_heard.after(heartbeat_timeout_ms + heartbeat_interval_ms);
            member.health.pause_until(judged);
        }
        self.roster.refresh(id, turn.now);
    }

    /// Loses runners that did not come back within their window.
    pub(super) fn lose_the_away(&mut self, turn: &mut Turn) {
        let overdue: Vec<RunnerId> = self
            .roster
            .members()
            .filter(|member| matches!(member.presence, Presence::Away { until, .. } if until < turn.now))
            .map(|member| member.id)
            .collect();
        for id in overdue {
            self.lose_all(turn, id, "its runner's connection closed and it did not come back");
        }
    }

    /// Loses all a runner holds, but for exclusive attempts: those wait for their own deadline, by which the runner has
    /// ended them.
    fn lose_all(&mut self, turn: &mut Turn, id: RunnerId, why: &str) {
        self.refuse_drain(turn, id);
        let holds = self.roster.member(id).map(|member| member.holds.clone()).unwrap_or_default();
        for attempt in holds {
            let Some(lease) = self.leases.get(&attempt) else { continue };
            if lease.exclusive && lease.deadline >= turn.now {
                continue;
            }
            let counts = lease.started == Started::Yes;
            self.blame(turn, id, attempt, why);
            self.lose(turn, attempt, Loss { why: why.into(), counts, reported: false });
        }
    }

    /// Forgets runners that are away and hold nothing.
    pub(super) fn forget_empty_away(&mut self, turn: &mut Turn) {
        let empty: Vec<RunnerId> = self
            .roster
            .members()
            .filter(|member| member.session().is_none() && member.holds.is_empty())
            .map(|member| member.id)
            .collect();
        for id in empty {
            self.refuse_drain(turn, id);
            let removed = self.roster.remove(id);
            if let Some(member) = removed.filter(|member| !member.health.is_clean()) {
                self.past.insert(id, member.health);
            }
        }
    }

    fn known_id(&mut self, turn: &mut Turn, name: &RunnerName) -> RunnerId {
        if let Some(known) = self.known_runners.get(name) {
            return *known;
        }
        self.last_runner += 1;
        let id = RunnerId(self.last_runner);
        turn.persist(Record::RunnerSaved(Runner { id, name: name.clone(), first_seen: turn.at }));
        self.known_runners.insert(name.clone(), id);
        id
    }

    /// A runner's name, for people.
    pub(super) fn known_name(&self, id: RunnerId) -> RunnerName {
        match self.roster.member(id) {
            Some(member) => member.name.clone(),
            None => {
                let found = self.known_runners.iter().find(|(_, known)| **known == id);
                found.map_or_else(|| RunnerName::recorded(&id.to_string()), |(name, _)| name.clone())
            }
        }
    }
}
