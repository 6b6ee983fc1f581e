//! Names and limits of task files, and texts that several errors show.

use crate::model::Take;

/// The task file's name, at the root of a commit.
pub const TASK_FILE: &str = ".surveil.toml";
/// The name of a file that a task wrote, in errors: the variable with its path.
pub(super) const WRITTEN_FILE: &str = "SURVEIL_TASKS";
/// A commit without a task file has a task for each executable file directly in this directory.
pub const TASK_DIRECTORY: &str = "tasks";

/// The size of the largest task file that is read. A thousand tasks take a tenth of it; a larger file is a mistake or
/// an attack.
pub const MAX_TASK_FILE_BYTES: usize = 1 << 20;
/// The most tasks of one commit. Each is a job that is stored, shown in tables and sent in reports. A thousand of them,
/// with a few attempts each, still fit into one message of the protocol.
pub(super) const MAX_TASKS: usize = 1000;
/// The most templates of a file. Each may extend others, and a file has a handful.
pub(super) const MAX_TEMPLATES: usize = 100;
/// The most services of a file. A file has a handful, and a task names at most `MAX_SERVICES` of them.
pub(super) const MAX_FILE_SERVICES: usize = 50;
/// The longest time for which a task waits until a service is ready.
pub(super) const MAX_SERVICE_TIMEOUT_MS: u64 = 60 * 60 * 1000;
/// The most schedules of a file. A file has a handful, and each is looked at when any head moves.
pub(super) const MAX_SCHEDULES: usize = 50;
/// The most templates that one table names in `extends`.
pub(super) const MAX_EXTENDS: usize = 16;
/// The most characters of an axis' name. It becomes a part of a variable's name.
pub(super) const MAX_AXIS_CHARS: usize = 40;
/// The most needs of all tasks of a file together, and the most names in their `take`. A need of a matrix counts once
/// for each of its cells, and the needs of a build are told in one message of the protocol.
pub(super) const MAX_NEEDS: usize = 20_000;
/// The most entries in one `take`, as many as an attempt takes artifacts.
pub(super) const MAX_TAKES: usize = Take::MAX;
/// The most bytes of all tasks of a file together, as [`MAX_TASK_BYTES`] counts them. Templates let a small file say
/// much, and all of it is stored with each build.
pub(super) const MAX_PLAN_BYTES: usize = 8 << 20;
/// The most steps of a task. Each has a line in reports, and a row in the store for each attempt.
pub(super) const MAX_STEPS: usize = 50;
/// The most characters of a step's name. They fit into the bytes of a name on the wire if they are of a usual language.
pub(super) const MAX_STEP_NAME_CHARS: usize = 60;
/// The most bytes of a task's script, environment and paths together. Linux starts no program with a longer argument
/// (`MAX_ARG_STRLEN`, execve(2)), and a task of this size fits into one message of the protocol, even fully escaped.
pub(super) const MAX_TASK_BYTES: usize = 128 * 1024 - 1;

/// The longest timeout: an attempt that takes longer is a service, and would occupy its slot for good.
pub(super) const MAX_TIMEOUT_MS: u64 = 30 * 24 * 60 * 60 * 1000;
/// The most retries of a failing task; more retries hide a defect.
pub(super) const MAX_RETRIES: u32 = 10;
/// The most jobs of a group that run at a time: more than any dispatcher has runners for in one repository. It also
/// bounds the part of a line that is looked at whenever one of its jobs ends.
pub(super) const MAX_GROUP_LIMIT: u32 = 1000;
/// The longest delay before a retry: the build waits for it.
pub(super) const MAX_RETRY_DELAY_MS: u64 = 24 * 60 * 60 * 1000;
/// Labels of one task, as many as the protocol lets a runner offer.
pub(super) const MAX_LABELS: usize = 64;
/// Paths that one task keeps. Each is looked up again whenever a work tree is cleaned.
pub(super) const MAX_KEEP: usize = 64;
/// Globs in one list of `when`. Each is compared with each path that changed.
pub(crate) const MAX_GLOBS: usize = 100;
/// The longest glob: as long as a path that a person would write.
pub(crate) const MAX_GLOB_BYTES: usize = 500;

/// Caches of one task. Each is asked for before its first command.
pub(super) const MAX_CACHES: usize = 16;
/// Paths of one cache.
pub(super) const MAX_CACHE_PATHS: usize = 64;

/// Artifacts of one task. Each has a row in lists, and a manifest.
pub(super) const MAX_ARTIFACTS: usize = 100;
/// The most characters of an artifact's name, so that it fits into a table.
pub(super) const MAX_ARTIFACT_NAME_CHARS: usize = 60;
/// The longest time for which an artifact is kept: ten years.
pub(super) const MAX_KEEP_FOR_MS: u64 = 3650 * 24 * 60 * 60 * 1000;

/// Mistakes of a file that the text of its build names. The text is stored, and sent in reports.
pub(super) const MAX_PROBLEM_MISTAKES: usize = 5;
/// Mistakes of a file that `surveil check` shows. A file with more of them is no task file.
pub(crate) const MAX_SHOWN_MISTAKES: usize = 50;

/// Advice in errors about names that cannot name a task.
pub(super) const NAME_RULE: &str = "use 1 to 100 of A-Z a-z 0-9 . _ - and start with a letter or digit";
/// The example in errors about files without tasks.
pub(super) const EXAMPLE: &str = "[task.test]\nrun = \"make test\"";
/// Inputs of one task.
pub(super) const MAX_INPUTS: usize = 64;
