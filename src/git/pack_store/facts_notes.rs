//! The notes of a store that tell of which commits it has the facts, and with them the history. One file for each
//! commit in the directory `facts`, with a line for each facts' id, the newest last. A note is written when everything
//! that the facts name is in the store, and durable.

use std::collections::{BTreeMap, HashSet};
use std::fs::{self, File};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

use git2::Oid;

use crate::git::error::GitError;
use crate::git::facts::{FACTS_BYTES_MAX, SourceFacts};
use crate::git::history::{Extra, push_tags, walk};
use crate::git::incoming::sync;
use crate::git::objects::{Objects, of_its_type};
use crate::git::receiver::Landing;
use crate::model::{CommitId, FactsId};

/// The most notes of a store, and how many are left when there are more. The source of a commit without one is asked
/// for again.
const NOTES_MAX: usize = 2_000;
const NOTES_LEFT: usize = 1_000;

/// The most facts that are noted of one commit: those of later times have other tags.
const FACTS_OF_COMMIT_MAX: usize = 50;

fn directory(store: &Path) -> PathBuf {
    store.join("facts")
}

/// Returns the noted facts of a commit, the newest last.
pub(super) fn of(store: &Path, commit: CommitId) -> Vec<FactsId> {
    let text = fs::read_to_string(directory(store).join(commit.to_string())).unwrap_or_default();
    text.lines().filter_map(|line| line.parse().ok()).collect()
}

/// Returns the names of the commits that have notes.
pub(super) fn names(store: &Path) -> HashSet<String> {
    let Ok(entries) = fs::read_dir(directory(store)) else { return HashSet::new() };
    entries.flatten().filter_map(|entry| entry.file_name().into_string().ok()).collect()
}

/// Reads facts; `None` if the store does not have them, or if the blob holds none.
pub(in crate::git) fn read(objects: &Objects, id: FactsId) -> Result<Option<SourceFacts>, GitError> {
    let odb = objects.odb()?;
    let oid = objects.id(id.0)?;
    if !odb.exists(oid) || objects.header(&odb, oid)?.0 > FACTS_BYTES_MAX {
        return Ok(None);
    }
    let blob = of_its_type(objects.blob(&odb, oid))?;
    Ok(blob.and_then(|blob| SourceFacts::parse(blob.data())))
}

/// Notes facts of a commit.
pub(super) fn add(store: &Path, commit: CommitId, id: FactsId) -> Result<(), GitError> {
    let mut known = of(store, commit);
    known.retain(|other| *other != id);
    known.push(id);
    let surplus = known.len().saturating_sub(FACTS_OF_COMMIT_MAX);
    let text: String = known[surplus..].iter().map(|id| format!("{id}\n")).collect();
    let (directory, name) = (directory(store), commit.to_string());
    if let Err(error) = fs::create_dir(&directory)
        && error.kind() != ErrorKind::AlreadyExists
    {
        return Err(GitError::io("make directory", &directory)(error));
    }
    let path = directory.join(&name);
    let mut fresh =
        tempfile::Builder::new().prefix(".new-").tempfile_in(&directory).map_err(GitError::io("make", &path))?;
    let written = fresh.write_all(text.as_bytes()).and_then(|()| fresh.as_file().sync_all());
    written.map_err(GitError::io("write", &path))?;
    fresh.persist(&path).map_err(|error| GitError::io("move into place", &path)(error.error))?;
    sync(&directory)
}

/// Returns what must be kept for the notes of these commits.
pub(in crate::git) fn kept(landing: &Landing, objects: &Objects, needed: &[CommitId]) -> Result<Extra, GitError> {
    let mut commits: BTreeMap<FactsId, Vec<Oid>> = BTreeMap::new();
    for commit in needed {
        for id in of(&landing.store, *commit) {
            commits.entry(id).or_default().push(objects.id(*commit)?);
        }
    }
    let (mut extra, mut seen) = (Extra::default(), HashSet::new());
    let odb = objects.odb()?;
    for (id, tips) in commits {
        let Some(facts) = read(objects, id)? else { continue };
        let past = walk(objects, &tips, facts.history, &facts.shallow)?.commits;
        extra.past.extend(past.into_iter().filter(|commit| seen.insert(*commit)));
        extra.objects.push(objects.id(id.0)?);
        extra.objects.extend(facts.attributes);
        extra.objects.extend(facts.lfs.values());
        extra.modules.extend(facts.submodules.values().map(|module| (module.commit, None)));
        for object in facts.tags.values() {
            push_tags(objects, &odb, *object, &mut extra.objects)?;
        }
    }
    Ok(extra)
}

/// Removes the notes of all other commits, whose history is not kept.
pub(in crate::git) fn remove_others(store: &Path, needed: &[CommitId]) -> Result<(), GitError> {
    let needed: HashSet<String> = needed.iter().map(CommitId::to_string).collect();
    for name in names(store).difference(&needed) {
        remove(&directory(store).join(name))?;
    }
    Ok(())
}

/// Removes the oldest notes if there are too many.
pub(in crate::git) fn trim(store: &Path) -> Result<(), GitError> {
    let names = names(store);
    if names.len() <= NOTES_MAX {
        return Ok(());
    }
    let directory = directory(store);
    let mut dated: Vec<_> = names
        .into_iter()
        .map(|name| directory.join(name))
        .map(|path| (File::open(&path).and_then(|file| file.metadata()?.modified()).ok(), path))
        .collect();
    dated.sort();
    let surplus = dated.len() - NOTES_LEFT;
    dated.into_iter().take(surplus).try_for_each(|(_, path)| remove(&path))
}

fn remove(path: &Path) -> Result<(), GitError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(GitError::io("remove", path)(error)),
        Ok(()) | Err(_) => Ok(()),
    }
}
