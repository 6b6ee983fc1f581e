//! Entries of the tool cache, as runners and operators name them. Their names come from tasks, so one that makes no
//! sense is no entry, and never a mistake of the runner.

use crate::model::{BlobId, ToolEntry, ToolTotal, Trust};
use crate::protocol::tool_entries::{EntryFacts, EntryPiece, EntryReport, ToolReport};

/// The most bytes of the name of a tool, and of its name for an entry.
const TOOL_BYTES: usize = 32;
const NAME_BYTES: usize = 512;
/// The most headers of an entry, and the most bytes of the name and of the value of one.
const HEADERS: usize = 8;
const HEADER_BYTES: usize = 256;

/// An entry that a runner sends, without what follows from its attempt.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct NewEntry {
    pub(crate) tool: String,
    pub(crate) name: String,
    pub(crate) blob: BlobId,
    pub(crate) headers: Vec<(String, String)>,
}

/// Whether this can name an entry.
pub(crate) fn is_entry_name(tool: &str, name: &str) -> bool {
    let is_word = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    (1..=TOOL_BYTES).contains(&tool.len())
        && tool.bytes().all(is_word)
        && (1..=NAME_BYTES).contains(&name.len())
        && name.bytes().all(|byte| byte.is_ascii_graphic())
}

/// Returns the entry to which a piece belongs; `None` if it makes no sense.
pub(crate) fn new_entry(piece: &EntryPiece) -> Option<NewEntry> {
    let EntryPiece { tool, name, blob, headers, .. } = piece;
    let is_header = |(name, value): &(String, String)| {
        let is_short = name.len() <= HEADER_BYTES && value.len() <= HEADER_BYTES;
        is_short && !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_graphic()) && is_line(value)
    };
    let is_fine = is_entry_name(tool, name) && headers.len() <= HEADERS && headers.iter().all(is_header);
    let blob = blob.parse().ok().filter(|_| is_fine)?;
    Some(NewEntry { tool: tool.clone(), name: name.clone(), blob, headers: headers.clone() })
}

/// Whether a text is one line of visible characters.
fn is_line(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_graphic() || byte == b' ')
}

/// Returns an entry as a runner is told.
pub(crate) fn entry_facts(entry: &ToolEntry) -> EntryFacts {
    EntryFacts {
        reference: entry.scope.reference.to_string(),
        trusted: entry.scope.trust == Trust::Trusted,
        blob: entry.blob.to_string(),
        size: entry.bytes,
        headers: entry.headers.clone(),
        build: entry.build.0,
        task: entry.task.to_string(),
        by: entry.attempt.0,
    }
}

/// Returns the report of the entries of a tool in a scope.
pub(crate) fn tool_report(total: ToolTotal) -> ToolReport {
    let ToolTotal { repo, scope, tool, entries, bytes, used_at } = total;
    ToolReport {
        repo: repo.to_string(),
        tool,
        reference: scope.reference.to_string(),
        trusted: scope.trust == Trust::Trusted,
        entries,
        bytes,
        used_ms: used_at.0,
    }
}

/// Returns the report of an entry.
pub(crate) fn entry_report(entry: ToolEntry) -> EntryReport {
    let ToolEntry { key, repo, scope, tool, name, headers: _, blob, bytes, attempt, build, task, number, .. } = entry;
    EntryReport {
        key: key.to_string(),
        repo: repo.to_string(),
        tool,
        name,
        reference: scope.reference.to_string(),
        trusted: scope.trust == Trust::Trusted,
        bytes,
        build: build.0,
        task: task.to_string(),
        number,
        attempt: attempt.0,
        saved_ms: entry.saved_at.0,
        used_ms: entry.used_at.0,
        blob: blob.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_has_a_name_of_visible_characters_a_hash_and_few_short_headers() {
        let piece = |tool: &str, name: &str, blob: &str, headers: &[(&str, &str)]| EntryPiece {
            attempt: 1,
            request: 2,
            tool: tool.into(),
            name: name.into(),
            blob: blob.into(),
            size: 3,
            offset: 0,
            headers: headers.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect(),
            bytes: 3,
        };
        let (hash, long) = ("0f".repeat(32), "a".repeat(NAME_BYTES + 1));
        let tag = ("x-artifact-tag", "a b=");
        assert!(new_entry(&piece("nx", "v1/cache/0a-B", &hash, &[tag])).is_some());
        for (tool, name, blob, headers) in [
            ("", "a", &*hash, &[tag][..]),
            ("CC", "a", &hash, &[tag]),
            ("nx/..", "a", &hash, &[tag]),
            (&long, "a", &hash, &[tag]),
            ("nx", "", &hash, &[tag]),
            ("nx", "a b", &hash, &[tag]),
            ("nx", "a\0b", &hash, &[tag]),
            ("nx", "é", &hash, &[tag]),
            ("nx", &long, &hash, &[tag]),
            ("nx", "a", "0f", &[tag]),
            ("nx", "a", &hash, &[tag; HEADERS + 1]),
            ("nx", "a", &hash, &[("x", "a\r\nb: c")]),
            ("nx", "a", &hash, &[("x:", &long)]),
            ("nx", "a", &hash, &[("", "x")]),
        ] {
            assert_eq!(new_entry(&piece(tool, name, blob, headers)), None, "{tool} {name} {blob} {headers:?}");
        }
    }
}
