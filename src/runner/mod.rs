//! The role that executes attempts.

use crate::config::RunnerSettings;
use crate::shutdown::Stop;

/// Why a runner could not start or had to end.
#[derive(Debug, thiserror::Error)]
pub enum RunnerError {}

/// Executes attempts until a message on `stop`. A dispatcher that is away is waited for.
pub fn run(settings: RunnerSettings, stop: &crossbeam_channel::Receiver<Stop>) -> Result<(), RunnerError> {
    todo!()
}
