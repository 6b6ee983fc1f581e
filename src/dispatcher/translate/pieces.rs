//! The pieces of a stream: which stream they belong to, and the times of their bytes. The bytes pass by elsewhere.

use super::malformed;
use crate::dispatcher::logs::TimedOffset;
use crate::model::{AttemptId, StreamId, StreamKind, WallTime};
use crate::protocol::hello::Refusal;
use crate::protocol::limits::MAX_AGES;
use crate::protocol::runner::{StreamName, ToRunner};

/// Returns the stream that a message names.
pub(crate) fn stream(attempt: u64, name: &StreamName) -> Result<StreamId, Refusal> {
    let kind = match name {
        StreamName::Log => StreamKind::Log,
        StreamName::Other(name) => StreamKind::new(name).map_err(malformed)?,
    };
    Ok(StreamId { attempt: AttemptId(attempt), kind })
}

/// Returns the times of the bytes of a piece, as offsets in the stream, given the ages that its runner names. The
/// runner's clock does not matter.
pub(crate) fn times_of_piece(offset: u64, len: u64, ages: &[(u64, u64)], now: WallTime) -> Vec<TimedOffset> {
    let before = |age: u64| now.0.saturating_sub_unsigned(age).max(0);
    let named = ages.iter().take(MAX_AGES).take_while(|(after, _)| *after < len);
    let mut times: Vec<TimedOffset> = named.map(|(after, age)| (offset.saturating_add(*after), before(*age))).collect();
    if times.is_empty() {
        times.push((offset, now.0));
    }
    times
}

pub(super) fn stream_name(kind: &StreamKind) -> StreamName {
    match kind {
        StreamKind::Log => StreamName::Log,
        StreamKind::Other(name) => StreamName::Other(name.clone()),
    }
}

pub(crate) fn log_ack(stream: &StreamId, offset: u64) -> ToRunner {
    ToRunner::LogAck { attempt: stream.attempt.0, stream: stream_name(&stream.kind), offset }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_times_of_a_piece_are_counted_back_from_its_arrival() {
        let times = |ages: &[(u64, u64)]| times_of_piece(100, 50, ages, WallTime(9000));
        assert_eq!(times(&[]), [(100, 9000)]);
        assert_eq!(times(&[(0, 2000), (10, 1)]), [(100, 7000), (110, 8999)]);
        assert_eq!(times(&[(0, u64::MAX), (50, 1)]), [(100, 0)], "what is behind the piece does not count");
    }
}
