//! Changes of the records of caches. The core's thread makes them, because it owns the store.

use super::error::CacheError;
use crate::dispatcher::core::{CoreHandle, ToCore};
use crate::store::{Store, StoreError};

/// Makes a change on the core's thread. Waits for it.
pub(super) fn change<T: Send + 'static>(
    core: &CoreHandle,
    change: impl FnOnce(&mut dyn Store) -> Result<T, StoreError> + Send + 'static,
) -> Result<T, CacheError> {
    let answered = core.answered(|answer| {
        ToCore::Store(Box::new(move |store| {
            let done = match change(store) {
                Ok(value) => Ok(value),
                Err(error) if error.is_transient() => Err(CacheError::NotNow(error.to_string())),
                Err(error) => return Err(error),
            };
            // If the session has ended meanwhile, nobody waits for the answer.
            drop(answer.try_send(done));
            Ok(())
        }))
    });
    answered.unwrap_or(Err(CacheError::Ending))
}
