//! Manifests, for the property test below and for the fuzzer.

use std::fs;

use super::{Entry, EntryKind, TreeDirectory, read_manifest, write_manifest};

/// Reads a manifest and writes what it names below a directory. Entries that are accepted ascend, read back as they
/// were, and nothing appears outside of the directory.
///
/// # Panics
///
/// If an invariant is broken.
pub fn manifest(bytes: &[u8]) {
    let mut entries: Vec<Entry> = Vec::new();
    let read = read_manifest(bytes, &mut |entry| {
        entries.push(entry);
        Ok(())
    });
    for pair in entries.windows(2) {
        assert!(pair[0].path.split('/').lt(pair[1].path.split('/')), "{pair:?}");
    }
    if read.is_ok() {
        let (mut again, mut found) = (Vec::new(), Vec::new());
        write_manifest(&entries, &mut again).expect("a vector takes all");
        let read = read_manifest(again.as_slice(), &mut |entry| {
            found.push(entry);
            Ok(())
        });
        assert!(read.is_ok() && found == entries, "{entries:?}");
    }
    place(&entries);
}

fn place(entries: &[Entry]) {
    let outside = tempfile::tempdir().expect("there is room for a directory");
    let inside = outside.path().join("a/tree");
    fs::create_dir_all(&inside).expect("it can be made");
    let tree = TreeDirectory::open(&inside).expect("it is there");
    for Entry { path, mtime_ns, kind } in entries {
        // The file system may refuse a name, or a time.
        let placed = match kind {
            EntryKind::File { executable, .. } => {
                tree.begin_file(path, *executable).and_then(|placing| placing.finish(*mtime_ns))
            }
            EntryKind::Link { target } => tree.make_link(path, target, *mtime_ns),
            EntryKind::EmptyDirectory => tree.make_directory(path, *mtime_ns),
        };
        if placed.is_ok() {
            let meta = inside.join(path).symlink_metadata().expect("it is below the directory");
            let is_kind = match kind {
                EntryKind::File { .. } => meta.is_file(),
                EntryKind::Link { .. } => meta.is_symlink(),
                EntryKind::EmptyDirectory => meta.is_dir(),
            };
            assert!(is_kind, "{path}");
        }
        if let (Ok(()), EntryKind::Link { .. }) = (placed, kind) {
            // Wherever the link leads, it is no place outside.
            if let Ok(target) = inside.join(path).canonicalize() {
                let root = inside.canonicalize().expect("it is there");
                assert!(target.starts_with(&root), "{path} leads to {}", target.display());
            }
        }
    }
    let beside: Vec<_> = ["", "a"]
        .iter()
        .flat_map(|name| fs::read_dir(outside.path().join(name)).expect("it is there"))
        .map(|entry| entry.expect("it can be read").file_name())
        .collect();
    assert_eq!(beside, ["a", "tree"]);
}

#[cfg(test)]
pub(crate) mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The text of a manifest: most of its lines make sense, and some of its paths do not.
    pub(crate) fn manifest_of() -> impl Strategy<Value = Vec<u8>> {
        let name = prop_oneof![
            8 => "[a-c]{1,2}",
            1 => prop::sample::select(vec!["..", ".", "", ".git", ".GIT", "é", "a b", "\\\\", "\\u0000", "\\n"])
                .prop_map(str::to_owned),
        ];
        let path = || prop::collection::vec(name.clone(), 1..4).prop_map(|names| names.join("/"));
        let target = prop_oneof![
            path(),
            path().prop_map(|path| format!("../{path}")),
            path().prop_map(|path| format!("{path}/..")),
            path().prop_map(|path| format!("/{path}")),
        ];
        let rest = prop_oneof![
            (0..2000_u64, any::<bool>()).prop_map(|(bytes, executable)| {
                format!(",\"blob\":\"{}\",\"bytes\":{bytes},\"executable\":{executable}", "0f".repeat(32))
            }),
            target.prop_map(|target| format!(",\"link\":\"{target}\"")),
            Just(String::new()),
            Just(",\"bytes\":1".to_owned()),
        ];
        let line = (path(), any::<i64>(), rest);
        prop::collection::vec(line, 0..8).prop_map(|mut lines| {
            // In order, or no entry but the first would be taken.
            lines.sort_by(|one, other| one.0.split('/').cmp(other.0.split('/')));
            let text = |(path, mtime_ns, rest): &(String, i64, String)| {
                format!("{{\"path\":\"{path}\",\"mtime_ns\":{mtime_ns}{rest}}}\n")
            };
            lines.iter().map(text).collect::<String>().into_bytes()
        })
    }

    proptest! {
        #[test]
        fn a_manifest_leads_nowhere_outside_and_reads_back(text in manifest_of()) {
            manifest(&text);
        }

        #[test]
        fn any_bytes_are_a_manifest_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            manifest(&bytes);
        }
    }
}
