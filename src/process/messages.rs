//! The messages between a runner and its supervising process, and how they cross the socket between them.
//!
//! Both ends are the same build of the same program, so there are no versions. A message is a length in four bytes and
//! that many bytes: a tag, then fields, integers in little-endian order. The command's output and its control group
//! travel with it as descriptors. Nothing here decides anything.

use std::ffi::OsString;
use std::io::{self, IoSlice, IoSliceMut, Read, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::Arc;

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags,
};

use super::fields::{Fields, Message};
use super::{Command, Ended, Enforcement, Exit, Given, Guard, Limits, Usage, View};
use crate::model::{Isolation, MAX_SERVICES, Script};

/// The longest message. The kernel accepts at most about 6 MiB of arguments and environment.
pub(super) const MAX_MESSAGE_BYTES: usize = 8 * 1024 * 1024;

/// Descriptors that come with one message: a command's output, and the list of its control group's processes; or the
/// sockets of the supervising processes of a nest, which are more.
const MAX_DESCRIPTORS: usize = MAX_SERVICES + 1;

/// The tiers, each at the place that stands for it in a message.
const TIERS: [Isolation; 2] = [Isolation::PidNamespace, Isolation::Subreaper];

/// A message of the runner to the supervising process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Order {
    /// Enter this tier, with this guard. The first message.
    Serve(Isolation, Option<Arc<Guard>>),
    /// Execute this command. The descriptor of its output comes with the message, and that of its control group's list
    /// of processes if it has one. The guard of its view is that of the process, and is not sent.
    Run(Command),
    /// End the running command. Ignored if none runs: the report of its end was on its way.
    Cancel,
    /// Start a supervising process for each socket that comes with the message, with this view, and wait for nothing
    /// more but the end. The guard of the view is that of the process, and is not sent.
    Nest(Option<View>),
    /// Find out whether a process takes connections on this port of the loopback interface.
    Probe(u16),
}

/// A message of the supervising process to the runner.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Report {
    /// Answers `Serve`: the tier is entered.
    Ready,
    /// Answers `Serve`: the kernel refused, with this error number.
    Refused(i32),
    /// The command's process executes its program. Not sent for most short commands. Also answers `Nest`.
    Started,
    /// The command and all its descendants are gone, or it never started. Answers `Probe` by an exit code, 0 for yes.
    Ended(Ended),
    /// The command could not be started, with this error number; not its own fault.
    NotStarted(i32),
    /// This number of processes could not be ended. The supervising process ends after this report.
    Remaining(u32),
}

impl Order {
    pub(super) fn encode(&self) -> Vec<u8> {
        match self {
            Self::Serve(isolation, guard) => {
                let message = Message::new(0).byte(u8::from(*isolation != TIERS[0]));
                match guard {
                    None => message.byte(0),
                    Some(guard) => {
                        let Guard { hidden, user_namespace, by_landlock, is_sealed, is_offline } = &**guard;
                        let flags = [user_namespace, by_landlock, is_sealed, is_offline];
                        let message =
                            flags.into_iter().fold(message.byte(1), |message, flag| message.byte((*flag).into()));
                        hidden.iter().fold(message.count(hidden.len()), |message, path| message.path(path))
                    }
                }
                .finish()
            }
            Self::Run(command) => encode_run(command, command.limits),
            Self::Cancel => Message::new(2).finish(),
            Self::Nest(view) => encode_view(Message::new(3), view.as_ref()).finish(),
            Self::Probe(port) => Message::new(4).u32((*port).into()).finish(),
        }
    }

    fn decode(body: &[u8]) -> Option<Self> {
        let mut fields = Fields(body);
        let order = match fields.byte()? {
            0 => Self::Serve(*TIERS.get(usize::from(fields.byte()?))?, decode_guard(&mut fields)?),
            1 => Self::Run(decode_run(&mut fields)?),
            2 => Self::Cancel,
            3 => Self::Nest(decode_view(&mut fields)?),
            4 => Self::Probe(fields.u32()?.try_into().ok()?),
            _ => return None,
        };
        fields.0.is_empty().then_some(order)
    }
}

/// Encodes [`Order::Run`] without owning the command, and with these limits in place of its own.
pub(super) fn encode_run(command: &Command, limits: Limits) -> Vec<u8> {
    let mut message = Message::new(1).u64(command.timeout_ms).u64(command.grace_ms);
    message = message.bytes(command.directory.as_os_str().as_bytes());
    message = match &command.script {
        Script::Shell(text) => message.byte(0).bytes(text.as_bytes()),
        Script::Program(words) => {
            words.iter().fold(message.byte(1).count(words.len()), |message, word| message.bytes(word.as_bytes()))
        }
    };
    message = message.count(command.env.len());
    let env = command.env.iter();
    message = env.fold(message, |message, (name, value)| message.bytes(name.as_bytes()).bytes(value.as_bytes()));
    let message = encode_view(message, command.view.as_ref());
    // No limit is 0.
    let Limits { memory_bytes, processes, millicpus } = limits;
    message.u64(memory_bytes.unwrap_or(0)).u32(processes.unwrap_or(0)).u32(millicpus.unwrap_or(0)).finish()
}

fn encode_view(message: Message, view: Option<&View>) -> Message {
    let Some(View { given, guard: _ }) = view else { return message.byte(0) };
    let message = message.byte(1).count(given.len());
    given
        .iter()
        .fold(message, |message, given| message.path(&given.at).path(&given.from).byte(given.is_read_only.into()))
}

/// The inner `None` means that there is no view.
#[expect(clippy::option_option, reason = "the outer one is a malformed message")]
fn decode_view(fields: &mut Fields<'_>) -> Option<Option<View>> {
    if fields.byte()? == 0 {
        return Some(None);
    }
    let given = (0..fields.u32()?)
        .map(|_| Some(Given { at: fields.path()?, from: fields.path()?, is_read_only: fields.byte()? != 0 }));
    Some(Some(View { guard: Arc::default(), given: given.collect::<Option<_>>()? }))
}

/// The inner `None` means that there is no guard.
#[expect(clippy::option_option, reason = "the outer one is a malformed message")]
fn decode_guard(fields: &mut Fields<'_>) -> Option<Option<Arc<Guard>>> {
    match fields.byte()? {
        0 => Some(None),
        1 => {
            let mut flag = || fields.byte().map(|byte| byte != 0);
            let (user_namespace, by_landlock, is_sealed, is_offline) = (flag()?, flag()?, flag()?, flag()?);
            let hidden = (0..fields.u32()?).map(|_| fields.path()).collect::<Option<_>>()?;
            Some(Some(Arc::new(Guard { hidden, user_namespace, by_landlock, is_sealed, is_offline })))
        }
        _ => None,
    }
}

fn decode_run(fields: &mut Fields<'_>) -> Option<Command> {
    let (timeout_ms, grace_ms) = (fields.u64()?, fields.u64()?);
    let directory = PathBuf::from(fields.os_string()?);
    let script = match fields.byte()? {
        0 => Script::Shell(fields.string()?),
        1 => Script::Program((0..fields.u32()?).map(|_| fields.string()).collect::<Option<_>>()?),
        _ => return None,
    };
    let env = (0..fields.u32()?)
        .map(|_| Some((fields.os_string()?, fields.os_string()?)))
        .collect::<Option<Vec<(OsString, OsString)>>>()?;
    let view = decode_view(fields)?;
    let (memory_bytes, processes, millicpus) = (fields.u64()?, fields.u32()?, fields.u32()?);
    let limits = Limits {
        memory_bytes: Some(memory_bytes).filter(|bytes| *bytes > 0),
        processes: Some(processes).filter(|most| *most > 0),
        millicpus: Some(millicpus).filter(|most| *most > 0),
    };
    Some(Command { script, directory, env, timeout_ms, grace_ms, view, limits })
}

impl Report {
    pub(super) fn encode(&self) -> Vec<u8> {
        match self {
            Self::Ready => Message::new(0).finish(),
            Self::Refused(errno) => Message::new(1).i32(*errno).finish(),
            Self::Started => Message::new(2).finish(),
            Self::Ended(ended) => {
                let message = Message::new(3).u64(ended.duration_ms).u32(ended.leftovers);
                let message = message.u64(ended.usage.memory_bytes).u64(ended.usage.cpu_ms);
                // The gaps are known to the runner.
                let message = message.byte(ended.enforcement.is_over_memory.into());
                match &ended.exit {
                    Exit::Code(code) => message.byte(0).i32(*code),
                    Exit::Signal(signal) => message.byte(1).i32(*signal),
                    Exit::TimedOut => message.byte(2),
                    Exit::Cancelled => message.byte(3),
                    Exit::CouldNotStart(why) => message.byte(4).bytes(why.as_bytes()),
                }
                .finish()
            }
            Self::NotStarted(errno) => Message::new(4).i32(*errno).finish(),
            Self::Remaining(count) => Message::new(5).u32(*count).finish(),
        }
    }

    fn decode(body: &[u8]) -> Option<Self> {
        let mut fields = Fields(body);
        let report = match fields.byte()? {
            0 => Self::Ready,
            1 => Self::Refused(fields.i32()?),
            2 => Self::Started,
            3 => Self::Ended(decode_ended(&mut fields)?),
            4 => Self::NotStarted(fields.i32()?),
            5 => Self::Remaining(fields.u32()?),
            _ => return None,
        };
        fields.0.is_empty().then_some(report)
    }
}

fn decode_ended(fields: &mut Fields<'_>) -> Option<Ended> {
    let (duration_ms, leftovers) = (fields.u64()?, fields.u32()?);
    let usage = Usage { memory_bytes: fields.u64()?, cpu_ms: fields.u64()? };
    let enforcement = Enforcement { is_over_memory: fields.byte()? != 0, gaps: Vec::new() };
    let exit = match fields.byte()? {
        0 => Exit::Code(fields.i32()?),
        1 => Exit::Signal(fields.i32()?),
        2 => Exit::TimedOut,
        3 => Exit::Cancelled,
        4 => Exit::CouldNotStart(fields.string()?),
        _ => return None,
    };
    Some(Ended { exit, duration_ms, leftovers, usage, enforcement })
}

/// Sends one encoded message.
pub(super) fn send(mut socket: &UnixStream, message: &[u8]) -> io::Result<()> {
    socket.write_all(message)
}

/// Sends one encoded message with at most `MAX_DESCRIPTORS` descriptors.
pub(super) fn send_with(socket: &UnixStream, message: &[u8], descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_DESCRIPTORS))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    let fits = ancillary.push(SendAncillaryMessage::ScmRights(descriptors));
    debug_assert!(fits, "the space is made for that many descriptors");
    let sent = loop {
        match rustix::net::sendmsg(socket, &[IoSlice::new(message)], &mut ancillary, SendFlags::NOSIGNAL) {
            Err(rustix::io::Errno::INTR) => {}
            sent => break sent?,
        }
    };
    // A long message may be sent in part; the descriptors went with its first part.
    send(socket, &message[sent..])
}

/// Waits for the next order and its descriptors. `None` means that the runner is gone.
pub(super) fn receive_order(socket: &UnixStream) -> io::Result<Option<(Order, Vec<OwnedFd>)>> {
    let Some((body, descriptors)) = receive(socket)? else { return Ok(None) };
    let order = Order::decode(&body).ok_or_else(malformed)?;
    Ok(Some((order, descriptors)))
}

/// Waits for the next report. `None` means that the supervising process is gone.
pub(super) fn receive_report(socket: &UnixStream) -> io::Result<Option<Report>> {
    let Some((body, _)) = receive(socket)? else { return Ok(None) };
    Report::decode(&body).ok_or_else(malformed).map(Some)
}

fn receive(mut socket: &UnixStream) -> io::Result<Option<(Vec<u8>, Vec<OwnedFd>)>> {
    let mut head = [0; 4];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_DESCRIPTORS))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    // Descriptors come with the first byte of their message, so only this read asks for them.
    let received = loop {
        let mut into = [IoSliceMut::new(&mut head)];
        match rustix::net::recvmsg(socket.as_fd(), &mut into, &mut ancillary, RecvFlags::CMSG_CLOEXEC) {
            Err(rustix::io::Errno::INTR) => {}
            received => break received?.bytes,
        }
    };
    if received == 0 {
        return Ok(None);
    }
    let mut descriptors = Vec::new();
    for message in ancillary.drain() {
        if let RecvAncillaryMessage::ScmRights(received) = message {
            descriptors.extend(received);
        }
    }
    // The first read may have returned only a part of the length.
    socket.read_exact(&mut head[received..])?;
    let length = u32::from_le_bytes(head) as usize;
    if length > MAX_MESSAGE_BYTES {
        return Err(malformed());
    }
    let mut body = vec![0; length];
    socket.read_exact(&mut body)?;
    Ok(Some((body, descriptors)))
}

fn malformed() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "malformed message")
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;
    use std::fs::File;
    use std::os::unix::ffi::OsStringExt;

    use proptest::prelude::*;

    use super::*;

    fn commands() -> impl Strategy<Value = Command> {
        let script = prop_oneof![
            any::<String>().prop_map(Script::Shell),
            proptest::collection::vec(any::<String>(), 0..4).prop_map(Script::Program),
        ];
        let word = || any::<Vec<u8>>().prop_map(OsString::from_vec);
        let env = proptest::collection::vec((word(), word()), 0..4);
        (script, word(), env, any::<u64>(), any::<u64>()).prop_map(|(script, directory, env, timeout_ms, grace_ms)| {
            Command {
                script,
                directory: directory.into(),
                env,
                timeout_ms,
                grace_ms,
                view: None,
                limits: Limits::default(),
            }
        })
    }

    fn sample(script: Script) -> Command {
        let env = vec![(OsString::from("A"), OsString::from("1"))];
        Command {
            script,
            directory: "/tmp".into(),
            env,
            timeout_ms: 1,
            grace_ms: 2,
            view: None,
            limits: Limits::default(),
        }
    }

    fn check_order(order: &Order) {
        let encoded = order.encode();
        assert_eq!(Order::decode(&encoded[4..]).as_ref(), Some(order));
        assert_eq!(Order::decode(&encoded[4..encoded.len() - 1]), None, "a cut message is refused");
    }

    fn check_report(report: &Report) {
        assert_eq!(Report::decode(&report.encode()[4..]).as_ref(), Some(report));
    }

    #[test]
    fn every_message_survives_the_way() {
        check_order(&Order::Serve(Isolation::PidNamespace, None));
        check_order(&Order::Serve(Isolation::Subreaper, None));
        let hidden = vec!["/a".into(), OsStr::from_bytes(b"/\xff").into()];
        for bit in 0..4 {
            let [user_namespace, by_landlock, is_sealed, is_offline] = [0, 1, 2, 3].map(|flag| flag == bit);
            let guard = Guard { hidden: hidden.clone(), user_namespace, by_landlock, is_sealed, is_offline };
            check_order(&Order::Serve(Isolation::PidNamespace, Some(Arc::new(guard))));
        }
        let tmp = Given { at: "/tmp".into(), from: OsStr::from_bytes(b"/\xfe").into(), is_read_only: false };
        let given = vec![Given::in_place("/g/h".into()), tmp, Given::to_read("/r".into())];
        let view = View { guard: Arc::default(), given };
        let limits = Limits { memory_bytes: Some(u64::MAX), processes: Some(1), millicpus: Some(2) };
        check_order(&Order::Nest(Some(view.clone())));
        check_order(&Order::Run(Command { view: Some(view), limits, ..sample(Script::Shell("x".into())) }));
        check_order(&Order::Cancel);
        check_order(&Order::Nest(None));
        check_order(&Order::Probe(u16::MAX));
        for report in [Report::Ready, Report::Refused(1), Report::Started, Report::NotStarted(12), Report::Remaining(3)]
        {
            check_report(&report);
        }
        let why = || "no such program".to_owned();
        let usage = Usage { memory_bytes: u64::MAX, cpu_ms: 5 };
        let over = Enforcement { is_over_memory: true, gaps: Vec::new() };
        for exit in [Exit::Code(-1), Exit::Signal(9), Exit::TimedOut, Exit::Cancelled, Exit::CouldNotStart(why())] {
            check_report(&Report::Ended(Ended {
                exit,
                duration_ms: u64::MAX,
                leftovers: 7,
                usage,
                enforcement: over.clone(),
            }));
        }
    }

    proptest! {
        #[test]
        fn every_command_survives_the_way(command in commands()) {
            check_order(&Order::Run(command));
        }

        #[test]
        fn no_bytes_are_a_panic(body: Vec<u8>) {
            drop(Order::decode(&body));
            drop(Report::decode(&body));
        }
    }

    #[test]
    fn descriptors_travel_with_a_message_longer_than_the_socket_holds() {
        let (here, there) = UnixStream::pair().unwrap();
        let order = Order::Run(sample(Script::Shell("x".repeat(3_000_000))));
        let sent = order.clone();
        let sender = crate::threads::spawn("sender", move || {
            let (reader, writer) = std::io::pipe().unwrap();
            send_with(&here, &sent.encode(), &[reader.as_fd(), writer.as_fd()]).unwrap();
        })
        .unwrap();
        let (received, descriptors) = receive_order(&there).unwrap().unwrap();
        assert!(received == order);
        assert_eq!(descriptors.len(), 2);
        assert!(descriptors.into_iter().all(|descriptor| File::from(descriptor).metadata().is_ok()));
        sender.join().unwrap();
        assert!(receive_order(&there).unwrap().is_none());
    }

    #[test]
    fn an_announced_length_beyond_the_limit_is_refused() {
        let (here, there) = UnixStream::pair().unwrap();
        send(&here, &u32::MAX.to_le_bytes()).unwrap();
        assert_eq!(receive_order(&there).unwrap_err().kind(), io::ErrorKind::InvalidData);
    }

    #[test]
    fn a_message_cut_off_is_an_error() {
        let (here, there) = UnixStream::pair().unwrap();
        send(&here, &Order::Cancel.encode()[..3]).unwrap();
        drop(here);
        assert_eq!(receive_order(&there).unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
    }

    #[test]
    fn names_that_are_no_text_arrive_as_they_were() {
        let mut command = sample(Script::Program(vec!["true".into()]));
        command.env.push((OsStr::from_bytes(b"\xff\x00").into(), OsStr::from_bytes(b"\xfe").into()));
        check_order(&Order::Run(command));
    }
}
