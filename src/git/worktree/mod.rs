//! A directory that is brought to exactly one commit at a time, for attempts to run in, with a `.git` of its own. The
//! runner calls it, while nothing else is at work in the directory.
//!
//! The plan of the directory, and how each file looked when its content was last right, is kept in memory only:
//! attempts could change a file beside the directory. So after a restart all contents are compared once. Files are
//! written as their attributes say, those of the commit and of the watched repository; no filter program is run.

mod dot_git;
mod index;
mod keep;
mod pass;
mod past;
mod plan;
mod removal;
mod stamp;

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{FileType, Mode, OFlags, open};
use rustix::io::Errno;

use self::dot_git::DOT_GIT;
use self::keep::Keep;
use self::pass::{Pass, make_room};
use self::past::PastFiles;
use self::plan::{Directory, Node, Planned, Planner};
use self::removal::open_directory;
use self::stamp::Time;
use super::error::GitError;
use super::objects::{Objects, commit_id, incomplete};
use super::pack_store::PackStore;
use crate::clock;
use crate::model::CommitId;

pub use self::past::TreeSource;

/// Quarantined trees of the same name are told apart by a number up to this. Nobody looks at more of them.
const QUARANTINE_MAX: u32 = 10_000;

/// Notes about a tree that is not as its author may expect.
const CUT_HISTORY: &str =
    "the watched repository is a shallow or partial clone: it has less history than the task asks for";
const POINTERS_STAY: &str =
    "files in Git LFS are pointers in this work tree: `lfs = true` in the task brings their contents";

/// A directory that is brought to exactly one commit at a time. A note of the commit lies beside it.
pub struct WorkTree {
    path: PathBuf,
    /// The parent directory, through which the tree is reached: attempts may replace the tree itself by something else.
    above: OwnedFd,
    store_path: PathBuf,
    /// The directory of the store's objects, without links: the task's git reads them there.
    objects_path: PathBuf,
    store: PackStore,
    note_path: PathBuf,
    note: File,
    /// The commit last checked out, and still the state of `plan`.
    commit: Option<CommitId>,
    plan: Directory,
    /// Whether `plan` describes `commit`. False after a restart.
    is_planned: bool,
    /// When the tree was last handed over, by the file system's own clock.
    handed_over: Time,
    /// The facts of its source at the last checkout.
    past: Option<((CommitId, TreeSource), PastFiles)>,
    repositories_took: Duration,
}

impl WorkTree {
    /// Opens `directory`, which is made by the first checkout, for commits of the store at `store`. `<directory>.index`
    /// notes the commit. If a task has put a link in the directory's place, that is not followed.
    pub fn open(store: &Path, directory: &Path) -> Result<Self, GitError> {
        let opened = PackStore::open_existing(store)?;
        let parent = directory.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        fs::create_dir_all(parent).map_err(GitError::io("make directory", parent))?;
        let parent = fs::canonicalize(parent).map_err(GitError::io("open", parent))?;
        let path = parent.join(directory.file_name().unwrap_or_default());
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let above = open(&parent, flags, Mode::empty()).map_err(io::Error::from);
        let above = above.map_err(GitError::io("open", &parent))?;
        let objects_path = store.join("objects");
        let mut note_path = OsString::from(&path);
        note_path.push(".index");
        let note_path = PathBuf::from(note_path);
        let note = File::options().read(true).write(true).create(true).truncate(false).open(&note_path);
        let mut note = note.map_err(GitError::io("open", &note_path))?;
        let mut text = String::new();
        // The note is only a hint, so an unreadable one counts as absent.
        let commit = note.read_to_string(&mut text).ok().and_then(|_| text.trim_end().parse().ok());
        Ok(Self {
            path,
            above,
            objects_path: fs::canonicalize(&objects_path).map_err(GitError::io("open", &objects_path))?,
            store_path: store.to_owned(),
            store: opened,
            note_path,
            note,
            commit,
            plan: Directory::default(),
            is_planned: false,
            handed_over: Time::default(),
            past: None,
            repositories_took: Duration::ZERO,
        })
    }

    /// Like [`Self::check_out_with`], with the commit alone.
    pub fn check_out(&mut self, commit: CommitId, keep: &[String]) -> Result<(), GitError> {
        self.check_out_with(commit, keep, TreeSource::ALONE)
    }

    /// Makes the directory exactly the commit's tree: restores changed files and removes untracked and ignored ones,
    /// except `keep` (paths relative to the directory, never outside it). Then verifies the result, and gives it a
    /// `.git`. Only the difference to the commit before is written.
    pub fn check_out_with(&mut self, commit: CommitId, keep: &[String], source: TreeSource) -> Result<(), GitError> {
        let keep = Keep::parse(keep)?;
        // The old note is removed first: if the process ends within the checkout, no note may claim a commit.
        if self.commit != Some(commit) {
            self.forget()?;
        }
        match self.bring(commit, &keep, source) {
            Ok(has_touched) => {
                // If nothing was touched, the older hand-over stays valid, and with it every stamp.
                if has_touched || self.commit != Some(commit) {
                    self.hand_over(commit)?;
                }
                Ok(())
            }
            Err(error) => {
                // After the error, half of the old tree and half of the new one may be there.
                self.plan = Directory::default();
                self.forget()?;
                Err(incomplete(commit, &self.store_path)(error))
            }
        }
    }

    /// Returns what of the tree of the last checkout may not be as its task expects, a sentence each.
    pub fn notes(&self) -> impl Iterator<Item = &'static str> {
        let notes = [(self.is_history_cut(), CUT_HISTORY), (self.has_pointers(), POINTERS_STAY)];
        notes.into_iter().filter(|(is_so, _)| *is_so).map(|(_, note)| note)
    }

    /// Whether the watched repository has less history than the last checkout asked for.
    pub(super) fn is_history_cut(&self) -> bool {
        self.past.as_ref().is_some_and(|(_, past)| past.is_cut)
    }

    /// The part of the last checkout that went into the `.git` of the tree, and those of its submodules.
    pub fn repositories_took(&self) -> Duration {
        self.repositories_took
    }

    /// Whether files in Git LFS are pointers in the tree of the last checkout, which did not ask for their contents.
    pub(super) fn has_pointers(&self) -> bool {
        let is_asked = self.past.as_ref().is_some_and(|((_, source), _)| source.needs.lfs);
        self.plan.has_pointers && !is_asked
    }

    /// The directory.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// The directory of the objects that git in the tree reads.
    pub(super) fn objects(&self) -> &Path {
        &self.objects_path
    }

    /// Whether the directory above and the note are still the ones that were opened. If somebody removed them, the tree
    /// must be opened anew.
    pub fn is_in_place(&self) -> bool {
        let parent = self.path.parent().unwrap_or(Path::new("/"));
        let is_above = |meta: fs::Metadata| {
            rustix::fs::fstat(&self.above).is_ok_and(|open| (open.st_dev, open.st_ino) == (meta.dev(), meta.ino()))
        };
        fs::metadata(parent).is_ok_and(is_above) && self.note.metadata().is_ok_and(|note| note.nlink() > 0)
    }

    /// Returns what of the commit is in the way of a path that is to be a directory, or else a file or symbolic link.
    /// A file is not in the way of a file, which takes its place.
    pub fn in_the_way(&self, path: &str, is_directory: bool) -> Option<String> {
        let mut at = &self.plan;
        let mut end = 0;
        for name in path.split('/') {
            end += name.len();
            let above = &path[..end];
            let is_last = end == path.len();
            end += 1;
            let is_directory = is_directory || !is_last;
            match &at.entries.get(name.as_bytes())?.node {
                Node::Directory(inner) if is_directory => at = inner,
                Node::Directory(_) => return Some(format!("`{above}` is a directory of the commit")),
                Node::File(_) if is_directory => return Some(format!("`{above}` is a file of the commit")),
                Node::Link(_) if is_directory => return Some(format!("`{above}` is a symbolic link of the commit")),
                Node::File(_) | Node::Link(_) => {}
                Node::Repository(_) => return Some(format!("`{above}` is the repository of the work tree")),
            }
        }
        None
    }

    /// The paths of the submodules that the last checkout brought.
    pub fn submodules(&self) -> impl Iterator<Item = &str> {
        self.past.iter().flat_map(|(_, past)| past.modules.keys().map(String::as_str))
    }

    /// The commit that the tree was last brought to.
    pub fn commit(&self) -> Option<CommitId> {
        self.commit
    }

    /// Moves a tree that cannot be cleaned out of the way, to `quarantine`, so that a fresh one can take its place.
    /// Adds a number if that name is taken.
    pub fn quarantine(self, quarantine: &Path) -> Result<(), GitError> {
        if let Some(parent) = quarantine.parent() {
            fs::create_dir_all(parent).map_err(GitError::io("make directory", parent))?;
        }
        // A directory that may not be written cannot be moved. If its permissions cannot be changed, the move reports
        // it.
        removal::open_directory(self.above.as_fd(), self.name()).ok();
        fs::remove_file(&self.note_path).ok();
        for number in 0..QUARANTINE_MAX {
            let mut target = OsString::from(quarantine);
            if number > 0 {
                target.push(format!(".{number}"));
            }
            if fs::symlink_metadata(&target).is_ok() {
                continue;
            }
            return match fs::rename(&self.path, &target) {
                // Somebody has removed it.
                Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
                moved => moved.map_err(GitError::io("move out of the way", &self.path)),
            };
        }
        let taken = io::Error::from(io::ErrorKind::AlreadyExists);
        Err(GitError::io("move out of the way", &self.path)(taken))
    }

    /// The directory's name in its parent.
    fn name(&self) -> &[u8] {
        self.path.file_name().unwrap_or_default().as_bytes()
    }

    /// Plans the commit and writes it. Returns whether a file was written or had to be compared.
    fn bring(&mut self, commit: CommitId, keep: &Keep, source: TreeSource) -> Result<bool, GitError> {
        make_room(self.above.as_fd(), self.name(), &self.path)?;
        let mut before = Some(std::mem::take(&mut self.plan));
        let is_same = self.past.as_ref().is_some_and(|(of, _)| {
            let (known, wanted) = (of.1, source);
            let of_files = |source: TreeSource| (source.facts, source.needs.submodules, source.needs.lfs);
            of.0 == commit && of_files(known) == of_files(wanted)
        });
        let modules_before = self.past.as_ref().map(|(_, past)| past.modules.clone()).unwrap_or_default();
        let lfs_before = self.past.as_ref().map(|(_, past)| past.lfs.clone()).unwrap_or_default();
        let mut plan = if self.is_planned && is_same { before.take() } else { None };
        self.is_planned = false;
        let (mut has_touched, mut repositories_took) = (false, Duration::ZERO);
        let mut past = self.past.take().filter(|(of, _)| *of == (commit, source));
        self.store.database().with(|objects| {
            let odb = objects.odb()?;
            let past = match &mut past {
                Some((_, past)) => &*past,
                past => &past.insert(((commit, source), PastFiles::of(objects, commit, source)?)).1,
            };
            if plan.is_none() {
                let tree = objects.commit(commit)?.tree_id();
                let planner = Planner {
                    objects,
                    odb: &odb,
                    commit,
                    attributes: past.attributes.as_ref(),
                    modules: &past.modules,
                    has_other_modules: past.modules != modules_before,
                    lfs: &past.lfs,
                    has_other_lfs: past.lfs != lfs_before,
                };
                plan = Some(planner.plan(tree, before.take().unwrap_or_default())?);
            }
            let planned = plan.as_mut().expect("it was made just now");
            let (handed_over, path) = (self.handed_over, self.path.clone());
            let root = &path.clone();
            let mut pass = Pass { objects, odb: &odb, handed_over, commit, root, path, has_touched: false };
            let passed = pass.run(self.above.as_fd(), self.name(), planned, keep);
            let is_changed = pass.has_touched;
            let begun = clock::instant();
            let passed = passed.and_then(|()| self.bring_repositories((objects, past), commit, planned, is_changed));
            repositories_took = begun.elapsed();
            has_touched |= is_changed || matches!(passed, Ok(true));
            // `with` may run this again on a fresh handle, which must not continue from half a plan.
            if passed.is_err() {
                plan = None;
            }
            passed.map(drop)
        })?;
        self.plan = plan.unwrap_or_default();
        self.is_planned = true;
        (self.past, self.repositories_took) = (past, repositories_took);
        Ok(has_touched)
    }

    /// Brings the `.git` of the tree and those of its submodules to their commits, when everything else is as planned.
    /// `is_changed` tells whether a file beside them was written or compared. Returns whether one was not as it should
    /// be.
    fn bring_repositories(
        &self,
        (objects, past): (&Objects, &PastFiles),
        commit: CommitId,
        plan: &mut Directory,
        is_changed: bool,
    ) -> Result<bool, GitError> {
        let failed = |path: &Path| {
            let path = path.to_owned();
            move |errno: Errno| GitError::Io { action: "open directory", path, source: errno.into() }
        };
        let root = open_directory(self.above.as_fd(), self.name()).map_err(failed(&self.path))?;
        let lines = [past.modules_in(""), past.filter()].concat();
        let mut touched = self.bring_dot_git(objects, (past, &lines), (commit, &self.path, &root), plan, is_changed)?;
        // Each after the one that it is in.
        for (path, module) in &past.modules {
            let (mut at, mut inner) = (None, &mut *plan);
            for part in path.split('/') {
                let Some(Planned { node: Node::Directory(next), .. }) = inner.entries.get_mut(part.as_bytes()) else {
                    unreachable!("submodules are planned");
                };
                inner = next;
                let above = at.as_ref().unwrap_or(&root).as_fd();
                at = Some(open_directory(above, part.as_bytes()).map_err(failed(&self.path.join(path)))?);
            }
            let Some(at) = at else { continue };
            let (commit, lines) = (commit_id(module.commit), [past.modules_in(path), past.filter()].concat());
            let (past, path) = (PastFiles::alone(objects, commit)?, self.path.join(path));
            touched |= self.bring_dot_git(objects, (&past, &lines), (commit, &path, &at), inner, is_changed)?;
        }
        Ok(touched)
    }

    fn bring_dot_git(
        &self,
        objects: &Objects,
        (past, modules): (&PastFiles, &str),
        (commit, path, at): (CommitId, &Path, &OwnedFd),
        plan: &mut Directory,
        is_changed: bool,
    ) -> Result<bool, GitError> {
        let found = objects.commit(commit)?;
        let Some(Planned { node: Node::Repository(known), .. }) = plan.entries.get_mut(DOT_GIT) else {
            unreachable!("every plan of a root has it");
        };
        let mut dot_git = std::mem::take(known);
        let of = dot_git::Commit {
            id: commit,
            tree: found.tree_id(),
            past,
            modules,
            format: objects.format(),
            objects: &self.objects_path,
            root: path,
            handed_over: self.handed_over,
        };
        let touched = dot_git.bring(at.as_fd(), &of, is_changed, || index::encode(plan, objects.format()))?;
        if let Some(planned) = plan.entries.get_mut(DOT_GIT) {
            planned.node = Node::Repository(dot_git);
        }
        Ok(touched)
    }

    /// Notes the commit, and the file system's time at which the tree is handed over.
    fn hand_over(&mut self, commit: CommitId) -> Result<(), GitError> {
        let failed = |error| GitError::io("write", &self.note_path)(error);
        self.note.write_all_at(format!("{commit}\n").as_bytes(), 0).map_err(failed)?;
        let meta = self.note.metadata().map_err(failed)?;
        self.handed_over = (meta.ctime(), meta.ctime_nsec().unsigned_abs());
        self.commit = Some(commit);
        Ok(())
    }

    /// Removes the note: from now on the tree is of no commit.
    fn forget(&mut self) -> Result<(), GitError> {
        self.commit = None;
        self.note.set_len(0).map_err(GitError::io("write", &self.note_path))
    }
}

/// Removes a directory with everything in it, whatever the permissions.
pub fn remove_directory(path: &Path) -> io::Result<()> {
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(io::ErrorKind::InvalidInput.into());
    };
    let above = open(parent, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    Ok(removal::remove(above.as_fd(), name.as_bytes(), FileType::Directory)?)
}

#[cfg(test)]
mod tests;
