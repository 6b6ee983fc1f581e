//! People who ask for something: builds of any commit, and orders about builds and runners.

use surveil::model::{BuildSource, JobState, RefName, Trigger, TriggerId, TriggerKind, Trust};

use crate::dispatcher::{Input, Question};
use crate::world::{Happening, World};
use crate::written_tasks::values_of;

impl World {
    /// A person asks for a build. A command that hears nothing sends its request again, also over a restart of the
    /// dispatcher.
    pub(crate) fn submit(&mut self) {
        let at = self.dice.below(self.repos.len());
        let repo = &self.repos[at];
        let Some(commit) = self.dice.pick(&repo.commits) else { return };
        let mut raw = [0; 16];
        raw[..8].copy_from_slice(&self.dice.roll().to_be_bytes());
        let id = TriggerId(raw);
        let (kind, reference) = if self.dice.percent(70) {
            (TriggerKind::Manual { id, by: None }, RefName::of_branch(["main", "topic"][self.dice.below(2)]))
        } else {
            (TriggerKind::Try { id, by: None }, RefName::detached())
        };
        let trigger = Trigger { kind, reference, trust: Trust::Untrusted };
        let (subject, author) = (String::new(), String::new());
        let source = BuildSource { repo: repo.name.clone(), commit, trigger, subject, author };
        let mut at = self.now;
        for _ in 0..1 + self.dice.below(4) {
            self.plan(at, Happening::Submit(Box::new(source.clone())));
            at += if self.dice.percent(50) { self.dice.ms(0, 20) } else { self.dice.ms(20, 8_000) };
        }
    }

    /// A person starts a held job, perhaps one of an old build.
    pub(crate) fn start_held(&mut self) {
        let held = self.dispatcher.store.jobs.values().filter(|job| job.state == JobState::Held);
        let held: Vec<_> = held.map(|job| (job.build, job.id)).collect();
        let Some((build, job)) = self.dice.pick(&held) else { return };
        if self.dispatcher.scheduler.is_some() {
            let force = self.dice.percent(30);
            let values = self.values_for(job);
            self.enqueue(Input::Ask(Question::Start(build, job, force, values), None));
        }
    }

    /// Sends a request, if the dispatcher can be reached.
    pub(crate) fn ask_for(&mut self, source: Box<BuildSource>) {
        let Some(repo) = self.repos.iter().find(|repo| repo.name == source.repo) else { return };
        if self.dispatcher.scheduler.is_some() {
            let mut plan = repo.plans[&source.commit].clone();
            match (&mut plan, &source.trigger.kind) {
                // A person who names the tasks of a request starts them.
                (Ok(plan), TriggerKind::Try { .. }) => plan.tasks.iter_mut().for_each(|task| task.held = false),
                (Ok(plan), TriggerKind::Manual { id, .. }) => plan.settings.priority = i32::from(id.0[0] % 5) - 2,
                _ => {}
            }
            if let (Ok(plan), TriggerKind::Manual { id, .. } | TriggerKind::Try { id, .. }) =
                (&mut plan, &source.trigger.kind)
                && plan.set_inputs(&values_of(*id, plan)).is_err()
            {
                // The command ends with the name of the input that has no value.
                return;
            }
            self.enqueue(Input::Ask(Question::Submit(source, plan), None));
        }
    }
}
