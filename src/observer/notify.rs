//! File-system notification. Tells that refs of a repository may have changed, within a fraction of a millisecond.
//!
//! A notification is a hint and never a fact: its receiver reads the repository. If the kernel refuses notification (a
//! limit is reached, the file system has none), the poll finds the same change a little later. Reads no ref itself. One
//! for each repository, owned by its thread in [`super::repo`].

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crossbeam_channel::{Sender, TrySendError};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::inotify::{self, CreateFlags, ReadFlags, WatchFlags};
use rustix::io::Errno;

use crate::threads::{self, Thread};

/// Room for a burst of events; further ones are read in the next round.
const BUFFER_BYTES: usize = 4096;

/// Watches directories. Dropping it ends its thread.
#[derive(Debug)]
pub(crate) struct Notifier {
    inotify: Arc<OwnedFd>,
    is_outdated: Arc<AtomicBool>,
    /// Its end stops the thread, so it is declared, and dropped, before the thread.
    _stop: io::PipeWriter,
    _thread: Thread<()>,
}

impl Notifier {
    /// Starts the thread. It sends to `wake` when something changes in a watched directory. One waiting message is
    /// enough, because its receiver reads everything.
    pub(crate) fn start(name: &str, wake: Sender<()>) -> io::Result<Self> {
        let inotify = Arc::new(inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)?);
        let is_outdated = Arc::new(AtomicBool::new(true));
        let (stopped, stop) = io::pipe()?;
        let reading = EventReading { inotify: Arc::clone(&inotify), is_outdated: Arc::clone(&is_outdated), wake };
        let thread = threads::spawn(name, move || {
            if let Err(error) = reading.run(&stopped) {
                log::warn!("file-system notification ended: {error}");
            }
        })?;
        Ok(Self { inotify, is_outdated, _stop: stop, _thread: thread })
    }

    /// Whether directories came or went since they were last watched. Asking resets the answer.
    pub(crate) fn take_outdated(&self) -> bool {
        self.is_outdated.swap(false, Ordering::Relaxed)
    }

    /// Watches further directories. Skips a directory that has gone. Tries all of them and returns the first other
    /// error. Read the refs after this call, not before it: a change in between sends no notification.
    pub(crate) fn watch(&self, directories: &[PathBuf]) -> io::Result<()> {
        // git writes a file under another name, closes it, and renames it. A branch that is packed shows as a deletion.
        let changes = WatchFlags::CREATE
            | WatchFlags::CLOSE_WRITE
            | WatchFlags::MOVED_TO
            | WatchFlags::MOVED_FROM
            | WatchFlags::DELETE
            | WatchFlags::DELETE_SELF
            | WatchFlags::MOVE_SELF
            | WatchFlags::ONLYDIR;
        let mut result = Ok(());
        for directory in directories {
            match inotify::add_watch(&*self.inotify, directory.as_path(), changes) {
                Ok(_) | Err(Errno::NOENT | Errno::NOTDIR) => {}
                Err(error) => result = result.and(Err(error.into())),
            }
        }
        result
    }
}

/// The body of the thread.
struct EventReading {
    inotify: Arc<OwnedFd>,
    is_outdated: Arc<AtomicBool>,
    wake: Sender<()>,
}

impl EventReading {
    fn run(&self, stopped: &io::PipeReader) -> io::Result<()> {
        loop {
            let mut fds = [PollFd::new(&*self.inotify, PollFlags::IN), PollFd::new(stopped, PollFlags::IN)];
            match poll(&mut fds, None) {
                Ok(_) => {}
                Err(Errno::INTR) => continue,
                Err(error) => return Err(error.into()),
            }
            if !fds[1].revents().is_empty() {
                return Ok(());
            }
            // A full channel is fine: its receiver has not looked yet, and will see this change too.
            if self.drain()? && self.wake.try_send(()) == Err(TrySendError::Disconnected(())) {
                return Ok(());
            }
        }
    }

    /// Reads all waiting events. Returns whether any of them may concern refs.
    fn drain(&self) -> io::Result<bool> {
        let mut buffer = [MaybeUninit::uninit(); BUFFER_BYTES];
        let mut reader = inotify::Reader::new(&*self.inotify, &mut buffer);
        let mut is_of_interest = false;
        loop {
            let event = match reader.next() {
                Ok(event) => event,
                Err(Errno::AGAIN) => return Ok(is_of_interest),
                Err(Errno::INTR) => continue,
                Err(error) => return Err(error.into()),
            };
            let name = event.file_name().map(std::ffi::CStr::to_bytes).unwrap_or_default();
            // A directory came, went, or is no longer watched; or events were lost.
            let about_directories = ReadFlags::ISDIR
                | ReadFlags::IGNORED
                | ReadFlags::DELETE_SELF
                | ReadFlags::MOVE_SELF
                | ReadFlags::QUEUE_OVERFLOW
                | ReadFlags::UNMOUNT;
            if event.events().intersects(about_directories) {
                self.is_outdated.store(true, Ordering::Relaxed);
                is_of_interest = true;
            } else if !name.ends_with(b".lock") {
                // A lock file holds new content that is not valid yet. Its renaming is an event of its own.
                is_of_interest = true;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::time::Duration;

    use crossbeam_channel::{Receiver, bounded};

    use super::*;

    const DEADLINE: Duration = Duration::from_secs(20);
    /// Long enough for an unwanted event to arrive.
    const A_MOMENT: Duration = Duration::from_millis(50);

    fn watching(directories: &[PathBuf]) -> (Notifier, Receiver<()>) {
        let (wake, wakes) = bounded(1);
        let notifier = Notifier::start("notify-test", wake).unwrap();
        notifier.watch(directories).unwrap();
        (notifier, wakes)
    }

    #[test]
    fn a_ref_that_is_renamed_into_place_wakes_and_its_lock_file_does_not() {
        let dir = tempfile::tempdir().unwrap();
        let (_notifier, wakes) = watching(&[dir.path().to_owned()]);
        fs::write(dir.path().join("main.lock"), "a").unwrap();
        assert!(wakes.recv_timeout(A_MOMENT).is_err());
        fs::rename(dir.path().join("main.lock"), dir.path().join("main")).unwrap();
        wakes.recv_timeout(DEADLINE).unwrap();
    }

    #[test]
    fn a_ref_that_is_removed_wakes() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("main"), "a").unwrap();
        let (_notifier, wakes) = watching(&[dir.path().to_owned()]);
        fs::remove_file(dir.path().join("main")).unwrap();
        wakes.recv_timeout(DEADLINE).unwrap();
    }

    #[test]
    fn a_new_directory_asks_for_a_new_list_of_directories() {
        let dir = tempfile::tempdir().unwrap();
        let (notifier, wakes) = watching(&[dir.path().to_owned()]);
        assert!(notifier.take_outdated(), "nothing was watched at first");
        assert!(!notifier.take_outdated());
        let inner = dir.path().join("topic");
        fs::create_dir(&inner).unwrap();
        wakes.recv_timeout(DEADLINE).unwrap();
        assert!(notifier.take_outdated());
        notifier.watch(&[dir.path().to_owned(), inner.clone()]).unwrap();
        fs::write(inner.join("x"), "a").unwrap();
        wakes.recv_timeout(DEADLINE).unwrap();
    }

    #[test]
    fn a_directory_that_has_gone_is_no_error() {
        let dir = tempfile::tempdir().unwrap();
        watching(&[dir.path().join("gone"), dir.path().to_owned()]);
    }
}
