//! The `logs` thread appends output to files. Output never queues behind decisions, and decisions never behind output.
//!
//! A chunk names its offset. Bytes that are stored already are skipped; a chunk that leaves a gap is refused, with the
//! offset that is wanted. The result of an attempt that has a log passes through this thread: it goes on to the core
//! only when the log is whole, its checksum agrees and it is synced. The runner keeps the bytes until then, so chunks
//! need no sync of their own. A short log goes on with the result instead, and the store keeps its bytes until its file
//! is durable.
//!
//! If the disk has no room, the thread asks for the output again for a while. Then the log is cut: the stored bytes
//! stay, the rest is acknowledged and dropped, and the result is recorded with the reason why its log is not complete
//! (S16).

mod disk_full;
mod file;
// Compiled as a part of this module, so that it sees what is private here.
#[cfg(any(test, fuzzing))]
#[path = "../../fuzz/dispatcher_logs.rs"]
pub(crate) mod fuzz;
mod inbox;
mod kept;
mod sender;
mod times;
mod writer;

pub(crate) use inbox::{Seal, StreamSeal, ToLogs};
pub(crate) use kept::{KeptLogs, Syncing, bring_back};
pub(crate) use sender::{Following, LogSender};
pub(crate) use times::{TIMES_EXTENSION, TimedOffset, times_of};
pub(crate) use writer::Logs;
