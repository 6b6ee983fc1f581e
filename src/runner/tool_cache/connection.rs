//! One connection of a client: requests are read and answered until it ends. A request that is not understood, or not
//! complete in time, ends it; nothing that a client sends concerns another one.

use std::io::{self, Write};
use std::sync::atomic::{AtomicU64, Ordering};

use sha2::{Digest, Sha256};

use super::body::{Body, Buffer};
use super::entry::{Bytes, Entry, copy};
use super::head::{BodyLength, Head, Reading};
use super::limits::{HEAD_BYTES, HEAD_TIME};
use super::link::Link;
use super::rights::Rights;
use super::shared::Sending;
use super::tiers::Tiers;
use super::tool::{Asked, Name, Status, asked};

/// Counts of what was asked of a tool cache so far.
#[derive(Debug, Default)]
pub(super) struct Counts {
    pub(super) reads: AtomicU64,
    pub(super) hits: AtomicU64,
    /// Hits of entries that came from the dispatcher.
    pub(super) fetched: AtomicU64,
    pub(super) stored: AtomicU64,
    pub(super) stored_bytes: AtomicU64,
    pub(super) not_stored: AtomicU64,
}

impl Counts {
    fn add(count: &AtomicU64, more: u64) {
        count.fetch_add(more, Ordering::Relaxed);
    }
}

/// The attempt's side of all its connections.
#[derive(Debug)]
pub(super) struct Service<'a> {
    /// The first part of every path.
    pub(super) secret: &'a str,
    pub(super) rights: &'a Rights,
    pub(super) tiers: &'a Tiers,
    /// Takes entries to send to the dispatcher.
    pub(super) sending: &'a Sending,
    pub(super) counts: &'a Counts,
}

/// The answer to a request, but for the bytes of a long entry.
struct Answer {
    status: Status,
    headers: Vec<(String, String)>,
    content_type: &'static str,
    body: Bytes,
    /// Whether the body is left out, as in an answer to `HEAD`.
    is_bare: bool,
}

impl Answer {
    fn of(status: Status) -> Self {
        Self::with(status, "text/plain", Vec::new())
    }

    fn with(status: Status, content_type: &'static str, body: Vec<u8>) -> Self {
        Self { status, headers: Vec::new(), content_type, body: Bytes::Small(body), is_bare: false }
    }

    fn write(&self, keeps_alive: bool, to: &mut impl Write) -> io::Result<()> {
        let (status, length) = (self.status.line(), self.body.len());
        let mut out = Vec::with_capacity(256 + if let Bytes::Small(bytes) = &self.body { bytes.len() } else { 0 });
        let connection = if keeps_alive { "keep-alive" } else { "close" };
        write!(out, "HTTP/1.1 {status}\r\nContent-Length: {length}\r\nConnection: {connection}\r\n")?;
        if length > 0 {
            write!(out, "Content-Type: {}\r\n", self.content_type)?;
        }
        for (name, value) in &self.headers {
            write!(out, "{name}: {value}\r\n")?;
        }
        out.extend_from_slice(b"\r\n");
        match &self.body {
            _ if self.is_bare => to.write_all(&out),
            Bytes::Small(bytes) => {
                out.extend_from_slice(bytes);
                to.write_all(&out)
            }
            Bytes::Large(file, length) => {
                to.write_all(&out)?;
                copy(file, *length, to)
            }
        }
    }
}

impl Service<'_> {
    /// Serves a connection to its end. `is_waiting` is called with true before it waits for a request, and with false
    /// when it has one.
    pub(super) fn serve(&self, link: &mut impl Link, is_waiting: &mut dyn FnMut(bool)) -> io::Result<()> {
        let mut buffer = Buffer::default();
        loop {
            is_waiting(true);
            let Some(head) = read_head(link, &mut buffer)? else { return Ok(()) };
            is_waiting(false);
            let Some(head) = head else {
                return Answer::of(Status::BadRequest).write(false, link);
            };
            if head.expects_continue && head.body != BodyLength::Bytes(0) {
                link.write_all(b"HTTP/1.1 100 Continue\r\n\r\n")?;
            }
            let answer = self.answer(&head, &mut Body::new(head.body, link, &mut buffer))?;
            answer.write(head.keeps_alive, link)?;
            if !head.keeps_alive {
                return Ok(());
            }
            link.allow(None)?;
        }
    }

    /// Answers a request whose body is read to its end.
    fn answer(&self, head: &Head, body: &mut Body<'_, impl Link>) -> io::Result<Answer> {
        let asked = asked(&head.method, &head.target, self.secret);
        if let Asked::Write(name) = &asked {
            return self.write(name, head, body);
        }
        body.skip()?;
        Ok(match asked {
            Asked::Read(name) => self.read(&name),
            Asked::Look(name) => match self.find(&name) {
                Some(entry) => Answer { is_bare: true, ..answer_of(entry) },
                None => Answer::of(Status::NotFound),
            },
            Asked::Properties(name) => match self.find(&name) {
                Some(entry) => properties(&head.target, Some(entry.bytes.len())),
                None => Answer::of(Status::NotFound),
            },
            Asked::DirectoryProperties => properties(&head.target, None),
            Asked::MakeDirectory => Answer::of(Status::Created),
            Asked::Told(text) => Answer::with(Status::Ok, "application/json", text.into()),
            Asked::Nothing | Asked::Write(_) => Answer::of(Status::NotFound),
        })
    }

    fn find(&self, name: &Name) -> Option<Entry> {
        let Tiers { disk, shared } = self.tiers;
        let mut places = self.rights.reads.iter().map(|scope| self.rights.place(scope, name));
        places.find_map(|place| disk.read(place)).or_else(|| {
            let fetched = disk.read(shared.fetch(self.rights, name, disk)?)?;
            Counts::add(&self.counts.fetched, 1);
            Some(fetched)
        })
    }

    fn read(&self, name: &Name) -> Answer {
        Counts::add(&self.counts.reads, 1);
        let Some(entry) = self.find(name) else { return Answer::of(Status::NotFound) };
        Counts::add(&self.counts.hits, 1);
        answer_of(entry)
    }

    /// Keeps a body. Whatever stands against that is no error for the client, whose bytes are read in any case.
    fn write(&self, name: &Name, head: &Head, body: &mut Body<'_, impl Link>) -> io::Result<Answer> {
        let place = self.rights.place(&self.rights.writes, name);
        let disk = &self.tiers.disk;
        if disk.has(place) {
            body.skip()?;
            return Ok(Answer::of(Status::Ok));
        }
        let fits = body.announced() <= disk.longest();
        let begun = if fits { disk.begin() } else { Err(io::ErrorKind::FileTooLarge.into()) };
        let mut hasher = name.is_of_content.then(Sha256::new);
        let (mut bytes, mut failure) = (0_u64, None);
        let mut new = begun.map_err(|error| failure = Some(error)).ok();
        loop {
            if new.is_none() {
                body.skip()?;
                break;
            }
            let mut take = |part: &[u8]| {
                bytes += part.len() as u64;
                if let Some(hasher) = &mut hasher {
                    hasher.update(part);
                }
                if let Some(Err(error)) = new.as_mut().map(|new| new.take(part)) {
                    (failure, new) = (Some(error), None);
                }
                Ok(())
            };
            if !body.next(&mut take)? {
                break;
            }
        }
        if let (Some(hasher), Some(_)) = (hasher, &new)
            && !name.text.ends_with(&hex(&hasher.finalize()))
        {
            Counts::add(&self.counts.not_stored, 1);
            return Ok(Answer::of(Status::BadRequest));
        }
        let kept = name.tool.kept_headers();
        let headers = head.extra.iter().filter(|(name, _)| kept.contains(&&**name)).cloned().collect();
        let stored = match (new, failure) {
            (Some(new), _) => disk.keep(new, place, &self.rights.about(name, headers)),
            (None, failure) => Err(failure.unwrap_or_else(|| io::ErrorKind::Other.into())),
        };
        match stored {
            Ok(is_first) => {
                if is_first {
                    self.sending.send(place, name);
                    Counts::add(&self.counts.stored, 1);
                    Counts::add(&self.counts.stored_bytes, bytes);
                }
                Ok(Answer::of(Status::Ok))
            }
            Err(error) => {
                log::debug!("an entry of {} was not stored in the tool cache: {error}", name.tool.word());
                Counts::add(&self.counts.not_stored, 1);
                Ok(Answer::of(name.tool.not_kept()))
            }
        }
    }
}

/// Reads the head of the next request. Returns `None` at the end of the connection, and `Some(None)` for a request that
/// is not understood.
fn read_head(link: &mut impl Link, buffer: &mut Buffer) -> io::Result<Option<Option<Head>>> {
    // A client may wait between two requests as long as it likes; once it has begun one, it must go on.
    let mut is_timed = false;
    loop {
        let rest = buffer.rest();
        if !rest.is_empty() {
            match Head::read(&rest[..rest.len().min(HEAD_BYTES)]) {
                Reading::Whole(head, length) => {
                    buffer.consume(length);
                    return Ok(Some(Some(*head)));
                }
                Reading::Partial if rest.len() < HEAD_BYTES => {}
                Reading::Partial | Reading::Wrong => return Ok(Some(None)),
            }
            if !std::mem::replace(&mut is_timed, true) {
                link.allow(Some(HEAD_TIME))?;
            }
        }
        let room = HEAD_BYTES - buffer.rest().len().min(HEAD_BYTES - 1);
        if !buffer.fill(link, room)? {
            return Ok(None);
        }
    }
}

fn answer_of(entry: Entry) -> Answer {
    let Entry { about, bytes } = entry;
    let content_type = "application/octet-stream";
    Answer { status: Status::Ok, headers: about.headers, content_type, body: bytes, is_bare: false }
}

/// The answer to `PROPFIND`: as little as clients read, without looking at what they ask.
fn properties(target: &str, bytes: Option<u64>) -> Answer {
    let kind = match bytes {
        Some(bytes) => format!("<D:resourcetype/><D:getcontentlength>{bytes}</D:getcontentlength>"),
        None => "<D:resourcetype><D:collection/></D:resourcetype>".to_owned(),
    };
    let path = target.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    let body = format!(
        "<?xml version=\"1.0\" encoding=\"utf-8\"?>\n<D:multistatus xmlns:D=\"DAV:\"><D:response><D:href>{path}</D:href>\
         <D:propstat><D:prop>{kind}<D:getlastmodified>Thu, 01 Jan 1970 00:00:00 GMT</D:getlastmodified></D:prop>\
         <D:status>HTTP/1.1 200 OK</D:status></D:propstat></D:response></D:multistatus>\n"
    );
    Answer::with(Status::Several, "application/xml; charset=utf-8", body.into())
}

/// Returns the digits of a hash.
fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
