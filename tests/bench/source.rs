//! Source: from a commit of 5,000 files and 60 MB to one in which 50 of them changed, on a warm runner; against `git
//! fetch` and `git checkout` of the same between two local repositories, measured in turn in the same run.
//!
//! Through everything, from the lease, as the store has its time, to the task's first line; and from the update of the
//! ref, which adds the observer, its pack and the syncs of the mirror and the store. And the git room's own part: pack,
//! receive, check out, and of that the repository of the work tree.
//!
//! `cargo bench --bench source`; `SURVEIL_BENCH_FILES` changes the number of files.

mod stage;

use std::io::Read;
use std::time::Duration;

use git2::Oid;
use stage::figures::{Sample, say};
use stage::project::{BYTES, git, history, path};
use stage::repo::Repo;
use stage::{Stage, finished, is_measuring, ms_since, pause, setting};
use surveil::clock;
use surveil::git::{PackStore, Watched, WorkTree};
use surveil::model::CommitId;

const CHANGED: usize = 50;

/// The most that the `.git` of a warm tree of 5,000 files may take at another commit, in the median.
const MOST_DOT_GIT_MS: f64 = 2.0;

fn main() {
    let files = if is_measuring() { setting("SURVEIL_BENCH_FILES", 5000) } else { 100 };
    let rounds = if is_measuring() { setting("SURVEIL_BENCH_ROUNDS", 20) } else { 1 };
    let mut stage = Stage::with_dispatcher(&[]);
    let (fifo, mut signals) = stage.fifo();
    let repo = Repo::new(&stage.path("app"));
    let commits =
        history(&repo, (files, CHANGED), rounds + 2, &format!("[task.test]\nrun = \"echo > {}\"\n", fifo.display()));
    git(&repo.path, &["repack", "-adq"]);
    stage.start_runner("r1", &["--slots", "1"]);
    stage.start_observer(&repo.path);
    let reader = stage.reader();
    let clone = stage.path("clone");
    let (mut whole, mut ours, mut theirs) = (Sample::default(), Sample::default(), Sample::default());
    let mut parts = Parts::default();
    let mut by_hand = ByHand::new(&stage, &repo, commits[0]);
    for (n, commit) in commits.iter().enumerate() {
        pause(Duration::from_millis(if is_measuring() { 100 } else { 1 }));
        let begun = clock::instant();
        repo.move_main(*commit);
        signals.read_exact(&mut [0]).expect("a signal");
        let (took, started_at) = (ms_since(begun), clock::wall());
        let build = finished(&*reader, commit);
        let attempt = reader.attempts(build.id).expect("the store can be read").pop().expect("an attempt");
        if n == 0 {
            say(&format!("{files} files, {} MB, for the first time: {took:.0} ms", files * BYTES / 1_000_000));
            git(&stage.path("."), &["clone", "-q", path(&repo.path), path(&clone)]);
            continue;
        }
        let begun = clock::instant();
        git(&clone, &["fetch", "-q"]);
        git(&clone, &["checkout", "-q", &commit.to_string()]);
        let git_took = ms_since(begun);
        by_hand.go_to(&repo, *commit, &mut parts);
        // The second commit is the first one that finds all caches warm.
        if n > 1 {
            whole.add(took);
            ours.add((started_at.0 - attempt.leased_at.0) as f64);
            theirs.add(git_took);
        }
    }
    say(&format!("{CHANGED} of {files} files changed:"));
    ours.print("  lease -> task", "ms");
    whole.print("  ref update -> task", "ms");
    theirs.print("  git fetch, git checkout", "ms");
    say(&format!("  lease -> task, to what git takes: {:.2}", ours.median() / theirs.median()));
    parts.print();
    let dot_git = parts.dot_git.median();
    assert!(!is_measuring() || files > 5000 || dot_git <= MOST_DOT_GIT_MS, "{dot_git:.2} ms for .git");
}

/// The git room's functions, called one after the other.
struct ByHand {
    store: PackStore,
    tree: WorkTree,
    at: CommitId,
}

#[derive(Default)]
struct Parts {
    pack: Sample,
    receive: Sample,
    durable: Sample,
    check_out: Sample,
    dot_git: Sample,
    dot_git_again: Sample,
    bytes: Sample,
}

impl ByHand {
    fn new(stage: &Stage, repo: &Repo, first: Oid) -> Self {
        let at = id(first);
        let path = stage.path("store.git");
        let store = PackStore::open(&path, at).expect("a store");
        let watched = Watched::open(&repo.path).expect("the repository");
        let mut receiver = store.receive().expect("a receiver");
        watched.pack(&[at], &[], &mut |piece| receiver.write(piece).is_ok()).expect("a pack");
        receiver.finish(at, true).expect("it is whole");
        let mut tree = WorkTree::open(&path, &stage.path("tree")).expect("a work tree");
        tree.check_out(at, &[]).expect("a checkout");
        Self { store, tree, at }
    }

    fn go_to(&mut self, repo: &Repo, commit: Oid, parts: &mut Parts) {
        let next = id(commit);
        let watched = Watched::open(&repo.path).expect("the repository");
        let mut pack = Vec::new();
        let begun = clock::instant();
        watched
            .pack(&[next], &[self.at], &mut |piece| {
                pack.extend_from_slice(piece);
                true
            })
            .expect("a pack");
        parts.pack.add(ms_since(begun));
        parts.bytes.add(pack.len() as f64);
        let begun = clock::instant();
        let mut receiver = self.store.receive().expect("a receiver");
        receiver.write(&pack).expect("it is taken");
        let indexed = ms_since(begun);
        receiver.finish(next, true).expect("it is whole");
        parts.receive.add(indexed);
        parts.durable.add(ms_since(begun) - indexed);
        let begun = clock::instant();
        self.tree.check_out(next, &[]).expect("a checkout");
        parts.check_out.add(ms_since(begun));
        parts.dot_git.add(self.dot_git_ms());
        self.tree.check_out(next, &[]).expect("the same again");
        parts.dot_git_again.add(self.dot_git_ms());
        self.at = next;
    }
}

impl ByHand {
    fn dot_git_ms(&self) -> f64 {
        self.tree.repositories_took().as_secs_f64() * 1000.0
    }
}

impl Parts {
    fn print(&self) {
        self.pack.print("  of that, by hand: pack", "ms");
        self.receive.print("  receive", "ms");
        self.durable.print("  check that it is whole, and sync", "ms");
        self.check_out.print("  check out", "ms");
        self.dot_git.print("  of that, .git", "ms");
        self.dot_git_again.print("  .git, the same commit again", "ms");
        self.bytes.print("  bytes of the pack", "bytes");
    }
}

fn id(oid: Oid) -> CommitId {
    oid.to_string().parse().expect("an id of a commit")
}
