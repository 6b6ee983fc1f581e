//! New durable records since the last look, read through the store's own readers.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use surveil::model::{
    ArtifactRecord, Attempt, AttemptId, Build, BuildId, Ending, Job, JobId, JobState, Outcome, Record, Runner,
    RunnerId, Verdict, WallTime, WholeBuild,
};
use surveil::store::{Reader, Readers, Scope, StoreError, sqlite};

/// Number of repetitions of a reading that a commit interrupted. A gap that stays is a fault of the store.
const RETRIES: usize = 20;

/// Watches a store.
pub(crate) struct Eyes {
    readers: Readers,
    reader: Option<Box<dyn Reader>>,
    runners: BTreeSet<RunnerId>,
    builds: BTreeMap<BuildId, Option<(Verdict, Option<WallTime>)>>,
    /// Finished builds that may be reopened, because an operator asked for a rerun.
    again: BTreeSet<BuildId>,
    jobs: BTreeMap<JobId, Option<Ending>>,
    attempts: BTreeMap<AttemptId, Option<Outcome>>,
}

/// The news as the records that must have been written.
#[derive(Default)]
pub(crate) struct News {
    pub(crate) runners: Vec<Runner>,
    pub(crate) builds: Vec<(Build, Vec<Job>)>,
    /// Reopened builds, each with its jobs that run again.
    pub(crate) reopened: Vec<Record>,
    pub(crate) leases: BTreeMap<AttemptId, Attempt>,
    pub(crate) outcomes: BTreeMap<AttemptId, Attempt>,
    /// Finished jobs, then finished builds.
    pub(crate) endings: Vec<Record>,
}

impl Eyes {
    pub(crate) fn new(path: &Path) -> Self {
        Self {
            readers: sqlite::readers(path),
            reader: None,
            runners: BTreeSet::new(),
            builds: BTreeMap::new(),
            again: BTreeSet::new(),
            jobs: BTreeMap::new(),
            attempts: BTreeMap::new(),
        }
    }

    /// The writer is gone; readers must be opened anew.
    pub(crate) fn blink(&mut self) {
        self.reader = None;
    }

    /// News among unfinished builds; with `all`, also checks that nothing else has changed.
    pub(crate) fn look(&mut self, all: bool) -> Result<News, StoreError> {
        let reader = match self.reader.take() {
            Some(reader) => reader,
            None => self.readers.open()?,
        };
        let news = self.read(&*reader, all);
        self.reader = Some(reader);
        news
    }

    fn read(&mut self, reader: &dyn Reader, all: bool) -> Result<News, StoreError> {
        let mut news = News::default();
        let mut found = self.glance(reader, all)?;
        for _ in 0..RETRIES {
            if self.is_gapless(&found) {
                break;
            }
            found = self.glance(reader, all)?;
        }
        let runners = reader.runners()?;
        for WholeBuild { build, jobs, attempts } in found {
            self.take(build, jobs, attempts, &mut news);
        }
        news.runners = runners.into_iter().filter(|runner| self.runners.insert(runner.id)).collect();
        Ok(news)
    }

    /// News since then, build by build. Dependent rows are read first, so that everything that is seen of a build is
    /// borne out by its attempts.
    fn glance(&self, reader: &dyn Reader, all: bool) -> Result<Vec<WholeBuild>, StoreError> {
        let latest = reader.newest(&Scope::default())?.unwrap_or(BuildId(0));
        let first = if all { 1 } else { self.builds.last_key_value().map_or(1, |(id, _)| id.0 + 1) };
        let open = self.builds.iter().filter(|(_, verdict)| verdict.is_none()).map(|(id, _)| *id);
        let again = self.again.iter().copied();
        let wanted: BTreeSet<BuildId> = open.chain(again).chain((first..=latest.0).map(BuildId)).collect();
        let mut found = Vec::new();
        for id in wanted {
            let Some(build) = reader.build(id)? else { continue };
            found.push(WholeBuild { build, jobs: reader.jobs(id)?, attempts: reader.attempts(id)? });
        }
        Ok(found)
    }

    /// Whether no attempt's number is missing. Otherwise a batch was committed between the readings of two builds, and
    /// of the earlier build an older state was read.
    fn is_gapless(&self, found: &[WholeBuild]) -> bool {
        let last = self.attempts.last_key_value().map_or(0, |(id, _)| id.0);
        let new = found.iter().flat_map(|whole| &whole.attempts).map(|attempt| attempt.id.0);
        let new: BTreeSet<u64> = new.filter(|id| *id > last).collect();
        new.last().is_none_or(|newest| newest - last == new.len() as u64)
    }

    fn take(&mut self, build: Build, jobs: Vec<Job>, attempts: Vec<Attempt>, news: &mut News) {
        let verdict = build.verdict.map(|verdict| (verdict, build.finished_at));
        let known = self.builds.insert(build.id, verdict);
        if self.again.contains(&build.id) && known.flatten().is_some_and(|known| verdict != Some(known)) {
            self.begin_anew(build.id, &jobs, &attempts, news);
        }
        for attempt in attempts {
            let known = self.attempts.insert(attempt.id, attempt.outcome.clone());
            if known.is_none() {
                news.leases.insert(attempt.id, Attempt { outcome: None, finished_at: None, ..attempt.clone() });
            }
            if attempt.outcome.is_some() && known.flatten() != attempt.outcome {
                news.outcomes.insert(attempt.id, attempt);
            }
        }
        for job in &jobs {
            let ending = if let JobState::Finished(ending) = &job.state { Some(ending.clone()) } else { None };
            let known = self.jobs.insert(job.id, ending.clone()).flatten();
            if let Some(ending) = ending.filter(|ending| known.as_ref() != Some(ending)) {
                news.endings.insert(0, Record::JobFinished { job: job.id, ending });
            }
        }
        if let (Some(verdict), Some(at)) = (build.verdict, build.finished_at)
            && known.flatten() != Some((verdict, Some(at)))
        {
            news.endings.push(Record::BuildFinished { build: build.id, verdict, at });
        }
        if known.is_none() {
            news.builds.push((Build { verdict: None, finished_at: None, ..build }, jobs));
        }
    }

    /// A finished build was run again, with those of its jobs that are different now.
    fn begin_anew(&mut self, build: BuildId, jobs: &[Job], attempts: &[Attempt], news: &mut News) {
        news.reopened.push(Record::BuildReopened { build });
        for job in jobs {
            let is_new = |attempt: &Attempt| attempt.job == job.id && !self.attempts.contains_key(&attempt.id);
            let known = self.jobs.get(&job.id).cloned().flatten();
            let is_same = matches!(&job.state, JobState::Finished(ending) if Some(ending) == known.as_ref());
            if !is_same || attempts.iter().any(is_new) {
                self.jobs.insert(job.id, None);
                news.reopened.push(Record::JobQueued { job: job.id, failures: 0, losses: 0 });
            }
        }
    }

    /// Allows this build to be reopened from now on; returns its present state, if it can be read.
    pub(crate) fn watch_again(&mut self, id: BuildId) -> Option<WholeBuild> {
        let reader = self.readers.open().ok()?;
        let (build, jobs) = (reader.build(id).ok()??, reader.jobs(id).ok()?);
        self.again.insert(id);
        Some(WholeBuild { build, jobs, attempts: Vec::new() })
    }

    /// Builds with a verdict.
    pub(crate) fn finished(&self) -> Vec<BuildId> {
        self.builds.iter().filter(|(_, verdict)| verdict.is_some()).map(|(id, _)| *id).collect()
    }

    /// Builds without a verdict.
    pub(crate) fn unfinished(&self) -> Vec<BuildId> {
        self.builds.iter().filter(|(_, verdict)| verdict.is_none()).map(|(id, _)| *id).collect()
    }

    pub(crate) fn builds(&self) -> BTreeSet<BuildId> {
        self.builds.keys().copied().collect()
    }

    /// Attempts that were leased, and how they ended.
    pub(crate) fn attempts(&self) -> &BTreeMap<AttemptId, Option<Outcome>> {
        &self.attempts
    }

    /// All builds that are there now.
    pub(crate) fn kept(&self) -> Result<BTreeSet<BuildId>, StoreError> {
        let reader = self.readers.open()?;
        reader.check(&mut drop)?;
        let mut kept = BTreeSet::new();
        for id in &self.builds() {
            kept.extend(reader.build(*id)?.map(|build| build.id));
        }
        Ok(kept)
    }

    /// Artifacts that the attempts of a build left.
    pub(crate) fn artifacts(&self, build: BuildId) -> Result<Vec<(AttemptId, Vec<ArtifactRecord>)>, StoreError> {
        self.readers.open()?.artifacts(build)
    }

    /// Late results that were kept.
    pub(crate) fn late(&self) -> Result<usize, StoreError> {
        let reader = self.readers.open()?;
        self.builds().iter().map(|id| Ok(reader.late_results(*id)?.len())).sum()
    }
}
