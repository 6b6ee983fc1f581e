//! The threads of an observer's or operator's session: one reads and answers pings, another one works, so that a
//! session with long work looks alive.

use crossbeam_channel::{Receiver, bounded};

use super::connection::{NO_THREAD, REFUSAL_WAIT, Session};
use super::error::{SessionError, explain};
use super::shared::Shared;
use crate::dispatcher::limits;
use crate::protocol::hello::{ErrorCode, Refusal};
use crate::threads;
use crate::transport::{Frame, Outbox};

/// A message with its payload.
pub(super) struct Incoming<M> {
    pub(super) message: M,
    pub(super) payload: Vec<u8>,
}

/// Reads messages and hands them to `work` on another thread, until the peer leaves or `work` ends. `pings` has the
/// message that is answered here, and the answer; `payload` returns the number of raw bytes that follow a message.
pub(super) fn serve<M>(
    mut session: Session,
    (ping, ack): &(M, Frame),
    payload: fn(&M) -> u64,
    work: impl FnOnce(&Shared, crate::model::SessionId, &Outbox, &Receiver<Incoming<M>>) -> Result<(), Refusal>
    + Send
    + 'static,
) -> Result<(), SessionError>
where
    M: serde::de::DeserializeOwned + PartialEq + Send + 'static,
{
    let id = session.id;
    let (outbox, last_word) = Outbox::new(id, session.stream.clone());
    let (requests, inbox) = bounded(limits::WORK_CAPACITY);
    let (shared, to_worker) = (session.shared.clone(), outbox.clone());
    let worker = threads::spawn_large(&format!("s{}-work", id.0 % 1_000_000), move || {
        let end = work(&shared, id, &to_worker, &inbox);
        if let Err(refusal) = &end {
            log::warn!("session {id} ended: {}", refusal.line());
            to_worker.send(&Frame::new(&crate::protocol::hello::Greeting::Error(refusal.clone())));
            // The reader notices when the peer has read the refusal and left.
            to_worker.finish();
        }
        end.is_err()
    })
    .map_err(|error| {
        log::warn!("session {id} refused: no thread for it: {error}");
        Refusal::new(ErrorCode::Busy, NO_THREAD)
    })?;
    let mut read_all = || {
        while let Some(message) = session.next::<M>(&outbox)? {
            if message == *ping {
                outbox.send(ack);
                continue;
            }
            let mut bytes = Vec::new();
            session.reader.read_payload(payload(&message), &mut bytes).map_err(explain)?;
            if requests.send(Incoming { message, payload: bytes }).is_err() {
                break;
            }
        }
        Ok(())
    };
    let end = read_all();
    drop(requests);
    let was_refused = worker.join().unwrap_or(true);
    drop(last_word);
    if was_refused {
        // Lets a peer that is still sending read the reason.
        session.stream.hang_up(REFUSAL_WAIT);
    }
    end
}
