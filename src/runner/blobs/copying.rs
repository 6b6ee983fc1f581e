//! Makes copies of received files, in a thread beside. Nothing waits for it: neither the next file, nor the start of
//! the attempt, nor its end. A file that comes while others still wait is copied later, from its place in the work
//! tree. The task may have changed or removed it by then. A copy is verified whenever it is read, so the worst is that
//! the file has to be received again.

use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::sync::{Arc, Mutex};

use crossbeam_channel::{Receiver, Sender, TrySendError, bounded};

use super::wanted_file::WantedFile;
use crate::blobs::{BlobCopies, TreeDirectory};
use crate::model::BlobId;
use crate::threads::{self, Thread};

/// Files that wait to be copied and are open meanwhile.
const OPEN: usize = 64;
/// The lowest priority that there is. On Linux, each thread has its own (nice(2), "C library/kernel differences").
const NICE: i32 = 19;

/// Tells whether the disk has more room than what is kept free.
type HasRoom = dyn Fn() -> bool + Send + Sync;

/// The copies that a slot makes.
pub(crate) struct Copying {
    pub(super) copies: BlobCopies,
    has_room: Arc<HasRoom>,
    /// Those of the attempt that is being executed.
    begun: Mutex<Vec<(Arc<Left>, Thread<()>)>>,
}

impl Copying {
    pub(crate) fn new(copies: BlobCopies, has_room: Arc<HasRoom>) -> Self {
        Self { copies, has_room, begun: Mutex::default() }
    }

    /// Begins with the files of one restore. Returns the way for them; `None` without room for another thread.
    pub(super) fn begin(&self) -> Option<CopyLine> {
        let (came, coming) = bounded(OPEN);
        let left = Arc::<Left>::default();
        let (copies, has_room, of_thread) = (self.copies.clone(), self.has_room.clone(), left.clone());
        let body = move || {
            // If it fails, the copies are only made sooner.
            rustix::process::nice(NICE).ok();
            copy_open(&coming, &of_thread, &copies, &*has_room);
            of_thread.copy_all(&copies, &*has_room);
        };
        let thread =
            threads::spawn("copies", body).inspect_err(|error| log::debug!("no thread copies: {error}")).ok()?;
        threads::lock(&self.begun).push((left.clone(), thread));
        Some(CopyLine { came, left })
    }

    /// Keeps what is left in directories that end with the attempt, before they do.
    pub(crate) fn keep_passing(&self) {
        for (left, _) in &*threads::lock(&self.begun) {
            left.move_passing(&self.copies, &*self.has_room);
        }
    }

    /// Copies all that is left. Called when the end of the attempt was told.
    pub(crate) fn finish(&self) {
        let begun = std::mem::take(&mut *threads::lock(&self.begun));
        if begun.is_empty() {
            return;
        }
        for (left, thread) in begun {
            left.copy_all(&self.copies, &*self.has_room);
            drop(thread);
        }
        if let Err(error) = self.copies.shrink() {
            log::warn!("could not remove old copies: {error}");
        }
    }

    /// Gives up what is left.
    pub(crate) fn abandon(&self) {
        for (left, thread) in std::mem::take(&mut *threads::lock(&self.begun)) {
            left.clear();
            drop(thread);
        }
    }
}

impl Drop for Copying {
    fn drop(&mut self) {
        self.abandon();
    }
}

/// The way for the files of one restore. The thread turns to those that are left when it is dropped.
pub(super) struct CopyLine {
    came: Sender<(BlobId, File)>,
    left: Arc<Left>,
}

impl CopyLine {
    /// Takes a file that came, and never waits. Returns false if no more copies are made.
    pub(super) fn take(&self, wanted: &WantedFile<'_>, file: File) -> bool {
        let WantedFile { root, path, blob, bytes, is_passing, .. } = *wanted;
        match self.came.try_send((blob, file)) {
            Ok(()) => true,
            Err(TrySendError::Full(_)) => {
                let file = LeftFile { root: root.clone(), path: path.into(), blob, bytes, is_passing };
                threads::lock(&self.left.files).push_back(file);
                true
            }
            Err(TrySendError::Disconnected(_)) => false,
        }
    }
}

fn copy_open(coming: &Receiver<(BlobId, File)>, left: &Left, copies: &BlobCopies, has_room: &HasRoom) {
    for (blob, file) in coming {
        if !left.goes_on(copies.keep_file(blob, &file), has_room) {
            return;
        }
    }
}

/// The files of one restore that are copied later.
#[derive(Default)]
struct Left {
    files: Mutex<VecDeque<LeftFile>>,
}

struct LeftFile {
    root: Arc<TreeDirectory>,
    path: Box<str>,
    blob: BlobId,
    bytes: u64,
    is_passing: bool,
}

impl LeftFile {
    /// Opens it, unless the task has removed it or put something else in its place.
    fn open(&self) -> Option<File> {
        let (file, stat) = self.root.file(&self.path).ok()?;
        (stat.st_size.cast_unsigned() == self.bytes).then_some(file)
    }
}

impl Left {
    /// Copies the files one by one. Several threads may do so at once.
    fn copy_all(&self, copies: &BlobCopies, has_room: &HasRoom) {
        loop {
            let next = threads::lock(&self.files).pop_front();
            let Some(next) = next else { return };
            if let Some(file) = next.open()
                && !self.goes_on(copies.keep_file(next.blob, &file), has_room)
            {
                return;
            }
        }
    }

    /// Moves the files of directories that nobody needs any more.
    fn move_passing(&self, copies: &BlobCopies, has_room: &HasRoom) {
        let passing = {
            let mut files = threads::lock(&self.files);
            let (passing, staying): (VecDeque<_>, _) =
                std::mem::take(&mut *files).into_iter().partition(|file| file.is_passing);
            *files = staying;
            passing
        };
        for file in passing {
            if file.open().is_some() && !self.goes_on(copies.keep_moved(file.blob, &file.root, &file.path), has_room) {
                return;
            }
        }
    }

    /// Whether further copies can be made after this one. If not, those that are left are given up.
    fn goes_on(&self, kept: io::Result<()>, has_room: &HasRoom) -> bool {
        let is_kept = kept.inspect_err(|error| log::debug!("no copies of what was received: {error}")).is_ok();
        let goes_on = is_kept && has_room();
        if !goes_on {
            self.clear();
        }
        goes_on
    }

    fn clear(&self) {
        threads::lock(&self.files).clear();
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;
    use crate::blobs::sum;

    /// A tree with files that came, and copies of them.
    struct Trial {
        place: tempfile::TempDir,
        tree: Arc<TreeDirectory>,
        room: Arc<AtomicBool>,
        copying: Copying,
    }

    impl Trial {
        fn new() -> Self {
            let place = tempfile::tempdir().unwrap();
            fs::create_dir(place.path().join("tree")).unwrap();
            let tree = Arc::new(TreeDirectory::open(&place.path().join("tree")).unwrap());
            let (copies, room) =
                (BlobCopies::open(place.path().join("copies"), 1 << 20), Arc::new(AtomicBool::new(true)));
            let is_room = room.clone();
            let copying = Copying::new(copies, Arc::new(move || is_room.load(Ordering::Relaxed)));
            Self { place, tree, room, copying }
        }

        /// Leaves files for later, as if they had come too fast.
        fn leave(&self, names: &[&str]) -> Vec<BlobId> {
            let left = Arc::<Left>::default();
            let mut blobs = Vec::new();
            for name in names {
                fs::write(self.path(name), name).unwrap();
                let (blob, bytes) = sum(name.as_bytes()).unwrap();
                let file = LeftFile {
                    root: self.tree.clone(),
                    path: (*name).into(),
                    blob,
                    bytes,
                    is_passing: name.starts_with("own"),
                };
                threads::lock(&left.files).push_back(file);
                blobs.push(blob);
            }
            let idle = threads::spawn("copies", || ()).unwrap();
            threads::lock(&self.copying.begun).push((left, idle));
            blobs
        }

        fn path(&self, name: &str) -> std::path::PathBuf {
            self.place.path().join("tree").join(name)
        }

        fn sound(&self, blobs: &[BlobId]) -> Vec<bool> {
            blobs.iter().map(|blob| self.copying.copies.text(*blob, 100).is_some()).collect()
        }
    }

    #[test]
    fn more_files_than_may_be_open_are_all_copied() {
        let trial = Trial::new();
        let names: Vec<String> = (0..3 * OPEN).map(|n| format!("file {n}")).collect();
        let line = trial.copying.begin().unwrap();
        let mut blobs = Vec::new();
        for name in &names {
            fs::write(trial.path(name), name).unwrap();
            let (blob, bytes) = sum(name.as_bytes()).unwrap();
            let file = File::open(trial.path(name)).unwrap();
            let (root, executable, mtime_ns, is_passing) = (&trial.tree, false, 0, false);
            let wanted = WantedFile { root, path: name, blob, bytes, executable, mtime_ns, is_passing };
            assert!(line.take(&wanted, file));
            blobs.push(blob);
        }
        drop(line);
        trial.copying.finish();
        assert!(trial.sound(&blobs).iter().all(|is_sound| *is_sound));
    }

    #[test]
    fn a_file_that_the_task_has_changed_has_no_sound_copy_and_does_no_harm() {
        let trial = Trial::new();
        let blobs = trial.leave(&["kept", "gone", "changed", "longer", "pipe", "link", "last"]);
        fs::remove_file(trial.path("gone")).unwrap();
        fs::write(trial.path("changed"), "CHANGED").unwrap();
        fs::write(trial.path("longer"), "longer and longer").unwrap();
        fs::remove_file(trial.path("pipe")).unwrap();
        let fifo = trial.path("pipe");
        rustix::fs::mknodat(rustix::fs::CWD, &fifo, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
        fs::remove_file(trial.path("link")).unwrap();
        std::os::unix::fs::symlink("last", trial.path("link")).unwrap();
        trial.copying.finish();
        assert_eq!(trial.sound(&blobs), [true, false, false, false, false, false, true]);
    }

    #[test]
    fn nothing_more_is_copied_without_room_or_when_it_is_given_up() {
        let trial = Trial::new();
        let blobs = trial.leave(&["one", "two"]);
        trial.room.store(false, Ordering::Relaxed);
        trial.copying.finish();
        assert_eq!(trial.sound(&blobs), [true, false], "it is found after the first");
        trial.room.store(true, Ordering::Relaxed);
        let more = trial.leave(&["three"]);
        trial.copying.abandon();
        trial.copying.finish();
        assert_eq!(trial.sound(&more), [false]);
    }

    #[test]
    fn a_file_in_a_directory_that_ends_with_the_attempt_is_moved() {
        let trial = Trial::new();
        let blobs = trial.leave(&["own a", "own b", "of the tree"]);
        fs::write(trial.path("own b"), "OWN B").unwrap();
        trial.copying.keep_passing();
        assert!(!trial.path("own a").exists() && trial.path("of the tree").exists());
        assert_eq!(trial.sound(&blobs), [true, false, false]);
        trial.copying.finish();
        assert_eq!(trial.sound(&blobs), [true, false, true]);
    }
}
