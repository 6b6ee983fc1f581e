//! The `logs` thread: appends output to the files, acknowledges it, and passes results on when their logs are whole.

use std::collections::HashMap;
use std::io;
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender};

use super::disk_full::{self, Missed, Room};
use super::file::LogFile;
use super::inbox::{Seal, StreamSeal, ToLogs};
use super::times::TimedOffset;
use crate::clock;
use crate::dispatcher::core::ToCore;
use crate::dispatcher::data_dir::{DataDir, LogPlace};
use crate::dispatcher::limits;
use crate::dispatcher::session::RunnerOutbox;
use crate::model::{AttemptId, ShortLog, StreamId, StreamKind};
use crate::scheduler::Event;

/// The state of the logs thread.
pub(crate) struct Logs {
    data: DataDir,
    core: Sender<ToCore>,
    open: HashMap<StreamId, OpenLog>,
    followers: HashMap<AttemptId, Vec<Sender<()>>>,
    /// Streams with bytes that are not acknowledged yet.
    unacknowledged: HashMap<StreamId, RunnerOutbox>,
    room: Room,
    /// A counter of uses, by which the file that was used longest ago is found.
    clock: u64,
}

struct OpenLog {
    file: LogFile,
    used: u64,
    /// The last offset that was acknowledged.
    acknowledged: u64,
}

/// Bytes that may arrive before they are acknowledged in between. When no message waits, everything is acknowledged.
const ACK_EVERY_BYTES: u64 = 128 * 1024;

impl Logs {
    pub(crate) fn new(data: DataDir, core: Sender<ToCore>) -> Self {
        Self {
            data,
            core,
            open: HashMap::new(),
            followers: HashMap::new(),
            unacknowledged: HashMap::new(),
            room: Room::default(),
            clock: 0,
        }
    }

    /// Runs the thread, which ends when it is told to, or when every sender is gone.
    pub(crate) fn run(mut self, inbox: &Receiver<ToLogs>) {
        loop {
            let wait = if self.room.short.is_empty() { Duration::MAX } else { limits::LOG_RETRY };
            match inbox.recv_timeout(wait) {
                Ok(ToLogs::Stop) | Err(RecvTimeoutError::Disconnected) => return,
                Ok(message) => self.handle(message),
                Err(RecvTimeoutError::Timeout) => {}
            }
            for (stream, have, answer) in self.room.due(clock::now()) {
                ask_again(&answer, &stream, have);
            }
            if inbox.is_empty() {
                self.acknowledge_all();
            }
        }
    }

    pub(super) fn handle(&mut self, message: ToLogs) {
        match message {
            ToLogs::Chunk { stream, place, offset, bytes, times, answer } => {
                if self.room.cut.contains(&stream) {
                    answer.acknowledge(&stream, offset + bytes.len() as u64);
                    return;
                }
                match self.write(&stream, &place, (offset, &bytes, &times), &answer) {
                    Ok(0) => {}
                    Ok(_) => drop(self.room.short.remove(&stream)),
                    Err(error) => self.not_written(&stream, &place, &answer, &error),
                }
            }
            ToLogs::Seal(seal) => self.seal(seal),
            ToLogs::Ended { attempt } => {
                self.room.ended(attempt);
                self.unacknowledged.retain(|stream, _| stream.attempt != attempt);
                self.open.retain(|stream, _| stream.attempt != attempt);
                for follower in self.followers.remove(&attempt).unwrap_or_default() {
                    follower.try_send(()).ok();
                }
            }
            ToLogs::Follow { attempt, wake } => {
                let followers = self.followers.entry(attempt).or_default();
                followers.retain(|follower| follower.try_send(()).is_ok() || follower.is_full());
                followers.push(wake);
            }
            // The loop has handled this message already.
            ToLogs::Stop => {}
        }
    }

    /// Writes the new bytes of a piece, and returns their number.
    fn write(
        &mut self,
        stream: &StreamId,
        place: &LogPlace,
        (offset, bytes, times): (u64, &[u8], &[TimedOffset]),
        answer: &RunnerOutbox,
    ) -> io::Result<usize> {
        let open = self.open(stream, place)?;
        let have = open.file.len();
        let mut written = 0;
        if offset <= have {
            let known = usize::try_from(have - offset).unwrap_or(usize::MAX).min(bytes.len());
            if known < bytes.len() {
                // The time of the first new byte is that of the last noted offset at or before it.
                let noted = times.partition_point(|(at, _)| *at <= have);
                let first = times.get(noted.saturating_sub(1)).map(|(_, at_ms)| (have, *at_ms));
                let later = times.get(noted..).unwrap_or_default().iter().copied();
                for (at, at_ms) in first.into_iter().chain(later) {
                    open.file.note_time(at, at_ms);
                }
            }
            open.file.append(&bytes[known..])?;
            written = bytes.len() - known;
        }
        let have = open.file.len();
        if offset > have || have - open.acknowledged >= ACK_EVERY_BYTES {
            open.acknowledged = have;
            answer.acknowledge(stream, have);
            self.unacknowledged.remove(stream);
        } else {
            self.unacknowledged.insert(stream.clone(), answer.clone());
        }
        for follower in self.followers.get(&stream.attempt).into_iter().flatten() {
            follower.try_send(()).ok();
        }
        Ok(written)
    }

    /// Handles a piece that could not be written. The runner still has all of it, and sends it again later.
    fn not_written(&mut self, stream: &StreamId, place: &LogPlace, answer: &RunnerOutbox, error: &io::Error) {
        self.forget(stream);
        if !disk_full::is_lacking(error) {
            log::error!("could not write the {stream}: {error}");
            return;
        }
        let path = self.data.log(place);
        // A part may have been written; only the file tells how much.
        let have = std::fs::metadata(&path).map_or(0, |meta| meta.len());
        match self.room.missed(clock::now(), stream, have, answer) {
            Missed::First => log::error!("no room for the {stream} at {}: its output waits", path.display()),
            Missed::Again => {}
            Missed::Cut => {
                log::error!("still no room for the {stream}: it is cut after {have} bytes");
                // The runner is asked to go on, and its next piece is acknowledged and dropped.
                ask_again(answer, stream, have);
            }
        }
    }

    /// Passes a result on if all its streams are whole; else asks for the bytes that are missing.
    fn seal(&mut self, seal: Seal) {
        let Seal { session, attempt, mut streams, outcome, duration_ms, steps, execution, answer } = seal;
        let (mut is_whole, mut logs) = (true, Vec::new());
        for seal in &mut streams {
            let stream = StreamId { attempt, kind: seal.kind.clone() };
            if self.room.cut.contains(&stream) {
                self.seal_cut(&stream, seal);
            } else {
                is_whole &= self.is_whole(&stream, seal, &answer, &mut logs);
            }
        }
        if is_whole {
            let log = streams.into_iter().find(|seal| seal.kind == StreamKind::Log).map(|seal| seal.summary);
            let log = log.unwrap_or_default();
            let event = Event::AttemptFinished { session, attempt, outcome, log, duration_ms, steps, execution };
            // A core that is gone has ended the dispatcher; the runner delivers the result again to the next one.
            drop(self.core.send(ToCore::Ended { event, logs }));
        }
    }

    /// Makes the summary of a stream that was cut say how much of it there is.
    fn seal_cut(&mut self, stream: &StreamId, seal: &mut StreamSeal) {
        let summary = &mut seal.summary;
        let sent = summary.bytes;
        let kept = self.open(stream, &seal.place).and_then(|open| {
            open.file.sync()?;
            Ok((open.file.len(), open.file.crc32()))
        });
        // A log without a file has no bytes.
        (summary.bytes, summary.crc32) = kept.unwrap_or((0, 0));
        let why = format!("the dispatcher's disk was full: {} of {sent} bytes are kept", summary.bytes);
        let before = summary.missing.take().map(|before| format!("{before}; ")).unwrap_or_default();
        summary.missing = Some(format!("{before}{why}"));
    }

    /// Returns true if a stream is whole. Then it is made durable, or it is short, and added to those that are recorded
    /// with the outcome. Otherwise asks for the missing bytes.
    fn is_whole(
        &mut self,
        stream: &StreamId,
        seal: &StreamSeal,
        answer: &RunnerOutbox,
        logs: &mut Vec<ShortLog>,
    ) -> bool {
        let StreamSeal { place, summary, .. } = seal;
        let checked = self.open(stream, place).and_then(|open| {
            let (have, crc32) = (open.file.len(), open.file.crc32());
            if have == summary.bytes && crc32 == summary.crc32 {
                match open.file.short() {
                    Some(bytes) => {
                        logs.push(ShortLog { build: place.build, path: place.path(), bytes: bytes.to_vec() });
                    }
                    None => open.file.sync()?,
                }
                return Ok(None);
            }
            if have >= summary.bytes {
                log::warn!("the {stream} does not match its checksum: it is fetched again");
                open.file.clear()?;
                return Ok(Some(0));
            }
            Ok(Some(have))
        });
        match checked {
            Ok(None) => {
                // Answers must come in the order of the messages that they answer: once the core has the result, its
                // `ok` may be sent first.
                if self.unacknowledged.remove(stream).is_some() {
                    answer.acknowledge_whole(stream, summary.bytes);
                }
                true
            }
            Ok(Some(have)) => {
                let said = self.open.get_mut(stream).map(|open| std::mem::replace(&mut open.acknowledged, have));
                // Pieces that are not acknowledged yet are answered first: a runner takes the first acknowledgement of
                // an offset for progress, and the second for the question for the bytes behind it.
                self.unacknowledged.remove(stream);
                if said.is_none_or(|said| said < have) {
                    answer.acknowledge(stream, have);
                }
                answer.acknowledge(stream, have);
                false
            }
            Err(error) => {
                log::error!("could not complete the {stream}: {error}");
                self.forget(stream);
                let have = LogFile::open(&self.data.log(place)).map_or(0, |file| file.len());
                answer.acknowledge(stream, have.min(summary.bytes.saturating_sub(1)));
                false
            }
        }
    }

    fn open(&mut self, stream: &StreamId, place: &LogPlace) -> io::Result<&mut OpenLog> {
        self.clock += 1;
        if !self.open.contains_key(stream) {
            if self.open.len() >= limits::OPEN_LOGS
                && let Some(oldest) =
                    self.open.iter().min_by_key(|(_, open)| open.used).map(|(stream, _)| stream.clone())
            {
                self.forget(&oldest);
            }
            let file = LogFile::open(&self.data.log(place))?;
            let acknowledged = file.len();
            self.open.insert(stream.clone(), OpenLog { file, used: 0, acknowledged });
        }
        let open = self.open.get_mut(stream).expect("it was put there just now if it was missing");
        open.used = self.clock;
        Ok(open)
    }

    pub(super) fn acknowledge_all(&mut self) {
        for (stream, answer) in std::mem::take(&mut self.unacknowledged) {
            if let Some(open) = self.open.get_mut(&stream) {
                open.acknowledged = open.file.len();
                answer.acknowledge(&stream, open.acknowledged);
            }
        }
    }

    fn forget(&mut self, stream: &StreamId) {
        self.unacknowledged.remove(stream);
        self.open.remove(stream);
    }
}

/// A runner takes the first acknowledgement for progress; the same offset a second time asks for the bytes that follow
/// it.
fn ask_again(answer: &RunnerOutbox, stream: &StreamId, have: u64) {
    answer.acknowledge(stream, have);
    answer.acknowledge(stream, have);
}
