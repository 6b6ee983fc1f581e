//! Where characters of UTF-8 begin and end in output that may be cut. Output that is no UTF-8 is no error.

/// Bytes of a character of UTF-8 behind its first.
pub(super) const MAX_CONTINUATIONS: u64 = 3;

pub(super) fn is_continuation(byte: u8) -> bool {
    byte & 0b1100_0000 == 0b1000_0000
}

/// Returns the number of bytes that the last character lacks, given the number before these bytes.
pub(super) fn lacking(before: usize, bytes: &[u8]) -> usize {
    let last = bytes.len().saturating_sub(4);
    bytes[last..].iter().fold(before, |lacking, byte| match byte {
        0x80..=0xbf => lacking.saturating_sub(1),
        0xc2..=0xdf => 1,
        0xe0..=0xef => 2,
        0xf0..=0xf4 => 3,
        _ => 0,
    })
}
