//! The core's loop: takes the messages that have arrived, commits their records, then releases their effects.

use std::collections::{HashMap, VecDeque};
use std::ops::ControlFlow;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender};

use super::inbox::{NewCommit, NewOrder, RerunOrder, Seen, StartOrder, ToCore};
use super::peers::{Arrival, Peers};
use super::places::Places;
use super::rest::Rest;
use super::watcher::{Watcher, changed_build};
use crate::clock;
use crate::dispatcher::data_dir::DataDir;
use crate::dispatcher::grants::{Grant, LeaseFacts, RepoPlace};
use crate::dispatcher::limits;
use crate::dispatcher::logs::LogSender;
use crate::dispatcher::metrics::{self, Counters};
use crate::dispatcher::watchdog::Pulse;
use crate::model::reason::RefusalReason;
use crate::model::{BuildId, Moment, PoolId, Record, SessionId, ShortLog, SpawnId, WholeBuild};
use crate::scheduler::{Effect, Event, Reply, RequestId, RunnerCommand, Scheduler};
use crate::store::{Reader, Store, StoreError};

/// The core's state between batches.
pub(crate) struct Core {
    scheduler: Scheduler,
    reader: Box<dyn Reader>,
    store: Box<dyn Store>,
    data: DataDir,
    logs: LogSender,
    spawner: Sender<(SpawnId, PoolId)>,
    peers: Peers,
    places: Places,
    watchers: Vec<Watcher>,
    answers: HashMap<RequestId, Sender<Reply>>,
    last_request: u64,
    /// Messages that arrived while nothing could be made durable.
    backlog: VecDeque<ToCore>,
    inbox: Receiver<ToCore>,
    /// The records of the batch, which are not durable yet. Its memory and that of `held` are used again by the next
    /// batch.
    records: Vec<Record>,
    /// The short streams of the batch, whose files are not durable.
    short_logs: Vec<ShortLog>,
    /// The source of the commit that is being handled, for the leases that follow from it.
    arrival: Option<Arrival>,
    /// The effects of the batch, held back until the records are durable.
    held: Vec<Effect>,
    /// Sessions with gathered messages of the batch, which are flushed together.
    addressed: Vec<SessionId>,
    /// Counters of the durable records.
    counters: Counters,
    /// Whether the store's memory is worth giving back.
    rest: Rest,
    /// Shows the watchdog that the core makes progress.
    pub(crate) pulse: Pulse,
}

impl Core {
    pub(crate) fn new(
        scheduler: Scheduler,
        store: Box<dyn Store>,
        reader: Box<dyn Reader>,
        data: DataDir,
        logs: LogSender,
        spawner: Sender<(SpawnId, PoolId)>,
        inbox: Receiver<ToCore>,
    ) -> Self {
        Self {
            scheduler,
            store,
            reader,
            data,
            logs,
            spawner,
            peers: Peers::default(),
            places: Places::default(),
            watchers: Vec::new(),
            answers: HashMap::new(),
            last_request: 0,
            backlog: VecDeque::new(),
            inbox,
            records: Vec::new(),
            short_logs: Vec::new(),
            arrival: None,
            held: Vec::new(),
            addressed: Vec::new(),
            counters: Counters::default(),
            rest: Rest::default(),
            // The core receives a tick at every interval, so it beats at least as often.
            pulse: Pulse::new("core", limits::LEASE_CHECK_MS),
        }
    }

    /// Runs the core's thread. It ends when it is told to, when all senders are gone, or with the error after which the
    /// store can no longer be trusted. Returns the store, which must be closed after every reader: the last one to
    /// close the file checkpoints it, and a reader cannot.
    pub(crate) fn run(mut self) -> Result<Box<dyn Store>, StoreError> {
        let end = self.take_batches();
        self.peers.by_session.values().for_each(|peer| peer.outbox.say_goodbye());
        end.map(|()| self.store)
    }

    fn take_batches(&mut self) -> Result<(), StoreError> {
        while let Some(first) = self.backlog.pop_front().or_else(|| self.inbox.recv().ok()) {
            let taken = self.take_batch(first);
            self.flush()?;
            if taken?.is_break() {
                break;
            }
        }
        Ok(())
    }

    /// Takes messages until none waits or the batch is full. Breaks off if one of them asks the core to end.
    fn take_batch(&mut self, mut message: ToCore) -> Result<ControlFlow<()>, StoreError> {
        for _ in 1..limits::BATCH_MESSAGES {
            if self.take(message)?.is_break() {
                return Ok(ControlFlow::Break(()));
            }
            // A message is only received if it still fits into the batch.
            let next = self.backlog.pop_front().or_else(|| self.inbox.try_recv().ok());
            let Some(next) = next else { return Ok(ControlFlow::Continue(())) };
            message = next;
        }
        self.take(message)
    }

    fn take(&mut self, message: ToCore) -> Result<ControlFlow<()>, StoreError> {
        self.pulse.beat();
        match message {
            ToCore::Event(Event::SessionClosed { session }) => {
                self.handle(Event::SessionClosed { session });
                self.peers.by_session.remove(&session);
            }
            ToCore::Event(Event::LeaseCheck) => {
                self.handle(Event::LeaseCheck);
                if self.rest.is_due() {
                    self.pulse.excused(|| self.store.release_memory());
                    self.records.shrink_to_fit();
                    self.held.shrink_to_fit();
                }
            }
            ToCore::Event(event) => self.handle(event),
            ToCore::Ended { event, logs } => {
                self.short_logs.extend(logs);
                self.handle(event);
            }
            ToCore::Join { peer, joined } => {
                self.peers.by_session.insert(joined.session, peer);
                self.handle(Event::RunnerJoined(*joined));
            }
            ToCore::LogsOf { holding, answer } => {
                let held = holding.iter().filter_map(|attempt| self.scheduler.lease_of(*attempt));
                let logs = held.flat_map(|lease| Grant::of(&lease).places(lease.attempt)).collect();
                // If the session has ended meanwhile, nobody waits for the answer.
                drop(answer.try_send(logs));
            }
            ToCore::Ask { make, answer } => {
                let request = self.number(answer);
                self.handle(make(request));
            }
            ToCore::Commit { commit, answer } => self.take_commit(*commit, answer),
            ToCore::Submit { order, answer } => self.take_order(*order, answer)?,
            ToCore::Rerun { order, answer } => {
                let RerunOrder { build, failed_only, only, by } = *order;
                self.about(build, answer, |request, build| Event::RerunAsked {
                    request,
                    build,
                    failed_only,
                    only,
                    by,
                })?;
            }
            ToCore::Start { order, answer } => {
                let StartOrder { build, job, by, force, inputs } = *order;
                self.about(build, answer, |request, build| Event::StartAsked {
                    request,
                    build,
                    job,
                    by,
                    force,
                    inputs,
                })?;
            }
            ToCore::Look(look) => {
                // Nobody may see what is not durable yet.
                self.flush()?;
                look(Seen { scheduler: &self.scheduler, counters: &self.counters, now: clock::now() });
            }
            ToCore::SaveSource { repo, source, refs } => {
                self.places.save_source((&self.pulse, &mut *self.store), &repo, &source)?;
                self.places.save_refs((&self.pulse, &mut *self.store), &repo, refs)?;
            }
            ToCore::Forget { builds, rule, at, answer } => {
                self.flush()?;
                let forgotten = match self.pulse.excused(|| self.store.forget(&builds, rule, at)) {
                    // The transaction changed nothing, and damage that was there before has not become worse.
                    Err(error) if error.is_transient() || matches!(error, StoreError::Corrupt { .. }) => {
                        Err(error.to_string())
                    }
                    other => Ok(other?),
                };
                drop(answer.try_send(forgotten));
            }
            ToCore::Store(change) => self.pulse.excused(|| change(&mut *self.store))?,
            ToCore::Watch(watcher) => self.watchers.push(watcher),
            ToCore::Stop => return Ok(ControlFlow::Break(())),
        }
        Ok(ControlFlow::Continue(()))
    }

    fn take_commit(&mut self, commit: NewCommit, answer: Sender<Reply>) {
        let NewCommit { source, seen, plan, pack } = commit;
        self.arrival = Arrival::of(&source, pack);
        let plan = plan.map_err(|mistake| mistake.text);
        let request = self.number(answer);
        self.handle(Event::CommitObserved { request, source: Box::new(source), plan, seen });
        self.arrival = None;
    }

    fn take_order(&mut self, order: NewOrder, answer: Sender<Reply>) -> Result<(), StoreError> {
        let NewOrder { source, plan, place } = order;
        if self.pulse.excused(|| self.store.repo_source(&source.repo))?.is_none() {
            self.places.save_source((&self.pulse, &mut *self.store), &source.repo, &place)?;
        }
        // The same request may have come just before, over a connection that was lost.
        self.flush()?;
        let earlier = self.pulse.excused(|| self.reader.build_of(&source))?;
        let plan = plan.map_err(|mistake| mistake.text);
        let request = self.number(answer);
        self.handle(Event::BuildAsked { request, source: Box::new(source), plan, earlier });
        Ok(())
    }

    /// Handles an order about a build, which the event takes as the store has it.
    fn about(
        &mut self,
        id: BuildId,
        answer: Sender<Reply>,
        make: impl FnOnce(RequestId, Box<WholeBuild>) -> Event,
    ) -> Result<(), StoreError> {
        // The build is read from the store, so the store must know all of it.
        self.flush()?;
        match self.pulse.excused(|| self.restored(id))? {
            Some(build) => {
                let request = self.number(answer);
                self.handle(make(request, Box::new(build)));
            }
            None => reply_to(&answer, Reply::Refused(RefusalReason::UnknownBuild { build: id })),
        }
        Ok(())
    }

    /// Numbers a request, so that its reply finds the way back.
    fn number(&mut self, answer: Sender<Reply>) -> RequestId {
        self.last_request += 1;
        let request = RequestId(self.last_request);
        self.answers.insert(request, answer);
        request
    }

    fn restored(&self, id: BuildId) -> Result<Option<WholeBuild>, StoreError> {
        let Some(build) = self.reader.build(id)? else { return Ok(None) };
        Ok(Some(WholeBuild { build, jobs: self.reader.jobs(id)?, attempts: Vec::new() }))
    }

    fn handle(&mut self, event: Event) {
        for effect in self.scheduler.handle(clock::now(), clock::wall(), event) {
            if let (Some(arrival), Effect::Send { session, message: RunnerCommand::Lease(lease) }) =
                (&self.arrival, &effect)
            {
                self.peers.send_ahead(*session, lease, arrival);
            }
            match effect {
                Effect::Persist(record) => self.records.push(record),
                Effect::Note(notice) => log::info!("{notice}"),
                effect @ (Effect::Send { .. }
                | Effect::Reply { .. }
                | Effect::CloseSession { .. }
                | Effect::SpawnRunner { .. }) => self.held.push(effect),
            }
        }
    }

    /// Makes the batch durable, then releases its effects in order.
    fn flush(&mut self) -> Result<(), StoreError> {
        if !self.records.is_empty() {
            self.rest.committed(self.records.len());
            let pulse = self.pulse.clone();
            pulse.excused(|| self.commit())?;
        }
        let mut held = std::mem::take(&mut self.held);
        for effect in held.drain(..) {
            self.release(effect)?;
        }
        self.held = held;
        let addressed = self.addressed.drain(..).filter_map(|session| self.peers.by_session.get(&session));
        addressed.for_each(|peer| peer.outbox.flush());
        let mut records = std::mem::take(&mut self.records);
        records.iter().for_each(|record| metrics::fold(&mut self.counters, record));
        self.tell_watchers(&records);
        for record in records.drain(..) {
            if let Record::AttemptFinished { attempt, outcome, log, .. } = record {
                self.peers.settle(attempt, &outcome);
                self.logs.ended(attempt, &outcome, &log);
            }
        }
        self.records = records;
        Ok(())
    }

    /// Commits the batch. While the disk is full it tries again: nothing is acknowledged meanwhile, and the problem
    /// heals by itself.
    fn commit(&mut self) -> Result<(), StoreError> {
        let mut said = false;
        loop {
            match self.store.commit_with(&self.records, &self.short_logs) {
                Err(error) if error.is_transient() => {
                    if !std::mem::replace(&mut said, true) {
                        log::error!("{error}: nothing is accepted until this passes");
                    }
                    self.sit_out(clock::now().after(limits::FULL_RETRY_MS));
                }
                Err(error) => return Err(error),
                Ok(()) => {
                    self.logs.kept(&self.short_logs);
                    self.short_logs.clear();
                    if said {
                        log::info!("{} takes records again", self.data.store().display());
                    }
                    return Ok(());
                }
            }
        }
    }

    /// Waits, and answers pings of runners meanwhile. An `ack` promises nothing, and tells the runners that the
    /// dispatcher is alive. All messages are handled later, in order.
    fn sit_out(&mut self, until: Moment) {
        while clock::now() < until {
            let left = Duration::from_millis(until.since(clock::now()).max(1));
            if self.backlog.len() >= limits::CORE_CAPACITY {
                crossbeam_channel::never::<()>().recv_timeout(left).ok();
                continue;
            }
            let Ok(message) = self.inbox.recv_timeout(left) else { continue };
            if let ToCore::Event(Event::RunnerPinged { session, .. }) = &message
                && let Some(peer) = self.peers.by_session.get(session)
            {
                peer.outbox.answer_ping();
            }
            self.backlog.push_back(message);
        }
    }

    fn release(&mut self, effect: Effect) -> Result<(), StoreError> {
        match effect {
            Effect::Send { session, message } => return self.send(session, message),
            Effect::Reply { request, reply } => {
                if let Some(answer) = self.answers.remove(&request) {
                    reply_to(&answer, reply);
                }
            }
            Effect::CloseSession { session, reason } => {
                if let Some(peer) = self.peers.by_session.get(&session) {
                    log::info!("session {session} closed: {reason}");
                    peer.outbox.finish();
                }
            }
            Effect::SpawnRunner { spawn, pool } => {
                // If the queue is full, the scheduler asks again when this request has come to nothing.
                self.spawner.try_send((spawn, pool)).ok();
            }
            Effect::Persist(_) | Effect::Note(_) => unreachable!("these are not held back"),
        }
        Ok(())
    }

    fn send(&mut self, session: SessionId, message: RunnerCommand) -> Result<(), StoreError> {
        self.peers.entitle(session, &message);
        let Some(peer) = self.peers.by_session.get(&session) else { return Ok(()) };
        let mut facts = None;
        if let RunnerCommand::Lease(lease) = &message {
            let (pulse, store, repo) = (&self.pulse, &self.store, &lease.source.repo);
            let reader = &self.reader;
            let needed = lease.task.placement.needs.iter().map(|need| reader.outputs_of(lease.build, &need.task));
            let needed = pulse.excused(|| needed.collect::<Result<Vec<_>, _>>())?;
            let taking = lease.task.placement.needs.iter().filter(|need| !need.take.is_nothing());
            let taken = taking.map(|need| Ok((need, reader.artifacts_of(lease.build, &need.task)?)));
            let taken = pulse.excused(|| taken.collect::<Result<Vec<_>, StoreError>>())?;
            let read = || {
                let default_branch = store.observed_refs(repo)?.default_branch;
                Ok(RepoPlace { url: store.repo_source(repo)?, default_branch })
            };
            let place = self.places.of(repo, || pulse.excused(read))?;
            facts = Some(LeaseFacts { place, needed: LeaseFacts::needed(needed), taken: LeaseFacts::taken(taken) });
        }
        if peer.outbox.gather(message, &peer.stored, facts) {
            self.addressed.push(session);
        }
        Ok(())
    }

    fn tell_watchers(&mut self, records: &[Record]) {
        if self.watchers.is_empty() {
            return;
        }
        let scheduler = &self.scheduler;
        let changed: Vec<BuildId> = records.iter().filter_map(|record| changed_build(scheduler, record)).collect();
        if !changed.is_empty() {
            self.watchers.retain(|watcher| watcher.tell(&changed));
        }
    }
}

fn reply_to(answer: &Sender<Reply>, reply: Reply) {
    // The peer may have left meanwhile. The order stays done.
    drop(answer.try_send(reply));
}
