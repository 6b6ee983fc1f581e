//! The tier behind the disk tier, with a dispatcher that a test plays.

use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::{Receiver, unbounded};

use super::{MIB, Place, rights, scope};
use crate::blobs::sum_of;
use crate::model::{AttemptId, BlobId, Trust};
use crate::protocol::codec::decode;
use crate::protocol::limits::MAX_LINE_BYTES;
use crate::protocol::runner::FromRunner;
use crate::protocol::tool_entries::{EntryPiece, EntryQuestion};
use crate::runner::bulk::BulkFrame;
use crate::runner::entry_routes::{EntryAnswer, EntryFacts};
use crate::runner::session::Session;
use crate::runner::tool_cache::entry::Bytes;
use crate::runner::tool_cache::rights::Rights;
use crate::runner::tool_cache::shared::Sending;
use crate::runner::tool_cache::tiers::Tiers;
use crate::runner::tool_cache::tool::{Name, Tool};
use crate::threads::{self, Thread};
use crate::transport::{FrameReader, LastWord, Stream};

/// Longer than any wait of these tests.
const PATIENCE: Duration = Duration::from_secs(30);

/// The dispatcher's side of a session.
struct Dispatcher {
    session: Arc<Session>,
    pieces: Receiver<BulkFrame>,
    /// The questions that came, in order.
    questions: Receiver<EntryQuestion>,
    stream: Stream,
    _reading: Thread<()>,
    _last_word: LastWord,
}

impl Drop for Dispatcher {
    fn drop(&mut self) {
        self.stream.close();
    }
}

impl Dispatcher {
    /// A session of these tiers, each question of which is answered so; `None` is no answer.
    fn of(tiers: &Tiers, answer: impl Fn(&Session, &EntryQuestion) -> Option<EntryAnswer> + Send + 'static) -> Self {
        let (here, there) = Stream::pair();
        let (session, last_word, pieces) = Session::over(here);
        let (to_test, questions) = unbounded();
        let answering = session.clone();
        let mut reader = FrameReader::new(there.clone());
        let reading = threads::spawn("dispatcher", move || {
            while let Ok(Some(message)) = reader.read::<FromRunner>(MAX_LINE_BYTES) {
                let FromRunner::FindEntry(question) = message else { panic!("{message:?}") };
                to_test.send(question.clone()).unwrap();
                if let Some(answer) = answer(&answering, &question) {
                    answering.entries.deliver(question.request, answer);
                }
            }
        });
        tiers.current().set(Some(session.clone()));
        Self { session, pieces, questions, stream: there, _reading: reading.unwrap(), _last_word: last_word }
    }

    /// Takes the next piece of an entry that is sent, and answers it so.
    fn take(&self, reason: Option<&str>) -> (EntryPiece, Vec<u8>) {
        let frame = self.pieces.recv_timeout(PATIENCE).unwrap().frame;
        let line = frame.line.strip_suffix(b"\n").unwrap();
        let FromRunner::KeepEntry(piece) = decode(line).unwrap() else { panic!("no entry") };
        self.session.entries.deliver(piece.request, EntryAnswer::Taken { reason: reason.map(str::to_owned) });
        (piece, frame.payload)
    }
}

fn name(text: &str) -> Name {
    Name { tool: Tool::Turborepo, text: text.into(), is_of_content: false }
}

fn facts(content: &[u8]) -> EntryFacts {
    EntryFacts {
        scope: scope(Trust::Trusted, "main"),
        blob: sum_of(content),
        size: content.len() as u64,
        headers: vec![("x-artifact-tag".into(), "t".into()), ("set-cookie".into(), "x".into())],
        build: 2,
        task: "other".into(),
        by: 5,
    }
}

/// A piece of so many bytes of this content.
fn piece(facts: EntryFacts, content: &[u8], offset: u64, length: usize) -> Option<EntryAnswer> {
    let from = usize::try_from(offset).unwrap();
    let bytes = content[from..content.len().min(from + length)].to_vec();
    Some(EntryAnswer::Piece { facts: Box::new(facts), offset, bytes })
}

fn content() -> Vec<u8> {
    (0..600_000_u64).map(|at| (at * at % 251) as u8).collect()
}

#[test]
fn an_entry_of_the_dispatcher_comes_in_pieces_and_is_on_the_disk_from_then_on() {
    let place = Place::new();
    let tiers = place.disk(16 * MIB);
    tiers.disk.make().unwrap();
    let dispatcher = Dispatcher::of(&tiers, |_, asked| piece(facts(&content()), &content(), asked.offset, 250_000));
    let own = rights(&[scope(Trust::Untrusted, "topic"), scope(Trust::Trusted, "main")]);
    let found = tiers.shared.fetch(&own, &name("a"), &tiers.disk).unwrap();
    assert_eq!(found, own.place(&scope(Trust::Trusted, "main"), &name("a")), "it is in the scope of its writer");
    let entry = tiers.disk.read(found).unwrap();
    let Bytes::Large(file, length) = entry.bytes else { panic!("it is long") };
    assert_eq!((sum_of(&content()), length), (crate::blobs::sum(io_take(&file, length)).unwrap().0, 600_000));
    let about = entry.about;
    assert_eq!((about.build, &*about.task, about.attempt, &*about.scope), (2, "other", 5, "main"));
    assert_eq!(about.headers, [("x-artifact-tag".to_owned(), "t".to_owned())], "no others reach a tool");
    let asked: Vec<EntryQuestion> = dispatcher.questions.try_iter().collect();
    assert_eq!(asked.iter().map(|asked| asked.offset).collect::<Vec<_>>(), [0, 250_000, 500_000]);
    assert_eq!((asked[0].attempt, &*asked[0].tool, &*asked[0].name), (7, "turborepo", "a"));
}

fn io_take(file: &std::fs::File, length: u64) -> impl std::io::Read {
    std::io::Read::take(file, length)
}

/// S43, S46: whatever the dispatcher says, nothing but the named bytes of a scope that the attempt reads is served.
#[test]
fn what_is_not_the_entry_or_not_for_the_attempt_is_a_miss() {
    type Answer = fn(&Session, &EntryQuestion) -> Option<EntryAnswer>;
    let answers: [Answer; 9] = [
        |_, _| Some(EntryAnswer::Missing),
        |_, _| Some(EntryAnswer::Taken { reason: None }),
        |_, asked| piece(EntryFacts { blob: BlobId([7; 32]), ..facts(b"good") }, b"good", asked.offset, 4),
        |_, asked| {
            piece(EntryFacts { scope: scope(Trust::Untrusted, "main"), ..facts(b"good") }, b"good", asked.offset, 4)
        },
        |_, asked| piece(EntryFacts { size: 1 << 40, ..facts(b"good") }, b"good", asked.offset, 4),
        |_, asked| piece(EntryFacts { size: 3, ..facts(b"good") }, b"good", asked.offset, 4),
        |_, asked| piece(facts(b"good"), b"good", asked.offset, 0),
        |_, _| piece(facts(b"good"), b"good", 1, 3),
        |_, asked| {
            let first = asked.offset == 0;
            piece(
                if first { facts(b"good") } else { facts(b"evil") },
                if first { b"good" } else { b"evil" },
                asked.offset,
                2,
            )
        },
    ];
    for (at, answer) in answers.into_iter().enumerate() {
        let place = Place::new();
        let tiers = place.disk(MIB);
        tiers.disk.make().unwrap();
        let _dispatcher = Dispatcher::of(&tiers, answer);
        let own = rights(&[scope(Trust::Trusted, "main")]);
        assert!(tiers.shared.fetch(&own, &name("a"), &tiers.disk).is_none(), "answer {at}");
        assert_eq!(place.files(), [] as [std::path::PathBuf; 0], "answer {at}");
    }
}

#[test]
fn a_silent_dispatcher_is_asked_once_and_one_that_goes_away_is_a_miss_at_once() {
    let place = Place::new();
    let tiers = place.disk(MIB);
    tiers.disk.make().unwrap();
    let own = rights(&[scope(Trust::Trusted, "main")]);
    let fetch = |text: &str| tiers.shared.fetch(&own, &name(text), &tiers.disk);
    assert!(fetch("a").is_none(), "there is no session");
    let leaving = Dispatcher::of(&tiers, |session, _| {
        session.entries.close();
        None
    });
    assert!(fetch("a").is_none() && fetch("b").is_none());
    drop(leaving);
    let back = Dispatcher::of(&tiers, |_, _| Some(EntryAnswer::Missing));
    assert!(fetch("a").is_none());
    assert_eq!(back.questions.len(), 1, "it was not silent, and is asked");
    let silent = Dispatcher::of(&tiers, |_, _| None);
    (0..500).for_each(|at| assert!(fetch(&at.to_string()).is_none()));
    assert!((1..=3).contains(&silent.questions.len()), "{}", silent.questions.len());
}

/// `stale` names no request: each question of the attempt is a miss at once, and questions of others go on.
#[test]
fn an_attempt_that_has_lost_its_lease_keeps_no_other_from_the_dispatcher() {
    let place = Place::new();
    let tiers = place.disk(MIB);
    tiers.disk.make().unwrap();
    let dispatcher = Dispatcher::of(&tiers, |session, asked| match asked.attempt {
        7 => {
            session.entries.end(AttemptId(7));
            None
        }
        _ => piece(facts(b"good"), b"good", asked.offset, 4),
    });
    let lost = rights(&[scope(Trust::Trusted, "main")]);
    let other = Rights { attempt: 8, ..rights(&[scope(Trust::Trusted, "main")]) };
    for text in ["a", "b"] {
        assert!(tiers.shared.fetch(&lost, &name(text), &tiers.disk).is_none());
        assert!(tiers.shared.fetch(&other, &name(text), &tiers.disk).is_some());
    }
    assert_eq!(dispatcher.questions.len(), 4, "no question was held back");

    // Nor do the entries that it stored: they are counted, and no further one is sent.
    let keep = |text: &str| {
        let (name, mut new) = (name(text), tiers.disk.begin().unwrap());
        new.take(b"x").unwrap();
        let place = lost.place(&lost.writes, &name);
        assert!(tiers.disk.keep(new, place, &lost.about(&name, Vec::new())).unwrap());
        (place, name)
    };
    let sending = Sending::start(tiers.clone(), AttemptId(7)).unwrap();
    let (first, second) = (keep("c"), keep("d"));
    sending.send(first.0, &first.1);
    drop(dispatcher.pieces.recv_timeout(PATIENCE).unwrap());
    dispatcher.session.entries.end(AttemptId(7));
    sending.send(second.0, &second.1);
    sending.finish(PATIENCE);
    assert_eq!(sending.unsent(), 2);
    assert!(tiers.shared.fetch(&other, &name("e"), &tiers.disk).is_some());
}

#[test]
fn what_tools_store_is_sent_in_the_background_and_what_is_not_taken_is_counted() {
    let place = Place::new();
    let tiers = place.disk(16 * MIB);
    tiers.disk.make().unwrap();
    let dispatcher = Dispatcher::of(&tiers, |_, _| None);
    let own = rights(&[scope(Trust::Trusted, "main")]);
    let sending = Sending::start(tiers.clone(), AttemptId(7)).unwrap();
    let store = |text: &str, content: &[u8]| {
        let (name, mut new) = (name(text), tiers.disk.begin().unwrap());
        new.take(content).unwrap();
        let place = own.place(&own.writes, &name);
        let about = own.about(&name, vec![("x-artifact-tag".into(), "t".into())]);
        assert!(tiers.disk.keep(new, place, &about).unwrap());
        sending.send(place, &name);
    };
    store("long", &content());
    let mut received = Vec::new();
    let first = loop {
        let (piece, bytes) = dispatcher.take(None);
        assert_eq!((piece.offset, piece.bytes), (received.len() as u64, bytes.len() as u64));
        received.extend(bytes);
        if received.len() as u64 == piece.size {
            break piece;
        }
    };
    assert_eq!((received == content(), first.blob), (true, sum_of(&content()).to_string()));
    assert_eq!((first.attempt, &*first.tool, &*first.name), (7, "turborepo", "long"));
    assert_eq!(first.headers, [("x-artifact-tag".to_owned(), "t".to_owned())]);
    store("empty", b"");
    assert_eq!(dispatcher.take(Some("it is full")).0.name, "empty");
    store("odd name", b"x");
    store("last", b"x");
    assert_eq!(dispatcher.take(None).0.name, "last");
    sending.finish(PATIENCE);
    assert_eq!(sending.unsent(), 1);
    assert!(dispatcher.pieces.is_empty());

    // One that goes away leaves what waits behind, and its end is waited for by nobody.
    let sending = Sending::start(tiers.clone(), AttemptId(7)).unwrap();
    tiers.current().set(None);
    let place = own.place(&own.writes, &name("last"));
    (0..3).for_each(|_| sending.send(place, &name("last")));
    sending.finish(PATIENCE);
    assert_eq!(sending.unsent(), 3);
}

/// Found by fuzzing: an entry for which there was no room yet was lost without being counted.
#[test]
fn an_entry_that_waits_for_room_when_the_session_ends_is_counted() {
    let place = Place::new();
    let tiers = place.disk(MIB);
    tiers.disk.make().unwrap();
    let dispatcher = Dispatcher::of(&tiers, |_, _| None);
    let own = rights(&[scope(Trust::Trusted, "main")]);
    let sending = Sending::start(tiers.clone(), AttemptId(7)).unwrap();
    let keep = |text: &str, content: &[u8]| {
        let (name, mut new) = (name(text), tiers.disk.begin().unwrap());
        new.take(content).unwrap();
        let place = own.place(&own.writes, &name);
        assert!(tiers.disk.keep(new, place, &own.about(&name, Vec::new())).unwrap());
        (place, name)
    };
    // The first two fill the window.
    let kept = [("a", &[7; 4096][..]), ("b", &[8; 4096]), ("c", b"x")].map(|(text, content)| keep(text, content));
    kept.iter().for_each(|(place, name)| sending.send(*place, name));
    (0..2).for_each(|_| drop(dispatcher.pieces.recv_timeout(PATIENCE).unwrap()));
    dispatcher.session.entries.close();
    sending.finish(PATIENCE);
    assert_eq!(sending.unsent(), 3);
}
