//! History and tags on their way from a watched repository over a mirror and a runner's store into a work tree,
//! compared with what git makes of a clone.

use std::path::{Path, PathBuf};

use proptest::prelude::*;

use super::support::{Repo, git_in, objects_in};
use crate::git::{Facts, GitError, KnownFacts, PackStore, SourcePlaces, TreeSource, Watched, WorkTree};
use crate::model::{CommitId, Depth, FactsId, SourceNeeds};

/// Makes commits with these parents, given as distances back, and tags of some of them.
fn commits_of(repo: &Repo, shape: &[Vec<usize>], tags: &[(usize, usize)]) -> Vec<CommitId> {
    let mut stream = String::new();
    for (at, back) in shape.iter().enumerate() {
        let mut parents: Vec<usize> = back.iter().filter_map(|back| at.checked_sub(*back)).collect();
        parents.dedup();
        stream +=
            &format!("commit refs/heads/c{at}\nmark :{}\ncommitter A <a@b> {} +0000\ndata 0\n", at + 1, 1000 + at % 7);
        for (number, parent) in parents.iter().enumerate() {
            stream += &format!("{} :{}\n", if number == 0 { "from" } else { "merge" }, parent + 1);
        }
        stream += &format!("M 100644 inline file{}\ndata <<E\n{at}\nE\n\n", at % 4);
    }
    for (number, (at, kind)) in tags.iter().enumerate() {
        let from = at % shape.len() + 1;
        stream += &match kind {
            0 => format!("reset refs/tags/light/{number}\nfrom :{from}\n\n"),
            _ => format!("tag v{number}\nfrom :{from}\ntagger A <a@b> {} +0000\ndata <<E\ntext\nE\n\n", 2000 + number),
        };
    }
    repo.git_with(&["fast-import", "--quiet"], stream.as_bytes());
    if !tags.is_empty() {
        let first = repo.git(&["for-each-ref", "--count=1", "--format=%(refname:short)", "refs/tags"]);
        repo.git(&["tag", "--annotate", "--message", "of a tag", "nested", &first]);
    }
    (0..shape.len()).map(|at| repo.git(&["rev-parse", &format!("refs/heads/c{at}")]).parse().unwrap()).collect()
}

/// A repository with a mirror and a store that receive its commits one after the other, each with its history.
struct Chain {
    repo: Repo,
    watched: Watched,
    mirror: PackStore,
    store: PackStore,
    tree: WorkTree,
    place: PathBuf,
    /// The commits that have come so far, and the facts that came last.
    came: Vec<CommitId>,
    told: Option<Facts>,
}

impl Chain {
    fn new(repo: Repo, like: CommitId) -> Self {
        let at = |name: &str| PackStore::open(&repo.beside(name), like).unwrap();
        let (mirror, store) = (at("mirror"), at("runner"));
        let place = repo.beside("slots/tree");
        let tree = WorkTree::open(&repo.beside("runner"), &place).unwrap();
        Self { watched: repo.watched(), mirror, store, tree, place, came: Vec::new(), told: None, repo }
    }

    fn facts(&self, commit: CommitId, needs: SourceNeeds) -> Facts {
        let cache = self.repo.beside("cache");
        self.watched.facts(commit, needs, SourcePlaces { work: &cache, base: None }).unwrap().unwrap()
    }

    /// Sends a commit to the mirror. Returns the size of its pack.
    fn to_mirror(&self, commit: CommitId, facts: &Facts, is_all: bool) -> Result<usize, GitError> {
        let haves = if is_all { &[][..] } else { &self.came };
        let told = self.told.as_ref().filter(|_| !is_all);
        let mut pack = Vec::new();
        self.watched.pack_with_facts(&[commit], haves, (facts, told), &mut |piece| {
            pack.extend_from_slice(piece);
            true
        })?;
        take(&self.mirror, commit, &pack, facts.id)?;
        Ok(pack.len())
    }

    /// Sends a commit all the way, and checks it out. Returns the sizes of the packs to the mirror and to the runner.
    fn send(&mut self, commit: CommitId, needs: SourceNeeds) -> (usize, usize) {
        let facts = self.facts(commit, needs);
        let first = match self.to_mirror(commit, &facts, false) {
            Err(GitError::Incomplete { .. }) => self.to_mirror(commit, &facts, true).unwrap(),
            sent => sent.unwrap(),
        };
        let held = self.store.noted_facts(&self.came);
        let mut pack = Vec::new();
        let mut sink = |piece: &[u8]| {
            pack.extend_from_slice(piece);
            true
        };
        self.mirror.pack_with_facts((commit, facts.id), &self.came, &held, &mut sink).unwrap();
        take(&self.store, commit, &pack, facts.id).unwrap();
        self.check_out(commit, needs, facts.id);
        self.came.push(commit);
        self.told = Some(facts);
        (first, pack.len())
    }

    fn check_out(&mut self, commit: CommitId, needs: SourceNeeds, facts: FactsId) {
        self.tree.check_out_with(commit, &[], TreeSource { needs, facts: Some(facts) }).unwrap();
    }

    fn git(&self, arguments: &[&str]) -> String {
        git_in(&self.place, arguments)
    }

    /// Compares the tree with a clone of the same depth, by git.
    fn assert_is_a_clone(&self, commit: CommitId, needs: SourceNeeds) {
        let clone = self.repo.beside("clone");
        std::fs::remove_dir_all(&clone).ok();
        let (url, id) = (format!("file://{}", self.repo.path().display()), commit.to_string());
        git_in(Path::new("/"), &["init", "--quiet", clone.to_str().unwrap()]);
        let depth = format!("--depth={}", needs.history);
        let mut words = vec!["-c", "protocol.version=2", "fetch", "--quiet", "--no-tags"];
        words.extend((needs.history != Depth::FULL).then_some(&*depth));
        words.extend([&*url, &*id]);
        git_in(&clone, &words);
        git_in(&clone, &["checkout", "--quiet", "--detach", &id]);
        let log = ["log", "--topo-order", "--format=%H %P"];
        assert_eq!(self.git(&log), git_in(&clone, &log), "{needs:?}");
        let count = ["rev-list", "--count", "HEAD"];
        assert_eq!(self.git(&count), git_in(&clone, &count));
        // Tags of the commits that the clone has.
        // The full stop, because a blank at the end of what git says would be cut off.
        let tags = ["for-each-ref", "refs/tags", "--format=%(objectname) %(refname) %(*objectname)."];
        let commits = git_in(&clone, &["rev-list", "HEAD"]);
        let names = self.repo.git(&["for-each-ref", "refs/tags", "--format=%(refname)"]);
        let is_there = |name: &&str| {
            let target = self.repo.git(&["rev-parse", &format!("{name}^{{commit}}")]);
            needs.tags && commits.lines().any(|commit| commit == target)
        };
        let expected: Vec<&str> = names.lines().filter(is_there).collect();
        let of_repo = self.repo.git(&tags);
        let of_repo = of_repo.lines().filter(|line| expected.contains(&line.split(' ').nth(1).unwrap()));
        assert_eq!(self.git(&tags).lines().collect::<Vec<_>>(), of_repo.collect::<Vec<_>>());
        for name in expected {
            git_in(&clone, &["fetch", "--quiet", "--no-tags", "--depth=1000000", &url, &format!("{name}:{name}")]);
        }
        if needs.history == Depth::FULL {
            let describe = ["describe", "--tags", "--long", "--always", "--dirty"];
            assert_eq!(self.git(&describe), git_in(&clone, &describe));
        }
        assert_eq!(self.git(&["status", "--porcelain"]), "");
        assert_eq!(self.git(&["fsck", "--no-dangling", "--no-progress"]), "");
    }
}

/// Takes a pack in, with the facts of its commit.
fn take(store: &PackStore, commit: CommitId, pack: &[u8], facts: FactsId) -> Result<(), GitError> {
    let mut receiver = store.receive()?;
    receiver.write(pack)?;
    receiver.finish(commit, true)?;
    store.note_facts(commit, facts)
}

fn needs(history: Depth, tags: bool) -> SourceNeeds {
    SourceNeeds { history, tags, ..SourceNeeds::NOTHING }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, failure_persistence: None, ..ProptestConfig::default() })]

    /// Each commit comes after some of the others, so that every pack is a difference, and wants another depth.
    #[test]
    fn a_tree_has_the_history_and_the_tags_of_a_clone(
        shape in prop::collection::vec(prop::collection::vec(1..5_usize, 0..3), 4..14),
        tags in prop::collection::vec((0..14_usize, 0..2_usize), 0..4),
        wanted in prop::collection::vec((0..14_usize, 2..6_u32, any::<bool>()), 3..5),
    ) {
        let repo = Repo::new();
        let commits = commits_of(&repo, &shape, &tags);
        let mut chain = Chain::new(repo, commits[0]);
        for (at, depth, tags) in wanted {
            let depth = if depth == 5 { Depth::FULL } else { Depth(depth) };
            let (commit, needs) = (commits[at % commits.len()], needs(depth, tags));
            chain.send(commit, needs);
            chain.assert_is_a_clone(commit, needs);
        }
    }
}

/// A line of commits, each of which changes one of many files. The last one is not sent yet.
fn long_history(count: usize) -> (Chain, Vec<CommitId>) {
    let repo = Repo::new();
    let mut stream = String::new();
    for at in 0..count {
        stream += &format!("commit refs/heads/main\ncommitter A <a@b> {at} +0000\ndata 0\n");
        stream += &format!("M 100644 inline d{}/file{}\ndata <<E\n{at}\nE\n\n", at % 10, at % 100);
        if at % 100 == 50 {
            stream += &format!("tag v{at}\nfrom refs/heads/main\ntagger A <a@b> {at} +0000\ndata 0\n\n");
        }
    }
    repo.git_with(&["fast-import", "--quiet"], stream.as_bytes());
    let ids = repo.git(&["rev-list", "--reverse", "main"]);
    let commits: Vec<CommitId> = ids.lines().map(|id| id.parse().unwrap()).collect();
    (Chain::new(repo, commits[0]), commits)
}

/// Sabotage tried: what the receiver has is not left out; megabytes are sent.
#[test]
fn a_second_commit_of_a_long_history_takes_kilobytes() {
    let (mut chain, commits) = long_history(10_000);
    let full = needs(Depth::FULL, true);
    let (to_mirror, to_runner) = chain.send(commits[9_998], full);
    assert!(to_mirror > 1 << 20 && to_runner > 1 << 20, "{to_mirror} {to_runner}");
    let (to_mirror, to_runner) = chain.send(commits[9_999], full);
    assert!(to_mirror < 8 << 10 && to_runner < 8 << 10, "{to_mirror} {to_runner}");
    assert_eq!(chain.git(&["rev-list", "--count", "HEAD"]), "10000");
    assert_eq!(chain.git(&["describe"]), chain.repo.git(&["describe", "main"]));
    // Another attempt of the same commit wants less, and then nothing.
    let facts = chain.told.as_ref().unwrap().id;
    chain.check_out(commits[9_999], needs(Depth(60), true), facts);
    assert_eq!(chain.git(&["rev-list", "--count", "HEAD"]), "60");
    assert_eq!(chain.git(&["tag"]), "v9950");
    chain.check_out(commits[9_999], needs(Depth(10), false), facts);
    assert_eq!((chain.git(&["rev-list", "--count", "HEAD"]), chain.git(&["tag"])), ("10".into(), String::new()));
    chain.tree.check_out(commits[9_999], &[]).unwrap();
    assert_eq!(chain.git(&["rev-list", "--count", "HEAD"]), "1");
}

#[test]
fn a_history_that_the_receiver_lacks_is_asked_for_as_a_whole() {
    let (mut chain, commits) = long_history(20);
    let full = needs(Depth::FULL, false);
    // The first commits came alone.
    for at in [3, 7] {
        super::support::deliver(&chain.watched, &chain.mirror, commits[at], &[]);
        chain.came.push(commits[at]);
    }
    let facts = chain.facts(commits[9], full);
    let refused = chain.to_mirror(commits[9], &facts, false).unwrap_err();
    assert!(matches!(refused, GitError::Incomplete { .. }), "{refused:?}");
    assert_eq!(chain.mirror.newest_facts(commits[9]), None);
    assert!(chain.mirror.has(commits[9]), "the commit itself has come");
    chain.to_mirror(commits[9], &facts, true).unwrap();
    let known = KnownFacts {
        id: facts.id,
        enough_for: full,
        has_attributes: false,
        problems: Vec::new(),
        lfs_problems: Vec::new(),
    };
    assert_eq!(chain.mirror.newest_facts(commits[9]), Some(known));
    // A repository that was shallow has more now.
    let deeper = needs(Depth(15), false);
    let facts = chain.facts(commits[19], deeper);
    chain.came = vec![commits[9]];
    chain.to_mirror(commits[19], &facts, false).unwrap();
}

#[test]
fn a_shallow_repository_gives_what_it_has_and_more_when_it_has_more() {
    let (chain, commits) = long_history(30);
    let url = format!("file://{}", chain.repo.path().display());
    let clone = chain.repo.beside("shallow");
    chain.repo.git(&["clone", "--quiet", "--depth=5", &url, clone.to_str().unwrap()]);
    let Chain { repo, .. } = chain;
    let mut chain = Chain::new(repo, commits[29]);
    chain.watched = Watched::open(&clone).unwrap();
    for (wanted, count, is_cut) in [(Depth(3), "3", false), (Depth(20), "5", true), (Depth::FULL, "5", true)] {
        chain.send(commits[29], needs(wanted, true));
        assert_eq!(chain.git(&["rev-list", "--count", "HEAD"]), count, "{wanted}");
        assert_eq!(chain.tree.is_history_cut(), is_cut, "{wanted}");
        assert_eq!(chain.git(&["fsck", "--no-dangling", "--no-progress"]), "");
    }
    git_in(&clone, &["fetch", "--quiet", "--unshallow"]);
    chain.watched = Watched::open(&clone).unwrap();
    chain.send(commits[29], needs(Depth::FULL, true));
    assert_eq!(chain.git(&["rev-list", "--count", "HEAD"]), "30");
    assert!(!chain.tree.is_history_cut());
}

#[test]
fn a_partial_clone_gives_the_commit_alone() {
    let (mut chain, commits) = long_history(5);
    let url = format!("file://{}", chain.repo.path().display());
    let clone = chain.repo.beside("partial");
    chain.repo.git(&["config", "uploadpack.allowFilter", "true"]);
    chain.repo.git(&["clone", "--quiet", "--filter=blob:none", &url, clone.to_str().unwrap()]);
    chain.watched = Watched::open(&clone).unwrap();
    let facts = chain.facts(commits[4], needs(Depth::FULL, false));
    assert_eq!(facts.facts.shallow.len(), 1);
    chain.to_mirror(commits[4], &facts, false).unwrap();
    assert!(!chain.mirror.has(commits[3]));
}

#[test]
fn histories_stay_whole_when_a_store_is_pruned_and_packed() {
    let (mut chain, commits) = long_history(40);
    let full = needs(Depth(5), true);
    for at in (10..40).step_by(3) {
        chain.send(commits[at], full);
    }
    let (last, first) = (commits[37], commits[10]);
    chain.mirror.prune(&[last]).unwrap();
    assert!(!chain.mirror.has(first) && chain.mirror.newest_facts(first).is_none());
    chain.mirror.tidy().unwrap();
    let id = chain.told.as_ref().unwrap().id;
    assert!(chain.mirror.has_facts(last, id));
    // Another runner gets all of it from there.
    let fresh = PackStore::open(&chain.repo.beside("fresh"), last).unwrap();
    let mut pack = Vec::new();
    chain
        .mirror
        .pack_with_facts((last, id), &[], &[], &mut |piece| {
            pack.extend_from_slice(piece);
            true
        })
        .unwrap();
    take(&fresh, last, &pack, id).unwrap();
    assert!(objects_in(&pack) > 5);
    chain.tree = WorkTree::open(&chain.repo.beside("fresh"), &chain.repo.beside("slots/other")).unwrap();
    chain.place = chain.repo.beside("slots/other");
    chain.check_out(last, full, id);
    chain.assert_is_a_clone(last, full);
}

/// Sabotage tried: deltas are never copied; the pack is several times as large.
#[test]
fn the_deltas_of_git_go_along_and_are_kept_by_stores() {
    let repo = Repo::new();
    let mut stream = String::new();
    for at in 0..200 {
        stream +=
            &format!("commit refs/heads/main\ncommitter A <a@b> {at} +0000\ndata 0\nM 100644 inline file\ndata <<E\n");
        for line in 0..400_u32 {
            let noise = line.wrapping_mul(2_654_435_761) ^ u32::from(line == at % 400);
            stream += &format!("{noise:08x}\n");
        }
        stream += "E\n\n";
    }
    repo.git_with(&["fast-import", "--quiet"], stream.as_bytes());
    repo.git(&["repack", "-a", "-d", "-f", "--quiet", "--depth=50", "--window=50"]);
    let head: CommitId = repo.git(&["rev-parse", "main"]).parse().unwrap();
    let packed = repo.git(&["count-objects", "-v"]);
    let kib: usize = packed.lines().find_map(|line| line.strip_prefix("size-pack: ")).unwrap().parse().unwrap();
    let mut chain = Chain::new(repo, head);
    let (to_mirror, to_runner) = chain.send(head, needs(Depth::FULL, false));
    let most = (kib << 10) + (20 << 10);
    assert!(to_mirror < most && to_runner < most, "{to_mirror} {to_runner} {most}");
    chain.assert_is_a_clone(head, needs(Depth::FULL, false));
    // A part of the history, in which some bases are missing.
    let middle: CommitId = chain.repo.git(&["rev-parse", "main~77"]).parse().unwrap();
    let other = needs(Depth(30), false);
    chain.send(middle, other);
    chain.assert_is_a_clone(middle, other);
    chain.mirror.prune(&[middle]).unwrap();
    assert!(!chain.mirror.has(head));
    let id = chain.told.as_ref().unwrap().id;
    let fresh = PackStore::open(&chain.repo.beside("fresh"), head).unwrap();
    let mut pack = Vec::new();
    let mut sink = |piece: &[u8]| {
        pack.extend_from_slice(piece);
        true
    };
    chain.mirror.pack_with_facts((middle, id), &[], &[], &mut sink).unwrap();
    take(&fresh, middle, &pack, id).unwrap();
}
