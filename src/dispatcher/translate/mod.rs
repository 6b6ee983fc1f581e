//! Turns messages of the wire into values of the model, and back. Every field is checked here once; the code behind it
//! may trust the values. In the dispatcher, only this folder and `session/` see both. This file has the fields that
//! several peers send; each kind of message has a file.

mod artifacts;
mod caches;
mod lease;
mod observer;
mod pieces;
mod register;
mod results;
mod secrets;
mod tokens;
mod tool_entries;

use crate::git::without_secrets;
use crate::model::{BranchName, CommitId, RefName, RepoName};
use crate::protocol::hello::{ErrorCode, Refusal};
use crate::protocol::limits::{MAX_BRANCH_BYTES, MAX_SENTENCE_BYTES, MAX_SOURCE_BYTES};

pub(crate) use artifacts::{WantedPart, blob, blobs, left_artifacts, wanted_parts};
pub(crate) use caches::{cache_question, cache_selection, caches_report, saved_cache};
pub(crate) use lease::{to_runner, with_plain_name};
pub(crate) use observer::{ancestors, build_source, existing, facts, held_facts, observed_refs, patterns};
pub(crate) use pieces::{log_ack, stream, times_of_piece};
pub(crate) use register::{attempts, joined};
pub(crate) use results::{execution, log_summary, outcome, outputs, steps, streams};
pub(crate) use secrets::{secret_name, secret_order, secrets_report};
pub(crate) use tokens::new_token;
pub(crate) use tool_entries::{entry_facts, is_entry_name, new_entry};

/// Returns the refusal of a field with an invalid value; it ends the session.
pub(crate) fn malformed(text: impl ToString) -> Refusal {
    Refusal::new(ErrorCode::Malformed, text.to_string())
}

pub(crate) fn repo(text: &str) -> Result<RepoName, Refusal> {
    RepoName::new(text).map_err(malformed)
}

pub(crate) fn commit(text: &str) -> Result<CommitId, Refusal> {
    text.parse().map_err(malformed)
}

/// Returns the ref of an announcement: the branch, or the one with this full name.
pub(crate) fn reference(head: &str, full: Option<&str>) -> Result<RefName, Refusal> {
    let Some(full) = full else { return branch(head).map(RefName::of_branch) };
    if let Some(head) = full.strip_prefix("refs/heads/") {
        return branch(head).map(RefName::of_branch);
    }
    if full.starts_with("refs/") && full.len() <= MAX_BRANCH_BYTES && BranchName::is_allowed(full) {
        return Ok(RefName::new(full));
    }
    let (name, count) = (Refusal::quote(full), full.len());
    let text = if count > MAX_BRANCH_BYTES {
        format!("the ref `{name}` has a name of {count} bytes: at most {MAX_BRANCH_BYTES} are allowed")
    } else {
        format!("`{name}` is no full name of a ref: git does not allow it, see git-check-ref-format(1)")
    };
    Err(Refusal::new(ErrorCode::Refused, text).because("ref_name"))
}

/// Returns the branch of an announcement. A name that git does not allow refuses this announcement only: an observer
/// with one such ref must not lose its session, and with it all other branches.
pub(crate) fn branch(text: &str) -> Result<BranchName, Refusal> {
    let is_short = text.len() <= MAX_BRANCH_BYTES;
    if is_short && BranchName::is_allowed(text) {
        return Ok(BranchName::new(text));
    }
    let (name, count) = (Refusal::quote(text), text.len());
    let text = match is_short {
        true => format!("`{name}` is no name of a branch: git does not allow it, see git-check-ref-format(1)"),
        false => format!("the branch `{name}` has a name of {count} bytes: at most {MAX_BRANCH_BYTES} are allowed"),
    };
    Err(Refusal::new(ErrorCode::Refused, text).because("branch_name"))
}

/// Returns the place of an observed repository, without the credentials that a peer of another make may have left in.
pub(crate) fn source(text: &str) -> Result<String, Refusal> {
    if text.len() <= MAX_SOURCE_BYTES {
        return Ok(without_secrets(text));
    }
    Err(malformed(format!("`source` has {} bytes: at most {MAX_SOURCE_BYTES} are allowed", text.len())))
}

pub(crate) fn cut(mut text: String) -> String {
    text.truncate(text.floor_char_boundary(MAX_SENTENCE_BYTES));
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_branch_that_git_does_not_allow_is_refused_and_ends_no_session() {
        assert_eq!(branch("release/1.x").unwrap().as_str(), "release/1.x");
        for name in ["a..b", "a\0b", "HEAD", "~", "x.lock", "", &"x".repeat(MAX_BRANCH_BYTES + 1)] {
            let refusal = branch(name).unwrap_err();
            assert_eq!(refusal.code, ErrorCode::Refused);
            assert!(refusal.text.len() < 300, "{}", refusal.text);
        }
        assert_eq!(
            branch("a\0b").unwrap_err().text,
            "`a\\0b` is no name of a branch: git does not allow it, see git-check-ref-format(1)"
        );
        assert!(source(&"x".repeat(MAX_SOURCE_BYTES)).is_ok() && source(&"x".repeat(MAX_SOURCE_BYTES + 1)).is_err());
    }
}
