//! The writing half of the contract.

use std::fmt::Debug;

use super::error::StoreError;
use super::reader::{Readers, Rule};
use crate::model::{
    ArtifactRemoval, AttemptId, BuildId, CacheEntry, CacheKey, Credential, CredentialId, ObservedRefs, Record,
    RepoName, Secret, SecretUse, ShortLog, Snapshot, ToolEntry, WallTime,
};

/// The one writer of a store. A second one is refused for as long as it lives.
pub trait Store: Debug + Send {
    /// Makes the records durable, all or none, in order. When it returns they have been synced. After an error that
    /// [`StoreError::is_transient`] the same records may be tried again; after any other the process should end.
    fn commit(&mut self, records: &[Record]) -> Result<(), StoreError> {
        self.commit_with(records, &[])
    }

    /// Like [`Store::commit`], and keeps the bytes of these short streams in the same transaction.
    fn commit_with(&mut self, records: &[Record], logs: &[ShortLog]) -> Result<(), StoreError>;

    /// Whether the process that last had this store ran in the present boot of the machine. Then everything that it
    /// wrote to files is there, synced or not. False if it is not known.
    fn is_of_this_boot(&self) -> bool;

    /// Returns the number of the newest short log that is kept; 0 if there is none. Later ones have greater numbers.
    fn last_short_log(&self) -> Result<i64, StoreError>;

    /// Returns the next short logs with numbers above `after`, with their numbers. There are none when it is empty.
    fn short_logs(&self, after: i64) -> Result<Vec<(i64, ShortLog)>, StoreError>;

    /// Removes some of the short logs with numbers up to this one, because their files are durable. Returns whether
    /// there may be more of them. Durable on return.
    fn forget_short_logs(&mut self, up_to: i64) -> Result<bool, StoreError>;

    /// Returns unfinished builds with what belongs to them, and what else a dispatcher starts from.
    fn snapshot(&self) -> Result<Snapshot, StoreError>;

    /// Returns where the repository of that name was last observed, for telling two of one name apart.
    fn repo_source(&self, repo: &RepoName) -> Result<Option<String>, StoreError>;

    /// Remembers where the repository of that name is observed. Durable on return.
    fn set_repo_source(&mut self, repo: &RepoName, source: &str) -> Result<(), StoreError>;

    /// Returns what an observer of the repository of that name told last of its refs.
    fn observed_refs(&self, repo: &RepoName) -> Result<ObservedRefs, StoreError>;

    /// Remembers what an observer of the repository of that name told of its refs. Durable on return.
    fn set_observed_refs(&mut self, repo: &RepoName, refs: &ObservedRefs) -> Result<(), StoreError>;

    /// Returns all join tokens and credentials, by id.
    fn credentials(&self) -> Result<Vec<Credential>, StoreError>;

    /// Adds or replaces these credentials, and forgets those with these ids, all or none. Durable on return.
    fn save_credentials(&mut self, changed: &[Credential], forgotten: &[CredentialId]) -> Result<(), StoreError>;

    /// Adds a secret, or replaces the one of that name and repository. Durable on return.
    fn save_secret(&mut self, secret: &Secret) -> Result<(), StoreError>;

    /// Removes a secret of one repository, or of all. Returns whether it was there. Durable on return.
    fn remove_secret(&mut self, name: &str, repo: Option<&str>) -> Result<bool, StoreError>;

    /// Notes the newest attempt that gets a secret, unless the secret was removed. Durable on return.
    fn note_secret_use(&mut self, name: &str, repo: Option<&str>, last: &SecretUse) -> Result<(), StoreError>;

    /// Adds what an attempt saved, under a number of its own. Returns false if its scope has an entry of that key,
    /// which stays as it is. Durable on return.
    fn add_cache(&mut self, entry: &CacheEntry) -> Result<bool, StoreError>;

    /// Notes when an entry of a cache was last used, if it is there. Durable on return.
    fn note_cache_use(&mut self, id: i64, at: WallTime) -> Result<(), StoreError>;

    /// Removes entries of caches. Durable on return.
    fn remove_caches(&mut self, ids: &[i64]) -> Result<(), StoreError>;

    /// Adds entries of the tool cache, and notes when others were last used. An entry whose key is there already is
    /// passed over. Durable on return.
    fn save_tool_entries(&mut self, new: &[ToolEntry], used: &[(CacheKey, WallTime)]) -> Result<(), StoreError>;

    /// Removes entries of the tool cache. Durable on return. It is one transaction between others, so the caller passes
    /// few keys at a time.
    fn remove_tool_entries(&mut self, keys: &[CacheKey]) -> Result<(), StoreError>;

    /// Forgets those of these builds that may be forgotten, with all that belongs to them, and returns them: unfinished
    /// builds and builds of a branch's present head stay. Numbers stay taken. Durable on return. It is one transaction
    /// between others, so the caller passes few builds at a time; the files of the builds are the caller's.
    fn forget(&mut self, builds: &[BuildId], rule: Rule, at: WallTime) -> Result<Vec<BuildId>, StoreError>;

    /// Notes that artifacts were removed, each named by its attempt and its own name, and returns those that were:
    /// those of unfinished builds stay, and so does what is noted of one that was removed before. Their files are the
    /// caller's. Durable on return.
    fn remove_artifacts(
        &mut self,
        artifacts: &[(AttemptId, String)],
        removal: ArtifactRemoval,
    ) -> Result<Vec<(AttemptId, String)>, StoreError>;

    /// Gives memory back that only makes the next commits quicker, such as a cache of the tables' newest parts.
    fn release_memory(&mut self);

    /// Returns the factory of readers of this store.
    fn readers(&self) -> Readers;
}
