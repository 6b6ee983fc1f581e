//! Keeps `docs/protocol.md` and the types in step: every example line is a message of its direction and reads back as
//! it was written, and every message and error code has its example.

use proptest::prelude::*;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::codec;
use super::hello::{Call, ErrorCode, Greeting, Opening, Role};
use super::observer::{FromObserver, ToObserver};
use super::operator::{FromOperator, ToOperator};
use super::runner::{FromRunner, ToRunner};

const DOCUMENT: &str = include_str!("../../docs/protocol.md");

/// A wire enum, each variant of which has a word.
trait Vocabulary: DeserializeOwned + Serialize {
    const WORDS: &'static [&'static str];

    fn word(&self) -> &'static str;
}

/// Makes the words and a match from one list, so that the program does not compile if a variant is missing.
macro_rules! vocabulary {
    ($type:ty, $($pattern:pat => $word:literal),+ $(,)?) => {
        impl Vocabulary for $type {
            const WORDS: &'static [&'static str] = &[$($word),+];

            fn word(&self) -> &'static str {
                match self {
                    $($pattern => $word),+
                }
            }
        }
    };
}

vocabulary!(Opening, Self::Hello(_) => "hello");
vocabulary!(Greeting, Self::Welcome(_) => "welcome", Self::Error(_) => "error");
vocabulary!(Call, Self::Dialled { .. } => "dialled");
vocabulary!(
    FromObserver,
    Self::Status { .. } => "status",
    Self::Pack { .. } => "pack",
    Self::Existing { .. } => "existing",
    Self::Dispatch { .. } => "dispatch",
    Self::Supply { .. } => "supply",
    Self::Gone { .. } => "gone",
    Self::Ping => "ping",
);
vocabulary!(
    ToObserver,
    Self::Heads { .. } => "heads",
    Self::Noted { .. } => "noted",
    Self::Ok { .. } => "ok",
    Self::Stale { .. } => "stale",
    Self::NeedSource { .. } => "need_source",
    Self::LostSource { .. } => "lost_source",
    Self::Wake { .. } => "wake",
    Self::Ack => "ack",
    Self::Error(_) => "error",
);
vocabulary!(
    FromRunner,
    Self::Register { .. } => "register",
    Self::Ping { .. } => "ping",
    Self::Source { .. } => "source",
    Self::Secrets { .. } => "secrets",
    Self::Started { .. } => "started",
    Self::Log { .. } => "log",
    Self::Results { .. } => "results",
    Self::Draining => "draining",
    Self::Have(_) => "have",
    Self::Blob(_) => "blob",
    Self::Settle { .. } => "settle",
    Self::Want(_) => "want",
    Self::FindCache(_) => "find_cache",
    Self::SaveCache(_) => "save_cache",
    Self::FindEntry(_) => "find_entry",
    Self::KeepEntry(_) => "keep_entry",
);
vocabulary!(
    ToRunner,
    Self::Registered { .. } => "registered",
    Self::Runtask(_) => "runtask",
    Self::SourceAhead { .. } => "source_ahead",
    Self::Pack { .. } => "pack",
    Self::SourceMissing { .. } => "source_missing",
    Self::Secrets { .. } => "secrets",
    Self::SecretsMissing { .. } => "secrets_missing",
    Self::Cancel { .. } => "cancel",
    Self::LogAck { .. } => "log_ack",
    Self::Ok { .. } => "ok",
    Self::Stale { .. } => "stale",
    Self::Ack { .. } => "ack",
    Self::Drain => "drain",
    Self::Lacks { .. } => "lacks",
    Self::BlobAck { .. } => "blob_ack",
    Self::Settled { .. } => "settled",
    Self::BlobRefused { .. } => "blob_refused",
    Self::Blob(_) => "blob",
    Self::BlobMissing { .. } => "blob_missing",
    Self::Cache(_) => "cache",
    Self::CacheSaved { .. } => "cache_saved",
    Self::Entry(_) => "entry",
    Self::EntryAck { .. } => "entry_ack",
    Self::Error(_) => "error",
);
vocabulary!(
    FromOperator,
    Self::Status { .. } => "status",
    Self::Show { .. } => "show",
    Self::Why { .. } => "why",
    Self::Runners => "runners",
    Self::Passes(_) => "passes",
    Self::Logs { .. } => "logs",
    Self::Cancel { .. } => "cancel",
    Self::Rerun { .. } => "rerun",
    Self::Start { .. } => "start",
    Self::Drain { .. } => "drain",
    Self::Resume { .. } => "resume",
    Self::CreateToken(_) => "create_token",
    Self::Tokens => "tokens",
    Self::RevokeToken { .. } => "revoke_token",
    Self::RotateAuthority { .. } => "rotate_authority",
    Self::SetSecret(_) => "set_secret",
    Self::Secrets => "secrets",
    Self::Caches(_) => "caches",
    Self::RemoveCaches(_) => "remove_caches",
    Self::RemoveSecret { .. } => "remove_secret",
    Self::Wake { .. } => "wake",
    Self::Watch => "watch",
    Self::Haves { .. } => "haves",
    Self::Pack { .. } => "pack",
    Self::Submit(_) => "submit",
    Self::LogOut => "log_out",
    Self::Artifacts { .. } => "artifacts",
    Self::Fetch { .. } => "fetch",
    Self::Ping => "ping",
);
vocabulary!(
    ToOperator,
    Self::Status(_) => "status",
    Self::Build(_) => "build",
    Self::Why(_) => "why",
    Self::Runners(_) => "runners",
    Self::Passes(_) => "passes",
    Self::Log { .. } => "log",
    Self::LogEnd { .. } => "log_end",
    Self::Token { .. } => "token",
    Self::Tokens(_) => "tokens",
    Self::Secrets(_) => "secrets",
    Self::Caches(_) => "caches",
    Self::Ok { .. } => "ok",
    Self::Haves { .. } => "haves",
    Self::Submitted { .. } => "submitted",
    Self::NeedSource { .. } => "need_source",
    Self::Ack => "ack",
    Self::Artifacts(_) => "artifacts",
    Self::Blob { .. } => "blob",
    Self::Error(_) => "error",
);
vocabulary!(
    ErrorCode,
    Self::Malformed => "malformed",
    Self::Version => "version",
    Self::Token => "token",
    Self::NotAllowed => "not_allowed",
    Self::NameTaken => "name_taken",
    Self::Busy => "busy",
    Self::ShuttingDown => "shutting_down",
    Self::NotFound => "not_found",
    Self::Refused => "refused",
    Self::BrokenSource => "broken_source",
    Self::Internal => "internal",
);
vocabulary!(Role, Self::Observer => "observer", Self::Runner => "runner", Self::Operator => "operator");

/// One section about one message.
#[derive(Debug)]
struct Section {
    /// The word its heading starts with.
    word: String,
    /// Such as `observer to dispatcher`; several if the message is the same.
    directions: Vec<String>,
    examples: Vec<String>,
    text: String,
}

/// Cuts the document at its headings of the fourth level. Each section must have a direction and an example.
fn sections() -> Vec<Section> {
    let messages = DOCUMENT.split("\n## 11. Messages\n").nth(1).expect("the section about messages");
    let messages = messages.split("\n## ").next().expect("split gives at least one piece");
    messages.split("\n#### ").skip(1).map(section).collect()
}

fn section(text: &str) -> Section {
    let text = text.split("\n### ").next().expect("split gives at least one piece");
    let word = text.split_whitespace().next().expect("a heading has a word").to_owned();
    let direction = text.split("\nDirection: ").nth(1).unwrap_or_else(|| panic!("`{word}` has no direction"));
    let direction = direction.split('.').next().expect("split gives at least one piece").replace('\n', " ");
    let directions = direction.split(", ").map(str::to_owned).collect();
    let examples: Vec<_> = text
        .split("\n```json\n")
        .skip(1)
        .map(|rest| rest.split("\n```").next().expect("split gives at least one piece").to_owned())
        .collect();
    assert!(!examples.is_empty(), "`{word}` has no example");
    assert!(!examples.iter().any(|example| example.contains('\n')), "an example of `{word}` is more than a line");
    Section { word, directions, examples, text: text.to_owned() }
}

/// Reads every example of the direction as `M`, and writes it back. The examples must cover all words of `M`.
fn check<M: Vocabulary>(direction: &str) {
    let mut missing = M::WORDS.to_vec();
    for section in sections().iter().filter(|section| section.directions.iter().any(|found| found == direction)) {
        for example in &section.examples {
            let message: M =
                codec::decode(example.as_bytes()).unwrap_or_else(|error| panic!("{direction}: {error:?}\n{example}"));
            assert_eq!(message.word(), section.word, "{direction}: under the wrong heading\n{example}");
            assert_same(&message, example);
            check_fields(section, example);
            missing.retain(|word| *word != section.word);
        }
    }
    assert!(missing.is_empty(), "{direction}: no example of {missing:?}");
}

fn assert_same<M: Serialize>(message: &M, example: &str) {
    let mut line = Vec::new();
    codec::encode(message, &mut line);
    let written: Value = serde_json::from_slice(&line).expect("it was just written");
    let read: Value = serde_json::from_str(example).expect("it was just read");
    assert_eq!(written, read, "the example lacks a field, or has one too many");
}

/// Checks that the section names every field of the example.
fn check_fields(section: &Section, example: &str) {
    let fields: Value = serde_json::from_str(example).expect("it was just read");
    for field in fields.as_object().expect("a message is an object").keys().filter(|field| *field != "type") {
        assert!(section.text.contains(&format!("`{field}`")), "`{}` does not explain `{field}`", section.word);
    }
}

#[test]
fn every_message_has_an_example_that_reads_back_as_it_is_written() {
    check::<Opening>("peer to dispatcher");
    check::<Greeting>("dispatcher to peer");
    check::<Call>("dispatcher to listening runner");
    check::<FromObserver>("observer to dispatcher");
    check::<ToObserver>("dispatcher to observer");
    check::<FromRunner>("runner to dispatcher");
    check::<ToRunner>("dispatcher to runner");
    check::<FromOperator>("operator to dispatcher");
    check::<ToOperator>("dispatcher to operator");
}

#[test]
fn every_direction_in_the_document_is_one_that_is_checked() {
    let known = [
        "peer to dispatcher",
        "dispatcher to peer",
        "dispatcher to listening runner",
        "observer to dispatcher",
        "dispatcher to observer",
        "runner to dispatcher",
        "dispatcher to runner",
        "operator to dispatcher",
        "dispatcher to operator",
    ];
    for section in sections() {
        for direction in &section.directions {
            assert!(known.contains(&direction.as_str()), "`{}`: {direction}", section.word);
        }
    }
}

#[test]
fn every_error_code_and_role_is_explained() {
    for word in ErrorCode::WORDS {
        let code: ErrorCode = serde_json::from_value(Value::from(*word)).unwrap();
        assert_eq!(code.word(), *word);
        assert!(DOCUMENT.contains(&format!("\n| `{word}` | ")), "no row for the error code {word}");
    }
    for word in Role::WORDS {
        let role: Role = serde_json::from_value(Value::from(*word)).unwrap();
        assert_eq!(role.word(), *word);
        assert!(DOCUMENT.contains(&format!("`{word}`")), "{word}");
    }
}

#[test]
fn the_transcripts_are_made_of_messages() {
    let transcripts: Vec<_> = DOCUMENT.split("\n```transcript\n").skip(1).collect();
    assert_eq!(transcripts.len(), 3);
    for line in transcripts.iter().flat_map(|rest| rest.split("\n```").next().unwrap_or_default().lines()) {
        let is_fine = match line.split_once(": ") {
            Some(("R", message)) if message.contains("\"hello\"") => {
                codec::decode::<Opening>(message.as_bytes()).is_ok()
            }
            Some(("R", message)) => codec::decode::<FromRunner>(message.as_bytes()).is_ok(),
            Some(("D", message)) if message.contains("\"welcome\"") => {
                codec::decode::<Greeting>(message.as_bytes()).is_ok()
            }
            Some(("D", message)) => codec::decode::<ToRunner>(message.as_bytes()).is_ok(),
            _ => line.starts_with("   ("),
        };
        assert!(is_fine, "{line}");
    }
}

#[test]
fn the_limits_in_the_document_are_those_of_the_program() {
    use super::limits::{
        MAX_ANCESTORS, MAX_BRANCH_BYTES, MAX_HAVES, MAX_HELLO_BYTES, MAX_LABELS, MAX_LINE_BYTES, MAX_PAYLOAD_BYTES,
        MAX_RANGE_COMMITS, MAX_REFUSAL_BYTES, MAX_REPORT_TEXT_BYTES, MAX_SENTENCE_BYTES, MAX_SLOTS, MAX_SOURCE_BYTES,
        MAX_STREAMS, MAX_WARNINGS, PIECE_BYTES,
    };
    let rows = [
        ("a line, with its line feed", MAX_LINE_BYTES, " bytes"),
        ("the first line of a session", MAX_HELLO_BYTES, " bytes"),
        ("nesting of arrays and objects", 32, ""),
        ("a payload", MAX_PAYLOAD_BYTES, " bytes"),
        ("a runner's slots, attempts named in one message", MAX_SLOTS, ""),
        ("labels of a runner", MAX_LABELS, ""),
        ("commits in the `range` of a `dispatch`", MAX_RANGE_COMMITS, ""),
        ("commits in the `ancestors` of a `dispatch`", MAX_ANCESTORS, ""),
        ("streams of a result beside its log", MAX_STREAMS, ""),
        ("the place of a repository, `source`", MAX_SOURCE_BYTES, " bytes"),
        ("the name of a branch", MAX_BRANCH_BYTES, " bytes"),
        ("a label of a runner", 100, " bytes"),
        ("a sentence of a peer: `subject`, `author`, `reason`, `log_missing`, `missing`", MAX_SENTENCE_BYTES, " bytes"),
        ("a text of a report: `detail`, `problem`, a line of `why`", MAX_REPORT_TEXT_BYTES, " bytes"),
        ("the text of an `error`", MAX_REFUSAL_BYTES, " bytes"),
        ("warnings in one `status`", MAX_WARNINGS, ", of 1,024 bytes each"),
        ("commits in `haves` that count", MAX_HAVES, ""),
        ("entries of `warm` that count", MAX_SLOTS, ""),
    ];
    for (what, limit, unit) in rows {
        let row = format!("| {what} | {}{unit} |", with_commas(limit));
        assert!(DOCUMENT.contains(&row), "{row}");
    }
    assert!(DOCUMENT.contains(&format!("| a piece of an answer | about {} bytes |", with_commas(PIECE_BYTES))));
}

/// Formats a number as the document writes it.
fn with_commas(number: usize) -> String {
    let (thousands, rest) = (number / 1000, number % 1000);
    if thousands == 0 { rest.to_string() } else { format!("{},{rest:03}", with_commas(thousands)) }
}

/// The most that every field of a report may hold still fits behind a full piece.
#[test]
fn no_entry_of_an_answer_is_too_long_for_a_piece() {
    use super::limits::{
        MAX_BRANCH_BYTES, MAX_LINE_BYTES, MAX_REPORT_TEXT_BYTES, MAX_SENTENCE_BYTES, MAX_WARNINGS, PIECE_BYTES,
    };
    // A byte takes six in JSON if it is a control character.
    let texts = |bytes: usize| 6 * bytes;
    let build = texts(MAX_REPORT_TEXT_BYTES + 2 * MAX_BRANCH_BYTES + 2 * MAX_SENTENCE_BYTES) + 4096;
    // A job needs at most as many tasks as a commit has, and its runner executes as many attempts as it has slots.
    let entry = texts(MAX_REPORT_TEXT_BYTES) + 1024 * 125 + 4096;
    assert!(PIECE_BYTES + build + entry < MAX_LINE_BYTES);
    assert!(texts(MAX_WARNINGS * MAX_SENTENCE_BYTES) + PIECE_BYTES < MAX_LINE_BYTES);
}

proptest! {
    #[test]
    fn an_example_with_any_bytes_changed_is_a_message_or_an_error(
        example in 0_usize..1000,
        changes in prop::collection::vec((0_usize..1000, any::<u8>(), 0..3), 1..6),
    ) {
        let examples: Vec<_> = sections().into_iter().flat_map(|section| section.examples).collect();
        let mut line = examples[example % examples.len()].clone().into_bytes();
        for (at, byte, change) in changes {
            let at = at % line.len();
            match change {
                0 => line[at] = byte,
                1 => line.insert(at, byte),
                // A message is longer than there are changes.
                _ => drop(line.remove(at)),
            }
        }
        drop(codec::decode::<Opening>(&line));
        drop(codec::decode::<Greeting>(&line));
        drop(codec::decode::<FromObserver>(&line));
        drop(codec::decode::<ToObserver>(&line));
        drop(codec::decode::<FromRunner>(&line));
        drop(codec::decode::<ToRunner>(&line));
        drop(codec::decode::<FromOperator>(&line));
        drop(codec::decode::<ToOperator>(&line));
    }
}
