//! The progress of each stream to the dispatcher. Pure: decides which piece goes next, what an acknowledgement means,
//! and when to start over. Does no I/O and never reads a clock. The uploader calls it.

use std::collections::BTreeMap;
use std::ops::Bound::{Excluded, Unbounded};

use super::limits::{LOG_STALL_MS, LOG_WINDOW_FIRST, RESULTS_REPEAT_MS};
use super::stream_delivery::StreamDelivery;
use crate::model::{AttemptId, Moment, StreamId};

/// The streams that are on their way, and the results that follow them.
#[derive(Debug, Default)]
pub(super) struct Deliveries {
    streams: BTreeMap<StreamId, StreamDelivery>,
    /// The attempts that have ended. Their results follow the last byte of their last stream. Each with the time at
    /// which the results were sent, or at which the dispatcher had more of a stream after that.
    results: BTreeMap<AttemptId, Option<Moment>>,
    /// The stream that was served last. Its successor comes first, so that a flooding attempt holds up no other.
    last: Option<StreamId>,
}

/// The meaning of an acknowledgement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Acknowledgement {
    /// The dispatcher has more than before.
    Progress,
    /// The stream goes back to the offset that the dispatcher wants.
    GoBack,
    Nothing,
}

/// The next thing to send.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum NextToSend {
    Piece { stream: StreamId, offset: u64, length: u64 },
    Results(AttemptId),
}

/// Returns the entries of one attempt, in a map whose order is that of [`StreamId`].
pub(super) fn of_attempt<V>(map: &BTreeMap<StreamId, V>, attempt: AttemptId) -> impl Iterator<Item = (&StreamId, &V)> {
    map.range(StreamId::log(attempt)..).take_while(move |(stream, _)| stream.attempt == attempt)
}

/// Removes the entries of one attempt and returns them.
pub(super) fn take_attempt<V>(map: &mut BTreeMap<StreamId, V>, attempt: AttemptId) -> Vec<V> {
    let streams: Vec<_> = of_attempt(map, attempt).map(|(stream, _)| stream.clone()).collect();
    streams.iter().filter_map(|stream| map.remove(stream)).collect()
}

impl Deliveries {
    /// Notes that the stream's spool has `len` bytes.
    pub(super) fn grow(&mut self, now: Moment, stream: &StreamId, len: u64) {
        self.streams.entry(stream.clone()).or_insert_with(|| StreamDelivery::new(now)).grow(len);
    }

    /// Notes that the attempt has ended: its streams have all their bytes.
    pub(super) fn end(&mut self, attempt: AttemptId) {
        self.results.entry(attempt).or_default();
        self.streams_of(attempt).for_each(|delivery| delivery.waits_until = None);
    }

    pub(super) fn forget(&mut self, attempt: AttemptId) {
        drop(take_attempt(&mut self.streams, attempt));
        self.results.remove(&attempt);
    }

    /// Starts a new session. Every stream continues at its offset here, or at 0 if it has none.
    pub(super) fn resume(&mut self, offsets: &[(StreamId, u64)]) {
        let offsets: BTreeMap<_, _> = offsets.iter().map(|(stream, offset)| (stream, *offset)).collect();
        for (stream, delivery) in &mut self.streams {
            let offset = offsets.get(stream).copied().unwrap_or(0);
            delivery.window = LOG_WINDOW_FIRST;
            delivery.rewound = None;
            delivery.go_to(offset.min(delivery.len));
        }
        self.results.values_mut().for_each(|sent| *sent = None);
    }

    /// Takes an acknowledgement: the dispatcher has the bytes before `offset`, or wants the stream from there.
    pub(super) fn acknowledge(&mut self, now: Moment, stream: &StreamId, offset: u64) -> Acknowledgement {
        let Some(delivery) = self.streams.get_mut(stream) else { return Acknowledgement::Nothing };
        let results = self.results.get_mut(&stream.attempt);
        if offset > delivery.acknowledged && offset <= delivery.len {
            delivery.advance(now, offset);
            if let Some(sent) = results {
                *sent = sent.map(|_| now);
            }
            return Acknowledgement::Progress;
        }
        if offset < delivery.sent && !delivery.has_just_rewound(now, offset) {
            // The same offset came again although more was sent: a piece did not fit to the bytes that the dispatcher
            // has.
            delivery.rewound = Some((offset, now));
            delivery.go_to(offset);
            if let Some(sent) = results {
                *sent = None;
            }
            return Acknowledgement::GoBack;
        }
        Acknowledgement::Nothing
    }

    /// Returns the next thing to send, and counts it as sent.
    ///
    /// All streams together have at most the widest window of one on the way: they share the connection, and a ping
    /// waits behind all of it.
    pub(super) fn next(&mut self, now: Moment) -> Option<NextToSend> {
        let widest = self.streams.values().map(|delivery| delivery.window).max()?;
        let on_the_way = self.streams.values().map(|delivery| delivery.sent - delivery.acknowledged).sum();
        let room = widest.saturating_sub(on_the_way);
        let next = self.in_turn().find_map(|(stream, delivery)| match delivery.next_length(room) {
            0 => self.are_results_due(stream.attempt).then(|| (stream.clone(), 0)),
            length => Some((stream.clone(), length)),
        });
        let (stream, length) = next?;
        self.last = Some(stream.clone());
        if length == 0 {
            self.results.insert(stream.attempt, Some(now));
            return Some(NextToSend::Results(stream.attempt));
        }
        let offset = self.streams.get_mut(&stream)?.send(now, length);
        Some(NextToSend::Piece { stream, offset, length })
    }

    /// Returns all streams, beginning behind the one that was served last.
    fn in_turn(&self) -> impl Iterator<Item = (&StreamId, &StreamDelivery)> {
        let last = self.last.as_ref();
        let later = self.streams.range::<StreamId, _>((last.map_or(Unbounded, Excluded), Unbounded));
        let earlier = last.map(|last| self.streams.range(..=last));
        later.chain(earlier.into_iter().flatten())
    }

    /// Whether the attempt has ended, and everything of it but its results was sent.
    fn are_results_due(&self, attempt: AttemptId) -> bool {
        self.results.get(&attempt).is_some_and(Option::is_none)
            && of_attempt(&self.streams, attempt).all(|(_, delivery)| delivery.sent == delivery.len)
    }

    /// Starts over with the attempts whose answer is overdue, and lets first bytes go that have waited long enough.
    pub(super) fn look_at_time(&mut self, now: Moment) {
        let overdue = |(attempt, sent): (&AttemptId, &Option<Moment>)| {
            self.deadline(*attempt, *sent).is_some_and(|deadline| deadline <= now).then_some(*attempt)
        };
        let overdue: Vec<_> = self.results.iter().filter_map(overdue).collect();
        for attempt in overdue {
            self.results.insert(attempt, None);
            self.streams_of(attempt).for_each(|delivery| delivery.go_to(delivery.acknowledged));
        }
        for delivery in self.streams.values_mut() {
            delivery.waits_until.take_if(|until| *until <= now);
        }
    }

    fn streams_of(&mut self, attempt: AttemptId) -> impl Iterator<Item = &mut StreamDelivery> {
        let later = self.streams.range_mut(StreamId::log(attempt)..);
        later.take_while(move |(stream, _)| stream.attempt == attempt).map(|(_, delivery)| delivery)
    }

    /// Returns when the first answer is overdue, or the first stream has waited long enough.
    pub(super) fn next_deadline(&self) -> Option<Moment> {
        let overdue = self.results.iter().filter_map(|(attempt, sent)| self.deadline(*attempt, *sent));
        overdue.chain(self.streams.values().filter_map(|delivery| delivery.waits_until)).min()
    }

    fn deadline(&self, attempt: AttemptId, sent: Option<Moment>) -> Option<Moment> {
        let sent = sent?;
        let is_whole = of_attempt(&self.streams, attempt).all(|(_, delivery)| delivery.acknowledged >= delivery.len);
        Some(sent.after(if is_whole { RESULTS_REPEAT_MS } else { LOG_STALL_MS }))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::limits::{FIRST_PIECE_WAIT_MS, LOG_PIECE_MIN, LOG_WINDOW_MAX};
    use super::*;
    use crate::model::StreamKind;

    const A: StreamId = StreamId { attempt: AttemptId(1), kind: StreamKind::Log };
    const B: StreamId = StreamId { attempt: AttemptId(2), kind: StreamKind::Log };

    /// Notes that a stream has these bytes, of which none waits.
    fn grow(deliveries: &mut Deliveries, stream: &StreamId, len: u64) {
        deliveries.grow(Moment(0), stream, len);
        deliveries.look_at_time(Moment(FIRST_PIECE_WAIT_MS));
    }

    fn end(deliveries: &mut Deliveries, stream: &StreamId, len: u64) {
        grow(deliveries, stream, len);
        deliveries.end(stream.attempt);
    }

    fn piece(stream: StreamId, offset: u64, length: u64) -> NextToSend {
        NextToSend::Piece { stream, offset, length }
    }

    /// Returns everything that can be sent now.
    fn send(deliveries: &mut Deliveries, now: u64) -> Vec<NextToSend> {
        std::iter::from_fn(|| deliveries.next(Moment(now))).collect()
    }

    fn bytes(sent: &[NextToSend]) -> u64 {
        let length = |next: &NextToSend| match next {
            NextToSend::Piece { length, .. } => *length,
            NextToSend::Results(_) => 0,
        };
        sent.iter().map(length).sum()
    }

    #[test]
    fn results_follow_the_last_byte() {
        let mut deliveries = Deliveries::default();
        grow(&mut deliveries, &A, 10);
        assert_eq!(send(&mut deliveries, 0), [piece(A, 0, 10)]);
        end(&mut deliveries, &A, 15);
        assert_eq!(send(&mut deliveries, 0), [piece(A, 10, 5), NextToSend::Results(A.attempt)]);
        assert_eq!(send(&mut deliveries, 0), []);
    }

    #[test]
    fn few_first_bytes_wait_a_moment_for_the_end_and_no_longer() {
        let mut deliveries = Deliveries::default();
        deliveries.grow(Moment(7), &A, 10);
        assert_eq!(send(&mut deliveries, 7), []);
        assert_eq!(deliveries.next_deadline(), Some(Moment(7 + FIRST_PIECE_WAIT_MS)));
        deliveries.grow(Moment(8), &A, 15);
        deliveries.end(A.attempt);
        assert_eq!(send(&mut deliveries, 8), [piece(A, 0, 15), NextToSend::Results(A.attempt)]);

        deliveries.grow(Moment(9), &B, 10);
        deliveries.look_at_time(Moment(8 + FIRST_PIECE_WAIT_MS));
        assert_eq!(send(&mut deliveries, 9), []);
        deliveries.look_at_time(Moment(9 + FIRST_PIECE_WAIT_MS));
        assert_eq!(send(&mut deliveries, 14), [piece(B, 0, 10)]);
        deliveries.grow(Moment(15), &B, 11);
        assert_eq!(send(&mut deliveries, 15), [piece(B, 10, 1)], "later ones do not wait");

        let many = StreamId::log(AttemptId(3));
        deliveries.grow(Moment(20), &many, 10);
        deliveries.grow(Moment(20), &many, LOG_PIECE_MIN);
        assert_eq!(send(&mut deliveries, 20), [piece(many, 0, LOG_PIECE_MIN)]);
    }

    #[test]
    fn no_more_than_the_window_travels_unacknowledged_and_a_fast_answer_widens_it() {
        let mut deliveries = Deliveries::default();
        grow(&mut deliveries, &A, 1 << 30);
        let mut acknowledged = 0;
        for window in [1, 4, 16, 64, 256, 1024, 2048, 2048].map(|n| n * LOG_WINDOW_FIRST) {
            assert_eq!(bytes(&send(&mut deliveries, 0)), window);
            acknowledged += window;
            deliveries.acknowledge(Moment(1), &A, acknowledged);
        }
        assert_eq!(LOG_WINDOW_MAX, 2048 * LOG_WINDOW_FIRST);
    }

    #[test]
    fn a_slow_answer_narrows_the_window() {
        let mut deliveries = Deliveries::default();
        grow(&mut deliveries, &A, 1 << 30);
        send(&mut deliveries, 0);
        deliveries.acknowledge(Moment(9000), &A, LOG_WINDOW_FIRST);
        assert_eq!(bytes(&send(&mut deliveries, 0)), LOG_WINDOW_FIRST / 2);
    }

    /// C3: a ping behind the pieces must arrive in time over a slow line. Sabotage tried: no common limit; it fails.
    #[test]
    fn many_logs_have_no_more_on_the_way_than_one() {
        let mut deliveries = Deliveries::default();
        (1..20).for_each(|n| grow(&mut deliveries, &StreamId::log(AttemptId(n)), 1 << 20));
        assert_eq!(bytes(&send(&mut deliveries, 0)), LOG_WINDOW_FIRST);
        // An acknowledgement of one stream makes room for all.
        deliveries.acknowledge(Moment(5000), &A, LOG_PIECE_MIN);
        assert_eq!(send(&mut deliveries, 0), [piece(StreamId::log(AttemptId(3)), 0, LOG_PIECE_MIN)]);
    }

    #[test]
    fn attempts_take_turns() {
        let mut deliveries = Deliveries::default();
        grow(&mut deliveries, &A, 1 << 20);
        grow(&mut deliveries, &B, 1 << 20);
        let who = |next: Option<NextToSend>| match next {
            Some(NextToSend::Piece { stream, .. }) => stream.attempt,
            Some(NextToSend::Results(attempt)) => attempt,
            None => panic!("nothing to send"),
        };
        let turns: Vec<_> = (0..2).map(|_| who(deliveries.next(Moment(0)))).collect();
        assert_eq!(turns, [A, B].map(|stream| stream.attempt));
        deliveries.acknowledge(Moment(1), &A, LOG_PIECE_MIN);
        deliveries.acknowledge(Moment(1), &B, LOG_PIECE_MIN);
        let turns: Vec<_> = (0..4).map(|_| who(deliveries.next(Moment(0)))).collect();
        assert_eq!(turns, [A, B, A, B].map(|stream| stream.attempt));
    }

    #[test]
    fn a_new_session_goes_on_where_the_dispatcher_stands_and_gives_the_results_again() {
        let mut deliveries = Deliveries::default();
        end(&mut deliveries, &A, 100);
        end(&mut deliveries, &B, 5);
        send(&mut deliveries, 0);
        deliveries.resume(&[(A, 60)]);
        let sent = send(&mut deliveries, 0);
        assert_eq!(bytes(&sent), 40 + 5);
        assert!(sent.contains(&piece(A, 60, 40)));
        assert!(sent.contains(&NextToSend::Results(A.attempt)) && sent.contains(&NextToSend::Results(B.attempt)));
    }

    #[test]
    fn an_answer_that_repeats_its_offset_asks_for_the_bytes_behind_it_again() {
        let mut deliveries = Deliveries::default();
        end(&mut deliveries, &A, 100);
        send(&mut deliveries, 0);
        deliveries.acknowledge(Moment(1), &A, 40);
        assert_eq!(send(&mut deliveries, 1), [], "an answer on its way asks for nothing");
        deliveries.acknowledge(Moment(2), &A, 40);
        deliveries.acknowledge(Moment(3), &A, 40);
        assert_eq!(send(&mut deliveries, 3), [piece(A, 40, 60), NextToSend::Results(A.attempt)]);
        deliveries.acknowledge(Moment(4), &A, 40);
        assert_eq!(send(&mut deliveries, 4), [], "once is enough");
    }

    #[test]
    fn bytes_without_an_answer_after_the_results_are_sent_again() {
        let mut deliveries = Deliveries::default();
        end(&mut deliveries, &A, 100);
        send(&mut deliveries, 0);
        deliveries.acknowledge(Moment(1), &A, 40);
        assert_eq!(deliveries.next_deadline(), Some(Moment(1 + LOG_STALL_MS)));
        deliveries.look_at_time(Moment(1 + LOG_STALL_MS));
        assert_eq!(bytes(&send(&mut deliveries, 0)), 60);
        deliveries.forget(A.attempt);
        assert_eq!(deliveries.next_deadline(), None);
    }

    /// A second stream of A's attempt.
    fn report() -> StreamId {
        StreamId { attempt: A.attempt, kind: StreamKind::new(&"report".into()).unwrap() }
    }

    #[test]
    fn streams_of_one_attempt_take_turns_and_its_results_wait_for_all_of_them() {
        let mut deliveries = Deliveries::default();
        grow(&mut deliveries, &A, 2 * LOG_PIECE_MIN);
        end(&mut deliveries, &report(), 10);
        let most = LOG_PIECE_MIN - 10;
        let first = [piece(A, 0, LOG_PIECE_MIN), piece(report(), 0, 10), piece(A, LOG_PIECE_MIN, most)];
        assert_eq!(send(&mut deliveries, 0), first);
        // The log's last bytes wait for room, and the results for those bytes.
        deliveries.acknowledge(Moment(3000), &report(), 10);
        let last = piece(A, LOG_PIECE_MIN + most, 10);
        assert_eq!(send(&mut deliveries, 3000), [last, NextToSend::Results(A.attempt)]);
    }

    #[test]
    fn an_acknowledgement_moves_its_own_stream_only() {
        let mut deliveries = Deliveries::default();
        grow(&mut deliveries, &A, 100);
        end(&mut deliveries, &report(), 50);
        send(&mut deliveries, 0);
        deliveries.acknowledge(Moment(1), &A, 40);
        deliveries.acknowledge(Moment(2), &report(), 50);
        deliveries.acknowledge(Moment(3), &A, 40);
        assert_eq!(send(&mut deliveries, 3), [piece(A, 40, 60), NextToSend::Results(A.attempt)]);
        // Without an answer only the log's rest is sent again: the other stream is whole.
        deliveries.look_at_time(Moment(3 + LOG_STALL_MS));
        assert_eq!(send(&mut deliveries, 0), [piece(A, 40, 60), NextToSend::Results(A.attempt)]);
        deliveries.resume(&[(report(), 20)]);
        let again = [piece(A, 0, 100), piece(report(), 20, 30), NextToSend::Results(A.attempt)];
        assert_eq!(send(&mut deliveries, 0), again);
    }

    proptest! {
        /// Two streams of one attempt against a dispatcher that takes only what follows on what it has, with pieces
        /// and answers lost: both arrive whole, before the results count. Sabotage tried: results that wait for their
        /// log alone; it fails.
        #[test]
        fn two_streams_of_an_attempt_arrive_whole_whatever_is_lost(
            lens in [1..40_000u64, 1..40_000u64],
            losses in prop::collection::vec(any::<bool>(), 0..60),
        ) {
            let mut deliveries = Deliveries::default();
            let streams = [A, report()];
            let (mut have, mut sent) = ([0, 0], [0, 0]);
            streams.iter().zip(lens).for_each(|(stream, len)| grow(&mut deliveries, stream, len));
            deliveries.end(A.attempt);
            let mut losses = losses.into_iter();
            let (mut now, mut are_results_taken) = (Moment(0), false);
            for _ in 0..2000 {
                match deliveries.next(now) {
                    // A lost piece leaves a gap, and the dispatcher drops the pieces behind it.
                    Some(NextToSend::Piece { stream, offset, length }) => {
                        let at = usize::from(stream != A);
                        sent[at] = sent[at].max(offset + length);
                        if !losses.next().unwrap_or(false) && offset <= have[at] {
                            have[at] = have[at].max(offset + length);
                        }
                        if !losses.next().unwrap_or(false) {
                            deliveries.acknowledge(now, &stream, have[at]);
                        }
                    }
                    Some(NextToSend::Results(attempt)) => {
                        prop_assert_eq!((attempt, sent), (A.attempt, lens));
                        are_results_taken = have == lens;
                        for at in [0, 1] {
                            // As the dispatcher answers results whose streams are not whole.
                            if have[at] < lens[at] {
                                deliveries.acknowledge(now, &streams[at], have[at]);
                            }
                        }
                    }
                    None if are_results_taken => break,
                    None => {
                        // Nothing moves without an answer, so all offsets are told again, as after a reconnect.
                        let offsets: Vec<_> = streams.iter().cloned().zip(have).collect();
                        deliveries.resume(&offsets);
                    }
                }
                now = now.after(10);
            }
            prop_assert!(are_results_taken, "{:?} of {:?}", have, lens);
        }
    }
}
