//! The records of a dispatcher that does not run, read from its data directory. They are served as an operator's
//! session over an in-memory connection, so that commands ask them as they ask a dispatcher. Nothing is created,
//! changed, migrated or locked. Called by the commands that only ask.

use std::path::Path;

use crossbeam_channel::bounded;

use super::observers::Observers;
use super::operator;
use super::worker::Incoming;
use crate::blobs::BlobStore;
use crate::dispatcher::core::CoreHandle;
use crate::dispatcher::data_dir::DataDir;
use crate::dispatcher::logs::{KeptLogs, LogSender};
use crate::dispatcher::mirrors::Mirrors;
use crate::dispatcher::operations::Operations;
use crate::dispatcher::session::credentials::Credentials;
use crate::dispatcher::trust::TrustJudge;
use crate::dispatcher::warnings::Warnings;
use crate::model::{SessionId, WallTime};
use crate::protocol::limits::MAX_LINE_BYTES;
use crate::protocol::operator::{FromOperator, ToOperator};
use crate::store::{StoreError, sqlite};
use crate::threads::{self, Thread};
use crate::transport::{Frame, FrameReader, Outbox, Stream};

/// The records in a data directory that no dispatcher uses.
pub struct Records {
    operations: Operations,
    written_at: WallTime,
}

impl Records {
    /// Opens the records of a data directory; `None` if it has none. Refused with the name of the holder if a
    /// dispatcher uses it.
    pub fn open(directory: &Path) -> Result<Option<Self>, StoreError> {
        // SQLite reads the path as part of a URI, where a relative one could mean something else.
        let data = DataDir::at(&directory.canonicalize().unwrap_or_else(|_| directory.to_owned()));
        if !data.store().exists() {
            return Ok(None);
        }
        let (reader, written_at) = sqlite::read_unattended(&data.store())?;
        let operations = Operations {
            mirrors: Mirrors::new(data.clone(), None),
            blobs: BlobStore::at(&data.blobs()),
            trust: TrustJudge::new(&data, Warnings::default()),
            data,
            credentials: Credentials::new(Vec::new(), CoreHandle::absent()),
            core: CoreHandle::absent(),
            logs: LogSender::new(bounded(1).0, KeptLogs::nowhere()),
            reader,
            warnings: Warnings::default(),
            observers: Observers::none(),
            listening: None,
            authority: None,
            secrets: None,
            caches: None,
        };
        Ok(Some(Self { operations, written_at }))
    }

    /// The time at which a dispatcher last wrote here.
    #[must_use]
    pub fn written_at(&self) -> WallTime {
        self.written_at
    }

    /// Answers the questions that come over the stream, in a thread of its own, until the other end is closed.
    pub fn serve(self, stream: Stream) -> std::io::Result<Thread<()>> {
        threads::spawn_large("records", move || {
            let (outbox, last_word) = Outbox::new(SessionId(0), stream.clone());
            let (questions, inbox) = bounded(1);
            let (to_asker, operations) = (outbox.clone(), self.operations);
            let worker = threads::spawn_large("records-work", move || {
                operator::serve_records(operations, &to_asker, &inbox);
            });
            let mut reader = FrameReader::new(stream);
            while let Ok(Some(message)) = reader.read::<FromOperator>(MAX_LINE_BYTES) {
                if message == FromOperator::Ping {
                    outbox.send(&Frame::new(&ToOperator::Ack));
                } else if questions.send(Incoming { message, payload: Vec::new() }).is_err() {
                    break;
                }
            }
            drop((questions, worker, last_word));
        })
    }
}
