//! The histories in a store: what is noted of commits beside their trees, and packs with it.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use git2::Oid;

use super::{Landing, PackStore, facts_notes, lfs_notes};
use crate::git::error::GitError;
use crate::git::facts::SourceFacts;
use crate::git::history::{Extra, extra};
use crate::git::objects::{Objects, commit_id, incomplete};
use crate::git::pack::{self, Sink};
use crate::model::{CommitId, Depth, FactsId, SourceNeeds};

/// The facts of a commit's source in a store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KnownFacts {
    pub id: FactsId,
    /// The facts by which a tree can have them.
    pub enough_for: SourceNeeds,
    /// Whether they say how files are written.
    pub has_attributes: bool,
    /// Why submodules are missing, a sentence each.
    pub problems: Vec<String>,
    /// Why contents in Git LFS are missing, a sentence each.
    pub lfs_problems: Vec<String>,
}

impl PackStore {
    /// Whether the store has these facts of a commit, and all that they name.
    pub fn has_facts(&self, commit: CommitId, id: FactsId) -> bool {
        let is_there = |objects: &Objects| Ok(objects.odb()?.exists(objects.id(id.0)?));
        facts_notes::of(&self.landing.store, commit).contains(&id) && self.database().with(is_there).unwrap_or(false)
    }

    /// Returns the newest facts of a commit's source. `None` if none are known.
    pub fn newest_facts(&self, commit: CommitId) -> Option<KnownFacts> {
        let id = *facts_notes::of(&self.landing.store, commit).last()?;
        let facts = self.database().with(|objects| facts_notes::read(objects, id)).ok()??;
        // Facts hold all tags of their history, or none.
        let enough_for = SourceNeeds {
            history: facts.history,
            tags: facts.has_tags,
            submodules: facts.has_submodules,
            lfs: facts.has_lfs,
        };
        let has_attributes = facts.attributes.is_some();
        Some(KnownFacts { id, enough_for, has_attributes, problems: facts.problems, lfs_problems: facts.lfs_problems })
    }

    /// Notes the facts of a commit's source, when they and all that they name have been received. An error that
    /// something is missing has the remedy that all of it is sent again.
    pub fn note_facts(&self, commit: CommitId, id: FactsId) -> Result<(), GitError> {
        let store = &self.landing.store;
        if facts_notes::of(store, commit).last() == Some(&id) {
            return Ok(());
        }
        self.database().with(|objects| self.check_facts(objects, commit, id)).map_err(incomplete(commit, store))?;
        // The note may not be durable sooner than what it tells of.
        self.sync_noted()?;
        self.landing.sync_packs()?;
        facts_notes::add(store, commit, id)
    }

    /// Checks that everything is there that the facts name: all commits of the history, up to those whose own history
    /// is known to be there, and the tags.
    fn check_facts(&self, objects: &Objects, commit: CommitId, id: FactsId) -> Result<(), GitError> {
        let store = &self.landing.store;
        let missing = |missing: String| GitError::Incomplete { commit, path: store.clone(), missing };
        let facts = facts_notes::read(objects, id)?.ok_or_else(|| missing(format!("blob {id} with its facts")))?;
        let noted = facts_notes::names(store);
        let mut known: BTreeMap<FactsId, Option<SourceFacts>> = BTreeMap::new();
        // The facts of commits at which the search ended.
        let mut ends: BTreeSet<FactsId> = BTreeSet::new();
        let (mut seen, mut level, mut left) = (HashSet::new(), vec![objects.id(commit)?], facts.history.0);
        while !level.is_empty() {
            let mut next = Vec::new();
            for at in level {
                if !seen.insert(at) {
                    continue;
                }
                let Some(parents) = objects.find_parents(at)? else { return Err(missing(format!("commit {at}"))) };
                if seen.len() > 1 && noted.contains(&at.to_string()) {
                    let enough = facts_notes::of(store, commit_id(at)).into_iter().find(|id| {
                        let of =
                            known.entry(*id).or_insert_with(|| facts_notes::read(objects, *id).unwrap_or_default());
                        of.as_ref().is_some_and(|of| of.history.0 >= left && of.shallow.is_subset(&facts.shallow))
                    });
                    if let Some(id) = enough {
                        ends.insert(id);
                        continue;
                    }
                }
                if left > 1 && !facts.shallow.contains(&at) {
                    next.extend(parents.iter().copied());
                }
            }
            level = next;
            left = if facts.history == Depth::FULL { left } else { left - 1 };
        }
        if let Some(attributes) = facts.attributes
            && !objects.odb()?.exists(attributes)
        {
            return Err(missing(format!("blob {attributes} with attributes")));
        }
        for (pointer, content) in &facts.lfs {
            if !lfs_notes::check((store, objects), *pointer, *content)? {
                return Err(missing(format!("blob {content} with the content of {pointer}")));
            }
        }
        for (path, module) in &facts.submodules {
            if !objects.has_commit(commit_id(module.commit)) {
                return Err(missing(format!("commit {} of submodule {path}", module.commit)));
            }
        }
        let is_known = |name: &String, object: &Oid| {
            let of = |id: &FactsId| known.get(id).and_then(Option::as_ref);
            ends.iter().filter_map(of).any(|facts| facts.tags.get(name) == Some(object))
        };
        for (name, object) in facts.tags.iter().filter(|(name, object)| !is_known(name, object)) {
            let peeled = objects.peel(commit_id(*object))?;
            if peeled.is_none_or(|peeled| !objects.has_commit(peeled.commit)) {
                return Err(missing(format!("the commit of tag {name}")));
            }
        }
        Ok(())
    }

    /// Like [`Self::pack`], with the facts of the commit and all that they name. `held` are the facts of the commits
    /// that the receiver has, as far as it knows them.
    pub fn pack_with_facts(
        &self,
        (commit, id): (CommitId, FactsId),
        haves: &[CommitId],
        held: &[(CommitId, FactsId)],
        sink: Sink<'_>,
    ) -> Result<(), GitError> {
        let Landing { store, database, .. } = &*self.landing;
        let packs = store.join("objects").join("pack");
        let select = |objects: &Objects| -> Result<Extra, GitError> {
            let facts = facts_notes::read(objects, id)?.ok_or_else(|| GitError::Incomplete {
                commit,
                path: store.clone(),
                missing: format!("blob {id} with its facts"),
            })?;
            let mut by_facts: BTreeMap<FactsId, Vec<Oid>> = BTreeMap::new();
            for (commit, id) in held {
                by_facts.entry(*id).or_default().push(objects.id(*commit)?);
            }
            let mut of_held = Vec::new();
            for (id, commits) in by_facts {
                of_held.extend(facts_notes::read(objects, id)?.map(|facts| (commits, facts)));
            }
            let told: Vec<_> = of_held.iter().map(|(_, facts)| facts).collect();
            let borrowed: Vec<_> = of_held.iter().map(|(commits, facts)| (commits.clone(), facts)).collect();
            let mut extra = extra(objects, objects.id(commit)?, &facts, &borrowed, &told)?;
            extra.objects.push(objects.id(id.0)?);
            extra.objects.extend(facts.attributes);
            let is_told = |pointer, content| told.iter().any(|told| told.lfs.get(pointer) == Some(content));
            let contents = facts.lfs.iter().filter(|(pointer, content)| !is_told(pointer, content));
            extra.objects.extend(contents.map(|(_, content)| content));
            Ok(extra)
        };
        pack::build(database, Some(&packs), &[commit], haves, select, sink).map_err(incomplete(commit, store))
    }

    /// Returns the error of a commit of which something is missing. Its remedy is to send all of it.
    pub fn incomplete(&self, commit: CommitId, missing: String) -> GitError {
        GitError::Incomplete { commit, path: self.landing.store.clone(), missing }
    }

    /// Returns the newest facts that are noted of each of these commits.
    pub fn noted_facts(&self, commits: &[CommitId]) -> Vec<(CommitId, FactsId)> {
        let newest = |commit: &CommitId| Some((*commit, *facts_notes::of(&self.landing.store, *commit).last()?));
        commits.iter().filter_map(newest).collect()
    }
}
