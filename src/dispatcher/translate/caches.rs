//! Caches, as runners and operators name them.

use super::tool_entries::{entry_report, tool_report};
use super::{blob, malformed};
use crate::dispatcher::caches::{Selected, Selection};
use crate::model::{CacheEntry, CacheKey, SavedCache, Trust};
use crate::protocol::caches::{CacheQuestion, CacheReport, CacheSave, CacheSelection, CachesReport};
use crate::protocol::hello::{ErrorCode, Refusal};
use crate::protocol::limits::MAX_CACHE_ABOUT_BYTES;

/// Returns the family and the key that a runner asks for.
pub(crate) fn cache_question(question: &CacheQuestion) -> Result<(CacheKey, CacheKey), Refusal> {
    Ok((key(&question.family)?, key(&question.key)?))
}

/// Returns the cache that a runner saves.
pub(crate) fn saved_cache(save: CacheSave) -> Result<SavedCache, Refusal> {
    let CacheSave { attempt: _, family, key: exact, mut about, manifest, files, size: bytes } = save;
    about.truncate(about.floor_char_boundary(MAX_CACHE_ABOUT_BYTES));
    Ok(SavedCache { family: key(&family)?, key: key(&exact)?, about, manifest: blob(&manifest)?, files, bytes })
}

fn key(text: &str) -> Result<CacheKey, Refusal> {
    text.parse().map_err(malformed)
}

/// The most entries of a tool that are told one by one, by default and at all.
const TOLD_ENTRIES: usize = 100;
const MAX_TOLD_ENTRIES: usize = 10_000;

/// Returns the caches that an operator means, and the most entries that are told one by one.
pub(crate) fn cache_selection(asked: &CacheSelection) -> Result<(Selection<'_>, usize), Refusal> {
    let CacheSelection { repo, key, tool, limit } = asked;
    key.as_deref().map_or(Ok(()), key_digits)?;
    let selection = Selection { repo: repo.as_deref(), key: key.as_deref(), tool: tool.as_deref() };
    let limit = limit.map_or(TOLD_ENTRIES, |limit| usize::try_from(limit).unwrap_or(MAX_TOLD_ENTRIES));
    Ok((selection, limit.min(MAX_TOLD_ENTRIES)))
}

/// Refuses a text that is the beginning of no key.
fn key_digits(text: &str) -> Result<(), Refusal> {
    let is_digit = |byte: u8| byte.is_ascii_digit() || matches!(byte, b'a'..=b'f');
    if (4..=32).contains(&text.len()) && text.bytes().all(is_digit) {
        return Ok(());
    }
    let text = format!(
        "`{}` is no key of a cache: write the 4 to 32 hexadecimal digits with which it begins, as `surveil cache list` \
         shows them",
        Refusal::quote(text)
    );
    Err(Refusal::new(ErrorCode::Refused, text).because("cache_key"))
}

/// Returns the report of these caches.
pub(crate) fn caches_report(selected: Selected, limit_bytes: u64) -> CachesReport {
    let Selected { caches, totals, entries } = selected;
    CachesReport {
        limit_bytes,
        caches: caches.into_iter().map(report).collect(),
        tools: totals.into_iter().map(tool_report).collect(),
        entries: entries.into_iter().map(entry_report).collect(),
        more: false,
    }
}

fn report(entry: CacheEntry) -> CacheReport {
    let CacheEntry { id: _, repo, scope, saved, attempt, build, task, number, saved_at, used_at } = entry;
    CacheReport {
        repo: repo.to_string(),
        key: saved.key.to_string(),
        family: saved.family.to_string(),
        reference: scope.reference.to_string(),
        trusted: scope.trust == Trust::Trusted,
        files: saved.files,
        bytes: saved.bytes,
        build: build.0,
        task: task.to_string(),
        number,
        attempt: attempt.0,
        saved_ms: saved_at.0,
        used_ms: used_at.0,
        about: saved.about,
        manifest: saved.manifest.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cache_of_a_runner_has_keys_and_a_manifest_and_its_words_are_bounded() {
        let save = |key: &str, manifest: &str| CacheSave {
            attempt: 1,
            family: "ab".repeat(16),
            key: key.into(),
            about: "é".repeat(MAX_CACHE_ABOUT_BYTES),
            manifest: manifest.into(),
            files: 1,
            size: 2,
        };
        let (key, manifest) = ("cd".repeat(16), "0f".repeat(32));
        let saved = saved_cache(save(&key, &manifest)).unwrap();
        assert_eq!((saved.key.as_str(), saved.about.len()), (&*key, MAX_CACHE_ABOUT_BYTES));
        for (key, manifest) in [("", &*manifest), ("../x", &manifest), (&*key, "0f"), (&key.to_uppercase(), &manifest)]
        {
            assert!(saved_cache(save(key, manifest)).is_err(), "{key} {manifest}");
        }
        assert!(key_digits("abcd").is_ok() && key_digits("abc").is_err() && key_digits("abcg").is_err());
    }
}
