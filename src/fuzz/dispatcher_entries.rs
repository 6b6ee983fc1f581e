//! Messages about the tool cache of four attempts in any order, at the dispatcher: pieces with gaps, damage and wrong
//! announcements, questions, files that rot, commits and crashes. For the property test below and for the fuzzer.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crossbeam_channel::bounded;

use super::{Asker, Caches, EntryPiece, EntryQuestion, Serving, ToRunner, key_of};
use crate::blobs::{BlobStore, sum_of};
use crate::dispatcher::core::{CoreHandle, ToCore};
use crate::dispatcher::data_dir::LogPlace;
use crate::model::{
    AttemptId, BranchName, BuildId, BuildSource, CacheKey, CacheScope, CacheScopes, CommitId, ObservedRefs, RepoName,
    SessionId, StreamKind, TaskName, Trigger, Trust,
};
use crate::protocol::codec::decode;
use crate::protocol::tool_entries::EntryAnswer;
use crate::store::sqlite;
use crate::threads::{self, Thread};
use crate::transport::{Outbox, Stream};

/// The attempts: the branch and the trust of the build of each.
const ATTEMPTS: [(&str, Trust); 4] =
    [("main", Trust::Trusted), ("topic", Trust::Untrusted), ("topic", Trust::Trusted), ("main", Trust::Untrusted)];
/// Names of entries, of which the last two make no sense.
const NAMES: [(&str, &str); 4] = [("nx", "a"), ("ccache", "b/c"), ("nx", "a b"), ("N", "a")];
/// The most bytes of all caches, so many that none is removed for others. An eighth of it is the longest entry.
const LIMIT: u64 = 1_000_000;

/// Follows `steps`, four bytes each: an action, an attempt with a name, and two numbers. After each step every attempt
/// finds exactly the bytes that were kept under each name in the first of its scopes that has them, and nothing else is
/// in the directory.
///
/// # Panics
///
/// If an invariant is broken.
pub fn entry_messages(steps: &[u8]) {
    let place = tempfile::tempdir().expect("there is room for a directory");
    let mut stage = Stage::new(place.path());
    for step in steps.chunks_exact(4).take(100) {
        let [what, which, one, other] = [step[0], step[1], step[2], step[3]].map(usize::from);
        let (attempt, name, content) = (which % 4, which / 4 % 4, which / 16);
        match what % 8 {
            0 => stage.find(attempt, name, one * 16),
            // The next piece, of this length.
            1..=3 => stage.keep(attempt, (name, content), (0, one * 16 + other), None),
            // A gap or an overlap.
            4 => stage.keep(attempt, (name, content), (one as i64 - 128, other), None),
            5 => stage.keep(attempt, (name, content), (0, one * 16), Some(other)),
            6 => stage.rot(one, other),
            _ if other % 2 == 0 => stage.commit(),
            _ => stage.crash(),
        }
        stage.check();
    }
}

/// A scope of the repository, as a key of a map.
type ScopeName = (String, bool);

/// An entry that the dispatcher has.
struct Kept {
    bytes: Vec<u8>,
    headers: Vec<(String, String)>,
    by: AttemptId,
    is_committed: bool,
    is_rotten: bool,
}

/// The pieces of an attempt's entry that were taken so far.
struct Sent {
    first: EntryPiece,
    bytes: Vec<u8>,
    /// Whether there was an entry when it began, so that nothing is kept.
    was_there: bool,
}

/// A dispatcher's side of a session.
struct Running {
    serving: Serving,
    /// Stands for the core. It ends when `serving`, which is declared first, is gone.
    _core: Thread<()>,
}

struct Stage<'a> {
    place: &'a Path,
    /// `None` between two dispatchers.
    running: Option<Running>,
    contents: Vec<Vec<u8>>,
    kept: BTreeMap<(ScopeName, usize), Kept>,
    sent: [Option<Sent>; ATTEMPTS.len()],
}

impl<'a> Stage<'a> {
    fn new(place: &'a Path) -> Self {
        let contents = vec![
            Vec::new(),
            b"x".to_vec(),
            (0..3000_u32).map(|at| (at * at % 251) as u8).collect(),
            vec![7; LIMIT as usize / 8 + 1],
        ];
        Self { place, running: Some(Running::start(place)), contents, kept: BTreeMap::new(), sent: Default::default() }
    }

    fn serving(&mut self) -> &mut Serving {
        &mut self.running.as_mut().expect("one runs").serving
    }

    /// Sends the piece at this distance from the next one, of this length. One that is spoiled has another byte, or an
    /// announcement that is not true.
    fn keep(
        &mut self,
        attempt: usize,
        (name, content): (usize, usize),
        (distance, length): (i64, usize),
        spoiled: Option<usize>,
    ) {
        let bytes = &self.contents[content % self.contents.len()];
        let next = self.sent[attempt].as_ref().map_or(0, |sent| sent.bytes.len() as u64);
        let offset = next.saturating_add_signed(distance).min(bytes.len() as u64 + 5);
        let from = (offset as usize).min(bytes.len());
        let mut part = bytes[from..(from + length).min(bytes.len())].to_vec();
        let (tool, text) = NAMES[name];
        let mut piece = EntryPiece {
            attempt: attempt as u64,
            request: 3,
            tool: tool.to_owned(),
            name: text.to_owned(),
            blob: sum_of(bytes).to_string(),
            size: bytes.len() as u64,
            offset,
            headers: vec![("x-artifact-tag".to_owned(), content.to_string())],
            bytes: part.len() as u64,
        };
        match spoiled.map(|how| how % 6) {
            None => {}
            Some(0) => piece.size = piece.size.wrapping_add(1),
            Some(1) => piece.size = u64::MAX,
            Some(2) => piece.blob = sum_of(b"other").to_string(),
            Some(3) => piece.blob = "0g".repeat(32),
            Some(4) => piece.headers.push(("x".to_owned(), "a\r\nb: c".to_owned())),
            Some(_) => part.iter_mut().take(1).for_each(|byte| *byte ^= 0x55),
        }
        let (key, sent) = ((own_scope(attempt), name), self.sent[attempt].take());
        if self.serving().keep(asker(attempt), &piece, &part).is_err() {
            // The runner is told, and what came before it is forgotten.
            return;
        }
        assert!(name < 2, "the name makes no sense: {piece:?}");
        let begun = |first| Sent { first, bytes: Vec::new(), was_there: self.kept.contains_key(&key) };
        let mut sent = if piece.offset == 0 { begun(piece.clone()) } else { sent.expect("it had begun") };
        assert_eq!((sent.bytes.len() as u64, &sent.first.name), (piece.offset, &piece.name), "it is the next one");
        sent.bytes.extend(&part);
        let first = &sent.first;
        assert!(sent.bytes.len() as u64 <= first.size && first.size <= LIMIT / 8);
        if (sent.bytes.len() as u64) < first.size {
            self.sent[attempt] = Some(sent);
        } else if !sent.was_there {
            assert_eq!(sum_of(&sent.bytes).to_string(), first.blob, "it is taken only if it has its hash");
            // The first entry stays.
            self.kept.entry(key).or_insert(Kept {
                headers: first.headers.clone(),
                by: AttemptId(attempt as u64),
                bytes: sent.bytes,
                is_committed: false,
                is_rotten: false,
            });
        }
    }

    /// Asks for an entry from this offset on, and compares the answer.
    fn find(&mut self, attempt: usize, name: usize, offset: usize) {
        let (tool, text) = NAMES[name];
        let (tool, text) = (tool.to_owned(), text.to_owned());
        let question = EntryQuestion { attempt: 3, request: 4, tool, name: text, offset: offset as u64 };
        let found = self.serving().find(&asker(attempt), &question).map(|answer| {
            let line = answer.line.strip_suffix(b"\n").expect("it is a line");
            let Ok(ToRunner::Entry(told)) = decode(line) else { panic!("no answer: {line:?}") };
            assert_eq!((told.attempt, told.request, told.offset), (3, 4, offset as u64));
            (told, answer.payload)
        });
        let is_verified = offset == 0;
        for scope in read_scopes(attempt) {
            let key = (scope, name);
            // One that rotted is removed when it is verified, or when its length is another.
            if self.kept.get(&key).is_some_and(|kept| kept.is_rotten && (is_verified || !self.is_long_enough(&key))) {
                self.kept.remove(&key);
                continue;
            }
            let Some(kept) = self.kept.get(&key) else { continue };
            let (told, payload) = found.expect("it is there");
            is_told(&told, &key.0, kept);
            let due = kept.bytes.get(offset..).unwrap_or_default();
            assert_eq!((told.bytes, payload.len()), (due.len() as u64, due.len()));
            assert!(kept.is_rotten || payload == due, "other bytes of {key:?}");
            return;
        }
        assert!(found.is_none(), "nobody has kept it: {found:?}");
    }

    /// Whether the file of an entry has its length.
    fn is_long_enough(&self, (scope, name): &(ScopeName, usize)) -> bool {
        let found = fs::metadata(self.path(scope, *name)).map(|meta| meta.len());
        found.is_ok_and(|length| length == self.kept[&(scope.clone(), *name)].bytes.len() as u64)
    }

    /// Harms the file of an entry.
    fn rot(&mut self, which: usize, how: usize) {
        let count = self.kept.len().max(1);
        let Some((scope, name)) = self.kept.keys().nth(which % count).cloned() else { return };
        let path = self.path(&scope, name);
        let mut bytes = fs::read(&path).expect("it is there");
        let kind = how % 4;
        match (kind, bytes.is_empty()) {
            (0, _) => fs::remove_file(&path).expect("it is there"),
            (1, _) => bytes.push(1),
            (2, false) => drop(bytes.pop()),
            (_, false) => bytes[0] ^= 1,
            (_, true) => return,
        }
        if kind != 0 {
            fs::write(&path, bytes).expect("there is room");
        }
        self.kept.get_mut(&(scope, name)).expect("it was found").is_rotten = true;
        // Beyond the first piece nothing is verified but the length.
        (0..ATTEMPTS.len()).for_each(|attempt| self.find(attempt, name, 1 + which));
    }

    fn path(&self, scope: &ScopeName, name: usize) -> PathBuf {
        let digits = key(scope, name).to_string();
        self.place.join("tool-cache").join(&digits[..2]).join(&digits[2..])
    }

    fn commit(&mut self) {
        self.serving().caches.commit_tools().expect("the store is there");
        self.kept.values_mut().for_each(|kept| kept.is_committed = true);
    }

    /// Another dispatcher on the same files: what was not committed is lost.
    fn crash(&mut self) {
        // The store is locked until it is gone.
        drop(self.running.take());
        self.running = Some(Running::start(self.place));
        self.kept.retain(|_, kept| kept.is_committed);
        self.sent = Default::default();
        self.serving().caches.tidy().expect("the store is there");
    }

    /// Checks what each attempt finds, and the whole directory.
    fn check(&mut self) {
        for attempt in 0..ATTEMPTS.len() {
            (0..NAMES.len()).for_each(|name| self.find(attempt, name, 0));
        }
        let root = self.place.join("tool-cache");
        let mut left: Vec<PathBuf> = self.kept.keys().map(|(scope, name)| self.path(scope, *name)).collect();
        let mut new = 0;
        for directory in fs::read_dir(root).expect("it is there").flatten() {
            for file in fs::read_dir(directory.path()).expect("it is there").flatten() {
                match left.iter().position(|path| *path == file.path()) {
                    Some(at) => drop(left.swap_remove(at)),
                    None => new += usize::from(directory.file_name() == "new"),
                }
                let is_known = directory.file_name() == "new" || !left.contains(&file.path());
                assert!(is_known, "{file:?}");
            }
        }
        let arriving = self.sent.iter().flatten().filter(|sent| !sent.was_there).count();
        assert_eq!((left, new), (Vec::new(), arriving), "files of entries, and of those that arrive");
    }
}

impl Running {
    fn start(place: &Path) -> Self {
        let mut store = sqlite::open(&place.join("surveil.db")).expect("no other dispatcher has it");
        let readers = store.readers();
        let (core, inbox) = bounded::<ToCore>(1);
        let thread = threads::spawn("core", move || {
            while let Ok(message) = inbox.recv() {
                let ToCore::Store(change) = message else { panic!("entries change the store and nothing else") };
                change(&mut *store).expect("the disk is fine");
            }
        });
        let blobs = BlobStore::open(&place.join("blobs")).expect("there is room for a directory");
        let caches = Caches::open(readers, CoreHandle::new(core), blobs, place.join("tool-cache"), LIMIT);
        let caches = caches.expect("there is room for a directory");
        // Its answers are looked at before they would be sent.
        let outbox = Outbox::new(SessionId(1), Stream::pair().0).0.downgrade();
        let (waiting, is_over, arriving) = Default::default();
        let serving = Serving { caches, outbox, waiting, is_over, arriving };
        Self { serving, _core: thread.expect("there is room for a thread") }
    }
}

fn source(attempt: usize) -> BuildSource {
    let (branch, trust) = ATTEMPTS[attempt];
    let trigger = Trigger { trust, ..Trigger::push(&BranchName::new(branch), None, vec![]) };
    let commit = CommitId::from_bytes(&[7; 20]).expect("it has its length");
    BuildSource { repo: repo(), commit, trigger, subject: String::new(), author: String::new() }
}

fn repo() -> RepoName {
    RepoName::new("app").expect("it is a name")
}

pub(super) fn asker(attempt: usize) -> Asker {
    let task = TaskName::new("test").expect("it is a name");
    let place = LogPlace { repo: repo(), build: BuildId(2), task, number: 1, kind: StreamKind::Log };
    Asker { attempt: AttemptId(attempt as u64), source: Arc::new(source(attempt)), place }
}

fn scope_name(scope: &CacheScope) -> ScopeName {
    (scope.reference.to_string(), scope.trust == Trust::Trusted)
}

fn own_scope(attempt: usize) -> ScopeName {
    scope_name(&CacheScopes::own(&source(attempt).trigger))
}

fn read_scopes(attempt: usize) -> Vec<ScopeName> {
    CacheScopes::of(&source(attempt).trigger, &ObservedRefs::default()).read.iter().map(scope_name).collect()
}

fn key((reference, trusted): &ScopeName, name: usize) -> CacheKey {
    let (tool, text) = NAMES[name];
    let trust = if *trusted { Trust::Trusted } else { Trust::Untrusted };
    key_of(&repo(), &CacheScope { trust, reference: crate::model::RefName::new(reference) }, tool, text)
}

/// Checks what is told of an entry.
fn is_told(told: &EntryAnswer, (reference, trusted): &ScopeName, kept: &Kept) {
    let facts = told.found.as_ref().expect("it has bytes");
    assert_eq!((&facts.reference, facts.trusted), (reference, *trusted));
    assert_eq!((&facts.blob, facts.size), (&sum_of(&kept.bytes).to_string(), kept.bytes.len() as u64));
    assert_eq!((&facts.headers, facts.build, &*facts.task, facts.by), (&kept.headers, 2, "test", kept.by.0));
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(40))]

        #[test]
        fn no_order_of_messages_makes_an_entry_of_other_bytes(steps in prop::collection::vec(any::<u8>(), 0..240)) {
            entry_messages(&steps);
        }
    }

    #[test]
    fn entries_of_each_scope_are_kept_over_a_crash() {
        // Each attempt stores the content of 3,000 bytes in two pieces.
        let mut steps = Vec::new();
        for attempt in 0..4 {
            steps.extend([1, 2 * 16 + attempt, 125, 0, 1, 2 * 16 + attempt, 62, 8]);
        }
        steps.extend([7, 0, 0, 0, 7, 0, 0, 1, 6, 0, 1, 3, 1, 2 * 16, 255, 0]);
        entry_messages(&steps);
    }
}
