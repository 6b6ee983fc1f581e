//! The nouns: the types that every other room talks about. Plain data without I/O or clock. Only reasons, which are
//! stored as they are, and tasks, whose recipe is the same on the wire and in the store, have a serialised form.

#[macro_use]
mod macros;

mod ability;
mod address;
mod artifact;
mod attempt;
mod blob;
mod build;
mod cache;
mod cache_scope;
mod commit;
mod credential;
mod ending;
mod execution;
mod facts;
pub mod glob;
mod group;
mod id;
mod job;
mod moment;
mod name;
mod network;
pub mod output;
mod pin;
mod plan;
mod plan_choice;
mod readiness;
pub mod reason;
pub mod recipe;
mod record;
mod ref_order;
mod retry;
mod runner;
mod schedule;
pub mod secret;
mod service;
mod short_log;
mod snapshot;
mod step;
mod stream;
mod task;
#[cfg(test)]
pub(crate) mod tests;
mod tier;
mod tool_entry;
mod trigger;
mod trust;
mod visible;
mod when;
pub mod words;

pub use ability::Ability;
pub use address::{Address, AddressError};
pub use artifact::{ArtifactRecord, ArtifactRemoval, ArtifactRule, ExpiryRule, KeptOn, Take, TakenArtifact};
pub use attempt::{Attempt, LogSummary, Outcome};
pub use blob::{BlobId, BlobIdError};
pub use build::{Build, BuildSource, BuildState, Verdict};
pub use cache::{CacheEntry, CacheKey, CacheKeyError, CacheRule, SavedCache};
pub use cache_scope::{CacheScope, CacheScopes};
pub use commit::{BranchName, CommitId, CommitIdError};
pub use credential::{AccessRole, Credential, CredentialId, CredentialKind};
pub use ending::EndingKind;
pub use execution::ExecutionRecord;
pub use facts::{Depth, DepthError, FactsId, SourceNeeds, Submodules};
pub use group::{Group, Line};
pub use id::{AttemptId, BuildId, Incarnation, JobId, PoolId, RunnerId, SessionId, SpawnId};
pub use job::{Ending, Job, JobState, JobStateKind};
pub use moment::{Moment, WallTime};
pub use name::{
    GroupName, GroupNameError, Label, LabelError, RepoName, RepoNameError, RunnerName, RunnerNameError, TaskName,
    TaskNameError, is_of_cell,
};
pub use network::{Network, NetworkError};
pub use output::Outputs;
pub use pin::{Pin, PinError};
pub use plan::{BuildSettings, ForWritten, MAX_PRIORITY, Plan, PlannedTask, Supersede, WrongInputs};
pub use plan_choice::{ChangeJudge, Changes};
pub use readiness::Readiness;
pub use recipe::{Recipe, STOP_AT_FAILURE, Script, Service, ServiceImage, Step};
pub use record::{Decision, Record};
pub use retry::{RetryCause, RetryRule};
pub use runner::{DrainOrder, Isolation, Ordered, Runner, RunnerState};
pub use schedule::{PlannedSchedule, Schedule, ScheduleRule};
pub use secret::{Secret, SecretAsk, SecretRule, SecretUse};
pub use service::{
    FailureParts, MAX_LAST_LINES, MAX_SERVICE_NAME_CHARS, MAX_SERVICES, PORT_VARIABLE, ServiceFailure, ServiceRecord,
    is_service_name, variable_of_service,
};
pub use short_log::ShortLog;
pub use snapshot::{AcceptedHead, Snapshot, WholeBuild};
pub use step::StepRecord;
pub use stream::{StreamId, StreamKind, StreamNameError, StreamSummary};
pub use task::{Condition, Input, Need, Placement, SlotCount, TaskSpec};
pub use tier::{Pull, Tier, TierOffer, TierRange};
pub use tool_entry::{ToolEntry, ToolFilter, ToolTotal};
pub use trigger::{RefName, Trigger, TriggerId, TriggerKind, Trust};
pub use trust::{ObservedRefs, TrustRule};
pub use visible::{visible, visible_char, visible_lines};
pub use when::{TriggerEvent, Unmet, When};
