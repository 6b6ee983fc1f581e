//! Chooses the tasks of a build by their conditions: by the trigger, and by the paths that have changed since each task
//! passed. Called by the sessions that take commits in, before the core hears of the commit. Reads the store beside the
//! core, and the trees of the mirror. A pass that is recorded meanwhile only lets a task run once more. Whatever cannot
//! be read lets the task run: nothing is left out on a guess.

use std::collections::HashMap;
use std::sync::Arc;

use super::mirrors::Mirror;
use crate::error_chain::chain;
use crate::model::reason::ChangeReason;
use crate::model::{BuildSource, ChangeJudge, Changes, CommitId, Plan, TaskName, Trigger, TriggerEvent, TriggerKind};
use crate::store::{Lineage, PassScope, StoreError, TaskPass};

/// Leaves tasks out of the plan of a build, and notes why others run. `ancestors` are commits before that of the build,
/// the nearest first, as far as they are known: a new ref is compared with them. `passes` asks the store.
pub(crate) fn choose(
    plan: &mut Plan,
    source: &BuildSource,
    ancestors: &[CommitId],
    passes: impl FnOnce(&PassScope) -> Result<Vec<TaskPass>, StoreError>,
    mirror: &Mirror,
) {
    let trigger = &source.trigger;
    if is_new(trigger) && !ancestors.is_empty() && plan.may_grow() {
        // The tasks that it writes are chosen in the same way, when nobody announces the commits any more.
        plan.settings.for_written_mut().ancestors = ancestors.iter().map(CommitId::to_string).collect();
    }
    if let TriggerKind::Schedule { name, .. } = &trigger.kind
        && plan.schedules.iter().any(|schedule| schedule.name == *name && schedule.names_tasks)
    {
        return;
    }
    let to_judge = plan.leave_out_unmet(TriggerEvent::of(trigger), &trigger.reference);
    if to_judge.is_empty() {
        return;
    }
    let lineage = match is_new(trigger) {
        true => Lineage::Commits([&[source.commit], ancestors].concat()),
        false => Lineage::Ref(trigger.reference.clone()),
    };
    let tasks = to_judge.iter().map(|at| plan.tasks[*at].spec.name.clone()).collect();
    let scope = PassScope { repo: source.repo.clone(), lineage, trust: trigger.trust, tasks };
    let passes = passes(&scope).unwrap_or_else(|error| {
        let (repo, cause) = (&source.repo, chain(&error));
        log::warn!("could not read when tasks of {repo} passed last: {cause}: all of them run");
        Vec::new()
    });
    let passes: HashMap<TaskName, TaskPass> = passes.into_iter().map(|pass| (pass.task.name.clone(), pass)).collect();
    let mut comparison = Comparison { mirror, commit: source.commit, compared: HashMap::new() };
    let mut judge = ChangeJudge::default();
    for at in to_judge {
        let spec = &plan.tasks[at].spec;
        let changes = match passes.get(&spec.name) {
            None => Changes::Runs(ChangeReason::NoPass),
            Some(TaskPass { build, commit, task }) if **task != *spec => {
                Changes::Runs(ChangeReason::DefinitionChanged { since: commit.to_string(), build: *build })
            }
            Some(pass) => comparison.changes(pass),
        };
        plan.judge(at, &changes, &mut judge);
    }
}

/// Whether the ref of a build has had no build before.
fn is_new(trigger: &Trigger) -> bool {
    matches!(trigger.kind, TriggerKind::Push { before: None, .. } | TriggerKind::Ref { before: None, .. })
}

/// The comparison of one commit with others, each made once.
struct Comparison<'a> {
    mirror: &'a Mirror,
    commit: CommitId,
    compared: HashMap<CommitId, Compared>,
}

#[derive(Clone)]
enum Compared {
    Paths(Arc<[String]>),
    Many,
    Impossible,
}

impl Comparison<'_> {
    fn changes(&mut self, pass: &TaskPass) -> Changes {
        let (mirror, commit) = (self.mirror, self.commit);
        let compared =
            self.compared.entry(pass.commit).or_insert_with(|| match mirror.changed_paths(pass.commit, commit) {
                Ok(Some(paths)) => Compared::Paths(paths.into()),
                Ok(None) => Compared::Many,
                Err(error) => {
                    log::debug!("cannot compare {commit} with {}: {}", pass.commit, chain(&error));
                    Compared::Impossible
                }
            });
        let (since, build) = (pass.commit, pass.build);
        match compared {
            Compared::Paths(paths) => Changes::Paths { since, build, paths: Arc::clone(paths) },
            Compared::Many => Changes::Runs(ChangeReason::ManyChanged { since: since.to_string(), build }),
            Compared::Impossible => Changes::Runs(ChangeReason::NotComparable { since: since.to_string(), build }),
        }
    }
}
