//! The artifacts of builds, and the blobs of which they consist.

use super::error::OperationError;
use super::questions::Operations;
use crate::blobs::Form;
use crate::dispatcher::limits;
use crate::model::{ArtifactRecord, ArtifactRemoval, Attempt, BlobId, Build, TaskName};

/// The artifacts of a build, task by task.
pub(crate) struct BuildArtifacts {
    pub(crate) build: Build,
    /// Those that are there.
    pub(crate) artifacts: Vec<(TaskName, Attempt, ArtifactRecord)>,
    /// Those that retention has removed.
    pub(crate) removed: Vec<(TaskName, Attempt, ArtifactRecord, ArtifactRemoval)>,
}

impl Operations {
    /// Returns the artifacts of a build, or of a task or matrix of it: those of the newest attempt of each job that
    /// left some.
    pub(crate) fn artifacts(&self, name: &str, task: Option<&str>) -> Result<BuildArtifacts, OperationError> {
        let _transaction = self.reader.read_transaction()?;
        let build = self.find(name)?;
        let wanted = task.map(|task| self.jobs_of(&build, task)).transpose()?;
        let attempts = self.reader.attempts(build.id)?;
        let left = self.reader.artifacts(build.id)?;
        let (mut artifacts, mut removed) = (Vec::new(), Vec::new());
        for job in self.reader.jobs(build.id)? {
            if wanted.as_ref().is_some_and(|wanted| !wanted.jobs.contains(&job.id)) {
                continue;
            }
            let newest = attempts.iter().rev().filter(|attempt| attempt.job == job.id).find_map(|attempt| {
                let (_, artifacts) = left.iter().find(|(of, _)| *of == attempt.id)?;
                Some((attempt, artifacts))
            });
            if let Some((attempt, records)) = newest {
                for record in records {
                    let (name, attempt, record) = (job.task.name.clone(), attempt.clone(), record.clone());
                    match record.removed {
                        Some(removal) => removed.push((name, attempt, record, removal)),
                        None => artifacts.push((name, attempt, record)),
                    }
                }
            }
        }
        Ok(BuildArtifacts { build, artifacts, removed })
    }

    /// Passes the stored form of a blob to `each` in pieces, until `each` returns false: whether the piece is
    /// compressed, its bytes, and whether it is the last one. A damaged blob is an error before its last piece.
    pub(crate) fn fetch(
        &self,
        id: BlobId,
        each: &mut dyn FnMut(bool, Vec<u8>, bool) -> bool,
    ) -> Result<(), OperationError> {
        let mut pass_on = |form: Form, piece: Vec<u8>, last: bool| each(form == Form::Packed, piece, last);
        match self.blobs.pieces(id, limits::BLOB_PIECE_BYTES, &mut pass_on) {
            Ok(true) => Ok(()),
            Ok(false) => Err(OperationError::NoBlob { blob: id }),
            Err(source) => Err(OperationError::Blob { blob: id, source }),
        }
    }
}
