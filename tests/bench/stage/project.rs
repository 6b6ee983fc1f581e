//! Commits of a project with many files, and git on them.

use std::path::Path;
use std::process::{Command, Stdio};

use git2::Oid;

use super::repo::Repo;

/// The size of each file, in bytes.
pub(crate) const BYTES: usize = 12_000;

/// Commits of so many files in 50 directories. Each one after the first has new content in `changed` of them.
pub(crate) fn history(repo: &Repo, (files, changed): (usize, usize), count: usize, tasks: &str) -> Vec<Oid> {
    let directories = 50;
    let mut blobs: Vec<Oid> = (0..files).map(|n| repo.git.blob(&content(n as u64, BYTES)).expect("a blob")).collect();
    let mut commits: Vec<Oid> = Vec::new();
    for n in 0..count {
        for number in 0..if n == 0 { 0 } else { changed.min(files) } {
            let at = (number * 97 + n) % files;
            blobs[at] = repo.git.blob(&content((n * 1_000_000 + at) as u64, BYTES)).expect("a blob");
        }
        let trees: Vec<(String, Oid)> =
            (0..directories).map(|directory| tree(repo, &blobs, directory, directories)).collect();
        let entries: Vec<(&str, Oid, i32)> = trees.iter().map(|(name, id)| (name.as_str(), *id, 0o040_000)).collect();
        commits.push(repo.commit(commits.last().copied(), &format!("commit {n}"), tasks, &entries));
    }
    commits
}

/// One directory, with its share of the files.
fn tree(repo: &Repo, blobs: &[Oid], directory: usize, directories: usize) -> (String, Oid) {
    let mut tree = repo.git.treebuilder(None).expect("a tree");
    for at in (directory..blobs.len()).step_by(directories) {
        tree.insert(format!("file{at}.c"), blobs[at], 0o100_644).expect("an entry");
    }
    (format!("d{directory}"), tree.write().expect("a tree"))
}

/// Text that compresses about as source code does.
pub(crate) fn content(seed: u64, bytes: usize) -> Vec<u8> {
    let words =
        ["fn ", "let ", "return ", "if ", "self.", "value", "index", "(", ")", ";\n", " = ", "{\n", "}\n", "&mut "];
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

/// The text of a path that has plain letters only.
pub(crate) fn path(path: &Path) -> &str {
    path.to_str().expect("a path of plain letters")
}

/// Runs git in a directory.
pub(crate) fn git(directory: &Path, arguments: &[&str]) {
    let mut command = Command::new("git");
    command.arg("-C").arg(directory).args(["-c", "safe.directory=*", "-c", "gc.auto=0"]).args(arguments);
    command.env_remove("GIT_DIR").stdin(Stdio::null());
    assert!(command.status().expect("git is there").success(), "git {arguments:?}");
}
