//! The body of the `retention` thread.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs;
use std::io;
use std::path::PathBuf;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};

use super::artifact_plan::{ArtifactDecision, Going};
use super::artifacts::{self, SweepError};
use super::plan::{Removal, RemovalPlan, Sizes, words};
use crate::blobs::{BlobStore, Swept};
use crate::clock;
use crate::config::Retention;
use crate::dispatcher::backup::measure;
use crate::dispatcher::caches::Caches;
use crate::dispatcher::core::ToCore;
use crate::dispatcher::data_dir::DataDir;
use crate::dispatcher::mirrors::Mirrors;
use crate::dispatcher::session::Observers;
use crate::dispatcher::session::credentials::Credentials;
use crate::dispatcher::warnings::Warnings;
use crate::dispatcher::{DispatcherError, limits};
use crate::error_chain::chain;
use crate::locked::Locked;
use crate::model::{ArtifactRemoval, AttemptId, BuildId, CommitId, ExpiryRule, RepoName, WallTime};
use crate::store::{Reader, Readers, Rule, Store, StoreError};
use crate::threads::{self, Thread};

/// The state of the thread.
pub(crate) struct Keeper {
    pub(crate) limits: Retention,
    pub(crate) data: DataDir,
    pub(crate) readers: Readers,
    pub(crate) core: Sender<ToCore>,
    pub(crate) mirrors: Mirrors,
    pub(crate) blobs: BlobStore,
    pub(crate) caches: Caches,
    pub(crate) observers: Observers,
    pub(crate) warnings: Warnings,
    pub(crate) credentials: Credentials,
}

/// The directory with the logs of one build.
struct BuildLogs {
    path: PathBuf,
    bytes: u64,
}

/// The builds of one repository that were removed by one rule.
#[derive(Default)]
struct Tally {
    /// Oldest first.
    builds: Vec<BuildId>,
    bytes: u64,
}

/// The reason why a round ends early.
enum Leave {
    /// The dispatcher ends.
    Stopped,
    /// It cannot be done now; the next round tries again.
    Later(String),
}

impl From<StoreError> for Leave {
    fn from(error: StoreError) -> Self {
        Self::Later(error.to_string())
    }
}

/// Starts the thread, which ends when `stop` closes.
pub(crate) fn start(keeper: Keeper, stop: Receiver<()>) -> Result<Thread<()>, DispatcherError> {
    log::info!("{}", artifacts::limits_sentence(keeper.limits));
    log::info!("{}", keeper.caches.limits_sentence());
    threads::spawn("retention", move || {
        // Ages are computed from the start of the thread with the monotonic clock: a wall clock that jumps while the
        // dispatcher runs makes no build old (S31).
        let (began_at, began) = (clock::wall(), clock::now());
        for round in 0.. {
            if round % limits::MIRROR_CHECK_ROUNDS == 0
                && let Err(why) = keeper.check_mirrors()
            {
                log::warn!("the mirrors could not be checked: {why}");
            }
            keeper.credentials.touch_live();
            let now = || {
                let passed = i64::try_from(clock::now().since(began)).unwrap_or(i64::MAX);
                WallTime(began_at.0.saturating_add(passed))
            };
            match keeper.round(&stop, now()) {
                Ok(()) => {}
                Err(Leave::Stopped) => return,
                Err(Leave::Later(why)) => log::warn!("old builds are not removed for now: {why}"),
            }
            if round % limits::BLOB_SWEEP_ROUNDS == 0 {
                match keeper.remove_artifacts(&stop, now()) {
                    Ok(()) => {}
                    Err(Leave::Stopped) => return,
                    Err(Leave::Later(why)) => log::warn!("old artifacts are not removed for now: {why}"),
                }
            }
            if stop.recv_timeout(limits::RETENTION_EVERY) != Err(RecvTimeoutError::Timeout) {
                return;
            }
        }
    })
    .map_err(|source| DispatcherError::Thread { name: "retention", source })
}

impl Keeper {
    fn round(&self, stop: &Receiver<()>, now: WallTime) -> Result<(), Leave> {
        // The directories are listed before the store is asked: a build is in the store before it has a log, so a
        // directory without a record has lost it.
        let mut logs = self.list_logs().map_err(|error| Leave::Later(format!("logs cannot be listed: {error}")))?;
        let sizes: Sizes = logs.iter().map(|(id, logs)| (*id, logs.bytes)).collect();
        let mut leftover: HashSet<BuildId> = logs.keys().copied().collect();
        let reader = self.readers.open()?;
        let mut plan = RemovalPlan::new(self.limits, now);
        reader.survey(&mut |build| {
            leftover.remove(&build.id);
            plan.add(build);
        })?;
        let Removal { builds, excess } = plan.removal(&sizes);
        self.warn_of(excess);
        let mut tallies: BTreeMap<(RepoName, &'static str), Tally> = BTreeMap::new();
        let mut shrunk = HashSet::new();
        let mut left = Ok(());
        'rules: for rule in [Rule::Age, Rule::Count, Rule::Size] {
            let of_rule: Vec<_> = builds.iter().filter(|(.., why)| *why == rule).collect();
            for batch in of_rule.chunks(limits::RETENTION_BATCH) {
                let ids: Vec<BuildId> = batch.iter().map(|(id, ..)| *id).collect();
                let gone = match self.forget(ids, rule, now, stop) {
                    Ok(gone) => gone,
                    Err(why) => {
                        left = Err(why);
                        break 'rules;
                    }
                };
                for (id, repo, _) in batch.iter().filter(|(id, ..)| gone.contains(id)) {
                    let tally = tallies.entry((repo.clone(), words(rule))).or_default();
                    tally.builds.push(*id);
                    tally.bytes += logs.remove(id).map_or(0, |logs| delete(&logs));
                    shrunk.insert(repo.clone());
                }
            }
        }
        self.delete_leftover(leftover, &logs);
        for ((repo, why), tally) in &tallies {
            log::info!("{}", tally.sentence(repo, why));
        }
        for repo in shrunk {
            self.prune(&*reader, &repo);
        }
        left
    }

    fn forget(&self, ids: Vec<BuildId>, rule: Rule, at: WallTime, stop: &Receiver<()>) -> Result<Vec<BuildId>, Leave> {
        if stop.recv_timeout(limits::RETENTION_PAUSE) != Err(RecvTimeoutError::Timeout) {
            return Err(Leave::Stopped);
        }
        let _hold = self.hold()?;
        let (answer, forgotten) = bounded(1);
        self.core.send(ToCore::Forget { builds: ids, rule, at, answer }).map_err(|_| Leave::Stopped)?;
        forgotten.recv().map_err(|_| Leave::Stopped)?.map_err(Leave::Later)
    }

    fn hold(&self) -> Result<Locked, Leave> {
        match self.data.hold(true) {
            Ok(Some(hold)) => Ok(hold),
            Ok(None) => Err(Leave::Later("a backup is being made".into())),
            Err(error) => Err(Leave::Later(format!("the data directory cannot be held: {error}"))),
        }
    }

    /// Reads all sources that may be needed, and asks observers for those that are missing.
    fn check_mirrors(&self) -> Result<(), StoreError> {
        let mut needed: BTreeMap<RepoName, Vec<CommitId>> = BTreeMap::new();
        for (repo, commit) in self.readers.open()?.needed()? {
            needed.entry(repo).or_default().push(commit);
        }
        for (repo, commits) in needed {
            let generation = self.mirrors.generation(&repo);
            let checked = self.mirrors.open(&repo, commits[0]).and_then(|mirror| {
                mirror.check_all(&commits)?;
                mirror.return_to_pool();
                Ok(())
            });
            match checked {
                Ok(()) => self.mirrors.delete_aside(&repo),
                Err(error) if error.is_damage() => {
                    self.mirrors.condemn(&repo, generation, &error);
                    commits.iter().for_each(|commit| self.observers.ask_for_source(&repo, *commit));
                }
                Err(error) => log::warn!("the mirror of {repo} could not be checked: {error}"),
            }
        }
        Ok(())
    }

    /// Removes the caches and artifacts beyond the limits, and then the blobs that none of them has any more.
    fn remove_artifacts(&self, stop: &Receiver<()>, now: WallTime) -> Result<(), Leave> {
        if let Err(error) = self.caches.tidy() {
            log::warn!("caches are not removed for now: {}", chain(&error));
        }
        let _hold = self.hold()?;
        let later = |error: SweepError| Leave::Later(chain(&error));
        let reader = self.readers.open()?;
        let ArtifactDecision { going, mut marked } =
            artifacts::decide(self.limits, &self.blobs, &*reader, now).map_err(later)?;
        artifacts::mark_caches(&self.blobs, &*reader, &mut marked).map_err(later)?;
        let mut is_all_gone = true;
        for rule in ExpiryRule::ALL {
            let of_rule: Vec<&Going> = going.iter().filter(|one| one.rule == rule).collect();
            let mut gone = Vec::new();
            for batch in of_rule.chunks(limits::RETENTION_BATCH) {
                let names = batch.iter().map(|one| (one.attempt, one.name.clone())).collect();
                let noted: HashSet<_> = self.note_removal(names, rule, now, stop)?.into_iter().collect();
                let (removed, left): (Vec<&Going>, Vec<&Going>) =
                    batch.iter().copied().partition(|one| noted.contains(&(one.attempt, one.name.clone())));
                gone.extend(removed);
                is_all_gone &= left.is_empty();
            }
            artifacts::sentences(&gone, rule).iter().for_each(|text| log::info!("{text}"));
        }
        // The blobs of a build that was opened again meanwhile are not marked; the next round sees it as unfinished.
        if !is_all_gone {
            return Ok(());
        }
        let before = WallTime(clock::wall().0.saturating_sub_unsigned(limits::BLOB_GRACE_MS));
        match self.blobs.sweep(&marked, before) {
            Ok(Swept { blobs: 0, .. }) => {}
            Ok(Swept { blobs, bytes }) => {
                log::info!("removed {blobs} blobs that no artifact and no cache has any more: {bytes} bytes freed");
            }
            Err(error) => return Err(later(error.into())),
        }
        Ok(())
    }

    /// Has the store note that artifacts are removed. Returns those of which it did.
    fn note_removal(
        &self,
        names: Vec<(AttemptId, String)>,
        rule: ExpiryRule,
        at: WallTime,
        stop: &Receiver<()>,
    ) -> Result<Vec<(AttemptId, String)>, Leave> {
        if stop.recv_timeout(limits::RETENTION_PAUSE) != Err(RecvTimeoutError::Timeout) {
            return Err(Leave::Stopped);
        }
        let (answer, noted) = bounded(1);
        let change = move |store: &mut dyn Store| {
            let done = match store.remove_artifacts(&names, ArtifactRemoval { at, rule }) {
                // The transaction changed nothing, and damage that was there before has not become worse.
                Err(error) if error.is_transient() || matches!(error, StoreError::Corrupt { .. }) => {
                    Err(error.to_string())
                }
                other => Ok(other?),
            };
            drop(answer.try_send(done));
            Ok(())
        };
        self.core.send(ToCore::Store(Box::new(change))).map_err(|_| Leave::Stopped)?;
        noted.recv().map_err(|_| Leave::Stopped)?.map_err(Leave::Later)
    }

    /// Returns the logs of each build, found by the names of their directories.
    fn list_logs(&self) -> io::Result<HashMap<BuildId, BuildLogs>> {
        let mut found = HashMap::new();
        for repo in fs::read_dir(self.data.logs())? {
            let repo = repo?.path();
            let Ok(builds) = fs::read_dir(&repo) else { continue };
            for build in builds {
                let path = build?.path();
                let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
                // Other directories belong to somebody else.
                let Some(id) = name.strip_prefix('b').and_then(|number| number.parse().ok()) else { continue };
                let (_, bytes) = measure(&path)?;
                found.insert(BuildId(id), BuildLogs { path, bytes });
            }
        }
        Ok(found)
    }

    fn delete_leftover(&self, leftover: HashSet<BuildId>, logs: &HashMap<BuildId, BuildLogs>) {
        if leftover.is_empty() {
            return;
        }
        let Ok(_hold) = self.hold() else { return };
        let bytes: u64 = leftover.iter().filter_map(|id| logs.get(id)).map(delete).sum();
        log::info!("deleted the logs of {} builds that no longer have a record: {bytes} bytes", leftover.len());
    }

    fn warn_of(&self, excess: u64) {
        let (more, limit) = (excess.div_ceil(1 << 20), self.limits.keep_logs.unwrap_or_default() >> 20);
        let text = format!(
            "logs take {more} MiB more than --keep-logs allows ({limit} MiB), and all of them belong to builds that \
             are always kept: raise it, or lower --log-limit of the runners"
        );
        self.warnings.set("retention", (excess > 0).then_some(text));
    }

    /// Removes objects from a mirror that no build needs any more, if they may be many.
    fn prune(&self, reader: &dyn Reader, repo: &RepoName) {
        let Ok(_hold) = self.hold() else { return };
        match self.mirrors.prune(repo, reader) {
            Ok(Some(freed)) => {
                log::info!("removed sources of {repo} that no build needs any more: {freed} bytes freed")
            }
            Ok(None) => {}
            Err(why) => log::warn!("could not remove old sources of {repo}: {why}"),
        }
    }
}

impl Tally {
    /// Returns a line such as `removed 3 builds of app, b1 to b7, too old for --keep-for: 12345 bytes of logs freed`.
    fn sentence(&self, repo: &RepoName, why: &str) -> String {
        let builds = match &self.builds[..] {
            [] => format!("no builds of {repo}"),
            [only] => format!("1 build of {repo}, {only}"),
            [first, .., last] => format!("{} builds of {repo}, {first} to {last}", self.builds.len()),
        };
        format!("removed {builds}, {why}: {} bytes of logs freed", self.bytes)
    }
}

/// Deletes a build's logs, and the repository's directory with the last build. Returns the number of bytes that this
/// freed.
fn delete(logs: &BuildLogs) -> u64 {
    match fs::remove_dir_all(&logs.path) {
        Ok(()) => {
            // This fails while the directory has other entries.
            logs.path.parent().map(fs::remove_dir).transpose().ok();
            return logs.bytes;
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => log::warn!("could not delete {}: {error}", logs.path.display()),
    }
    0
}
