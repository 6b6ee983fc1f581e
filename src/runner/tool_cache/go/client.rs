//! The helper's side of the tool cache: HTTP over one connection.

use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::path::Path;

use httparse::{EMPTY_HEADER, Response};

use super::encoding::{ID_BYTES, new_file};
use crate::runner::tool_cache::limits::{ANSWER_TIME, HEAD_BYTES, HEADERS};

/// The tool cache of the attempt, by HTTP over one connection.
pub(super) struct Cache {
    /// `HOST:PORT`.
    host: String,
    /// The path of Go's entries.
    path: String,
    connection: Option<BufReader<TcpStream>>,
}

impl Cache {
    /// Returns `None` for an address that is none.
    pub(super) fn at(address: &str) -> Option<Self> {
        let (host, path) = address.strip_prefix("http://")?.split_once('/')?;
        Some(Self { host: host.to_owned(), path: format!("/{path}/go"), connection: None })
    }

    /// Fetches an action's result into these files, if the cache has it.
    pub(super) fn get(&mut self, action: &str, about: &Path, data: &Path) -> io::Result<()> {
        let (status, length) = self.ask("GET", action, None)?;
        let Some(connection) = &mut self.connection else { return Ok(()) };
        let mut body = connection.take(length);
        let fetched = fetch(status, &mut body, about, data);
        let rest = io::copy(&mut body, &mut io::sink());
        if rest.is_err() || body.limit() > 0 {
            // The next answer would begin in the middle of this one.
            self.connection = None;
        }
        fetched
    }

    pub(super) fn put(&mut self, action: &str, output: &str, data: &Path) -> io::Result<()> {
        let (_, length) = self.ask("PUT", action, Some((output, data)))?;
        if length > 0 {
            self.connection = None;
        }
        Ok(())
    }

    /// Sends a request. Returns the status, and the length of the body that follows. A connection that the runner has
    /// closed meanwhile is replaced once.
    fn ask(&mut self, method: &str, action: &str, body: Option<(&str, &Path)>) -> io::Result<(u16, u64)> {
        loop {
            let is_new = self.connection.is_none();
            match self.try_ask(method, action, body) {
                Err(_) if !is_new => self.connection = None,
                Err(error) => {
                    self.connection = None;
                    return Err(error);
                }
                answer => return answer,
            }
        }
    }

    fn try_ask(&mut self, method: &str, action: &str, body: Option<(&str, &Path)>) -> io::Result<(u16, u64)> {
        let Self { host, path, connection } = self;
        if connection.is_none() {
            let stream = TcpStream::connect(&*host)?;
            stream.set_nodelay(true)?;
            stream.set_read_timeout(Some(ANSWER_TIME))?;
            stream.set_write_timeout(Some(ANSWER_TIME))?;
            *connection = Some(BufReader::new(stream));
        }
        let Some(connection) = connection else { return Err(ErrorKind::NotConnected.into()) };
        let mut request = format!("{method} {path}/{action} HTTP/1.1\r\nHost: {host}\r\n");
        if let Some((output, data)) = body {
            let (mut file, first) = (File::open(data)?, format!("{output}\n"));
            let length = file.metadata()?.len();
            request.push_str(&format!("Content-Length: {}\r\n\r\n{first}", length + first.len() as u64));
            connection.get_mut().write_all(request.as_bytes())?;
            io::copy(&mut file, connection.get_mut())?;
        } else {
            request.push_str("\r\n");
            connection.get_mut().write_all(request.as_bytes())?;
        }
        read_answer(connection)
    }
}

/// Reads the head of an answer. Returns its status, and the length of its body.
fn read_answer(connection: &mut BufReader<TcpStream>) -> io::Result<(u16, u64)> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let room = HEAD_BYTES.saturating_sub(head.len()) as u64;
        if connection.by_ref().take(room).read_until(b'\n', &mut head)? == 0 {
            return Err(ErrorKind::UnexpectedEof.into());
        }
    }
    let mut headers = [EMPTY_HEADER; HEADERS];
    let mut answer = Response::new(&mut headers);
    answer.parse(&head).map_err(io::Error::other)?;
    let length = answer.headers.iter().find(|header| header.name.eq_ignore_ascii_case("content-length"));
    let length = length.and_then(|header| str::from_utf8(header.value).ok()?.trim().parse().ok());
    answer.code.zip(length).ok_or_else(|| ErrorKind::InvalidData.into())
}

/// Writes the files of a result from the body of an answer.
fn fetch(status: u16, body: &mut impl BufRead, about: &Path, data: &Path) -> io::Result<()> {
    if status != 200 {
        return Ok(());
    }
    let mut output = Vec::new();
    body.by_ref().take(2 * ID_BYTES as u64 + 1).read_until(b'\n', &mut output)?;
    if output.pop() != Some(b'\n') {
        return Err(ErrorKind::InvalidData.into());
    }
    let new = new_file(data);
    io::copy(body, &mut File::create(&new)?)?;
    fs::rename(&new, data)?;
    fs::write(about, output)
}
