//! Warnings about tasks together: what a file may say, and what is probably not meant. Only `surveil check` asks for
//! them. Scripts are looked at word by word, so only what is plain is found, and nothing is guessed.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::draft::PlacedTask;
use super::findings::Findings;
use super::mistake::{Mistake, quote};
use crate::model::glob::PathGlobs;
use crate::model::{ArtifactRule, Label, Script, Take};

/// Tasks that a warning names before it counts the rest.
const MAX_NAMED: usize = 3;
/// Different kept paths that are compared.
const MAX_KEPT: usize = 64;
/// Labels of which a runner has one value, so that two tasks with different values never share a work tree.
const OF_THE_MACHINE: [&str; 3] = ["os=", "arch=", "hostname="];

/// Adds the warnings.
pub(super) fn look_at(tasks: &[PlacedTask], found: &mut Findings) {
    // The cells of a matrix are alike, so the first one stands for all.
    let is_first = |at: &usize| *at == 0 || tasks[*at - 1].spec.name.written() != tasks[*at].spec.name.written();
    let tasks: Vec<&PlacedTask> = (0..tasks.len()).filter(is_first).map(|at| &tasks[at]).collect();
    look_at_kept(&tasks, found);
    look_at_products(&tasks, found);
    look_at_times(&tasks, found);
    look_at_groups(&tasks, found);
}

/// A limit that another one is always reached before has no effect.
fn look_at_times(tasks: &[&PlacedTask], found: &mut Findings) {
    for task in tasks {
        let recipe = &task.spec.recipe;
        if recipe.quiet_timeout_ms.is_some_and(|quiet_ms| quiet_ms >= recipe.timeout_ms) {
            let name = task.spec.name.written();
            let message = format!("`quiet_timeout` of `{name}` has no effect: `timeout` is not longer");
            let help = "write a shorter `quiet_timeout`, or a longer `timeout` (without one it is one hour)";
            found.warning(Mistake::new(task.name_place.clone(), message, help));
        }
    }
}

/// Tasks of one group that allow different numbers of jobs: the smallest number counts while its task runs.
fn look_at_groups(tasks: &[&PlacedTask], found: &mut Findings) {
    let mut first: HashMap<&str, (&PlacedTask, u32)> = HashMap::new();
    let mut told = HashSet::new();
    for task in tasks {
        let Some(group) = &task.spec.placement.group else { continue };
        let (other, limit) = *first.entry(&group.name).or_insert((task, group.limit));
        if group.limit == limit || !told.insert(&*group.name) {
            continue;
        }
        let (name, other) = (&task.spec.name, &other.spec.name);
        let limits = format!("`{other}` with a limit of {limit} and `{name}` with {}", group.limit);
        let message = format!("group {} has {limits}", quote(&group.name));
        let help = "write the same `group_limit` in all tasks of a group: each task waits until no more jobs run than\n\
                    it allows, and lets no later job pass meanwhile";
        found.warning(Mistake::new(task.name_place.clone(), message, help));
    }
}

/// A kept path is removed by each task that takes a turn in the same work tree and does not keep it.
fn look_at_kept(tasks: &[&PlacedTask], found: &mut Findings) {
    let mut kept: BTreeMap<&str, &PlacedTask> = BTreeMap::new();
    for (path, task) in tasks.iter().flat_map(|task| task.spec.recipe.keep.iter().map(move |path| (path, task))) {
        if kept.len() < MAX_KEPT {
            kept.entry(path).or_insert(task);
        }
    }
    // Paths that the same tasks remove make one warning.
    let mut removed: BTreeMap<Vec<usize>, Vec<&str>> = BTreeMap::new();
    for (path, keeper) in &kept {
        let removes = |task: &&PlacedTask| !is_covered(path, &task.spec.recipe.keep) && may_share_a_tree(task, keeper);
        let by: Vec<usize> = tasks.iter().enumerate().filter(|(_, task)| removes(task)).map(|(at, _)| at).collect();
        if !by.is_empty() {
            removed.entry(by).or_default().push(path);
        }
    }
    for (by, paths) in removed {
        let keeper = kept[paths[0]].spec.name.written();
        let names: Vec<String> = by.iter().map(|at| format!("`{}`", tasks[*at].spec.name.written())).collect();
        let (first, verb) = (tasks[by[0]].name_place.clone(), if names.len() == 1 { "removes" } else { "remove" });
        let shown: Vec<String> = paths.iter().take(MAX_NAMED).map(|path| format!("`{path}`")).collect();
        let message = format!("{} {verb} {}, which `{keeper}` keeps", listed(&names), listed(&shown));
        let help = "list it under `keep` in each of these tasks: tasks take turns in a work tree, and what a task\n\
                    does not keep is removed before it starts";
        found.warning(Mistake::new(first, message, help));
    }
}

fn is_covered(path: &str, keep: &[String]) -> bool {
    keep.iter().any(|kept| path == kept || path.strip_prefix(&**kept).is_some_and(|rest| rest.starts_with('/')))
}

/// Whether a runner may have the labels of both tasks.
fn may_share_a_tree(one: &PlacedTask, other: &PlacedTask) -> bool {
    let value = |task: &PlacedTask, key: &str| -> Option<String> {
        let mut labels = task.spec.placement.labels.iter();
        labels.find_map(|label: &Label| label.strip_prefix(key).map(str::to_owned))
    };
    OF_THE_MACHINE.iter().all(|key| match (value(one, key), value(other, key)) {
        (Some(one), Some(other)) => one == other,
        _ => true,
    })
}

/// A task that uses a file of another task does not find it: each job starts from the files of the commit.
fn look_at_products(tasks: &[&PlacedTask], found: &mut Findings) {
    let products: Vec<HashSet<String>> = tasks.iter().map(|task| products(task)).collect();
    let mut makers: HashMap<&str, usize> = HashMap::new();
    for (at, made) in products.iter().enumerate() {
        for path in made {
            makers.entry(path).or_insert(at);
        }
    }
    for (at, task) in tasks.iter().enumerate() {
        // One warning for each task that is used.
        let mut warned = HashSet::new();
        for word in words(task) {
            let is_marked = word.starts_with("./");
            let word = plain(word);
            let Some((path, maker)) = parents(word).find_map(|path| makers.get_key_value(path)) else { continue };
            // A lone word such as `build` may be anything; one with a slash or a dot is a path.
            let is_path = is_marked || word.contains(['/', '.']);
            let own = parents(word).any(|path| products[at].contains(path));
            if *maker == at || own || !is_path || !warned.insert(maker) {
                continue;
            }
            let (name, other) = (task.spec.name.written(), tasks[*maker].spec.name.written());
            let files = "each job starts from the files of the commit and the artifacts of the tasks that it needs";
            let needed = task.needed.iter().find(|need| need.task.written() == other);
            if needed.is_some_and(|need| is_taken(path, &need.take, tasks[*maker])) {
                continue;
            }
            let is_left = is_taken(path, &Take::All, tasks[*maker]);
            let uses = format!("`{name}` uses `{path}`, which `{other}` makes, and");
            let message = match needed {
                Some(_) => format!("{uses} takes no artifact with it"),
                None => format!("{uses} does not need `{other}`"),
            };
            let help = match needed {
                Some(_) if is_left => format!("name `{other}` in `take`, or leave `take` out"),
                Some(_) => format!(
                    "write `artifacts = [\"{path}\"]` in `{other}`, or make what a task uses in the task itself"
                ),
                None if is_left => format!("write `needs = [\"{other}\"]`: then its artifacts are in the tree"),
                None => format!("write `needs = [\"{other}\"]`, and `artifacts` in `{other}`: {files}"),
            };
            found.warning(Mistake::new(task.name_place.clone(), message, help));
        }
    }
}

/// Whether artifacts that are taken of a task have this path, or something below it.
fn is_taken(path: &str, take: &Take, maker: &PlacedTask) -> bool {
    let below = format!("{path}/x");
    let has = |rule: &ArtifactRule| {
        let globs = PathGlobs::new(&rule.paths);
        // A glob of single names may match below a directory, which is not known here.
        let is_inside = |glob: &String| glob.strip_prefix(path).is_some_and(|rest| rest.starts_with('/'));
        globs.matches(path) || globs.matches(&below) || rule.paths.iter().any(is_inside)
    };
    maker.spec.recipe.artifacts.iter().any(|rule| take.covers(&rule.name) && has(rule))
}

/// Returns the paths that a task plainly makes: what it keeps, and what its script redirects to or names for output.
fn products(task: &PlacedTask) -> HashSet<String> {
    let mut made: HashSet<String> = task.spec.recipe.keep.iter().cloned().collect();
    if !task.texts.is_empty() {
        let mut before = "";
        for word in words(task) {
            let target = word.trim_start_matches(|c: char| c.is_ascii_digit() || c == '>');
            let is_made = match before {
                ">" | ">>" | "tee" | "touch" => true,
                "-o" | "--output" => word.contains('/'),
                "-p" | "mkdir" => is_after_mkdir(task, word),
                _ => word.len() > target.len() && word.contains('>'),
            };
            let path = plain(target);
            if is_made && is_path(path) {
                made.insert(path.to_owned());
            }
            before = word;
        }
    }
    made
}

fn is_after_mkdir(task: &PlacedTask, directory: &str) -> bool {
    let mut last = ["", ""];
    words(task).any(|word| {
        let is_here = word == directory && (last[1] == "mkdir" || last == ["mkdir", "-p"]);
        last = [last[1], word];
        is_here
    })
}

/// The words of a task's scripts, or its program with the arguments.
fn words(task: &PlacedTask) -> Box<dyn Iterator<Item = &str> + '_> {
    // Its paths do not start at the root, where those of other tasks do.
    if task.spec.recipe.dir.is_some() {
        return Box::new(std::iter::empty());
    }
    match &task.spec.recipe.script {
        Script::Program(words) if task.texts.is_empty() => Box::new(words.iter().map(String::as_str)),
        Script::Program(_) | Script::Shell(_) => Box::new(task.texts.iter().flat_map(|text| text.split_whitespace())),
    }
}

/// Returns a word of a script as a path: without what surrounds it.
fn plain(word: &str) -> &str {
    let word = word.trim_matches(['"', '\'', ';', '(', ')', '<', '{', '}', '&', '|']);
    word.strip_prefix("./").unwrap_or(word).trim_end_matches('/')
}

/// Whether the text is a plain path below the work tree.
fn is_path(text: &str) -> bool {
    let is_plain = text.chars().all(|c| c.is_ascii_alphanumeric() || "._-/".contains(c));
    is_plain
        && text.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '.')
        && !text.split('/').any(|part| part == ".." || part == ".")
}

/// Returns a path and the directories above it, the longest first.
fn parents(path: &str) -> impl Iterator<Item = &str> {
    let above = path.rmatch_indices('/').map(|(at, _)| &path[..at]);
    std::iter::once(path).chain(above).filter(|path| !path.is_empty())
}

/// Formats `a, b, c and 4 more`.
fn listed(names: &[String]) -> String {
    let (shown, rest) = names.split_at(names.len().min(MAX_NAMED));
    match (shown, rest.len()) {
        ([first @ .., last], 0) if !first.is_empty() => format!("{} and {last}", first.join(", ")),
        (shown, 0) => shown.join(", "),
        (shown, more) => format!("{} and {more} more", shown.join(", ")),
    }
}
