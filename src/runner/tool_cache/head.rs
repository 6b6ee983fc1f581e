//! The head of a request: read by httparse, and then judged. A head that could mean two things is refused. Pure.

use httparse::{EMPTY_HEADER, Header, Request};

use super::limits::{HEADERS, KEPT_HEADER_BYTES};

/// The head of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) method: String,
    pub(super) target: String,
    pub(super) body: BodyLength,
    /// Whether the client waits for `100 Continue` before it sends the body.
    pub(super) expects_continue: bool,
    /// Whether the connection goes on after the answer.
    pub(super) keeps_alive: bool,
    /// Names, in small letters, and values of all headers that an entry may be kept with.
    pub(super) extra: Vec<(String, String)>,
}

/// How the end of a body is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum BodyLength {
    /// It has this many bytes. A request without a body has none.
    Bytes(u64),
    /// It comes in chunks, each with its length before it.
    Chunked,
}

/// The result of reading bytes as a head.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Reading {
    /// The head, and the number of bytes that it takes.
    Whole(Box<Head>, usize),
    /// Bytes are missing.
    Partial,
    /// It is no request, or one that is not understood.
    Wrong,
}

impl Head {
    /// Reads a head at the beginning of these bytes.
    pub(super) fn read(bytes: &[u8]) -> Reading {
        let mut headers = [EMPTY_HEADER; HEADERS];
        let mut request = Request::new(&mut headers);
        let length = match request.parse(bytes) {
            Ok(httparse::Status::Complete(length)) => length,
            Ok(httparse::Status::Partial) => return Reading::Partial,
            Err(_) => return Reading::Wrong,
        };
        let (Some(method), Some(target), Some(version)) = (request.method, request.path, request.version) else {
            return Reading::Wrong;
        };
        match Self::of(method, target, version, request.headers) {
            Some(head) => Reading::Whole(Box::new(head), length),
            None => Reading::Wrong,
        }
    }

    fn of(method: &str, target: &str, version: u8, headers: &[Header<'_>]) -> Option<Self> {
        let (mut length, mut is_chunked) = (None, false);
        let (mut expects_continue, mut keeps_alive) = (false, version > 0);
        let mut extra = Vec::new();
        for Header { name, value } in headers {
            let is = |wanted: &str| name.eq_ignore_ascii_case(wanted);
            let value = || str::from_utf8(value).ok().map(str::trim);
            if is("content-length") {
                // Two lengths are one too many, even if they are equal.
                let digits = value().filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()));
                if length.replace(digits?.parse::<u64>().ok()?).is_some() {
                    return None;
                }
            } else if is("transfer-encoding") {
                if is_chunked || !value()?.eq_ignore_ascii_case("chunked") {
                    return None;
                }
                is_chunked = true;
            } else if is("expect") {
                expects_continue = value()?.eq_ignore_ascii_case("100-continue");
            } else if is("connection") {
                let has = |wanted: &str| {
                    value().is_some_and(|all| all.split(',').any(|one| one.trim().eq_ignore_ascii_case(wanted)))
                };
                keeps_alive = if has("close") { false } else { keeps_alive || has("keep-alive") };
            } else if name.get(..2).is_some_and(|start| start.eq_ignore_ascii_case("x-")) {
                let text = value().filter(|text| text.len() <= KEPT_HEADER_BYTES && text.bytes().all(is_visible));
                extra.extend(text.map(|text| (name.to_ascii_lowercase(), text.to_owned())));
            }
        }
        let body = match (length, is_chunked) {
            // A server in between could take the other for the end.
            (Some(_), true) => return None,
            (Some(bytes), false) => BodyLength::Bytes(bytes),
            (None, true) if version == 0 => return None,
            (None, true) => BodyLength::Chunked,
            (None, false) => BodyLength::Bytes(0),
        };
        let (method, target) = (method.to_owned(), target.to_owned());
        Some(Self { method, target, body, expects_continue, keeps_alive, extra })
    }
}

/// Whether a byte may stand in a header that is sent again.
fn is_visible(byte: u8) -> bool {
    (b' '..=b'~').contains(&byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn whole(text: &str) -> Head {
        let Reading::Whole(head, length) = Head::read(text.as_bytes()) else { panic!("{text}") };
        assert_eq!(length, text.len());
        *head
    }

    #[test]
    fn a_head_is_read_with_what_an_answer_depends_on() {
        let head = whole("PUT /s/gradle/ab HTTP/1.1\r\nHost: h\r\nContent-Length: 12\r\nExpect: 100-continue\r\n\r\n");
        assert_eq!((head.method.as_str(), head.target.as_str()), ("PUT", "/s/gradle/ab"));
        assert_eq!((head.body, head.expects_continue, head.keeps_alive), (BodyLength::Bytes(12), true, true));
        let head = whole("GET / HTTP/1.1\r\nconnection: Close\r\nX-Artifact-Tag:  a b \r\nx-odd: \u{e9}\r\n\r\n");
        assert_eq!((head.body, head.keeps_alive), (BodyLength::Bytes(0), false));
        assert_eq!(head.extra, [("x-artifact-tag".to_owned(), "a b".to_owned())]);
        assert!(!whole("GET / HTTP/1.0\r\n\r\n").keeps_alive);
        assert!(whole("GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n").keeps_alive);
        assert_eq!(whole("PUT / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n").body, BodyLength::Chunked);
        assert_eq!(Head::read(b"GET / HTTP/1.1\r\nHost: h\r\n"), Reading::Partial);
        assert_eq!(Head::read(b""), Reading::Partial);
    }

    #[test]
    fn a_head_that_could_mean_two_things_is_refused() {
        for headers in [
            "Content-Length: 1\r\nContent-Length: 1\r\n",
            "Content-Length: 1\r\nTransfer-Encoding: chunked\r\n",
            "Transfer-Encoding: gzip, chunked\r\n",
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
            "Content-Length: +1\r\n",
            "Content-Length: -1\r\n",
            "Content-Length: 0x1\r\n",
            "Content-Length: 99999999999999999999\r\n",
            "Content-Length:\r\n",
            "a b: c\r\n",
            " folded: 1\r\n",
        ] {
            let text = format!("PUT /a HTTP/1.1\r\n{headers}\r\n");
            assert_eq!(Head::read(text.as_bytes()), Reading::Wrong, "{headers}");
        }
        for line in ["GET / HTTP/2.0", "GET /", "\x16\x03\x01", "G\0T / HTTP/1.1"] {
            assert_eq!(Head::read(format!("{line}\r\n\r\n").as_bytes()), Reading::Wrong, "{line:?}");
        }
        let many = "a: b\r\n".repeat(HEADERS + 1);
        assert_eq!(Head::read(format!("GET / HTTP/1.1\r\n{many}\r\n").as_bytes()), Reading::Wrong);
    }
}
