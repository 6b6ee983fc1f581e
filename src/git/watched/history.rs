//! The history of commits of a watched repository, with its tags and attributes, as it goes along with their source.

use std::fs::File;
use std::io::{ErrorKind, Read};
use std::path::Path;

use git2::Oid;

use super::Watched;
use crate::git::commit_files;
use crate::git::database::Database;
use crate::git::error::GitError;
use crate::git::history::{self, Extra, Facts, Made, Tag};
use crate::git::lfs;
use crate::git::objects::{Objects, Peeled};
use crate::git::pack::{self, Sink};
use crate::git::partial_clone::is_partial_clone;
use crate::git::remote;
use crate::git::submodules::{self, ModulePlace, Superproject};
use crate::git::uncommitted::UncommittedWork;
use crate::model::{CommitId, RefName, SourceNeeds, Submodules};

const TAGS: &str = "refs/tags/";

/// The largest `info/attributes` that is sent along.
const ATTRIBUTES_BYTES_MAX: u64 = 100 << 20;

/// The places for what is fetched beside a watched repository.
#[derive(Debug, Clone, Copy)]
pub struct SourcePlaces<'a> {
    /// The directory with a directory for submodules, and one for LFS objects.
    pub work: &'a Path,
    /// The URL of the repository, if its own configuration does not tell it.
    pub base: Option<&'a str>,
}

impl Watched {
    /// Returns the facts of a commit's source, as far as they are wanted: with the history that the repository has, and
    /// its tags. The repository's own attributes are among them. `None` if there is nothing but the commit.
    pub fn facts(
        &self,
        commit: CommitId,
        needs: SourceNeeds,
        places: SourcePlaces<'_>,
    ) -> Result<Option<Facts>, GitError> {
        self.facts_in(&self.database, commit, needs, places)
    }

    /// Reads a file of a commit. `None` if there is none, or one with more than `limit` bytes.
    pub fn read_file(&self, commit: CommitId, path: &str, limit: usize) -> Result<Option<Vec<u8>>, GitError> {
        read_small_file(&self.database, commit, path, limit)
    }

    /// Like [`Self::pack`], with the facts of the newest of the commits and all that they name. The receiver is taken
    /// to have as much history of the commits in `haves`, and the tags of `told`.
    pub fn pack_with_facts(
        &self,
        commits: &[CommitId],
        haves: &[CommitId],
        (facts, told): (&Facts, Option<&Facts>),
        sink: Sink<'_>,
    ) -> Result<(), GitError> {
        let select = |objects: &Objects| select(objects, commits, haves, facts, told);
        let packs = self.common_dir.join("objects").join("pack");
        // A repository may have no packs, and a linked worktree has none of its own.
        let packs = Some(&*packs).filter(|packs| packs.is_dir());
        pack::build(facts.database_or(&self.database), packs, commits, haves, select, sink)
    }

    fn facts_in(
        &self,
        database: &Database,
        commit: CommitId,
        needs: SourceNeeds,
        places: SourcePlaces<'_>,
    ) -> Result<Option<Facts>, GitError> {
        let attributes = self.attributes()?;
        if needs == SourceNeeds::NOTHING && attributes.is_none() {
            return Ok(None);
        }
        let tags = if needs.tags { self.tags()? } else { Vec::new() };
        let is_partial = is_partial_clone(&self.common_dir);
        let facts = database.with(|objects| {
            let tag = |(name, object, commit): &(String, CommitId, CommitId)| {
                let (object, commit) = (objects.id(*object).ok()?, objects.id(*commit).ok()?);
                Some(Tag { name: name.clone(), object, commit })
            };
            let tags: Vec<Tag> = tags.iter().filter_map(tag).collect();
            history::facts_of(objects, objects.id(commit)?, needs, (&tags, attributes.clone()), is_partial)
        })?;
        let (facts, modules) = if needs.submodules == Submodules::No {
            (facts, Vec::new())
        } else {
            let mut found = self.submodules(database, commit, needs.submodules, places)?;
            let modules = std::mem::take(&mut found.places);
            (facts.with(found, needs.submodules), modules)
        };
        if !needs.lfs {
            return Ok(Some(facts));
        }
        let attributes = facts.facts.attributes.zip(facts.attributes.as_deref());
        let found = self.lfs((database, attributes), commit, &modules, places)?;
        Ok(Some(facts.with_lfs(found, database.format())))
    }

    /// Finds the contents in Git LFS of a commit, and of its submodules.
    fn lfs(
        &self,
        (database, attributes): (&Database, Option<(Oid, &[u8])>),
        commit: CommitId,
        modules: &[ModulePlace],
        places: SourcePlaces<'_>,
    ) -> Result<lfs::Found, GitError> {
        let own = || self.remote_url().map_err(|error| without_remote(&error));
        let remote = places.base.map_or_else(own, |url| Ok(url.to_owned()));
        let (git_dir, cache) = (&*self.common_dir, &places.work.join("lfs"));
        let mut found = lfs::Found::default();
        let place = lfs::Place { prefix: "", database, commit, attributes, git_dir, remote, cache };
        lfs::find(&place, &self.verified, &mut found)?;
        for ModulePlace { path, commit, objects, fetched_from } in modules {
            let git_dir = objects.parent().unwrap_or(Path::new("/"));
            // A commit does not say from where the contents of a submodule come that is on this machine.
            let own = || remote::url(git_dir, git_dir).map_err(|error| without_remote(&error));
            let remote = fetched_from.clone().map_or_else(own, Ok);
            let database = &Database::open(objects, database.format(), objects.join("pack"))?;
            let (prefix, commit, attributes) = (&*format!("{path}/"), *commit, None);
            let place = lfs::Place { prefix, database, commit, attributes, git_dir, remote, cache };
            lfs::find(&place, &self.verified, &mut found)?;
        }
        Ok(found)
    }

    fn submodules(
        &self,
        database: &Database,
        commit: CommitId,
        wanted: Submodules,
        places: SourcePlaces<'_>,
    ) -> Result<submodules::Found, GitError> {
        let of = Superproject {
            objects: database.directory().to_owned(),
            format: database.format(),
            commit,
            base: places.base.map_or_else(|| self.base(), str::to_owned),
            git_dir: self.common_dir.clone(),
            cache: &places.work.join("submodules"),
        };
        submodules::find(&of, wanted)
    }

    /// Returns the URL from which relative URLs of submodules count: that of the remote, else the repository itself.
    fn base(&self) -> String {
        let own = || self.path.canonicalize().unwrap_or_else(|_| self.path.clone()).to_string_lossy().into_owned();
        self.remote_url().unwrap_or_else(|_| own())
    }

    /// Returns the tags that lead to a commit: name, object and commit.
    fn tags(&self) -> Result<Vec<(String, CommitId, CommitId)>, GitError> {
        let mut found = Vec::new();
        for (name, object) in self.refs.list(TAGS)? {
            if let Some(Peeled { commit, .. }) = self.peel(&RefName::new(&name), object)?
                && let Some(short) = name.strip_prefix(TAGS)
            {
                found.push((short.to_owned(), object, commit));
            }
        }
        Ok(found)
    }

    /// Returns the repository's `info/attributes`; `None` if there is nothing in it.
    fn attributes(&self) -> Result<Option<Vec<u8>>, GitError> {
        let path = self.common_dir.join("info").join("attributes");
        let file = match File::open(&path) {
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => return Ok(None),
            opened => opened.map_err(GitError::io("open", &path))?,
        };
        // git reads no larger file.
        let meta = file.metadata().map_err(GitError::io("open", &path))?;
        if !meta.is_file() || meta.len() > ATTRIBUTES_BYTES_MAX {
            return Ok(None);
        }
        let mut text = Vec::new();
        file.take(ATTRIBUTES_BYTES_MAX).read_to_end(&mut text).map_err(GitError::io("read", &path))?;
        let says_something =
            text.split(|byte| *byte == b'\n').any(|line| !line.trim_ascii().is_empty() && !line.starts_with(b"#"));
        Ok(says_something.then_some(text))
    }
}

impl UncommittedWork {
    /// Like [`Watched::facts`], for a commit on top of one of `watched`.
    pub fn facts(
        &self,
        watched: &Watched,
        needs: SourceNeeds,
        places: SourcePlaces<'_>,
    ) -> Result<Option<Facts>, GitError> {
        watched.facts_in(self.database(), self.commit, needs, places)
    }

    /// Like [`Watched::read_file`].
    pub fn read_file(&self, path: &str, limit: usize) -> Result<Option<Vec<u8>>, GitError> {
        read_small_file(self.database(), self.commit, path, limit)
    }

    /// Like [`Watched::pack_with_facts`].
    pub fn pack_with_facts(&self, haves: &[CommitId], facts: &Facts, sink: Sink<'_>) -> Result<(), GitError> {
        let select = |objects: &Objects| select(objects, &[self.commit], haves, facts, None);
        pack::build(facts.database_or(self.database()), None, &[self.commit], haves, select, sink)
    }
}

/// Says why LFS objects of a repository are fetched from nowhere.
fn without_remote(error: &GitError) -> String {
    if let GitError::NoRemote { path } = error {
        return format!("{} has no remote from which LFS objects could be fetched", path.display());
    }
    if let GitError::SeveralRemotes { path, .. } = error {
        let path = path.display();
        return format!(
            "{path} has several remotes and none is called origin: `git config lfs.url URL` says from where LFS objects \
             are fetched"
        );
    }
    error.to_string()
}

fn read_small_file(
    database: &Database,
    commit: CommitId,
    path: &str,
    limit: usize,
) -> Result<Option<Vec<u8>>, GitError> {
    match database.with(|objects| commit_files::read_file(objects, &objects.odb()?, (commit, path), limit)) {
        Err(GitError::TooLarge { .. }) => Ok(None),
        read => read,
    }
}

fn select(
    objects: &Objects,
    commits: &[CommitId],
    haves: &[CommitId],
    facts: &Facts,
    told: Option<&Facts>,
) -> Result<Extra, GitError> {
    let Some(newest) = commits.last() else { return Ok(Extra::default()) };
    let held = haves.iter().filter_map(|have| objects.id(*have).ok()).collect();
    let told = told.filter(|_| !haves.is_empty());
    let mut extra = history::extra(
        objects,
        objects.id(*newest)?,
        &facts.facts,
        &[(held, &facts.facts)],
        told.map(|told| &told.facts).as_slice(),
    )?;
    if told.is_none_or(|told| told.id != facts.id) {
        extra.made.push(Made::Content(facts.bytes.clone()));
    }
    if told.is_none_or(|told| told.facts.attributes != facts.facts.attributes) {
        extra.made.extend(facts.attributes.clone().map(Made::Content));
    }
    for (pointer, content) in &facts.contents {
        if told.is_none_or(|told| told.facts.lfs.get(pointer) != Some(&content.id)) {
            extra.made.push(Made::File(content.clone()));
        }
    }
    Ok(extra)
}
