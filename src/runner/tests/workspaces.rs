//! Work trees and stores of a slot, with whatever may happen to them.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crossbeam_channel::{Sender, bounded};

use super::assignment;
use crate::git::Watched;
use crate::model::{CommitId, Outcome};
use crate::runner::assignment::Assignment;
use crate::runner::layout::Layout;
use crate::runner::routes::Piece;
use crate::runner::shared_repos::SharedRepos;
use crate::runner::workspace::Workspace;
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
    crate::git::tests::support::git_in(at, arguments)
}

impl Scene {
    fn workspace(&self, slot: usize) -> Workspace {
        Workspace::new(self.layout.clone(), self.repos.clone(), slot, None)
    }

    fn assignment(&self) -> Assignment {
        Assignment { commit: self.commit, ..assignment(1) }
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
        pieces.send(Piece::Bytes { bytes, last: true, facts: None }).unwrap();
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

/// A name, and what is done to the work directory.
type Harm<'a> = (&'a str, Box<dyn Fn() + 'a>);

/// Whatever a task or a cleaner removes or replaces between two attempts, the next one has its tree.
#[test]
fn whatever_is_removed_from_the_work_directory_costs_no_attempt() {
    let scene = scene();
    let give = |_, pieces: Sender<Piece>| scene.answer(&pieces);
    let never = crossbeam_channel::never();
    let (root, stores) = (scene.layout.root().to_owned(), scene.layout.stores());
    let (tree, git) = (root.join("trees/app/slot0"), stores.join("app.git"));
    let remove = |path: &Path| {
        // A store that still works may lack it already.
        fs::remove_dir_all(path).or_else(|_| fs::remove_file(path)).ok();
        assert!(fs::symlink_metadata(path).is_err(), "{}", path.display());
    };
    let replace = |path: &Path| {
        remove(path);
        fs::write(path, "a file").unwrap();
    };
    let link = |path: &Path| {
        fs::create_dir_all(root.join("elsewhere/precious")).unwrap();
        remove(path);
        std::os::unix::fs::symlink(root.join("elsewhere"), path).unwrap();
    };
    let harms: Vec<Harm<'_>> = vec![
        ("all", Box::new(|| remove(&root))),
        ("the stores", Box::new(|| remove(&stores))),
        ("the store", Box::new(|| remove(&git))),
        ("the head", Box::new(|| remove(&git.join("HEAD")))),
        ("the configuration", Box::new(|| remove(&git.join("config")))),
        ("the refs", Box::new(|| remove(&git.join("refs")))),
        ("the objects", Box::new(|| remove(&git.join("objects")))),
        ("the packs", Box::new(|| remove(&git.join("objects/pack")))),
        ("one pack", Box::new(|| remove(&scene.pack()))),
        ("the store for a file", Box::new(|| replace(&git))),
        ("the trees", Box::new(|| remove(&root.join("trees")))),
        ("the repository's trees", Box::new(|| remove(&root.join("trees/app")))),
        ("the tree", Box::new(|| remove(&tree))),
        ("the note", Box::new(|| remove(&tree.with_added_extension("index")))),
        ("the trees for a file", Box::new(|| replace(&root.join("trees/app")))),
        ("the tree for a file", Box::new(|| replace(&tree))),
        ("the tree for a link", Box::new(|| link(&tree))),
        ("the quarantine", Box::new(|| remove(&scene.layout.quarantined()))),
    ];
    for (what, harm) in harms {
        for is_opened_anew in [false, true] {
            let mut workspace = scene.workspace(0);
            workspace.prepare(&scene.assignment(), &give, &never).unwrap();
            harm();
            scene.layout.restore().unwrap();
            if is_opened_anew {
                workspace = scene.workspace(0);
            }
            let directory = workspace.prepare(&scene.assignment(), &give, &never);
            let directory = directory.unwrap_or_else(|outcome| panic!("without {what}, {is_opened_anew}: {outcome:?}"));
            assert_eq!(fs::read_to_string(directory.join("file")).unwrap(), "content", "without {what}");
            assert!(fs::symlink_metadata(&directory).unwrap().is_dir(), "without {what}");
        }
    }
    assert!(root.join("elsewhere/precious").is_dir(), "nothing is removed through a link");
}
