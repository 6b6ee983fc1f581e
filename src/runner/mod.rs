//! The role that executes attempts. Each attempt runs in a clean work tree of exactly its commit, all its processes are
//! ended afterwards, and its result survives the absence of the dispatcher and a restart of the runner.
//!
//! One thread decides: `core.rs`, which owns the pure `machine/`. The other threads wait on its behalf: the session's
//! reader and writer (`session.rs`), `heartbeat`, `upload`, a thread for each slot, and a thread for each slot's
//! output. Only `translate/` sees both the wire and the model.
//!
//! The runner never reports a failure of its own as a failure of the task: such an attempt is lost.

mod assignment;
mod attempt_command;
mod attempt_file;
mod attempt_log;
mod blobs;
mod boottime;
mod bulk;
mod canonical;
mod command_places;
mod core;
mod delivery;
mod entry_routes;
mod environment;
mod error;
mod event;
mod executor;
// The file is compiled as a part of this room, so that it sees the room's private items.
#[cfg(any(test, fuzzing))]
#[path = "../fuzz/runner.rs"]
pub(crate) mod fuzz;
mod greeting;
mod guard;
mod heartbeat;
mod images;
mod journal;
mod layout;
mod limit_notes;
mod limits;
mod listening;
mod machine;
mod masking;
mod output;
mod output_file;
mod own_temporary;
mod read_times;
mod recovery;
mod redial;
mod routes;
mod secret_request;
mod secrets;
mod services;
mod session;
mod session_thread;
mod shared_repos;
mod slot;
mod slot_common;
mod spool;
mod stamp;
mod step_env;
mod steps;
mod stream_delivery;
mod temporary;
#[cfg(test)]
mod tests;
pub(crate) mod tool_cache;
mod translate;
mod upload;
mod variable_lines;
mod working_directory;
mod workspace;
mod written_tasks;

use std::sync::Arc;

use crossbeam_channel::Receiver;

pub use blobs::HandOver;
pub use environment::{AttemptFacts, AttemptPlaces, attempt_environment, inherited};
pub use error::RunnerError;
pub use images::{ContainerTool, LocalTool};
pub(crate) use images::{ImageMeans, ImageRun};
pub use masking::Masker;
pub use output_file::{OutputFile, VARIABLE as OUTPUT_FILE};
pub use own_temporary::OwnTemporary;
pub use secrets::{AttemptSecrets, SecretValues};
pub use services::{PreparedServices, ProgramPlace, StartedServices, last_lines, tell_not_ready};
pub use step_env::{StepEnv, set_all, step_environment};
pub use steps::{NextCommand, StepRun, outcome_of};
pub use tool_cache::{GO_ADDRESS, serve_go};
pub use working_directory::working_directory;
pub use written_tasks::{VARIABLE as WRITTEN_TASKS, WrittenTasks};

use executor::{Execute, Executors, MakeExecutor};
use layout::Layout;

use crate::config::RunnerSettings;
use crate::model::Isolation;
use crate::process::{Controllers, Groups, Supervisor, View, detect_isolation};
use crate::shutdown::Stop;

/// Executes attempts until a message arrives on `stop`. Waits for a dispatcher that is away.
pub fn run(settings: RunnerSettings, stop: &Receiver<Stop>) -> Result<(), RunnerError> {
    let isolation = detect_isolation();
    // First of all, because no process but this one may be in its control group.
    let groups = limits_of_attempts(Groups::detect());
    // This very program, even if a newer one has replaced its file.
    let program = "/proc/self/exe";
    let means = guard::detect(program.as_ref(), isolation, settings.isolation)?;
    let executors = |isolation, groups: Option<Arc<Groups>>| -> MakeExecutor {
        Arc::new(move |layout: &Layout| -> Box<Execute> {
            let mut supervisor =
                Supervisor::new(program.into(), isolation).keeping_open(layout.attempts()).limited_by(groups.clone());
            Box::new(move |command, output, cancel, progress| supervisor.run(command, output, cancel, progress))
        })
    };
    let of_nests = groups.clone();
    let nests = Arc::new(move |layout: &Layout, view: Option<&View>, count: usize| {
        let supervisor = Supervisor::new(program.into(), isolation);
        supervisor.keeping_open(layout.attempts()).limited_by(of_nests.clone()).nest(view, count)
    });
    let tasks = executors(isolation, groups);
    let executors = Executors { tasks, tools: executors(Isolation::Subreaper, None), nests };
    core::run(&settings, isolation, means, executors, stop)
}

/// Tells by which means limits of attempts are enforced, and returns these.
fn limits_of_attempts(groups: Result<Groups, String>) -> Option<Arc<Groups>> {
    match groups {
        Ok(groups) => {
            let Controllers { memory, processes, cpus } = groups.controllers();
            let enforced = [("memory", memory), ("processes", processes), ("cpus", cpus)];
            let words: Vec<&str> = enforced.iter().filter(|(_, has)| *has).map(|(word, _)| *word).collect();
            log::info!("limits of attempts are enforced by control groups: {}", words.join(", "));
            if !groups.keeps_limits() {
                log::warn!(
                    "control groups are mounted without `nsdelegate`, so a task can lift its limits in a namespace of its \
                     own: mount -o remount,nsdelegate /sys/fs/cgroup"
                );
            }
            Some(Arc::new(groups))
        }
        Err(why) => {
            log::info!(
                "limits of attempts (`memory`, `processes`, `cpus`) are enforced by resource limits, not wholly; there \
                 are no control groups for them: {why}"
            );
            None
        }
    }
}
