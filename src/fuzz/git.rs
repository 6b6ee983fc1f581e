//! Fuzz entry points of pointers of Git LFS, and of packs: bytes taken as a pack, or objects described by the bytes, so
//! that trees and commits occur that git would never write.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use flate2::Compression;
use flate2::write::ZlibEncoder;
use git2::{ObjectFormat, Odb, Oid};
use sha1::{Digest, Sha1};

use crate::git::{EntryKind, Objects, PackStore, PointerFile, WorkTree, entries};
use crate::model::CommitId;

/// Names that must not be written into a work tree, and some that may.
const NAMES: [&[u8]; 16] = [
    b"a", b"b", b"A", b"..", b".", b".git", b".GIT", b"git~1", b"a/b", b"../x", b"/x", b"", b"\xff", b"\n", b"-x",
    b"keep",
];
/// Modes that git writes, and others.
const MODES: [&[u8]; 12] = [
    b"100644", b"100755", b"120000", b"40000", b"160000", b"040000", b"100600", b"100664", b"0", b"", b"777777", b"44",
];
/// Targets of links.
const TARGETS: [&[u8]; 4] = [b"/", b"..", b"../../outside", b"a"];

/// Reads the bytes as a pointer of Git LFS. One that is read is written as those very bytes.
///
/// # Panics
///
/// If an invariant is broken.
pub fn lfs_pointer(bytes: &[u8]) {
    match PointerFile::parse(bytes) {
        Some(PointerFile::Plain(pointer)) => {
            assert_eq!(pointer.to_string().as_bytes(), bytes);
            assert!(pointer.size > 0 && i64::try_from(pointer.size).is_ok(), "{pointer:?}");
            let name = pointer.oid.to_string();
            assert!(name.len() == 64 && name.bytes().all(|byte| byte.is_ascii_hexdigit()), "{name}");
        }
        Some(PointerFile::Extended) => assert!(bytes.len() <= 1024 && bytes.ends_with(b"\n")),
        None => {}
    }
}

/// Receives the bytes as a pack. For any bytes, no half-received pack is left, and no commit appears that did not
/// arrive whole.
///
/// # Panics
///
/// If an invariant is broken.
pub fn pack(bytes: &[u8]) {
    let place = Place::new();
    let commit = CommitId::from_bytes(&[0xab; 20]).expect("it is as long as one");
    let store = PackStore::open(&place.store(), commit).expect("there is room for a store");
    // With a correct checksum, more of the pack is parsed.
    let (is_signed, bytes) = bytes.split_first().map_or((false, bytes), |(first, rest)| (first % 2 == 0, rest));
    let sum = if is_signed { Sha1::digest(bytes).to_vec() } else { Vec::new() };
    let mut receiver = store.receive().expect("a receiver can be made");
    let written = bytes.chunks(97).chain([&sum[..]]).try_for_each(|piece| receiver.write(piece));
    let taken = written.and_then(|()| receiver.finish(commit, false));
    assert!(taken.is_err() && !store.has(commit), "there is no such commit");
    drop(store);
    let left = names(&place.store().join("objects"));
    assert!(!left.iter().any(|name| name.starts_with("incoming-")), "{left:?}");
}

/// Makes the objects that the bytes describe, in a valid pack, and checks two of the commits out one after the other.
/// Nothing may appear outside the tree, and in it nothing that the commit does not have.
///
/// # Panics
///
/// If an invariant is broken.
pub fn objects(bytes: &[u8]) {
    let made = Made::from(bytes);
    let (Some(first), Some(last)) = (made.commits.first(), made.commits.last()) else { return };
    let place = Place::new();
    let store = PackStore::open(&place.store(), *last).expect("there is room for a store");
    let mut receiver = store.receive().expect("a receiver can be made");
    receiver.write(&made.pack()).expect("the pack is sound");
    if receiver.finish(*last, false).is_err() {
        return;
    }
    fs::create_dir(place.path("outside")).expect("it is empty");
    let mut tree = WorkTree::open(&place.store(), &place.path("slots/tree")).expect("an empty directory can be had");
    for commit in [first, last, last] {
        if tree.check_out(*commit, &["keep".into()]).is_ok() {
            let format = ObjectFormat::Sha1;
            let objects = Objects::open(&place.store().join("objects"), format).expect("it was open just now");
            let odb = objects.odb().expect("it was open just now");
            let root = objects.commit(*commit).expect("it was checked out").tree_id();
            // A kept entry may be from the commit before.
            compare(&objects, &odb, root, &place.path("slots/tree"), true);
            assert!(store.check(*commit).is_ok(), "{commit} is checked out and not whole");
        }
        assert_eq!(names(&place.path("outside")), [""; 0]);
        // The first check-out that is allowed makes the tree.
        assert!(names(&place.path("slots")).iter().all(|name| ["tree", "tree.index"].contains(&name.as_str())));
        assert_eq!(names(&place.path("")), ["outside", "slots", "store"]);
    }
}

/// Asserts that the directory holds exactly the entries of the tree.
fn compare(objects: &Objects, odb: &Odb<'_>, tree: Oid, directory: &Path, is_root: bool) {
    let data = objects.tree(odb, tree).expect("it was checked out");
    let mut expected = BTreeMap::new();
    for entry in entries(tree, data.data()).expect("it was checked out") {
        expected.insert(entry.name, entry);
    }
    let mut found: Vec<_> = fs::read_dir(directory).expect("it was checked out").flatten().collect();
    found.retain(|entry| !(is_root && [OsStr::new("keep"), OsStr::new(".git")].contains(&&*entry.file_name())));
    for entry in &found {
        let name = entry.file_name();
        let wanted = expected.remove(name.as_bytes()).unwrap_or_else(|| panic!("{name:?} is not in the tree"));
        let kind = entry.file_type().expect("it is there");
        let blob = || objects.blob(odb, wanted.id).expect("it was checked out").data().to_vec();
        match wanted.kind {
            EntryKind::Tree => compare(objects, odb, wanted.id, &entry.path(), false),
            EntryKind::Submodule => assert!(kind.is_dir()),
            EntryKind::Link => {
                let target = fs::read_link(entry.path()).expect("it is a link");
                assert_eq!(target.as_os_str().as_bytes(), blob());
            }
            EntryKind::File | EntryKind::Executable => {
                assert!(kind.is_file());
                assert_eq!(fs::read(entry.path()).expect("it is a file"), blob());
                let mode = entry.metadata().expect("it is there").permissions().mode();
                assert_eq!(mode & 0o100 != 0, wanted.kind == EntryKind::Executable);
            }
        }
    }
    expected.retain(|name, _| !(is_root && *name == b"keep"));
    assert!(expected.is_empty(), "{:?} are missing", expected.keys());
}

/// A temporary directory, in which only `store` and `slots` may be used.
struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Self {
        Self(tempfile::tempdir().expect("there is room for a directory"))
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.0.path().join(name)
    }

    fn store(&self) -> std::path::PathBuf {
        self.path("store")
    }
}

fn names(directory: &Path) -> Vec<String> {
    let found = fs::read_dir(directory).expect("it is there").flatten();
    let mut names: Vec<_> = found.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.sort_unstable();
    names
}

/// Objects, each with its type in packs, its content and its id.
#[derive(Default)]
struct Made {
    objects: Vec<(u8, Vec<u8>, [u8; 20])>,
    commits: Vec<CommitId>,
}

impl Made {
    /// Makes objects from the bytes until they are used up, at most 64.
    fn from(bytes: &[u8]) -> Self {
        let mut made = Self::default();
        let mut source = Source(bytes);
        while !source.0.is_empty() && made.objects.len() < 64 {
            match source.byte() % 4 {
                0 => {
                    let content = source.text(&TARGETS);
                    made.add(3, content);
                }
                1 | 2 => {
                    let mut content = Vec::new();
                    for _ in 0..source.byte() % 6 {
                        content.extend(source.text(&MODES));
                        content.push(b' ');
                        content.extend(source.text(&NAMES));
                        content.push(0);
                        content.extend(made.some_id(source.byte()));
                    }
                    made.add(2, content);
                }
                _ => {
                    let tree = made.some_id(source.byte());
                    let hex: String = tree.iter().map(|byte| format!("{byte:02x}")).collect();
                    let mut content = format!("tree {hex}\n").into_bytes();
                    content.extend(source.text(&[b"author a <a> 1 +0000\ncommitter a <a> 1 +0000\n\nx", b"", b"\n\n"]));
                    let id = made.add(1, content);
                    made.commits.extend(CommitId::from_bytes(&id));
                }
            }
        }
        made
    }

    fn add(&mut self, kind: u8, content: Vec<u8>) -> [u8; 20] {
        let name = [&b"commit"[..], b"tree", b"blob"][usize::from(kind) - 1];
        let head = [name, b" ", content.len().to_string().as_bytes(), b"\0"].concat();
        let id = Sha1::new().chain_update(head).chain_update(&content).finalize().into();
        if !self.objects.iter().any(|(_, _, other)| *other == id) {
            self.objects.push((kind, content, id));
        }
        id
    }

    /// The id of an earlier object, or one that no object has.
    fn some_id(&self, choice: u8) -> [u8; 20] {
        let back = usize::from(choice);
        self.objects.iter().rev().nth(back).map_or([choice; 20], |(_, _, id)| *id)
    }

    fn pack(&self) -> Vec<u8> {
        let count = u32::try_from(self.objects.len()).expect("they are few");
        let mut pack = [&b"PACK\0\0\0\x02"[..], &count.to_be_bytes()].concat();
        for (kind, content, _) in &self.objects {
            let mut rest = content.len() >> 4;
            let mut byte = kind << 4 | (content.len() & 15) as u8;
            while rest > 0 {
                pack.push(byte | 0x80);
                byte = (rest & 0x7f) as u8;
                rest >>= 7;
            }
            pack.push(byte);
            let mut encoder = ZlibEncoder::new(&mut pack, Compression::fast());
            encoder.write_all(content).and_then(|()| encoder.finish().map(drop)).expect("a Vec takes every byte");
        }
        pack.extend_from_slice(&Sha1::digest(&pack));
        pack
    }
}

/// Bytes that decide every choice; zeros when they are used up.
struct Source<'a>(&'a [u8]);

impl Source<'_> {
    fn byte(&mut self) -> u8 {
        self.0.split_off_first().copied().unwrap_or(0)
    }

    /// Returns one of these texts, or one made of the next bytes.
    fn text(&mut self, texts: &[&[u8]]) -> Vec<u8> {
        let choice = usize::from(self.byte());
        if let Some(text) = texts.get(choice) {
            return text.to_vec();
        }
        let len = self.0.len().min(choice % 16);
        self.0.split_off(..len).unwrap_or_default().to_vec()
    }
}
