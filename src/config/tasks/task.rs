//! Reads the tables `[task.NAME]`: each is a task, or several mistakes.

use std::collections::{BTreeMap, HashSet};
use std::ops::Range;
use std::sync::Arc;

use super::draft::{CellsOf, Draft, PlacedTask};
use super::file::FileDraft;
use super::layers::{self, Layer, Owner};
use super::limits::{EXAMPLE, MAX_PLAN_BYTES, MAX_TASK_BYTES, MAX_TASKS, NAME_RULE};
use super::mistake::{Mistake, quote};
use super::value::{TableEntry, entries, kind};
use super::{keys, matrix, services, unfold};
use crate::model::{Ability, ArtifactRule, CacheRule, Group, Recipe, Script, Service, Step, TaskName, TaskSpec};

/// Reads the table of all tasks.
pub(super) fn read_tasks<'t, 'i>(top: &TableEntry<'t, 'i>, file: &mut FileDraft<'t, 'i>) {
    let help = format!("write each task as a table with its name, such as\n{EXAMPLE}");
    let Some(table) = file.found.unless_wrong(top.table(&help)) else { return };
    for entry in entries(table) {
        let before = file.tasks.len();
        file.count += 1;
        if file.count <= MAX_TASKS && read_task(&entry, file).is_none() {
            file.broken.insert(entry.key);
        }
        file.count += (file.tasks.len() - before).saturating_sub(1);
        if file.count > MAX_TASKS {
            let message = format!("a commit has at most {MAX_TASKS} tasks");
            file.found.mistake(Mistake::new(entry.key_place, message, "let one task run several of these"));
            break;
        }
        if file.bytes > MAX_PLAN_BYTES {
            let message = format!("the tasks up to {} are longer than {} MiB", quote(entry.key), MAX_PLAN_BYTES >> 20);
            let help = "put what they have in common into scripts and run those";
            file.found.mistake(Mistake::new(entry.key_place, message, help));
            break;
        }
    }
}

/// Reads a task, or the cells of its matrix. Adds it also if its keys have mistakes, as long as its name can be needed
/// by others; returns `None` if not.
fn read_task<'t, 'i>(task: &TableEntry<'t, 'i>, file: &mut FileDraft<'t, 'i>) -> Option<()> {
    let FileDraft { context, defaults, templates, services, found, .. } = file;
    let name = task.key;
    let wrong = |message: String, help: &str| Mistake::new(task.key_place.clone(), message, help);
    let Some(table) = task.value.get_ref().as_table() else {
        let message = format!("task {} must be a table, this is {}", quote(name), kind(task.value.get_ref()));
        found.mistake(wrong(message, &table_help(name)));
        return None;
    };
    let checked_name = TaskName::plain(name).ok();
    if checked_name.is_none() {
        found.mistake(wrong(format!("{} cannot name a task", quote(name)), NAME_RULE));
    }
    let own = Layer::read(table, Owner::Task(name), found);
    let extended = match own.get("extends") {
        Some(extends) => templates.layers(extends, found),
        None => Some(Vec::new()),
    };
    let is_whole = extended.is_some();
    let layers: Vec<&Layer> = [&*defaults].into_iter().chain(extended.unwrap_or_default()).chain([&own]).collect();
    let keys = layers::overlaid(layers.iter().copied());
    if !keys.iter().any(|set| set.key.name == "group")
        && let Some(limit) = own.get("group_limit")
    {
        let help = "add the name of a group, such as `group = \"staging\"`, or leave `group_limit` out";
        let message = format!("task {} has a `group_limit` and no `group`", quote(name));
        found.mistake(Mistake::new(limit.entry.key_place.clone(), message, help));
    }
    if !keys.iter().any(|set| set.key.name == "image")
        && let Some(pull) = own.get("pull")
    {
        let help = "add an image, such as `image = \"rust:1.95\"`, or leave `pull` out";
        found.mistake(Mistake::new(
            pull.entry.key_place.clone(),
            format!("task {} has `pull` and no `image`", quote(name)),
            help,
        ));
    }
    // A misspelt `run` is called unknown, and not missing too. A template that is not there may have one.
    let is_run = |name: &str| matches!(name, "run" | "steps");
    let has_run = keys.iter().any(|set| is_run(set.key.name))
        || layers.iter().any(|layer| layer.misspelt.iter().any(|name| is_run(name)))
        || !is_whole;
    if !has_run {
        let help = "add a line that says what to do, such as `run = \"make test\"`";
        found.mistake(wrong(format!("task {} has no `run`", quote(name)), help));
    }
    let has_needs = |set: &layers::SetKey<'_, '_>| {
        set.key.name == "needs" && set.entry.value.get_ref().as_array().is_none_or(|needs| !needs.is_empty())
    };
    // In a template or the defaults `run_if` is for the tasks that need others.
    if let Some(run_if) = own.get("run_if").filter(|_| !keys.iter().any(|set| has_needs(set))) {
        let help = "add `needs`, or leave `run_if` out: it says how the tasks that this one needs have to end";
        found.mistake(run_if.entry.wrong("`run_if` without `needs` has no meaning", help));
    }
    let has_own_shell = own.get("shell").is_some() && own.get("run").is_some();
    let has_matrix = keys.iter().any(|set| set.key.is_structure && set.key.name.starts_with("matrix"));
    if !has_matrix {
        let mut draft = unfold::one(&keys, *context, has_own_shell, found);
        services::give(services, &mut draft, (&[], &[]), found);
        add(checked_name?, task.key_place.clone(), draft, file);
        return Some(());
    }
    if let Some(expand) = keys.iter().find(|set| set.key.name == "expand") {
        let help = "leave one of them out: a task without a matrix can write tasks that have one";
        found.mistake(expand.entry.wrong(format!("task {} has both `expand` and a matrix", quote(name)), help));
    }
    let matrix = matrix::of(name, &keys, found)?;
    let mut drafts = unfold::cells(&keys, &matrix, *context, has_own_shell, found);
    for (cell, draft) in matrix.cells.iter().zip(&mut drafts) {
        services::give(services, draft, (&matrix.axes, &cell.values), found);
    }
    let name_of_all = checked_name?;
    let first = file.tasks.len();
    for (cell, draft) in matrix.cells.iter().zip(drafts) {
        let Ok(name) = TaskName::new(&format!("{name_of_all}@{}", cell.name)) else {
            let message = format!("the name of a cell is too long: {}", quote(&format!("{name}@{}", cell.name)));
            let help = "a name has at most 100 characters: shorten the task's name or the values of its matrix";
            file.found.mistake(Mistake::new(task.key_place.clone(), message, help));
            return None;
        };
        add(name, task.key_place.clone(), draft, file);
        // The file is refused, so the other cells are not made.
        if file.bytes > MAX_PLAN_BYTES {
            break;
        }
    }
    let cells = CellsOf { tasks: first..file.tasks.len(), excluded: matrix.excluded };
    file.matrices.insert(name, cells);
    Some(())
}

/// Adds a task whose keys are read.
fn add(name: TaskName, name_place: Range<usize>, draft: Draft<'_>, file: &mut FileDraft<'_, '_>) {
    let Draft { mut recipe, mut placement, group_limit, needs, take, run_if, texts, .. } = draft;
    keep_last_of_each(&mut recipe.env);
    let size = task_bytes(&recipe);
    file.bytes += size;
    if size > MAX_TASK_BYTES {
        let message = format!("task {} is longer than {} KiB", quote(&name), (MAX_TASK_BYTES + 1) / 1024);
        let help = "put what it does into a script and run that";
        file.found.mistake(Mistake::new(name_place.clone(), message, help));
    }
    if let Some((message, help)) = keys::wrong_caches(&recipe) {
        file.found.mistake(Mistake::new(name_place.clone(), format!("task {}: {message}", quote(&name)), help));
    }
    placement.labels.extend(Ability::needed_for(&recipe).map(Ability::label));
    placement.labels.sort();
    let group = placement.group.take();
    let mut spec = TaskSpec { name, recipe: Arc::new(recipe), placement };
    // Builds that nobody asked for have the defaults; what has none is not set in them.
    drop(spec.set_inputs(&BTreeMap::new()));
    if let Some(group) = group {
        spec.set_group(Group { limit: group_limit.unwrap_or(group.limit), ..group });
    }
    file.tasks.push(PlacedTask { spec, name_place, needs, take, needed: Vec::new(), run_if, texts });
}

/// Removes variables that a later one of the same name replaces: a task's own ones come last.
fn keep_last_of_each(env: &mut Vec<(String, String)>) {
    let mut last: HashSet<&str> = HashSet::new();
    let is_last: Vec<bool> = env.iter().rev().map(|(name, _)| last.insert(name)).collect();
    let mut is_last = is_last.into_iter().rev();
    env.retain(|_| is_last.next().unwrap_or(true));
}

/// Returns the approximate size of a recipe in the message to a runner.
fn task_bytes(recipe: &Recipe) -> usize {
    let of_script = |script: &Script| -> usize {
        match script {
            Script::Shell(line) => line.len(),
            Script::Program(words) => words.iter().map(|word| word.len() + 1).sum(),
        }
    };
    let of_env =
        |env: &[(String, String)]| -> usize { env.iter().map(|(name, value)| name.len() + value.len() + 2).sum() };
    let of_step = |step: &Step| step.name.len() + of_script(&step.script) + of_env(&step.env);
    let steps: usize = recipe.steps.iter().map(of_step).sum();
    let keep: usize = recipe.keep.iter().map(|path| path.len() + 1).sum();
    let keep = keep + recipe.image.as_ref().map_or(0, String::len);
    let of_rule = |rule: &ArtifactRule| rule.name.len() + rule.paths.iter().map(|glob| glob.len() + 3).sum::<usize>();
    let keep = keep + recipe.artifacts.iter().map(of_rule).sum::<usize>();
    let of_cache = |rule: &CacheRule| rule.key.iter().chain(&rule.paths).map(|text| text.len() + 3).sum::<usize>();
    let keep = keep + recipe.caches.iter().map(of_cache).sum::<usize>();
    let of_service = |service: &Service| {
        let Service { name, script, image, ready, env, .. } = service;
        let image = image.as_ref().map_or(0, |image| image.name.len() + 40);
        name.len() + script.as_ref().map_or(0, of_script) + image + ready.as_ref().map_or(0, of_script) + of_env(env)
    };
    let services: usize = recipe.services.iter().map(of_service).sum();
    of_script(&recipe.script) + of_env(&recipe.env) + keep + steps + services
}

/// Returns the entries of a value that should not be there, if it is a table.
pub(super) fn entries_of_table<'t, 'i>(top: &TableEntry<'t, 'i>) -> impl Iterator<Item = TableEntry<'t, 'i>> {
    top.value.get_ref().as_table().map(entries).unwrap_or_default().into_iter()
}

/// Advises to write a task as a table.
pub(super) fn table_help(name: &str) -> String {
    let name = if TaskName::plain(name).is_ok() && !name.contains('.') { name } else { "NAME" };
    format!("write it as a table, `[task.{name}]`, with its keys below")
}
