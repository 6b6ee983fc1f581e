//! What a dispatcher may say to an observer, for the fuzzer.

use crate::observer::{read_greeting, read_reply};
use crate::transport::{FrameReader, Stream};

/// A line from whoever answers at the dispatcher's address: it is understood or refused.
///
/// # Panics
///
/// If something that must hold does not.
pub(crate) fn heard_by_observer(line: &[u8]) {
    for is_first in [true, false] {
        let (here, there) = Stream::pair();
        here.say_and_end(line);
        let mut reader = FrameReader::new(there);
        // Whatever it comes to.
        if is_first { drop(read_greeting(&mut reader)) } else { drop(read_reply(&mut reader)) }
    }
}
