//! Takes the source of a commit in: its pack becomes durable in the mirror, and its tasks are read from there.

use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use tempfile::{SpooledData, SpooledTempFile};

use super::pool::{Mirror, Mirrors};
use crate::config::{self, MAX_TASK_FILE_BYTES, PlanContext, TASK_DIRECTORY, TASK_FILE, TaskFileError};
use crate::dispatcher::limits;
use crate::git::GitError;
use crate::model::{CommitId, Plan, RepoName};

/// Packs up to this size stay in memory until the commit to which they belong is announced.
const SPOOL_BYTES: usize = 8 << 20;
/// The size of the pieces in which a spooled pack is read back.
const PIECE_BYTES: usize = 256 * 1024;

const MIB: u64 = 1 << 20;

/// The result of taking a commit in.
pub(crate) enum Intake {
    Taken(Box<Taken>),
    /// The mirror lacks something that the pack leaves out: all of the source is to be sent.
    NeedSource,
    /// The source cannot be used, or the mirror cannot be written.
    Refused(GitError),
}

/// The plan of the build of a commit, or the reason why the commit has no tasks that can be used. That
/// reason is a mistake in the commit, and makes a build with a problem; an error of the mirror makes no plan at all.
pub(crate) type TaskPlan = Result<Plan, TaskFileError>;

/// A commit whose source is durable.
pub(crate) struct Taken {
    pub(crate) plan: TaskPlan,
    pub(crate) mirror: Mirror,
    /// Whether a pack was received for it.
    pub(crate) is_new: bool,
    /// That pack, if it is small enough to go ahead of a lease.
    pub(crate) pack: Option<Vec<u8>>,
}

/// A pack that is arriving: in memory if it is small, until it is known to which commit it belongs.
pub(crate) struct ArrivingPack {
    repo: RepoName,
    pieces: SpooledTempFile,
    is_whole: bool,
    /// The directory of the spool, for errors.
    spool: PathBuf,
}

/// An error while a commit was taken in, by its cause.
enum Fault {
    /// The pack is broken, or incomplete for this mirror.
    Pack(GitError),
    /// The earlier contents of the mirror cannot be read.
    Mirror(GitError),
}

impl Mirrors {
    /// Makes the source of a commit durable, from its pack if there is one, and reads its tasks. A mirror that turns
    /// out to be damaged is condemned here.
    pub(crate) fn take_in(
        &self,
        repo: &RepoName,
        commit: CommitId,
        pack: Option<ArrivingPack>,
        context: PlanContext<'_>,
    ) -> Intake {
        // Asked before anything is read, so that only this mirror is condemned and not one that has replaced it.
        let generation = self.generation(repo);
        // Returns `None` if there is no pack and the commit is not there.
        let receive = || -> Result<_, Fault> {
            let mirror = self.open(repo, commit).map_err(Fault::Mirror)?;
            // If there is a pack, the observer takes the commit for new; to receive it twice does no harm.
            let is_new = if pack.is_some() { !mirror.has_found(commit) } else { !mirror.has(commit) };
            let mut small = None;
            if is_new {
                let Some(mut pack) = pack else { return Ok(None) };
                pack.receive_into(&mirror, commit).map_err(Fault::Pack)?;
                small = pack.into_small();
            }
            let plan = self.plan_of(&mirror, commit, context).map_err(Fault::Mirror)?;
            Ok(Some(Taken { plan, mirror, is_new, pack: small }))
        };
        match receive() {
            Ok(Some(taken)) => {
                self.missing.found(repo, commit);
                Intake::Taken(Box::new(taken))
            }
            Ok(None) | Err(Fault::Pack(GitError::Incomplete { .. })) => Intake::NeedSource,
            Err(Fault::Mirror(error)) if error.is_damage() && self.condemn(repo, generation, &error) => {
                Intake::NeedSource
            }
            Err(Fault::Mirror(error) | Fault::Pack(error)) => Intake::Refused(error),
        }
    }

    fn plan_of(&self, mirror: &Mirror, commit: CommitId, context: PlanContext<'_>) -> Result<TaskPlan, GitError> {
        if let Some(limit) = self.max_file
            && let Some((file, size)) = mirror.file_larger_than(commit, limit)?
        {
            return Ok(Err(too_large(&file, size, limit)));
        }
        Ok(match mirror.read_file(commit, TASK_FILE, MAX_TASK_FILE_BYTES)? {
            Some(text) => config::parse_tasks(TASK_FILE, &text, context),
            None => config::fallback_plan(&mirror.executables(commit, TASK_DIRECTORY)?).map(Plan::of),
        })
    }
}

/// The problem of a commit with a file that is larger than the limit.
fn too_large(file: &str, size: u64, limit: u64) -> TaskFileError {
    // One unit for both, so that they can be compared.
    let shown = |bytes: u64| match limit {
        ..MIB => format!("{bytes} bytes"),
        _ => format!("{:.1} MiB", bytes as f64 / MIB as f64),
    };
    let (size, limit) = (shown(size), shown(limit));
    let text = format!(
        "{file} has {size}, and a file in a commit may have at most {limit} (the dispatcher's --max-file)\n\
         help: commit without this file, for example by having a task download it; or raise --max-file, and commit again"
    );
    TaskFileError { text }
}

impl ArrivingPack {
    /// Returns an empty pack, which is spooled in the directory if it grows large.
    pub(crate) fn new(repo: RepoName, spool: &Path) -> Self {
        let pieces = tempfile::spooled_tempfile_in(SPOOL_BYTES, spool);
        Self { repo, pieces, is_whole: false, spool: spool.to_owned() }
    }

    /// Returns whether a further piece for this repository belongs to this pack.
    pub(crate) fn goes_on(&self, repo: &RepoName) -> bool {
        self.repo == *repo && !self.is_whole
    }

    /// Returns whether this is a whole pack for this repository.
    pub(crate) fn is_whole_for(&self, repo: &RepoName) -> bool {
        self.repo == *repo && self.is_whole
    }

    /// Appends a piece; `last` says that the pack is whole with it.
    pub(crate) fn add(&mut self, piece: &[u8], last: bool) -> io::Result<()> {
        self.is_whole = last;
        self.pieces.write_all(piece)
    }

    fn receive_into(&mut self, mirror: &Mirror, commit: CommitId) -> Result<(), GitError> {
        let Self { pieces, spool, .. } = self;
        let mut receiver = mirror.receive()?;
        let read = |source| GitError::Io { action: "read back a pack spooled in", path: spool.clone(), source };
        let mut piece = vec![0; PIECE_BYTES];
        pieces.seek(SeekFrom::Start(0)).map_err(read)?;
        while let count @ 1.. = pieces.read(&mut piece).map_err(read)? {
            receiver.write(&piece[..count])?;
        }
        receiver.finish(commit, true)
    }

    /// Returns all of the pack, if it is small enough to go ahead of a lease.
    fn into_small(self) -> Option<Vec<u8>> {
        match self.pieces.into_inner() {
            SpooledData::InMemory(pieces) => Some(pieces.into_inner()).filter(|pack| pack.len() <= limits::AHEAD_BYTES),
            SpooledData::OnDisk(_) => None,
        }
    }
}
