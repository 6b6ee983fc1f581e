//! Answers for keys of the tables within a task and of a schedule.

use super::answer::{Answer, Level, at};

/// The answers.
pub(super) const ANSWERS: &[Answer] = &[
    at(
        &[Level::Step],
        &[
            "labels",
            "agents",
            "runson",
            "tags",
            "history",
            "submodules",
            "lfs",
            "matrix",
            "strategy",
            "keep",
            "cache",
            "group",
            "grouplimit",
            "priority",
            "manual",
            "inputs",
            "exclusive",
            "extends",
            "runif",
            "quiettimeout",
            "matrixinclude",
            "matrixexclude",
            "steps",
            "slots",
            "expand",
            "isolation",
            "image",
            "container",
            "pull",
            "network",
            "memory",
            "processes",
            "cpus",
            "services",
            "service",
        ],
        "it is for a whole task: write it beside `steps`",
    ),
    at(
        &[Level::Step],
        &["workingdirectory", "workdir", "workingdir", "cwd", "directory", "chdir"],
        "write `dir`, such as `dir = \"crates/core\"`",
    ),
    at(&[Level::Step], &["environment", "variables", "envs", "vars"], "write `env`, such as `env = { LEVEL = \"2\" }`"),
    at(
        &[Level::When],
        &["paths", "path", "changes", "files"],
        "write `changed`, a list of globs, such as `changed = [\"src/**\"]`",
    ),
    at(
        &[Level::When],
        &["pathsignore"],
        "write `changed = [\"**\", \"!docs/**\"]`: a glob after `!` takes back what globs before it match",
    ),
    at(
        &[Level::When],
        &["branchesignore", "tagsignore", "except", "exclude"],
        "name what is built: globs of refs have no `!`",
    ),
    at(
        &[Level::When],
        &["branch", "ref", "refs", "only"],
        "write `branches`, a list of globs, such as `branches = [\"main\"]`",
    ),
    at(&[Level::When], &["tag"], "write `tags`, a list of globs, such as `tags = [\"v*\"]`"),
    at(
        &[Level::When],
        &["event", "on", "trigger", "source"],
        "write `events`, a list, such as `events = [\"push\", \"tag\"]`",
    ),
    at(
        &[Level::When],
        &["status", "failure", "success", "onfailure", "onsuccess", "always"],
        "write `run_if = \"failed\"` or `\"finished\"` beside `when`: it says how the tasks that this one needs have to end",
    ),
    at(
        &[Level::When],
        &["cron", "schedule", "schedules"],
        "a schedule names its tasks, at the top of the file:\n[schedule.nightly]\ncron = \"17 3 * * *\"\ntasks = [\"fuzz\"]",
    ),
    at(&[Level::When], &["manual", "approval"], "write `manual = true` beside `when`"),
    at(
        &[Level::When],
        &[
            "if",
            "evaluate",
            "expression",
            "environment",
            "variables",
            "instance",
            "repo",
            "author",
            "message",
            "matrix",
            "platform",
        ],
        "there are no expressions: `when` knows `branches`, `tags`, `events` and `changed`; a script asks for anything\n\
         else, such as by `[ \"$SURVEIL_BRANCH\" = main ] || exit 0`",
    ),
    at(
        &[Level::Retry],
        &["max", "limit", "count", "attempts", "maxattempts", "retries"],
        "write `times`, such as `times = 2`",
    ),
    at(
        &[Level::Retry],
        &["when", "exitcodes", "exitcode", "exitstatus", "signal", "signalreason", "conditions"],
        "write `on`, such as `on = [\"exit:75\", \"signal\", \"timeout\"]`",
    ),
    at(&[Level::Retry], &["backoff", "wait", "interval", "sleep"], "write `delay`, such as `delay = \"30s\"`"),
    at(
        &[Level::Retry],
        &["automatic"],
        "write its keys without it, such as `retry = { times = 2, on = [\"exit:75\"] }`",
    ),
    at(&[Level::Retry], &["manual"], "leave it out: `surveil rerun --failed BUILD` tries again what has not passed"),
    at(
        &[Level::Schedule],
        &["at", "time", "every", "interval", "when", "crontab", "on"],
        "write `cron`, such as `cron = \"17 3 * * *\"`",
    ),
    at(&[Level::Schedule], &["tz", "zone", "crontimezone"], "write `timezone`, such as `timezone = \"Europe/Berlin\"`"),
    at(
        &[Level::Schedule],
        &["ref", "commit"],
        "write `branch`, such as `branch = \"main\"`: a schedule builds one branch",
    ),
    at(&[Level::Schedule], &["jobs", "job", "run", "needs"], "write `tasks`, such as `tasks = [\"fuzz\"]`"),
    at(
        &[Level::Schedule],
        &["env", "variables", "inputs", "vars"],
        "a schedule names tasks and gives them no values: let it run a task of its own, with `env` and\n\
         `when = { events = [\"schedule\"] }`",
    ),
    at(&[Level::Schedule], &["enabled", "active", "disabled"], "put `#` before the lines of the schedule"),
    at(
        &[Level::Service],
        &["container", "docker", "name"],
        "write `image`, such as `image = \"postgres:16\"`, or `run` for a program of the runner's machine",
    ),
    at(
        &[Level::Service],
        &["ports", "expose", "alias", "hostname"],
        "write `port` if an image listens on a port of its own, such as `port = 5432`;\n\
         each service gets a free port of 127.0.0.1: it has it in `$PORT`, and the service db of a task in\n\
         `$SURVEIL_SERVICE_DB_PORT`",
    ),
    at(
        &[Level::Service],
        &["healthcheck", "healthcmd", "health", "options", "check", "wait"],
        "write `ready`, a command that exits with 0 once the service is ready, such as `ready = \"pg_isready -p $PORT\"`",
    ),
    at(
        &[Level::Service],
        &["needs", "dependson", "services"],
        "the services of a task start together: let a service wait in its script for another one",
    ),
    at(
        &[Level::Service],
        &["dir", "workingdirectory", "workdir", "cwd", "volumes", "tmpfs"],
        "a program starts at the root of the work tree, and has a directory for its files in `$TMPDIR`: write `cd`;\n\
         an image writes into its own container, and may read the work tree at its path",
    ),
    at(
        &[Level::Service],
        &["environment", "variables", "vars", "envs", "secrets"],
        "write `env`, such as `env = { LEVEL = \"2\" }`; a service gets no secrets",
    ),
    at(
        &[Level::Service],
        &["when", "if", "matrix", "extends", "labels", "retries", "isolation", "network", "memory"],
        "it is for a task: a service is started with each task that names it, and sees what that task does",
    ),
    at(&[Level::Service], &["shell"], "a string is a script for /bin/sh; write a list to start another program"),
    at(&[Level::Input], &["required"], "leave it out: an input without `default` has to be given"),
    at(
        &[Level::Input],
        &["type", "options", "choices", "select", "enum", "regex", "pattern", "multiple", "format"],
        "each value is text: let the script check it, and `description` say what is allowed",
    ),
    at(&[Level::Input], &["value", "initial", "prefill"], "write `default`, such as `default = \"beta\"`"),
    at(
        &[Level::Input],
        &["prompt", "hint", "help", "title", "name", "text", "label"],
        "write `description`, such as `description = \"version to publish\"`",
    ),
];
