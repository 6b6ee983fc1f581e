//! The work trees of one slot. Gets a commit's source into the repository's store, and the slot's tree to exactly that
//! commit. A tree that cannot be cleaned goes to quarantine, and a fresh one takes its place; so does a store that
//! cannot give a commit that it claims to have. Tells for each failure whether it is the runner's or the task's. The
//! slot calls it.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use crossbeam_channel::{Receiver, Sender, bounded, select};

use super::assignment::{Assignment, SourceAhead};
use super::layout::Layout;
use super::limits::{OPEN_REPOS, PACK_CAPACITY};
use super::routes::Piece;
use super::shared_repos::{Changing, SharedRepo, SharedRepos};
use crate::error_chain::chain;
use crate::git::{GitError, PackStore, Watched, WorkTree};
use crate::model::reason::LossReason;
use crate::model::{CommitId, Outcome, RepoName};

/// Asks the dispatcher for the attempt's source, given the commits that are here. The pieces come back by the channel,
/// which closes if the session ends.
pub(super) type Ask<'a> = &'a dyn Fn(Vec<CommitId>, Sender<Piece>);

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
        let directory = self.layout.tree(&assignment.repo, self.slot);
        let mut open = self.take(&assignment.repo, assignment.commit)?;
        if !open.store.has(assignment.commit) {
            self.untidied += 1;
            self.fetch(&open, assignment.commit, ask, cancel)?;
        }
        // The repository is put back only after a success: after a failure the next attempt opens everything anew.
        self.bring(&mut open, assignment, cancel)?;
        self.open.push(open);
        Ok(directory)
    }

    /// Takes in source that came ahead of its lease. If objects are still missing, the attempt asks for them.
    pub(super) fn take_ahead(&mut self, ahead: &SourceAhead) {
        let SourceAhead { repo, commit, pack } = ahead;
        let text = |refused| if let Outcome::Lost(why) = refused { why.to_string() } else { refused.word().to_owned() };
        let taken = self.take(repo, *commit).map_err(text).and_then(|open| {
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
    fn take(&mut self, repo: &RepoName, like: CommitId) -> Result<OpenRepo, NotReady> {
        if let Some(at) = self.open.iter().position(|open| open.repo == *repo) {
            return Ok(self.open.remove(at));
        }
        if self.open.len() >= OPEN_REPOS {
            self.open.remove(0);
        }
        let path = self.layout.store(repo);
        let store = PackStore::open(&path, like).map_err(|e| lost("could not open the store", &e))?;
        let tree = self.open_tree(repo)?;
        Ok(OpenRepo { repo: repo.clone(), shared: self.repos.repo(repo), store, tree })
    }

    fn open_tree(&self, repo: &RepoName) -> Result<WorkTree, NotReady> {
        let directory = self.layout.tree(repo, self.slot);
        if let Some(parent) = directory.parent() {
            fs::create_dir_all(parent)
                .map_err(|e| Outcome::Lost(format!("could not make {}: {e}", parent.display()).into()))?;
        }
        WorkTree::open(&self.layout.store(repo), &directory).map_err(|e| lost("could not open the work tree", &e))
    }

    fn bring(&self, open: &mut OpenRepo, assignment: &Assignment, cancel: &Receiver<()>) -> Result<(), NotReady> {
        let (commit, keep) = (assignment.commit, &assignment.recipe.keep);
        // A task may have left files that cannot be removed, so a failure is no proof of a bad commit: it is tried
        // again in a fresh tree.
        let Err(first) = open.tree.check_out(commit, keep) else { return Ok(()) };
        if is_the_commits_fault(&first) {
            return Err(Outcome::CouldNotStart(chain(&first)));
        }
        if first.is_disk_full() {
            return Err(lost("could not check out the commit", &first));
        }
        log::warn!("attempt {}: {}: the tree goes to quarantine", assignment.attempt, chain(&first));
        let place = self.layout.quarantine(&format!("{}.slot{}", open.repo, self.slot));
        let spoiled = std::mem::replace(&mut open.tree, self.open_tree(&open.repo)?);
        spoiled.quarantine(&place).map_err(|e| lost("could not move the work tree to quarantine", &e))?;
        open.tree = self.open_tree(&open.repo)?;
        let Err(second) = open.tree.check_out(commit, keep) else { return Ok(()) };
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

    /// Gets the commit into the store, unless another slot does so meanwhile.
    fn fetch(&self, open: &OpenRepo, commit: CommitId, ask: Ask<'_>, cancel: &Receiver<()>) -> Result<(), NotReady> {
        let Some(changing) = open.shared.change(cancel) else { return Err(Outcome::Cancelled) };
        if open.store.has(commit) {
            return Ok(());
        }
        if !self.fetch_locally(open, commit) {
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
    let mut haves: Vec<_> = open.shared.recent().into_iter().filter(|have| open.store.has(*have)).collect();
    loop {
        let (pieces, arriving) = bounded(PACK_CAPACITY);
        ask(haves.clone(), pieces);
        match receive(&open.store, commit, &arriving, cancel)? {
            Received::Complete => return Ok(()),
            Received::Interrupted => {}
            Received::Broken(error) if haves.is_empty() || error.is_disk_full() => {
                return Err(lost("the source did not arrive whole", &error));
            }
            Received::Broken(error) => {
                let why = chain(&error);
                log::warn!("the difference to commit {} does not fit: {why}; asking for all", commit.short());
                haves.clear();
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
        let (bytes, last) = match piece {
            Ok(Piece::Bytes { bytes, last }) => (bytes, last),
            Ok(Piece::Missing(why)) => {
                return Err(Outcome::Lost(LossReason::SourceMissing { text: format!("the source is missing: {why}") }));
            }
            Err(_) => return Ok(Received::Interrupted),
        };
        // After a failure the remaining pieces are still read, so that they are not taken for the answer to the next
        // request.
        receiver = receiver.and_then(|mut receiver| receiver.write(&bytes).map(|()| receiver));
        if last {
            let finished = receiver.and_then(|receiver| receiver.finish(commit, false));
            return Ok(finished.map_or_else(Received::Broken, |()| Received::Complete));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::process;

    use super::*;
    use crate::model::{AttemptId, BranchName, BuildId, Recipe, Script, TaskName};
    use crate::threads;

    /// A repository with one commit, and a work directory.
    struct Scene {
        _directory: tempfile::TempDir,
        repository: Watched,
        commit: CommitId,
        layout: Arc<Layout>,
        repos: Arc<SharedRepos>,
    }

    fn scene() -> Scene {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("repo");
        fs::create_dir(&path).unwrap();
        fs::write(path.join("file"), "content").unwrap();
        // The noise does not compress, so that most of a pack is this file.
        let noise: Vec<u8> = (0..10_000u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
        fs::write(path.join("noise"), noise).unwrap();
        git(&path, &["init", "-q"]);
        git(&path, &["add", "."]);
        git(&path, &["-c", "user.name=n", "-c", "user.email=e", "commit", "-qm", "first"]);
        let commit = git(&path, &["rev-parse", "HEAD"]).trim().parse().unwrap();
        let layout = Arc::new(Layout::open(&directory.path().join("work")).unwrap());
        let repos = Arc::new(SharedRepos::new(layout.clone()));
        Scene { repository: Watched::open(&path).unwrap(), _directory: directory, commit, layout, repos }
    }

    fn git(at: &Path, arguments: &[&str]) -> String {
        let output = process::Command::new("git").arg("-C").arg(at).args(arguments).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    impl Scene {
        fn workspace(&self, slot: usize) -> Workspace {
            Workspace::new(self.layout.clone(), self.repos.clone(), slot, None)
        }

        fn assignment(&self) -> Assignment {
            Assignment {
                attempt: AttemptId(1),
                lease_ms: 1000,
                build: BuildId(1),
                number: 1,
                repo: RepoName::new("app").unwrap(),
                branch: BranchName::new("main"),
                commit: self.commit,
                task: TaskName::new("test").unwrap(),
                recipe: Recipe::new(Script::Shell("true".into())).into(),
            }
        }

        /// Returns the only pack of the store.
        fn pack(&self) -> PathBuf {
            let packs = fs::read_dir(self.layout.stores().join("app.git/objects/pack")).unwrap();
            let mut paths = packs.map(|entry| entry.unwrap().path());
            paths.find(|path| path.extension().is_some_and(|extension| extension == "pack")).unwrap()
        }

        /// Sends everything that the commit needs, as a dispatcher does.
        fn answer(&self, pieces: &Sender<Piece>) {
            let mut bytes = Vec::new();
            let sink = &mut |piece: &[u8]| {
                bytes.extend_from_slice(piece);
                true
            };
            self.repository.pack(&[self.commit], &[], sink).unwrap();
            pieces.send(Piece::Bytes { bytes, last: true }).unwrap();
        }
    }

    #[test]
    fn two_slots_that_want_the_same_commit_ask_for_it_once() {
        let scene = scene();
        let (asked, asks) = bounded(2);
        let slots: Vec<_> = [0, 1]
            .map(|slot| {
                let (mut workspace, assignment, asked) = (scene.workspace(slot), scene.assignment(), asked.clone());
                let body = move || {
                    let ask = |_, pieces| asked.send(pieces).unwrap();
                    workspace.prepare(&assignment, &ask, &crossbeam_channel::never())
                };
                threads::spawn_large("slot", body).unwrap()
            })
            .into();
        scene.answer(&asks.recv().unwrap());
        for slot in slots {
            let directory = slot.join().unwrap().unwrap();
            assert_eq!(fs::read_to_string(directory.join("file")).unwrap(), "content");
        }
        assert!(asks.try_recv().is_err());
    }

    #[test]
    fn a_store_that_lost_its_objects_is_filled_anew() {
        let scene = scene();
        let give = |_, pieces: Sender<Piece>| scene.answer(&pieces);
        let never = crossbeam_channel::never();
        scene.workspace(0).prepare(&scene.assignment(), &give, &never).unwrap();
        fs::remove_file(scene.pack()).unwrap();
        let directory = scene.workspace(1).prepare(&scene.assignment(), &give, &never).unwrap();
        assert_eq!(fs::read_to_string(directory.join("file")).unwrap(), "content");
    }

    #[test]
    fn a_damaged_store_goes_to_quarantine_and_costs_one_attempt() {
        let scene = scene();
        let give = |_, pieces: Sender<Piece>| scene.answer(&pieces);
        let never = crossbeam_channel::never();
        scene.workspace(0).prepare(&scene.assignment(), &give, &never).unwrap();
        let pack = scene.pack();
        let mut bytes = fs::read(&pack).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 255;
        fs::remove_file(&pack).unwrap();
        fs::write(&pack, bytes).unwrap();
        // This slot has no tree yet and needs the objects.
        let outcome = scene.workspace(1).prepare(&scene.assignment(), &give, &never);
        assert!(matches!(outcome, Err(Outcome::Lost(_))), "{outcome:?}");
        let directory = scene.workspace(1).prepare(&scene.assignment(), &give, &never).unwrap();
        assert_eq!(fs::read_to_string(directory.join("file")).unwrap(), "content");
    }

    #[test]
    fn a_cancel_is_heard_while_the_source_is_awaited() {
        let scene = scene();
        let (cancel, cancelled) = bounded(1);
        cancel.send(()).unwrap();
        let (kept, _pieces) = bounded(1);
        let ask = |_, pieces: Sender<Piece>| kept.send(pieces).unwrap();
        let outcome = scene.workspace(0).prepare(&scene.assignment(), &ask, &cancelled);
        assert_eq!(outcome, Err(Outcome::Cancelled));
    }
}
