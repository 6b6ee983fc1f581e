//! Caches: files that a task leaves for later builds, to save time and never as something to rely on.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::{AttemptId, BlobId, BuildId, CacheScope, RepoName, TaskName, WallTime};

/// Files that are restored before a task's first command, and saved after it has passed. It is a part of a recipe.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CacheRule {
    /// Globs ([`super::glob::PathGlobs`]) of the files whose contents are in the key.
    pub key: Vec<String>,
    /// Plain paths below the work tree, or below the home directory if they begin with [`CacheRule::HOME`].
    pub paths: Vec<String>,
}

impl CacheRule {
    /// The beginning of a path below the home directory.
    pub const HOME: &str = "~/";

    /// Returns the paths below the home directory, without their beginning.
    pub fn home_paths(&self) -> impl Iterator<Item = &str> {
        self.paths.iter().filter_map(|path| path.strip_prefix(Self::HOME))
    }

    /// Returns the paths below the work tree.
    pub fn tree_paths(&self) -> impl Iterator<Item = &str> {
        self.paths.iter().filter(|path| !path.starts_with(Self::HOME)).map(String::as_str)
    }
}

/// A key of a cache: a hash, as 32 hexadecimal digits.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CacheKey(String);

/// The length of a [`CacheKey`] as text.
const KEY_DIGITS: usize = 32;

/// A text that is no key of a cache.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the key of a cache has {KEY_DIGITS} hexadecimal digits")]
pub struct CacheKeyError;

impl CacheKey {
    /// The digits that people are shown.
    pub const SHORT_DIGITS: usize = 12;

    /// The key with the beginning of this hash.
    #[must_use]
    pub fn of(hash: BlobId) -> Self {
        Self(hash.to_string()[..KEY_DIGITS].to_owned())
    }

    /// All digits.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The first digits.
    #[must_use]
    pub fn short(&self) -> &str {
        &self.0[..Self::SHORT_DIGITS]
    }
}

impl FromStr for CacheKey {
    type Err = CacheKeyError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let is_digit = |byte: u8| byte.is_ascii_digit() || matches!(byte, b'a'..=b'f');
        let is_key = text.len() == KEY_DIGITS && text.bytes().all(is_digit);
        is_key.then(|| Self(text.to_owned())).ok_or(CacheKeyError)
    }
}

impl fmt::Display for CacheKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The content of a cache, as an attempt saved it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SavedCache {
    /// The key without the contents of files: what the caches of one purpose have in common.
    pub family: CacheKey,
    pub key: CacheKey,
    /// The parts of which the key was made, for people.
    pub about: String,
    /// The blob with the manifest.
    pub manifest: BlobId,
    /// Entries of the manifest.
    pub files: u64,
    /// Bytes of all files together.
    pub bytes: u64,
}

/// A cache that was saved. It is written once and never changed, except for the time of its last use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CacheEntry {
    /// Its number in the store. A later one is newer.
    pub id: i64,
    pub repo: RepoName,
    pub scope: CacheScope,
    pub saved: SavedCache,
    /// The attempt that saved it, with its build, its task and its number.
    pub attempt: AttemptId,
    pub build: BuildId,
    pub task: TaskName,
    pub number: u32,
    pub saved_at: WallTime,
    /// When an attempt last got it, or when it was saved. It may be an hour old.
    pub used_at: WallTime,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_has_its_digits_and_nothing_else_is_one() {
        let key = CacheKey::of(BlobId([0xab; 32]));
        assert_eq!((key.as_str().parse(), key.short()), (Ok(key.clone()), "abababababab"));
        for wrong in ["", &"a".repeat(31), &"A".repeat(32), &"g".repeat(32), &"é".repeat(16)] {
            assert_eq!(wrong.parse::<CacheKey>(), Err(CacheKeyError), "{wrong}");
        }
    }

    #[test]
    fn a_path_is_below_the_home_directory_or_in_the_work_tree() {
        let paths = ["target", "~/.cargo/registry", "~odd"].map(str::to_owned).into();
        let rule = CacheRule { key: Vec::new(), paths };
        assert_eq!(rule.home_paths().collect::<Vec<_>>(), [".cargo/registry"]);
        assert_eq!(rule.tree_paths().collect::<Vec<_>>(), ["target", "~odd"]);
    }
}
