//! Why a task whose condition names paths runs, although a build without changes of those would leave it out.

use serde::{Deserialize, Serialize};

use super::{RecordedReason, StoredReason};
use crate::model::BuildId;

stored_reason! {
    /// Why a task with a list `changed` runs. `since` is the commit, and `build` the build, in which it passed last.
    pub enum ChangeReason {
        /// The task has not passed on this branch, nor where the branch came from.
        NoPass = "no_pass",
        /// This is the first path, in alphabetical order, that the task depends on and that differs.
        PathChanged { path: String, since: String, build: BuildId } = "path_changed",
        /// Too many paths differ to compare each of them.
        ManyChanged { since: String, build: BuildId } = "many_changed",
        /// The task itself was defined otherwise.
        DefinitionChanged { since: String, build: BuildId } = "definition_changed",
        /// The commit cannot be compared with: its source is not there any more, or cannot be read.
        NotComparable { since: String, build: BuildId } = "not_comparable",
    }
}
