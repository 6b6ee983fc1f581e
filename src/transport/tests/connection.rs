//! Stories about a whole connection, over each kind of link: one end reads the bytes that the other wrote, and a
//! failure has the same name on each.

use std::time::Duration;

use proptest::prelude::*;
use rustix::net::sockopt;
use serde::{Deserialize, Serialize};

use super::{LONG, SHORT, late_pair, over_each, spawn, tcp_pair};
use crate::clock;
use crate::protocol::limits::{MAX_LINE_BYTES, MAX_PAYLOAD_BYTES};
use crate::transport::buffer::{BUSY_BYTES, IDLE_BYTES};
use crate::transport::link::WRITE_PATIENCE;
use crate::transport::{Frame, FrameReader, Stream, TransportError, write_frame};

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Note {
    Text { text: String },
    Blob { bytes: u64 },
}

fn text(text: &str) -> Note {
    Note::Text { text: text.to_owned() }
}

fn reader(stream: &Stream) -> FrameReader {
    let mut reader = FrameReader::new(stream.clone());
    reader.set_timeout(Some(LONG)).unwrap();
    reader
}

fn read(reader: &mut FrameReader) -> Result<Option<Note>, TransportError> {
    reader.read(MAX_LINE_BYTES)
}

fn write(stream: &Stream, bytes: &[u8]) {
    stream.write_both(bytes, &[]).unwrap();
}

fn write_frames(stream: &Stream, frames: &[Frame]) -> Result<(), TransportError> {
    frames.iter().try_for_each(|frame| write_frame(stream, frame))
}

#[test]
fn messages_and_payloads_arrive_in_order() {
    over_each(|here, there| {
        let blob: Vec<u8> = (0..300_000_u32).map(|n| (n % 251) as u8).collect();
        let mut frames: Vec<_> = (0..40).map(|n| Frame::new(&text(&n.to_string()))).collect();
        frames.push(Frame::with_payload(&Note::Blob { bytes: 300_000 }, blob.clone()));
        frames.push(Frame::with_payload(&Note::Blob { bytes: 3 }, b"abc".to_vec()));
        frames.push(Frame::new(&text("last")));
        let writer = spawn(move || write_frames(&here, &frames));

        let mut reader = reader(&there);
        for n in 0..40 {
            assert_eq!(read(&mut reader).unwrap().unwrap(), text(&n.to_string()));
        }
        // It holds less than the first payload, and more than the second.
        let mut payload = b"before".to_vec();
        for expected in [blob.as_slice(), b"abc"] {
            let Some(Note::Blob { bytes }) = read(&mut reader).unwrap() else { panic!("a blob was sent") };
            reader.read_payload(bytes, &mut payload).unwrap();
            assert_eq!(payload, expected);
        }
        assert_eq!(read(&mut reader).unwrap(), Some(text("last")));
        assert_eq!(read(&mut reader).unwrap(), None);
        writer.join().unwrap().unwrap();
    });
}

#[test]
fn closing_wakes_a_blocked_reader_on_either_side() {
    over_each(|here, there| {
        let blocked = [here.clone(), there].map(|stream| spawn(move || read(&mut FrameReader::new(stream))));
        here.close();
        for thread in blocked {
            assert!(matches!(thread.join().unwrap(), Ok(None)));
        }
    });
}

#[test]
fn closing_wakes_a_blocked_writer_on_either_side() {
    for closes_own_side in [true, false] {
        over_each(|here, there| {
            let stream = here.clone();
            let writer = spawn(move || {
                loop {
                    if let Err(error) = stream.write_both(&[b'x'; 65536], &[]) {
                        return error;
                    }
                }
            });
            // Once a byte has arrived, the writer is writing. It fills the connection and blocks.
            assert_eq!(there.read(&mut [0], Some(LONG)).unwrap(), 1);
            if closes_own_side {
                here.close()
            } else {
                there.close()
            }
            let error = writer.join().unwrap();
            assert!(matches!(error, TransportError::Closed(_)), "{error:?}");
        });
    }
}

#[test]
fn a_peer_that_is_dropped_is_gone() {
    over_each(|here, there| {
        drop(there);
        assert!(matches!(read(&mut reader(&here)), Ok(None)));
    });
}

#[test]
fn an_end_inside_a_line_or_a_payload_is_told_from_an_orderly_one() {
    over_each(|here, there| {
        write(&here, b"{\"type\":\"te");
        here.close();
        assert!(matches!(read(&mut reader(&there)), Err(TransportError::EndOfStream)));
    });
    over_each(|here, there| {
        write(&here, b"{\"type\":\"blob\",\"bytes\":10}\nabc");
        here.close();
        let mut reader = reader(&there);
        assert_eq!(read(&mut reader).unwrap(), Some(Note::Blob { bytes: 10 }));
        let error = reader.read_payload(10, &mut Vec::new()).unwrap_err();
        assert!(matches!(error, TransportError::ShortPayload { len: 10, missing: 7 }), "{error:?}");
        assert_eq!(error.to_string(), "the peer closed the connection 7 bytes before the end of a payload of 10");
    });
}

#[test]
fn a_reader_that_timed_out_goes_on_where_it_was() {
    over_each(|here, there| {
        let mut reader = reader(&there);
        reader.set_timeout(Some(SHORT)).unwrap();
        assert!(matches!(read(&mut reader), Err(TransportError::TimedOut(SHORT))));
        write(&here, b"{\"type\":\"text\",\"text\"");
        assert!(matches!(read(&mut reader), Err(TransportError::TimedOut(_))));
        write(&here, b":\"whole\"}\n");
        reader.set_timeout(None).unwrap();
        assert_eq!(read(&mut reader).unwrap(), Some(text("whole")));
    });
}

#[test]
fn a_byte_now_and_then_does_not_extend_the_time_for_a_message() {
    over_each(|here, there| {
        let mut reader = reader(&there);
        reader.set_timeout(Some(Duration::from_millis(100))).unwrap();
        let started = clock::instant();
        let dripping = spawn(move || {
            // Nothing arrives, so the read is a pause: one byte is sent every 10 ms, until the other side closes.
            while !matches!(here.read(&mut [0], Some(Duration::from_millis(10))), Ok(0))
                && here.write_both(b"[", &[]).is_ok()
            {}
        });
        assert!(matches!(read(&mut reader), Err(TransportError::TimedOut(_))));
        let took = started.elapsed();
        there.close();
        dripping.join().unwrap();
        assert!(took >= Duration::from_millis(95) && took < LONG, "{took:?}");
    });
}

#[test]
fn a_silent_peer_ends_a_payload_and_a_slow_one_does_not() {
    over_each(|here, there| {
        let mut reader = reader(&there);
        // Longer than a thread waits for its turn on a machine that is busy with other tests.
        reader.set_timeout(Some(Duration::from_millis(1500))).unwrap();
        let dripping = spawn(move || {
            for _ in 0..20 {
                // Nothing arrives, so the read is a pause.
                assert!(here.read(&mut [0], Some(Duration::from_millis(100))).is_err());
                write(&here, &[7; 100]);
            }
            here
        });
        reader.read_payload(2000, &mut Vec::new()).unwrap();
        let here = dripping.join().unwrap();
        let error = reader.read_payload(1, &mut Vec::new()).unwrap_err();
        assert!(matches!(error, TransportError::TimedOut(_)), "{error:?}");
        drop(here);
    });
}

#[test]
fn a_line_that_is_too_long_is_refused_before_its_end() {
    over_each(|here, there| {
        let writer = spawn(move || while here.write_both(&[b'x'; 65536], &[]).is_ok() {});
        let mut reader = reader(&there);
        for _ in 0..2 {
            assert!(matches!(read(&mut reader), Err(TransportError::LineTooLong { max: MAX_LINE_BYTES })));
        }
        assert!(reader.buffer_size() <= 2 * MAX_LINE_BYTES);
        there.close();
        writer.join().unwrap();
    });
    over_each(|here, there| {
        let line = format!("{{\"type\":\"text\",\"text\":\"{}\"}}\n", "y".repeat(100));
        write(&here, line.as_bytes());
        write(&here, line.as_bytes());
        let mut reader = reader(&there);
        assert!(reader.read::<Note>(line.len()).unwrap().is_some());
        assert!(matches!(reader.read::<Note>(line.len() - 1), Err(TransportError::LineTooLong { .. })));
    });
}

#[test]
fn a_line_that_was_too_long_can_be_skipped() {
    over_each(|here, there| {
        let writer = spawn(move || {
            write_frame(&here, &Frame::new(&text(&"y".repeat(3 * MAX_LINE_BYTES)))).unwrap();
            write_frame(&here, &Frame::new(&text("behind it"))).unwrap();
        });
        let mut reader = reader(&there);
        assert!(matches!(read(&mut reader), Err(TransportError::LineTooLong { .. })));
        reader.skip_line();
        assert_eq!(read(&mut reader).unwrap(), Some(text("behind it")));
        assert_eq!(read(&mut reader).unwrap(), None);
        writer.join().unwrap();
    });
}

#[test]
fn the_buffer_of_a_session_is_small_again_after_a_large_line() {
    over_each(|here, there| {
        let large = text(&"z".repeat(MAX_LINE_BYTES - 100));
        let expected = large.clone();
        let writer = spawn(move || {
            write_frame(&here, &Frame::new(&large)).unwrap();
            write_frame(&here, &Frame::new(&text("small"))).unwrap();
        });
        let mut reader = reader(&there);
        assert_eq!(reader.buffer_size(), IDLE_BYTES);
        assert_eq!(read(&mut reader).unwrap(), Some(expected));
        assert_eq!(read(&mut reader).unwrap(), Some(text("small")));
        assert_eq!(read(&mut reader).unwrap(), None);
        assert!(reader.buffer_size() <= BUSY_BYTES, "{}", reader.buffer_size());
        writer.join().unwrap();
    });
}

#[test]
fn a_broken_line_is_malformed_and_the_next_one_is_read() {
    over_each(|here, there| {
        write(&here, b"GET / HTTP/1.1\r\n\n{\"type\":\"text\"}\n\0\xff\n{\"type\":\"text\",\"text\":\"fine\"}\r\n");
        let mut reader = reader(&there);
        for _ in 0..4 {
            assert!(matches!(read(&mut reader), Err(TransportError::Malformed(_))));
        }
        assert_eq!(read(&mut reader).unwrap(), Some(text("fine")));
    });
}

#[test]
fn a_message_of_unknown_type_is_skipped_with_its_payload() {
    over_each(|here, there| {
        let mut bytes = b"{\"type\":\"dance\",\"bytes\":200000}\n".to_vec();
        bytes.resize(bytes.len() + 200_000, b'\n');
        bytes.extend(b"{\"type\":\"text\",\"text\":\"after\"}\n{\"type\":\"huge\",\"bytes\":1048577}\n");
        let writer = spawn(move || here.write_both(&bytes, &[]));
        let mut reader = reader(&there);
        assert!(matches!(read(&mut reader), Err(TransportError::UnknownType { name }) if name == "dance"));
        assert_eq!(read(&mut reader).unwrap(), Some(text("after")));
        assert!(matches!(read(&mut reader), Err(TransportError::PayloadTooLong { len: 1_048_577 })));
        writer.join().unwrap().unwrap();
    });
}

#[test]
fn more_payload_than_allowed_is_refused_unread() {
    let (_here, there) = Stream::pair();
    let mut payload = Vec::new();
    let error = reader(&there).read_payload(MAX_PAYLOAD_BYTES as u64 + 1, &mut payload).unwrap_err();
    assert!(matches!(error, TransportError::PayloadTooLong { .. }));
    assert_eq!(payload.capacity(), 0);
}

#[test]
fn a_peer_that_reads_nothing_stalls_the_writer_for_a_bounded_time() {
    for (here, _there) in [Stream::pair(), tcp_pair(), late_pair()] {
        let blob = [0; 100_000];
        let error = (0..400).find_map(|_| here.write_within(&blob, &blob, SHORT).err()).unwrap();
        assert!(matches!(error, TransportError::Stalled(SHORT)), "{error:?}");
    }
}

/// S24, S25: reading a byte now and then does not extend the deadline. Sabotage tried: no deadline for the whole write;
/// the test fails.
#[test]
fn a_peer_that_reads_a_byte_now_and_then_is_given_up_as_well() {
    let (here, there) = Stream::pair_with(Some(1));
    let sipping = spawn(move || {
        while matches!(there.read(&mut [0], Some(LONG)), Ok(1)) {
            // Nothing ever arrives: the timeout is the pause.
            crossbeam_channel::never::<()>().recv_timeout(Duration::from_millis(5)).unwrap_err();
        }
    });
    let error = here.write_within(&[b'x'; 200], &[], SHORT).unwrap_err();
    assert!(matches!(error, TransportError::Stalled(SHORT)), "{error:?}");
    here.close();
    sipping.join().unwrap();
}

#[test]
fn a_refusal_is_read_although_the_peer_went_on_talking() {
    over_each(|here, there| {
        let talker = spawn(move || {
            while there.write_both(b"garbage", &[]).is_ok() {
                if let Ok(note) = read(&mut reader(&there)) {
                    return note;
                }
            }
            None
        });
        assert!(here.read(&mut [0; 3], Some(LONG)).unwrap() > 0);
        write_frame(&here, &Frame::new(&text("no"))).unwrap();
        here.hang_up(LONG);
        assert_eq!(talker.join().unwrap(), Some(text("no")));
    });
}

#[test]
fn sockets_on_both_sides_notice_a_dead_peer() {
    let (dialled, accepted) = tcp_pair();
    for stream in [dialled, accepted] {
        let socket = stream.socket();
        assert!(socket.nodelay().unwrap());
        assert!(sockopt::socket_keepalive(socket).unwrap());
        assert_eq!(sockopt::tcp_keepidle(socket).unwrap(), Duration::from_secs(15));
        assert_eq!(sockopt::tcp_keepintvl(socket).unwrap(), Duration::from_secs(5));
        assert_eq!(sockopt::tcp_keepcnt(socket).unwrap(), 3);
        assert_eq!(sockopt::tcp_user_timeout(socket).unwrap(), 20_000);
        assert_eq!(socket.write_timeout().unwrap(), Some(WRITE_PATIENCE));
        assert!(stream.peer().starts_with("127.0.0.1:"));
    }
}

/// Messages of a peer, and their payloads.
fn arbitrary_notes() -> impl Strategy<Value = Vec<(Note, Vec<u8>)>> {
    let note = prop_oneof![
        3 => any::<String>().prop_map(|text| (Note::Text { text }, Vec::new())),
        1 => "a{0,9000}".prop_map(|text| (Note::Text { text }, Vec::new())),
        2 => prop::collection::vec(any::<u8>(), 0..3000)
            .prop_map(|blob| (Note::Blob { bytes: blob.len() as u64 }, blob)),
    ];
    prop::collection::vec(note, 0..12)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    /// A pipe that holds `cut` bytes cuts the stream into pieces of at most that size. Smaller pieces are tried on the
    /// buffer alone, without a change of threads for each.
    #[test]
    fn any_stream_cut_into_any_pieces_gives_the_same_messages(notes in arbitrary_notes(), cut in 50_usize..5000) {
        let (here, there) = Stream::pair_with(Some(cut));
        let frames: Vec<_> = notes.iter().map(|(note, blob)| Frame::with_payload(note, blob.clone())).collect();
        let writer = spawn(move || write_frames(&here, &frames));
        let mut reader = reader(&there);
        for (note, blob) in &notes {
            prop_assert_eq!(&read(&mut reader).unwrap().unwrap(), note);
            let mut payload = Vec::new();
            if let Note::Blob { bytes } = note {
                reader.read_payload(*bytes, &mut payload).unwrap();
            }
            prop_assert_eq!(&payload, blob);
        }
        prop_assert_eq!(read(&mut reader).unwrap(), None);
        writer.join().unwrap().unwrap();
    }

    #[test]
    fn arbitrary_bytes_never_panic_and_never_grow_the_buffer(
        bytes in prop::collection::vec(prop_oneof![4 => any::<u8>(), 1 => Just(b'\n')], 0..8_000),
        max_line in 1_usize..2_000,
    ) {
        let (here, there) = Stream::pair();
        write(&here, &bytes);
        here.close();
        let mut reader = reader(&there);
        loop {
            match reader.read::<Note>(max_line) {
                Ok(Some(Note::Blob { bytes })) => drop(reader.read_payload(bytes, &mut Vec::new())),
                Ok(Some(Note::Text { .. })) => {}
                Err(TransportError::Malformed(_) | TransportError::UnknownType { .. }) => {}
                Ok(None) | Err(_) => break,
            }
            prop_assert!(reader.buffer_size() <= BUSY_BYTES);
        }
    }
}

#[test]
fn the_first_line_may_be_shorter_than_the_buffer() {
    let (here, there) = Stream::pair();
    write(&here, b"{\"type\":\"text\",\"text\":\"\"}\n");
    assert!(matches!(reader(&there).read::<Note>(8), Err(TransportError::LineTooLong { max: 8 })));
}
