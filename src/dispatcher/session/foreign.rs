//! Clients of other protocols: what their first bytes seem to be, and the one line that they are told. Pure: the gate
//! reads and writes.

/// The line for a client of another protocol.
const LINE: &str = "this port is for the observers, runners and commands of Surveil, see docs/protocol.md";
/// Letters of an unknown protocol that a log repeats. Nothing else is repeated: a secret may have been sent.
const WORD_BYTES: usize = 16;

/// The protocols that people and machines try at any port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Foreign<'a> {
    Http,
    Ssh,
    /// The protocol of the git program for `git://` URLs.
    Git,
    /// The line in which a load balancer tells about its client.
    Proxy,
    Smtp,
    /// Another one. Has the first bytes.
    Unknown(&'a [u8]),
}

impl<'a> Foreign<'a> {
    /// Returns the protocol of a client that has sent these bytes; `None` if it may be that of this program. A client
    /// of HTTP is known by the beginning of a method: the rest may arrive later.
    pub(super) fn of(said: &'a [u8]) -> Option<Self> {
        const METHODS: [&str; 10] =
            ["GET ", "HEAD ", "POST ", "PUT ", "DELETE ", "CONNECT ", "OPTIONS ", "TRACE ", "PATCH ", "PRI "];
        let begins = |word: &str| said.iter().zip(word.as_bytes()).all(|(one, other)| one == other);
        match said {
            [b'0'..=b'9', _, _, _, rest @ ..] if rest.starts_with(b"git-") => Some(Self::Git),
            [first, ..] if !first.is_ascii_alphabetic() => None,
            [] => None,
            _ if said.starts_with(b"SSH-") => Some(Self::Ssh),
            _ if said.starts_with(b"PROXY ") => Some(Self::Proxy),
            _ if said.starts_with(b"EHLO") || said.starts_with(b"HELO") => Some(Self::Smtp),
            _ if METHODS.into_iter().any(begins) => Some(Self::Http),
            _ => Some(Self::Unknown(said)),
        }
    }

    /// Returns the answer: one line that a person can read, in the form in which the client shows it.
    pub(super) fn answer(self) -> String {
        match self {
            Self::Http => format!(
                "HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: {}\r\n\
                 Connection: close\r\n\r\n{LINE}\r\n",
                LINE.len() + "\r\n".len()
            ),
            Self::Git => format!("{:04x}ERR {LINE}", LINE.len() + "0000ERR ".len()),
            Self::Ssh | Self::Proxy | Self::Smtp | Self::Unknown(_) => format!("{LINE}\r\n"),
        }
    }

    /// Returns its name for the log.
    pub(super) fn name(self) -> String {
        match self {
            Self::Http => "HTTP".to_owned(),
            Self::Ssh => "SSH".to_owned(),
            Self::Git => "the protocol of git:// URLs".to_owned(),
            Self::Proxy => "the PROXY protocol of a load balancer".to_owned(),
            Self::Smtp => "SMTP".to_owned(),
            Self::Unknown(said) => {
                let letters = said.iter().take_while(|byte| byte.is_ascii_alphabetic()).take(WORD_BYTES);
                let word: String = letters.map(|byte| char::from(*byte)).collect();
                format!("an unknown protocol that begins with `{word}`")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_of_other_protocols_are_known_by_their_first_bytes() {
        for (said, name) in [
            ("GET / HTTP/1.1\r\nHost: h\r\n", "HTTP"),
            ("G", "HTTP"),
            ("OPTIONS *", "HTTP"),
            ("PRI * HTTP/2.0\r\n", "HTTP"),
            ("SSH-2.0-OpenSSH_9.9\r\n", "SSH"),
            ("0032git-upload-pack /app\0host=h\0", "the protocol of git:// URLs"),
            ("PROXY TCP4 10.0.0.1 10.0.0.2 1 2\r\n", "the PROXY protocol of a load balancer"),
            ("EHLO mail.example.net\r\n", "SMTP"),
            ("GETTING", "an unknown protocol that begins with `GETTING`"),
            ("sv1.7f3k.0123456789\n", "an unknown protocol that begins with `sv`"),
            (&"x".repeat(1000), "an unknown protocol that begins with `xxxxxxxxxxxxxxxx`"),
        ] {
            assert_eq!(Foreign::of(said.as_bytes()).map(Foreign::name).as_deref(), Some(name), "{said}");
        }
        for own in ["", "{", "{\"type\":\"hello\"", " {", "0032", "\u{16}\u{3}", "\0", "[1]", "*1\r\n$4\r\nPING\r\n"] {
            assert_eq!(Foreign::of(own.as_bytes()), None, "{own:?}");
        }
    }

    #[test]
    fn each_answer_is_one_line_in_a_form_that_the_client_shows() {
        let http = Foreign::Http.answer();
        let (head, body) = http.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("HTTP/1.1 400 ") && head.contains(&format!("Content-Length: {}\r\n", body.len())));
        assert_eq!(body, format!("{LINE}\r\n"));
        // git-protocol-common(5), pkt-line: four hexadecimal digits that count themselves.
        let git = Foreign::Git.answer();
        assert_eq!(usize::from_str_radix(&git[..4], 16).unwrap(), git.len());
        assert_eq!(git[4..], format!("ERR {LINE}"));
        for other in [Foreign::Ssh, Foreign::Proxy, Foreign::Smtp, Foreign::Unknown(b"x")] {
            assert_eq!(other.answer(), format!("{LINE}\r\n"));
        }
    }
}
