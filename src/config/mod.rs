//! Turns flags and files into checked values, and holds the defaults. No other room reads flags or task files.
//!
//! The command line calls it to turn flags into the settings of a role; the dispatcher calls it to read the tasks of a
//! commit. It starts nothing. The only files that it reads are tokens, logins and, for `surveil check` and
//! `surveil run`, the tasks of a directory, and for a runner its container tools.

pub mod defaults;
mod error;
mod identity;
mod image_tools;
mod joined;
mod location;
mod logins;
mod pins;
mod quantity;
mod schedule;
mod server;
mod settings;
mod starter;
mod tasks;

pub use error::ConfigError;
pub use identity::{default_runner_name, own_facts};
pub use image_tools::{
    BUILT_IN_IMAGE_TOOLS, ImageTool, ImageTools, NO_IMAGE_TOOL, Template, TemplateWord, placeholders, program_in,
};
pub use joined::{JoinedFile, joined_file};
pub use location::{data_dir, is_url, repo_name_from, without_credentials, work_dir};
pub use logins::{LOCAL_LOGIN, Login, Logins, default_login_name, is_login_name};
pub use pins::KnownPins;
pub use quantity::{parse_duration_ms, parse_size};
pub use schedule::{Timetable, time_of_day, zoned_time};
pub use server::{SERVER_FILE, ServerSettings, parse_server};
pub use settings::{
    DispatcherSettings, ObservedRepo, ObserverSettings, RepoLocation, Retention, RunnerSettings, TokenSource,
};
pub use starter::{MAKEFILES, Starter, starter};
pub(crate) use tasks::nearest;
pub use tasks::{
    CheckedSchedule, CheckedTasks, MAX_TASK_FILE_BYTES, PlanContext, TASK_DIRECTORY, TASK_FILE, TaskFileError,
    UnknownTask, check_directory, choose_tasks, fallback_plan, no_file_text, no_tasks_text, parse_tasks, parse_written,
    schema, source_needs,
};
