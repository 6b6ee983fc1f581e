//! Properties of every task file, checked with random files.

use proptest::prelude::*;

use super::*;
use crate::config::tasks::limits::{MAX_RETRIES, MAX_TIMEOUT_MS};
use crate::model::{Label, Need, Placement, Recipe, RetryRule, STOP_AT_FAILURE, Script};

/// Specs as a file could make them: tasks named `t0`, `t1` and so on, needing earlier ones.
fn specs() -> impl Strategy<Value = Vec<TaskSpec>> {
    let text = "[^\0]{1,12}";
    let script = prop_oneof![
        text.prop_filter("has a command", |line| command::has_command(line))
            .prop_map(|line| Script::stopping_at_failure(&line)),
        ("p[a-z0-9._-]{0,6}", prop::collection::vec("[^\0]{0,8}", 0..3))
            .prop_map(|(program, arguments)| { Script::Program(std::iter::once(program).chain(arguments).collect()) }),
    ];
    let one = (
        script,
        prop::collection::btree_map("[A-RT-Z_][^=\\pC]{0,5}", "[^\0]{0,8}", 0..4),
        1..=MAX_TIMEOUT_MS,
        0..=MAX_RETRIES,
        any::<[bool; 2]>(),
        prop::collection::btree_set("[a-z0-9][a-z0-9._-]{0,6}(=[a-z0-9][a-z0-9._-]{0,6})?", 0..3),
        prop::collection::btree_set("[a-z]{1,4}(/[a-z]{1,3}){0,2}", 0..3),
        any::<u64>(),
    );
    prop::collection::vec(one, 1..8).prop_map(|all| {
        let mut tasks = Vec::new();
        for (at, (script, env, timeout_ms, retries, flags, labels, keep, needs)) in all.into_iter().enumerate() {
            let named = |at: usize| TaskName::new(&format!("t{at}")).unwrap();
            let (env, keep) = (env.into_iter().collect(), keep.into_iter().collect());
            let needed = (0..at).filter(|other| needs >> other & 1 == 1);
            tasks.push(TaskSpec {
                name: named(at),
                recipe: Recipe { env, timeout_ms, keep, exclusive: flags[1], ..Recipe::new(script) }.into(),
                placement: Placement {
                    needs: needed.map(|other| Need::passed(named(other))).collect(),
                    retries,
                    retry: RetryRule::default(),
                    manual: flags[1],
                    allow_failure: flags[0],
                    labels: labels.iter().map(|label| Label::new(label).unwrap()).collect(),
                    ..Placement::default()
                },
            });
        }
        tasks
    })
}

/// The tasks as a task file.
fn written(tasks: &[TaskSpec]) -> String {
    let string = |text: &str| {
        let escaped: String = text.chars().map(|c| format!("\\U{:08X}", u32::from(c))).collect();
        format!("\"{escaped}\"")
    };
    let list = |texts: Vec<&str>| format!("[{}]", texts.into_iter().map(string).collect::<Vec<_>>().join(", "));
    let mut file = String::new();
    for task in tasks {
        let (recipe, placement) = (&task.recipe, &task.placement);
        let run = match &recipe.script {
            Script::Shell(line) => string(line.strip_prefix(STOP_AT_FAILURE).unwrap()),
            Script::Program(words) => list(words.iter().map(String::as_str).collect()),
        };
        let env: String =
            recipe.env.iter().map(|(name, value)| format!("{} = {}\n", string(name), string(value))).collect();
        file += &format!(
            "[task.{}]\nrun = {run}\nneeds = {}\ntimeout = \"{}ms\"\nretries = {}\nallow_failure = {}\nlabels = {}\n\
             keep = {}\nexclusive = {}\nmanual = {}\n[task.{}.env]\n{env}",
            task.name,
            list(placement.needs.iter().map(|need| &*need.task).collect()),
            recipe.timeout_ms,
            placement.retries,
            placement.allow_failure,
            list(placement.labels.iter().map(|label| &**label).collect()),
            list(recipe.keep.iter().map(String::as_str).collect()),
            recipe.exclusive,
            placement.manual,
            task.name,
        );
    }
    file
}

proptest! {
    #[test]
    fn any_tasks_read_back_as_they_were_written(tasks in specs()) {
        prop_assert_eq!(read("f", written(&tasks).as_bytes()), Ok(tasks));
    }

    #[test]
    fn no_bytes_make_the_reader_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        drop(read("f", &bytes));
    }

    #[test]
    fn no_change_of_a_file_makes_the_reader_panic(
        tasks in specs(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), 0..3u8, any::<u8>()), 1..6),
    ) {
        let mut bytes = written(&tasks).into_bytes();
        for (place, change, byte) in changes {
            let at = place.index(bytes.len());
            match change {
                0 => bytes[at] = byte,
                1 => bytes.insert(at, byte),
                _ => bytes.truncate(at.max(1)),
            }
        }
        match read("f", &bytes) {
            Ok(tasks) => prop_assert!(!tasks.is_empty()),
            Err(error) => prop_assert!(error.text.starts_with("f:") && error.text.contains("= help: "), "{}", error),
        }
    }
}
