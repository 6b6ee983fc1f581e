//! Things that attempts leave beside their outcome: outputs and artifacts, of which the dispatcher hears just before
//! the result, and that a task may not have the secrets that it asks for. What belongs to an attempt depends on its
//! number alone, so a result that is sent again brings the same.

use surveil::model::reason::{ErrorReason, SecretDenial};
use surveil::model::recipe::WantedSecret;
use surveil::model::{
    Ability, ArtifactRecord, ArtifactRule, AttemptId, BlobId, CommitId, JobId, KeptOn, Outcome, Outputs, Plan, Record,
    SessionId,
};
use surveil::scheduler::{Effect, Event, Lease};

use crate::sabotage::Sabotage;
use crate::world::World;
use crate::written_tasks::dice_of;

/// The name of the secret.
const SECRET: &str = "KEY";

/// Things that an attempt has left.
#[derive(Debug, Clone, Default)]
pub(crate) struct Left {
    outputs: Outputs,
    artifacts: Vec<ArtifactRecord>,
    denied: bool,
}

/// Gives artifacts and secrets to some tasks of a commit. Only runners with the abilities may have them.
pub(crate) fn add_leavings(plan: &mut Plan, commit: CommitId) {
    let mut dice = dice_of(commit, 0x1ef7);
    for task in &mut plan.tasks {
        let recipe = task.spec.recipe_mut();
        if dice.percent(30) {
            let on = if dice.percent(50) { KeptOn::Passed } else { KeptOn::Always };
            recipe.artifacts.push(ArtifactRule { on, paths: vec!["out".into()], ..ArtifactRule::new("files") });
        }
        if dice.percent(15) {
            recipe.secrets.push(WantedSecret { name: SECRET.into(), file: false });
        }
        let abilities: Vec<Ability> = Ability::needed_for(recipe).filter(|ability| is_told(*ability)).collect();
        let labels = &mut task.spec.placement.labels;
        labels.extend(abilities.into_iter().map(Ability::label));
        labels.sort();
    }
}

/// Whether the hosts of this test tell whether they have this ability.
fn is_told(ability: Ability) -> bool {
    matches!(ability, Ability::Artifacts | Ability::Secrets)
}

/// Whether this attempt asks for secrets that it may not have.
pub(crate) fn is_denied(lease: &Lease) -> bool {
    !lease.task.recipe.secrets.is_empty() && dice_of(lease.source.commit, lease.attempt.0 << 9).percent(20)
}

fn artifact(attempt: AttemptId, name: &str) -> ArtifactRecord {
    let mut manifest = BlobId([0; 32]);
    manifest.0[..8].copy_from_slice(&attempt.0.to_be_bytes());
    ArtifactRecord { name: name.into(), manifest, files: 1, bytes: 2, keep_ms: None, removed: None }
}

fn output(attempt: AttemptId) -> Outputs {
    vec![("VERSION".into(), attempt.0.to_string())]
}

impl Left {
    fn of(lease: &Lease, outcome: &Outcome) -> Self {
        let mut dice = dice_of(lease.source.commit, lease.attempt.0 << 10);
        let rule = lease.task.recipe.artifacts.first();
        // A runner may have sent what it left before it lost the attempt.
        let is_kept = rule.is_some_and(|rule| rule.on.covers(outcome))
            || rule.is_some() && matches!(outcome, Outcome::Lost(_)) && dice.percent(50);
        Self {
            outputs: if dice.percent(40) { output(lease.attempt) } else { Outputs::new() },
            artifacts: if is_kept { vec![artifact(lease.attempt, "files")] } else { Vec::new() },
            denied: matches!(outcome, Outcome::CouldNotStart(_)) && is_denied(lease),
        }
    }

    /// Things that a runner brings for an attempt that it does not hold.
    fn lie(attempt: AttemptId) -> Self {
        let outputs = vec![("LIE".into(), "1".into())];
        Self { outputs, artifacts: vec![artifact(attempt, "lie")], denied: true }
    }

    /// The events that the scheduler is told before the result.
    fn events(self, session: SessionId, attempt: AttemptId) -> Vec<Event> {
        let Self { outputs, artifacts, denied } = self;
        let mut events = Vec::new();
        if denied {
            let reason = ErrorReason::SecretDenied { secret: SECRET.into(), denial: SecretDenial::Untrusted };
            events.push(Event::SecretsDenied { session, attempt, reason: Box::new(reason) });
        }
        if !artifacts.is_empty() {
            events.push(Event::ArtifactsLeft { session, attempt, artifacts });
        }
        if !outputs.is_empty() {
            events.push(Event::OutputsWritten { session, attempt, outputs });
        }
        events
    }
}

impl World {
    /// Keeps what an attempt has left beside its result.
    pub(crate) fn keep_left(&mut self, lease: &Lease, outcome: &Outcome) {
        self.left.insert(lease.attempt, Left::of(lease, outcome));
    }

    /// The events of what comes with a result.
    pub(crate) fn left_events(&self, session: SessionId, attempt: AttemptId) -> Vec<Event> {
        let left = if self.lies.contains(&(session, attempt)) {
            Left::lie(attempt)
        } else {
            self.left.get(&attempt).cloned().unwrap_or_default()
        };
        left.events(session, attempt)
    }

    /// Changes an event about what an attempt left, or adds one before it. Returns whether the event is told at all.
    pub(crate) fn twist_left(&self, sabotage: Sabotage, event: &mut Event) -> (Option<Event>, bool) {
        match (sabotage, event) {
            (Sabotage::ForgetsOutputs, Event::OutputsWritten { .. })
            | (Sabotage::IgnoresDenials, Event::SecretsDenied { .. }) => (None, false),
            (Sabotage::BelievesAnyArtifacts, Event::ArtifactsLeft { session, attempt, .. }) => {
                if self.lies.contains(&(*session, *attempt)) {
                    *session = *self.holders.get(attempt).unwrap_or(session);
                }
                (None, true)
            }
            (Sabotage::KeepsEarlierOutputs, Event::AttemptFinished { session, attempt, .. }) => {
                let earlier = self.earlier_output(*attempt);
                (earlier.map(|outputs| Event::OutputsWritten { session: *session, attempt: *attempt, outputs }), true)
            }
            _ => (None, true),
        }
    }

    /// The outputs of an earlier attempt of the same job, if this attempt has none.
    fn earlier_output(&self, attempt: AttemptId) -> Option<Outputs> {
        let store = &self.dispatcher.store.attempts;
        let job: JobId =
            store.get(&attempt).filter(|_| self.left.get(&attempt).is_none_or(|it| it.outputs.is_empty()))?.job;
        let of_job = store.values().filter(|other| other.job == job && other.id < attempt);
        of_job.filter_map(|other| self.left.get(&other.id)).map(|left| left.outputs.clone()).find(|it| !it.is_empty())
    }

    /// Changes the records of what attempts left.
    pub(crate) fn twist_left_records(&self, sabotage: Sabotage, effects: &mut Vec<Effect>) {
        match sabotage {
            Sabotage::ForgetsArtifacts => {
                effects.retain(|effect| !matches!(effect, Effect::Persist(Record::ArtifactsLeft { .. })));
            }
            Sabotage::KeepsArtifactsOfLost => {
                let lost = effects.iter().find_map(|effect| match effect {
                    Effect::Persist(Record::AttemptFinished { attempt, outcome: Outcome::Lost(_), .. }) => {
                        Some(*attempt)
                    }
                    _ => None,
                });
                let Some(attempt) = lost else { return };
                let artifacts = self.left.get(&attempt).map(|left| left.artifacts.clone()).unwrap_or_default();
                let store = &self.dispatcher.store;
                let job = store.attempts.get(&attempt).and_then(|attempt| store.jobs.get(&attempt.job));
                if let (Some(job), false) = (job, artifacts.is_empty()) {
                    let (build, task, job) = (job.build, job.task.name.clone(), job.id);
                    effects.insert(0, Effect::Persist(Record::ArtifactsLeft { build, job, task, attempt, artifacts }));
                }
            }
            _ => {}
        }
    }
}
