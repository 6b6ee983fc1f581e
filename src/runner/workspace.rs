//! The work trees of one slot. Gets a commit's source into the repository's store, and the slot's tree to exactly that
//! commit. A tree that cannot be cleaned goes to quarantine, and a fresh one takes its place; so does a store that
//! cannot give a commit that it claims to have. Tells for each failure whether it is the runner's or the task's. The
//! slot calls it.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crossbeam_channel::{Receiver, Sender, bounded, select};

use super::assignment::{Assignment, HeldSource, SourceAhead};
use super::blobs::Repositories;
use super::layout::Layout;
use super::limits::{OPEN_REPOS, PACK_CAPACITY};
use super::routes::Piece;
use super::shared_repos::{Changing, SharedRepo, SharedRepos};
use crate::clock;
use crate::error_chain::chain;
use crate::git::{CommitText, GitError, PackStore, TreeSource, Watched, WorkTree};
use crate::model::reason::LossReason;
use crate::model::{CommitId, Outcome, RepoName};

/// Asks the dispatcher for the attempt's source, given what is here. The pieces come back by the channel,
/// which closes if the session ends.
pub(super) type Ask<'a> = &'a dyn Fn(HeldSource, Sender<Piece>);

/// The work trees of one slot.
pub(super) struct Workspace {
    layout: Arc<Layout>,
    repos: Arc<SharedRepos>,
    slot: usize,
    local_source: Option<PathBuf>,
    /// The open repositories, the most recently used last.
    open: Vec<OpenRepo>,
    /// Fetches since the last repack.
    pub(super) untidied: u32,
}

struct OpenRepo {
    repo: RepoName,
    shared: Arc<SharedRepo>,
    store: PackStore,
    tree: WorkTree,
    /// The text of the commit to which the tree was brought. The jobs of a build read it once.
    text: Option<(CommitId, CommitText)>,
}

/// The outcome of an attempt whose tree could not be prepared.
type NotReady = Outcome;

fn lost(what: &str, error: &GitError) -> NotReady {
    if error.is_disk_full() {
        return Outcome::Lost(LossReason::disk_full());
    }
    Outcome::Lost(format!("{what}: {}", chain(error)).into())
}

impl Workspace {
    pub(super) fn new(layout: Arc<Layout>, repos: Arc<SharedRepos>, slot: usize, local: Option<PathBuf>) -> Self {
        Self { layout, repos, slot, local_source: local, open: Vec::new(), untidied: 0 }
    }

    /// Brings the slot's tree to the commit and returns its path. Returns [`Outcome::Cancelled`] if a message came on
    /// `cancel` first; that message is taken.
    pub(super) fn prepare(
        &mut self,
        assignment: &Assignment,
        ask: Ask<'_>,
        cancel: &Receiver<()>,
    ) -> Result<PathBuf, NotReady> {
        let (repo, commit) = (&assignment.repo, assignment.commit);
        let mut open = match self.take(repo, commit) {
            Ok(open) => open,
            Err(error) if error.is_disk_full() => return Err(lost("could not open the store", &error)),
            // Somebody removed or replaced a part of it. An empty one takes its place.
            Err(error) => {
                self.set_aside(repo, &error, cancel)?;
                self.take(repo, commit).map_err(|error| lost("could not open the store", &error))?
            }
        };
        if !has_all(&open, assignment) {
            self.untidied += 1;
            self.fetch(&open, assignment, ask, cancel)?;
        }
        // The repository is put back only after a success: after a failure the next attempt opens everything anew.
        self.bring(&mut open, assignment, cancel)?;
        if open.text.as_ref().is_none_or(|(known, _)| *known != commit) {
            open.text = open.store.describe(commit).ok().map(|text| (commit, text));
        }
        self.open.push(open);
        Ok(self.layout.tree(repo, self.slot))
    }

    /// Returns what the log of the last attempt that was prepared says of its tree.
    pub(super) fn notes(&self) -> impl Iterator<Item = &'static str> {
        self.open.last().into_iter().flat_map(|open| open.tree.notes())
    }

    /// Returns the text of the commit to which the slot's tree was brought; `None` if it cannot be read.
    pub(super) fn text(&self) -> Option<&CommitText> {
        self.open.last()?.text.as_ref().map(|(_, text)| text)
    }

    /// Returns what of the commit is in the way of a path in the slot's tree: of a directory, or of a file or link.
    pub(super) fn in_the_way(&self, path: &str, is_directory: bool) -> Option<String> {
        self.open.last()?.tree.in_the_way(path, is_directory)
    }

    /// The repositories in the tree that was prepared last.
    pub(super) fn repositories(&self) -> Repositories {
        Repositories::of(self.open.last().into_iter().flat_map(|open| open.tree.submodules()))
    }

    /// Takes in source that came ahead of its lease. If objects are still missing, the attempt asks for them.
    pub(super) fn take_ahead(&mut self, ahead: &SourceAhead) {
        let SourceAhead { repo, commit, pack } = ahead;
        let taken = self.take(repo, *commit).map_err(|error| chain(&error)).and_then(|open| {
            // A slot that fetches just now may be fetching this commit, so this does not wait for it.
            if let Some(_changing) = open.shared.try_change() {
                let mut receiver = open.store.receive().map_err(|error| chain(&error))?;
                receiver.write(pack).and_then(|()| receiver.finish(*commit, false)).map_err(|error| chain(&error))?;
                open.shared.add(*commit);
            }
            Ok(open)
        });
        match taken {
            Ok(open) => {
                self.untidied += 1;
                self.open.push(open);
            }
            Err(why) => log::info!("pushed source of commit {} of {repo} is not usable: {why}", commit.short()),
        }
    }

    /// Writes the list of commits to its file. Called after an attempt, when nothing waits.
    pub(super) fn save(&self) {
        if let Some(open) = self.open.last() {
            open.shared.save();
        }
    }

    /// Repacks the store. Called when the slot is idle.
    pub(super) fn tidy(&mut self) {
        self.untidied = 0;
        let Some(open) = self.open.last() else { return };
        let Some(_changing) = open.shared.try_change() else { return };
        if let Err(error) = open.store.tidy() {
            log::warn!("could not tidy the store of {}: {}", open.repo, chain(&error));
        }
    }

    /// Takes the open repository out of the list, or opens it. The caller puts it back after a success.
    fn take(&mut self, repo: &RepoName, like: CommitId) -> Result<OpenRepo, GitError> {
        let path = self.layout.store(repo);
        if let Some(at) = self.open.iter().position(|open| open.repo == *repo) {
            let open = self.open.remove(at);
            if path.join("objects/pack").is_dir() && open.tree.is_in_place() {
                return Ok(open);
            }
            log::warn!("something removed the store or the work tree of {repo}, which are opened anew");
        }
        if self.open.len() >= OPEN_REPOS {
            self.open.remove(0);
        }
        let store = PackStore::open(&path, like)?;
        let (shared, tree) = (self.repos.repo(repo), self.open_tree(repo)?);
        Ok(OpenRepo { repo: repo.clone(), shared, store, tree, text: None })
    }

    fn open_tree(&self, repo: &RepoName) -> Result<WorkTree, GitError> {
        WorkTree::open(&self.layout.store(repo), &self.layout.tree(repo, self.slot))
    }

    /// Moves the store of a repository, and this slot's tree of it, to quarantine, because they cannot be opened.
    fn set_aside(&self, repo: &RepoName, why: &GitError, cancel: &Receiver<()>) -> Result<(), NotReady> {
        let shared = self.repos.repo(repo);
        let Some(_changing) = shared.change(cancel) else { return Err(Outcome::Cancelled) };
        // Another slot may have done it, while this one waited.
        log::error!("the store or the work tree of {repo} cannot be opened ({}): they go to quarantine", chain(why));
        let tree = self.layout.tree(repo, self.slot);
        let note = tree.with_added_extension("index");
        let parent = tree.parent().filter(|parent| !parent.is_dir()).map(Path::to_owned);
        let places = [(format!("{repo}.git"), self.layout.store(repo)), (format!("{repo}.slot{}", self.slot), tree)];
        let more =
            [(format!("{repo}.note"), note)].into_iter().chain(parent.map(|parent| (format!("{repo}.trees"), parent)));
        for (name, path) in places.into_iter().chain(more) {
            match fs::rename(&path, self.layout.quarantine(&name)) {
                Err(error) if !matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
                    log::error!("could not move {} to quarantine: {error}", path.display());
                }
                Ok(()) | Err(_) => {}
            }
        }
        shared.clear();
        Ok(())
    }

    fn bring(&self, open: &mut OpenRepo, assignment: &Assignment, cancel: &Receiver<()>) -> Result<(), NotReady> {
        let (commit, keep, source) = (assignment.commit, &assignment.recipe.keep, tree_source(open, assignment));
        // A task may have left files that cannot be removed, so a failure is no proof of a bad commit: it is tried
        // again in a fresh tree.
        let begun = clock::instant();
        let Err(first) = open.tree.check_out_with(commit, keep, source) else {
            let (whole, repositories) = (begun.elapsed(), open.tree.repositories_took());
            log::debug!("attempt {}: checked out in {whole:.1?}, .git in {repositories:.1?}", assignment.attempt);
            return Ok(());
        };
        if is_the_commits_fault(&first) {
            return Err(Outcome::CouldNotStart(chain(&first)));
        }
        if first.is_disk_full() {
            return Err(lost("could not check out the commit", &first));
        }
        log::warn!("attempt {}: {}: the tree goes to quarantine", assignment.attempt, chain(&first));
        let place = self.layout.quarantine(&format!("{}.slot{}", open.repo, self.slot));
        let fresh = || self.open_tree(&assignment.repo).map_err(|error| lost("could not open the work tree", &error));
        let spoiled = std::mem::replace(&mut open.tree, fresh()?);
        spoiled.quarantine(&place).map_err(|e| lost("could not move the work tree to quarantine", &e))?;
        open.tree = fresh()?;
        let Err(second) = open.tree.check_out_with(commit, keep, source) else { return Ok(()) };
        if is_the_commits_fault(&second) {
            return Err(Outcome::CouldNotStart(chain(&second)));
        }
        if !second.is_disk_full() {
            self.distrust(open, commit, cancel);
        }
        Err(lost("could not check out the commit, also into a fresh tree", &second))
    }

    /// Moves a store to quarantine that has the commit but cannot give it. The next attempt begins with an empty store.
    fn distrust(&self, open: &OpenRepo, commit: CommitId, cancel: &Receiver<()>) {
        let Some(damage) = open.store.check(commit).err().filter(GitError::is_damage) else { return };
        let Some(_changing) = open.shared.change(cancel) else { return };
        log::error!("the store of {} is broken ({}): it goes to quarantine", open.repo, chain(&damage));
        let place = self.layout.quarantine(&format!("{}.git", open.repo));
        match fs::rename(self.layout.store(&open.repo), &place) {
            Ok(()) => open.shared.clear(),
            Err(error) => log::error!("could not move the store of {}: {error}", open.repo),
        }
    }

    /// Gets the source into the store, unless another slot does so meanwhile.
    fn fetch(
        &self,
        open: &OpenRepo,
        assignment: &Assignment,
        ask: Ask<'_>,
        cancel: &Receiver<()>,
    ) -> Result<(), NotReady> {
        let commit = assignment.commit;
        let Some(changing) = open.shared.change(cancel) else { return Err(Outcome::Cancelled) };
        if has_all(open, assignment) {
            return Ok(());
        }
        let is_here = open.store.has(commit) || self.fetch_locally(open, commit);
        // Only the dispatcher tells the facts of a source.
        if !is_here || assignment.recipe.facts.is_some() {
            fetch_from_dispatcher(open, commit, ask, cancel, &changing)?;
        }
        open.shared.add(commit);
        Ok(())
    }

    /// Takes the objects from the repository that the runner was given, if that has the commit.
    fn fetch_locally(&self, open: &OpenRepo, commit: CommitId) -> bool {
        let Some(path) = &self.local_source else { return false };
        let copy = || -> Result<bool, GitError> {
            let local = Watched::open(path)?;
            if !local.has(commit) {
                return Ok(false);
            }
            open.store.take_from(&local, commit, &open.shared.recent())?;
            Ok(true)
        };
        copy().unwrap_or_else(|error| {
            log::warn!("could not take commit {} from {}: {}", commit.short(), path.display(), chain(&error));
            false
        })
    }
}

/// Whether everything of the attempt's source is in the store.
fn has_all(open: &OpenRepo, assignment: &Assignment) -> bool {
    let Assignment { commit, recipe, .. } = assignment;
    open.store.has(*commit) && recipe.facts.is_none_or(|facts| open.store.has_facts(*commit, facts))
}

/// Returns what the tree of an attempt gets beside the files of the commit. The facts that it was planned with may be
/// gone at the dispatcher; those that it has sent in their place are as good.
fn tree_source(open: &OpenRepo, assignment: &Assignment) -> TreeSource {
    let Assignment { commit, recipe, .. } = assignment;
    let Some(planned) = recipe.facts else { return TreeSource::ALONE };
    let has_planned = open.store.has_facts(*commit, planned);
    let known = if has_planned { Some(planned) } else { open.store.newest_facts(*commit).map(|known| known.id) };
    TreeSource { needs: recipe.source_needs(), facts: known }
}

/// Whether the commit or the task asks for something that no runner ever does.
fn is_the_commits_fault(error: &GitError) -> bool {
    matches!(error, GitError::Content { .. } | GitError::Keep { .. } | GitError::BrokenTree { .. })
}

/// Asks for the difference to the commits that are here, and for everything if the difference does not fit.
fn fetch_from_dispatcher(
    open: &OpenRepo,
    commit: CommitId,
    ask: Ask<'_>,
    cancel: &Receiver<()>,
    _changing: &Changing<'_>,
) -> Result<(), NotReady> {
    let commits: Vec<_> = open.shared.recent().into_iter().filter(|have| open.store.has(*have)).collect();
    let facts = open.store.noted_facts(&commits);
    let mut haves = HeldSource { commits, facts };
    loop {
        let (pieces, arriving) = bounded(PACK_CAPACITY);
        ask(haves.clone(), pieces);
        match receive(&open.store, commit, &arriving, cancel)? {
            Received::Complete => return Ok(()),
            Received::Interrupted => {}
            Received::Broken(error) if haves == HeldSource::default() || error.is_disk_full() => {
                return Err(lost("the source did not arrive whole", &error));
            }
            Received::Broken(error) => {
                let why = chain(&error);
                log::warn!("the difference to commit {} does not fit: {why}; asking for all", commit.short());
                haves = HeldSource::default();
            }
        }
    }
}

enum Received {
    Complete,
    /// The session ended before the last piece.
    Interrupted,
    /// All pieces came, and they are not a usable pack.
    Broken(GitError),
}

fn receive(
    store: &PackStore,
    commit: CommitId,
    arriving: &Receiver<Piece>,
    cancel: &Receiver<()>,
) -> Result<Received, NotReady> {
    let mut receiver = store.receive();
    loop {
        let piece = select! {
            recv(arriving) -> piece => piece,
            recv(cancel) -> _ => return Err(Outcome::Cancelled),
        };
        let (bytes, last, facts) = match piece {
            Ok(Piece::Bytes { bytes, last, facts }) => (bytes, last, facts),
            Ok(Piece::Missing(why)) => {
                return Err(Outcome::Lost(LossReason::SourceMissing { text: format!("the source is missing: {why}") }));
            }
            Ok(Piece::Secrets(_) | Piece::NoSecrets { .. }) => {
                return Err(Outcome::Lost("the dispatcher answered a question for source with secrets".into()));
            }
            Err(_) => return Ok(Received::Interrupted),
        };
        // After a failure the remaining pieces are still read, so that they are not taken for the answer to the next
        // request.
        receiver = receiver.and_then(|mut receiver| receiver.write(&bytes).map(|()| receiver));
        if last {
            let finished = receiver.and_then(|receiver| receiver.finish(commit, false));
            let finished = finished.and_then(|()| facts.map_or(Ok(()), |facts| store.note_facts(commit, facts)));
            return Ok(finished.map_or_else(Received::Broken, |()| Received::Complete));
        }
    }
}
