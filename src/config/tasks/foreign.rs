//! Keys that other programs have and Surveil does not: what it has for them, or that it has nothing yet. Keys whose
//! values Surveil takes as they are, under another name, are aliases in [`super::keys::KEYS`].

/// Answers for keys of other programs, each with the keys that it is for. Keys are compared without case, `-` and `_`.
const ANSWERS: [(&[&str], &str); 20] = [
    (
        &["image", "container", "docker", "dockerfile", "entrypoint", "platform", "nix"],
        "there are no container images yet: a task is a process on its runner; install there what it needs and\n\
         choose the runner by `labels`, or let `run` call `podman run` or `docker run`",
    ),
    (
        &["services", "service", "sidecars"],
        "there are no services yet: let `run` start what the task needs; all processes of a task end with it,\n\
         and `8000 + SURVEIL_SLOT` is a port that no other attempt on the runner uses",
    ),
    (
        &["parallel", "parallelism"],
        "write `matrix = { part = [1, 2, 3] }`: each part is a task of its own, and has its number in\n\
         `$MATRIX_PART`",
    ),
    (
        &[
            "if",
            "only",
            "except",
            "rules",
            "condition",
            "conditions",
            "filters",
            "branches",
            "changes",
            "paths",
            "on",
            "unless",
            "events",
        ],
        "write `when`, such as `when = { branches = [\"main\"], tags = [\"v*\"], changed = [\"src/**\"] }`; the observer\n\
         chooses the branches that are built at all by `--branch`",
    ),
    (
        &["secrets", "secret", "credentials", "withcredentials", "idtokens", "permissions"],
        "there are no secrets yet: put them into a file on the runner that only its user can read, and choose\n\
         that runner by `labels`; never into this file, which everybody with the repository can read",
    ),
    (
        &["artifacts", "artifact", "artifactpaths", "outputs", "output", "reports", "persist", "storeartifacts"],
        "there are no artifacts yet: let `run` copy what must stay to a place outside the work tree;\n\
         `keep` is a cache of one runner and hands nothing on",
    ),
    (
        &["cache", "caches", "savecache", "restorecache", "cachekey"],
        "write `keep`, a list of paths in the work tree that stay for the next attempt on the same runner, such as\n\
         `keep = [\"target\"]`",
    ),
    (
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
        ],
        "write these commands as `steps`, in order: a task ends at the first that fails; a step with `always = true`\n\
         is executed whatever happened before",
    ),
    (
        &["stage", "stages", "workflow", "workflows", "pipeline"],
        "there are no stages: `needs` says which tasks must have passed before, and the rest runs at the same time",
    ),
    (
        &["uses", "with", "plugin", "plugins", "orb", "orbs", "include", "includes", "import"],
        "there are no actions, plugins or files to include: `run` says what to do; put commands that tasks share\n\
         into a script of the repository and call that, and keys into `[template.NAME]`, which tasks extend",
    ),
    (
        &["anchors", "anchor", "common", "base", "global", "globals", "default", "shared"],
        "keys of all tasks stand in `[defaults]`, those of some tasks in `[template.NAME]`, which tasks extend",
    ),
    (
        &["name", "title", "description", "displayname", "id", "key"],
        "the name of a task is the NAME in `[task.NAME]`; notes are comments, after `#`",
    ),
    (&["user", "privileged", "isolation", "sudo"], "there is no such choice: a task runs as the user of its runner"),
    (
        &["schedules", "cron", "trigger", "triggers"],
        "a schedule stands at the top of the file, as `[schedule.NAME]` with `cron` and `tasks`; any other build is\n\
         made for a push to an observed branch",
    ),
    (
        &["notify", "notifications", "notification", "email", "slack"],
        "there are no notifications yet: `surveil show --wait BUILD` in a script ends with the verdict as exit code",
    ),
    (
        &["clone", "checkout", "fetchdepth", "depth", "git", "submodules", "lfs", "gitstrategy"],
        "there is no such choice: a task finds exactly the files of its commit, without `.git`, submodules and LFS",
    ),
    (
        &["concurrency", "concurrencygroup", "resourcegroup", "lock", "locks", "mutex", "semaphore"],
        "write `group = \"NAME\"`: one job of a group runs at a time, over all builds of the repository, in their order;\n\
         `group_limit = 2` lets two run, and `exclusive = true` is for a task that is alone in its group",
    ),
    (
        &["resources", "cpu", "cpus", "memory", "mem", "limits"],
        "there are no limits of memory or processors yet: choose a runner by `labels`",
    ),
    (
        &["coverage", "release", "pages", "environmenturl", "testreports", "junit"],
        "there is nothing for that yet: let `run` do it",
    ),
    (&["version", "kind", "type", "apiversion"], "leave it out: the file has no version"),
];

/// Returns what Surveil has for a key of another program, or that it has nothing yet.
pub(super) fn answer(typed: &str) -> Option<&'static str> {
    let word = typed.to_lowercase().replace(['-', '_'], "");
    ANSWERS.iter().find(|(keys, _)| keys.contains(&&*word)).map(|(_, answer)| *answer)
}

#[cfg(test)]
mod tests {
    use super::super::keys::KEYS;
    use super::*;

    #[test]
    fn no_key_of_another_program_has_two_answers_or_is_a_key_here() {
        let mut seen = std::collections::HashSet::new();
        for key in ANSWERS.iter().flat_map(|(keys, _)| *keys) {
            assert!(seen.insert(*key), "{key} is there twice");
            assert_eq!(key.to_lowercase().replace(['-', '_'], ""), *key, "it would never be found");
            assert!(!KEYS.iter().any(|ours| ours.name == *key), "{key} is a key");
        }
    }

    #[test]
    fn what_people_bring_along_is_answered() {
        for key in ["image", "parallel", "if", "services", "secrets", "artifacts", "cache", "before_script", "rules"] {
            assert!(answer(key).is_some(), "{key}");
        }
        assert!(answer("fetch-depth").unwrap().contains("without `.git`"));
        assert_eq!(answer("sunshine"), None);
    }
}
