//! The progress of one stream to the dispatcher: its place, and the window of bytes that may be on their way. Pure.
//! Called by [`super::delivery`].

use std::collections::VecDeque;

use super::limits::{
    FAST_ACK_MS, FIRST_PIECE_WAIT_MS, LOG_PIECE_MAX, LOG_PIECE_MIN, LOG_WINDOW_FIRST, LOG_WINDOW_MAX, LOG_WINDOW_MIN,
    SLOW_ACK_MS,
};
use crate::model::Moment;

/// One stream that is on its way, with its window.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct StreamDelivery {
    /// Bytes in the spool.
    pub(super) len: u64,
    /// Bytes handed to the session.
    pub(super) sent: u64,
    /// Bytes that the dispatcher has, by its last acknowledgement.
    pub(super) acknowledged: u64,
    /// The most bytes that may be sent and not acknowledged.
    pub(super) window: u64,
    /// The pieces that are not acknowledged, oldest first: the offset behind the last byte of each, and the time at
    /// which it was sent.
    pub(super) pieces: VecDeque<(u64, Moment)>,
    /// The offset to which an acknowledgement last made the stream go back, and the time.
    pub(super) rewound: Option<(u64, Moment)>,
    /// The time until which few first bytes wait for more, unless their attempt ends.
    pub(super) waits_until: Option<Moment>,
}

impl StreamDelivery {
    pub(super) fn new(now: Moment) -> Self {
        let (pieces, waits_until) = (VecDeque::new(), Some(now.after(FIRST_PIECE_WAIT_MS)));
        Self { len: 0, sent: 0, acknowledged: 0, window: LOG_WINDOW_FIRST, pieces, rewound: None, waits_until }
    }

    /// Notes that the spool has `len` bytes.
    pub(super) fn grow(&mut self, len: u64) {
        self.len = len;
        if len >= LOG_PIECE_MIN {
            self.waits_until = None;
        }
    }

    /// Returns the length of the piece that may be sent now if the connection has `room`, or 0 if there is none.
    pub(super) fn next_length(&self, room: u64) -> u64 {
        if self.waits_until.is_some() {
            return 0;
        }
        let room = self.window.saturating_sub(self.sent - self.acknowledged).min(room);
        let piece = (self.window / 16).clamp(LOG_PIECE_MIN, LOG_PIECE_MAX);
        (self.len - self.sent).min(room).min(piece)
    }

    /// Counts a piece as sent and returns where it stands.
    pub(super) fn send(&mut self, now: Moment, length: u64) -> u64 {
        let offset = self.sent;
        self.sent += length;
        self.pieces.push_back((self.sent, now));
        offset
    }

    pub(super) fn advance(&mut self, now: Moment, offset: u64) {
        let mut left = None;
        while self.pieces.front().is_some_and(|(end, _)| *end <= offset) {
            left = self.pieces.pop_front();
        }
        match left.map(|(_, sent_at)| now.since(sent_at)) {
            Some(ms) if ms <= FAST_ACK_MS => self.window = (self.window * 4).min(LOG_WINDOW_MAX),
            Some(ms) if ms > SLOW_ACK_MS => self.window = (self.window / 2).max(LOG_WINDOW_MIN),
            Some(_) | None => {}
        }
        self.acknowledged = offset;
        self.sent = self.sent.max(offset);
    }

    pub(super) fn go_to(&mut self, offset: u64) {
        (self.sent, self.acknowledged) = (offset, offset);
        self.pieces.clear();
    }

    /// Each of several pieces behind a gap is answered with the same offset; going back once is enough.
    pub(super) fn has_just_rewound(&self, now: Moment, offset: u64) -> bool {
        self.rewound.is_some_and(|(to, at)| to == offset && now.since(at) < FAST_ACK_MS * 4)
    }
}
