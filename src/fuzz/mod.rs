//! Fuzz entry points: one function for each place that reads bytes from outside. Each accepts any bytes, and panics
//! only if an invariant is broken. The property tests beside the code call the same functions with bytes that are more
//! often valid.
//!
//! Compiled only for tests and for `cargo fuzz` (`tests/fuzz`).

mod git;
mod observer;
pub(crate) mod transport;

use crate::config;
use crate::dispatcher::fuzz::heard_by_dispatcher;
use crate::model::{CredentialId, Pin};
use crate::protocol::token::{Token, is_secret};
use crate::runner::fuzz::{heard_by_runner, left_by_an_earlier_run};
use crate::runner::tool_cache::fuzz::{answered_by_dispatcher, said_by_go, sent_by_client};

use observer::heard_by_observer;

pub use crate::blobs::fuzz::manifest;
pub use crate::cli::fuzz::archive;
pub use crate::dispatcher::fuzz::{entry_messages, first_bytes, log_in_pieces, uploads};
pub use crate::git::fuzz::{facts, modules_file};
pub use git::{lfs_pointer, objects, pack};

/// Parses a task file, which any commit may bring.
///
/// # Panics
///
/// If an invariant is broken.
pub fn task_file(bytes: &[u8]) {
    match config::parse_tasks("f", bytes, config::PlanContext::Unknown) {
        Ok(plan) => {
            assert!(!plan.tasks.is_empty(), "a file without tasks is a mistake");
            for task in plan.tasks.iter().map(|task| &task.spec) {
                let has = |name: &str| plan.tasks.iter().any(|other| &*other.spec.name == name);
                assert!(task.placement.needs.iter().all(|need| has(&need.task) && need.task != task.name), "{task:?}");
            }
        }
        Err(error) => assert!(error.text.starts_with("f:") && error.text.contains("= help: "), "{error}"),
    }
}

/// Reads a stream of messages and payloads. The first byte says how many of the next bytes are the lengths of the
/// pieces in which it arrives.
pub fn frames(bytes: &[u8]) {
    let (pieces, bytes) = split_by_first(bytes);
    transport::read_in_pieces(bytes, pieces);
}

/// Reads each line as a message of every kind, in each role that reads messages.
pub fn messages(lines: &[u8]) {
    for line in lines.split_inclusive(|byte| *byte == b'\n') {
        heard_by_dispatcher(line.strip_suffix(b"\n").unwrap_or(line));
        heard_by_observer(line);
    }
    // Here the bytes after a line are its payload.
    heard_by_runner(lines);
}

/// Reads a text as a token. One that is read is whole, and reads back; what is no token is never repeated.
///
/// # Panics
///
/// If an invariant is broken.
pub fn token(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    match Token::parse(&text) {
        Ok(token) => {
            assert_eq!(token.text(), text);
            assert!(CredentialId::new(&token.id).is_some() && is_secret(&token.secret), "{token:?}");
            assert!(token.pins.iter().all(|pin| pin.parse::<Pin>().is_ok()) && token.pins.len() <= 2, "{token:?}");
            assert!(!format!("{token:?}").contains(&token.secret), "a secret in a log");
        }
        Err(error) => assert!(text.len() < 8 || !error.to_string().contains(&*text), "{error}"),
    }
}

/// Reads the files of an earlier run: a journal, and before it a spool whose length the first byte tells.
pub fn recovery(bytes: &[u8]) {
    let (spool, journal) = split_by_first(bytes);
    left_by_an_earlier_run(journal, spool);
}

/// Serves what a client of a tool cache sends, and what Go says to its helper: bytes that begin with `{`.
pub fn tool_cache(bytes: &[u8]) {
    if bytes.starts_with(b"{") { said_by_go(bytes) } else { sent_by_client(bytes) }
}

/// Asks a dispatcher for entries of the tool cache, and sends it some; the bytes say how it answers.
pub fn entry_answers(bytes: &[u8]) {
    answered_by_dispatcher(bytes);
}

/// Splits off as many bytes as the first one says.
fn split_by_first(bytes: &[u8]) -> (&[u8], &[u8]) {
    let Some((first, rest)) = bytes.split_first() else { return (&[], &[]) };
    rest.split_at(rest.len().min(usize::from(*first)))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use super::*;

    /// Runs a check on each seed file of one target.
    fn each_seed(target: &str, check: fn(&[u8])) {
        let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/seeds").join(target);
        let seeds: Vec<_> = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).collect();
        assert!(!seeds.is_empty());
        for seed in seeds {
            let bytes = fs::read(&seed).unwrap();
            let caught = std::panic::catch_unwind(|| check(&bytes));
            assert!(caught.is_ok(), "{} fails", seed.display());
        }
    }

    /// The seeds are the fuzzers' starting points, and the inputs with which they have found faults.
    #[test]
    fn every_seed_of_the_fuzz_targets_holds() {
        each_seed("tasks", task_file);
        each_seed("frames", frames);
        each_seed("messages", messages);
        each_seed("pack", pack);
        each_seed("objects", objects);
        each_seed("lfs_pointers", lfs_pointer);
        each_seed("recovery", recovery);
        each_seed("logs", log_in_pieces);
        each_seed("tokens", token);
        each_seed("opening", first_bytes);
        each_seed("tool_cache", tool_cache);
        each_seed("manifests", manifest);
        each_seed("archives", archive);
        each_seed("blobs", uploads);
        each_seed("entries", entry_messages);
        each_seed("entry_answers", entry_answers);
        each_seed("modules", modules_file);
        each_seed("facts", facts);
    }
}
