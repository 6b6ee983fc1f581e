//! One end of a connection through a link: a socket, and TLS over it if the peer encrypts.

use std::borrow::Cow;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::{Mutex, OnceLock};
use std::time::Duration;

use rustls::Connection as Secure;

use super::lock;
use crate::harness::{PATIENCE, now};

/// Size of a read. Encrypted bytes of this number never hold more plaintext than rustls keeps.
const READ_BYTES: usize = 16 * 1024;
/// Pieces in which a message trickles. A handful, so that long messages do not take too long.
const PIECES: usize = 6;

/// Place of the length in a TLS record, which has two bytes. The encrypted bytes follow.
const RECORD_LENGTH: usize = 3;

/// One thread reads from it and one thread writes to it, so their order needs no lock.
pub(super) struct End {
    socket: TcpStream,
    /// Never locked while a thread waits for the socket.
    tls: OnceLock<Mutex<Secure>>,
}

impl End {
    pub(super) fn new(socket: TcpStream) -> Self {
        Self { socket, tls: OnceLock::new() }
    }

    /// The first byte, which stays unread; `None` at the end. `WouldBlock` if none has arrived yet.
    pub(super) fn first_byte(&self) -> io::Result<Option<u8>> {
        let mut byte = [0];
        let count = self.socket.peek(&mut byte)?;
        Ok((count > 0).then_some(byte[0]))
    }

    /// Makes the handshake, while the connection goes on. Nothing else reads or writes meanwhile.
    pub(super) fn encrypt(&self, mut tls: Secure, goes_on: impl Fn() -> bool) -> io::Result<()> {
        // A message is encrypted whole, whatever its length.
        tls.set_buffer_limit(None);
        let deadline = now() + PATIENCE;
        while tls.is_handshaking() || tls.wants_write() {
            if tls.wants_write() {
                tls.write_tls(&mut &self.socket)?;
                continue;
            }
            if !goes_on() || now() > deadline {
                return Err(ErrorKind::TimedOut.into());
            }
            match tls.read_tls(&mut &self.socket) {
                Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
                Ok(_) => {
                    tls.process_new_packets().map_err(io::Error::other)?;
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
        }
        self.tls.set(Mutex::new(tls)).expect("it is encrypted once");
        Ok(())
    }

    /// Puts the bytes that have arrived, which may be none, into the empty buffer; returns false at the end.
    pub(super) fn read(&self, into: &mut Vec<u8>) -> io::Result<bool> {
        if let Some(tls) = self.tls.get() {
            // The first message may have come with the end of the handshake.
            open(&mut lock(tls), into)?;
            if !into.is_empty() {
                return Ok(true);
            }
        }
        let mut bytes = [0; READ_BYTES];
        let count = (&self.socket).read(&mut bytes)?;
        let Some(tls) = self.tls.get() else {
            into.extend_from_slice(&bytes[..count]);
            return Ok(count > 0);
        };
        let (mut tls, mut rest) = (lock(tls), &bytes[..count]);
        // Nothing counts behind the peer's close_notify.
        while !rest.is_empty() && tls.read_tls(&mut rest)? > 0 {
            open(&mut tls, into)?;
        }
        Ok(count > 0)
    }

    /// Writes all of it.
    pub(super) fn write(&self, bytes: &[u8]) -> io::Result<()> {
        (&self.socket).write_all(&self.seal(bytes)?)
    }

    /// Writes it in a few pieces, whose borders are those of no record, each after a pause.
    pub(super) fn trickle(&self, bytes: &[u8], mut pause: impl FnMut() -> io::Result<()>) -> io::Result<()> {
        let sealed = self.seal(bytes)?;
        let piece = sealed.len().div_ceil(PIECES).max(1);
        for piece in sealed.chunks(piece) {
            pause()?;
            (&self.socket).write_all(piece)?;
        }
        Ok(())
    }

    /// Writes this many of the bytes. If they are encrypted, half of the record with the others follows.
    pub(super) fn tear(&self, bytes: &[u8], count: usize) -> io::Result<()> {
        let (first, rest) = bytes.split_at(count);
        self.write(first)?;
        if self.tls.get().is_some() {
            let sealed = self.seal(rest)?;
            (&self.socket).write_all(&sealed[..sealed.len() / 2])?;
        }
        Ok(())
    }

    /// Writes it with one byte of its first record changed: of the record's length, or of the encrypted bytes behind.
    /// (The type and the version before the length say nothing: rustls takes a record whatever they are.)
    pub(super) fn flip(&self, bytes: &[u8], place: usize) -> io::Result<()> {
        assert!(self.tls.get().is_some(), "nobody notices a changed byte of plain text");
        let mut sealed = self.seal(bytes)?.into_owned();
        let len = usize::from(u16::from_be_bytes([sealed[RECORD_LENGTH], sealed[RECORD_LENGTH + 1]]));
        sealed[RECORD_LENGTH + place % (2 + len)] ^= 1;
        (&self.socket).write_all(&sealed)
    }

    /// Ends the direction to the peer. It may have ended meanwhile.
    pub(super) fn finish(&self) {
        if let Some(tls) = self.tls.get() {
            lock(tls).send_close_notify();
            self.write(&[]).ok();
        }
        self.socket.shutdown(Shutdown::Write).ok();
    }

    /// Ends both directions below the encryption.
    pub(super) fn cut(&self, with_reset: bool) {
        if with_reset {
            // A close without linger sends a reset, when the last handle is closed.
            rustix::net::sockopt::set_socket_linger(&self.socket, Some(Duration::ZERO)).ok();
        } else {
            // The connection may have ended meanwhile.
            self.socket.shutdown(Shutdown::Both).ok();
        }
    }

    /// The bytes as they travel.
    fn seal<'a>(&self, bytes: &'a [u8]) -> io::Result<Cow<'a, [u8]>> {
        let Some(tls) = self.tls.get() else { return Ok(Cow::Borrowed(bytes)) };
        let (mut tls, mut sealed) = (lock(tls), Vec::new());
        tls.writer().write_all(bytes)?;
        while tls.wants_write() {
            tls.write_tls(&mut sealed)?;
        }
        Ok(Cow::Owned(sealed))
    }
}

/// Decrypts the records that have arrived whole.
fn open(tls: &mut Secure, into: &mut Vec<u8>) -> io::Result<()> {
    let there = tls.process_new_packets().map_err(io::Error::other)?.plaintext_bytes_to_read();
    let before = into.len();
    into.resize(before + there, 0);
    tls.reader().read_exact(&mut into[before..])
}
