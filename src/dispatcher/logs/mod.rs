//! The `logs` thread: output arrives here and becomes bytes on disk. Output never queues behind decisions, and
//! decisions never behind output.
//!
//! A chunk names its offset: what is there already is skipped, what leaves a gap is refused with the offset that is
//! wanted. An attempt's result passes through here if it has a log: it goes on to the core only when the log is whole,
//! its checksum agrees and it is synced. Until then the runner keeps the bytes, so nothing here needs a sync of its
//! own.
//!
//! Where the disk has no room, output is asked for again for a while. Then the log is cut: what is there stays, the
//! rest is acknowledged and dropped, and the result is recorded with the reason why its log is not complete (S16).

mod disk_full;
mod file;
// Compiled as a part of this module, so that it sees what is private here.
#[cfg(any(test, fuzzing))]
#[path = "../../fuzz/dispatcher_logs.rs"]
pub(crate) mod fuzz;
mod inbox;
mod sender;
mod writer;

pub(crate) use inbox::{Seal, StreamSeal, ToLogs};
pub(crate) use sender::{Following, LogSender};
pub(crate) use writer::Logs;
