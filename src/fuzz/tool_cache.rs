//! Fuzz entry points of the tool cache: what a client sends, and what Go says to its helper.

use std::cell::RefCell;
use std::io::{self, Read, Write};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use super::connection::{Counts, Service};
use super::link::Link;
use super::rights::Rights;
use super::serve_go;
use super::shared::Sending;
pub(crate) use super::shared::fuzz::answered_by_dispatcher;
use super::tiers::Tiers;
use crate::model::{AttemptId, CacheScope, RefName};

/// The path of the attempt, so that seeds can name it.
const SECRET: &str = "s";

/// A connection of which everything that the client sends is there, in pieces of this length.
struct Recorded<'a> {
    left: &'a [u8],
    piece: usize,
    /// A list for each request.
    sent: Rc<RefCell<Vec<Vec<u8>>>>,
}

impl Read for Recorded<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.piece.min(self.left.len()).min(buffer.len());
        let (part, left) = self.left.split_at(count);
        buffer[..count].copy_from_slice(part);
        self.left = left;
        Ok(count)
    }
}

impl Write for Recorded<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.sent.borrow_mut().last_mut().expect("there is one").extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Link for Recorded<'_> {
    fn allow(&mut self, _: Option<Duration>) -> io::Result<()> {
        Ok(())
    }
}

/// Serves what a client sends. The answers are whole, and do not depend on the pieces in which the requests arrive.
///
/// # Panics
///
/// If an invariant is broken.
pub(crate) fn sent_by_client(bytes: &[u8]) {
    let whole = answers(bytes, usize::MAX);
    assert_eq!(whole, answers(bytes, 13), "it depends on how the bytes arrive");
    whole.iter().for_each(|answer| check(answer));
}

/// Checks the bytes with which one request was answered.
fn check(mut answer: &[u8]) {
    while !answer.is_empty() {
        let mut headers = [httparse::EMPTY_HEADER; 16];
        let mut read = httparse::Response::new(&mut headers);
        let head = read.parse(answer).expect("an answer can be read").unwrap();
        let status = read.code.expect("it has a status");
        answer = &answer[head..];
        if status != 100 {
            assert!([200, 201, 207, 400, 404, 413].contains(&status), "no error of a server: {status}");
            let length = read.headers.iter().find(|header| header.name == "Content-Length").expect("it has a length");
            // That to HEAD has no body.
            let wanted = str::from_utf8(length.value).ok().and_then(|text| text.parse().ok());
            assert!(answer.is_empty() || Some(answer.len()) == wanted, "{wanted:?}");
            return;
        }
    }
}

/// Returns what each request is answered with.
fn answers(bytes: &[u8], piece: usize) -> Vec<Vec<u8>> {
    let place = tempfile::tempdir().expect("there is room for a directory");
    let tiers = Arc::new(Tiers::new(place.path().join("cache"), 64 * 1024, 0));
    tiers.disk.make().expect("there is room for a directory");
    let sending = Sending::start(tiers.clone(), AttemptId(1)).expect("there is room for a thread");
    let scope = CacheScope::trusted(RefName::of_branch("main"));
    let (repo, task, reads) = ("app".to_owned(), "test".to_owned(), vec![scope.clone()]);
    let rights = Rights { repo, reads, writes: scope, build: 1, task, attempt: 1 };
    let counts = Counts::default();
    let service = Service { secret: SECRET, rights: &rights, tiers: &tiers, sending: &sending, counts: &counts };
    let sent = Rc::new(RefCell::new(vec![Vec::new()]));
    let mut link = Recorded { left: bytes, piece, sent: sent.clone() };
    let mut next = |is_waiting| {
        if is_waiting {
            sent.borrow_mut().push(Vec::new());
        }
    };
    // An error is the end of this connection.
    drop(service.serve(&mut link, &mut next));
    drop(link);
    sent.take()
}

/// Serves what Go, or another program, says to the helper. Each answer is a line.
///
/// # Panics
///
/// If an invariant is broken.
pub(crate) fn said_by_go(bytes: &[u8]) {
    let place = tempfile::tempdir().expect("there is room for a directory");
    let mut tell = |line: &[u8]| {
        let value: serde_json::Value = serde_json::from_slice(line).expect("an answer is JSON");
        assert!(line.ends_with(b"\n") && value.get("ID").is_some(), "{value}");
        Ok(())
    };
    // An error ends the helper, and Go with it.
    drop(serve_go(None, place.path(), &mut { bytes }, &mut tell));
    for entry in std::fs::read_dir(place.path()).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        let action = name.split('-').next().unwrap_or_default();
        assert!(!action.is_empty() && action.bytes().all(|byte| byte.is_ascii_hexdigit()), "{name}");
    }
}
