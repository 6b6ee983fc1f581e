//! The table of the keys of a task.

use super::super::command::{OTHER_WORDS, read_run};
use super::super::limits::{MAX_GROUP_LIMIT, MAX_RETRIES};
use super::super::shell::read_shell;
use super::artifacts::{ARTIFACTS_SCHEMA, read_artifacts};
use super::cache::{CACHE_SCHEMA, read_caches};
use super::conditions::{RETRY_SCHEMA, read_allow_failure, read_retry, read_run_if};
use super::execution::{read_dir, read_env, read_expand, read_keep, read_timeout};
use super::history::{read_history, read_submodules, read_tags};
use super::inputs::read_inputs;
use super::isolation::{read_image, read_isolation, read_pull};
use super::key::Key;
use super::limits_of_attempt::{MAX_PROCESSES, read_cpus, read_memory};
use super::placement::{read_group, read_labels, read_needs, read_take};
use super::secrets::read_secrets;
use super::services::read_names;
use super::steps::{STEPS_SCHEMA, read_steps};
use super::when::{WHEN_SCHEMA, read_when};
use crate::model::{MAX_PRIORITY, SlotCount};

/// All keys of a task, in the order of the documentation.
pub(crate) static KEYS: &[Key] = &[
    Key {
        name: "run",
        example: r#"run = "make test""#,
        row: "string, or list of strings | required, unless there are `steps` | the script, or the program with its arguments",
        schema: r#"{"type": ["string", "array"], "minLength": 1, "items": {"type": "string"}, "minItems": 1}"#,
        aliases: &OTHER_WORDS,
        instead_of: &["steps"],
        is_common: false,
        is_replaced: false,
        read: read_run,
        ..Key::USUAL
    },
    Key {
        name: "steps",
        example: r#"steps = ["make", { name = "test", run = "make test", timeout = "5m" }]"#,
        row: "list of strings and tables | none | several commands in place of `run`, each with its time, exit code and section of the log",
        schema: STEPS_SCHEMA,
        aliases: &[],
        is_common: false,
        is_replaced: false,
        instead_of: &["run"],
        read: read_steps,
        ..Key::USUAL
    },
    Key {
        name: "shell",
        example: r#"shell = ["bash", "-euo", "pipefail"]"#,
        row: "list of strings | `/bin/sh`, with `set -e` | the program with its options that executes the script",
        schema: r#"{"type": "array", "items": {"type": "string"}, "minItems": 1, "maxItems": 64}"#,
        aliases: &["interpreter"],
        read: |entry, draft| {
            let shell = read_shell(entry, &mut draft.found)?;
            draft.shell = shell.or_else(|| draft.shell.take());
            Ok(())
        },
        ..Key::USUAL
    },
    Key {
        name: "dir",
        example: r#"dir = "crates/core""#,
        row: "path | the root of the work tree | the directory in which the task starts",
        schema: r#"{"type": "string", "minLength": 1}"#,
        aliases: &["working_directory", "workdir", "working_dir", "cwd", "directory", "chdir", "root"],
        read: |entry, draft| read_dir(entry).map(|dir| draft.recipe.dir = dir),
        ..Key::USUAL
    },
    Key {
        name: "needs",
        example: r#"needs = ["build"]"#,
        row: "list of task names | `[]` | tasks that must have passed before",
        schema: r#"{"type": "array", "items": {"type": "string"}}"#,
        aliases: &["depends", "depends_on", "dependencies", "requires", "after", "need", "deps"],
        is_common: false,
        read: read_needs,
        ..Key::USUAL
    },
    Key {
        name: "take",
        example: r#"take = ["build:coverage"]"#,
        row: "list of names: `TASK` or `TASK:ARTIFACT` | all artifacts of the tasks that it needs | the artifacts of needed tasks that are in the tree when the task starts",
        schema: r#"{"type": "array", "items": {"type": "string", "minLength": 1}}"#,
        aliases: &["take_artifacts", "download", "downloads", "needs_artifacts", "attach_workspace"],
        is_common: false,
        read: read_take,
        ..Key::USUAL
    },
    Key {
        name: "when",
        example: r#"when = { branches = ["main"], tags = ["v*"], changed = ["src/**"] }"#,
        row: r#"table: `branches`, `tags`, `events`, `changed` | all builds | the builds in which the task runs"#,
        schema: WHEN_SCHEMA,
        read: read_when,
        ..Key::USUAL
    },
    Key {
        name: "run_if",
        example: r#"run_if = "finished""#,
        row: r#"`"passed"`, `"failed"` or `"finished"` | `"passed"` | how the tasks that it needs must have ended"#,
        schema: r#"{"type": "string", "enum": ["passed", "failed", "finished"]}"#,
        aliases: &["runs_if", "allow_dependency_failure", "runs_on_status"],
        read: read_run_if,
        ..Key::USUAL
    },
    Key {
        name: "manual",
        example: "manual = true",
        row: "`true` or `false` | `false` | whether it waits until somebody starts it with `surveil start`",
        schema: r#"{"type": "boolean"}"#,
        aliases: &["approval", "hold", "on_demand"],
        read: |entry, draft| entry.flag().map(|flag| draft.placement.manual = flag),
        ..Key::USUAL
    },
    Key {
        name: "env",
        example: r#"env = { LEVEL = "2" }"#,
        row: "table of strings | `{}` | variables that are added to the environment",
        schema: r#"{"type": "object", "additionalProperties": {"type": "string"}}"#,
        aliases: &["variables", "envs", "vars"],
        is_merged: true,
        read: read_env,
        ..Key::USUAL
    },
    Key {
        name: "inputs",
        example: r#"inputs = { version = { description = "version to publish" } }"#,
        row: "table of tables: `default`, `description` | `{}` | variables whose values a person may give when asking for a build",
        schema: r#"{"type": "object", "maxProperties": 64, "additionalProperties": {"type": "object",
            "additionalProperties": false,
            "properties": {"default": {"type": "string"}, "description": {"type": "string"}}}}"#,
        aliases: &["parameters", "params", "input", "arguments"],
        is_merged: true,
        read: read_inputs,
        ..Key::USUAL
    },
    Key {
        name: "secrets",
        example: r#"secrets = ["NPM_TOKEN"]"#,
        row: "list of names and tables: `name`, `file` | `[]` | secrets of the dispatcher that the task gets in variables, or in files",
        schema: r#"{"type": "array", "maxItems": 32, "items": {"type": ["string", "object"], "minLength": 1, "maxLength": 100, "required": ["name"], "additionalProperties": false, "properties": {"name": {"type": "string", "minLength": 1, "maxLength": 100}, "file": {"type": "boolean"}}}}"#,
        aliases: &["secret", "credentials"],
        is_common: false,
        is_replaced: false,
        read: read_secrets,
        ..Key::USUAL
    },
    Key {
        name: "services",
        example: r#"services = ["db"]"#,
        row: "list of service names | `[]` | services of `[service.NAME]`, which are started before the task and end with it",
        schema: r#"{"type": "array", "items": {"type": "string"}, "maxItems": 8}"#,
        aliases: &["service", "sidecars"],
        read: read_names,
        ..Key::USUAL
    },
    Key {
        name: "timeout",
        example: r#"timeout = "30m""#,
        row: r#"duration | `"1h"` | the longest that one attempt may take"#,
        schema: r#"{"type": "string", "pattern": "^([0-9]+(d|h|m|s|ms))+$"}"#,
        aliases: &[],
        read: |entry, draft| read_timeout(entry, "the default of one hour").map(|ms| draft.recipe.timeout_ms = ms),
        ..Key::USUAL
    },
    Key {
        name: "quiet_timeout",
        example: r#"quiet_timeout = "10m""#,
        row: "duration | none | the longest that one attempt may go on without printing anything",
        schema: r#"{"type": "string", "pattern": "^([0-9]+(d|h|m|s|ms))+$"}"#,
        aliases: &["no_output_timeout", "idle_timeout", "silence_timeout", "output_timeout"],
        read: |entry, draft| read_timeout(entry, "no such limit").map(|ms| draft.recipe.quiet_timeout_ms = Some(ms)),
        ..Key::USUAL
    },
    Key {
        name: "retries",
        example: "retries = 2",
        row: "0 to 10 | `0` | how often a failed attempt is tried again",
        schema: r#"{"type": "integer", "minimum": 0, "maximum": 10}"#,
        aliases: &["attempts"],
        instead_of: &["retry"],
        read: |entry, draft| entry.count(MAX_RETRIES).map(|count| draft.placement.retries = count),
        ..Key::USUAL
    },
    Key {
        name: "retry",
        example: r#"retry = { times = 2, on = ["timeout"], delay = "30s" }"#,
        row: "table | `{}` | after which failures it is tried again, when and where, in place of `retries`",
        schema: RETRY_SCHEMA,
        aliases: &["automatic_retry", "retry_policy"],
        instead_of: &["retries"],
        read: read_retry,
        ..Key::USUAL
    },
    Key {
        name: "allow_failure",
        example: "allow_failure = true",
        row: "`true` or `false` | `false` | whether the build passes even if this task fails",
        schema: r#"{"type": "boolean"}"#,
        aliases: &["continue_on_error", "soft_fail", "allow_failures"],
        read: read_allow_failure,
        ..Key::USUAL
    },
    Key {
        name: "labels",
        example: r#"labels = ["gpu", "arch=x86_64"]"#,
        row: "list of labels | `[]` | labels that a runner must have",
        schema: r#"{"type": "array", "items": {"type": "string"}, "maxItems": 64}"#,
        aliases: &["runs_on", "agents", "agent", "runner", "pool", "queue", "executor", "resource_class"],
        read: read_labels,
        ..Key::USUAL
    },
    Key {
        name: "isolation",
        example: r#"isolation = "guarded""#,
        row: r#"`"shared"`, `"guarded"` or `"sealed"` | as the runner does | the least isolation from the rest of the machine"#,
        schema: r#"{"type": "string", "enum": ["shared", "guarded", "sealed"]}"#,
        aliases: &["sandbox", "isolated"],
        instead_of: &["image"],
        read: read_isolation,
        ..Key::USUAL
    },
    Key {
        name: "image",
        example: r#"image = "rust:1.95""#,
        row: "name of an image | none | the container image in which the task runs",
        schema: r#"{"type": "string", "minLength": 1, "maxLength": 500}"#,
        aliases: &["container", "docker", "docker_image", "container_image"],
        instead_of: &["isolation"],
        read: read_image,
        ..Key::USUAL
    },
    Key {
        name: "pull",
        example: r#"pull = "always""#,
        row: r#"`"missing"`, `"always"` or `"never"` | `"missing"` | when the runner fetches the `image`"#,
        schema: r#"{"type": "string", "enum": ["missing", "always", "never"]}"#,
        aliases: &["pull_policy", "always_pull", "force_pull"],
        read: read_pull,
        ..Key::USUAL
    },
    Key {
        name: "network",
        example: "network = false",
        row: "`true` or `false` | `true` | whether the task reaches the network",
        schema: r#"{"type": "boolean"}"#,
        aliases: &["networks", "network_mode"],
        read: |entry, draft| entry.flag().map(|flag| draft.recipe.network = flag),
        ..Key::USUAL
    },
    Key {
        name: "memory",
        example: r#"memory = "2GiB""#,
        row: "size | none | the most memory that all processes of an attempt have together",
        schema: r#"{"type": "string", "pattern": "^ *[0-9]+ *(([kKmMgGtT][iI]?)?[bB]|[kKmMgGtT])? *$"}"#,
        aliases: &["mem", "memory_limit", "mem_limit"],
        read: read_memory,
        ..Key::USUAL
    },
    Key {
        name: "processes",
        example: "processes = 200",
        row: "1 to 4194304 | none | the most processes and threads that an attempt has at a time",
        schema: r#"{"type": "integer", "minimum": 1, "maximum": 4194304}"#,
        aliases: &["pids_limit", "pids", "max_processes"],
        read: |entry, draft| entry.number(1..=MAX_PROCESSES).map(|count| draft.recipe.processes = Some(count)),
        ..Key::USUAL
    },
    Key {
        name: "cpus",
        example: "cpus = 2",
        row: "0.01 to 1024 | none | the processor time of an attempt, in processors",
        schema: r#"{"type": "number", "minimum": 0.01, "maximum": 1024}"#,
        aliases: &["cpu", "processors", "cpu_limit"],
        read: read_cpus,
        ..Key::USUAL
    },
    Key {
        name: "keep",
        example: r#"keep = ["target"]"#,
        row: "list of paths | `[]` | paths that stay in the work tree for the next attempt there",
        schema: r#"{"type": "array", "items": {"type": "string"}, "maxItems": 64}"#,
        aliases: &[],
        read: read_keep,
        ..Key::USUAL
    },
    Key {
        name: "cache",
        example: r#"cache = [{ key = ["Cargo.lock"], paths = ["target"] }]"#,
        row: "list of tables | `[]` | files that are restored before the task, and saved after it passed",
        schema: CACHE_SCHEMA,
        aliases: &["caches", "save_cache", "restore_cache", "cache_key"],
        read: read_caches,
        ..Key::USUAL
    },
    Key {
        name: "tool_cache",
        example: "tool_cache = true",
        row: "`true` or `false` | `false` | whether build tools, such as ccache and sccache, share their results with later attempts",
        schema: r#"{"type": "boolean"}"#,
        aliases: &["build_cache", "remote_cache", "compiler_cache"],
        read: |entry, draft| entry.flag().map(|flag| draft.recipe.tool_cache = flag),
        ..Key::USUAL
    },
    Key {
        name: "history",
        example: "history = 50",
        row: r#"1 to 1000000, or `"full"` | `1` | how many commits of history the repository in the work tree has, as far as the watched repository has them"#,
        schema: r#"{"anyOf": [{"type": "integer", "minimum": 1, "maximum": 1000000}, {"const": "full"}]}"#,
        aliases: &["depth", "fetch_depth", "clone_depth", "git_depth"],
        is_replaced: false,
        read: read_history,
        ..Key::USUAL
    },
    Key {
        name: "tags",
        example: "tags = true",
        row: "`true` or `false` | `false` | whether the repository in the work tree has the tags of this history",
        schema: r#"{"type": "boolean"}"#,
        aliases: &["fetch_tags"],
        read: read_tags,
        ..Key::USUAL
    },
    Key {
        name: "submodules",
        example: "submodules = true",
        row: r#"`true`, `false` or `"recursive"` | `false` | whether the submodules of the commit are in the work tree, or also those in them"#,
        schema: r#"{"anyOf": [{"type": "boolean"}, {"const": "recursive"}]}"#,
        aliases: &["submodule", "git_submodules", "git_submodule_strategy", "recurse_submodules"],
        is_replaced: false,
        read: read_submodules,
        ..Key::USUAL
    },
    Key {
        name: "lfs",
        example: "lfs = true",
        row: "`true` or `false` | `false` | whether files in Git LFS have their contents in the work tree, in place of pointers",
        schema: r#"{"type": "boolean"}"#,
        aliases: &["git_lfs", "fetch_lfs", "lfs_pull"],
        read: |entry, draft| entry.flag().map(|flag| draft.recipe.lfs = flag),
        ..Key::USUAL
    },
    Key {
        name: "artifacts",
        example: r#"artifacts = ["dist/**"]"#,
        row: "list of globs and tables | `[]` | files that are kept when the task has ended",
        schema: ARTIFACTS_SCHEMA,
        aliases: &["artifact", "artifact_paths", "store_artifacts", "persist", "archive"],
        read: read_artifacts,
        ..Key::USUAL
    },
    Key {
        name: "exclusive",
        example: "exclusive = true",
        row: "`true` or `false` | `false` | whether attempts of this task must never overlap, over all builds of the repository",
        schema: r#"{"type": "boolean"}"#,
        aliases: &[],
        read: |entry, draft| entry.flag().map(|flag| draft.recipe.exclusive = flag),
        ..Key::USUAL
    },
    Key {
        name: "priority",
        example: "priority = 10",
        row: "-100 to 100 | `0` | jobs of a higher priority come first in the queue of the repository; waiting raises it",
        schema: r#"{"type": "integer", "minimum": -100, "maximum": 100}"#,
        aliases: &["weight"],
        read: |entry, draft| {
            entry.number(-MAX_PRIORITY..=MAX_PRIORITY).map(|priority| draft.placement.priority = priority)
        },
        ..Key::USUAL
    },
    Key {
        name: "slots",
        row: "1 to 256 | `1` | how many of a runner's slots an attempt takes",
        schema: r#"{"type": "integer", "minimum": 1, "maximum": 256}"#,
        aliases: &["cores"],
        example: "slots = 2",
        read: |entry, draft| entry.number(1..=SlotCount::MAX).map(|count| draft.placement.slots = SlotCount(count)),
        ..Key::USUAL
    },
    Key {
        name: "group",
        example: r#"group = "staging""#,
        row: "string | none | the group of the repository of which one job runs at a time, in the order of builds",
        schema: r#"{"type": "string", "minLength": 1, "maxLength": 100}"#,
        aliases: &[],
        read: read_group,
        ..Key::USUAL
    },
    Key {
        name: "group_limit",
        example: "group_limit = 2",
        row: "1 to 1000 | `1` | how many jobs of its `group` run at a time",
        schema: r#"{"type": "integer", "minimum": 1, "maximum": 1000}"#,
        aliases: &[],
        read: |entry, draft| entry.number(1..=MAX_GROUP_LIMIT).map(|limit| draft.group_limit = Some(limit)),
        ..Key::USUAL
    },
    Key {
        name: "expand",
        row: "`true` or `false` | `false` | whether it may write a file with further tasks, which join the build",
        schema: r#"{"type": "boolean"}"#,
        example: "expand = true",
        aliases: &[],
        is_common: false,
        read: read_expand,
        ..Key::USUAL
    },
    Key {
        name: "extends",
        example: r#"extends = ["rust"]"#,
        row: "list of template names | `[]` | templates that the task takes keys from",
        schema: r#"{"type": "array", "items": {"type": "string"}, "maxItems": 16}"#,
        aliases: &["extend", "inherit", "inherits", "template", "templates"],
        ..Key::STRUCTURE
    },
    Key {
        name: "matrix",
        example: r#"matrix = { version = ["1.85", "stable"] }"#,
        row: "table of lists | `{}` | values of which each combination is a task of its own",
        schema: r#"{"type": "object", "additionalProperties": {"type": "array", "minItems": 1, "uniqueItems": true,
            "items": {"anyOf": [{"type": "string"}, {"type": "integer"}, {"type": "boolean"}]}}}"#,
        aliases: &["strategy", "axes", "axis"],
        ..Key::STRUCTURE
    },
    Key {
        name: "matrix_exclude",
        example: r#"matrix_exclude = [{ version = "1.85" }]"#,
        row: "list of tables | `[]` | combinations that are no tasks",
        schema: r#"{"type": "array", "items": {"type": "object", "minProperties": 1}}"#,
        aliases: &["exclude", "excludes"],
        ..Key::STRUCTURE
    },
    Key {
        name: "matrix_include",
        example: r#"matrix_include = [{ version = "nightly", allow_failure = true }]"#,
        row: "list of tables | `[]` | further combinations, and keys of single combinations",
        schema: r#"{"type": "array", "items": {"type": "object", "minProperties": 1}}"#,
        aliases: &[],
        ..Key::STRUCTURE
    },
];
