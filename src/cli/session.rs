//! A command's session with the dispatcher: dials, says `hello`, then asks questions. Blocking, on the caller's thread;
//! a command that waits for long keeps the session alive with [`Session::keep_alive`]. Sees wire types only, because
//! commands print the protocol's reports as they are.

use std::time::Duration;

use crossbeam_channel::{RecvTimeoutError, Sender, bounded};

use super::CliError;
use crate::config::{KnownPins, TokenSource, default_runner_name};
use crate::model::{Address, Pin};
use crate::protocol::hello::{ErrorCode, Greeting, Hello, Opening, Refusal, Role};
use crate::protocol::limits::MAX_LINE_BYTES;
use crate::protocol::operator::{FromOperator, NOTHING_TO_CANCEL, ToOperator};
use crate::threads::{self, Thread};
use crate::transport::{Frame, FrameReader, Stream, TransportError, write_frame};

/// Time that a dispatcher has to accept a connection. Short, because a person is waiting.
const DIAL_TIMEOUT: Duration = Duration::from_secs(5);
/// Time that it has to answer `hello`. A peer that takes longer is no dispatcher.
const HELLO_TIMEOUT: Duration = Duration::from_secs(10);

/// A session as operator.
pub(crate) struct Session {
    stream: Stream,
    reader: FrameReader,
    ping_interval: Duration,
    /// Answers in the dispatcher's place if none runs. Joined after the stream is closed.
    records: Option<Thread<()>>,
}

impl Session {
    /// A session with a thread that reads a data directory.
    pub(crate) fn over_records(stream: Stream, records: Thread<()>) -> Self {
        let reader = FrameReader::new(stream.clone());
        Self { stream, reader, ping_interval: HELLO_TIMEOUT, records: Some(records) }
    }

    /// Whether a dispatcher answers, and not its data directory.
    pub(crate) fn is_live(&self) -> bool {
        self.records.is_none()
    }

    /// Dials the addresses in order, and opens a session with the first one that answers. With pins the session is
    /// encrypted.
    pub(crate) fn open(addresses: &[Address], pins: &[Pin], token: &TokenSource) -> Result<Self, CliError> {
        let mut failure = None;
        for address in addresses {
            match Self::open_one(address, pins, token) {
                Ok(session) => return Ok(session),
                // Of several errors, one that needs a person is worth more than an address that nobody listens at.
                Err(error) if matches!(error, CliError::Unreachable(_)) => {
                    failure.get_or_insert(error);
                }
                Err(error) => failure = Some(error),
            }
        }
        Err(failure.unwrap_or_else(|| CliError::Usage("--dispatch has no address: write HOST:PORT".into())))
    }

    fn open_one(address: &Address, pins: &[Pin], token: &TokenSource) -> Result<Self, CliError> {
        // Pins that were typed, or found in the data directory, are stored for a login only.
        let known = KnownPins::new(if token.is_joined() { pins.to_vec() } else { Vec::new() }, token.clone());
        let (session, told) = Self::greet(address, pins, token, &known)?;
        if known.learn(&told) {
            // The dispatcher is to hear that its pins are stored. It has no news then.
            return Ok(Self::greet(address, &known.list(), token, &known)?.0);
        }
        Ok(session)
    }

    /// Opens a session, and returns the pins that the dispatcher tells.
    fn greet(
        address: &Address,
        pins: &[Pin],
        token: &TokenSource,
        known: &KnownPins,
    ) -> Result<(Self, Vec<String>), CliError> {
        let stream = Stream::dial_pinned(address, DIAL_TIMEOUT, pins).map_err(unreachable)?;
        let mut reader = FrameReader::new(stream.clone());
        reader.set_timeout(Some(HELLO_TIMEOUT)).map_err(disconnected)?;
        let pid = std::process::id();
        // An operator keeps nothing between sessions, so any number can be its incarnation.
        let hello = Hello::new(Role::Operator, format!("pid {pid}"), pid.into(), token.read()?);
        let hello = Hello { user: Some(person()), pins: known.texts(), ..hello };
        write_frame(&stream, &Frame::new(&Opening::Hello(hello))).map_err(disconnected)?;
        match reader.read::<Greeting>(MAX_LINE_BYTES).map_err(disconnected)? {
            Some(Greeting::Welcome(welcome)) => {
                // From here on silence is judged by the timeout that the dispatcher announced.
                reader.set_timeout(Some(Duration::from_millis(welcome.timeout_ms))).map_err(disconnected)?;
                let ping_interval = Duration::from_millis(welcome.ping_interval_ms.max(1));
                Ok((Self { stream, reader, ping_interval, records: None }, welcome.pins))
            }
            Some(Greeting::Error(refusal)) => Err(refused_hello(refusal, token)),
            None => Err(CliError::Disconnected(None)),
        }
    }

    /// Asks a question and returns the answer. A refusal is an error.
    pub(crate) fn ask(&mut self, question: &FromOperator) -> Result<ToOperator, CliError> {
        self.send(question)?;
        self.next()
    }

    /// Gives an order and returns the dispatcher's confirmation.
    pub(crate) fn order(&mut self, order: &FromOperator) -> Result<String, CliError> {
        match self.ask(order) {
            Ok(ToOperator::Ok { text }) => Ok(text),
            Ok(_) => Err(CliError::Unexpected("an order")),
            // The build or job is over, as the person wanted.
            Err(CliError::Refused(refusal)) if refusal.reason_code.as_deref() == Some(NOTHING_TO_CANCEL) => {
                Ok(refusal.text)
            }
            Err(error) => Err(error),
        }
    }

    /// Turns this into a session that only reports builds that change, from now on.
    pub(crate) fn watch(mut self) -> Result<Self, CliError> {
        self.order(&FromOperator::Watch)?;
        Ok(self)
    }

    /// Sends a message without waiting for an answer.
    pub(crate) fn send(&self, message: &FromOperator) -> Result<(), CliError> {
        write_frame(&self.stream, &Frame::new(message)).map_err(disconnected)
    }

    /// Sends a message with its payload. If the dispatcher has ended the session meanwhile, returns its reason.
    pub(crate) fn send_frame(&mut self, frame: &Frame) -> Result<(), CliError> {
        write_frame(&self.stream, frame).map_err(|error| match self.next_piece() {
            Err(refused @ CliError::Refused(_)) => refused,
            _ => disconnected(error),
        })
    }

    /// Returns the next message that does not answer a ping, with all of its pieces. A refusal is an error.
    pub(crate) fn next(&mut self) -> Result<ToOperator, CliError> {
        let mut whole = self.next_piece()?;
        while whole.has_more() {
            let next = self.next_piece()?;
            whole.join(next).map_err(|_| CliError::Unexpected("a question with one piece of an answer"))?;
        }
        Ok(whole)
    }

    fn next_piece(&mut self) -> Result<ToOperator, CliError> {
        loop {
            match self.reader.read::<ToOperator>(MAX_LINE_BYTES).map_err(disconnected)? {
                // The answer to a ping of `keep_alive`.
                Some(ToOperator::Ack) => {}
                Some(ToOperator::Error(refusal)) => return Err(CliError::Refused(refusal)),
                Some(message) => return Ok(message),
                None => return Err(CliError::Disconnected(None)),
            }
        }
    }

    /// Reads the payload of the message that was read last. It replaces what `into` holds.
    pub(crate) fn payload(&mut self, len: u64, into: &mut Vec<u8>) -> Result<(), CliError> {
        self.reader.read_payload(len, into).map_err(disconnected)
    }

    /// Pings until the guard is dropped, so that the session may wait for any time. While the guard exists only it may
    /// write, so send all requests before.
    pub(crate) fn keep_alive(&self) -> Result<KeepAlive, CliError> {
        let (stop, stopped) = bounded::<()>(0);
        let (stream, interval) = (self.stream.clone(), self.ping_interval);
        let thread = threads::spawn("ping", move || {
            while stopped.recv_timeout(interval) == Err(RecvTimeoutError::Timeout) {
                if write_frame(&stream, &Frame::new(&FromOperator::Ping)).is_err() {
                    // The thread that reads the session finds out by itself.
                    return;
                }
            }
        })
        .map_err(CliError::machine("start a thread"))?;
        Ok(KeepAlive { _stop: stop, _thread: thread })
    }

    /// A handle that ends a blocked read from another thread.
    pub(crate) fn stream(&self) -> Stream {
        self.stream.clone()
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.stream.close();
    }
}

/// Keeps a session alive as long as it exists. Fields are dropped in order: first the sender, which ends the thread.
pub(crate) struct KeepAlive {
    _stop: Sender<()>,
    _thread: Thread<()>,
}

/// The person who types, as `USER@HOST`. A service manager or a job may set neither variable.
pub(crate) fn person() -> String {
    let told =
        ["USER", "LOGNAME"].into_iter().find_map(|name| std::env::var(name).ok().filter(|user| !user.is_empty()));
    let id = rustix::process::getuid().as_raw();
    let listed = || user_of(id, &std::fs::read_to_string("/etc/passwd").unwrap_or_default());
    let user = told.or_else(listed).unwrap_or_else(|| format!("uid-{id}"));
    format!("{user}@{}", default_runner_name())
}

/// Returns the name of a user in a list of users. See passwd(5).
fn user_of(id: u32, list: &str) -> Option<String> {
    list.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next().filter(|name| !name.is_empty())?;
        (fields.nth(1)?.parse() == Ok(id)).then(|| name.to_owned())
    })
}

/// Adds the token file to the text of a refusal: a wrong token is nearly always one of another dispatcher.
fn refused_hello(mut refusal: Refusal, token: &TokenSource) -> CliError {
    if refusal.code == ErrorCode::Token {
        refusal.text = format!("{} (the token was read from {})", refusal.text, token.path().display());
    }
    CliError::Refused(refusal)
}

/// Tells a dispatcher that is not the right one from one that cannot be reached.
pub(crate) fn unreachable(error: TransportError) -> CliError {
    if error.is_wrong_pin() { CliError::OtherDispatcher(error) } else { CliError::Unreachable(error) }
}

fn disconnected(error: TransportError) -> CliError {
    CliError::Disconnected(Some(error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_is_found_by_number() {
        let list = "root:x:0:0:root:/root:/bin/sh\n\nodd\n:x:7:7::/:\nci:x:1007:100:,,,:/home/ci:/bin/sh\n";
        let found = [0, 7, 1007, 100].map(|id| user_of(id, list));
        assert_eq!(found, [Some("root".to_owned()), None, Some("ci".to_owned()), None]);
    }
}
