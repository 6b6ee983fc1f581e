//! Stories about encrypted connections: what rustls adds to a conversation, and peers that do not follow the rules.
//! What is true of every link is told in [`super::connection`].

use std::io::{IoSlice, Read, Write};
use std::sync::Arc;
use std::time::Duration;

use rustls::{Connection, ServerConnection};

use super::{LONG, SHORT, encrypt, spawn, tcp_pair};
use crate::clock;
use crate::model::Pin;
use crate::transport::link::{Link, memory, tls};
use crate::transport::tls::pinned;
use crate::transport::{AuthorityKey, Stream, TlsError, TlsServer, TransportError};

const SECOND: Duration = Duration::from_secs(1);

fn server() -> TlsServer {
    with_pin().0
}

fn with_pin() -> (TlsServer, [Pin; 1]) {
    let authority = AuthorityKey::generate().unwrap();
    let pins = [authority.pin()];
    (TlsServer::new(Arc::new(authority), None).unwrap(), pins)
}

/// A client of this program, and a peer that speaks TLS through rustls alone, step by step.
fn with_raw_server() -> (Stream, RawPeer) {
    let (here, there) = memory::PairEnd::pair(None);
    let (server, pins) = with_pin();
    let client = spawn(move || Stream::over(here).encrypt(&pins, LONG).unwrap());
    let mut peer = RawPeer { link: there, connection: server.connection().unwrap() };
    while peer.connection.is_handshaking() {
        peer.receive().unwrap();
        peer.send();
    }
    (client.join().unwrap(), peer)
}

struct RawPeer {
    link: memory::PairEnd,
    connection: ServerConnection,
}

impl RawPeer {
    /// Sends what rustls has to send.
    fn send(&mut self) {
        let mut bytes = Vec::new();
        while self.connection.wants_write() {
            self.connection.write_tls(&mut bytes).unwrap();
        }
        self.send_bytes(&bytes);
    }

    fn send_bytes(&self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let count = self.link.write_some(&[IoSlice::new(bytes)], LONG).unwrap();
            bytes = &bytes[count..];
        }
    }

    fn write(&mut self, text: &[u8]) {
        self.connection.writer().write_all(text).unwrap();
        self.send();
    }

    /// Receives some bytes. Returns their number.
    fn receive(&mut self) -> Result<usize, rustls::Error> {
        let mut bytes = [0; 4096];
        let count = self.link.read(&mut bytes, Some(LONG)).unwrap();
        let mut rest = &bytes[..count];
        while !rest.is_empty() {
            self.connection.read_tls(&mut rest).unwrap();
            self.connection.process_new_packets()?;
        }
        Ok(count)
    }

    fn read(&mut self, count: usize) -> Vec<u8> {
        let mut text = vec![0; count];
        let mut at = 0;
        while at < count {
            match self.connection.reader().read(&mut text[at..]) {
                Ok(read) => at += read,
                Err(_) => assert!(self.receive().unwrap() > 0),
            }
        }
        text
    }
}

fn read(stream: &Stream, count: usize) -> Vec<u8> {
    let mut bytes = vec![0; count];
    let mut at = 0;
    while at < count {
        let read = stream.read(&mut bytes[at..], Some(LONG)).unwrap();
        assert!(read > 0, "{at} of {count}");
        at += read;
    }
    bytes
}

fn write(stream: &Stream, bytes: &[u8]) {
    stream.write_both(bytes, &[]).unwrap();
}

fn failed<T>(result: Result<T, TransportError>) -> TlsError {
    let error = result.err().unwrap();
    let TransportError::Tls { source, .. } = error else { panic!("{error:?}") };
    *source
}

#[test]
fn no_byte_goes_in_the_clear_and_both_sides_know_it() {
    let (below_here, below_there) = Stream::pair();
    assert!(!below_here.is_encrypted());
    let (client, server) = encrypt((below_here, below_there.clone()));
    assert!(client.is_encrypted() && server.is_encrypted());
    write(&client, b"a secret word");
    let mut wire = [0; 1000];
    let count = below_there.read(&mut wire, Some(LONG)).unwrap();
    assert!(count > 13 && !wire.windows(6).any(|window| window == b"secret"));
}

#[test]
fn keys_are_updated_in_the_middle_of_a_conversation_by_either_side() {
    let (client, mut peer) = with_raw_server();
    for round in 0_u8..3 {
        peer.connection.refresh_traffic_keys().unwrap();
        peer.write(&[round; 5]);
        assert_eq!(read(&client, 5), [round; 5]);
        // The client was asked to update its keys, too, and does so before it says anything else.
        write(&client, &[round; 7]);
        assert_eq!(peer.read(7), [round; 7]);
    }
}

#[test]
fn an_alert_in_the_middle_of_the_stream_ends_reading_behind_the_bytes_before_it() {
    let (client, mut peer) = with_raw_server();
    peer.write(b"before");
    // A record that nobody can decrypt: the client answers with an alert, which the peer gets.
    peer.send_bytes(&[23, 3, 3, 0, 20, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
    assert_eq!(read(&client, 6), b"before");
    let error = client.read(&mut [0; 10], Some(LONG)).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionAborted);
    let alert = loop {
        match peer.receive() {
            Ok(_) => {}
            Err(error) => break error,
        }
    };
    assert_eq!(alert, rustls::Error::AlertReceived(rustls::AlertDescription::BadRecordMac));
    // The other way round: the connection of rustls sends its alert, and the next read of ours fails.
    let (client, mut peer) = with_raw_server();
    let mut broken: &[u8] = &[23, 3, 3, 0, 20, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9];
    peer.connection.read_tls(&mut broken).unwrap();
    peer.connection.process_new_packets().unwrap_err();
    peer.send();
    let error = client.read(&mut [0; 10], Some(LONG)).unwrap_err();
    assert!(error.to_string().contains("BadRecordMac"), "{error}");
}

#[test]
fn each_direction_ends_by_itself_behind_its_last_byte_and_with_close_notify() {
    let (client, mut peer) = with_raw_server();
    write(&client, b"last words");
    client.finish();
    assert_eq!(client.pending(), 0);
    assert_eq!(peer.read(10), b"last words");
    while !peer.connection.process_new_packets().unwrap().peer_has_closed() {
        peer.receive().unwrap();
    }
    assert_eq!(peer.link.read(&mut [0], Some(LONG)).unwrap(), 0, "the end of the link below follows");
    // The other direction goes on.
    peer.write(b"answer");
    assert_eq!(read(&client, 6), b"answer");
    assert!(matches!(client.write_both(b"more", &[]), Err(TransportError::Closed(_))));
    peer.connection.send_close_notify();
    peer.send();
    // Nothing counts behind close_notify, and the link below is open.
    peer.send_bytes(b"garbage");
    for _ in 0..2 {
        assert_eq!(client.read(&mut [0; 10], Some(LONG)).unwrap(), 0);
    }
}

#[test]
fn closing_tells_the_peer_so_and_a_peer_that_vanishes_is_just_gone() {
    let (client, mut peer) = with_raw_server();
    client.close();
    while !peer.connection.process_new_packets().unwrap().peer_has_closed() {
        assert!(peer.receive().unwrap() > 0);
    }
    let (client, peer) = with_raw_server();
    drop(peer);
    assert_eq!(client.read(&mut [0; 10], Some(LONG)).unwrap(), 0);
}

#[test]
fn large_transfers_in_both_directions_at_once_arrive_whole() {
    for pair in [Stream::pair(), tcp_pair()] {
        let (client, server) = encrypt(pair);
        let bytes: Arc<[u8]> = (0..3_000_000_u32).map(|n| (n % 251) as u8).collect();
        // Each side writes all of it before it reads a byte in the same thread; its reader is another thread.
        let sides = [client, server].map(|stream| {
            let (writing, sent, expected) = (stream.clone(), bytes.clone(), bytes.clone());
            let writer = spawn(move || sent.chunks(100_000).for_each(|piece| write(&writing, piece)));
            let reader = spawn(move || assert!(read(&stream, expected.len()) == *expected));
            (writer, reader)
        });
        for (writer, reader) in sides {
            writer.join().unwrap();
            reader.join().unwrap();
        }
    }
}

#[test]
fn a_peer_that_stops_in_the_handshake_is_given_up_in_time_on_either_side() {
    let begun = clock::instant();
    let (here, _silent) = Stream::pair();
    let pins = [Pin::new([7; 32])];
    assert!(matches!(failed(here.encrypt(&pins, SHORT)), TlsError::TimedOut(SHORT)));
    let (here, _silent) = Stream::pair();
    assert!(matches!(failed(here.encrypt_as(&server(), Vec::new(), SHORT)), TlsError::TimedOut(SHORT)));
    // After half of the client's first message.
    let mut hello = Vec::new();
    pinned::client(&pins).unwrap().write_tls(&mut hello).unwrap();
    let (here, there) = Stream::pair();
    write(&there, &hello[..hello.len() / 2]);
    assert!(matches!(failed(here.encrypt_as(&server(), Vec::new(), SHORT)), TlsError::TimedOut(SHORT)));
    // A byte now and then does not extend the time.
    let (here, there) = Stream::pair();
    let dripping = spawn(move || {
        for byte in hello.chunks(1) {
            if there.write_both(byte, &[]).is_err() || there.read(&mut [0], Some(SHORT / 10)).is_ok() {
                return;
            }
        }
    });
    assert!(matches!(failed(here.encrypt_as(&server(), Vec::new(), SHORT)), TlsError::TimedOut(SHORT)));
    here.close();
    dripping.join().unwrap();
    assert!(begun.elapsed() < LONG);
}

#[test]
fn a_peer_that_ends_or_speaks_something_else_in_the_handshake_is_told_apart() {
    let (here, there) = Stream::pair();
    drop(there);
    assert!(matches!(failed(here.encrypt(&[Pin::new([7; 32])], LONG)), TlsError::Ended | TlsError::Broken(_)));
    let (here, there) = Stream::pair();
    write(&there, b"{\"type\":\"error\"}\n");
    assert!(matches!(failed(here.encrypt(&[Pin::new([7; 32])], LONG)), TlsError::NotTls));
    assert!(matches!(failed(here.encrypt_as(&server(), b"GET / HTTP/1.1\r\n".to_vec(), SECOND)), TlsError::NotTls));
}

#[test]
fn bytes_behind_the_handshake_are_not_lost() {
    let (here, there) = memory::PairEnd::pair(None);
    let (server, pins) = with_pin();
    let connection = pinned::client(&pins).unwrap();
    // The client's Finished and its first words leave at once, so that the server receives them together.
    let client = spawn(move || {
        let client = tls::Encrypted::over(Arc::new(here), Connection::from(connection), Vec::new(), LONG).unwrap();
        client.write_some(&[IoSlice::new(b"hello")], LONG).unwrap();
        client.flush(LONG).unwrap();
        client
    });
    let server = Stream::over(there).encrypt_as(&server, Vec::new(), LONG).unwrap();
    let client = client.join().unwrap();
    assert_eq!(read(&server, 5), b"hello");
    drop(client);
}
