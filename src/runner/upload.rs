//! The thread that sends streams, and after an attempt's last stream its results. Reads spools, keeps within the window
//! of each stream, and waits only for its channel and for room in the session, so that neither the core nor an attempt
//! ever waits for it. The core starts it; the core, the session's reader and the readers of output send it notes.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crossbeam_channel::{Receiver, Select, Sender, bounded};

use super::boottime;
use super::bulk::OrderedBulk;
use super::delivery::{Acknowledgement, Deliveries, NextToSend, of_attempt, take_attempt};
use super::limits::UPLOAD_CAPACITY;
use super::spool::Spool;
use super::translate;
use crate::clock;
use crate::model::{AttemptId, Moment, StreamId};
use crate::threads::{self, Thread};
use crate::transport::Frame;

/// A note to the uploader.
#[derive(Debug)]
pub(super) enum Upload {
    /// A stream has its first bytes.
    Opened { stream: StreamId, spool: Arc<Spool> },
    /// The stream has grown.
    Grown(StreamId),
    /// The attempt's streams are complete; `results` follow them.
    Ended { attempt: AttemptId, results: Frame },
    /// The dispatcher wants nothing of the attempt, although it has not ended yet.
    Muted(AttemptId),
    /// The dispatcher has this much of the stream, or wants it from there.
    Acknowledged { stream: StreamId, offset: u64 },
    /// The attempt is over: nothing of it is wanted any more, and its spools can be deleted.
    Forgotten(AttemptId),
    /// The dispatcher is here; streams go on at these offsets, the others at 0.
    Resumed { bulk: OrderedBulk, offsets: Vec<(StreamId, u64)> },
    /// The dispatcher is away.
    Paused,
}

/// The core's handle. Dropping it joins the thread, which ends when all senders are gone; so it is dropped after them.
pub(super) struct Uploader {
    progress: Arc<AtomicU64>,
    _thread: Thread<()>,
}

impl Uploader {
    pub(super) fn start() -> io::Result<(Self, Sender<Upload>)> {
        let (notes, told) = bounded(UPLOAD_CAPACITY);
        let progress = Arc::<AtomicU64>::default();
        let uploading = Uploading { progress: progress.clone(), ..Uploading::default() };
        let thread = threads::spawn("upload", move || uploading.run(&told))?;
        Ok((Self { progress, _thread: thread }, notes))
    }

    /// Returns when the dispatcher last had more of a stream.
    pub(super) fn last_progress(&self) -> Moment {
        Moment(self.progress.load(Ordering::Relaxed))
    }
}

#[derive(Default)]
struct Uploading {
    deliveries: Deliveries,
    spools: BTreeMap<StreamId, OpenSpool>,
    results: HashMap<AttemptId, Frame>,
    /// The way for frames, while there is a session.
    bulk: Option<OrderedBulk>,
    /// When the dispatcher last had more of a stream.
    progress: Arc<AtomicU64>,
    /// A frame to send as soon as the session has room.
    pending: Option<Pending>,
}

struct Pending {
    what: NextToSend,
    frame: Frame,
}

struct OpenSpool {
    spool: Arc<Spool>,
    is_muted: bool,
}

impl Uploading {
    /// Runs until all senders are gone.
    fn run(mut self, told: &Receiver<Upload>) {
        loop {
            self.prepare();
            while self.gather() {
                self.prepare();
            }
            // Waits for a note, and with a frame ready also for room in the session, whichever comes first: a slow
            // session must not keep notes waiting.
            let mut select = Select::new();
            let noted = select.recv(told);
            let bulk = self.bulk.as_ref().filter(|_| self.pending.is_some()).map(OrderedBulk::sender);
            if let Some((bulk, _)) = &bulk {
                select.send(bulk);
            }
            let ready = match self.deliveries.next_deadline() {
                Some(deadline) if self.bulk.is_some() => {
                    select.select_timeout(Duration::from_millis(deadline.since(clock::now())))
                }
                Some(_) | None => Ok(select.select()),
            };
            match (ready, &bulk, self.pending.take()) {
                (Err(_), _, pending) => {
                    self.pending = pending;
                    self.deliveries.look_at_time(clock::now());
                }
                (Ok(operation), _, pending) if operation.index() == noted => {
                    self.pending = pending;
                    match operation.recv(told) {
                        Ok(note) => self.note(note),
                        Err(_) => return,
                    }
                }
                (Ok(operation), Some((bulk, order)), Some(Pending { frame, .. })) => {
                    if operation.send(bulk, order.frame(frame)).is_err() {
                        self.bulk = None;
                    }
                }
                // Sending was offered only with a session and a frame.
                (Ok(_), ..) => unreachable!("an operation that was not offered"),
            }
        }
    }

    /// Makes the next frame ready, if there is anything to send.
    fn prepare(&mut self) {
        while self.pending.is_none() && self.bulk.is_some() {
            let Some(what) = self.deliveries.next(clock::now()) else { return };
            let frame = match &what {
                NextToSend::Piece { stream, offset, length } => match self.read(stream, *offset, *length) {
                    Ok(bytes) => {
                        let ages = self.ages(stream, *offset, bytes.len() as u64);
                        Some(translate::log_piece(stream, *offset, bytes, ages))
                    }
                    Err(error) => {
                        log::error!("could not read the spooled {stream}: {error}");
                        self.deliveries.forget(stream.attempt);
                        None
                    }
                },
                NextToSend::Results(attempt) => self.results.get(attempt).cloned(),
            };
            self.pending = frame.map(|frame| Pending { what, frame });
        }
    }

    /// Takes the frame that is ready along with the next write to the session, if it is small and the session is free.
    /// If nothing more is to be taken along, writes and returns false.
    fn gather(&mut self) -> bool {
        let Some(bulk) = &mut self.bulk else { return false };
        if self.pending.take_if(|pending| bulk.gather(&pending.frame)).is_some() {
            return true;
        }
        bulk.flush();
        false
    }

    fn read(&self, stream: &StreamId, offset: u64, length: u64) -> io::Result<Vec<u8>> {
        self.spools.get(stream).map_or(Ok(Vec::new()), |source| source.spool.read(offset, length))
    }

    fn ages(&self, stream: &StreamId, offset: u64, length: u64) -> Vec<(u64, u64)> {
        self.spools.get(stream).map_or(Vec::new(), |open| open.spool.ages(offset, length, clock::now()))
    }

    fn note(&mut self, note: Upload) {
        match note {
            Upload::Opened { stream, spool } => {
                self.spools.insert(stream.clone(), OpenSpool { spool, is_muted: false });
                self.measure(&stream);
            }
            Upload::Grown(stream) => self.measure(&stream),
            Upload::Ended { attempt, results } => {
                for (stream, open) in of_attempt(&self.spools, attempt) {
                    self.deliveries.grow(clock::now(), stream, open.spool.len());
                }
                self.deliveries.end(attempt);
                self.results.insert(attempt, results);
            }
            Upload::Acknowledged { stream, offset } => {
                match self.deliveries.acknowledge(clock::now(), &stream, offset) {
                    Acknowledgement::Progress => self.progress.store(boottime::now().0, Ordering::Relaxed),
                    // The frame that is ready is out of turn now, unless it is another stream's piece.
                    Acknowledgement::GoBack => drop(self.pending.take_if(|pending| match &pending.what {
                        NextToSend::Piece { stream: of, .. } => *of == stream,
                        NextToSend::Results(of) => *of == stream.attempt,
                    })),
                    Acknowledgement::Nothing => {}
                }
            }
            Upload::Muted(attempt) => {
                // The spool stays: its attempt still writes to it.
                self.deliveries.forget(attempt);
                self.drop_pending(attempt);
                let spools = self.spools.range_mut(StreamId::log(attempt)..);
                for (_, open) in spools.take_while(|(stream, _)| stream.attempt == attempt) {
                    open.is_muted = true;
                }
            }
            Upload::Forgotten(attempt) => {
                self.deliveries.forget(attempt);
                self.drop_pending(attempt);
                self.results.remove(&attempt);
                for open in take_attempt(&mut self.spools, attempt) {
                    open.spool.remove();
                }
            }
            Upload::Resumed { bulk, offsets } => {
                self.deliveries.resume(&offsets);
                (self.bulk, self.pending) = (Some(bulk), None);
            }
            Upload::Paused => (self.bulk, self.pending) = (None, None),
        }
    }

    /// Notes how much of a stream can be sent.
    fn measure(&mut self, stream: &StreamId) {
        if let Some(open) = self.spools.get(stream)
            && !open.is_muted
        {
            // First the mark, then the length: bytes that come in between are announced again.
            open.spool.is_announced.swap(false, Ordering::AcqRel);
            self.deliveries.grow(clock::now(), stream, open.spool.len());
        }
    }

    fn drop_pending(&mut self, attempt: AttemptId) {
        self.pending.take_if(|pending| match &pending.what {
            NextToSend::Piece { stream, .. } => stream.attempt == attempt,
            NextToSend::Results(of) => *of == attempt,
        });
    }
}
