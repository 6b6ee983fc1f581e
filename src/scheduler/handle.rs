//! Passes each event to the file that handles it.

use super::again::Start;
use super::attempts::Finished;
use super::turn::Turn;
use super::{Effect, Event, Scheduler};
use crate::model::{Moment, WallTime};

impl Scheduler {
    /// Applies one event and returns its effects, in the order in which they must happen. `at` is wall-clock time for
    /// records and decides nothing.
    pub fn handle(&mut self, now: Moment, at: WallTime, event: Event) -> Vec<Effect> {
        let mut turn = Turn { now, at, effects: Vec::new() };
        match event {
            Event::CommitObserved { request, source, plan, seen } => {
                self.observe_commit(&mut turn, request, *source, plan, seen);
            }
            Event::RefsNoted { request, repo, refs, patterns } => {
                self.note_refs(&mut turn, request, repo, (refs, patterns));
            }
            Event::RefGone { request, repo, reference, before, seen } => {
                self.drop_ref(&mut turn, request, (repo, reference), before, seen);
            }
            Event::BuildAsked { request, source, plan, earlier } => {
                self.accept_request(&mut turn, request, *source, plan, earlier);
            }
            Event::ScheduleDue { source, plan } => self.fire_schedule(&mut turn, *source, plan),
            Event::RunnerJoined(joined) => self.join_runner(&mut turn, joined),
            Event::RunnerPinged { session, holding } => self.renew(&mut turn, session, &holding),
            Event::RunnerHeard { session } => self.hear(now, session),
            Event::RunnerDraining { session } => self.begin_drain(&mut turn, session),
            Event::AttemptStarted { session, attempt } => self.start_attempt(&mut turn, session, attempt),
            Event::TasksWritten { session, attempt, plan } => self.note_written(session, attempt, *plan),
            Event::SecretsDenied { session, attempt, reason } => self.note_denied(session, attempt, reason),
            Event::OutputsWritten { session, attempt, outputs } => self.note_outputs(session, attempt, outputs),
            Event::ArtifactsLeft { session, attempt, artifacts } => self.note_artifacts(session, attempt, artifacts),
            Event::AttemptFinished { session, attempt, outcome, log, duration_ms, steps, execution } => {
                self.hear(now, session);
                self.finish_attempt(
                    &mut turn,
                    Finished { session, attempt, outcome, log, duration_ms, steps, execution },
                );
            }
            Event::SessionClosed { session } => self.close_session(&mut turn, session),
            Event::SpawnFailed { spawn, why } => self.spawn_failed(&mut turn, spawn, &why),
            Event::SpawnGone { spawn } => self.spawn_gone(&mut turn, spawn),
            Event::CancelAsked { request, build, only, by } => self.cancel(&mut turn, request, build, only, by),
            Event::RerunAsked { request, build, failed_only, only, by } => {
                self.rerun(&mut turn, request, *build, (failed_only, only), by.as_deref());
            }
            Event::StartAsked { request, build, job, by, force, inputs } => {
                self.start_held(&mut turn, request, *build, Start { job, by, force, inputs });
            }
            Event::DrainAsked { request, runner, by } => self.drain_runner(&mut turn, request, runner, by),
            Event::ResumeAsked { request, runner, by } => self.resume_runner(&mut turn, request, runner, by),
            Event::HeartbeatCheck => {
                self.forgive_gap(&mut turn);
                self.check_heartbeats(&mut turn);
            }
            Event::LeaseCheck => {
                self.forgive_gap(&mut turn);
                self.check_leases(&mut turn);
                self.end_late_builds(&mut turn);
                self.check_queue(&mut turn);
            }
        }
        // Any event may free a slot, queue a job or bring a runner.
        self.assign(&mut turn);
        turn.effects
    }
}
