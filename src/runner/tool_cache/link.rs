//! A connection with limits of time. Each read takes as long as the present limit leaves, so that bytes that trickle in
//! gain no time.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use super::limits::BODY_TIME;
use crate::clock;

/// The bytes of a client, and those for it.
pub(super) trait Link: Read + Write {
    /// Sets the time that all following reads have together; `None` for no limit.
    fn allow(&mut self, time: Option<Duration>) -> io::Result<()>;
}

/// A TCP connection.
pub(super) struct Socket<'a> {
    stream: &'a TcpStream,
    deadline: Option<Instant>,
    /// The socket's own limit, as it was last set.
    is_limited: bool,
}

impl<'a> Socket<'a> {
    pub(super) fn new(stream: &'a TcpStream) -> io::Result<Self> {
        stream.set_nodelay(true)?;
        stream.set_write_timeout(Some(BODY_TIME))?;
        Ok(Self { stream, deadline: None, is_limited: false })
    }
}

impl Link for Socket<'_> {
    fn allow(&mut self, time: Option<Duration>) -> io::Result<()> {
        self.deadline = time.map(|time| clock::instant() + time);
        if time.is_none() && self.is_limited {
            self.stream.set_read_timeout(None)?;
            self.is_limited = false;
        }
        Ok(())
    }
}

impl Read for Socket<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if let Some(deadline) = self.deadline {
            let left = deadline.saturating_duration_since(clock::instant());
            if left.is_zero() {
                return Err(io::ErrorKind::TimedOut.into());
            }
            self.stream.set_read_timeout(Some(left))?;
            self.is_limited = true;
        }
        (&mut &*self.stream).read(buffer)
    }
}

impl Write for Socket<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        (&mut &*self.stream).write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
