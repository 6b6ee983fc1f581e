//! The thread that decides. Owns the machine, the journal and the handles of all other threads. Turns their reports
//! into events, and the machine's actions into orders for them. Never waits for the network, git or a process.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvError, Sender, after, bounded, never, select};

use super::assignment::{Assignment, AttemptResult, SourceAhead};
use super::blobs::{ArtifactLimits, LineWanted};
use super::boottime;
use super::environment::inherited;
use super::error::RunnerError;
use super::event::{Action, Event, Undelivered};
use super::executor::Executors;
use super::guard::{AttemptGuard, Means};
use super::heartbeat::Heartbeat;
use super::images::{Images, Leftovers};
use super::journal::Journal;
use super::layout::Layout;
use super::limits::{NEWS_CAPACITY, REPORT_CAPACITY, WARM_TREES};
use super::machine::{Machine, Times};
use super::recovery::{Sweep, recover};
use super::routes::Piece;
use super::session::{Session, SessionNews};
use super::session_thread::SessionThread;
use super::shared_repos::SharedRepos;
use super::slot::Slot;
use super::slot_common::{Common, SlotReport, SlotWork};
use super::tool_cache::Tiers;
use super::translate::{self, Offer};
use super::upload::{Upload, Uploader};
use crate::blobs::BlobCopies;
use crate::config::{RunnerSettings, own_facts};
use crate::model::reason::LossReason;
use crate::model::{Ability, AttemptId, CommitId, Isolation, Label, Moment, Outcome, RepoName, TierOffer};
use crate::shutdown::Stop;
use crate::transport::Frame;

/// Runs the role. Returns when the runner is drained, stopped, or cannot continue.
pub(super) fn run(
    settings: &RunnerSettings,
    isolation: Isolation,
    means: Option<Means>,
    executors: Executors,
    stop: &Receiver<Stop>,
) -> Result<(), RunnerError> {
    let layout = Arc::new(Layout::open(&settings.work)?);
    let repos = Arc::new(SharedRepos::new(layout.clone()));
    let thread = |name| move |source| RunnerError::Thread { name, source };
    let (uploader, uploads) = Uploader::start().map_err(thread("upload"))?;
    let (journal, undelivered) = recover(&layout, &uploads)?;
    let _sweep = Sweep::start(&layout);
    let (news, from_session) = bounded(NEWS_CAPACITY);
    let (reports, from_slots) = bounded(REPORT_CAPACITY);
    let images = Images::find(&settings.images, layout.root(), layout.images()).map_err(RunnerError::ImageTool)?;
    let (_leftovers, images) = images.map(Leftovers::start).transpose().map_err(thread("image-leftover"))?.unzip();
    let heartbeat = Heartbeat::start().map_err(thread("heartbeat"))?;
    let warm = repos.warm().into_iter().collect();
    let guarded = means.into_iter().flat_map(|means| means.abilities(settings.isolation));
    let with_images = images.iter().flat_map(|images| images.abilities());
    // Every runner offers limits, because it tells which of them are not enforced.
    let of_machine: Vec<Ability> = guarded.chain([Ability::Limits]).chain(with_images).collect();
    let common = Arc::new(Common {
        runner: settings.name.clone(),
        layout: layout.clone(),
        repos,
        local_source: settings.local_source.clone(),
        inherited: inherited(std::env::vars_os()),
        log_limit: settings.log_limit,
        copies: BlobCopies::open(layout.caches(), settings.cache_bytes),
        artifact_limits: ArtifactLimits { files: settings.artifact_files, bytes: settings.artifact_bytes },
        tool_cache: Arc::new(Tiers::new(layout.tool_cache(), settings.tool_cache_bytes, settings.min_free)),
        min_free: settings.min_free,
        grace_ms: settings.grace_ms,
        renewed: AtomicU64::new(boottime::now().0),
        executors,
        images,
        abilities: Ability::OF_PROGRAM.into_iter().chain(of_machine.iter().copied()).collect(),
        guard: means.map(|means| AttemptGuard::new(means, settings, &layout)),
        reports,
        uploads: uploads.clone(),
    });
    let slots = usize::try_from(settings.slots).unwrap_or(usize::MAX);
    let RunnerSettings { idle_exit_ms, grace_ms, delivery_ms, .. } = *settings;
    let times = Times { idle_exit_ms, grace_ms, delivery_ms };
    let told = of_machine.into_iter().map(Ability::label);
    let labels = own_facts().into_iter().chain(told).chain(settings.labels.iter().cloned()).collect();
    let mut core = Core {
        settings,
        labels,
        isolation,
        tiers: Means::offer(means, settings.isolation),
        machine: Machine::new(boottime::now(), slots, times, undelivered),
        journal,
        session: None,
        slots: (0..slots).map(|_| None).collect(),
        cancels: HashMap::new(),
        packs: HashMap::new(),
        is_registered: false,
        lines_wanted: Vec::new(),
        warm,
        registered_at: boottime::now(),
        heartbeat,
        uploads: uploads.clone(),
        common,
        is_over: false,
    };
    let _session_thread = SessionThread::new(settings, news, uploads, core.common.tool_cache.current())?;
    // These receivers are declared last and so dropped first: a thread that is being joined cannot block on a full
    // channel.
    let (news, reports) = (from_session, from_slots);
    let guarded = means.map_or_else(|| "not guarded".to_owned(), |means| format!("guarded by {}", means.words()));
    let root = layout.root().display();
    log::info!("runner {} with {slots} slots works in {root}; its attempts are {guarded}", settings.name);
    core.turn(&news, &reports, stop, &uploader)
}

struct Core<'a> {
    settings: &'a RunnerSettings,
    /// The labels that the runner offers: its own facts, and those of its flags.
    labels: Vec<Label>,
    isolation: Isolation,
    tiers: TierOffer,
    machine: Machine,
    journal: Journal,
    session: Option<Arc<Session>>,
    /// The slots. Each is started at its first attempt.
    slots: Vec<Option<Slot>>,
    /// The way to cancel each attempt that is in a slot.
    cancels: HashMap<AttemptId, Sender<()>>,
    /// The slot's end for the source or the secrets, for each attempt that has not asked for them yet.
    packs: HashMap<AttemptId, Sender<Piece>>,
    /// Whether the dispatcher knows over the present session which attempts this runner holds.
    is_registered: bool,
    /// Requests of slots that wait for a session.
    lines_wanted: Vec<LineWanted>,
    /// The commit of each repository's work tree.
    warm: BTreeMap<RepoName, CommitId>,
    /// The time at which the registration was last sent.
    registered_at: Moment,
    heartbeat: Heartbeat,
    uploads: Sender<Upload>,
    common: Arc<Common>,
    is_over: bool,
}

impl Drop for Core<'_> {
    /// Cancels the attempts that are executing, so that the slots' threads can be joined.
    fn drop(&mut self) {
        for cancel in self.cancels.values() {
            let _ = cancel.try_send(());
        }
    }
}

impl Core<'_> {
    fn turn(
        &mut self,
        news: &Receiver<SessionNews>,
        reports: &Receiver<SlotReport>,
        stop: &Receiver<Stop>,
        uploader: &Uploader,
    ) -> Result<(), RunnerError> {
        let silent = never();
        let mut stop = stop;
        while !self.is_over {
            let now = boottime::now();
            let tick = match self.machine.next_deadline(now) {
                Some(deadline) => after(Duration::from_millis(deadline.since(now))),
                None => never(),
            };
            let event = select! {
                recv(news) -> heard => match heard {
                    Ok(heard) => Some(self.hear(heard)?),
                    Err(RecvError) => return Err(RunnerError::ThreadEnded("session")),
                },
                // This receiver never disconnects: the core holds a sender of its own.
                recv(reports) -> report => report.ok().and_then(|report| self.take(report)),
                recv(stop) -> asked => Some(match asked {
                    Ok(Stop::Drain) => {
                        self.say_what_a_drain_waits_for();
                        Event::DrainAsked
                    }
                    Ok(Stop::Now) => Event::StopAsked,
                    Err(RecvError) => {
                        stop = &silent;
                        Event::StopAsked
                    }
                }),
                recv(tick) -> _ => Some(Event::Tick { delivered: uploader.last_progress() }),
            };
            if let Some(event) = event {
                self.handle(event)?;
            }
        }
        Ok(())
    }

    /// Tells an operator what a drain waits for if the dispatcher is away. If it is connected, the drain itself is
    /// logged.
    fn say_what_a_drain_waits_for(&self) {
        let held: Vec<_> = self.machine.holding().iter().map(AttemptId::to_string).collect();
        if self.session.is_none() && !held.is_empty() {
            log::warn!(
                "draining, but the dispatcher is away: once nothing executes, this runner waits {} s for it to take the \
                 results of {}; a second signal ends this runner now, and its next start delivers what has ended",
                self.settings.delivery_ms / 1000,
                held.join(", ")
            );
        }
    }

    /// Applies an event to the machine and performs its actions, and the events that these cause.
    fn handle(&mut self, event: Event) -> Result<(), RunnerError> {
        let mut next = Some(event);
        while let Some(event) = next.take() {
            let commands = self.machine.handle(boottime::now(), event);
            // The heartbeat is told first: the new lease must be renewed even if it takes long to start the attempt.
            self.heartbeat.set_holding(self.machine.holding());
            self.common.renewed.store(self.machine.surely_renewed().0, Ordering::Relaxed);
            for command in commands {
                let follows = self.perform(command)?;
                debug_assert!(next.is_none() || follows.is_none(), "one event starts one attempt at most");
                next = next.or(follows);
            }
        }
        Ok(())
    }

    fn hear(&mut self, news: SessionNews) -> Result<Event, RunnerError> {
        Ok(match news {
            SessionNews::Connected(session) => {
                self.session = Some(session);
                Event::Connected
            }
            SessionNews::Disconnected => {
                (self.session, self.is_registered) = (None, false);
                self.beat(None)?;
                Event::Disconnected
            }
            SessionNews::Hopeless(error) => return Err(*error),
            SessionNews::ForCore(mut event) => {
                if let Event::Registered { since, .. } = &mut event {
                    *since = self.registered_at;
                } else if let Event::Fenced(attempt) = event
                    && self.machine.is_held(attempt)
                {
                    // The dispatcher says so for each piece of output that was on its way. One warning is enough.
                    log::warn!("attempt {attempt} is not held here any more, says the dispatcher: forgotten");
                } else if event == Event::DrainAsked {
                    log::info!("the dispatcher asked this runner to drain");
                }
                event
            }
        })
    }

    fn take(&mut self, report: SlotReport) -> Option<Event> {
        Some(match report {
            SlotReport::LineWanted(wanted) => {
                self.lines_wanted.push(wanted);
                self.connect_lines();
                return None;
            }
            SlotReport::SourceWanted { attempt, haves, pieces } => {
                self.packs.insert(attempt, pieces);
                Event::SourceWanted { attempt, haves }
            }
            SlotReport::SecretsWanted { attempt, answer } => {
                self.packs.insert(attempt, answer);
                Event::SecretsWanted(attempt)
            }
            SlotReport::Started(attempt) => Event::Started(attempt),
            SlotReport::Ended { attempt, report, warm } => {
                self.cancels.remove(&attempt);
                self.packs.remove(&attempt);
                self.warm.extend(warm);
                if matches!(report.outcome, Outcome::Lost(_)) {
                    self.common.layout.doubt();
                }
                Event::Ended { attempt, report: Box::new(report) }
            }
        })
    }

    /// Gives a line to each slot that waits for one, if there is a session.
    fn connect_lines(&mut self) {
        if let Some(session) = self.session.as_ref().filter(|_| self.is_registered) {
            self.lines_wanted.drain(..).for_each(|wanted| wanted.connect(session));
        }
    }

    /// Performs an action. Returns the event that it caused at once, if any.
    fn perform(&mut self, command: Action) -> Result<Option<Event>, RunnerError> {
        match command {
            Action::Register { holding, draining } => self.register(&holding, draining)?,
            Action::ResumeStreams(offsets) => {
                if let Some(session) = &self.session {
                    self.upload(Upload::Resumed { bulk: session.ordered_bulk(), offsets })?;
                }
                self.is_registered = true;
                self.connect_lines();
            }
            Action::PauseStreams => self.upload(Upload::Paused)?,
            Action::TakeAhead { slot, ahead } => self.take_ahead(slot, ahead),
            Action::Start { slot, assignment } => return self.start(slot, assignment),
            Action::AskSource { attempt, haves } => {
                if let (Some(session), Some(pieces)) = (&self.session, self.packs.remove(&attempt)) {
                    session.routes.add(attempt, pieces);
                    session.say(&translate::source(attempt, &haves));
                }
            }
            Action::AskSecrets(attempt) => {
                if let (Some(session), Some(answer)) = (&self.session, self.packs.remove(&attempt)) {
                    session.routes.add(attempt, answer);
                    session.say(&translate::secrets(attempt));
                }
            }
            Action::SayStarted(attempt) => self.say(|| translate::started(attempt)),
            Action::Cancel(attempt) => {
                if let Some(cancel) = self.cancels.get(&attempt) {
                    log::info!("attempt {attempt} is being ended");
                    // A full channel holds a cancel already.
                    let _ = cancel.try_send(());
                }
            }
            Action::Keep { attempt, report } => self.keep(attempt, &report),
            Action::Deliver { attempt, report } if report.has_bytes() => {
                let results = translate::results(attempt, &report);
                self.upload(Upload::Ended { attempt, results })?;
            }
            Action::Deliver { attempt, report } => self.say(|| translate::results(attempt, &report)),
            Action::Mute(attempt) => self.upload(Upload::Muted(attempt))?,
            Action::Forget { attempt, has_spool } => {
                if let Err(error) = self.journal.forget(attempt) {
                    log::warn!("could not write the journal: {error}");
                }
                if has_spool {
                    self.upload(Upload::Forgotten(attempt))?;
                }
            }
            Action::SayDraining => {
                log::info!("draining: finishing what is held, accepting nothing new");
                self.say(translate::draining);
                if !self.heartbeat.ping_now() {
                    return Err(RunnerError::ThreadEnded("heartbeat"));
                }
            }
            Action::End => {
                self.is_over = true;
                let left = self.machine.undelivered();
                if left.results > 0 {
                    log::warn!("{}", self.left_behind(left));
                }
            }
            Action::GiveUp(left) => return Err(self.left_behind(left)),
        }
        Ok(None)
    }

    fn register(&mut self, holding: &[AttemptId], draining: bool) -> Result<(), RunnerError> {
        self.registered_at = boottime::now();
        let warm: Vec<_> = self.warm.iter().take(WARM_TREES).map(|(repo, at)| (repo.clone(), *at)).collect();
        let offer = Offer {
            slots: self.settings.slots,
            labels: &self.labels,
            isolation: self.isolation.word(),
            tiers: &self.tiers,
            warm: &warm,
            spawn: self.settings.spawn,
            draining,
        };
        self.say(|| translate::register(&offer, holding));
        self.heartbeat.set_holding(holding.to_vec());
        self.beat(self.session.clone())
    }

    fn start(&mut self, number: usize, assignment: Box<Assignment>) -> Result<Option<Event>, RunnerError> {
        let attempt = assignment.attempt;
        let lost = |reason| Ok(Some(Event::Ended { attempt, report: Box::new(AttemptResult::lost(reason)) }));
        if let Err(error) = self.common.layout.restore() {
            // If this runner stayed with a directory that it cannot use, it would lose each attempt.
            return if error.is_disk_full() { lost(LossReason::disk_full()) } else { Err(error) };
        }
        if let Err(error) = self.journal.hold(&assignment) {
            log::error!("attempt {attempt} is not accepted: could not write the journal: {error}");
            return lost(format!("the runner could not write its journal: {error}").into());
        }
        if let Err(error) = self.ready(number) {
            return lost(format!("the runner could not start a thread: {error}").into());
        }
        // One message is enough: the first one ends the attempt, and further ones find the channel full.
        let (cancel, cancelled) = bounded(1);
        self.cancels.insert(attempt, cancel.clone());
        let work = SlotWork { assignment, cancelled };
        if self.slots[number].as_ref().is_some_and(|slot| slot.execute(work)) {
            Ok(None)
        } else {
            Err(RunnerError::ThreadEnded("slot"))
        }
    }

    /// Hands the source to a slot. If that fails, the lease's attempt asks for the source.
    fn take_ahead(&mut self, number: usize, ahead: Box<SourceAhead>) {
        if let Err(error) = self.ready(number) {
            log::debug!("no thread for source that came ahead: {error}");
        } else if let Some(slot) = &self.slots[number] {
            slot.take_ahead(ahead);
        }
    }

    /// Starts the slot if this is its first use.
    fn ready(&mut self, number: usize) -> io::Result<()> {
        if self.slots[number].is_none() {
            self.slots[number] = Some(Slot::start(number, self.common.clone())?);
        }
        Ok(())
    }

    fn keep(&mut self, attempt: AttemptId, report: &AttemptResult) {
        // The journal comes first: a result that the dispatcher has heard must be known to the next start, too.
        if let Err(error) = self.journal.end(attempt, report) {
            // The result still counts, unless this runner is killed before it is delivered.
            log::warn!("could not write the journal: {error}");
        }
        report.log_end(attempt);
    }

    fn left_behind(&self, Undelivered { results, bytes }: Undelivered) -> RunnerError {
        RunnerError::Undelivered { results, bytes, path: self.common.layout.root().to_owned() }
    }

    fn say(&self, frame: impl FnOnce() -> Frame) {
        if let Some(session) = &self.session {
            session.say(&frame());
        }
    }

    fn beat(&self, session: Option<Arc<Session>>) -> Result<(), RunnerError> {
        if self.heartbeat.set_session(session) { Ok(()) } else { Err(RunnerError::ThreadEnded("heartbeat")) }
    }

    fn upload(&self, note: Upload) -> Result<(), RunnerError> {
        self.uploads.send(note).map_err(|_| RunnerError::ThreadEnded("upload"))
    }
}
