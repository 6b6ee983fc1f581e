//! Fuzz entry points of the observer: messages from a dispatcher.

use crate::observer::{read_greeting, read_next};
use crate::transport::{FrameReader, Stream};

/// Reads a line from any program that answers at the dispatcher's address. The line is understood or refused.
///
/// # Panics
///
/// If an invariant is broken.
pub(crate) fn heard_by_observer(line: &[u8]) {
    for is_first in [true, false] {
        let (here, there) = Stream::pair();
        super::transport::write_and_end(&here, line);
        let mut reader = FrameReader::new(there);
        // The result does not matter, only that nothing panics.
        if is_first { drop(read_greeting(&mut reader)) } else { drop(read_next(&mut reader)) }
    }
}
