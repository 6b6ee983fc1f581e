//! The role that notices commits and announces them.

use crate::config::ObserverSettings;
use crate::shutdown::Stop;

/// Why an observer could not start or had to end.
#[derive(Debug, thiserror::Error)]
pub enum ObserverError {}

/// Observes until a message on `stop`. A dispatcher that is away is waited for.
pub fn run(settings: ObserverSettings, stop: &crossbeam_channel::Receiver<Stop>) -> Result<(), ObserverError> {
    todo!()
}
