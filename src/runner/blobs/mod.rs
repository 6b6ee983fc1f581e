//! The files that an attempt leaves: collected in its work tree, and sent to the dispatcher as blobs, before its result
//! is told. A slot does this on its own thread, when nothing of the attempt runs any more.

mod collect;
mod keeping;
mod line;
mod routes;
mod translate;
mod upload;
mod window;

pub(super) use collect::ArtifactLimits;
pub(super) use keeping::{Keeping, keep_artifacts};
pub(super) use line::LineWanted;
pub(super) use routes::{BlobAnswer, BlobRoutes};
pub(super) use translate::{artifact_ends, heard, read_artifact_ends};
