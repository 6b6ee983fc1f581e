//! The pieces of blobs that are on their way, or were asked for. A ping, or its answer, waits behind them, so they are
//! few on a slow connection and many on a fast one. Pure.

use std::collections::VecDeque;

use super::super::limits::{
    FAST_ACK_MS, LOG_PIECE_MAX, LOG_PIECE_MIN, LOG_WINDOW_FIRST, LOG_WINDOW_MAX, LOG_WINDOW_MIN, SLOW_ACK_MS,
};
use crate::model::Moment;

/// The most pieces on the way. Small files make small pieces, and each needs room for its answer.
const MAX_PIECES: usize = 512;

/// The window of one upload or download.
#[derive(Debug)]
pub(crate) struct Window {
    /// The most bytes on the way.
    width: u64,
    /// The pieces on the way, oldest first: their lengths, and the times at which they were sent.
    pieces: VecDeque<(u64, Moment)>,
    bytes: u64,
}

impl Window {
    pub(crate) fn new() -> Self {
        Self { width: LOG_WINDOW_FIRST, pieces: VecDeque::new(), bytes: 0 }
    }

    /// Returns the longest piece that may be sent now, 0 if there is no room for one.
    pub(crate) fn room(&self) -> u64 {
        if self.pieces.len() >= MAX_PIECES {
            return 0;
        }
        let piece = (self.width / 16).clamp(LOG_PIECE_MIN, LOG_PIECE_MAX);
        if self.bytes + piece > self.width && !self.pieces.is_empty() { 0 } else { piece }
    }

    /// Whether at least half of the window is free.
    pub(crate) fn is_low(&self) -> bool {
        2 * self.bytes <= self.width && 2 * self.pieces.len() <= MAX_PIECES
    }

    pub(crate) fn sent(&mut self, now: Moment, length: u64) {
        self.pieces.push_back((length, now));
        self.bytes += length;
    }

    /// Takes the answer to the oldest piece.
    pub(crate) fn answered(&mut self, now: Moment) {
        let Some((length, sent)) = self.pieces.pop_front() else { return };
        self.bytes -= length;
        match now.since(sent) {
            ms if ms <= FAST_ACK_MS => self.width = (self.width * 4).min(LOG_WINDOW_MAX),
            ms if ms > SLOW_ACK_MS => self.width = (self.width / 2).max(LOG_WINDOW_MIN),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Sends all that there is room for. Returns the number of bytes.
    fn fill(window: &mut Window, now: u64) -> u64 {
        let mut sent = 0;
        while let length @ 1.. = window.room() {
            window.sent(Moment(now), length);
            sent += length;
        }
        sent
    }

    #[test]
    fn fast_answers_widen_the_window_and_slow_ones_narrow_it() {
        let mut window = Window::new();
        assert_eq!(fill(&mut window, 0), LOG_WINDOW_FIRST);
        for _ in 0..20 {
            window.answered(Moment(1));
            fill(&mut window, 1);
        }
        assert!(window.bytes > LOG_WINDOW_MAX / 2 && window.bytes <= LOG_WINDOW_MAX, "{window:?}");
        while !window.pieces.is_empty() {
            window.answered(Moment(60_000));
        }
        assert_eq!((window.bytes, window.width), (0, LOG_WINDOW_MIN));
        assert_eq!(fill(&mut window, 0), LOG_WINDOW_MIN);
    }
}
