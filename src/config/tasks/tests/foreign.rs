//! Keys of other programs, in each table of the file, and keys of Surveil in the wrong one.

use super::*;

/// The mistake of a file that has only one.
fn only(text: &str) -> String {
    let error = check_tasks("f", text.as_bytes()).expect_err("the file has a mistake").text;
    assert!(!error.contains(" mistakes"), "{text}\n{error}");
    error
}

#[track_caller]
fn answers(before: &str, after: &str, cases: &[(&str, &str)]) {
    for (line, answer) in cases {
        let text = only(&format!("{before}{line}{after}"));
        // Lines of the advice are indented.
        let advice = text.split("= help: ").nth(1).unwrap_or_default().split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(advice.contains(answer), "{line}\n{text}");
    }
}

#[test]
fn a_key_of_another_program_in_a_task_is_answered_with_the_line_to_write() {
    answers(
        "[task.a]\nrun = 'x'\n",
        "\n",
        &[
            // GitHub Actions.
            ("runs-on = 'ubuntu-latest'", "write `labels`, such as `labels = [\"gpu\", \"arch=x86_64\"]`"),
            ("if = \"github.ref == 'x'\"", "write `when`, such as `when = { branches = [\"main\"]"),
            ("on = ['push']", "events = [\"push\", \"tag\"] }`"),
            ("continue-on-error = true", "write `allow_failure`, such as `allow_failure = true`"),
            ("timeout-minutes = 30", "such as `timeout = \"30m\"`"),
            ("working-directory = 'x'", "write `dir`, such as `dir = \"crates/core\"`"),
            ("environment = 'production'", "variables are `env = { LEVEL = \"2\" }`"),
            ("environment = 'production'", "`group = \"production\"`"),
            ("concurrency = 'x'", "write `group = \"NAME\"`"),
            ("cancel-in-progress = true", "[build] supersede = \"running\""),
            ("fail-fast = true", "[build] fail_fast = true"),
            ("max-parallel = 2", "`group_limit = 2`"),
            ("strategy = {}", "write `matrix`, such as `matrix = { version = [\"1.85\", \"stable\"] }`"),
            ("exclude = []", "write `matrix_exclude`, such as"),
            ("container = 'x'", "write `image`, such as `image = \"rust:1.95\"`"),
            ("sidecars = {}", "write `services`, such as `services = [\"db\"]`"),
            ("uses = 'actions/checkout'", "there are no actions"),
            ("with = {}", "there are no actions"),
            ("permissions = {}", "`secrets = [\"NPM_TOKEN\"]`"),
            ("outputs = {}", "lines `NAME=value` to the file `$SURVEIL_OUTPUT`"),
            ("workflow_dispatch = {}", "`inputs = { version ="),
            ("pull_request = {}", "`--ref 'refs/pull/*/head'`"),
            ("paths-ignore = []", "changed = [\"**\", \"!docs/**\"]"),
            ("branches-ignore = []", "globs of refs have no `!`"),
            // GitLab CI.
            ("script = 'make'", "write `run`, such as `run = \"make test\"`"),
            ("stage = 'x'", "such as `needs = [\"build\"]`"),
            ("dependencies = ['x']", "write `needs`, such as `needs = [\"build\"]`"),
            ("tags = ['docker']", "labels that a runner must have are `labels = [\"gpu\"]`"),
            ("only = ['main']", "write `when`, such as `when = { branches = [\"main\"]"),
            ("except = ['main']", "globs of refs have no `!`"),
            ("rules = []", "`run_if = \"failed\"`"),
            ("changes = ['x']", "write `when`, such as `when = { changed = [\"src/**\""),
            ("before_script = ['x']", "`steps = [\"npm ci\","),
            ("after_script = ['x']", "{ run = \"cat test.log\", always = true }"),
            ("variables = {}", "write `env`, such as `env = { LEVEL = \"2\" }`"),
            ("resource_group = 'x'", "write `group = \"NAME\"`"),
            ("interruptible = true", "[build] supersede = \"running\""),
            ("reports = {}", "write `artifacts`, a list of globs"),
            ("caches = {}", "write `cache`, such as"),
            ("parallel = 5", "write `matrix = { part = [1, 2, 3] }`"),
            ("resources = {}", "`memory = \"2GiB\"`, `processes = 200`, `cpus = 2`"),
            ("privileged = true", "`isolation = \"guarded\"`"),
            ("volumes = ['/a:/b']", "between builds `[[task.NAME.cache]]`"),
            ("deps = ['b']", "write `needs`"),
            ("dockerfile = 'x'", "such as `image = \"rust:1.95\"`"),
            ("trigger = 'x'", "`surveil submit --repo PATH`"),
            ("start_in = '1h'", "there is no delay"),
            ("coverage = 'x'", "there is nothing for that yet"),
            ("id_tokens = {}", "`secrets = [\"NPM_TOKEN\"]`"),
            ("default = {}", "keys of all tasks stand in `[defaults]`"),
            // Buildkite.
            ("command = 'make'", "write `run`, such as"),
            ("commands = ['make', 'make test']", "write the commands as the lines of one string"),
            ("label = 'x'", "the NAME in `[task.NAME]`"),
            ("key = 'x'", "the NAME in `[task.NAME]`"),
            ("depends_on = ['x']", "write `needs`, such as"),
            ("allow_dependency_failure = true", "write `run_if`, such as `run_if = \"finished\"`"),
            ("agents = {}", "write `labels`, such as"),
            ("soft_fail = true", "write `allow_failure`, such as"),
            ("timeout_in_minutes = 5", "such as `timeout = \"30m\"`"),
            ("parallelism = 4", "write `matrix = { part = [1, 2, 3] }`"),
            ("concurrency_group = 'x'", "write `group = \"NAME\"`"),
            ("cancel_on_build_failing = true", "[build] fail_fast = true"),
            ("wait = true", "`run_if = \"finished\"`"),
            ("block = 'x'", "write `manual = true`"),
            ("input = 'x'", "write `inputs`, such as `inputs ="),
            ("if_changed = 'x'", "write `when`, such as `when = { changed ="),
            ("plugins = []", "there are no actions, plugins"),
            ("artifact_paths = 'x'", "write `artifacts`, such as"),
            ("notify = []", "there are no notifications yet"),
            ("skip = true", "write `manual = true`"),
            // Woodpecker, Drone, Travis, CircleCI, Azure, Jenkins.
            ("from_secret = 'x'", "`secrets = [\"NPM_TOKEN\"]`"),
            ("failure = 'ignore'", "write `allow_failure = true`"),
            ("directory = 'x'", "write `dir`, such as"),
            ("clone = {}", "`history = 50`"),
            ("language = 'rust'", "nothing sets an environment up"),
            ("os = 'linux'", "`labels = [\"arch=aarch64\"]`"),
            ("node_js = ['20']", "`matrix = { version ="),
            ("requires = ['x']", "write `needs`, such as"),
            ("resource_class = 'x'", "write `labels`, such as"),
            ("no_output_timeout = '10m'", "write `quiet_timeout`, such as `quiet_timeout = \"10m\"`"),
            ("parameters = {}", "write `inputs`, such as"),
            ("dependsOn = ['x']", "write `needs`, such as"),
            ("continueOnError = true", "write `allow_failure`, such as"),
            ("displayName = 'x'", "the NAME in `[task.NAME]`"),
            ("pool = 'x'", "write `labels`, such as"),
            ("post = {}", "always = true"),
            ("cron = '1 2 3 4 5'", "[schedule.nightly] cron = \"17 3 * * *\""),
            // Surveil's own, in the wrong table.
            ("supersede = 'queued'", "[build] supersede = \"queued\""),
            ("fail_fast = true", "[build] fail_fast = true"),
            ("timezone = 'UTC'", "`timezone` is a key of a schedule: [schedule.nightly]"),
            ("branches = ['main']", "write `when`, such as `when = { branches"),
            ("changed = ['x']", "write `when`, such as `when = { changed"),
        ],
    );
}

#[test]
fn values_of_other_programs_are_answered_too() {
    answers(
        "[task.a]\nrun = 'x'\n",
        "\n",
        &[
            ("when = 'manual'", "write `manual = true`"),
            ("when = 'always'", "write `run_if = \"finished\"`"),
            ("when = 'on_failure'", "write `run_if = \"failed\"`"),
            ("when = 'on_success'", "leave it out"),
            ("when = 'push'", "write `when = { events = [\"push\"] }`"),
            ("when = 'x'", "write a table, such as `when ="),
            ("retry = 3", "write `retries = 3`"),
            ("retry = { max = 2 }", "write `times`, such as `times = 2`"),
            ("retry = { exit_status = 75 }", "write `on`, such as `on = [\"exit:75\""),
            ("retry = { automatic = true }", "`retry = { times = 2,"),
            ("allow_failure = { exit_codes = [77] }", "`make test || [ $? = 77 ]`"),
            ("matrix = [{ A = ['b'] }]", "`matrix_include = [{ version = \"1.85\" }"),
            ("matrix = { os = ['a'], include = [{ os = 'b' }] }", "write `matrix_include = [{ … }]` beside `matrix`"),
            (
                "matrix = { os = ['a', 'b'], exclude = [{ os = 'b' }] }",
                "write `matrix_exclude = [{ … }]` beside `matrix`",
            ),
            ("labels = { queue = 'builders', os = 'linux' }", "write `labels = [\"queue=builders\", \"os=linux\"]`"),
            ("labels = { queue = 1 }", "a label is WORD or KEY=VALUE"),
            ("inputs = { v = { required = true } }", "without `default` has to be given"),
            ("inputs = { v = { type = 'choice' } }", "each value is text"),
            ("inputs = { v = { value = 'x' } }", "write `default`"),
        ],
    );
}

#[test]
fn the_answer_is_about_the_table_in_which_the_key_stands() {
    answers(
        "",
        "\n[task.a]\nrun = 'x'\n",
        &[
            ("name = 'CI'", "a build is named by its commit"),
            ("on = ['push']", "write `when`, such as"),
            ("env = { A = 'b' }", "[defaults] env = { LEVEL = \"2\" }"),
            ("variables = { A = 'b' }", "[defaults] env = { LEVEL = \"2\" }"),
            ("runs-on = 'x'", "[defaults] labels = ["),
            ("timeout = '1h'", "or in `[build]` for the build as a whole"),
            ("fail-fast = true", "[build] fail_fast = true"),
            ("cancel-in-progress = true", "[build] supersede = \"running\""),
            ("concurrency = 'x'", "write `group = \"NAME\"`"),
            ("needs = ['x']", "[task.test] run = \"make test\" needs = [\"build\"]"),
            ("stages = ['a']", "there are no stages: `needs`"),
            ("trigger = ['main']", "each task says in which builds it runs"),
            ("cron = '1 2 3 4 5'", "[schedule.nightly]"),
            ("schedules = []", "[schedule.nightly]"),
            ("image = 'x'", "[defaults] image = \"rust:1.95\""),
            ("script = 'make'", "[task.test] run = \"make test\""),
            ("steps = ['make']", "[task.test] steps = [\"make\""),
            ("[jobs.test]\nruns-on = 'x'", "[task.test] run = \"make test\""),
            ("[jobs.test]\nsteps = ['x']", "[task.test] run = \"make test\""),
            ("[lint]\nscript = ['make lint']", "write it as a table, `[task.lint]`"),
            ("[lint]\ncommand = 'make lint'", "write it as a table, `[task.lint]`"),
        ],
    );
    answers(
        "[task.a]\nrun = 'x'\n[build]\n",
        "\n",
        &[
            ("cancel-in-progress = true", "supersede = \"running\""),
            ("fail-fast = true", "write `fail_fast`"),
            ("needs = ['x']", "it stands in a task, such as `needs = [\"build\"]`"),
            ("env = {}", "it stands in `[defaults]` or in a task, such as `env"),
            ("concurrency = 1", "write `group = \"NAME\"`"),
        ],
    );
    answers(
        "[task.a]\nsteps = [{ run = 'x', ",
        " }]\n",
        &[
            ("if = 'always()'", "`always = true` lets a step run"),
            ("label = 'x'", "write `name`, such as"),
            ("command = 'x'", "write `run`, such as `run = \"make test\"`"),
            ("working-directory = 'x'", "write `dir`, such as"),
            ("continue-on-error = true", "`run = \"make lint || true\"`"),
            ("allow_failure = true", "`run = \"make lint || true\"`"),
            ("retry = 2", "write `retries = 2` beside `steps`"),
            ("needs = ['x']", "steps are executed in the order"),
            ("labels = ['x']", "it is for a whole task: write it beside `steps`"),
            ("runs-on = 'x'", "it is for a whole task: write it beside `steps`"),
            ("script = 'x'", "write `run`, such as"),
            ("environment = {}", "write `env`, such as"),
            ("uses = 'x'", "there are no actions"),
            ("image = 'x'", "it is for a whole task: write it beside `steps`"),
            ("detach = true", "all processes of a step end with it"),
            ("timeout-minutes = 5", "such as `timeout = \"30m\"`"),
            ("timout = '5m'", "write `timeout`"),
        ],
    );
    answers(
        "[task.a]\nrun = 'x'\nwhen = { branches = ['main'], ",
        " }\n",
        &[
            ("paths = ['x']", "write `changed`, a list of globs"),
            ("event = 'push'", "write `events`, a list"),
            ("branch = 'main'", "write `branches`, a list"),
            ("status = ['failure']", "write `run_if = \"failed\"`"),
            ("cron = 'x'", "[schedule.nightly]"),
            ("evaluate = 'x'", "there are no expressions"),
            ("manual = true", "write `manual = true` beside `when`"),
        ],
    );
    answers(
        "[task.a]\nrun = 'x'\n[schedule.b]\ncron = '1 2 3 4 5'\n",
        "\n",
        &[
            ("branches = ['main']", "write `branch`"),
            ("env = {}", "`when = { events = [\"schedule\"] }`"),
            ("every = '1h'", "write `cron`, such as"),
            ("zone = 'UTC'", "write `timezone`, such as"),
            ("jobs = ['a']", "write `tasks`, such as"),
        ],
    );
}

/// Advice that cannot be typed as it stands would send people from one error to the next.
#[test]
fn the_lines_that_advice_shows_are_right() {
    for key in KEYS {
        assert!(key.example.starts_with(&format!("{} = ", key.name)), "{}", key.name);
        let with = match key.name {
            "run" | "steps" => "",
            "run_if" | "take" => "run = 'x'\nneeds = ['build']\n",
            "matrix_exclude" | "matrix_include" => "run = 'x'\nmatrix = { version = ['1.85', 'stable'] }\n",
            "pull" => "run = 'x'\nimage = 'rust:1.95'\n",
            "group_limit" => "run = 'x'\ngroup = 'staging'\n",
            _ => "run = 'x'\n",
        };
        let file = format!(
            "[task.a]\n{with}{}\n[task.build]\nrun = 'x'\nartifacts = [{{ name = 'coverage', paths = ['c.xml'] }}]\n\
             [template.rust]\nlabels = ['rust']\n[service.db]\nrun = 'x'\n",
            key.example
        );
        assert!(check_tasks("f", file.as_bytes()).is_ok(), "{file}{:?}", check_tasks("f", file.as_bytes()));
    }
}

#[test]
fn a_command_under_another_name_is_one_mistake() {
    let text = only("[task.a]\nsteps = [{ script = 'make' }]\n");
    assert!(text.starts_with("f:2:12: unknown key `script` in a step\n"), "{text}");
    let text = only("[task.a]\nsteps = [{ name = 'make' }]\n");
    assert!(text.starts_with("f:2:10: a step has no `run`\n"), "{text}");
}

#[test]
fn no_answer_hides_a_key() {
    use crate::config::tasks::foreign::{Level, keys_at};
    for key in keys_at(Level::Task) {
        for ours in KEYS {
            assert_ne!(ours.name.replace('_', ""), key, "it is a key");
            assert!(!ours.has_alias(key), "{key} is an alias of {}", ours.name);
        }
    }
    let in_steps: Vec<&str> = keys_at(Level::Step).collect();
    for key in ["name", "run", "shell", "dir", "env", "timeout", "always"] {
        assert!(key == "always" || key == "name" || !in_steps.contains(&key), "{key} is a key of a step");
    }
}
