//! Manifests (S45).

use proptest::prelude::*;

use super::*;

fn file(path: &str) -> Entry {
    let kind = EntryKind::File { blob: id_of(path.as_bytes()), bytes: 3, executable: path.len().is_multiple_of(2) };
    Entry { path: path.into(), mtime_ns: -5, kind }
}

fn read(text: &[u8]) -> Result<Vec<Entry>, String> {
    let mut entries = Vec::new();
    let read = read_manifest(text, &mut |entry| {
        entries.push(entry);
        Ok(())
    });
    read.map(|()| entries).map_err(|error| error.to_string())
}

fn written(entries: &[Entry]) -> Vec<u8> {
    let mut text = Vec::new();
    write_manifest(entries, &mut text).unwrap();
    text
}

#[test]
fn entries_read_back_as_they_were_written() {
    let link = Entry { path: "a/l".into(), mtime_ns: 7, kind: EntryKind::Link { target: "../b".into() } };
    let empty = Entry { path: "b".into(), mtime_ns: 9, kind: EntryKind::EmptyDirectory };
    let entries = [file("a/b"), link, file("a-b"), empty, file("ü \n\"")];
    assert_eq!(read(&written(&entries)), Ok(entries.to_vec()));
    assert_eq!(read(b""), Ok(Vec::new()));
}

#[test]
fn a_path_that_leads_out_of_the_root_is_refused() {
    for path in ["", "/etc/passwd", "..", "a/../../b", "a//b", "a/./b", "a/", "a\0b", ".git/config", ".GIT/hooks/x"] {
        assert!(read(&written(&[file(path)])).unwrap_err().contains("no path below the root"), "{path:?}");
    }
    let long = "a/".repeat(3000) + "b";
    assert!(read(&written(&[file(&long)])).is_err());
    for (path, target) in [("l", ".."), ("a/l", "../.."), ("l", "/etc"), ("l", "a/../../b"), ("l", ""), ("l", "a/..")] {
        assert!(!stays_inside(path, target), "{path} -> {target}");
        let link = Entry { path: path.into(), mtime_ns: 0, kind: EntryKind::Link { target: target.into() } };
        assert!(read(&written(&[link])).unwrap_err().contains("leads out of the root"), "{target}");
    }
    for (path, target) in [("l", "a"), ("a/l", ".."), ("a/b/l", "../../c"), ("a/l", "./b/c")] {
        assert!(stays_inside(path, target), "{path} -> {target}");
    }
}

/// A link, and then a file below it, would be written through the link.
#[test]
fn entries_do_not_share_a_place() {
    let link = Entry { path: "a".into(), mtime_ns: 0, kind: EntryKind::Link { target: "b".into() } };
    assert!(read(&written(&[link, file("a/x")])).unwrap_err().contains("is below `a`"));
    assert!(read(&written(&[file("a"), file("a/x")])).is_err());
    assert!(read(&written(&[file("b"), file("a")])).unwrap_err().contains("does not come behind"));
    assert!(read(&written(&[file("a"), file("a")])).is_err());
}

#[test]
fn a_text_that_is_no_manifest_is_refused() {
    let fine = written(&[file("a")]);
    assert!(read(&fine[..fine.len() - 1]).unwrap_err().contains("not whole"));
    for text in [&b"x\n"[..], b"{}\n", b"{\"path\":\"a\",\"mtime_ns\":1,\"blob\":\"..\"}\n", b"\n"] {
        assert!(read(text).is_err(), "{}", text.escape_ascii());
    }
    assert!(read(&vec![b'x'; 1 << 20]).unwrap_err().contains("too long"));
}

proptest! {
    /// No entry has, whatever is read, a place outside of the root, or that of another one.
    #[test]
    fn what_is_read_is_safe(paths in prop::collection::vec("[./a-c]{0,6}", 0..6)) {
        let entries: Vec<Entry> = paths.iter().map(|path| file(path)).collect();
        for Entry { path, .. } in read(&written(&entries)).unwrap_or_default() {
            prop_assert!(!path.starts_with('/') && path.split('/').all(|name| !["", ".", ".."].contains(&name)));
        }
    }
}

#[test]
fn a_path_that_no_manifest_can_have_is_told_in_short() {
    let long = "é/".repeat(2000);
    for (path, why) in [
        (".GIT/x", "`.GIT/x` is in a directory that some file systems take for `.git`"),
        (&*long, "é/…` is longer than 4095 bytes"),
    ] {
        let fault = path_fault(path).unwrap();
        assert!(fault.ends_with(why) && fault.len() < 200, "{fault}");
    }
    for path in ["a/.git/x", ".gitignore", "a", &long[..4094]] {
        assert_eq!(path_fault(path), None);
    }
}
