//! Answers for keys of tasks, of steps and of the top of the file.

use super::answer::{Answer, Level, any, at};

/// The answers. Words that are aliases of a key are not here.
pub(super) const ANSWERS: &[Answer] = &[
    // Commands, and the machine and the tools for them.
    any(
        &["dockerfile", "entrypoint", "platform", "nix", "tools", "addons", "executors", "language"],
        "nothing sets an environment up: name a container image that has it, such as `image = \"rust:1.95\"`, or install\n\
         it on a runner and choose that by `labels = [\"rust\"]`",
    ),
    at(
        &[Level::Step],
        &["detach", "background"],
        "all processes of a step end with it: write a server and the tests that talk to it as one step, such as\n\
         `run = \"./server & ./test\"`",
    ),
    any(
        &["uses", "with", "plugin", "plugins", "orb", "orbs", "include", "includes", "import", "imports", "component"],
        "there are no actions, plugins or files to include: `run` says what to do; put commands that tasks share\n\
         into a script of the repository and call that, and keys into `[template.NAME]`, which tasks extend",
    ),
    any(
        &["anchors", "anchor", "common", "base", "global", "globals", "default", "shared"],
        "keys of all tasks stand in `[defaults]`, those of some tasks in `[template.NAME]`, which tasks take by\n\
         `extends = [\"NAME\"]`",
    ),
    any(
        &[
            "beforescript",
            "afterscript",
            "beforeinstall",
            "install",
            "setup",
            "prepare",
            "aftersuccess",
            "afterfailure",
            "post",
            "finally",
            "always",
            "before",
            "cleanup",
            "precommand",
            "postcommand",
            "beforetest",
            "prebuild",
            "postbuild",
        ],
        "write these commands as `steps`, in order: a task ends at the first that fails; a step with `always = true`\n\
         is executed whatever happened before, such as\n\
         `steps = [\"npm ci\", \"npm test\", { run = \"cat test.log\", always = true }]`",
    ),
    any(
        &["environment", "deployment", "environments"],
        "variables are `env = { LEVEL = \"2\" }`; an environment to deploy to is a group, which one job at a time has:\n\
         `group = \"production\"`, with `manual = true` if a person starts it",
    ),
    any(
        &["timeoutminutes", "timeoutinminutes", "timelimit"],
        "write `timeout`, with the unit of the number, such as `timeout = \"30m\"`",
    ),
    any(
        &["name", "title", "description", "displayname", "id", "key", "alias"],
        "the name of a task is the NAME in `[task.NAME]`; notes are comments, after `#`",
    ),
    at(
        &[Level::Task],
        &["label"],
        "the name of a task is the NAME in `[task.NAME]`; labels of runners are `labels = [\"gpu\"]`",
    ),
    at(
        &[Level::Step],
        &["title", "displayname", "id", "key", "label", "alias"],
        "write `name`, such as `name = \"unit tests\"`",
    ),
    at(
        &[Level::File],
        &["name", "title", "description", "runname", "projectname"],
        "leave it out: a build is named by its commit and its branch",
    ),
    any(
        &["user", "privileged", "sudo"],
        "there is no such choice: a task runs as the user of its runner; `isolation = \"guarded\"` or `\"sealed\"` keeps it\n\
         from more of the machine",
    ),
    any(
        &["volumes", "volume", "mounts", "binds"],
        "there is no such choice: a container has the work tree and `TMPDIR`; what is handed on between tasks are\n\
         `artifacts`, and between builds `[[task.NAME.cache]]`",
    ),
    any(
        &["clone", "checkout", "git", "gitstrategy", "skipclone", "workspace"],
        "a task finds exactly the files of its commit; `submodules = true` adds submodules, `lfs = true` the contents of\n\
         files in Git LFS, and `history = 50` and `tags = true` say what is in the repository around them",
    ),
    any(&["version", "kind", "type", "apiversion"], "leave it out: the file has no version"),
    any(
        &["fromfile", "generate", "dynamic", "pipelineupload", "childpipeline", "dynamicpipeline"],
        "write `expand = true`: the task may then write further tasks to `$SURVEIL_TASKS`; a `matrix` makes one for each of\n\
         some values",
    ),
    // The order, and when something runs.
    any(
        &["stage", "stages", "workflow", "workflows", "pipeline", "pipelines", "phases"],
        "there are no stages: `needs` says which tasks must have passed before, such as `needs = [\"build\"]`, and the\n\
         rest runs at the same time",
    ),
    any(&["jobs", "job"], "each job is a table of its own, such as\n[task.test]\nrun = \"make test\""),
    any(
        &["wait", "waiter", "barrier", "waitfor"],
        "there are no barriers: each task names what it waits for, such as `needs = [\"build\", \"lint\"]`; add\n\
         `run_if = \"finished\"` if it runs after a failure too",
    ),
    at(
        &[Level::Step],
        &["needs", "dependson", "dependencies"],
        "steps are executed in the order in which they stand; what a task waits for are its `needs`",
    ),
    any(
        &["parallel", "parallelism"],
        "write `matrix = { part = [1, 2, 3] }`: each part is a task of its own, and has its number in\n\
         `$MATRIX_PART`; tasks that do not need one another run at the same time without a word",
    ),
    any(
        &["maxparallel", "concurrencylimit"],
        "write `group = \"NAME\"` with `group_limit = 2`: at most that many jobs of the group run at a time",
    ),
    any(
        &["if", "rules", "condition", "conditions", "unless", "onlyif", "skipif", "evaluate"],
        "write `when`, such as `when = { branches = [\"main\"], tags = [\"v*\"], changed = [\"src/**\"] }`; after a failure:\n\
         `run_if = \"failed\"`, whatever happened: `run_if = \"finished\"`, by hand: `manual = true`. There are no\n\
         expressions: a script asks for anything else",
    ),
    any(
        &["only", "filters", "branches", "branch", "on", "events", "event", "ref", "refs"],
        "write `when`, such as `when = { branches = [\"main\"], tags = [\"v*\"], events = [\"push\", \"tag\"] }`; the observer\n\
         chooses the branches that are built at all by `--branch`",
    ),
    any(
        &["except", "branchesignore", "tagsignore", "branchesexcept"],
        "write `when`, such as `when = { branches = [\"main\", \"release/*\"] }`: it names the builds that have the task,\n\
         because globs of refs have no `!`",
    ),
    any(
        &["changes", "paths", "path", "changed", "ifchanged", "onlychanges"],
        "write `when`, such as `when = { changed = [\"src/**\", \"!**/*.md\"] }`",
    ),
    any(
        &["pathsignore", "excludepaths"],
        "write `when`, such as `when = { changed = [\"**\", \"!docs/**\"] }`: a glob after `!` takes back what globs before\n\
         it match",
    ),
    any(
        &[
            "push",
            "pullrequest",
            "pullrequesttarget",
            "mergerequest",
            "mergerequestevent",
            "pr",
            "mergegroup",
            "release",
        ],
        "write `when = { events = [\"push\", \"pull\"] }`, or `\"tag\"` for a release; the observer watches pull requests if it\n\
         is started with `--ref 'refs/pull/*/head'`, and tags with `--tag 'v*'`",
    ),
    any(
        &["workflowdispatch", "workflowcall", "repositorydispatch", "web", "api"],
        "nothing is needed: `surveil submit` builds any commit, of `--task NAME` alone if one is named; values that a\n\
         person gives by `--set` are `inputs = { version = { description = \"version to publish\" } }`",
    ),
    any(
        &["schedules", "schedule", "cron", "nightly"],
        "a schedule stands at the top of the file, with the tasks that it runs:\n\
         [schedule.nightly]\ncron = \"17 3 * * *\"\ntasks = [\"fuzz\"]",
    ),
    at(
        &[Level::File, Level::Build],
        &["trigger", "triggers"],
        "each task says in which builds it runs, such as `when = { branches = [\"main\"] }`, in `[defaults]` for all;\n\
         what the clock asks for is a table `[schedule.NAME]` with `cron` and `tasks`",
    ),
    any(
        &["trigger", "triggers", "downstream", "bridge"],
        "nothing starts the build of another repository yet: let `run` call `surveil submit --repo PATH`, on a runner\n\
         whose user has an operator's credential; a build for the clock is a table `[schedule.NAME]`; a task that\n\
         writes further tasks of its own build has `expand = true`",
    ),
    any(
        &["block", "gate", "approve", "approvals", "manualapproval"],
        "write `manual = true`: the task is held until somebody types `surveil start BUILD TASK`, and so are those that\n\
         need it",
    ),
    any(
        &["startin", "delay", "delayed"],
        "a task starts as soon as it can: there is no delay; `manual = true` lets a person start it, and `[schedule.NAME]`\n\
         the clock",
    ),
    any(
        &["skip", "skipci", "enabled", "disabled", "ignore"],
        "put `#` before the lines of the task, or write `manual = true`, which holds it until somebody starts it",
    ),
    // How often, and what a failure or a newer commit does.
    any(
        &[
            "cancelinprogress",
            "interruptible",
            "autocancel",
            "autocancelpending",
            "cancelintermediatebuilds",
            "skipintermediatebuilds",
            "cancelrunningbranchbuilds",
            "cancelpreviousbuilds",
            "disableconcurrentbuilds",
            "autocanceling",
        ],
        "what a newer push to the branch does to a build stands at the top of the file; `\"running\"` also ends jobs\n\
         that execute:\n\
         [build]\nsupersede = \"running\"",
    ),
    any(
        &["cancelonbuildfailing", "cancelonfailure", "fastfinish", "exitonfirstfailure", "stoponfailure"],
        "what the first failure does to a build stands at the top of the file:\n[build]\nfail_fast = true",
    ),
    any(
        &["concurrency", "concurrencygroup", "resourcegroup", "lock", "locks", "mutex", "semaphore", "throttle"],
        "write `group = \"NAME\"`: one job of a group runs at a time, over all builds of the repository, in their order;\n\
         `group_limit = 2` lets two run, and `exclusive = true` is for a task that is alone in its group. To end\n\
         older builds of a branch at a newer push, write `supersede = \"running\"` into `[build]`",
    ),
    at(
        &[Level::Step],
        &["continueonerror", "allowfailure", "softfail", "failure", "ignorefailure"],
        "`allow_failure = true` is for a whole task; a step that may fail says so in its script, such as\n\
         `run = \"make lint || true\"`",
    ),
    any(
        &["failure", "ignorefailure", "ignoreerrors"],
        "write `allow_failure = true`: a failure is shown, and fails neither the build nor the tasks that need this one",
    ),
    at(&[Level::Step], &["retry", "retries"], "a task is tried again as a whole: write `retries = 2` beside `steps`"),
    // Where.
    any(
        &["os", "dist", "arch", "vmimage", "machine", "host", "demands", "instance"],
        "choose the runner by `labels`, such as `labels = [\"arch=aarch64\"]`: each runner offers `os=…`, `arch=…` and\n\
         `hostname=…` by itself",
    ),
    any(
        &["versions", "jdk", "python", "nodejs", "node", "rust", "go", "php", "perl", "ruby"],
        "versions are values of a matrix, such as `matrix = { version = [\"3.11\", \"3.12\"] }`, each with a runner that has\n\
         it: `labels = [\"python=${matrix.version}\"]`",
    ),
    any(
        &["resources", "limits", "ulimits"],
        "limits are keys of their own: `memory = \"2GiB\"`, `processes = 200`, `cpus = 2`; `slots = 2` takes two of the\n\
         runner's places, and `labels = [\"big\"]` chooses a runner",
    ),
    // The input and the output of a task.
    any(
        &["withcredentials", "idtokens", "permissions", "fromsecret"],
        "name the secrets that the task needs, such as `secrets = [\"NPM_TOKEN\"]`: it has each in a variable of that\n\
         name, and an admin sets them with `surveil secret set`",
    ),
    any(
        &["outputs", "output"],
        "a task writes lines `NAME=value` to the file `$SURVEIL_OUTPUT`, and the tasks that need it have these variables",
    ),
    any(
        &["reports"],
        "write `artifacts`, a list of globs of the files that the task leaves, such as `artifacts = [\"dist/**\"]`",
    ),
    any(
        &["notify", "notifications", "notification", "email", "slack", "webhooks"],
        "there are no notifications yet: `surveil show --wait BUILD` in a script ends with the verdict as exit code",
    ),
    any(
        &["coverage", "pages", "environmenturl", "testreports", "junit"],
        "there is nothing for that yet: let `run` do it",
    ),
];
