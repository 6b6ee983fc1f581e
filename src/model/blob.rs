//! The name of a blob: the hash of its bytes.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The BLAKE3 hash of the bytes of a blob, which names it. Shown as 64 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct BlobId(pub [u8; 32]);

/// A text that names no blob.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` names no blob: its name has 64 hexadecimal digits")]
pub struct BlobIdError(String);

impl fmt::Display for BlobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for BlobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for BlobId {
    type Err = BlobIdError;

    /// Reads the digits. Capitals are refused, so that a blob has one name.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let fail = || BlobIdError(text.chars().take(80).collect());
        let digit = |byte: u8| match byte {
            b'0'..=b'9' => Some(byte - b'0'),
            b'a'..=b'f' => Some(byte - b'a' + 10),
            _ => None,
        };
        let (pairs, []) = text.as_bytes().as_chunks::<2>() else { return Err(fail()) };
        let bytes = pairs.iter().map(|[high, low]| Some(digit(*high)? << 4 | digit(*low)?)).collect::<Option<Vec<_>>>();
        bytes.and_then(|bytes| bytes.try_into().ok()).map(Self).ok_or_else(fail)
    }
}

impl TryFrom<String> for BlobId {
    type Error = BlobIdError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<BlobId> for String {
    fn from(id: BlobId) -> Self {
        id.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_of_a_blob_reads_back_and_nothing_else_is_one() {
        let id = BlobId(std::array::from_fn(|at| (at * 9) as u8));
        let text = id.to_string();
        assert_eq!((text.len(), text.parse()), (64, Ok(id)));
        for wrong in [&text[1..], &text.to_uppercase(), &format!("{text}0"), "", "../x", &text.replace('0', "é")] {
            assert!(wrong.parse::<BlobId>().unwrap_err().to_string().contains("names no blob"), "{wrong}");
        }
    }
}
