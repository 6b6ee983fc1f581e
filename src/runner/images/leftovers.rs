//! The containers that an earlier process of this runner left. They are removed in a thread, so that a slow tool does
//! not delay the registration; the first attempt with an image waits for it.

use std::io;
use std::sync::Arc;

use crossbeam_channel::{Receiver, Sender, bounded};

use super::calls::{CallError, call};
use super::fill::fill;
use super::gone::Gone;
use super::tool::{Images, message};
use crate::error_chain::chain;
use crate::threads::{self, Thread};

/// The thread that removes the containers. Dropping it ends a call of the tool that has not been answered.
pub(crate) struct Leftovers {
    /// Declared first, so that it is dropped before the thread is joined.
    _cancel: Sender<()>,
    _thread: Thread<()>,
}

impl Leftovers {
    /// Starts the thread, and returns it with the images that wait for it.
    pub(crate) fn start(mut images: Images) -> io::Result<(Self, Arc<Images>)> {
        let (cancel, cancelled) = bounded(0);
        let (leftovers, removing) = Gone::soon();
        images.leftovers = leftovers;
        let images = Arc::new(images);
        let own = images.clone();
        let thread = threads::spawn("image-leftover", move || {
            remove_all(&own, &own.instance, "an earlier process of this runner", &cancelled);
            drop::<Sender<()>>(removing);
        })?;
        Ok((Self { _cancel: cancel, _thread: thread }, images))
    }
}

/// Removes the containers with this label, which `whose` process left. Returns whether none is left, or `None` if a
/// message on `cancel`, or its disconnection, ended that.
pub(super) fn remove_all(images: &Images, instance: &str, whose: &str, cancel: &Receiver<()>) -> Option<bool> {
    let tool = &images.tool;
    let Some(list) = &tool.list else { return Some(true) };
    let mut values = images.values();
    values.set("instance", instance);
    let names = match call(&fill(list, &values), &images.env, images.answer, cancel) {
        Ok(called) if called.succeeded() => called.output,
        Ok(called) => {
            log::warn!("{} could not list containers: {}", tool.name, message(&called));
            return Some(false);
        }
        Err(CallError::Cancelled) => return None,
        Err(error) => {
            log::warn!("could not list containers: {}", chain(&error));
            return Some(false);
        }
    };
    let mut is_empty = true;
    for name in names.split_whitespace() {
        let is_removed = images.remove_unless(name, images.answer, cancel)?;
        is_empty &= is_removed;
        if is_removed {
            log::info!("removed the container {name}, which {whose} left");
        }
    }
    Some(is_empty)
}
