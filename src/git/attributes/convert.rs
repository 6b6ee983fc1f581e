//! Makes of a file's content what its attributes say, in a work tree, by the rules of git's `convert_to_working_tree`.
//! Filter programs are not run.

use std::borrow::Cow;

use encoding_rs::{Encoding, UTF_8};

/// The conversion of a file.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Conversion {
    pub(super) lines: Lines,
    pub(super) ident: Ident,
    pub(super) encoding: Option<Charset>,
}

/// The treatment of the keyword `$Id$`. git has two ways that differ in odd cases, such as `$$Id$`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Ident {
    #[default]
    Kept,
    /// It is expanded while the content passes by.
    Streamed,
    /// It is expanded in the whole content: another conversion of the file takes all of it.
    Whole,
}

/// The treatment of line ends.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Lines {
    #[default]
    Kept,
    /// Each becomes CRLF.
    Crlf,
    /// Each becomes CRLF, if the content is text that has no CR.
    CrlfIfText,
}

/// The encoding of a file in the work tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Charset {
    Utf16 {
        has_mark: bool,
        is_little: bool,
    },
    Utf32 {
        has_mark: bool,
        is_little: bool,
    },
    Latin1,
    /// An encoding with tables.
    Other(&'static Encoding),
}

impl Charset {
    /// Finds an encoding by its name; `None` for UTF-8 and for one that is not known.
    pub(super) fn named(name: &[u8]) -> Option<Self> {
        let name = name.to_ascii_lowercase();
        let unit = |rest: &[u8], make: fn(bool, bool) -> Self| match rest {
            b"" => Some(make(true, true)),
            b"le" => Some(make(false, true)),
            b"be" => Some(make(false, false)),
            b"le-bom" => Some(make(true, true)),
            b"be-bom" => Some(make(true, false)),
            _ => None,
        };
        if let Some(rest) = name.strip_prefix(b"utf") {
            let rest = rest.strip_prefix(b"-").unwrap_or(rest);
            if let Some(rest) = rest.strip_prefix(b"16") {
                return unit(rest, |has_mark, is_little| Self::Utf16 { has_mark, is_little });
            }
            return unit(rest.strip_prefix(b"32")?, |has_mark, is_little| Self::Utf32 { has_mark, is_little });
        }
        match &*name {
            b"iso-8859-1" | b"iso8859-1" | b"iso_8859-1" | b"latin1" | b"l1" => Some(Self::Latin1),
            // UTF-16 by another name has no encoder there.
            name => Encoding::for_label_no_replacement(name)
                .filter(|found| found.output_encoding() == *found && *found != UTF_8)
                .map(Self::Other),
        }
    }

    /// Returns the text in this encoding; `None` if it has a character that the encoding lacks.
    fn encode(self, text: &str) -> Option<Vec<u8>> {
        let mut bytes = Vec::with_capacity(text.len() * 2);
        let marked = |has_mark| if has_mark { Some('\u{feff}') } else { None };
        match self {
            Self::Utf16 { has_mark, is_little } => {
                for character in marked(has_mark).into_iter().chain(text.chars()) {
                    for unit in character.encode_utf16(&mut [0; 2]) {
                        bytes.extend_from_slice(&if is_little { unit.to_le_bytes() } else { unit.to_be_bytes() });
                    }
                }
            }
            Self::Utf32 { has_mark, is_little } => {
                for character in marked(has_mark).into_iter().chain(text.chars()) {
                    let unit = u32::from(character);
                    bytes.extend_from_slice(&if is_little { unit.to_le_bytes() } else { unit.to_be_bytes() });
                }
            }
            Self::Latin1 => {
                for character in text.chars() {
                    bytes.push(u8::try_from(u32::from(character)).ok()?);
                }
            }
            Self::Other(encoding) => {
                let (encoded, _, has_gaps) = encoding.encode(text);
                if has_gaps {
                    return None;
                }
                bytes = encoded.into_owned();
            }
        }
        Some(bytes)
    }
}

impl Conversion {
    /// Whether every content stays as it is.
    pub(crate) fn is_none(self) -> bool {
        self == Self::default()
    }

    /// Returns the content as it is in the work tree. `id` is the blob's, in hexadecimal digits.
    pub(crate) fn apply(self, content: &[u8], id: &str) -> Vec<u8> {
        let mut content = Cow::Borrowed(content);
        match self.ident {
            Ident::Streamed => content = with_ident_streamed(&content, id).into(),
            Ident::Whole if has_ident(&content) => content = with_ident(&content, id).into(),
            Ident::Whole | Ident::Kept => {}
        }
        if self.lines != Lines::Kept && is_converted(&content, self.lines) {
            content = with_crlf(&content).into();
        }
        // Content that cannot be converted stays as it is, as for git.
        let encoded = self
            .encoding
            .filter(|_| !content.is_empty())
            .and_then(|charset| charset.encode(str::from_utf8(&content).ok()?));
        encoded.unwrap_or_else(|| content.into_owned())
    }
}

/// Whether line ends are converted, by the rules of git's `will_convert_lf_to_crlf`.
fn is_converted(content: &[u8], lines: Lines) -> bool {
    let (mut bare_lf, mut cr, mut nul, mut printable, mut other) = (0_usize, 0_usize, 0_usize, 0_usize, 0_usize);
    let mut before = 0;
    for (at, byte) in content.iter().enumerate() {
        match byte {
            b'\r' => cr += 1,
            b'\n' if before == b'\r' => {}
            b'\n' => bare_lf += 1,
            0 => (nul, other) = (nul + 1, other + 1),
            8 | b'\t' | 0x1b | 0x0c => printable += 1,
            // An old end of file, behind the text.
            0x1a if at + 1 == content.len() => {}
            1..=31 | 127 => other += 1,
            _ => printable += 1,
        }
        before = *byte;
    }
    let is_text = cr == 0 && nul == 0 && printable >> 7 >= other;
    bare_lf > 0 && (lines == Lines::Crlf || is_text)
}

fn with_crlf(content: &[u8]) -> Vec<u8> {
    let mut made = Vec::with_capacity(content.len() + content.len() / 16);
    let mut before = 0;
    for byte in content {
        if *byte == b'\n' && before != b'\r' {
            made.push(b'\r');
        }
        made.push(*byte);
        before = *byte;
    }
    made
}

/// Whether there is a keyword, by the rules of git's `count_ident`.
fn has_ident(content: &[u8]) -> bool {
    let mut rest = content;
    while let Some(dollar) = position(rest, b'$') {
        rest = &rest[dollar + 1..];
        if rest.len() < 3 {
            return false;
        }
        if !rest.starts_with(b"Id") {
            continue;
        }
        let next = rest[2];
        rest = &rest[3..];
        if next == b'$' {
            return true;
        }
        if next == b':' {
            let Some(end) = rest.iter().position(|byte| matches!(byte, b'$' | b'\n')) else { return false };
            if rest[end] == b'$' {
                return true;
            }
            rest = &rest[end + 1..];
        }
    }
    false
}

/// Expands the keywords, by the rules of git's `ident_to_worktree`.
fn with_ident(content: &[u8], id: &str) -> Vec<u8> {
    let mut made = Vec::with_capacity(content.len() + 64);
    let mut rest = content;
    while let Some(dollar) = position(rest, b'$') {
        made.extend_from_slice(&rest[..=dollar]);
        rest = &rest[dollar + 1..];
        if rest.len() < 3 || !rest.starts_with(b"Id") {
            continue;
        }
        match rest[2] {
            b'$' => rest = &rest[3..],
            b':' => {
                // A keyword without an end.
                let Some(end) = position(&rest[3..], b'$') else { break };
                let value = &rest[3..3 + end];
                let space = value.get(1..).and_then(|value| position(value, b' ')).map(|at| at + 1);
                // A line break, or a keyword of another system.
                if value.contains(&b'\n') || space.is_some_and(|space| space + 1 < end) {
                    continue;
                }
                rest = &rest[3 + end + 1..];
            }
            _ => continue,
        }
        made.extend_from_slice(format!("Id: {id} $").as_bytes());
    }
    made.extend_from_slice(rest);
    made
}

/// Expands the keywords, by the rules of git's `ident_filter_fn`: also the odd ones.
fn with_ident_streamed(content: &[u8], id: &str) -> Vec<u8> {
    const HEAD: &[u8] = b"$Id\0";
    let value = format!(": {id} $").into_bytes();
    let mut made = Vec::with_capacity(content.len() + 64);
    // The bytes that are held back, and how much of the head has been met behind them.
    let (mut left, mut met, mut is_in_value) = (Vec::new(), 0, false);
    for byte in content {
        if is_in_value {
            left.push(*byte);
            if !matches!(byte, b'\n' | b'$') {
                continue;
            }
            if *byte == b'$' && !is_foreign_ident(&left) {
                left.truncate(3);
                left.extend_from_slice(&value);
            }
            is_in_value = false;
        } else if HEAD.get(met) == Some(byte) {
            met += 1;
            continue;
        } else {
            left.extend_from_slice(&HEAD[..met]);
            let is_keyword = met == 3;
            met = 0;
            match byte {
                b':' if is_keyword => {
                    left.push(*byte);
                    is_in_value = true;
                    continue;
                }
                b'$' if is_keyword => left.extend_from_slice(&value),
                byte => left.push(*byte),
            }
            // git holds these back, too.
            if is_keyword && *byte != b'$' {
                continue;
            }
        }
        made.append(&mut left);
    }
    made.append(&mut left);
    made.extend_from_slice(&HEAD[..met]);
    made
}

/// Whether a keyword is of another system: it has a blank that no `$` follows.
fn is_foreign_ident(keyword: &[u8]) -> bool {
    let Some(value) = keyword.strip_prefix(b"$Id: ") else { return false };
    let value = value.split(|byte| *byte == 0).next().unwrap_or_default();
    let is_blank = |at: usize| b" \t\n\r".contains(&value[at]);
    (0..value.len()).any(|at| is_blank(at) && value.get(at + 1) != Some(&b'$'))
}

fn position(bytes: &[u8], wanted: u8) -> Option<usize> {
    bytes.iter().position(|byte| *byte == wanted)
}
