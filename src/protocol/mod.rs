//! The wire: one JSON object on one line, sometimes followed by a payload of raw bytes. Types, limits and a codec on
//! byte slices; no sockets. `docs/protocol.md` is the contract, these types follow it.
//!
//! These types are only wire types: a role's `translate` file turns them into words of [`crate::model`] once, and the
//! code after it may trust those. The exception is the recipe of a task: its keys are many and will be more, so it has
//! one serialised form, [`crate::model::recipe`], for the wire and the store.

pub mod codec;
#[cfg(test)]
mod document;
pub mod hello;
pub mod limits;
pub mod observer;
pub mod operator;
pub mod runner;

/// The protocol version this program speaks.
pub const VERSION: u32 = 1;
/// The oldest protocol version this program still understands.
pub const MIN_VERSION: u32 = 1;
