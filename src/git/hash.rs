//! The hash of an object format, computed by packages that use the processor's own instructions. libgit2's SHA-1 also
//! detects collisions, which takes several times as long; that is done once, when a pack is received.

use git2::{ObjectFormat, ObjectType, Oid};
use sha1::Sha1;
use sha2::{Digest, Sha256};

pub(super) enum Hash {
    Sha1(Sha1),
    Sha256(Sha256),
}

impl Hash {
    pub(super) fn new(format: ObjectFormat) -> Self {
        match format {
            ObjectFormat::Sha1 => Self::Sha1(Sha1::new()),
            ObjectFormat::Sha256 => Self::Sha256(Sha256::new()),
        }
    }

    pub(super) fn update(&mut self, bytes: &[u8]) {
        match self {
            Self::Sha1(hash) => hash.update(bytes),
            Self::Sha256(hash) => hash.update(bytes),
        }
    }

    pub(super) fn finish(self) -> Oid {
        let id = match self {
            Self::Sha1(hash) => Oid::from_bytes(&hash.finalize()),
            Self::Sha256(hash) => Oid::from_bytes(&hash.finalize()),
        };
        id.expect("it has the length of an id")
    }
}

/// Returns the object format whose ids are `id_bytes` long.
pub(super) fn format_with(id_bytes: usize) -> ObjectFormat {
    if id_bytes == 32 { ObjectFormat::Sha256 } else { ObjectFormat::Sha1 }
}

/// Returns the id of an object: the hash of its type, its length and its content (gitformat-loose).
pub(super) fn id_of(format: ObjectFormat, kind: ObjectType, content: &[u8]) -> Oid {
    let mut hash = Hash::new(format);
    hash.update(format!("{} {}\0", kind.str(), content.len()).as_bytes());
    hash.update(content);
    hash.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_as_git_has_them() {
        let id = |format| id_of(format, ObjectType::Blob, b"hello\n").to_string();
        // printf 'hello\n' | git hash-object --stdin, in a repository of each format.
        assert_eq!(id(ObjectFormat::Sha1), "ce013625030ba8dba906f756967f9e9ca394464a");
        assert_eq!(id(ObjectFormat::Sha256), "2cf8d83d9ee29543b34a87727421fdecb7e3f3a183d337639025de576db9ebb4");
    }
}
