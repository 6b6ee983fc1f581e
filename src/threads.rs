//! Named threads that are joined on drop, so that nothing outlives its owner.

use std::io;
use std::thread::{Builder, JoinHandle};

/// Enough for every thread here, and small, because a dispatcher has one or two for each connection.
const STACK_BYTES: usize = 256 * 1024;

/// A running thread. Dropping it waits for its end.
#[derive(Debug)]
pub struct Thread<T> {
    handle: Option<JoinHandle<T>>,
}

impl<T> Thread<T> {
    /// Waits for the thread and hands over what it returned, or the panic that ended it.
    pub fn join(mut self) -> std::thread::Result<T> {
        self.handle.take().expect("the handle is there until join or drop").join()
    }

    /// Lets the thread go: it is about to end, and its owner is the thread itself.
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
            // Whoever cares how it ended calls `join`; the panic itself is printed by the hook.
            drop(handle.join());
        }
    }
}

/// Starts a thread. `name` has at most 15 bytes, so that Linux shows it whole.
pub fn spawn<T: Send + 'static>(name: &str, body: impl FnOnce() -> T + Send + 'static) -> io::Result<Thread<T>> {
    debug_assert!(name.len() <= 15, "{name}");
    let handle = Builder::new().name(name.into()).stack_size(STACK_BYTES).spawn(body)?;
    Ok(Thread { handle: Some(handle) })
}

/// Starts a thread with room for deep recursion or large buffers on its stack.
pub fn spawn_large<T: Send + 'static>(name: &str, body: impl FnOnce() -> T + Send + 'static) -> io::Result<Thread<T>> {
    debug_assert!(name.len() <= 15, "{name}");
    let handle = Builder::new().name(name.into()).stack_size(8 * 1024 * 1024).spawn(body)?;
    Ok(Thread { handle: Some(handle) })
}
