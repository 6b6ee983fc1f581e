//! The operations: everything that an operator can ask or order, in words of the model, with a typed error.
//!
//! The sessions of operators are a thin skin over the operations: they turn a message into a call, and its result into
//! a message. A page or an API would be another skin. Operations never see the wire. Questions about the past are
//! answered from a store reader, questions about the present by the core. Orders go to the core, and are durable when
//! they return. Copying a data directory is no operation: [`back_up`](super::back_up) works without a dispatcher.

mod artifacts;
mod caches;
mod cell_starts;
mod error;
mod find;
mod history;
mod logs;
mod orders;
mod passes;
mod questions;
mod rotation;
mod secrets;
mod submit;
mod tokens;
mod views;
mod watch;

pub(crate) use artifacts::BuildArtifacts;
pub(crate) use error::OperationError;
pub(crate) use history::HistoryLine;
pub(crate) use logs::AttemptOfLog;
pub(crate) use orders::StartAsk;
pub(crate) use passes::{PassesWanted, TaskPast};
pub(crate) use questions::{Operations, Status, Why};
pub(crate) use submit::{Submission, Submitted};
pub(crate) use views::{AttemptView, BuildView, JobView};
pub(crate) use watch::BuildWatch;
