//! The thread that sends logs, and after each log its results. Reads spools, keeps within each attempt's window, and
//! waits for nothing but its own channel and room in the session, so that neither the core nor an attempt ever waits
//! for it. Started by the core; told by the core, the session's reader and the threads that read output.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use crossbeam_channel::{Receiver, Select, Sender, bounded};

use super::delivery::{Deliveries, NextToSend};
use super::limits::UPLOAD_CAPACITY;
use super::spool::Spool;
use super::translate;
use crate::clock;
use crate::model::AttemptId;
use crate::threads::{self, Thread};
use crate::transport::Frame;

/// What the uploader is told.
#[derive(Debug)]
pub(super) enum Upload {
    /// An attempt has printed its first bytes.
    Opened { attempt: AttemptId, spool: Arc<Spool> },
    /// It has printed more.
    Grown(AttemptId),
    /// Its log is complete; `results` is to follow.
    Ended { attempt: AttemptId, results: Frame },
    /// The dispatcher wants nothing of it, although it has not ended yet.
    Muted(AttemptId),
    /// The dispatcher has this much of its log, or wants it from there.
    Acknowledged { attempt: AttemptId, offset: u64 },
    /// It is over: nothing of it is wanted any more, and the spool can go.
    Forgotten(AttemptId),
    /// The dispatcher is here; logs go on at these offsets, the others at 0.
    Resumed { bulk: Sender<Frame>, offsets: Vec<(AttemptId, u64)> },
    /// The dispatcher is away.
    Paused,
}

/// The core's handle. It joins the thread, which ends once every sender is gone: so it is dropped after all of them.
pub(super) struct Uploader {
    _thread: Thread<()>,
}

impl Uploader {
    pub(super) fn start() -> io::Result<(Self, Sender<Upload>)> {
        let (notes, told) = bounded(UPLOAD_CAPACITY);
        let thread = threads::spawn("upload", move || Uploading::default().run(&told))?;
        Ok((Self { _thread: thread }, notes))
    }
}

#[derive(Default)]
struct Uploading {
    deliveries: Deliveries,
    spools: HashMap<AttemptId, OpenSpool>,
    results: HashMap<AttemptId, Frame>,
    /// Where frames go while there is a session.
    bulk: Option<Sender<Frame>>,
    /// Ready to be sent as soon as the session has room.
    pending: Option<(AttemptId, Frame)>,
}

struct OpenSpool {
    spool: Arc<Spool>,
    is_muted: bool,
}

impl Uploading {
    /// The body of the thread. Ends when nobody can tell it anything any more.
    fn run(mut self, told: &Receiver<Upload>) {
        loop {
            self.prepare();
            let mut select = Select::new();
            let noted = select.recv(told);
            let bulk = self.bulk.clone().filter(|_| self.pending.is_some());
            if let Some(bulk) = &bulk {
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
                (Ok(operation), Some(bulk), Some((_, frame))) => {
                    if operation.send(bulk, frame).is_err() {
                        self.bulk = None;
                    }
                }
                // Sending was offered only with a session and a frame.
                (Ok(_), ..) => unreachable!("an operation that was not offered"),
            }
        }
    }

    /// Has the next frame ready, if there is anything to send.
    fn prepare(&mut self) {
        while self.pending.is_none() && self.bulk.is_some() {
            match self.deliveries.next(clock::now()) {
                Some(NextToSend::Log { attempt, offset, length }) => match self.read(attempt, offset, length) {
                    Ok(bytes) => self.pending = Some((attempt, translate::log_piece(attempt, offset, bytes))),
                    Err(error) => {
                        log::error!("attempt {attempt}: could not read its spooled output: {error}");
                        self.deliveries.forget(attempt);
                    }
                },
                Some(NextToSend::Results(attempt)) => {
                    self.pending = self.results.get(&attempt).map(|frame| (attempt, frame.clone()));
                }
                None => return,
            }
        }
    }

    fn read(&self, attempt: AttemptId, offset: u64, length: u64) -> io::Result<Vec<u8>> {
        self.spools.get(&attempt).map_or(Ok(Vec::new()), |source| source.spool.read(offset, length))
    }

    fn note(&mut self, note: Upload) {
        match note {
            Upload::Opened { attempt, spool } => {
                self.spools.insert(attempt, OpenSpool { spool, is_muted: false });
                self.look(attempt);
            }
            Upload::Grown(attempt) => self.look(attempt),
            Upload::Ended { attempt, results } => {
                let Some(source) = self.spools.get(&attempt) else { return };
                self.deliveries.end(attempt, source.spool.len());
                self.results.insert(attempt, results);
            }
            Upload::Acknowledged { attempt, offset } => {
                if self.deliveries.acknowledge(clock::now(), attempt, offset) {
                    self.drop_pending(attempt);
                }
            }
            Upload::Muted(attempt) => {
                self.deliveries.forget(attempt);
                self.drop_pending(attempt);
                if let Some(source) = self.spools.get_mut(&attempt) {
                    source.is_muted = true;
                }
            }
            Upload::Forgotten(attempt) => {
                self.deliveries.forget(attempt);
                self.drop_pending(attempt);
                self.results.remove(&attempt);
                if let Some(source) = self.spools.remove(&attempt) {
                    source.spool.remove();
                }
            }
            Upload::Resumed { bulk, offsets } => {
                self.deliveries.resume(&offsets);
                (self.bulk, self.pending) = (Some(bulk), None);
            }
            Upload::Paused => (self.bulk, self.pending) = (None, None),
        }
    }

    fn look(&mut self, attempt: AttemptId) {
        if let Some(source) = self.spools.get(&attempt)
            && !source.is_muted
        {
            // First the mark, then the length: what comes in between is announced again.
            source.spool.is_announced.swap(false, Ordering::AcqRel);
            self.deliveries.grow(attempt, source.spool.len());
        }
    }

    fn drop_pending(&mut self, attempt: AttemptId) {
        self.pending.take_if(|(of, _)| *of == attempt);
    }
}
