//! The messages to a runner: commands of the scheduler, among them the lease of an attempt. Nothing is checked here.

use super::artifacts::needed_artifact;
use super::pieces::stream_name;
use crate::dispatcher::grants::{LeaseFacts, RepoPlace, StoredBytes};
use crate::git::without_secrets;
use crate::model::reason::RefusalReason;
use crate::model::{
    AttemptId, BranchName, CacheScope, CacheScopes, ObservedRefs, StreamId, StreamKind, Trigger, Trust,
};
use crate::protocol::hello::{ErrorCode, Refusal};
use crate::protocol::runner::{CacheScopeName, LogOffset, Runtask, ToRunner, WireTask};
use crate::scheduler::{Lease, RunnerCommand};

/// Returns the message for a command of the scheduler. `stored` has the number of stored bytes of each stream, `facts`
/// what a lease tells besides.
pub(crate) fn to_runner(message: RunnerCommand, stored: &StoredBytes, facts: Option<LeaseFacts<'_>>) -> ToRunner {
    match message {
        RunnerCommand::Registered { held, gone, drained } => {
            let offsets = |lease: &Lease| {
                let attempt = lease.attempt;
                let of_services = lease.task.recipe.services.iter().map(|it| StreamKind::of_service(&it.name));
                let kinds: Vec<StreamKind> = [StreamKind::Log].into_iter().chain(of_services).collect();
                kinds.into_iter().map(move |kind| {
                    let stream = stream_name(&kind);
                    let offset = stored.get(&StreamId { attempt, kind }).copied().unwrap_or(0);
                    LogOffset { attempt: attempt.0, stream, offset }
                })
            };
            ToRunner::Registered { gone: numbers(gone), logs: held.iter().flat_map(offsets).collect(), drained }
        }
        RunnerCommand::NameTaken { runner } => {
            let reason = RefusalReason::NameTaken { runner };
            ToRunner::Error(Refusal::new(ErrorCode::NameTaken, reason.to_string()).because(reason.code()))
        }
        RunnerCommand::Lease(lease) => ToRunner::Runtask(Box::new(runtask(&lease, facts))),
        RunnerCommand::Cancel { attempt } => ToRunner::Cancel { attempt: attempt.0 },
        RunnerCommand::Recorded { attempt } => ToRunner::Ok { attempt: attempt.0 },
        RunnerCommand::Stale { attempt } => ToRunner::Stale { attempt: attempt.0 },
        RunnerCommand::Ack { gone } => ToRunner::Ack { gone: numbers(gone) },
        RunnerCommand::Drain => ToRunner::Drain,
    }
}

/// Changes the name of a cell in a lease to one of earlier versions: a runner that does not know cells refuses `@`.
pub(crate) fn with_plain_name(mut message: ToRunner) -> ToRunner {
    if let ToRunner::Runtask(lease) = &mut message
        && let Ok(task) = &mut lease.task
    {
        task.name = task.name.replace('@', ".").replace([',', '+', '=', ':'], "-");
    }
    message
}

fn numbers(attempts: Vec<AttemptId>) -> Vec<u64> {
    attempts.into_iter().map(|attempt| attempt.0).collect()
}

fn runtask(lease: &Lease, facts: Option<LeaseFacts<'_>>) -> Runtask {
    let (place, needed, taken) = match facts {
        Some(LeaseFacts { place, needed, taken }) => (Some(place), Some(needed), Some(taken)),
        None => (None, None, None),
    };
    let (outputs, outputs_missing) = match needed {
        Some(Ok(outputs)) => (outputs, None),
        Some(Err(why)) => (Vec::new(), Some(why)),
        None => (Vec::new(), None),
    };
    let (artifacts, artifacts_missing) = match taken {
        Some(Ok(taken)) => (taken.into_iter().map(needed_artifact).collect(), None),
        Some(Err(why)) => (Vec::new(), Some(why)),
        None => (Vec::new(), None),
    };
    let trigger = &lease.source.trigger;
    let (branch, reference) = trigger.reference.written();
    Runtask {
        attempt: lease.attempt.0,
        lease_ms: lease.lease_ms,
        build: lease.build.0,
        number: lease.number,
        repo: lease.source.repo.to_string(),
        branch,
        reference,
        event: Some(trigger.event().to_owned()),
        trusted: Some(trigger.trust == Trust::Trusted),
        default_branch: place.and_then(|place| place.default_branch.as_ref()).map(BranchName::to_string),
        slots: lease.task.placement.slots.0,
        before: trigger.before().map(|commit| commit.to_string()),
        commit: lease.source.commit.to_string(),
        // A store may have the credentials that an observer of another make once told.
        url: place.and_then(|place| place.url.as_deref()).map(without_secrets),
        outputs,
        outputs_missing,
        cache_scopes: if lease.task.recipe.tool_cache { cache_scopes(trigger, place) } else { Vec::new() },
        artifacts,
        artifacts_missing,
        task: Ok(WireTask { name: lease.task.name.to_string(), recipe: lease.task.recipe.clone() }),
    }
}

/// Returns the scopes of the tool cache of an attempt, its own first.
fn cache_scopes(trigger: &Trigger, place: Option<&RepoPlace>) -> Vec<CacheScopeName> {
    let default_branch = place.and_then(|place| place.default_branch.clone());
    let scopes = CacheScopes::of(trigger, &ObservedRefs { default_branch, named: Vec::new() });
    let name = |scope: CacheScope| CacheScopeName {
        reference: scope.reference.to_string(),
        trusted: scope.trust == Trust::Trusted,
    };
    scopes.read.into_iter().map(name).collect()
}
