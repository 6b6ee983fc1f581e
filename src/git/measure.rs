//! Figures, on request: `cargo test --release --lib git::measure -- --ignored --nocapture --test-threads=1`.

#![expect(clippy::print_stderr, reason = "figures are for whoever asks for them")]

use std::fs;
use std::time::Duration;

use super::fixture::{Repo, deliver, pack_of};
use super::{BranchSelection, WorkTree};
use crate::clock;

fn timed<T>(name: &str, rounds: u32, mut body: impl FnMut() -> T) -> T {
    let mut times: Vec<Duration> = Vec::new();
    let mut last = None;
    for _ in 0..rounds {
        let start = clock::instant();
        last = Some(body());
        times.push(start.elapsed());
    }
    times.sort();
    let at = |part: f64| times[((times.len() - 1) as f64 * part) as usize];
    eprintln!("{name}: median {:?}, p99 {:?}", at(0.5), at(0.99));
    last.unwrap()
}

/// Files whose content compresses about as source code does.
fn content(seed: u64, bytes: usize) -> Vec<u8> {
    let words = [
        "fn ", "let ", "return ", "if ", "self.", "value", "index", "(", ")", ";\n", " = ", "{\n", "}\n", "result",
        "&mut ",
    ];
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut text = Vec::with_capacity(bytes + 16);
    while text.len() < bytes {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        text.extend_from_slice(words[(state % words.len() as u64) as usize].as_bytes());
        if state >> 60 == 0 {
            text.extend_from_slice(format!("{:x}", state as u32).as_bytes());
        }
    }
    text
}

fn large(files: u64, bytes: usize) -> Repo {
    let repo = Repo::new();
    for n in 0..files {
        repo.write(&format!("d{}/e{}/file{n}.c", n % 20, n % 7), content(n, bytes));
    }
    repo
}

#[test]
#[ignore = "figures"]
fn small() {
    let repo = Repo::new();
    for n in 0..10 {
        repo.write(&format!("d{}/file{n}", n % 3), content(n, 500));
    }
    let mut commits = vec![repo.commit("0")];
    for n in 1..60 {
        commits.push(repo.write("changing", format!("{n}")).commit(&n.to_string()));
    }
    let head = repo.head();
    let watched = repo.watched();
    timed("heads, one loose branch", 1000, || watched.heads(&BranchSelection::Main).unwrap());
    repo.git(&["pack-refs", "--all"]);
    timed("heads, one packed branch", 1000, || watched.heads(&BranchSelection::Main).unwrap());
    timed("range of 50", 200, || watched.range(Some(commits[9]), head, 50).unwrap());
    timed("describe", 200, || watched.describe(head).unwrap());
    timed("pack build, small difference", 500, || pack_of(&watched, &[head], &[commits[58]]));
    let store = repo.store(head);
    deliver(&watched, &store, commits[0], &[]);
    let mut n = 0;
    timed("small pack, build, receive and finish durable", 28, || {
        n += 1;
        let pack = pack_of(&watched, &[commits[n]], &[commits[n - 1]]);
        let mut receiver = store.receive().unwrap();
        receiver.write(&pack).unwrap();
        receiver.finish(commits[n], true).unwrap();
    });
    timed("the same, not durable", 28, || {
        n += 1;
        let pack = pack_of(&watched, &[commits[n]], &[commits[n - 1]]);
        let mut receiver = store.receive().unwrap();
        receiver.write(&pack).unwrap();
        receiver.finish(commits[n], false).unwrap();
    });
    timed("has", 500, || assert!(store.has(commits[n])));
    timed("read_file", 500, || store.read_file(commits[n], "d1/file1", 10_000).unwrap().unwrap());
    let mut tree = WorkTree::open(&repo.beside("store"), &repo.beside("tree")).unwrap();
    tree.check_out(commits[n], &[]).unwrap();
    timed("check_out of the same commit, small tree", 2000, || tree.check_out(commits[n], &[]).unwrap());
    let mut back = false;
    timed("check_out of another commit, small tree", 500, || {
        back = !back;
        tree.check_out(commits[if back { n - 1 } else { n }], &[]).unwrap();
    });
}

#[test]
#[ignore = "figures"]
fn large_tree() {
    let repo = large(5000, 12_000);
    let first = repo.commit("first");
    for n in 0..50 {
        repo.write(&format!("d{}/e{}/file{}.c", (n * 97) % 20, (n * 97) % 7, n * 97), content(n + 1_000_000, 12_000));
    }
    let second = repo.commit("second");
    let watched = repo.watched();
    let pack = timed("pack of 5,000 files, 60 MB, loose", 1, || pack_of(&watched, &[first], &[]));
    eprintln!("  {} bytes", pack.len());
    repo.git(&["repack", "-adq"]);
    let watched = repo.watched();
    let pack = timed("pack of 5,000 files, 60 MB, packed", 2, || pack_of(&watched, &[first], &[]));
    eprintln!("  {} bytes", pack.len());
    let store = repo.store(first);
    timed("receive and finish it, durable", 1, || {
        let mut receiver = store.receive().unwrap();
        for piece in pack.chunks(128 * 1024) {
            receiver.write(piece).unwrap();
        }
        receiver.finish(first, true).unwrap();
    });
    let sent = |haves: &[_]| store.pack(first, haves, &mut |_| true).unwrap();
    timed("the store passing it on", 5, || sent(&[]));
    let pack = timed("pack of 50 changed files", 20, || pack_of(&watched, &[second], &[first]));
    eprintln!("  {} bytes", pack.len());
    timed("receive and finish it, durable", 1, || {
        let mut receiver = store.receive().unwrap();
        receiver.write(&pack).unwrap();
        receiver.finish(second, true).unwrap();
    });
    timed("the store passing the 50 on", 20, || store.pack(second, &[first], &mut |_| true).unwrap());
    let place = repo.beside("tree");
    let mut tree = WorkTree::open(&repo.beside("store"), &place).unwrap();
    timed("fresh check_out of 5,000 files", 1, || tree.check_out(first, &[]).unwrap());
    timed("check_out of the same commit right after", 1, || tree.check_out(first, &[]).unwrap());
    timed("check_out of the same commit", 50, || tree.check_out(first, &[]).unwrap());
    let mut back = false;
    timed("check_out with 50 files changed", 50, || {
        back = !back;
        tree.check_out(if back { second } else { first }, &[]).unwrap();
    });
    let mut tree = WorkTree::open(&repo.beside("store"), &place).unwrap();
    timed("check_out after a restart", 1, || tree.check_out(first, &[]).unwrap());
    fs::remove_dir_all(&place).unwrap();
    timed("check_out after the directory was removed", 1, || tree.check_out(first, &[]).unwrap());
}
