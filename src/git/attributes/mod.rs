//! The attributes of files (gitattributes(5)), as far as they say how a file is written: `text`, `crlf`, `eol`, `ident`
//! and `working-tree-encoding`, and whether its content is in Git LFS (`filter=lfs`). They come from the
//! `.gitattributes` of the commit and from the `info/attributes` of the watched repository, which decides first.

mod convert;

use std::sync::Arc;

use git2::{Odb, Oid};
use gix_glob::wildmatch::Mode;

pub(super) use convert::Conversion;
use convert::{Charset, Ident, Lines};

use super::error::GitError;
use super::objects::{EntryKind, Objects, TreeEntry, of_its_type};

/// The name of the file.
const ATTRIBUTES: &[u8] = b".gitattributes";

/// The longest file and the longest line that git reads.
const FILE_BYTES_MAX: usize = 100 << 20;
const LINE_BYTES_MAX: usize = 2048;

/// The most stars of a pattern. The matcher goes no deeper than 64.
const STARS_MAX: usize = 60;

const MACRO: &[u8] = b"[attr]";
const BLANK: [u8; 3] = *b" \t\r";

/// The attributes that count here, each at its place in [`Found`].
const NAMES: [&[u8]; 6] = [b"text", b"crlf", b"eol", b"ident", b"working-tree-encoding", b"filter"];
const TEXT: usize = 0;
const CRLF: usize = 1;
const EOL: usize = 2;
const IDENT: usize = 3;
const ENCODING: usize = 4;
const FILTER: usize = 5;

/// The treatment of a file on its way into a work tree.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Treatment {
    pub(super) conversion: Conversion,
    /// Whether the filter of Git LFS is for the file. Then the commit has a pointer to its content.
    pub(super) is_lfs: bool,
}

/// The attributes of one file, as far as they are decided.
#[derive(Default)]
struct Found<'a> {
    states: [Option<&'a State>; NAMES.len()],
    /// The names of all of them, macros included.
    decided: Vec<&'a [u8]>,
}

impl<'a> Found<'a> {
    fn decide_text(&mut self, state: &'a State) {
        if !self.decided.contains(&NAMES[TEXT]) {
            self.decided.push(NAMES[TEXT]);
            self.states[TEXT] = Some(state);
        }
    }
}

/// The state of an attribute.
#[derive(Debug, Clone, PartialEq, Eq)]
enum State {
    Set,
    Unset,
    /// As if no line named it.
    Unspecified,
    Value(Vec<u8>),
}

/// The files that hold for a directory: its own and those of the directories above it, and the one that comes before
/// all of them.
#[derive(Debug, Clone, Default)]
pub(super) struct Attributes {
    first: Option<Arc<AttributesFile>>,
    nearest: Option<Arc<AttributesFile>>,
}

/// One file, with those above it.
#[derive(Debug)]
struct AttributesFile {
    blob: Oid,
    /// The length of its directory's path, with the slash at the end.
    base_bytes: usize,
    lines: Vec<Line>,
    above: Option<Arc<AttributesFile>>,
}

/// A line of a file.
#[derive(Debug)]
struct Line {
    of: Of,
    states: Vec<(Vec<u8>, State)>,
}

/// The files that a line is about.
#[derive(Debug)]
enum Of {
    /// Those whose name matches.
    Names(Vec<u8>),
    /// Those whose path below the directory of the file matches.
    Paths(Vec<u8>),
    /// Those with the attribute of this name.
    Macro(Vec<u8>),
}

impl PartialEq for Attributes {
    fn eq(&self, other: &Self) -> bool {
        let blob = |file: &Option<Arc<AttributesFile>>| file.as_ref().map(|file| file.blob);
        if blob(&self.first) != blob(&other.first) {
            return false;
        }
        let (mut left, mut right) = (&self.nearest, &other.nearest);
        while let (Some(one), Some(two)) = (left, right) {
            if Arc::ptr_eq(one, two) {
                return true;
            }
            if (one.blob, one.base_bytes) != (two.blob, two.base_bytes) {
                return false;
            }
            (left, right) = (&one.above, &two.above);
        }
        left.is_none() && right.is_none()
    }
}

impl Attributes {
    /// Whether every file is written as the commit has it.
    pub(super) fn is_empty(&self) -> bool {
        self.first.is_none() && self.nearest.is_none()
    }

    /// The attributes of the watched repository, which count before those of the commit.
    pub(super) fn of_repository(blob: Oid, content: &[u8]) -> Self {
        let first = AttributesFile { blob, base_bytes: 0, lines: parse(content, true), above: None };
        Self { first: Some(Arc::new(first)), nearest: None }
    }

    /// Adds the file of a directory whose path, with the slash at the end, has this length. Only the root of a
    /// repository defines macros.
    pub(super) fn with(&self, blob: Oid, content: &[u8], (base_bytes, is_root): (usize, bool)) -> Self {
        let lines = parse(content, is_root);
        let file = AttributesFile { blob, base_bytes, lines, above: self.nearest.clone() };
        Self { first: self.first.clone(), nearest: Some(Arc::new(file)) }
    }

    /// Returns how a file is written, given its path from the root of the tree.
    pub(super) fn treatment(&self, path: &[u8]) -> Treatment {
        let mut found = Found::default();
        // The nearest file decides, and in it the last line.
        for file in self.files() {
            for line in file.lines.iter().rev() {
                if line.is_about(path, file.base_bytes) {
                    self.take(&line.states, &mut found);
                }
            }
        }
        let is_lfs = matches!(found.states[FILTER], Some(State::Value(value)) if value == b"lfs");
        Treatment { conversion: conversion_of(&found.states), is_lfs }
    }

    /// Takes states that are not decided yet.
    fn take<'a>(&'a self, states: &'a [(Vec<u8>, State)], found: &mut Found<'a>) {
        for (name, state) in states.iter().rev() {
            if found.decided.contains(&&**name) {
                continue;
            }
            found.decided.push(name);
            if let Some(place) = NAMES.iter().position(|known| *known == *name) {
                found.states[place] = Some(state);
            }
            // Each is expanded once at most, because it is decided by now.
            if *state == State::Set {
                match self.macro_named(name) {
                    Some(states) => self.take(states, found),
                    None if name == b"binary" => found.decide_text(&State::Unset),
                    None => {}
                }
            }
        }
    }

    fn macro_named(&self, name: &[u8]) -> Option<&[(Vec<u8>, State)]> {
        // Only the file at the root, and the one of the repository, have lines that define any.
        let named = |line: &&Line| matches!(&line.of, Of::Macro(of) if of == name);
        self.files().find_map(|file| file.lines.iter().rev().find(named)).map(|line| &*line.states)
    }

    /// Returns the files in the order in which they decide.
    fn files(&self) -> impl Iterator<Item = &AttributesFile> {
        let nearest = std::iter::successors(self.nearest.as_deref(), |file| file.above.as_deref());
        self.first.as_deref().into_iter().chain(nearest)
    }
}

/// Returns the attributes of a directory's files: those from above, and those of the `.gitattributes` in it. The path
/// of the directory has this length, with the slash at the end.
pub(super) fn attributes_in(
    (objects, odb): (&Objects, &Odb<'_>),
    found: &[TreeEntry<'_>],
    inherited: &Attributes,
    (path_bytes, is_root): (usize, bool),
) -> Result<Attributes, GitError> {
    let is_file = |kind| matches!(kind, EntryKind::File | EntryKind::Executable);
    let Some(file) = found.iter().find(|entry| entry.name == ATTRIBUTES && is_file(entry.kind)) else {
        return Ok(inherited.clone());
    };
    if objects.header(odb, file.id)?.0 > FILE_BYTES_MAX {
        return Ok(inherited.clone());
    }
    // If it is no blob, the pass tells what is wrong with the commit.
    let content = of_its_type(objects.blob(odb, file.id))?;
    Ok(content
        .map_or_else(|| inherited.clone(), |content| inherited.with(file.id, content.data(), (path_bytes, is_root))))
}

impl Line {
    fn is_about(&self, path: &[u8], base_bytes: usize) -> bool {
        match &self.of {
            Of::Names(pattern) => {
                let name = path.rsplit(|byte| *byte == b'/').next().unwrap_or(path);
                matches(pattern, name, false)
            }
            Of::Paths(pattern) => path.get(base_bytes..).is_some_and(|below| matches_path(pattern, below)),
            Of::Macro(_) => false,
        }
    }
}

/// Whether a pattern of git matches the whole text. With `is_path`, only `**` matches a slash.
fn matches(pattern: &[u8], text: &[u8], is_path: bool) -> bool {
    let mode = if is_path { Mode::NO_MATCH_SLASH_LITERAL } else { Mode::empty() };
    gix_glob::wildmatch(pattern.into(), text.into(), mode)
}

/// The part before the first special byte is compared alone, so that `**` behind it stands at a beginning, as for git.
fn matches_path(pattern: &[u8], path: &[u8]) -> bool {
    let literal = pattern.iter().position(|byte| b"*?[\\".contains(byte)).unwrap_or(pattern.len());
    let (plain, rest) = pattern.split_at(literal);
    path.strip_prefix(plain).is_some_and(|path| matches(rest, path, true))
}

fn conversion_of(found: &[Option<&State>; NAMES.len()]) -> Conversion {
    let text = |place: usize| match found[place] {
        Some(State::Set) => Some(Text::Always),
        Some(State::Unset) => Some(Text::Binary),
        Some(State::Value(value)) if value == b"input" => Some(Text::Input),
        Some(State::Value(value)) if value == b"auto" => Some(Text::Auto),
        _ => None,
    };
    let is_crlf = matches!(found[EOL], Some(State::Value(value)) if value == b"crlf");
    let text = text(TEXT).or_else(|| text(CRLF));
    let is_lf = matches!(found[EOL], Some(State::Value(value)) if value == b"lf");
    let encoding = match found[ENCODING] {
        Some(State::Value(name)) if !name.is_empty() && !is_utf8(name) => Some(name),
        _ => None,
    };
    let ident = match found[IDENT] {
        Some(State::Set) if encoding.is_some() || matches!(text, Some(Text::Auto)) && !is_lf => Ident::Whole,
        Some(State::Set) => Ident::Streamed,
        _ => Ident::Kept,
    };
    let lines = match text {
        Some(Text::Binary) => Lines::Kept,
        Some(Text::Auto) if is_crlf => Lines::CrlfIfText,
        _ if is_crlf => Lines::Crlf,
        _ => Lines::Kept,
    };
    Conversion { lines, ident, encoding: encoding.and_then(|name| Charset::named(name)) }
}

/// Whether a name of an encoding means UTF-8.
fn is_utf8(name: &[u8]) -> bool {
    name.eq_ignore_ascii_case(b"utf-8") || name.eq_ignore_ascii_case(b"utf8")
}

/// The values of `text`, and of `crlf`, its older name.
enum Text {
    Always,
    Binary,
    Input,
    Auto,
}

fn parse(content: &[u8], is_root: bool) -> Vec<Line> {
    let content = content.strip_prefix(b"\xef\xbb\xbf").unwrap_or(content);
    // git reads it as a text that a NUL byte ends.
    let content = content.split(|byte| *byte == 0).next().unwrap_or_default();
    content.split(|byte| *byte == b'\n').filter_map(|line| parse_line(line, is_root)).collect()
}

fn is_blank(byte: &u8) -> bool {
    BLANK.contains(byte)
}

fn skip_blanks(text: &[u8]) -> &[u8] {
    &text[text.iter().take_while(|byte| is_blank(byte)).count()..]
}

fn word(text: &[u8]) -> (&[u8], &[u8]) {
    text.split_at(text.iter().position(is_blank).unwrap_or(text.len()))
}

/// Returns `None` for a line that git ignores.
fn parse_line(line: &[u8], is_root: bool) -> Option<Line> {
    if line.len() >= LINE_BYTES_MAX {
        return None;
    }
    let line = skip_blanks(line);
    if line.is_empty() || line[0] == b'#' {
        return None;
    }
    let (name, states) = match unquoted(line) {
        Some((name, rest)) => (name, rest),
        None => {
            let (name, rest) = word(line);
            (name.to_vec(), rest)
        }
    };
    let of = match name.strip_prefix(MACRO) {
        Some(name) if !name.is_empty() => {
            let (name, _) = word(skip_blanks(name));
            Of::Macro(Some(name).filter(|name| is_root && is_valid(name))?.to_vec())
        }
        _ => pattern(&name)?,
    };
    let mut found = Vec::new();
    let mut rest = skip_blanks(states);
    while !rest.is_empty() {
        let (one, after) = word(rest);
        found.push(state(one)?);
        rest = skip_blanks(after);
    }
    Some(Line { of, states: found })
}

fn pattern(text: &[u8]) -> Option<Of> {
    // git ignores negative patterns. One for directories is about no file.
    if text.starts_with(b"!") || text.ends_with(b"/") || text.iter().filter(|byte| **byte == b'*').count() > STARS_MAX {
        return None;
    }
    Some(if text.contains(&b'/') {
        Of::Paths(text.strip_prefix(b"/").unwrap_or(text).to_vec())
    } else {
        Of::Names(text.to_vec())
    })
}

/// Reads one state. `None` makes git ignore the whole line.
fn state(text: &[u8]) -> Option<(Vec<u8>, State)> {
    let (left, value) = match text.iter().position(|byte| *byte == b'=') {
        Some(at) => (&text[..at], Some(&text[at + 1..])),
        None => (text, None),
    };
    let (name, state) = match left {
        [b'-', name @ ..] => (name, State::Unset),
        [b'!', name @ ..] => (name, State::Unspecified),
        name => (name, value.map_or(State::Set, |value| State::Value(value.to_vec()))),
    };
    is_valid(name).then(|| (name.to_vec(), state))
}

fn is_valid(name: &[u8]) -> bool {
    let is_allowed = |byte: &u8| byte.is_ascii_alphanumeric() || b"-._".contains(byte);
    !name.is_empty() && name[0] != b'-' && name.iter().all(is_allowed) && !name.starts_with(b"builtin_")
}

/// Reads a pattern in quotes, as in the C language. Returns it and the rest of the line; `None` if it is not one.
fn unquoted(line: &[u8]) -> Option<(Vec<u8>, &[u8])> {
    let mut rest = line.strip_prefix(b"\"")?;
    let mut made = Vec::new();
    loop {
        let (byte, after) = rest.split_first()?;
        rest = after;
        match byte {
            b'"' => return Some((made, rest)),
            b'\\' => {
                let (escaped, after) = rest.split_first()?;
                rest = after;
                made.push(match escaped {
                    b'a' => 7,
                    b'b' => 8,
                    b'f' => 12,
                    b'n' => b'\n',
                    b'r' => b'\r',
                    b't' => b'\t',
                    b'v' => 11,
                    b'"' | b'\\' => *escaped,
                    b'0'..=b'3' => {
                        let [second @ b'0'..=b'7', third @ b'0'..=b'7', after @ ..] = rest else { return None };
                        rest = after;
                        (escaped - b'0') << 6 | (second - b'0') << 3 | (third - b'0')
                    }
                    _ => return None,
                });
            }
            byte => made.push(*byte),
        }
    }
}
