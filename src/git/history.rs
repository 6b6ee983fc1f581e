//! The history of a commit: which commits belong to it at some depth, what of it a receiver lacks, and the facts that
//! go with it. Reads commits and tags, never trees.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use git2::{ObjectFormat, ObjectType, Odb, Oid};

use super::database::Database;
use super::error::GitError;
use super::facts::{SourceFacts, is_tag_name};
use super::hash::id_of;
use super::lfs::{self, FileContent};
use super::objects::{Objects, commit_id, tag_target};
use super::submodules::{Beside, Found};
use crate::model::{Depth, FactsId, SourceNeeds, Submodules};

/// The commits of a history, as far as it goes.
#[derive(Debug, Default)]
pub(super) struct Past {
    /// The commits, each behind those of its parents that belong to it.
    pub(super) commits: Vec<Oid>,
    /// Those of them whose parents are left out because the depth ends there.
    pub(super) edge: BTreeSet<Oid>,
    /// Those of them whose parents are missing although the depth goes on.
    pub(super) cut: BTreeSet<Oid>,
}

/// The facts of a commit's source, ready to be sent.
pub struct Facts {
    pub(super) facts: SourceFacts,
    pub(super) bytes: Vec<u8>,
    /// The content of the blob with attributes.
    pub(super) attributes: Option<Vec<u8>>,
    /// The contents of files in Git LFS, by the blobs of their pointers.
    pub(super) contents: BTreeMap<Oid, FileContent>,
    /// The objects with those of the submodules, if there are any.
    pub(super) beside: Option<Beside>,
    /// The id by which they are named.
    pub id: FactsId,
}

/// A tag of a repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Tag {
    /// The name without `refs/tags/`.
    pub(super) name: String,
    /// The object that the ref names: a tag's own, or the commit.
    pub(super) object: Oid,
    pub(super) commit: Oid,
}

/// A blob that is in no repository.
pub(super) enum Made {
    Content(Vec<u8>),
    File(FileContent),
}

/// The content of a pack beside the trees of its commits.
#[derive(Default)]
pub(super) struct Extra {
    /// Commits of the history, each behind its parents, with everything of their trees.
    pub(super) past: Vec<Oid>,
    /// Commits of the history that the receiver has, with everything of their trees.
    pub(super) had: HashSet<Oid>,
    /// Further objects.
    pub(super) objects: Vec<Oid>,
    /// Blobs that are in no repository.
    pub(super) made: Vec<Made>,
    /// The commits of submodules, each with one that the receiver has in its place.
    pub(super) modules: Vec<(Oid, Option<Oid>)>,
}

impl Facts {
    fn of(facts: SourceFacts, attributes: Option<Vec<u8>>, format: ObjectFormat) -> Self {
        let bytes = facts.encode();
        let id = FactsId(commit_id(id_of(format, ObjectType::Blob, &bytes)));
        Self { facts, bytes, attributes, contents: BTreeMap::new(), beside: None, id }
    }

    /// Adds the submodules.
    pub(super) fn with(self, found: Found, wanted: Submodules) -> Self {
        let Found { modules, problems, beside, .. } = found;
        let format = beside.database.format();
        let facts = SourceFacts { has_submodules: wanted, submodules: modules, problems, ..self.facts };
        Self { beside: Some(beside), ..Self::of(facts, self.attributes, format) }
    }

    /// Adds the contents of files in Git LFS.
    pub(super) fn with_lfs(self, found: lfs::Found, format: ObjectFormat) -> Self {
        let lfs::Found { contents, problems } = found;
        let lfs = contents.iter().map(|(pointer, content)| (*pointer, content.id)).collect();
        let facts = SourceFacts { has_lfs: true, lfs, lfs_problems: problems, ..self.facts };
        Self { beside: self.beside, contents, ..Self::of(facts, self.attributes, format) }
    }

    /// The objects of the submodules too, if there are any.
    pub(super) fn database_or<'a>(&'a self, other: &'a Database) -> &'a Database {
        self.beside.as_ref().map_or(other, |beside| &beside.database)
    }
}

/// Finds the commits of the history of these commits, at most `depth` on each line. The commits in `shallow` count as
/// having no parents, as do those whose parents are not all there.
pub(super) fn walk(objects: &Objects, tips: &[Oid], depth: Depth, shallow: &BTreeSet<Oid>) -> Result<Past, GitError> {
    let mut past = Past::default();
    // The parents by which each commit is left.
    let mut found: HashMap<Oid, Vec<Oid>> = HashMap::new();
    let mut level: Vec<Oid> = tips.to_vec();
    let mut left = depth.0;
    // Level by level, so that each commit is met first where the most of the depth is left.
    while !level.is_empty() {
        let mut next = Vec::new();
        for commit in level {
            if found.contains_key(&commit) {
                continue;
            }
            let parents = objects.parents(commit)?;
            let followed = if parents.is_empty() {
                Vec::new()
            } else if left == 1 {
                past.edge.insert(commit);
                Vec::new()
            } else if shallow.contains(&commit) || !all_there(objects, &parents)? {
                past.cut.insert(commit);
                Vec::new()
            } else {
                parents.to_vec()
            };
            next.extend(followed.iter().copied().filter(|parent| !found.contains_key(parent)));
            found.insert(commit, followed);
        }
        level = next;
        left = if depth == Depth::FULL { left } else { left - 1 };
    }
    past.commits = in_order(tips, &found);
    Ok(past)
}

fn all_there(objects: &Objects, parents: &[Oid]) -> Result<bool, GitError> {
    for parent in parents {
        if objects.find_parents(*parent)?.is_none() {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Returns the commits that were found, each behind its parents. Keeps a list instead of recursing, because histories
/// are long.
fn in_order(tips: &[Oid], found: &HashMap<Oid, Vec<Oid>>) -> Vec<Oid> {
    let (mut ordered, mut seen) = (Vec::with_capacity(found.len()), HashSet::with_capacity(found.len()));
    // Each commit with the number of its parents that were entered.
    let mut open: Vec<(Oid, usize)> = Vec::new();
    for tip in tips {
        if seen.insert(*tip) {
            open.push((*tip, 0));
        }
        while let Some((commit, entered)) = open.last_mut() {
            let parent = found.get(commit).and_then(|parents| parents.get(*entered)).copied();
            *entered += 1;
            match parent {
                Some(parent) if seen.insert(parent) => open.push((parent, 0)),
                Some(_) => {}
                None => {
                    ordered.push(*commit);
                    open.pop();
                }
            }
        }
    }
    ordered
}

/// Makes the facts of the source of a commit: the history that there is, and those of the tags that are in it.
pub(super) fn facts_of(
    objects: &Objects,
    commit: Oid,
    needs: SourceNeeds,
    (tags, attributes): (&[Tag], Option<Vec<u8>>),
    is_partial: bool,
) -> Result<Facts, GitError> {
    // A partial clone has commits without their files, so no more than the commit itself can be sent.
    let known: BTreeSet<Oid> = is_partial.then_some(commit).into_iter().collect();
    let past = walk(objects, &[commit], needs.history, &known)?;
    let commits: HashSet<Oid> = if tags.is_empty() { HashSet::new() } else { past.commits.iter().copied().collect() };
    let tags = tags.iter().filter(|tag| commits.contains(&tag.commit) && is_tag_name(&tag.name));
    let tags = tags.map(|tag| (tag.name.clone(), tag.object)).collect();
    let format = objects.format();
    let attributes_id = attributes.as_ref().map(|text| id_of(format, ObjectType::Blob, text));
    let facts = SourceFacts {
        shallow: past.cut,
        has_tags: needs.tags,
        tags,
        attributes: attributes_id,
        ..SourceFacts::of(needs.history)
    };
    Ok(Facts::of(facts, attributes, format))
}

/// Selects what a pack with these facts of a commit holds for a receiver. `held` are commits that it has, with the
/// facts of their sources; `told` are facts of which it has everything but the history.
pub(super) fn extra(
    objects: &Objects,
    commit: Oid,
    facts: &SourceFacts,
    held: &[(Vec<Oid>, &SourceFacts)],
    told: &[&SourceFacts],
) -> Result<Extra, GitError> {
    let mut extra = Extra::default();
    for (commits, facts) in held {
        let there: Vec<Oid> = commits.iter().copied().filter(|id| objects.has_commit(commit_id(*id))).collect();
        extra.had.extend(walk(objects, &there, facts.history, &facts.shallow)?.commits);
    }
    extra.past = walk(objects, &[commit], facts.history, &facts.shallow)?.commits;
    extra.past.retain(|commit| !extra.had.contains(commit));
    for (path, module) in &facts.submodules {
        let mut had = told.iter().filter_map(|told| told.submodules.get(path)).map(|module| module.commit);
        let first = had.next();
        if !first.into_iter().chain(had).any(|had| had == module.commit) {
            extra.modules.push((module.commit, first));
        }
    }
    let odb = objects.odb()?;
    for (name, object) in &facts.tags {
        if told.iter().all(|told| told.tags.get(name) != Some(object)) {
            push_tags(objects, &odb, *object, &mut extra.objects)?;
        }
    }
    Ok(extra)
}

/// Adds the object of an annotated tag, and of those that it leads to. A commit is part of the history.
pub(super) fn push_tags(objects: &Objects, odb: &Odb<'_>, of: Oid, into: &mut Vec<Oid>) -> Result<(), GitError> {
    let mut id = of;
    while objects.header(odb, id)?.1 == ObjectType::Tag {
        into.push(id);
        let Some(target) = tag_target(objects.tag(odb, id)?.data()) else { return Ok(()) };
        id = objects.id(target)?;
    }
    Ok(())
}
