//! The files of several artifacts in one work tree: which of them are written, and what stands in their way. An
//! artifact of a later task wins over one of an earlier task. Files of the commit are replaced, but no file takes the
//! place of a directory of the commit, and nothing is written through a file or a symbolic link of it.

use std::io;

use crate::blobs::{Clash, Entry, EntryKind, TreeDirectory, merge};

/// Tells what of the commit is in the way of a path: of a directory, or of a file or link.
pub(crate) type InTheWay<'a> = &'a dyn Fn(&str, bool) -> Option<String>;

/// Puts the entries of artifacts together, in the order of a manifest, each with the place of its artifact. `names` are
/// those of the artifacts, for people. Returns the reason if they cannot stand in the tree.
pub(super) fn arrange(
    names: &[String],
    manifests: Vec<Vec<Entry>>,
    in_the_way: InTheWay<'_>,
) -> Result<Vec<(Entry, usize)>, String> {
    let arranged = merge(manifests).map_err(|Clash { path, of: [one, other] }| {
        format!(
            "{} and {} do not fit into one work tree: `{path}` is a directory in one of them only",
            names[one], names[other]
        )
    })?;
    for (entry, of) in &arranged {
        if let Some(what) = in_the_way(&entry.path, entry.kind == EntryKind::EmptyDirectory) {
            return Err(format!(
                "{} does not fit into the work tree: `{}` cannot be written, because {what}",
                names[*of], entry.path
            ));
        }
    }
    Ok(arranged)
}

/// Writes the entries that are no files.
pub(super) fn place_others(root: &TreeDirectory, arranged: &[(Entry, usize)]) -> Result<(), (String, io::Error)> {
    for (Entry { path, mtime_ns, kind }, _) in arranged {
        let placed = match kind {
            EntryKind::File { .. } => Ok(()),
            EntryKind::Link { target } => root.make_link(path, target, *mtime_ns),
            EntryKind::EmptyDirectory => root.make_directory(path, *mtime_ns),
        };
        placed.map_err(|error| (path.clone(), error))?;
    }
    Ok(())
}

/// Formats a line about artifacts that were taken: `4 entries, 24 bytes`.
pub(super) fn sizes(entries: &[Entry]) -> String {
    format!("{}, {} bytes", entry_count(entries.len() as u64), total_bytes(entries))
}

/// Formats the number of entries: `1 entry`, `4 entries`.
pub(super) fn entry_count(count: u64) -> String {
    format!("{count} {}", if count == 1 { "entry" } else { "entries" })
}

/// Returns the bytes of all files of these entries. A manifest may name any numbers.
pub(super) fn total_bytes<'e>(entries: impl IntoIterator<Item = &'e Entry>) -> u64 {
    let bytes_of = |entry: &Entry| if let EntryKind::File { bytes, .. } = entry.kind { bytes } else { 0 };
    entries.into_iter().map(bytes_of).fold(0, u64::saturating_add)
}
