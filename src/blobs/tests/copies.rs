//! Copies of blobs that are stored elsewhere.

use std::fs;
use std::io::Write;
use std::time::{Duration, SystemTime};

use super::super::{BlobCopies, sum};
use crate::model::BlobId;

fn add(copies: &BlobCopies, bytes: &[u8]) -> BlobId {
    let (id, _) = sum(bytes).unwrap();
    let mut copy = copies.begin().unwrap();
    copy.write_all(bytes).unwrap();
    copies.keep(id, copy).unwrap();
    id
}

/// S43: a copy that is not what it was is found, whatever has become of it, and then it is gone.
#[test]
fn a_copy_is_given_out_only_if_it_is_what_it_was() {
    let place = tempfile::tempdir().unwrap();
    let copies = BlobCopies::open(place.path().join("copies"), 1 << 20);
    assert!(!copies.has(BlobId([7; 32]), 5));
    let read = |id, bytes| {
        let mut to = Vec::new();
        copies.find(id)?.read(bytes, &mut to, &mut Vec::new()).unwrap().then_some(to)
    };
    assert_eq!(read(BlobId([7; 32]), 5), None);
    let large = vec![7; 300_000];
    for bytes in [&b""[..], b"small", &large] {
        let id = add(&copies, bytes);
        let path = place.path().join("copies").join(&id.to_string()[..2]).join(&id.to_string()[2..]);
        let length = bytes.len() as u64;
        assert!(copies.has(id, length) && !copies.has(id, length + 1));
        assert_eq!(read(id, length).as_deref(), Some(bytes));
        for harm in [&b"x"[..], &[bytes, b"x"].concat(), &[b"x", bytes].concat()] {
            fs::write(&path, harm).unwrap();
            assert_eq!(read(id, length), None);
            assert!(!path.exists());
            assert_eq!(add(&copies, bytes), id);
        }
    }
    let (text, other) = (add(&copies, b"text"), BlobId([7; 32]));
    assert_eq!(copies.text(text, 4).as_deref(), Some(&b"text"[..]));
    assert_eq!(copies.text(text, 3), None);
    // A file may have become another one since it was read.
    let file = place.path().join("file");
    fs::write(&file, "text").unwrap();
    copies.keep_file(other, &fs::File::open(&file).unwrap()).unwrap();
    assert!(copies.has(other, 4));
    assert_eq!((copies.text(other, 4), copies.has(other, 4)), (None, false));
    drop(copies.begin().unwrap());
    assert_eq!(fs::read_dir(place.path().join("copies/unfinished")).unwrap().count(), 0);
}

#[test]
fn the_copies_that_were_used_longest_ago_go_first() {
    let place = tempfile::tempdir().unwrap();
    let copies = BlobCopies::open(place.path().to_owned(), 100);
    let ids: Vec<BlobId> = (0..5u8).map(|at| add(&copies, &[at; 30])).collect();
    assert!(ids.iter().all(|id| copies.has(*id, 30)));
    for (at, id) in ids.iter().enumerate() {
        let name = id.to_string();
        let file = fs::File::options().append(true).open(place.path().join(&name[..2]).join(&name[2..])).unwrap();
        file.set_modified(SystemTime::UNIX_EPOCH + Duration::from_secs(at as u64)).unwrap();
    }
    // The oldest one is used again.
    assert!(copies.has(ids[0], 30));
    assert_eq!(copies.shrink().unwrap(), 60);
    let left: Vec<bool> = ids.iter().map(|id| copies.has(*id, 30)).collect();
    assert_eq!(left, [true, false, false, true, true]);
    assert_eq!(copies.shrink().unwrap(), 0);
}
