//! The entries of several manifests that are written into one directory. Pure.

use super::manifest::{Entry, EntryKind};

/// Two entries that cannot stand in one directory: the path of one is in the way of the other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Clash {
    /// The path that is no directory with entries in the one manifest.
    pub path: String,
    /// The two manifests, by their places in the list.
    pub of: [usize; 2],
}

/// Puts the entries of several manifests together, each with the place of its manifest in the list, in the order of a
/// manifest. A file or link takes the place of a file or link that an earlier manifest has at the same path.
pub fn merge(manifests: Vec<Vec<Entry>>) -> Result<Vec<(Entry, usize)>, Clash> {
    let of = |(at, entries): (usize, Vec<Entry>)| entries.into_iter().map(move |entry| (entry, at));
    let mut all: Vec<(Entry, usize)> = manifests.into_iter().enumerate().flat_map(of).collect();
    // The sort is stable: of one path, the entry of the later manifest comes later.
    all.sort_by(|(one, _), (other, _)| one.path.split('/').cmp(other.path.split('/')));
    let mut merged: Vec<(Entry, usize)> = Vec::with_capacity(all.len());
    // The file or link before, below which nothing may be.
    let mut leaf: Option<(String, usize)> = None;
    for (entry, at) in all {
        if let Some((last, of)) = merged.last_mut()
            && last.path == entry.path
        {
            if is_directory(last) != is_directory(&entry) {
                return Err(Clash { path: entry.path, of: [*of, at] });
            }
            (*last, *of) = (entry, at);
            continue;
        }
        if let Some((path, of)) = &leaf
            && entry.path.strip_prefix(path).is_some_and(|rest| rest.starts_with('/'))
        {
            return Err(Clash { path: path.clone(), of: [*of, at] });
        }
        if !is_directory(&entry) {
            leaf = Some((entry.path.clone(), at));
        }
        merged.push((entry, at));
    }
    Ok(merged)
}

fn is_directory(entry: &Entry) -> bool {
    entry.kind == EntryKind::EmptyDirectory
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(path: &str, link: Option<&str>) -> Entry {
        let kind = link.map_or(EntryKind::EmptyDirectory, |target| EntryKind::Link { target: target.into() });
        Entry { path: path.into(), mtime_ns: 0, kind }
    }

    #[test]
    fn a_later_file_takes_the_place_of_an_earlier_one_and_all_are_in_order() {
        let first = vec![entry("a", Some("1")), entry("b", None), entry("d/x", Some("1"))];
        let second = vec![entry("a", Some("2")), entry("b/c", Some("2")), entry("d-e", Some("2"))];
        let merged = merge(vec![first, second]).unwrap();
        let found: Vec<_> = merged.iter().map(|(entry, at)| (entry.path.as_str(), *at)).collect();
        assert_eq!(found, [("a", 1), ("b", 0), ("b/c", 1), ("d/x", 0), ("d-e", 1)]);
        assert_eq!(merged[0].0.kind, EntryKind::Link { target: "2".into() });
    }

    #[test]
    fn a_file_in_the_place_of_a_directory_is_a_clash_in_either_order() {
        let clash = |path: &str, of| Err(Clash { path: path.into(), of });
        let (file, below) = (|| vec![entry("a", Some("x"))], || vec![entry("a/b/c", Some("x"))]);
        assert_eq!(merge(vec![file(), below()]), clash("a", [0, 1]));
        assert_eq!(merge(vec![below(), file()]), clash("a", [1, 0]));
        assert_eq!(merge(vec![file(), vec![entry("a", None)]]), clash("a", [0, 1]));
        assert_eq!(merge(vec![vec![entry("a", None)], file()]), clash("a", [0, 1]));
        let beside = vec![entry("a", Some("x")), entry("a-b", Some("x")), entry("ab/c", Some("x"))];
        assert_eq!(merge(vec![beside]).unwrap().len(), 3);
    }
}
