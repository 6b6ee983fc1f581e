//! Archives of artifacts, for the property test below and for the fuzzer.

use std::io::Read;
use std::path::Path;

use super::archive::{END, head, padding};
use crate::blobs::{Entry, EntryKind, read_manifest};

/// The longest content of a file here.
const MAX_BYTES: u64 = 4096;

/// Makes an archive of the entries of a manifest, and reads it back: it has the same entries, each with its own
/// content.
///
/// # Panics
///
/// If an invariant is broken.
pub fn archive(manifest: &[u8]) {
    let mut entries: Vec<Entry> = Vec::new();
    // The entries before a line that makes no sense are as good as any others.
    drop(read_manifest(manifest, &mut |entry| {
        entries.push(entry);
        Ok(())
    }));
    entries.retain(|entry| !matches!(entry.kind, EntryKind::File { bytes: MAX_BYTES.., .. }));
    let mut archive = Vec::new();
    for (at, entry) in entries.iter().enumerate() {
        archive.extend(head(entry).expect("a path of a manifest fits into an archive"));
        assert_eq!(archive.len() % 512, 0, "{entry:?}");
        if let EntryKind::File { bytes, .. } = entry.kind {
            archive.extend(content(at, bytes));
            archive.extend(padding(bytes));
        }
    }
    archive.extend(END);
    let mut read = tar::Archive::new(archive.as_slice());
    let found: Vec<_> = read.entries().expect("it begins").map(|entry| entry.expect("it is an entry")).collect();
    assert_eq!(found.len(), entries.len());
    let mut read = tar::Archive::new(archive.as_slice());
    for ((at, due), found) in entries.iter().enumerate().zip(read.entries().expect("it begins")) {
        let mut found = found.expect("it is an entry");
        let path = found.path_bytes().into_owned();
        let path = path.strip_suffix(b"/").unwrap_or(&path);
        assert_eq!(path, due.path.as_bytes());
        let header = found.header();
        assert_eq!(
            header.mtime().expect("a number"),
            u64::try_from(due.mtime_ns.div_euclid(1_000_000_000)).unwrap_or(0)
        );
        let (kind, mode) = (header.entry_type(), header.mode().expect("a number"));
        // A link may lose slashes that mean nothing.
        let link = found.link_name().expect("a name").map(|target| target.into_owned());
        let mut bytes = Vec::new();
        found.read_to_end(&mut bytes).expect("it is all there");
        match &due.kind {
            EntryKind::File { bytes: length, executable, .. } => {
                assert!(
                    kind.is_file() && (mode & 0o100 != 0) == *executable && bytes == content(at, *length),
                    "{due:?}"
                );
            }
            EntryKind::Link { target } => {
                assert!(kind.is_symlink() && link.as_deref() == Some(Path::new(target)) && bytes.is_empty(), "{due:?}");
            }
            EntryKind::EmptyDirectory => assert!(kind.is_dir() && bytes.is_empty(), "{due:?}"),
        }
    }
}

/// The content of the file at this place of the archive.
fn content(at: usize, bytes: u64) -> Vec<u8> {
    (0..bytes).map(|byte| (byte as usize * 7 + at) as u8).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::blobs::fuzz::tests::manifest_of;

    proptest! {
        #[test]
        fn an_archive_has_the_entries_of_its_manifest(manifest in manifest_of()) {
            archive(&manifest);
        }
    }

    #[test]
    fn long_paths_and_old_files_are_archived() {
        let long = format!("{}/x", ["a".repeat(200), "b".repeat(200)].join("/"));
        archive(
            format!("{{\"path\":\"{long}\",\"mtime_ns\":-5,\"blob\":\"{}\",\"bytes\":513}}\n", "0".repeat(64))
                .as_bytes(),
        );
        archive(format!("{{\"path\":\"l\",\"mtime_ns\":5,\"link\":\"{long}\"}}\n").as_bytes());
    }
}
