//! Fuzz entry point of the tier behind the disk tier: a dispatcher that answers questions about entries, and pieces of
//! entries, as it likes.

use std::fs;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, bounded, select};

use super::super::tiers::Tiers;
use super::super::tool::Tool;
use super::{Name, Rights, Sending, SharedTier};
use crate::blobs::{sum, sum_of};
use crate::model::{AttemptId, BlobId, CacheScope, RefName, Trust};
use crate::protocol::codec::decode;
use crate::protocol::limits::MAX_LINE_BYTES;
use crate::protocol::runner::{FromRunner, ToRunner};
use crate::protocol::tool_entries::{EntryAnswer, EntryFacts, EntryQuestion};
use crate::runner::bulk::BulkFrame;
use crate::runner::session::Session;
use crate::runner::tool_cache::entry::Bytes;
use crate::runner::translate::{Heard, hear};
use crate::threads;
use crate::transport::{Frame, FrameReader, Stream};

/// Entries that are asked for.
const ASKED: usize = 5;
/// Limit of the runner's disk tier. A quarter of it is the longest entry.
const LIMIT: u64 = 64 * 1024;
/// Longer than any wait for a dispatcher that answers, or goes away.
const PATIENCE: Duration = Duration::from_secs(60);

/// Answers as the bytes say: each question takes three of them, and each piece of an entry one. When none are left, the
/// session ends. An entry that the runner has then is one that the dispatcher announced, in a scope that the attempt
/// reads, with the bytes of its hash; a miss leaves nothing; and the runner counts what the dispatcher did not take.
///
/// # Panics
///
/// If an invariant is broken.
pub(crate) fn answered_by_dispatcher(bytes: &[u8]) {
    let (questions, pieces) = bytes.split_at(bytes.len() * 2 / 3);
    entries_are_asked_for(questions);
    entries_are_sent(pieces);
}

/// The contents of entries. The last but one is too long for the runner; the last one fills the first window of what is
/// sent.
fn contents() -> [Vec<u8>; 5] {
    let long = |length: u32| (0..length).map(|at| (at * at % 251) as u8).collect();
    [Vec::new(), b"short".to_vec(), long(3000), long(20_000), long(8192)]
}

fn scopes() -> [CacheScope; 3] {
    let topic = RefName::of_branch("topic");
    let own = CacheScope { trust: Trust::Untrusted, reference: topic.clone() };
    [own, CacheScope::trusted(topic), CacheScope::trusted(RefName::of_branch("main"))]
}

fn rights() -> Rights {
    let (repo, reads) = ("app".to_owned(), scopes().to_vec());
    Rights { repo, writes: reads[0].clone(), reads, build: 3, task: "test".to_owned(), attempt: 7 }
}

fn name(at: usize) -> Name {
    Name { tool: Tool::Turborepo, text: format!("v8/artifacts/{at}"), is_of_content: false }
}

/// An entry that was announced since the last look: its hash, its size and its scope.
type Announced = Arc<Mutex<Vec<(String, u64, String, bool)>>>;

fn entries_are_asked_for(script: &[u8]) {
    let place = tempfile::tempdir().expect("there is room for a directory");
    let tiers = Tiers::new(place.path().join("cache"), LIMIT, 0);
    tiers.disk.make().expect("there is room for a directory");
    let (here, there) = Stream::pair();
    let (session, _last_word, _pieces) = Session::over(here);
    tiers.current().set(Some(session.clone()));
    let (announced, script) = (Announced::default(), script.to_vec());
    let (told, mut reader) = (announced.clone(), FrameReader::new(there.clone()));
    let _answering = threads::spawn("dispatcher", move || {
        let mut steps = script.chunks_exact(3);
        while let Ok(Some(FromRunner::FindEntry(question))) = reader.read::<FromRunner>(MAX_LINE_BYTES) {
            match steps.next() {
                Some(step) => answer(&session, &question, [step[0], step[1], step[2]].map(usize::from), &told),
                None => session.entries.close(),
            }
        }
    });
    // Closed before the thread is joined, whatever fails.
    let _closing = Closing(there);
    let rights = rights();
    for at in 0..ASKED {
        let (name, before) = (name(at), files(place.path()));
        let found = SharedTier::fetch(&tiers.shared, &rights, &name, &tiers.disk);
        let announced = std::mem::take(&mut *threads::lock(&announced));
        let Some(found) = found else {
            assert_eq!(files(place.path()), before, "a miss leaves nothing");
            continue;
        };
        assert_eq!(files(place.path()), before + 1, "it is one entry");
        let scope = scopes().into_iter().find(|scope| rights.place(scope, &name) == found).expect("it may read that");
        let entry = tiers.disk.read(found).expect("it is there");
        let (blob, size) = match entry.bytes {
            Bytes::Small(bytes) => (sum_of(&bytes), bytes.len() as u64),
            Bytes::Large(file, length) => sum(std::io::Read::take(&file, length)).expect("it can be read"),
        };
        let is_it = (blob.to_string(), size, scope.reference.to_string(), scope.trust == Trust::Trusted);
        assert!(announced.contains(&is_it), "{is_it:?} of {announced:?}");
        let about = entry.about;
        assert_eq!((&*about.tool, &about.name, about.scope), ("turborepo", &name.text, scope.to_string()));
        let is_header = |(name, value): &(String, String)| name == "x-artifact-tag" && !value.contains(['\r', '\n']);
        assert!(about.headers.iter().all(is_header), "{:?}", about.headers);
    }
}

/// Closes a stream when it is dropped.
struct Closing(Stream);

impl Drop for Closing {
    fn drop(&mut self) {
        self.0.close();
    }
}

/// Returns the number of files in a runner's cache.
fn files(place: &std::path::Path) -> usize {
    let mut count = 0;
    let mut open = vec![place.to_owned()];
    while let Some(directory) = open.pop() {
        for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
            let path = entry.path();
            if path.is_dir() { open.push(path) } else { count += 1 }
        }
    }
    count
}

/// Answers a question: with a piece, as it should be or with something wrong, or with another message.
fn answer(session: &Session, question: &EntryQuestion, [what, one, other]: [usize; 3], announced: &Announced) {
    let contents = contents();
    let content = &contents[one % contents.len()];
    let from = usize::try_from(question.offset).map_or(content.len(), |offset| offset.min(content.len()));
    let mut bytes = content[from..content.len().min(from + 16 * other + 1)].to_vec();
    let scope = &scopes()[one / 5 % 3];
    let mut facts = EntryFacts {
        reference: scope.reference.to_string(),
        trusted: scope.trust == Trust::Trusted,
        blob: sum_of(content).to_string(),
        size: content.len() as u64,
        headers: vec![("x-artifact-tag".to_owned(), "t".to_owned()), ("set-cookie".to_owned(), "x".to_owned())],
        build: 2,
        task: "other".to_owned(),
        by: 5,
    };
    let mut told = EntryAnswer { offset: question.offset, ..missing(question) };
    match what % 16 {
        0 => return hears(session, &ToRunner::Entry(missing(question)), Vec::new()),
        1 => {
            let (attempt, request) = (question.attempt, question.request);
            return hears(session, &ToRunner::EntryAck { attempt, request, reason: None }, Vec::new());
        }
        2 => return session.entries.close(),
        14 => return hears(session, &ToRunner::Stale { attempt: question.attempt }, Vec::new()),
        3 => told.offset = told.offset.wrapping_add(other as u64).wrapping_sub(100),
        4 => bytes.iter_mut().take(1).for_each(|byte| *byte ^= 0x55),
        5 => bytes.push(1),
        6 => bytes.clear(),
        7 => facts.size = [0, 1, LIMIT, u64::MAX][other % 4],
        8 => facts.blob = ["", "zz", &BlobId([7; 32]).to_string(), &"é".repeat(32)][other % 4].to_owned(),
        9 => (facts.reference, facts.trusted) = ("refs/heads/other".to_owned(), other % 2 == 0),
        10 => facts.trusted = !facts.trusted,
        11 => facts.headers = vec![("x-artifact-tag".to_owned(), "a\r\nb: c".to_owned()); other],
        // An answer that nobody asked for comes before.
        12 => hears(session, &ToRunner::Entry(EntryAnswer { request: other as u64, ..missing(question) }), Vec::new()),
        _ => {}
    }
    let reference = facts.reference.clone();
    threads::lock(announced).push((facts.blob.clone(), facts.size, reference, facts.trusted));
    (told.bytes, told.found) = (bytes.len() as u64, Some(facts));
    hears(session, &ToRunner::Entry(told), bytes);
}

fn missing(question: &EntryQuestion) -> EntryAnswer {
    let EntryQuestion { attempt, request, .. } = *question;
    EntryAnswer { attempt, request, found: None, offset: 0, bytes: 0 }
}

/// Has a session hear a message, as it comes over a connection.
fn hears(session: &Session, message: &ToRunner, payload: Vec<u8>) {
    let Frame { line, payload, .. } = Frame::with_payload(message, payload);
    let (here, there) = Stream::pair();
    crate::fuzz::transport::write_and_end(&here, &[&line[..], &payload].concat());
    match hear(&mut FrameReader::new(there)) {
        Ok(Some(Heard::Entry { request, answer })) => session.entries.deliver(request, answer),
        Ok(Some(Heard::Fenced(attempt))) => session.entries.end(attempt),
        Ok(_) | Err(_) => {}
    }
}

/// The entry that is sent under a name, as the dispatcher sees it.
#[derive(Default)]
struct Taken {
    bytes: Vec<u8>,
    /// Pieces that were answered, and those that came.
    answered: usize,
    pieces: usize,
    is_refused: bool,
}

fn entries_are_sent(script: &[u8]) {
    let place = tempfile::tempdir().expect("there is room for a directory");
    let tiers = Arc::new(Tiers::new(place.path().join("cache"), 1 << 20, 0));
    tiers.disk.make().expect("there is room for a directory");
    let (session, _last_word, pieces) = Session::over(Stream::pair().0);
    tiers.current().set(Some(session.clone()));
    let (stop, stopped) = bounded(0);
    let script = script.to_vec();
    let taking = threads::spawn("dispatcher", move || take(&session, &pieces, &stopped, &script));
    // Dropped before the thread is joined, whatever fails.
    let stop: Sender<()> = stop;
    let (rights, contents) = (rights(), contents());
    let sending = Sending::start(tiers.clone(), AttemptId(7)).expect("there is room for a thread");
    // The last one first: others wait behind it for room in the window.
    for (at, content) in contents.iter().enumerate().rev() {
        let (name, mut new) = (name(at), tiers.disk.begin().expect("there is room"));
        new.take(content).expect("there is room");
        let place = rights.place(&rights.writes, &name);
        tiers.disk.keep(new, place, &rights.about(&name, Vec::new())).expect("there is room");
        sending.send(place, &name);
    }
    sending.finish(PATIENCE);
    drop(stop);
    let taken = taking.expect("there is room for a thread").join().expect("it checks what came");
    let mut complete = 0;
    for (at, content) in contents.iter().enumerate() {
        let Some((_, taken)) = taken.iter().find(|(text, _)| *text == name(at).text) else { continue };
        assert!(content.starts_with(&taken.bytes), "other bytes of entry {at}");
        let is_whole = taken.bytes.len() == content.len() && taken.pieces > 0;
        complete += u64::from(is_whole && taken.answered == taken.pieces && !taken.is_refused);
    }
    assert_eq!(sending.unsent(), contents.len() as u64 - complete, "all others are counted");
}

/// Takes pieces, and answers each as the next byte says, until the session or the lease ends.
fn take(
    session: &Session,
    pieces: &Receiver<BulkFrame>,
    stopped: &Receiver<()>,
    script: &[u8],
) -> Vec<(String, Taken)> {
    let (mut taken, mut script, mut is_over) = (Vec::<(String, Taken)>::new(), script.iter(), false);
    loop {
        let frame = select! {
            recv(pieces) -> frame => frame.expect("the session is there").frame,
            recv(stopped) -> _ => return taken,
        };
        let line = frame.line.strip_suffix(b"\n").expect("it is a line");
        let Ok(FromRunner::KeepEntry(piece)) = decode(line) else { panic!("no entry: {line:?}") };
        if !taken.iter().any(|(name, _)| *name == piece.name) {
            taken.push((piece.name.clone(), Taken::default()));
        }
        let (_, entry) = taken.last_mut().expect("there is one");
        assert_eq!(piece.offset, entry.bytes.len() as u64, "it is the next piece");
        assert_eq!(piece.bytes, frame.payload.len() as u64);
        entry.bytes.extend(frame.payload);
        entry.pieces += 1;
        let (attempt, request) = (piece.attempt, piece.request);
        let reason = match script.next().map_or(7, |byte| byte % 8) {
            5 => Some("it is full".to_owned()),
            6 => {
                hears(session, &ToRunner::Stale { attempt }, Vec::new());
                is_over = true;
                None
            }
            7 => {
                session.entries.close();
                is_over = true;
                None
            }
            _ => None,
        };
        if !is_over {
            entry.answered += 1;
            entry.is_refused |= reason.is_some();
            hears(session, &ToRunner::EntryAck { attempt, request, reason }, Vec::new());
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(60))]

        #[test]
        fn whatever_a_dispatcher_answers_no_entry_has_other_bytes(bytes in prop::collection::vec(any::<u8>(), 0..90)) {
            answered_by_dispatcher(&bytes);
        }
    }
}
