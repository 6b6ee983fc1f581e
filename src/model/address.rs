//! The address of a peer, as people type it.

use std::fmt;
use std::str::FromStr;

/// A host (name, IPv4 address, or IPv6 address without brackets) and a TCP port.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Address {
    pub host: String,
    pub port: u16,
}

/// The reason why a text is not an address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not an address: write HOST:PORT, such as localhost:9000 or [::1]:9000")]
pub struct AddressError(pub String);

impl FromStr for Address {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        let refuse = || AddressError(text.to_owned());
        let (host, port) = text.rsplit_once(':').ok_or_else(refuse)?;
        let bare = host.strip_prefix('[').and_then(|h| h.strip_suffix(']'));
        let host = match bare {
            Some(inner) => inner,
            None if host.contains(':') => return Err(refuse()),
            None => host,
        };
        if host.is_empty() || host.contains(char::is_whitespace) {
            return Err(refuse());
        }
        Ok(Self { host: host.to_owned(), port: port.parse().map_err(|_| refuse())? })
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_reads_back_as_it_was_written() {
        for text in ["localhost:9000", "10.0.0.1:1", "[::1]:9000"] {
            assert_eq!(text.parse::<Address>().unwrap().to_string(), text);
        }
        for text in ["", "localhost", "localhost:", ":9000", "::1:9000", "a b:1", "h:70000"] {
            assert!(text.parse::<Address>().is_err(), "{text}");
        }
    }
}
