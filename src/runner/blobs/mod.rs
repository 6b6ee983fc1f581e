//! The files that an attempt takes and leaves. Those of needed tasks are received and put into its work tree before it
//! starts; those that it leaves are collected there, and sent to the dispatcher as blobs, before its result is told. A
//! slot does this on its own thread, while nothing of the attempt runs.

mod caches;
mod collect;
mod copying;
mod download;
mod fetch;
mod hand_over;
mod hashing;
mod keeping;
mod line;
mod line_request;
mod placing;
mod repositories;
mod routes;
mod taking;
mod translate;
mod upload;
mod wanted_file;
mod window;

pub(super) use caches::{AttemptCaches, HomeDirectory};
pub(super) use collect::{ArtifactLimits, KeptTree};
pub(super) use copying::Copying;
pub use hand_over::HandOver;
pub(super) use keeping::{Keeping, keep_artifacts};
pub(super) use line::LineWanted;
pub(super) use repositories::Repositories;
pub(super) use routes::{BlobAnswer, BlobRoutes};
pub(super) use taking::take_artifacts;
pub(super) use translate::{artifact_ends, heard, read_artifact_ends, taken_artifacts};
pub(super) use window::Window;
