//! Named threads that are joined on drop, so that nothing outlives its owner.

use std::io::{self, ErrorKind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread::{Builder, JoinHandle, Scope};

use rustix::process::Resource;

/// Enough for every thread here; small, because a dispatcher has a thread for each connection.
const STACK_BYTES: usize = 256 * 1024;
const LARGE_STACK_BYTES: usize = 8 * 1024 * 1024;
/// Memory maps of a thread: its stack, its signal stack, a guard page for each, and one for its allocations.
const MAPS_EACH: usize = 5;
/// Memory maps for everything else: the program, its heaps, large allocations, SQLite and libgit2.
const OTHER_MAPS: usize = 4_096;
/// The default limit of memory maps in Linux.
const USUAL_MAPS: usize = 65_530;
/// The least number of threads with which anything works.
const FEWEST: usize = 64;
/// Address space that is reserved for allocations if it is limited. A failed allocation ends the process, and the
/// allocator may take 64 MiB at a time.
const SPARE_BYTES: u64 = 128 << 20;

static ALIVE: AtomicUsize = AtomicUsize::new(0);

/// A running thread. Dropping it waits for its end.
#[derive(Debug)]
pub struct Thread<T> {
    handle: Option<JoinHandle<T>>,
}

impl<T> Thread<T> {
    /// Waits for the thread's end and returns its result, or the panic that ended it.
    pub fn join(mut self) -> std::thread::Result<T> {
        self.handle.take().expect("the handle is there until join or drop").join()
    }

    /// Releases the thread without a join: it is about to end, and is its own owner.
    pub fn detach(mut self) {
        drop(self.handle.take());
    }

    /// Whether joining would not block.
    pub fn is_finished(&self) -> bool {
        self.handle.as_ref().is_some_and(JoinHandle::is_finished)
    }
}

impl<T> Drop for Thread<T> {
    fn drop(&mut self) {
        if let Some(handle) = self.handle.take() {
            // A caller that needs the result calls `join`. The panic hook has printed a panic.
            drop(handle.join());
        }
    }
}

/// Starts a thread. `name` has at most 15 bytes, so that Linux shows it whole. Fails if the process has as many threads
/// as it may have, see [`most`].
pub fn spawn<T: Send + 'static>(name: &str, body: impl FnOnce() -> T + Send + 'static) -> io::Result<Thread<T>> {
    start(name, STACK_BYTES, body)
}

/// Starts a thread with room for deep recursion or large buffers on its stack.
pub fn spawn_large<T: Send + 'static>(name: &str, body: impl FnOnce() -> T + Send + 'static) -> io::Result<Thread<T>> {
    start(name, LARGE_STACK_BYTES, body)
}

/// Starts a thread that ends with a scope, and may borrow what lives longer.
pub fn spawn_scoped<'scope>(
    scope: &'scope Scope<'scope, '_>,
    name: &str,
    body: impl FnOnce() + Send + 'scope,
) -> io::Result<()> {
    debug_assert!(name.len() <= 15, "{name}");
    let permit = Permit::take(STACK_BYTES as u64)?;
    let counted = move || {
        body();
        drop(permit);
    };
    // The scope waits for its end, and passes a panic on.
    Builder::new().name(name.into()).stack_size(STACK_BYTES).spawn_scoped(scope, counted)?;
    Ok(())
}

/// Executes `body` on this thread and on another one at once, and waits for both. If there is no room for another
/// thread, this one does all the work.
pub fn on_two(name: &str, body: &(dyn Fn() + Sync)) {
    std::thread::scope(|scope| {
        if let Err(error) = spawn_scoped(scope, name, body) {
            log::debug!("no thread {name}: {error}");
        }
        body();
    });
}

fn start<T: Send + 'static>(
    name: &str,
    stack: usize,
    body: impl FnOnce() -> T + Send + 'static,
) -> io::Result<Thread<T>> {
    debug_assert!(name.len() <= 15, "{name}");
    let permit = Permit::take(stack as u64)?;
    let counted = move || {
        let result = body();
        drop(permit);
        result
    };
    let handle = Builder::new().name(name.into()).stack_size(stack).spawn(counted)?;
    Ok(Thread { handle: Some(handle) })
}

/// Locks a mutex, also after a thread has panicked with the lock held.
///
/// The data is whole all the same: critical sections here are short, and each of their steps leaves a valid value
/// behind. Refusing the lock would spread the panic of one session to all the others.
pub fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The most threads that this process may have.
///
/// The standard library ends the process if a new thread finds no memory map for its signal stack. So threads are
/// counted, and this limit keeps a margin of maps.
pub fn most() -> usize {
    static MOST: OnceLock<usize> = OnceLock::new();
    *MOST.get_or_init(|| {
        let maps = std::fs::read_to_string("/proc/sys/vm/max_map_count").ok();
        most_of(maps.and_then(|text| text.trim().parse().ok()).unwrap_or(USUAL_MAPS))
    })
}

fn most_of(maps: usize) -> usize {
    (maps.saturating_sub(OTHER_MAPS) / MAPS_EACH).max(FEWEST)
}

/// The right to be one of the [`most`] threads; dropping it gives the right back.
struct Permit;

impl Permit {
    fn take(stack: u64) -> io::Result<Self> {
        // Made before the check, so that a refusal takes this thread off the count again.
        let permit = Self;
        if ALIVE.fetch_add(1, Ordering::Relaxed) >= most() {
            let text = format!("this process has {} threads, as many as vm.max_map_count leaves room for", most());
            return Err(io::Error::new(ErrorKind::OutOfMemory, text));
        }
        if let Some(limit) = rustix::process::getrlimit(Resource::As).current
            && address_space().is_some_and(|used| used + stack + SPARE_BYTES > limit)
        {
            let text = format!("the limit of {} MiB address space leaves no room for it (ulimit -v)", limit >> 20);
            return Err(io::Error::new(ErrorKind::OutOfMemory, text));
        }
        Ok(permit)
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        ALIVE.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The address space that this process uses, in bytes.
fn address_space() -> Option<u64> {
    let statm = std::fs::read_to_string("/proc/self/statm").ok()?;
    let pages: u64 = statm.split(' ').next()?.parse().ok()?;
    Some(pages * rustix::param::page_size() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ten_thousand_sessions_fit_into_what_linux_allows_a_process() {
        assert!(most_of(USUAL_MAPS) > 11_500, "{}", most_of(USUAL_MAPS));
        // The limit is usable on a machine that allows very few maps, and on one that allows any number.
        assert_eq!(most_of(0), FEWEST);
        assert!(most_of(usize::MAX) > most_of(USUAL_MAPS));
    }

    #[test]
    fn a_thread_that_has_ended_or_could_not_start_is_not_counted() {
        let (end, ended) = std::sync::mpsc::channel::<()>();
        let thread = spawn("counted", move || ended.recv().is_ok()).unwrap();
        assert!(ALIVE.load(Ordering::Relaxed) >= 1);
        drop(end);
        thread.join().unwrap();
        // Threads of other tests are counted as well, so only a bound can be checked.
        for _ in 0..most() {
            drop(Permit::take(STACK_BYTES as u64).unwrap());
        }
    }
}
