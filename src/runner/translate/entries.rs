//! Messages about entries of the tool cache.

use crate::model::{AttemptId, BlobId, CacheScope, RefName, Trust};
use crate::protocol::runner::{CacheScopeName, FromRunner};
use crate::protocol::tool_entries::{EntryAnswer as Answer, EntryFacts as Facts, EntryPiece, EntryQuestion};
use crate::runner::entry_routes::{EntryAnswer, EntryFacts};
use crate::transport::Frame;

pub(super) fn cache_scope(name: CacheScopeName) -> CacheScope {
    let trust = if name.trusted { Trust::Trusted } else { Trust::Untrusted };
    CacheScope { trust, reference: RefName::new(&name.reference) }
}

/// Reads the answer to a question about an entry. Returns the number of its request, too.
pub(super) fn entry_answer(answer: Answer, bytes: Vec<u8>) -> (u64, EntryAnswer) {
    let Answer { request, found, offset, .. } = answer;
    let facts = found.and_then(|found| {
        let Facts { reference, trusted, blob, size, headers, build, task, by } = found;
        let (scope, blob) = (cache_scope(CacheScopeName { reference, trusted }), blob.parse().ok()?);
        Some(Box::new(EntryFacts { scope, blob, size, headers, build, task, by }))
    });
    (request, facts.map_or(EntryAnswer::Missing, |facts| EntryAnswer::Piece { facts, offset, bytes }))
}

/// Asks for an entry of a tool, from this offset on.
pub(crate) fn find_entry((attempt, request): (AttemptId, u64), (tool, name): (&str, &str), offset: u64) -> Frame {
    let (tool, name) = (tool.to_owned(), name.to_owned());
    Frame::new(&FromRunner::FindEntry(EntryQuestion { attempt: attempt.0, request, tool, name, offset }))
}

/// A piece of an entry: what the entry is, and where in it the piece belongs.
pub(crate) struct SentPiece<'a> {
    pub(crate) tool: &'a str,
    pub(crate) name: &'a str,
    pub(crate) blob: BlobId,
    pub(crate) size: u64,
    pub(crate) headers: &'a [(String, String)],
    pub(crate) offset: u64,
}

pub(crate) fn keep_entry((attempt, request): (AttemptId, u64), piece: &SentPiece<'_>, bytes: Vec<u8>) -> Frame {
    let SentPiece { tool, name, blob, size, headers, offset } = *piece;
    let message = FromRunner::KeepEntry(EntryPiece {
        attempt: attempt.0,
        request,
        tool: tool.to_owned(),
        name: name.to_owned(),
        blob: blob.to_string(),
        size,
        offset,
        headers: headers.to_vec(),
        bytes: bytes.len() as u64,
    });
    Frame::with_payload(&message, bytes)
}
