//! A client of an endpoint: one connection, on which requests follow one another.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use crate::runner::tool_cache::server::Endpoint;

/// Longer than any wait of these tests.
const PATIENCE: Duration = Duration::from_secs(30);

pub(super) struct Client {
    pub(super) stream: TcpStream,
    /// The path of the attempt.
    path: String,
}

/// An answer: the status, the lines of the head in small letters, and the body.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) head: String,
    pub(super) body: Vec<u8>,
}

impl Client {
    pub(super) fn of(endpoint: &Endpoint) -> Self {
        Self::at(&endpoint.url())
    }

    pub(super) fn at(url: &str) -> Self {
        let (host, path) = url.strip_prefix("http://").unwrap().split_once('/').unwrap();
        let stream = TcpStream::connect(host).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        Self { stream, path: path.to_owned() }
    }

    pub(super) fn send(&mut self, bytes: &[u8]) {
        // It may have closed already, which the answer then shows.
        self.stream.write_all(bytes).ok();
    }

    /// Sends a recorded head, in which `{path}` stands for the path of the attempt, and this body.
    pub(super) fn ask(&mut self, head: &str, body: &[u8]) -> Answer {
        let head = head.replace("{path}", &self.path).replace('\n', "\r\n");
        self.send(&[head.as_bytes(), b"\r\n\r\n", body].concat());
        let is_bare = head.starts_with("HEAD");
        self.answer(is_bare).expect("an answer")
    }

    /// Reads an answer. Returns `None` if the connection has ended.
    pub(super) fn answer(&mut self, is_bare: bool) -> Option<Answer> {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            if self.stream.read(&mut byte).ok()? == 0 {
                return None;
            }
            head.push(byte[0]);
        }
        let head = String::from_utf8(head).unwrap().to_ascii_lowercase();
        let status = head.split(' ').nth(1)?.parse().unwrap();
        if status == 100 {
            return self.answer(is_bare);
        }
        let length = head.split("content-length: ").nth(1)?.split('\r').next()?.parse().unwrap();
        let mut body = vec![0; if is_bare { 0 } else { length }];
        self.stream.read_exact(&mut body).ok()?;
        Some(Answer { status, head, body })
    }

    pub(super) fn get(&mut self, name: &str) -> Option<Vec<u8>> {
        let answer = self.ask(&format!("GET /{{path}}/{name} HTTP/1.1\nHost: h"), b"");
        assert!([200, 404].contains(&answer.status), "{answer:?}");
        (answer.status == 200).then_some(answer.body)
    }

    pub(super) fn put(&mut self, name: &str, body: &[u8]) -> u16 {
        let length = body.len();
        self.ask(&format!("PUT /{{path}}/{name} HTTP/1.1\nHost: h\nContent-Length: {length}"), body).status
    }

    pub(super) fn put_in_chunks(&mut self, name: &str, body: &[u8]) -> u16 {
        let chunks = body.chunks(1000).map(|part| [format!("{:x}\r\n", part.len()).as_bytes(), part, b"\r\n"].concat());
        let body = [&chunks.collect::<Vec<_>>().concat()[..], b"0\r\n\r\n"].concat();
        self.ask(&format!("PUT /{{path}}/{name} HTTP/1.1\nHost: h\nTransfer-Encoding: chunked"), &body).status
    }

    /// Whether the connection has ended, after whatever is still to be read.
    pub(super) fn has_ended(&mut self) -> bool {
        self.stream
            .read_to_end(&mut Vec::new())
            .map_or_else(|error| error.kind() == ErrorKind::ConnectionReset, |_| true)
    }
}
