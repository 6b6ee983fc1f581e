//! Fuzz entry points of the dispatcher: messages from peers.

use super::translate;
use crate::model::words::outcome_detail;
use crate::model::{Outcome, SessionId};
use crate::protocol::codec;
use crate::protocol::hello::{Hello, Opening, Role};
use crate::protocol::limits::{MAX_LABELS, MAX_LINE_BYTES, MAX_RANGE_COMMITS, MAX_SLOTS};
use crate::protocol::observer::FromObserver;
use crate::protocol::operator::{FromOperator, ToOperator};
use crate::protocol::runner::FromRunner;

pub use super::logs::fuzz::log_in_pieces;
pub use super::session::fuzz::{entry_messages, first_bytes, uploads};

/// Reads a line from any peer: an accepted message keeps its limits, and reads back unchanged.
///
/// # Panics
///
/// If an invariant is broken.
pub(crate) fn heard_by_dispatcher(line: &[u8]) {
    reads_back::<Opening>(line);
    reads_back::<FromOperator>(line);
    reads_back::<ToOperator>(line);
    if let Some(message) = reads_back::<FromObserver>(line) {
        observer_said(message);
    }
    if let Some(message) = reads_back::<FromRunner>(line) {
        runner_said(message);
    }
}

fn reads_back<M>(line: &[u8]) -> Option<M>
where
    M: serde::Serialize + serde::de::DeserializeOwned + PartialEq + std::fmt::Debug,
{
    let message = codec::decode::<M>(line).ok()?;
    let mut again = Vec::new();
    codec::encode(&message, &mut again);
    assert_eq!(again.pop(), Some(b'\n'));
    assert!(!again.contains(&b'\n'), "one message is one line");
    if again.len() < MAX_LINE_BYTES {
        assert_eq!(codec::decode::<M>(&again).expect("it was written just now"), message);
    }
    Some(message)
}

fn observer_said(message: FromObserver) {
    if let FromObserver::Gone { repo, branch, before, .. } = message {
        drop((translate::repo(&repo), translate::branch(&branch), translate::commit(&before)));
    } else if let Ok(source) = translate::build_source(message) {
        assert!(source.trigger.range().len() <= MAX_RANGE_COMMITS && !source.trigger.reference.short().is_empty());
        assert!(source.subject.len() <= 1024 && source.author.len() <= 1024);
        assert!(!source.repo.as_str().contains('/') && !source.repo.as_str().starts_with('.'));
    }
}

fn runner_said(message: FromRunner) {
    if let FromRunner::Results { outcome, code, reason, reason_code, log_bytes, log_crc32, log_missing, .. } = message {
        let outcome = translate::outcome(&outcome, code, reason, reason_code.as_deref()).ok();
        if let Some(Outcome::Lost(_) | Outcome::CouldNotStart(_)) = outcome {
            assert!(outcome.as_ref().and_then(outcome_detail).is_some_and(|why| why.len() <= 1024));
        }
        let summary = translate::log_summary(log_bytes, log_crc32, log_missing);
        assert!(summary.is_err() || summary.is_ok_and(|it| it.missing.is_none_or(|text| text.len() <= 1024)));
    } else if let FromRunner::Source { haves, .. } = message {
        haves.iter().for_each(|id| drop(translate::commit(id)));
    } else if let Ok(joined) = translate::joined(SessionId(1), &hello(), message) {
        assert!((1..=MAX_SLOTS).contains(&(joined.slots as usize)) && joined.labels.len() <= MAX_LABELS);
    }
}

fn hello() -> Hello {
    Hello {
        version: 1,
        min_version: 1,
        role: Role::Runner,
        name: "w1".into(),
        incarnation: 1,
        token: String::new(),
        program: String::new(),
        listens_at: None,
        callback_key: None,
        join: None,
        user: None,
        pins: Vec::new(),
        takes_refs: true,
        takes_wakes: false,
        takes_pieces: false,
    }
}
