//! The names of a commit: its id, its branch, its repository.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

/// A git object id, SHA-1 (20 bytes) or SHA-256 (32 bytes). Written as full lower-case hex; shown to people as 7
/// letters.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CommitId {
    bytes: [u8; 32],
    len: u8,
}

/// The reason why a text is not a commit id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a commit id: 40 or 64 hexadecimal digits expected")]
pub struct CommitIdError(pub String);

impl CommitId {
    /// Makes an id from raw bytes: 20 for SHA-1, 32 for SHA-256.
    pub fn from_bytes(raw: &[u8]) -> Result<Self, CommitIdError> {
        if raw.len() != 20 && raw.len() != 32 {
            return Err(CommitIdError(format!("{} raw bytes", raw.len())));
        }
        let mut bytes = [0; 32];
        bytes[..raw.len()].copy_from_slice(raw);
        Ok(Self { bytes, len: raw.len() as u8 })
    }

    /// The raw bytes, 20 or 32.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }

    /// The first seven hexadecimal digits, for people.
    #[must_use]
    pub fn short(&self) -> String {
        let mut hex = self.to_string();
        hex.truncate(7);
        hex
    }
}

impl FromStr for CommitId {
    type Err = CommitIdError;

    fn from_str(text: &str) -> Result<Self, CommitIdError> {
        let refuse = || CommitIdError(text.chars().take(80).collect());
        let hex = text.as_bytes();
        if hex.len() != 40 && hex.len() != 64 {
            return Err(refuse());
        }
        let digit = |b: u8| match b {
            b'0'..=b'9' => Ok(b - b'0'),
            b'a'..=b'f' => Ok(b - b'a' + 10),
            _ => Err(refuse()),
        };
        let mut bytes = [0; 32];
        for (at, pair) in hex.chunks_exact(2).enumerate() {
            bytes[at] = digit(pair[0])? << 4 | digit(pair[1])?;
        }
        Ok(Self { bytes, len: (hex.len() / 2) as u8 })
    }
}

impl fmt::Display for CommitId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let mut hex = [0u8; 64];
        for (at, byte) in self.as_bytes().iter().enumerate() {
            hex[at * 2] = DIGITS[usize::from(byte >> 4)];
            hex[at * 2 + 1] = DIGITS[usize::from(byte & 15)];
        }
        f.write_str(std::str::from_utf8(&hex[..usize::from(self.len) * 2]).expect("hex digits are ASCII"))
    }
}

impl fmt::Debug for CommitId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.short())
    }
}

/// A branch without `refs/heads/`, as git spells it. It may be any text that git allows, so it is never used as a path.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BranchName(pub Arc<str>);

impl BranchName {
    /// Takes a name without a check.
    #[must_use]
    pub fn new(name: &str) -> Self {
        Self(name.into())
    }

    /// Returns whether git allows a branch of this name: the rules of git-check-ref-format(1), and not `HEAD`, which
    /// would be mistaken for the ref of that name.
    #[must_use]
    pub fn is_allowed(name: &str) -> bool {
        let is_forbidden = |c: char| c.is_ascii_control() || " ~^:?*[\\".contains(c);
        let is_part = |part: &str| !part.is_empty() && !part.starts_with('.') && !part.ends_with(".lock");
        name != "HEAD"
            && name.split('/').all(is_part)
            && !name.contains(is_forbidden)
            && !name.contains("..")
            && !name.contains("@{")
            && !name.ends_with('.')
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for BranchName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_commit_id_reads_back_as_it_was_written() {
        for hex in ["0123456789abcdef0123456789abcdef01234567", &"ab".repeat(32)] {
            let id: CommitId = hex.parse().unwrap();
            assert_eq!(id.to_string(), hex);
            assert_eq!(CommitId::from_bytes(id.as_bytes()).unwrap(), id);
        }
    }

    #[test]
    fn a_branch_is_called_as_git_allows_it() {
        for name in ["main", "a/b", "-x", "a;b", "@", "a@b", "\u{fc}", "\u{1f980}/x", "a.b", "x.locked", "head"] {
            assert!(BranchName::is_allowed(name), "{name}");
        }
        for name in [
            "", "/", "a/", "/a", "a//b", ".a", "a/.b", "a..b", "a.", "a.lock", "a.lock/b", "a b", "a~", "a^", "a:b",
            "a?", "a*", "a[b", "a\\b", "a@{b", "a\0b", "a\nb", "a\u{7f}", "HEAD",
        ] {
            assert!(!BranchName::is_allowed(name), "{name:?}");
        }
    }

    #[test]
    fn what_is_no_commit_id_is_refused() {
        for text in ["", "0123", &"g".repeat(40), &"AB".repeat(20), &"a".repeat(41)] {
            assert!(text.parse::<CommitId>().is_err(), "{text}");
        }
    }
}
