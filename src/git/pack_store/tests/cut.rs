//! A pack that is cut short in place while it is open. libgit2 maps packs into memory, and SIGBUS ends a process that
//! touches a part that a mapped file has lost. So each trial runs in a process of its own.

use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use super::*;

const CHILD_TRIES: &str = "SURVEIL_TEST_TRIES";

/// Cuts all packs of an objects directory to a third of their length.
fn cut(objects: &Path) {
    let files = fs::read_dir(objects.join("pack")).unwrap().map(|entry| entry.unwrap().path());
    for file in files.filter(|path| path.extension().is_some_and(|it| it == "pack")) {
        let len = file.metadata().unwrap().len();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
        fs::File::options().write(true).open(&file).unwrap().set_len(len / 3).unwrap();
    }
}

fn large_commit(repo: &Repo) -> CommitId {
    // Noise does not shrink when compressed, and so fills many pages.
    let noise = |from: u64| -> Vec<u8> {
        (from..from + 10_000).flat_map(|n| n.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_le_bytes()).collect()
    };
    for number in 0..40 {
        repo.write(&format!("file{number}"), noise(number * 10_000));
    }
    repo.commit("large")
}

/// The child's part. Not a test by itself: it would end the process that runs it.
#[test]
fn a_child_whose_packs_are_cut() {
    let Ok(which) = std::env::var(CHILD_TRIES) else { return };
    let repo = Repo::new();
    let commit = large_commit(&repo);
    if which == "watched" {
        repo.git(&["repack", "-a", "-d", "-q"]);
        let watched = repo.watched();
        pack_of(&watched, &[commit], &[]);
        cut(&repo.path().join(".git/objects"));
        watched.pack(&[commit], &[], &mut |_| true).unwrap_err();
        return;
    }
    let store = repo.store(commit);
    deliver(&repo.watched(), &store, commit, &[]);
    let other = repo.store(commit);
    for store in [&store, &other] {
        store.check(commit).unwrap();
        store.pack(commit, &[], &mut |_| true).unwrap();
    }
    cut(&repo.beside("store/objects"));
    for store in [&store, &other] {
        store.pack(commit, &[], &mut |_| true).unwrap_err();
        store.check(commit).unwrap_err();
        store.read_file(commit, "file7", 1 << 20).unwrap_err();
    }
}

/// S30. Sabotage tried: without the check of lengths, signal 7 ends the child.
#[test]
fn a_pack_that_is_cut_short_while_it_is_open_is_an_error_and_ends_nobody() {
    for which in ["store", "watched"] {
        let child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "git::store::tests::cut::a_child_whose_packs_are_cut", "--nocapture"])
            .env(CHILD_TRIES, which)
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&child.stderr);
        assert!(child.status.success(), "{which}: {}: {said}", child.status);
    }
}
