use super::GitError;
use crate::model::CommitId;
use std::path::Path;
pub struct WorkTree {}
impl WorkTree {
    pub fn open(store: &Path, directory: &Path) -> Result<Self, GitError> {
        todo!()
    }
    pub fn check_out(&mut self, commit: CommitId, keep: &[String]) -> Result<(), GitError> {
        todo!()
    }
    pub fn commit(&self) -> Option<CommitId> {
        todo!()
    }
    pub fn quarantine(self, quarantine: &Path) -> Result<(), GitError> {
        todo!()
    }
}
