//! Takes the source of a commit in: its pack becomes durable in the mirror, and its tasks are read from there.

use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use tempfile::{SpooledData, SpooledTempFile};

use super::pool::{Mirror, Mirrors};
use crate::config::{self, MAX_TASK_FILE_BYTES, PlanContext, TASK_DIRECTORY, TASK_FILE, TaskFileError};
use crate::dispatcher::limits;
use crate::git::GitError;
use crate::model::{Ability, CommitId, FactsId, Plan, RepoName, SourceNeeds, Submodules, TaskName, TaskSpec};

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

/// How a commit comes that is taken in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Coming {
    /// It is announced, with the facts of its source if the sender tells any.
    Now(Option<FactsId>),
    /// It came earlier, with what its tasks wanted of its source.
    Earlier,
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
        (coming, pack): (Coming, Option<ArrivingPack>),
        context: PlanContext<'_>,
    ) -> Intake {
        let facts = if let Coming::Now(facts) = coming { facts } else { None };
        // Asked before anything is read, so that only this mirror is condemned and not one that has replaced it.
        let generation = self.generation(repo);
        // Returns `None` if there is no pack and the commit is not there.
        let receive = || -> Result<_, Fault> {
            let mirror = self.open(repo, commit).map_err(Fault::Mirror)?;
            // If there is a pack, the observer takes the commit for new; to receive it twice does no harm.
            let is_new = if pack.is_some() { !mirror.has_found(commit) } else { !mirror.has(commit) };
            let lacks_facts = facts.is_some_and(|facts| !mirror.has_facts(commit, facts));
            let mut small = None;
            if is_new || lacks_facts {
                match pack {
                    Some(mut pack) => {
                        pack.receive_into(&mirror, commit).map_err(Fault::Pack)?;
                        // A runner that needs more than the commit asks for all of it at once.
                        small = if facts.is_none() { pack.into_small() } else { None };
                    }
                    None if is_new => return Ok(None),
                    None => {}
                }
            }
            if let Some(facts) = facts {
                mirror.note_facts(commit, facts).map_err(Fault::Pack)?;
            }
            let plan = self.plan_of(&mirror, commit, context).map_err(Fault::Mirror)?;
            let plan = match plan.map(|plan| with_facts(plan, &mirror, commit)) {
                Ok(Ok(plan)) => Ok(plan),
                // A peer that has it is asked for it, and sends more this time.
                Ok(Err(WithoutFacts::Unsent { .. })) if coming == Coming::Earlier => return Ok(None),
                Ok(Err(without)) => Err(without.problem()),
                Err(mistake) => Err(mistake),
            };
            Ok(Some(Taken { plan, mirror, is_new: is_new || lacks_facts, pack: small }))
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
            None if mirror.has_entry(commit, TASK_FILE)? => {
                Err(TaskFileError { text: config::no_file_text(Path::new(TASK_FILE)) })
            }
            None => config::fallback_plan(&mirror.executables(commit, TASK_DIRECTORY)?).map(Plan::of),
        })
    }
}

/// Why a task cannot have what it wants of the source.
pub(crate) enum WithoutFacts {
    /// Nothing, or too little, was sent.
    Unsent { task: TaskName },
    /// The sender of the source could not get the submodules.
    Submodules { task: TaskName, problems: Vec<String> },
    /// It could not get the contents of files in Git LFS.
    Lfs { task: TaskName, problems: Vec<String> },
}

impl WithoutFacts {
    /// The mistake in a file that a task wrote.
    pub(crate) fn of_written(&self) -> String {
        match self {
            Self::Unsent { task } => format!(
                "task {task} asks for more `history`, `tags`, `submodules` or `lfs` than any task in the task file of \
                 the commit: write them there, such as in the task that writes this file"
            ),
            Self::Submodules { .. } | Self::Lfs { .. } => self.problem().text,
        }
    }

    fn problem(&self) -> TaskFileError {
        let text = match self {
            Self::Unsent { task } => format!(
                "task {task} asks for `history`, `tags`, `submodules` or `lfs`, and the sender of the commit has sent none\n\
                 help: update the observer of this repository, or the `surveil` that was called, to the version of the \
                 dispatcher"
            ),
            Self::Submodules { task, problems } => {
                format!(
                    "task {task} asks for `submodules`, and the observer could not get all of them\n{}",
                    shown(problems)
                )
            }
            Self::Lfs { task, problems } => format!(
                "task {task} asks for `lfs`, and the observer could not get all LFS objects\n{}\n\
                 help: `git lfs fetch` in the watched repository brings its LFS objects; then ask for another build \
                 with `surveil submit COMMIT`, or push again",
                shown(problems)
            ),
        };
        TaskFileError { text }
    }
}

/// Returns the first of these problems, a line each.
fn shown(problems: &[String]) -> String {
    problems.iter().take(MAX_SHOWN_PROBLEMS).map(String::as_str).collect::<Vec<_>>().join("\n")
}

/// Problems of submodules, and of LFS objects, that are told.
const MAX_SHOWN_PROBLEMS: usize = 10;

/// Puts the facts of the commit's source into the recipes of the tasks that need them: all tasks if they say how files
/// are written, else those that want more of the source than the commit.
pub(crate) fn with_facts(mut plan: Plan, mirror: &Mirror, commit: CommitId) -> Result<Plan, WithoutFacts> {
    let known = mirror.newest_facts(commit);
    let is_for_all = known.as_ref().is_some_and(|known| known.has_attributes);
    let wants = |spec: &TaskSpec| is_for_all || spec.recipe.source_needs() != SourceNeeds::NOTHING;
    for task in plan.tasks.iter_mut().filter(|task| wants(&task.spec)) {
        let (needs, name) = (task.spec.recipe.source_needs(), &task.spec.name);
        let enough = known.as_ref().filter(|known| known.enough_for.covers(needs));
        let known = enough.ok_or_else(|| WithoutFacts::Unsent { task: name.clone() })?;
        if needs.submodules != Submodules::No && !known.problems.is_empty() {
            return Err(WithoutFacts::Submodules { task: name.clone(), problems: known.problems.clone() });
        }
        if needs.lfs && !known.lfs_problems.is_empty() {
            return Err(WithoutFacts::Lfs { task: name.clone(), problems: known.lfs_problems.clone() });
        }
        task.spec.recipe_mut().facts = Some(known.id);
        let (labels, needed) = (&mut task.spec.placement.labels, Ability::Facts.label());
        if let Err(at) = labels.binary_search(&needed) {
            labels.insert(at, needed);
        }
    }
    Ok(plan)
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
