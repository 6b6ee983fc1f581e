//! Directories: what is found in them, and what is written into them.

use std::fs;
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

use rustix::fs::OFlags;

use super::*;

fn walk(root: &TreeDirectory) -> Vec<(String, FoundKind)> {
    let mut found = Vec::new();
    let walked: Result<(), PathTrouble> = root.walk(&|_| true, &mut |one| {
        found.push((one.path, one.kind));
        Ok(())
    });
    walked.unwrap();
    found
}

#[test]
fn a_walk_tells_everything_in_the_order_of_a_manifest() {
    let directory = tempfile::tempdir().unwrap();
    let at = |path: &str| directory.path().join(path);
    fs::create_dir_all(at("a/empty")).unwrap();
    fs::write(at("a-b"), "x").unwrap();
    fs::write(at("a/run"), "x").unwrap();
    fs::set_permissions(at("a/run"), fs::Permissions::from_mode(0o755)).unwrap();
    symlink("../elsewhere", at("a/link")).unwrap();
    symlink("a", at("to-a")).unwrap();
    rustix::fs::mknodat(rustix::fs::CWD, at("fifo"), rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
    fs::write(directory.path().join(std::ffi::OsStr::from_bytes(b"\xff")), "x").unwrap();
    let link = |target: &str| FoundKind::Link { target: Some(target.into()) };
    let root = TreeDirectory::open(directory.path()).unwrap();
    assert_eq!(
        walk(&root),
        [
            ("a/empty".to_owned(), FoundKind::EmptyDirectory),
            ("a/link".to_owned(), link("../elsewhere")),
            ("a/run".to_owned(), FoundKind::File { executable: true, bytes: 1 }),
            ("a-b".to_owned(), FoundKind::File { executable: false, bytes: 1 }),
            ("fifo".to_owned(), FoundKind::Special("a FIFO")),
            ("to-a".to_owned(), link("a")),
            ("\u{fffd}".to_owned(), FoundKind::BadName),
        ]
    );
    assert!(root.file("to-a/run").is_err(), "no link is followed");
    assert!(root.file("fifo").unwrap_err().to_string().contains("no regular file"), "and no FIFO waited for");
    assert!(root.file("a/run").is_ok());
}

#[test]
fn files_are_placed_whole_with_their_times_and_bits_and_through_no_link() {
    let (directory, outside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let at = |path: &str| directory.path().join(path);
    let root = TreeDirectory::open(directory.path()).unwrap();
    let mut placing = root.begin_file("a/b/run", true).unwrap();
    placing.write_all(b"new").unwrap();
    assert!(!at("a/b/run").exists());
    placing.finish(1_700_000_000_123_456_789).unwrap();
    let meta = fs::metadata(at("a/b/run")).unwrap();
    assert_eq!((meta.mtime(), meta.mtime_nsec(), meta.mode() & 0o100), (1_700_000_000, 123_456_789, 0o100));
    root.make_link("a/link", "b/run", 1).unwrap();
    root.make_link("a/link", "b", 1).unwrap();
    assert_eq!(fs::read_link(at("a/link")).unwrap(), Path::new("b"));
    root.make_directory("empty", 1).unwrap();
    root.make_directory("empty", 1).unwrap();
    drop(root.begin_file("a/gone", false).unwrap());
    let placing = root.begin_file("a/gone", false).unwrap();
    placing.unfinished().remove();
    std::mem::forget(placing);
    assert_eq!(fs::read_dir(at("a")).unwrap().count(), 2, "nothing of it stays");
    symlink(outside.path(), at("out")).unwrap();
    let error = root.begin_file("out/x", false).unwrap_err().to_string();
    assert!(error.contains("something that is no directory is in the way: `out`"), "{error}");
    assert!(root.make_link("out/x", "y", 0).is_err() && root.make_directory("out/x", 0).is_err());
    assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 0);
    // A link in the place of a file is replaced, not followed.
    fs::write(outside.path().join("victim"), "old").unwrap();
    symlink(outside.path().join("victim"), at("file")).unwrap();
    let mut placing = root.begin_file("file", false).unwrap();
    placing.write_all(b"new").unwrap();
    placing.finish(0).unwrap();
    assert_eq!(fs::read_to_string(outside.path().join("victim")).unwrap(), "old");
    assert_eq!(fs::read_to_string(at("file")).unwrap(), "new");
    let placing = root.begin_file("empty", false).unwrap();
    assert!(placing.finish(0).unwrap_err().to_string().contains("a directory is in the way"));
}

/// The kernel executes no program that is open for writing, and a copy may be made while the task runs.
#[test]
fn a_file_that_was_placed_stays_open_for_reading_alone() {
    let directory = tempfile::tempdir().unwrap();
    for (root, path) in
        [(TreeDirectory::open(directory.path()), "a/run"), (TreeDirectory::open_adding(directory.path()), "b/run")]
    {
        let mut placing = root.unwrap().begin_file(path, true).unwrap();
        placing.write_all(b"new").unwrap();
        let file = placing.finish_open(0).unwrap().unwrap();
        assert_eq!(rustix::fs::fcntl_getfl(&file).unwrap() & OFlags::RWMODE, OFlags::RDONLY);
        assert_eq!(io::read_to_string(file).unwrap(), "new");
    }
}

/// Anything in the way is removed, whatever it is, and nothing through a link.
#[test]
fn a_directory_that_replaces_makes_room_for_each_entry() {
    let (directory, outside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let at = |path: &str| directory.path().join(path);
    fs::create_dir_all(outside.path().join("kept")).unwrap();
    let root = TreeDirectory::open_replacing(directory.path()).unwrap();
    for (number, path) in ["file", "link", "directory"].into_iter().enumerate() {
        for way in 0..3 {
            let place = at(path);
            match way {
                0 => fs::write(&place, "old").unwrap(),
                1 => symlink(outside.path(), &place).unwrap(),
                _ => {
                    fs::create_dir_all(place.join("deep/er")).unwrap();
                    symlink(outside.path(), place.join("deep/out")).unwrap();
                }
            }
            match number {
                0 => {
                    let mut placing = root.begin_file(path, false).unwrap();
                    placing.write_all(b"new").unwrap();
                    placing.finish(0).unwrap();
                    assert_eq!(fs::read_to_string(&place).unwrap(), "new");
                    fs::remove_file(place).unwrap();
                }
                1 => {
                    root.make_link(path, "target", 0).unwrap();
                    assert_eq!(fs::read_link(&place).unwrap(), Path::new("target"));
                    fs::remove_file(place).unwrap();
                }
                _ => {
                    root.make_directory(path, 0).unwrap();
                    root.begin_file("directory/x", false).unwrap().finish(0).unwrap();
                    assert!(place.join("x").is_file());
                    fs::remove_dir_all(place).unwrap();
                }
            }
        }
    }
    symlink(outside.path(), at("above")).unwrap();
    root.begin_file("above/x", false).unwrap().finish(0).unwrap();
    assert!(at("above/x").is_file() && !at("above").is_symlink());
    assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 1);
}
