//! The paths of a work tree that survive from one attempt to the next.

use std::collections::BTreeMap;

use crate::git::error::GitError;

/// Each part of a path takes a descriptor while it is examined.
const PARTS_MAX: usize = 100;

/// The entries to keep below a directory: by name, or all of them.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Keep {
    is_whole: bool,
    below: BTreeMap<Vec<u8>, Keep>,
}

impl Keep {
    /// Keeps nothing.
    pub(super) const NOTHING: Self = Self { is_whole: false, below: BTreeMap::new() };

    /// Checks the paths: they must be relative and stay inside.
    pub(super) fn parse(paths: &[String]) -> Result<Self, GitError> {
        let mut root = Self::NOTHING;
        for path in paths {
            let refuse = |why| GitError::Keep { keep: path.clone(), why };
            if path.starts_with('/') {
                return Err(refuse("it is an absolute path"));
            }
            if path.contains('\0') {
                return Err(refuse("it contains a NUL byte"));
            }
            let mut at = &mut root;
            let mut depth = 0;
            for part in path.split('/').filter(|part| !part.is_empty() && *part != ".") {
                if part == ".." {
                    return Err(refuse("it leads out of the work tree"));
                }
                at = at.below.entry(part.as_bytes().to_vec()).or_default();
                depth += 1;
            }
            if depth > PARTS_MAX {
                return Err(refuse("it has too many parts"));
            }
            if depth == 0 {
                return Err(refuse("it is the whole work tree"));
            }
            at.is_whole = true;
        }
        Ok(root)
    }

    /// Whether everything here and below is kept.
    pub(super) fn is_whole(&self) -> bool {
        self.is_whole
    }

    /// Returns the part that is kept of the entry of this name; `None` if nothing is.
    pub(super) fn of(&self, name: &[u8]) -> Option<&Self> {
        if self.is_whole { Some(self) } else { self.below.get(name) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(path: &str) -> Result<Keep, GitError> {
        Keep::parse(&[path.to_owned()])
    }

    #[test]
    fn a_kept_path_covers_what_is_below_it_and_nothing_beside_it() {
        let keep = Keep::parse(&["target".to_owned(), "./a//b/".to_owned()]).unwrap();
        assert!(keep.of(b"target").unwrap().of(b"debug").unwrap().is_whole());
        assert!(!keep.of(b"a").unwrap().is_whole());
        assert!(keep.of(b"a").unwrap().of(b"b").unwrap().is_whole());
        assert_eq!(keep.of(b"a").unwrap().of(b"c"), None);
        assert_eq!(keep.of(b"b"), None);
    }

    #[test]
    fn a_path_that_leads_outside_is_refused() {
        for path in ["/etc", "..", "a/../../b", "a/..", "", ".", "./", "a\0b", &"a/".repeat(101)] {
            assert!(parse(path).is_err(), "{path:?}");
        }
    }
}
