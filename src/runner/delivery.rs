//! What of each attempt's log has travelled, pure: which piece goes next, what an acknowledgement means, when to start
//! over. Does no I/O and asks no time. The uploader calls it.

use std::collections::{BTreeMap, VecDeque};

use super::limits::{
    FAST_ACK_MS, LOG_PIECE_MAX, LOG_PIECE_MIN, LOG_STALL_MS, LOG_WINDOW_FIRST, LOG_WINDOW_MAX, LOG_WINDOW_MIN,
    RESULTS_REPEAT_MS, SLOW_ACK_MS,
};
use crate::model::{AttemptId, Moment};

/// The logs that are on their way.
#[derive(Debug, Default)]
pub(super) struct Deliveries {
    entries: BTreeMap<AttemptId, StreamDelivery>,
    /// Who was served last; the next one comes first, so that a flooding attempt holds up no other.
    last: Option<AttemptId>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct StreamDelivery {
    /// Bytes in the spool.
    len: u64,
    /// Bytes handed to the session.
    sent: u64,
    /// Bytes that the dispatcher has, as it last said.
    acknowledged: u64,
    /// Bytes that may be sent and not acknowledged.
    window: u64,
    /// Oldest first.
    pieces: VecDeque<PieceOnTheWay>,
    /// There will be no more bytes: results follow the last one.
    is_ended: bool,
    /// When the results left, or when after that the dispatcher last had more of the log.
    results_sent: Option<Moment>,
    /// The last time that an answer made it go back.
    rewound: Option<Rewind>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct PieceOnTheWay {
    /// The offset behind its last byte.
    end: u64,
    sent_at: Moment,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Rewind {
    to: u64,
    at: Moment,
}

/// What to send next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NextToSend {
    Log { attempt: AttemptId, offset: u64, length: u64 },
    Results(AttemptId),
}

impl Deliveries {
    /// An attempt's spool has this many bytes.
    pub(super) fn grow(&mut self, attempt: AttemptId, len: u64) {
        self.entries.entry(attempt).or_insert_with(StreamDelivery::new).len = len;
    }

    /// An attempt's log is complete with this many bytes.
    pub(super) fn end(&mut self, attempt: AttemptId, len: u64) {
        let delivery = self.entries.entry(attempt).or_insert_with(StreamDelivery::new);
        (delivery.len, delivery.is_ended) = (len, true);
    }

    pub(super) fn forget(&mut self, attempt: AttemptId) {
        self.entries.remove(&attempt);
    }

    /// A new session: everything goes on at these offsets, the others at 0.
    pub(super) fn resume(&mut self, offsets: &[(AttemptId, u64)]) {
        let offsets: BTreeMap<_, _> = offsets.iter().copied().collect();
        for (attempt, delivery) in &mut self.entries {
            let offset = offsets.get(attempt).copied().unwrap_or(0);
            delivery.window = LOG_WINDOW_FIRST;
            delivery.rewound = None;
            delivery.go_to(offset.min(delivery.len));
        }
    }

    /// The dispatcher has this many bytes, or wants them from there. True if that means to go back.
    pub(super) fn acknowledge(&mut self, now: Moment, attempt: AttemptId, offset: u64) -> bool {
        let Some(delivery) = self.entries.get_mut(&attempt) else { return false };
        if offset > delivery.acknowledged && offset <= delivery.len {
            delivery.advance(now, offset);
        } else if offset < delivery.sent && !delivery.has_just_rewound(now, offset) {
            // Nothing new, although more was sent: that did not fit to what the dispatcher has.
            delivery.rewound = Some(Rewind { to: offset, at: now });
            delivery.go_to(offset);
            return true;
        }
        false
    }

    /// What to send now. It counts as sent.
    ///
    /// All logs together have no more on the way than the widest window of one: they share the connection, and a ping
    /// waits behind all of it.
    pub(super) fn next(&mut self, now: Moment) -> Option<NextToSend> {
        let widest = self.entries.values().map(|delivery| delivery.window).max()?;
        let on_the_way = self.entries.values().map(|delivery| delivery.sent - delivery.acknowledged).sum();
        let room = widest.saturating_sub(on_the_way);
        let after = self.last.map_or(0, |last| last.0 + 1);
        let mut order = self.entries.range_mut(AttemptId(after)..);
        let found = order.find_map(|(attempt, delivery)| Some((*attempt, delivery.next(now, *attempt, room)?)));
        let found = found.or_else(|| {
            let mut order = self.entries.range_mut(..AttemptId(after));
            order.find_map(|(attempt, delivery)| Some((*attempt, delivery.next(now, *attempt, room)?)))
        });
        let (attempt, next) = found?;
        self.last = Some(attempt);
        Some(next)
    }

    /// Starts over where an answer is overdue.
    pub(super) fn look_at_time(&mut self, now: Moment) {
        for delivery in self.entries.values_mut() {
            if delivery.deadline().is_some_and(|deadline| deadline <= now) {
                delivery.go_to(delivery.acknowledged);
            }
        }
    }

    /// When an answer is overdue.
    pub(super) fn next_deadline(&self) -> Option<Moment> {
        self.entries.values().filter_map(StreamDelivery::deadline).min()
    }
}

impl StreamDelivery {
    fn new() -> Self {
        Self {
            len: 0,
            sent: 0,
            acknowledged: 0,
            window: LOG_WINDOW_FIRST,
            pieces: VecDeque::new(),
            is_ended: false,
            results_sent: None,
            rewound: None,
        }
    }

    fn next(&mut self, now: Moment, attempt: AttemptId, room: u64) -> Option<NextToSend> {
        let room = self.window.saturating_sub(self.sent - self.acknowledged).min(room);
        let piece = (self.window / 16).clamp(LOG_PIECE_MIN, LOG_PIECE_MAX);
        let length = (self.len - self.sent).min(room).min(piece);
        if length > 0 {
            let offset = self.sent;
            self.sent += length;
            self.pieces.push_back(PieceOnTheWay { end: self.sent, sent_at: now });
            return Some(NextToSend::Log { attempt, offset, length });
        }
        if self.is_ended && self.sent == self.len && self.results_sent.is_none() {
            self.results_sent = Some(now);
            return Some(NextToSend::Results(attempt));
        }
        None
    }

    fn advance(&mut self, now: Moment, offset: u64) {
        let mut left = None;
        while self.pieces.front().is_some_and(|piece| piece.end <= offset) {
            left = self.pieces.pop_front();
        }
        match left.map(|piece| now.since(piece.sent_at)) {
            Some(ms) if ms <= FAST_ACK_MS => self.window = (self.window * 4).min(LOG_WINDOW_MAX),
            Some(ms) if ms > SLOW_ACK_MS => self.window = (self.window / 2).max(LOG_WINDOW_MIN),
            Some(_) | None => {}
        }
        self.acknowledged = offset;
        self.sent = self.sent.max(offset);
        self.results_sent = self.results_sent.map(|_| now);
    }

    fn go_to(&mut self, offset: u64) {
        (self.sent, self.acknowledged) = (offset, offset);
        self.pieces.clear();
        self.results_sent = None;
    }

    /// Several pieces behind a gap are each answered with the same offset; going back once is enough.
    fn has_just_rewound(&self, now: Moment, offset: u64) -> bool {
        self.rewound.is_some_and(|Rewind { to, at }| to == offset && now.since(at) < FAST_ACK_MS * 4)
    }

    fn deadline(&self) -> Option<Moment> {
        let wait = if self.acknowledged < self.len { LOG_STALL_MS } else { RESULTS_REPEAT_MS };
        Some(self.results_sent?.after(wait))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: AttemptId = AttemptId(1);
    const B: AttemptId = AttemptId(2);

    /// Everything that can be sent now.
    fn send(deliveries: &mut Deliveries, now: u64) -> Vec<NextToSend> {
        std::iter::from_fn(|| deliveries.next(Moment(now))).collect()
    }

    fn bytes(sent: &[NextToSend]) -> u64 {
        let length = |next: &NextToSend| match next {
            NextToSend::Log { length, .. } => *length,
            NextToSend::Results(_) => 0,
        };
        sent.iter().map(length).sum()
    }

    #[test]
    fn results_follow_the_last_byte() {
        let mut deliveries = Deliveries::default();
        deliveries.grow(A, 10);
        assert_eq!(send(&mut deliveries, 0), [NextToSend::Log { attempt: A, offset: 0, length: 10 }]);
        deliveries.end(A, 15);
        assert_eq!(
            send(&mut deliveries, 0),
            [NextToSend::Log { attempt: A, offset: 10, length: 5 }, NextToSend::Results(A)]
        );
        assert_eq!(send(&mut deliveries, 0), []);
    }

    #[test]
    fn no_more_than_the_window_travels_unacknowledged_and_a_fast_answer_widens_it() {
        let mut deliveries = Deliveries::default();
        deliveries.grow(A, 1 << 30);
        let mut acknowledged = 0;
        for window in [1, 4, 16, 64, 256, 1024, 2048, 2048].map(|n| n * LOG_WINDOW_FIRST) {
            assert_eq!(bytes(&send(&mut deliveries, 0)), window);
            acknowledged += window;
            deliveries.acknowledge(Moment(1), A, acknowledged);
        }
        assert_eq!(LOG_WINDOW_MAX, 2048 * LOG_WINDOW_FIRST);
    }

    #[test]
    fn a_slow_answer_narrows_the_window() {
        let mut deliveries = Deliveries::default();
        deliveries.grow(A, 1 << 30);
        send(&mut deliveries, 0);
        deliveries.acknowledge(Moment(9000), A, LOG_WINDOW_FIRST);
        assert_eq!(bytes(&send(&mut deliveries, 0)), LOG_WINDOW_FIRST / 2);
    }

    /// C3: so that a ping behind it comes in time on a slow line. Sabotage tried: no common limit; it fails.
    #[test]
    fn many_logs_have_no_more_on_the_way_than_one() {
        let mut deliveries = Deliveries::default();
        (1..20).for_each(|n| deliveries.grow(AttemptId(n), 1 << 20));
        assert_eq!(bytes(&send(&mut deliveries, 0)), LOG_WINDOW_FIRST);
        // Whoever has been answered, others go on as well.
        deliveries.acknowledge(Moment(5000), A, LOG_PIECE_MIN);
        assert_eq!(
            send(&mut deliveries, 0),
            [NextToSend::Log { attempt: AttemptId(3), offset: 0, length: LOG_PIECE_MIN }]
        );
    }

    #[test]
    fn attempts_take_turns() {
        let mut deliveries = Deliveries::default();
        deliveries.grow(A, 1 << 20);
        deliveries.grow(B, 1 << 20);
        let who = |next: Option<NextToSend>| match next {
            Some(NextToSend::Log { attempt, .. } | NextToSend::Results(attempt)) => attempt,
            None => panic!("nothing to send"),
        };
        let turns: Vec<_> = (0..2).map(|_| who(deliveries.next(Moment(0)))).collect();
        assert_eq!(turns, [A, B]);
        deliveries.acknowledge(Moment(1), A, LOG_PIECE_MIN);
        deliveries.acknowledge(Moment(1), B, LOG_PIECE_MIN);
        let turns: Vec<_> = (0..4).map(|_| who(deliveries.next(Moment(0)))).collect();
        assert_eq!(turns, [A, B, A, B]);
    }

    #[test]
    fn a_new_session_goes_on_where_the_dispatcher_stands_and_gives_the_results_again() {
        let mut deliveries = Deliveries::default();
        deliveries.end(A, 100);
        deliveries.end(B, 5);
        send(&mut deliveries, 0);
        deliveries.resume(&[(A, 60)]);
        let sent = send(&mut deliveries, 0);
        assert_eq!(bytes(&sent), 40 + 5);
        assert!(sent.contains(&NextToSend::Log { attempt: A, offset: 60, length: 40 }));
        assert!(sent.contains(&NextToSend::Results(A)) && sent.contains(&NextToSend::Results(B)));
    }

    #[test]
    fn an_answer_that_repeats_its_offset_asks_for_the_bytes_behind_it_again() {
        let mut deliveries = Deliveries::default();
        deliveries.end(A, 100);
        send(&mut deliveries, 0);
        deliveries.acknowledge(Moment(1), A, 40);
        assert_eq!(send(&mut deliveries, 1), [], "an answer on its way asks for nothing");
        deliveries.acknowledge(Moment(2), A, 40);
        deliveries.acknowledge(Moment(3), A, 40);
        assert_eq!(
            send(&mut deliveries, 3),
            [NextToSend::Log { attempt: A, offset: 40, length: 60 }, NextToSend::Results(A)]
        );
        deliveries.acknowledge(Moment(4), A, 40);
        assert_eq!(send(&mut deliveries, 4), [], "once is enough");
    }

    #[test]
    fn bytes_without_an_answer_after_the_results_are_sent_again() {
        let mut deliveries = Deliveries::default();
        deliveries.end(A, 100);
        send(&mut deliveries, 0);
        deliveries.acknowledge(Moment(1), A, 40);
        assert_eq!(deliveries.next_deadline(), Some(Moment(1 + LOG_STALL_MS)));
        deliveries.look_at_time(Moment(1 + LOG_STALL_MS));
        assert_eq!(bytes(&send(&mut deliveries, 0)), 60);
        deliveries.forget(A);
        assert_eq!(deliveries.next_deadline(), None);
    }
}
