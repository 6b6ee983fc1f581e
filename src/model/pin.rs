//! The pin of a dispatcher: the hash by which a peer knows the dispatcher's certificate authority.

use std::fmt;
use std::str::FromStr;

/// The number of bytes of a pin.
const BYTES: usize = 32;

/// The SHA-256 of the public key (SPKI) of a dispatcher's certificate authority. It is public: whoever has it can
/// recognise the dispatcher, and cannot pretend to be it.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Pin([u8; BYTES]);

/// The reason why a text is not a pin.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a pin has {} hexadecimal digits: `surveil status` at the dispatcher's machine shows it", 2 * BYTES)]
pub struct PinError;

impl Pin {
    /// Makes a pin of a hash.
    #[must_use]
    pub fn new(hash: [u8; BYTES]) -> Self {
        Self(hash)
    }
}

impl FromStr for Pin {
    type Err = PinError;

    fn from_str(text: &str) -> Result<Self, PinError> {
        let digits = text.trim();
        if digits.len() != 2 * BYTES || !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
            return Err(PinError);
        }
        let mut hash = [0; BYTES];
        for (at, byte) in hash.iter_mut().enumerate() {
            *byte = u8::from_str_radix(&digits[2 * at..2 * at + 2], 16).map_err(|_| PinError)?;
        }
        Ok(Self(hash))
    }
}

impl fmt::Display for Pin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Pin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pin({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pin_reads_back_as_it_was_written_in_either_case() {
        let text = "00ff".repeat(16);
        let pin: Pin = text.parse().unwrap();
        assert_eq!(pin.to_string(), text);
        assert_eq!(format!(" {}\n", text.to_uppercase()).parse(), Ok(pin));
        for wrong in ["", "00ff", &"0".repeat(63), &"g".repeat(64), &"0".repeat(65), &"é".repeat(32)] {
            assert_eq!(wrong.parse::<Pin>(), Err(PinError), "{wrong}");
        }
    }
}
