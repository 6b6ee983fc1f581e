//! Content-addressed files. A blob is a sequence of bytes that is named by its hash, and stored once however many
//! artifacts have it; a manifest, itself a blob, gives blobs the paths of files.
//!
//! This room knows nothing of jobs and attempts. It reads and writes files, and no sockets. Nothing is held whole in
//! memory but names. Paths are resolved name by name and without following symbolic links, so that none leads out of
//! the directory that the caller has opened.

mod arriving;
mod content;
mod copies;
mod directory;
// Compiled as a part of this room, so that it sees what is private here.
#[cfg(any(test, fuzzing))]
#[path = "../fuzz/blobs.rs"]
pub(crate) mod fuzz;
mod manifest;
mod merging;
mod place;
mod reading;
mod store;
#[cfg(test)]
mod tests;

pub use arriving::{Arriving, ArrivingError};
pub use content::{Form, Unpacking, pack_pays, packing, sum, sum_of, sum_with};
pub use copies::{BlobCopies, CopyWriter, StoredCopy};
pub use directory::{Found, FoundKind, PathTrouble, TreeDirectory};
pub use manifest::{Entry, EntryKind, ManifestError, path_fault, read_manifest, stays_inside, write_manifest};
pub use merging::{Clash, merge};
pub use place::{Placer, Placing, UnfinishedFile};
pub use store::{ARRIVING, Arrived, BlobStore, StoredBlob, Swept};
