//! The form in which Go sends and gets bytes: base64 in JSON, by the usual letters; and the names of files.

use std::io::{self, BufRead, ErrorKind};
use std::path::{Path, PathBuf};

use crate::runner::tool_cache::limits::PIECE_BYTES;

const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
/// The longest id of an action or of its output, in bytes. Go's have 32.
pub(super) const ID_BYTES: usize = 64;

/// Reads a body of so many bytes: a JSON string on a line of its own, in base64. There is none if it is empty.
pub(super) fn read_body(bytes: u64, input: &mut impl BufRead, take: &mut dyn FnMut(&[u8])) -> io::Result<()> {
    if bytes == 0 {
        return Ok(());
    }
    let wrong = || io::Error::new(ErrorKind::InvalidData, "a body is no base64 of its length");
    let mut first = [0];
    loop {
        input.read_exact(&mut first)?;
        match first[0] {
            b'"' => break,
            byte if byte.is_ascii_whitespace() => {}
            _ => return Err(wrong()),
        }
    }
    let (mut bits, mut count, mut decoded) = (0_u32, 0, 0_u64);
    let mut piece = Vec::with_capacity(PIECE_BYTES);
    loop {
        let part = input.fill_buf()?;
        if part.is_empty() {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        let end = part.iter().position(|byte| *byte == b'"');
        let text = &part[..end.unwrap_or(part.len())];
        for byte in text.iter().filter(|byte| **byte != b'=') {
            bits = bits << 6 | digit(*byte).ok_or_else(wrong)?;
            count += 1;
            if count == 4 {
                piece.extend_from_slice(&bits.to_be_bytes()[1..]);
                (bits, count) = (0, 0);
            }
        }
        let used = text.len() + usize::from(end.is_some());
        input.consume(used);
        if end.is_some() {
            // Two or three letters are left of one or two bytes.
            let rest = match count {
                0 => 0,
                2 => 1,
                3 => 2,
                _ => return Err(wrong()),
            };
            piece.extend_from_slice(&(bits << (24 - 6 * count)).to_be_bytes()[1..=rest]);
        }
        decoded += piece.len() as u64;
        if decoded > bytes || end.is_some() && decoded < bytes {
            return Err(wrong());
        }
        take(&piece);
        piece.clear();
        if end.is_some() {
            return Ok(());
        }
    }
}

fn digit(letter: u8) -> Option<u32> {
    Some(match letter {
        b'A'..=b'Z' => u32::from(letter - b'A'),
        b'a'..=b'z' => u32::from(letter - b'a') + 26,
        b'0'..=b'9' => u32::from(letter - b'0') + 52,
        b'+' => 62,
        b'/' => 63,
        _ => return None,
    })
}

/// Returns the bytes of an id, which Go sends in base64. An error is for people.
pub(super) fn id(text: &str) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    let length = (text.trim_end_matches('=').len() * 3 / 4) as u64;
    let quoted = [b"\"", text.as_bytes(), b"\""].concat();
    let read = read_body(length, &mut &quoted[..], &mut |part| bytes.extend_from_slice(part));
    if read.is_err() || bytes.is_empty() || bytes.len() > ID_BYTES {
        return Err(format!("{text:?} is no id"));
    }
    Ok(bytes)
}

pub(super) fn base64(bytes: &[u8]) -> String {
    let mut text = String::new();
    for part in bytes.chunks(3) {
        let bits = (0..3).fold(0_u32, |bits, at| bits << 8 | u32::from(part.get(at).copied().unwrap_or(0)));
        for at in 0..4 {
            let letter = LETTERS[(bits >> (18 - 6 * at) & 63) as usize];
            text.push(if at <= part.len() { char::from(letter) } else { '=' });
        }
    }
    text
}

pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

pub(super) fn from_hex(text: &str) -> Option<Vec<u8>> {
    let is_hex = !text.is_empty() && text.len().is_multiple_of(2) && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    let byte = |at: usize| u8::from_str_radix(&text[at..at + 2], 16).ok();
    is_hex.then(|| (0..text.len()).step_by(2).map(byte).collect()).flatten()
}

/// Returns the path of a file that becomes this one when it is whole. Another command of the attempt may make the same
/// result meanwhile.
pub(super) fn new_file(data: &Path) -> PathBuf {
    data.with_extension(format!("{}.new", std::process::id()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_and_digits_go_there_and_back() {
        for bytes in [&b"a"[..], b"ab", b"abc", b"abcd", &[0, 255, 128]] {
            assert_eq!(id(&base64(bytes)).unwrap(), bytes);
            assert_eq!(from_hex(&hex(bytes)).unwrap(), bytes);
        }
        assert_eq!(
            (base64(b"Hello"), base64(b"Hell"), base64(b"Hel")),
            ("SGVsbG8=".into(), "SGVsbA==".into(), "SGVs".into())
        );
        for wrong in ["", "A", "a b", "a.bc", "\u{e9}aaa"] {
            assert!(id(wrong).is_err(), "{wrong:?}");
        }
        for wrong in ["", "a", "xy", "+1"] {
            assert_eq!(from_hex(wrong), None, "{wrong:?}");
        }
    }

    #[test]
    fn a_body_that_is_none_ends_the_helper() {
        for body in ["SGVsbG8=\n", "\"SGVs\"\n", "\"SGVsbG8hIQ==\"\n", "\"SGV\\u0073\"", "\"SGVsbG8="] {
            let mut input = body.as_bytes();
            assert!(read_body(5, &mut input, &mut |_| {}).is_err(), "{body}");
        }
    }
}
