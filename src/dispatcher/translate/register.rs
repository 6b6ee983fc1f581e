//! The registration of a runner, and the attempts that it holds. Whether it is admitted is decided elsewhere.

use std::sync::Arc;

use super::{commit, cut, malformed, repo};
use crate::model::{
    AttemptId, Incarnation, Isolation, Label, RunnerName, SessionId, SpawnId, Tier, TierOffer, TierRange,
};
use crate::protocol::execution::Tiers;
use crate::protocol::hello::{ErrorCode, Hello, Refusal};
use crate::protocol::limits::{MAX_LABELS, MAX_SLOTS};
use crate::protocol::runner::FromRunner;
use crate::scheduler::RunnerJoined;

/// Returns the event of a `register`; name and incarnation come from `hello`.
pub(crate) fn joined(session: SessionId, hello: &Hello, message: FromRunner) -> Result<RunnerJoined, Refusal> {
    let FromRunner::Register { slots, labels, isolation, tiers, holding, warm, spawned, spawn, draining, .. } = message
    else {
        return Err(Refusal::new(ErrorCode::NotAllowed, "the first message of a runner is `register`"));
    };
    if slots == 0 || slots as usize > MAX_SLOTS {
        return Err(malformed(format!("a runner has 1 to {MAX_SLOTS} slots, not {slots}")));
    }
    if labels.len() > MAX_LABELS {
        return Err(malformed(format!("a runner has at most {MAX_LABELS} labels, not {}", labels.len())));
    }
    // No task can ask for a label of another form. Such a label is useless, but no reason to turn the runner away.
    let (labels, useless): (Vec<_>, Vec<_>) = labels.iter().map(|text| Label::new(text)).partition(Result::is_ok);
    if let Some(error) = useless.iter().find_map(|label| label.as_ref().err()) {
        let (name, count) = (Refusal::quote(&hello.name), useless.len());
        log::warn!("{count} labels of runner {name} are ignored, such as {error}");
    }
    let mut labels: Vec<Label> = labels.into_iter().flatten().collect();
    labels.sort_unstable();
    labels.dedup();
    let isolation = if isolation == "pid_namespace" { Isolation::PidNamespace } else { Isolation::Subreaper };
    let tier = |word: &str| Tier::of_task(word);
    let tiers = tiers.and_then(|Tiers { least, most, means }| {
        let range = TierRange { least: tier(&least)?, most: tier(&most)? };
        Some(Arc::new(TierOffer { range, means: cut(means) }))
    });
    let warm = warm.into_iter().take(MAX_SLOTS).map(|tree| Ok((repo(&tree.repo)?, commit(&tree.commit)?)));
    Ok(RunnerJoined {
        session,
        name: RunnerName::new(&hello.name).map_err(|error| malformed(error.to_string()))?,
        incarnation: Incarnation(hello.incarnation),
        slots,
        labels,
        isolation,
        tiers,
        holding: attempts(&holding)?,
        warm: warm.collect::<Result<_, Refusal>>()?,
        spawned: spawned || spawn.is_some(),
        spawn: spawn.map(SpawnId),
        draining,
    })
}

pub(crate) fn attempts(ids: &[u64]) -> Result<Vec<AttemptId>, Refusal> {
    if ids.len() > MAX_SLOTS {
        return Err(malformed(format!("a runner holds at most {MAX_SLOTS} attempts, not {}", ids.len())));
    }
    Ok(ids.iter().copied().map(AttemptId).collect())
}
