//! A network: the addresses that begin with the same bits, as people write them (CIDR).

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

/// A network such as `10.0.0.0/8`. A single address is a network of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Network {
    address: IpAddr,
    prefix: u8,
}

/// The reason why a text is not a network.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NetworkError {
    #[error("`{0}` is not a network: write ADDRESS/BITS, such as 10.0.0.0/8 or fd00::/8, or one address")]
    Malformed(String),
    #[error("`{typed}` has bits behind its first {prefix}: did you mean {meant}?")]
    LooseBits { typed: String, prefix: u8, meant: Network },
}

impl Network {
    /// Whether an address belongs to this network. An IPv4 address that came over an IPv6 socket is an IPv4 address.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        address.is_ipv4() == self.address.is_ipv4() && first_bits(address, self.prefix) == bits(self.address)
    }
}

impl FromStr for Network {
    type Err = NetworkError;

    fn from_str(text: &str) -> Result<Self, NetworkError> {
        let malformed = || NetworkError::Malformed(text.to_owned());
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address, Some(prefix.parse::<u8>().map_err(|_| malformed())?)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| malformed())?;
        let most = if address.is_ipv4() { 32 } else { 128 };
        let prefix = prefix.unwrap_or(most);
        if prefix > most {
            return Err(malformed());
        }
        let first = first_bits(address, prefix);
        if first != bits(address) {
            let meant = Self { address: from_bits(first, address.is_ipv4()), prefix };
            return Err(NetworkError::LooseBits { typed: text.to_owned(), prefix, meant });
        }
        Ok(Self { address, prefix })
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix)
    }
}

/// Returns an address as bits, the first of them highest.
fn bits(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => u128::from(address.to_bits()) << 96,
        IpAddr::V6(address) => address.to_bits(),
    }
}

/// Returns the first `count` bits of an address, and zeros behind.
fn first_bits(address: IpAddr, count: u8) -> u128 {
    // A shift by all bits is not defined, and keeps none.
    let mask = u128::MAX.checked_shl(128 - u32::from(count)).unwrap_or(0);
    bits(address) & mask
}

fn from_bits(bits: u128, is_ipv4: bool) -> IpAddr {
    if is_ipv4 { IpAddr::V4(u32::try_from(bits >> 96).unwrap_or(0).into()) } else { IpAddr::V6(bits.into()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn network(text: &str) -> Network {
        text.parse().unwrap()
    }

    fn is_in(address: &str, of: &str) -> bool {
        network(of).contains(address.parse().unwrap())
    }

    #[test]
    fn a_network_has_the_addresses_that_begin_alike() {
        assert!(is_in("10.1.2.3", "10.0.0.0/8") && !is_in("11.0.0.1", "10.0.0.0/8"));
        assert!(is_in("10.1.2.3", "10.1.2.3") && !is_in("10.1.2.4", "10.1.2.3"));
        assert!(is_in("255.1.2.3", "0.0.0.0/0") && !is_in("::1", "0.0.0.0/0"));
        assert!(is_in("fd12::1", "fd00::/8") && !is_in("fe80::1", "fd00::/8") && is_in("fe80::1", "::/0"));
        assert!(is_in("::ffff:10.1.2.3", "10.0.0.0/8"), "a socket for both kinds of addresses tells it like this");
        assert!(is_in("192.168.7.129", "192.168.7.128/25") && !is_in("192.168.7.127", "192.168.7.128/25"));
    }

    #[test]
    fn a_text_that_is_no_network_says_what_to_write() {
        for text in ["", "10", "10.0.0.0/33", "::/129", "10.0.0.0/", "10.0.0.0/-1", "example.org/8", "10.0.0.0/8/8"] {
            assert_eq!(text.parse::<Network>(), Err(NetworkError::Malformed(text.into())));
        }
        let error = "10.1.2.3/8".parse::<Network>().unwrap_err();
        assert_eq!(error.to_string(), "`10.1.2.3/8` has bits behind its first 8: did you mean 10.0.0.0/8?");
        assert!("fd00::1/8".parse::<Network>().unwrap_err().to_string().contains("fd00::/8"));
        assert_eq!(network("10.1.2.3").to_string(), "10.1.2.3/32");
    }
}
