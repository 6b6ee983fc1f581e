//! The wire: one JSON object on one line, sometimes followed by a payload of raw bytes. This room holds the types, the
//! limits and a codec on byte slices; it has no sockets. `docs/protocol.md` is the contract, and these types follow it.
//!
//! They are wire types only: a role's `translate` file checks every field once and turns the message into values of
//! [`crate::model`], which all later code may trust. The exception is the recipe of a task: it has many keys, and will
//! have more, so it has one serialised form, [`crate::model::recipe`], for the wire and the store.

pub mod blobs;
pub mod caches;
pub mod codec;
mod cutter;
pub mod execution;
pub mod hello;
pub mod limits;
mod list_pieces;
pub mod observer;
pub mod operator;
pub mod pieces;
pub mod runner;
mod stream_name;
#[cfg(test)]
mod tests;
pub mod token;
pub mod tool_entries;

/// The protocol version this program speaks.
pub const VERSION: u32 = 1;
/// The oldest protocol version this program still understands.
pub const MIN_VERSION: u32 = 1;
