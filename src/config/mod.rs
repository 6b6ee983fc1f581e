//! Files and flags become checked values; defaults live here. The only reader of either.

mod settings;
mod tasks;

pub use settings::{
    DispatcherSettings, ObservedRepo, ObserverSettings, RepoLocation, RunnerSettings, TokenSource, data_dir, work_dir,
};
pub use tasks::{TASK_DIRECTORY, TASK_FILE, TaskFileError, fallback_plan, no_tasks_text, parse_tasks};
