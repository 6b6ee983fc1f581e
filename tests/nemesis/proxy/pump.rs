//! Forwards the messages of one direction, with the faults of its link.

use std::io::{self, ErrorKind};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::end::End;
use super::frames::Splitter;
use super::{Connection, Frame, Shared, Spoil, Verdict, Way, lock};
use crate::harness::now;
use crate::wait;

/// Interval at which an idle pump checks whether its connection has ended.
pub(super) const READ_EVERY: Duration = Duration::from_millis(15);

/// Messages that may be doubled. A second `ping` would get an `ack` too many, which is no fault that a network can
/// have. The same holds for other messages that get one answer each.
const DOUBLED_UP: &[&str] = &["started", "log", "results", "dispatch"];
const DOUBLED_DOWN: &[&str] = &["runtask", "cancel", "ok", "stale", "log_ack"];
/// Answers to an announcement.
const ANSWERS: &[&str] = &["ok", "stale", "need_source", "error"];

/// The body of a pump.
pub(super) fn pump(connection: &Arc<Connection>, way: Way, shared: &Arc<Shared>) {
    let (from, to) = match way {
        Way::Up => (&connection.client, &connection.server),
        Way::Down => (&connection.server, &connection.client),
    };
    let mut pump = Pump {
        connection,
        way,
        shared,
        to,
        splitter: Splitter::default(),
        swallow: 0,
        is_open: false,
        is_flipped: false,
    };
    let in_order = pump.run(from);
    shared.tap.ends(connection.number);
    if in_order {
        // The pump of the other direction forwards its remaining messages.
        to.finish();
        if connection.is_second_end() {
            connection.end(false);
        }
    } else {
        connection.end(true);
    }
    // The last handle closes the sockets.
    lock(&shared.connections).retain(|connection| !connection.is_over());
}

struct Pump<'a> {
    connection: &'a Connection,
    way: Way,
    shared: &'a Shared,
    to: &'a End,
    splitter: Splitter,
    /// Answers to doubled announcements, which their observer did not ask for: the second of two.
    swallow: usize,
    /// A runner has registered, so that messages may be inserted.
    is_open: bool,
    /// A changed byte was delivered. Nothing behind it may be taken, and the other end closes the connection.
    is_flipped: bool,
}

impl Pump<'_> {
    /// Whether the direction ended in order, by the end of its stream.
    fn run(&mut self, from: &End) -> bool {
        let mut buffer = Vec::new();
        loop {
            while self.connection.is_held(self.way) && !self.connection.is_over() {
                wait(5);
            }
            if self.connection.is_over() {
                return false;
            }
            if self.is_open && !self.is_flipped && !self.say_again() {
                return false;
            }
            buffer.clear();
            match from.read(&mut buffer) {
                Ok(true) => self.splitter.push(&buffer),
                Ok(false) => {
                    let rest = self.splitter.rest();
                    return self.write(&rest);
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => continue,
                Err(_) => return false,
            }
            while let Some(frame) = self.splitter.next() {
                if !self.pass(&frame) {
                    return false;
                }
            }
        }
    }

    /// Sends the messages to be repeated; returns false if the connection is over.
    fn say_again(&self) -> bool {
        self.connection.injected().iter().all(|frame| {
            self.shared.tap.passes(self.connection.number, &self.shared.name, self.way, frame);
            self.write(&frame.bytes)
        })
    }

    /// Forwards one message; returns false if the connection is over.
    fn pass(&mut self, frame: &Frame) -> bool {
        let spoil = *lock(&self.shared.spoil);
        let is_spoiled = now() < spoil.until;
        if is_spoiled && spoil.delay_ms > 0 {
            wait(spoil.delay_ms);
        }
        while self.connection.is_held(self.way) && !self.connection.is_over() {
            wait(5);
        }
        if self.connection.is_over() {
            return false;
        }
        if self.is_flipped {
            // The message must not be taken, so nobody is told that it passes.
            return self.write(&frame.bytes);
        }
        let verdict = self.shared.tap.passes(self.connection.number, &self.shared.name, self.way, frame);
        let verdict = match (self.connection.torn(self.way), self.connection.flip(self.way), verdict) {
            (Some(bytes), _, Verdict::Pass) => Verdict::Tear(bytes),
            (None, Some(place), Verdict::Pass) => Verdict::Flip(place),
            (_, _, verdict) => verdict,
        };
        match verdict {
            Verdict::Lose => return false,
            Verdict::Tear(bytes) => {
                // Whether it could be written or not, the connection is over.
                self.to.tear(&frame.bytes, bytes.min(frame.bytes.len() - 1)).ok();
                return false;
            }
            Verdict::Flip(place) => {
                self.is_flipped = true;
                self.connection.note_flip();
                self.shared.flipped.fetch_add(1, Ordering::AcqRel);
                return self.to.flip(&frame.bytes, place).is_ok();
            }
            Verdict::Pass | Verdict::Twice => {}
        }
        if self.way == Way::Up {
            self.shared.remember(frame);
            self.is_open |= frame.kind() == "register";
        }
        if self.is_swallowed(frame) {
            return true;
        }
        let doubles = verdict == Verdict::Twice || is_spoiled && self.is_doubled(frame, &spoil);
        if doubles && frame.kind() == "dispatch" {
            self.connection.expect_two();
        }
        if doubles && self.way == Way::Up {
            self.shared.tap.passes(self.connection.number, &self.shared.name, self.way, frame);
        }
        let passed = self.write_as(&frame.bytes, is_spoiled && spoil.trickles);
        passed && (!doubles || self.write(&frame.bytes))
    }

    /// Whether this is the second answer to a request that was sent once and forwarded twice.
    fn is_swallowed(&mut self, frame: &Frame) -> bool {
        if self.way == Way::Up || !ANSWERS.contains(&frame.kind()) {
            return false;
        }
        if self.swallow > 0 {
            self.swallow -= 1;
            return true;
        }
        self.swallow = self.connection.take_expected();
        false
    }

    fn is_doubled(&self, frame: &Frame, spoil: &Spoil) -> bool {
        let doubled = if self.way == Way::Up { DOUBLED_UP } else { DOUBLED_DOWN };
        // An observer hears each answer once.
        let is_for_observer = self.way == Way::Down
            && frame.text("repo").is_some()
            && !matches!(frame.kind(), "runtask" | "source_ahead");
        let number =
            frame.bytes.iter().fold(spoil.dice, |sum, byte| sum.wrapping_mul(0x0100_0000_01b3) ^ u64::from(*byte));
        doubled.contains(&frame.kind()) && !is_for_observer && number % 100 < spoil.doubles
    }

    fn write_as(&self, bytes: &[u8], trickles: bool) -> bool {
        if !trickles {
            return self.write(bytes);
        }
        let pause = || {
            wait(4);
            if self.connection.is_over() { Err(io::Error::from(ErrorKind::BrokenPipe)) } else { Ok(()) }
        };
        self.to.trickle(bytes, pause).is_ok()
    }

    fn write(&self, bytes: &[u8]) -> bool {
        self.to.write(bytes).is_ok()
    }
}
