//! Packs that were only noted when the power failed. A machine after a power loss is simulated by a copy of the store
//! as it was at that moment, without everything that was not synced.

use std::fs;
use std::path::{Path, PathBuf};

use super::*;
use crate::git::tests::support::{Repo, deliver, pack_of};

fn receive(watched: &crate::git::Watched, store: &PackStore, commit: CommitId, have: &[CommitId]) {
    let mut receiver = store.receive().unwrap();
    receiver.write(&pack_of(watched, &[commit], have)).unwrap();
    receiver.finish(commit, true).unwrap();
}

/// Copies the store as after a power loss: tears every pack that is not in `synced`.
fn after_power_loss(repo: &Repo, name: &str, synced: &[PathBuf]) -> PathBuf {
    let after = repo.beside(name);
    copy(&repo.beside("store"), &after);
    for file in packs(&after) {
        let before = repo.beside("store/objects/pack").join(file.file_name().unwrap());
        if !synced.contains(&before) {
            let length = fs::metadata(&file).unwrap().len();
            fs::remove_file(&file).unwrap();
            // The length had reached the file system's journal, the content had not.
            fs::File::create(&file).unwrap().set_len(length).unwrap();
        }
    }
    after
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

fn packs(store: &Path) -> Vec<PathBuf> {
    fs::read_dir(store.join("objects/pack")).unwrap().map(|entry| entry.unwrap().path()).collect()
}

fn notes(store: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(store.join("objects")).unwrap().map(|entry| entry.unwrap().path().join("notes"));
    entries.filter(|note| note.exists()).collect()
}

// Promise S1 for the source of a commit. Fails if a pack is published without its note, or if notes are not read.
#[test]
fn a_pack_that_was_only_noted_survives_a_power_loss() {
    let repo = Repo::new();
    let first = repo.write("a/file", "one").write("b", "one").commit("first");
    let second = repo.write("b", "two").commit("second");
    let third = repo.write("b", "three").commit("third");
    let (watched, store) = (repo.watched(), repo.store(first));
    receive(&watched, &store, first, &[]);
    store.sync_noted().unwrap();
    let synced = packs(&repo.beside("store"));
    // Two receivers at once, as from two observers.
    receive(&watched, &store, second, &[first]);
    receive(&watched, &store, third, &[first]);
    let after = PackStore::open(&after_power_loss(&repo, "after", &synced), first).unwrap();
    for commit in [first, second, third] {
        after.check(commit).unwrap();
    }
    assert_eq!(notes(&repo.beside("after")).len(), 0, "what was taken in is not needed any more");
    // From now on the pack is durable without its note.
    drop(after);
    PackStore::open(&repo.beside("after"), first).unwrap().check(third).unwrap();
}

#[test]
fn a_note_that_was_being_written_is_passed_over() {
    let repo = Repo::new();
    let first = repo.write("file", "one").commit("first");
    let second = repo.write("file", "two").commit("second");
    let (watched, store) = (repo.watched(), repo.store(first));
    receive(&watched, &store, first, &[]);
    store.sync_noted().unwrap();
    let synced = packs(&repo.beside("store"));
    receive(&watched, &store, second, &[first]);
    let path = after_power_loss(&repo, "after", &synced);
    let note = notes(&path).remove(0);
    let mut bytes = fs::read(&note).unwrap();
    bytes[40] ^= 1;
    fs::write(&note, bytes).unwrap();
    let after = PackStore::open(&path, first).unwrap();
    after.check(first).unwrap();
    assert!(!after.has(second), "the torn pack is gone");
    deliver(&watched, &after, second, &[first]);
    after.check(second).unwrap();
}

#[test]
fn a_pack_that_is_settled_needs_no_note() {
    let repo = Repo::new();
    let first = repo.write("file", "one").commit("first");
    let (watched, store) = (repo.watched(), repo.store(first));
    receive(&watched, &store, first, &[]);
    store.sync_noted().unwrap();
    let path = after_power_loss(&repo, "after", &packs(&repo.beside("store")));
    fs::remove_file(notes(&path).remove(0)).unwrap();
    PackStore::open(&path, first).unwrap().check(first).unwrap();
}

#[test]
fn a_handle_that_is_dropped_settles_what_it_received() {
    let repo = Repo::new();
    let first = repo.write("file", "one").commit("first");
    let (watched, store) = (repo.watched(), repo.store(first));
    receive(&watched, &store, first, &[]);
    assert_eq!(notes(&repo.beside("store")).len(), 1);
    drop(store);
    assert_eq!(notes(&repo.beside("store")).len(), 0);
    PackStore::open(&repo.beside("store"), first).unwrap().check(first).unwrap();
}

#[test]
fn a_large_pack_is_synced_as_it_is() {
    let repo = Repo::new();
    let noise: Vec<u8> = (0..400_000_u32).flat_map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes()).collect();
    let first = repo.write("file", noise).commit("first");
    let (watched, store) = (repo.watched(), repo.store(first));
    receive(&watched, &store, first, &[]);
    assert_eq!(notes(&repo.beside("store")).len(), 0);
    store.check(first).unwrap();
}

// A pack that a merge has replaced by a larger one no longer exists when it is to be synced.
#[test]
fn what_was_merged_meanwhile_is_settled() {
    let repo = Repo::new();
    let first = repo.write("file", "one").commit("first");
    let (watched, store) = (repo.watched(), repo.store(first));
    receive(&watched, &store, first, &[]);
    for file in packs(&repo.beside("store")) {
        fs::remove_file(file).unwrap();
    }
    store.sync_noted().unwrap();
}

#[test]
fn notes_take_no_more_room_however_many_packs_arrive() {
    let repo = Repo::new();
    let noise = |seed: u32| -> Vec<u8> {
        (0..50_000_u32).flat_map(|n| (n ^ seed).wrapping_mul(2_654_435_761).rotate_left(7).to_le_bytes()).collect()
    };
    let commits: Vec<_> = (0..8).map(|n| repo.write("file", noise(n << 20)).commit("more")).collect();
    let (watched, store) = (repo.watched(), repo.store(commits[0]));
    for (at, commit) in commits.iter().enumerate() {
        receive(&watched, &store, *commit, &commits[..at]);
        assert_eq!(fs::metadata(notes(&repo.beside("store")).remove(0)).unwrap().len(), 1 << 20);
    }
    // The present notes are received again, whatever older bytes stand behind them.
    let path = after_power_loss(&repo, "after", &packs(&repo.beside("store")));
    let after = PackStore::open(&path, commits[0]).unwrap();
    commits.iter().for_each(|commit| after.check(*commit).unwrap());
}
