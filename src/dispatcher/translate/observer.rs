//! The messages of an observer: refs, patterns, and the announcement of a commit, which becomes the source of a build.
//! Whether the build is trusted is judged elsewhere.

use std::sync::Arc;

use super::{branch, commit, cut, malformed, reference, repo};
use crate::model::{BuildSource, CommitId, FactsId, ObservedRefs, RefName, Trigger};
use crate::protocol::hello::Refusal;
use crate::protocol::limits::{MAX_ANCESTORS, MAX_NAMED_REFS, MAX_PATTERN_BYTES, MAX_PATTERNS, MAX_RANGE_COMMITS};
use crate::protocol::observer::{FromObserver, Head};
use crate::protocol::runner::HeldFacts;

/// The kinds of trigger that an observer announces.
const TRIGGERS: [&str; 3] = ["push", "tag", "ref"];

/// Checks the patterns for refs that an observer watches.
pub(crate) fn patterns(texts: Vec<String>) -> Result<Vec<Arc<str>>, Refusal> {
    if texts.len() > MAX_PATTERNS {
        let count = texts.len();
        return Err(malformed(format!(
            "a repository is watched by {count} patterns: at most {MAX_PATTERNS} are allowed"
        )));
    }
    let is_pattern = |text: &String| text.starts_with("refs/") && text.len() <= MAX_PATTERN_BYTES;
    if let Some(other) = texts.iter().find(|text| !is_pattern(text)) {
        let text = format!(
            "`{}` is no pattern: it is longer than {MAX_PATTERN_BYTES} bytes, or does not begin with refs/",
            Refusal::quote(other)
        );
        return Err(malformed(text));
    }
    Ok(texts.into_iter().map(Arc::from).collect())
}

/// Returns the refs of a first look. Leaves out those that no announcement could name, and branches, which are built.
pub(crate) fn existing(refs: Vec<Head>) -> Result<Vec<(RefName, CommitId)>, Refusal> {
    let mut known = Vec::with_capacity(refs.len());
    for head in refs {
        if let Ok(reference) = reference(&head.branch, head.reference.as_deref())
            && reference.branch().is_none()
        {
            known.push((reference, commit(&head.commit)?));
        }
    }
    Ok(known)
}

/// Returns what an observer tells of the refs of a repository. A name that git does not allow is left out: it names no
/// ref.
pub(crate) fn observed_refs(default_branch: Option<&str>, named: &[String]) -> ObservedRefs {
    let named = named.iter().take(MAX_NAMED_REFS).filter_map(|name| reference("", Some(name)).ok());
    ObservedRefs { default_branch: default_branch.and_then(|name| branch(name).ok()), named: named.collect() }
}

/// Returns the build that a `dispatch` asks for. It is untrusted until it is judged.
pub(crate) fn build_source(message: FromObserver) -> Result<BuildSource, Refusal> {
    let FromObserver::Dispatch {
        repo: name,
        branch: head,
        reference: full,
        before,
        commit: id,
        range,
        commits,
        subject,
        author,
        trigger,
        ..
    } = message
    else {
        return Err(malformed("a commit is announced by `dispatch`"));
    };
    if !TRIGGERS.contains(&trigger.as_str()) {
        let name = Refusal::quote(&trigger);
        return Err(malformed(format!("a `dispatch` has no trigger `{name}`, only `push`, `tag` and `ref`")));
    }
    if range.len() > MAX_RANGE_COMMITS {
        let count = range.len();
        return Err(malformed(format!("the range has {count} commits: at most {MAX_RANGE_COMMITS} are allowed")));
    }
    let before = before.as_deref().map(commit).transpose()?;
    let range: Vec<_> = range.iter().map(|id| commit(id)).collect::<Result<_, _>>()?;
    let commits = match commits {
        Some(0) => None,
        Some(number) => Some(number.max(range.len() as u64)),
        None => Some(range.len() as u64),
    };
    let moved = Trigger::of_move(reference(&head, full.as_deref())?, before, range, commits);
    let kind = moved.kind.word();
    if kind != trigger {
        let name = Refusal::quote(moved.reference.as_str());
        return Err(malformed(format!("the trigger of `{name}` is `{kind}`, not `{trigger}`")));
    }
    Ok(BuildSource {
        repo: repo(&name)?,
        commit: commit(&id)?,
        trigger: moved,
        subject: cut(subject),
        author: cut(author),
    })
}

/// Returns the id of facts that a message names.
pub(crate) fn facts(id: Option<&str>) -> Result<Option<FactsId>, Refusal> {
    id.map(|id| Ok(FactsId(commit(id)?))).transpose()
}

/// Returns the facts that a runner has of a commit.
pub(crate) fn held_facts(held: &HeldFacts) -> Result<(CommitId, FactsId), Refusal> {
    Ok((commit(&held.commit)?, FactsId(commit(&held.facts)?)))
}

/// Returns the ancestors that a `dispatch` names.
pub(crate) fn ancestors(ids: &[String]) -> Result<Vec<CommitId>, Refusal> {
    if ids.len() > MAX_ANCESTORS {
        let count = ids.len();
        return Err(malformed(format!("`ancestors` has {count} commits: at most {MAX_ANCESTORS} are allowed")));
    }
    ids.iter().map(|id| commit(id)).collect()
}
