//! The outbox of a peer that reads, reads too little, or is gone.

use std::time::Instant;

use super::*;
use crate::protocol::limits::MAX_LINE_BYTES;
use crate::transport::FrameReader;
use crate::transport::tests::{LONG, late_pair, over_each, tcp_pair};

fn line(text: &str) -> Frame {
    Frame { line: format!("\"{text}\"\n").into_bytes(), payload: Vec::new() }
}

fn has_writer(outbox: &Outbox) -> bool {
    outbox.inner.lock().writer.is_some()
}

fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let begun: Instant = clock::instant();
    while !is_so() {
        assert!(begun.elapsed() < LONG, "in vain: {what}");
        // The other thread needs the lock that `is_so` takes, and must get its turn at it.
        let _ = crossbeam_channel::never::<()>().recv_timeout(Duration::from_millis(1));
    }
}

fn reader(stream: Stream) -> FrameReader {
    let mut reader = FrameReader::new(stream);
    reader.set_timeout(Some(LONG)).unwrap();
    reader
}

fn read(reader: &mut FrameReader) -> Option<String> {
    reader.read(MAX_LINE_BYTES).unwrap()
}

/// Sends lines until the connection has no room for one at once. Returns how many.
fn fill(outbox: &Outbox) -> usize {
    let large = "x".repeat(60_000);
    (1..)
        .find(|_| {
            outbox.send(&line(&large));
            has_writer(outbox)
        })
        .unwrap()
}

#[test]
fn messages_arrive_in_order_whoever_writes_them() {
    over_each(|here, there| {
        let (outbox, last_word) = Outbox::new(SessionId(1), here);
        let count = 50_000;
        let reading = threads::spawn("reader", move || {
            let mut reader = reader(there);
            for n in 0..count {
                assert_eq!(read(&mut reader), Some(format!("number {n}")));
            }
            assert_eq!(read(&mut reader), None);
        })
        .unwrap();
        for n in 0..count {
            match n % 7 {
                0 => {
                    // A large piece may overtake gathered messages; this test wants it in its place.
                    outbox.flush();
                    assert!(outbox.send_bulk(&line(&format!("number {n}"))));
                }
                1..=3 => drop(outbox.gather(&line(&format!("number {n}")))),
                _ => outbox.send(&line(&format!("number {n}"))),
            }
        }
        outbox.finish();
        reading.join().unwrap();
        drop(last_word);
    });
}

/// Sabotage tried: a writer that waits without a limit; it fails.
#[test]
fn a_thread_writes_only_while_the_peer_has_no_room() {
    let (here, there) = tcp_pair();
    let (outbox, last_word) = Outbox::new(SessionId(1), here);
    let mut reader = reader(there);
    for round in 0..3 {
        outbox.send(&line("small"));
        assert_eq!(read(&mut reader).as_deref(), Some("small"));
        assert!(!has_writer(&outbox), "round {round}");
        let count = fill(&outbox);
        for _ in 0..count {
            assert_eq!(read(&mut reader).unwrap().len(), 60_000);
        }
        // It ends by itself.
        until("the writer's end", || !has_writer(&outbox));
    }
    drop(last_word);
}

/// Small pieces leave in one write, and none is taken that would have to wait.
#[test]
fn a_small_piece_is_taken_while_nothing_waits_to_be_written() {
    over_each(|here, there| {
        let (outbox, last_word) = Outbox::new(SessionId(1), here);
        let mut reader = reader(there);
        let small = Frame { line: b"\"piece\"\n".to_vec(), payload: b"\"payload\"\n".to_vec() };
        assert!(outbox.gather_small(&small) && outbox.gather_small(&small));
        assert_eq!(outbox.waiting(), 2 * (small.line.len() + small.payload.len()), "nothing is written yet");
        assert!(!outbox.gather_small(&line(&"x".repeat(SMALL_BYTES))), "it is large");
        outbox.flush();
        for text in ["piece", "payload", "piece", "payload"] {
            assert_eq!(read(&mut reader).as_deref(), Some(text));
        }
        outbox.inner.lock().taken = Some(7);
        assert!(!outbox.gather_small(&small), "a thread is writing");
        outbox.inner.lock().taken = None;
        // As if there had been no room for it: a full socket may have room again a moment later.
        outbox.add(&line("waits"));
        assert!(!outbox.gather_small(&small), "a message waits to be written");
        outbox.flush();
        assert_eq!(read(&mut reader).as_deref(), Some("waits"));
        until("everything is written", || outbox.waiting() == 0);
        assert!(outbox.gather_small(&small));
        outbox.finish();
        assert!(!outbox.gather_small(&small), "the session has ended");
        drop(last_word);
    });
}

#[test]
fn a_peer_that_lets_too_much_pile_up_is_closed() {
    over_each(|here, there| {
        let (outbox, last_word) = Outbox::new(SessionId(1), here.clone());
        fill(&outbox);
        let piece = line(&"x".repeat(1 << 20));
        // The system may find room for some of it.
        let is_closed = (0..(OUTBOX_BYTES >> 20) + 16).any(|_| {
            outbox.send(&piece);
            outbox.is_over()
        });
        assert!(is_closed);
        assert!(outbox.inner.lock().lines.is_empty(), "nothing of it is kept");
        assert!(!outbox.send_bulk(&piece));
        drop(last_word);
        drop(there);
    });
}

/// Messages and a source go to a peer that reads nothing. The thread that waits to send is released when the session
/// ends.
#[test]
fn the_last_word_waits_for_a_bounded_time() {
    over_each(|here, there| {
        let (outbox, last_word) = Outbox::new(SessionId(1), here);
        let bulk = outbox.clone();
        let sending = threads::spawn("source", move || {
            let piece = Frame { line: b"\"piece\"\n".to_vec(), payload: vec![0; 1 << 20] };
            while bulk.send_bulk(&piece) {}
        })
        .unwrap();
        until("a full socket", || {
            outbox.inner.lock().taken.is_some() && {
                outbox.send(&line("waits"));
                !outbox.inner.lock().lines.is_empty()
            }
        });
        outbox.end(Duration::from_millis(50));
        sending.join().unwrap();
        assert!(!has_writer(&outbox));
        drop(last_word);
        drop(there);
    });
}

#[test]
fn what_was_said_before_the_end_arrives() {
    over_each(|here, there| {
        let (outbox, last_word) = Outbox::new(SessionId(1), here.clone());
        let count = fill(&outbox);
        let reading = threads::spawn("reader", move || {
            let mut reader = reader(there);
            (0..count).for_each(|_| assert_eq!(read(&mut reader).unwrap().len(), 60_000));
            reader.read::<String>(MAX_LINE_BYTES)
        })
        .unwrap();
        drop(last_word);
        outbox.send(&line("too late"));
        here.close();
        assert_eq!(reading.join().unwrap().unwrap(), None);
    });
}

/// Sabotage tried: an outbox that takes accepted bytes for gone; this test fails, and so do the next two.
#[test]
fn bytes_that_the_connection_holds_back_get_a_writer_of_their_own() {
    let (here, there) = late_pair();
    let (outbox, last_word) = Outbox::new(SessionId(1), here);
    outbox.send(&line("held back"));
    assert!(outbox.inner.lock().lines.is_empty(), "the connection has accepted all of it");
    assert!(has_writer(&outbox));
    let mut reader = reader(there);
    assert_eq!(read(&mut reader).as_deref(), Some("held back"));
    until("nothing is left", || outbox.waiting() == 0);
    until("the writer's end", || !has_writer(&outbox));
    drop(last_word);
}

#[test]
fn the_peer_sees_the_end_behind_bytes_that_the_connection_held_back() {
    let (here, there) = late_pair();
    let (outbox, last_word) = Outbox::new(SessionId(1), here.clone());
    outbox.send(&line("last"));
    outbox.finish();
    let mut reader = reader(there);
    assert_eq!(read(&mut reader).as_deref(), Some("last"));
    assert_eq!(read(&mut reader), None);
    until("the end of the session", || outbox.is_over());
    assert_eq!(here.pending(), 0);
    drop(last_word);
}

#[test]
fn the_last_word_waits_for_bytes_that_the_connection_holds_back() {
    let (here, there) = late_pair();
    let (outbox, last_word) = Outbox::new(SessionId(1), here);
    let text = "x".repeat(50_000);
    outbox.send(&line(&text));
    drop((last_word, outbox));
    let mut reader = reader(there);
    assert_eq!(read(&mut reader), Some(text));
}
