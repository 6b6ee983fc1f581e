//! Pointers of Git LFS: the small files that a commit has in place of large ones
//! (<https://github.com/git-lfs/git-lfs/blob/main/docs/spec.md>).
//!
//! Only the form that git-lfs writes is a pointer, so that a content has one pointer, and a clean filter makes the
//! very bytes of the commit of it.

use std::fmt::{self, Write};

use git2::{Odb, Oid};

use super::error::GitError;
use super::objects::{Objects, of_its_type};

/// The largest pointer.
const POINTER_BYTES_MAX: usize = 1024;

const VERSION: &str = "version https://git-lfs.github.com/spec/v1";
const OID: &str = "oid sha256:";
const SIZE: &str = "size ";
const EXTENSION: &str = "ext-";

/// The largest size that git-lfs takes.
const SIZE_MAX: u64 = i64::MAX as u64;

/// A pointer to a content that is not empty.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Pointer {
    pub(crate) oid: LfsId,
    /// The number of bytes of the content.
    pub(crate) size: u64,
}

/// The SHA-256 of a content.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct LfsId(pub(crate) [u8; 32]);

/// A file that is a pointer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PointerFile {
    Plain(Pointer),
    /// Programs have changed the content before it was stored, and would have to change it back.
    Extended,
}

impl PointerFile {
    /// Reads the content of a file; `None` if it is no pointer.
    pub(crate) fn parse(content: &[u8]) -> Option<Self> {
        if content.len() > POINTER_BYTES_MAX {
            return None;
        }
        let text = str::from_utf8(content).ok()?.strip_suffix('\n')?;
        let mut lines = text.split('\n').peekable();
        if lines.next() != Some(VERSION) {
            return None;
        }
        let mut last = None;
        while let Some(line) = lines.next_if(|line| line.starts_with(EXTENSION)) {
            let key = extension_key(line).filter(|key| last < Some(*key))?;
            last = Some(key);
        }
        let oid = LfsId::parse(lines.next()?.strip_prefix(OID)?)?;
        let size = size(lines.next()?.strip_prefix(SIZE)?)?;
        let pointer = Pointer { oid, size };
        let file = if last.is_some() { Self::Extended } else { Self::Plain(pointer) };
        lines.next().is_none().then_some(file)
    }
}

impl fmt::Display for Pointer {
    /// Writes the pointer as git-lfs does.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { oid, size } = self;
        write!(f, "{VERSION}\n{OID}{oid}\n{SIZE}{size}\n")
    }
}

impl LfsId {
    /// Reads 64 digits in lower case.
    fn parse(text: &str) -> Option<Self> {
        let digit = |byte: u8| match byte {
            b'0'..=b'9' => Some(byte - b'0'),
            b'a'..=b'f' => Some(byte - b'a' + 10),
            _ => None,
        };
        let digits: &[u8; 64] = text.as_bytes().try_into().ok()?;
        let mut id = [0; 32];
        for (byte, pair) in id.iter_mut().zip(digits.chunks_exact(2)) {
            *byte = digit(pair[0])? << 4 | digit(pair[1])?;
        }
        Some(Self(id))
    }
}

impl fmt::Display for LfsId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = String::with_capacity(64);
        for byte in self.0 {
            write!(text, "{byte:02x}")?;
        }
        f.write_str(&text)
    }
}

/// Reads a file that may be a pointer.
pub(super) fn pointer_file(objects: &Objects, odb: &Odb<'_>, blob: Oid) -> Result<Option<PointerFile>, GitError> {
    if objects.header(odb, blob)?.0 > POINTER_BYTES_MAX {
        return Ok(None);
    }
    Ok(of_its_type(objects.blob(odb, blob))?.and_then(|content| PointerFile::parse(content.data())))
}

/// Returns the key of a line such as `ext-0-name sha256:…`; `None` for another line.
fn extension_key(line: &str) -> Option<&str> {
    let (key, value) = line.split_once(' ')?;
    let (number, name) = key.strip_prefix(EXTENSION)?.split_once('-')?;
    let is_named = !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-.".contains(&byte));
    let is_numbered = number.len() == 1 && number.as_bytes()[0].is_ascii_digit();
    LfsId::parse(value.strip_prefix("sha256:")?)?;
    (is_named && is_numbered).then_some(key)
}

/// Reads a size from 1 on, as it is written.
fn size(text: &str) -> Option<u64> {
    let is_number = text.len() <= 19 && text.bytes().all(|byte| byte.is_ascii_digit()) && !text.starts_with('0');
    text.parse().ok().filter(|size| is_number && *size <= SIZE_MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ID: &str = "4d7a214614ab2935c943f9e0ff69d22eadbb8f32b1258daaa5e2ca24d17e2393";

    fn plain(size: &str) -> String {
        format!("{VERSION}\noid sha256:{ID}\nsize {size}\n")
    }

    #[test]
    fn a_pointer_is_read_as_git_lfs_writes_it() {
        let Some(PointerFile::Plain(pointer)) = PointerFile::parse(plain("12345").as_bytes()) else {
            panic!("it is one")
        };
        assert_eq!((pointer.size, pointer.oid.to_string()), (12_345, ID.to_owned()));
        assert_eq!(pointer.to_string(), plain("12345"));
        let largest = PointerFile::parse(plain("9223372036854775807").as_bytes());
        assert!(matches!(largest, Some(PointerFile::Plain(Pointer { size: SIZE_MAX, .. }))));
    }

    #[test]
    fn a_pointer_with_extensions_is_told() {
        let extended = |lines: &str| format!("{VERSION}\n{lines}oid sha256:{ID}\nsize 5\n");
        let one = format!("ext-0-foo sha256:{ID}\n");
        for lines in [one.clone(), format!("{one}ext-1-bar sha256:{ID}\n")] {
            assert_eq!(PointerFile::parse(extended(&lines).as_bytes()), Some(PointerFile::Extended), "{lines}");
        }
        for lines in [format!("{one}{one}"), format!("ext-foo sha256:{ID}\n"), "ext-0-foo sha256:x\n".to_owned()] {
            assert_eq!(PointerFile::parse(extended(&lines).as_bytes()), None, "{lines}");
        }
    }

    #[test]
    fn other_files_are_no_pointers() {
        let upper = plain("5").replace(ID, &ID.to_uppercase());
        let traversal = plain("5").replace(ID, &format!("{}/../x", &ID[..59]));
        let sizes = ["", "0", "-1", "+1", "01", "1 ", "0x5", "9223372036854775808", "99999999999999999999", "5\n\n"];
        let mut others: Vec<String> = sizes.into_iter().map(plain).collect();
        others.extend([String::new(), "x".to_owned(), upper, traversal, plain("5").replace('\n', "\r\n")]);
        others.push(plain("5").trim_end().to_owned());
        others.push(plain("5").replace("sha256", "sha1"));
        others.push(format!("{}x 1\n", plain("5")));
        others.push(format!("{VERSION}\nsize 5\noid sha256:{ID}\n"));
        others.push(plain("5").replace("git-lfs.github.com", "hawser.github.com"));
        others.push(format!("{}{}", plain("5"), "\n".repeat(1024)));
        for text in others {
            assert_eq!(PointerFile::parse(text.as_bytes()), None, "{text:?}");
        }
        assert_eq!(PointerFile::parse(b"version \xff"), None);
    }

    proptest! {
        #[test]
        fn pointers_read_back(oid in any::<[u8; 32]>(), size in 1..=SIZE_MAX) {
            let pointer = Pointer { oid: LfsId(oid), size };
            prop_assert_eq!(PointerFile::parse(pointer.to_string().as_bytes()), Some(PointerFile::Plain(pointer)));
        }

        #[test]
        fn no_bytes_make_the_parser_panic(bytes in any::<Vec<u8>>(), at in 0_usize..140, with in any::<u8>()) {
            crate::fuzz::lfs_pointer(&bytes);
            let mut changed = plain("77").into_bytes();
            if let Some(byte) = changed.get_mut(at) {
                *byte = with;
            }
            crate::fuzz::lfs_pointer(&changed);
        }
    }
}
