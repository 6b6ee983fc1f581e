//! Stores that are merged, pruned, damaged and read, also while other handles have them open.

use super::*;

#[test]
fn tidy_makes_one_pack_of_many_beside_readers_and_receivers() {
    let repo = Repo::new();
    let commits: Vec<_> =
        (0..70).map(|n| repo.write(&format!("d{}/f", n % 5), format!("{n}")).commit(&format!("{n}"))).collect();
    let watched = repo.watched();
    let reader = repo.store(commits[0]);
    deliver(&watched, &reader, commits[0], &[]);
    let old = PackStore::open(&repo.beside("store"), commits[0]).unwrap();
    for pair in commits[..60].windows(2) {
        deliver(&watched, &reader, pair[1], &[pair[0]]);
    }
    // This handle has listed the packs, and opened only the first.
    assert!(old.has(commits[0]));
    let waiting = {
        let mut receiver = old.receive().unwrap();
        receiver.write(&pack_of(&watched, &[commits[60]], &[commits[59]])).unwrap();
        receiver
    };
    reader.tidy().unwrap();
    assert!(entries_of(&repo.beside("store/objects/pack")) <= 2 * 20);
    waiting.finish(commits[60], false).unwrap();
    let fresh = PackStore::open(&repo.beside("store"), commits[0]).unwrap();
    for store in [&old, &reader, &fresh] {
        for commit in &commits[..=60] {
            store.check(*commit).unwrap();
        }
    }
    // With nothing to do, nothing is changed.
    let before = entries_of(&repo.beside("store/objects/pack"));
    reader.tidy().unwrap();
    assert_eq!(entries_of(&repo.beside("store/objects/pack")), before);
}

#[test]
fn what_no_commit_needs_is_pruned_and_what_is_left_is_whole_also_for_those_who_have_it_open() {
    let repo = Repo::new();
    let first = repo.write("shared", "one").write("old", "x".repeat(5000)).commit("first");
    let second = repo.write("old", "gone").commit("second");
    let third = repo.write("new", "three").commit("third");
    let (watched, store) = (repo.watched(), repo.store(first));
    deliver(&watched, &store, first, &[]);
    deliver(&watched, &store, second, &[first]);
    deliver(&watched, &store, third, &[second]);
    let reader = repo.store(third);
    reader.check_all(&[first, second, third]).unwrap();
    store.prune(&[second, third]).unwrap();
    for store in [&store, &reader, &repo.store(third)] {
        store.check_all(&[second, third]).unwrap();
        assert!(!store.has(first));
    }
    assert_eq!(entries_of(&repo.beside("store/objects/pack")), 2, "one pack and its index");
    // Again there is nothing to do, and removed commits can be received again.
    store.prune(&[second, third]).unwrap();
    deliver(&watched, &store, first, &[]);
    store.check_all(&[first, third]).unwrap();
}

#[test]
fn handles_in_several_threads_receive_read_and_tidy_at_once() {
    let repo = Repo::new();
    let commits: Vec<_> =
        (0..80).map(|n| repo.write(&format!("f{}", n % 3), format!("{n}")).commit(&format!("{n}"))).collect();
    let path = repo.beside("store");
    let packs: Vec<_> = commits.iter().map(|commit| pack_of(&repo.watched(), &[*commit], &[])).collect();
    std::thread::scope(|scope| {
        for part in 0..4 {
            let (commits, packs, path) = (&commits, &packs, &path);
            scope.spawn(move || {
                // All threads make the store at the same time, too.
                let store = PackStore::open(path, commits[0]).unwrap();
                for at in (part..commits.len()).step_by(4) {
                    let mut receiver = store.receive().unwrap();
                    receiver.write(&packs[at]).unwrap();
                    receiver.finish(commits[at], false).unwrap();
                    store.check(commits[at]).unwrap();
                    if at % 16 == 3 {
                        store.tidy().unwrap();
                    }
                }
            });
        }
    });
    let store = PackStore::open(&path, commits[0]).unwrap();
    store.tidy().unwrap();
    for commit in commits {
        store.check(commit).unwrap();
    }
}

#[test]
fn git_itself_finds_a_store_in_order_and_prunes_nothing_of_it() {
    let repo = Repo::new();
    let commit = repo.write("a/file", "one").commit("first");
    let (watched, store) = (repo.watched(), repo.store(commit));
    deliver(&watched, &store, commit, &[]);
    let path = repo.beside("store");
    crate::git::tests::support::git_in(&path, &["fsck", "--no-dangling", "--no-progress"]);
    let mut gc = std::process::Command::new("git");
    let gc = crate::git::tests::support::sealed(&mut gc).arg("-C").arg(&path).args(["gc", "--quiet", "--prune=now"]);
    drop(gc.output().unwrap());
    PackStore::open(&path, commit).unwrap().check(commit).unwrap();
}

#[test]
fn a_damaged_store_says_what_is_wrong() {
    let repo = Repo::new();
    let commit = repo.write("a/file", "content that is long enough to be found\n".repeat(20)).commit("first");
    let (watched, store) = (repo.watched(), repo.store(commit));
    deliver(&watched, &store, commit, &[]);
    for entry in fs::read_dir(repo.beside("store/objects/pack")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().unwrap() == "pack" {
            let mut bytes = fs::read(&path).unwrap();
            let middle = bytes.len() / 2;
            bytes[middle - 20..middle + 20].fill(0);
            fs::remove_file(&path).unwrap();
            fs::write(&path, bytes).unwrap();
        }
    }
    drop(store);
    let store = repo.store(commit);
    let error = store.check(commit).unwrap_err();
    assert!(matches!(error, GitError::Object { .. } | GitError::Incomplete { .. }), "{error:?}");
}

#[test]
fn what_is_compressed_already_is_passed_on_and_deltas_are_resolved() {
    for format in ["sha1", "sha256"] {
        let repo = Repo::with(&[&format!("--object-format={format}")]);
        for n in 0..400 {
            let lines: Vec<_> = (0..n).map(|line| format!("line {line} of something that hardly changes\n")).collect();
            repo.write(&format!("d{}/file{n}", n % 9), lines.concat());
        }
        let commit = repo.write("large", vec![7; 3_000_000]).commit("first");
        let other = PackStore::open(&repo.beside("other"), commit).unwrap();
        // A pack full of deltas, as another implementation may send it.
        let script = format!(
            "git ls-tree -rt {commit} | cut -d' ' -f3 | cut -f1 | sort -u > ../ids
            git rev-parse {commit} {commit}^{{tree}} >> ../ids; git pack-objects -q --stdout < ../ids > ../pack"
        );
        let made = std::process::Command::new("sh").args(["-ec", &script]).current_dir(repo.path()).status().unwrap();
        assert!(made.success());
        let mut receiver = other.receive().unwrap();
        receiver.write(&fs::read(repo.beside("pack")).unwrap()).unwrap();
        receiver.finish(commit, false).unwrap();
        let ours = repo.store(commit);
        deliver(&repo.watched(), &ours, commit, &[]);
        for (number, from) in [other, ours].iter().enumerate() {
            let last = PackStore::open(&repo.beside(&format!("last{number}")), commit).unwrap();
            let mut receiver = last.receive().unwrap();
            from.pack(commit, &[], &mut |piece| receiver.write(piece).is_ok()).unwrap();
            receiver.finish(commit, false).unwrap();
            last.check(commit).unwrap();
        }
    }
}

#[test]
fn packs_that_a_power_loss_left_broken_are_removed_and_all_of_a_commit_is_the_remedy() {
    let repo = Repo::new();
    let first = repo.write("a/file", "one").write("b", "one").commit("first");
    let second = repo.write("b", "two").commit("second");
    let watched = repo.watched();
    type Damage<'a> = &'a dyn Fn(&Path);
    let damages: [(&str, Damage, &str); 5] = [
        ("empty pack", &|file| fs::write(file, "").unwrap(), "pack"),
        ("empty index", &|file| fs::write(file, "").unwrap(), "idx"),
        ("short pack", &|file| fs::write(file, &fs::read(file).unwrap()[..90]).unwrap(), "pack"),
        ("zeroed pack", &|file| fs::write(file, vec![0; fs::read(file).unwrap().len()]).unwrap(), "pack"),
        ("zeroed index", &|file| fs::write(file, vec![0; fs::read(file).unwrap().len()]).unwrap(), "idx"),
    ];
    for (what, damage, ending) in damages {
        let path = repo.beside(what);
        let store = PackStore::open(&path, first).unwrap();
        deliver(&watched, &store, first, &[]);
        for entry in fs::read_dir(path.join("objects/pack")).unwrap() {
            let file = entry.unwrap().path();
            if file.extension().unwrap() == ending {
                fs::rename(&file, repo.beside("spare")).unwrap();
                fs::copy(repo.beside("spare"), &file).unwrap();
                std::os::unix::fs::chown(&file, None, None).unwrap();
                let mut permissions = fs::metadata(&file).unwrap().permissions();
                std::os::unix::fs::PermissionsExt::set_mode(&mut permissions, 0o644);
                fs::set_permissions(&file, permissions).unwrap();
                damage(&file);
            }
        }
        deliver_unless_incomplete(&watched, &store, second, first);
        drop(store);
        let store = PackStore::open(&path, first).unwrap();
        assert!(!store.has(first), "{what}");
        if store.has(second) {
            assert!(matches!(store.check(second), Err(GitError::Incomplete { .. })), "{what}");
        }
        deliver(&watched, &store, second, &[]);
        store.check(second).unwrap();
    }
}

/// Delivers a commit, unless it is incomplete, as another handle may have done before the damage.
fn deliver_unless_incomplete(watched: &crate::git::Watched, store: &PackStore, commit: CommitId, have: CommitId) {
    let mut receiver = store.receive().unwrap();
    receiver.write(&pack_of(watched, &[commit], &[have])).unwrap();
    receiver.finish(commit, false).ok();
}
