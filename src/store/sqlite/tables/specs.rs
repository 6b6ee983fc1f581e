//! `specs`: tasks as JSON, so that people can read them in the file; each content once. The form is that of
//! [`TaskSpec`] and [`crate::model::recipe`]. Rows of today are read by the programs of years to come, so a key is only
//! ever added, with a default.

use std::collections::HashMap;
use std::sync::Arc;

use rusqlite::Connection;

use super::read_one;
use crate::model::TaskSpec;
use crate::store::sqlite::checksum::Checksum;
use crate::store::sqlite::values::damaged;

/// Tasks that are remembered; with more the memory starts anew, to bound its size.
const REMEMBERED_MAX: usize = 2048;

/// The row numbers of tasks.
#[derive(Debug, Default)]
pub(crate) struct Ids(HashMap<Arc<TaskSpec>, i64>);

impl Ids {
    /// The row of a task, added if it is new.
    pub(crate) fn get(&mut self, conn: &Connection, task: &Arc<TaskSpec>) -> rusqlite::Result<i64> {
        if let Some(id) = self.0.get(task) {
            return Ok(*id);
        }
        let body = to_json(task);
        let id = match read_one(conn, "SELECT id FROM specs WHERE body = ?1", [&body], |row| row.get(0))? {
            Some(id) => id,
            None => conn
                .prepare_cached("INSERT INTO specs (body, seal) VALUES (?1, ?2)")?
                .insert((&body, checksum(&body).value()))?,
        };
        if self.0.len() >= REMEMBERED_MAX {
            self.0.clear();
        }
        self.0.insert(Arc::clone(task), id);
        Ok(id)
    }
}

/// Tasks read so far, so that jobs with equal tasks share one.
#[derive(Debug, Default)]
pub(crate) struct Tasks(HashMap<i64, Arc<TaskSpec>>);

impl Tasks {
    /// The task in that row.
    pub(crate) fn get(&mut self, conn: &Connection, id: i64) -> rusqlite::Result<Arc<TaskSpec>> {
        if let Some(task) = self.0.get(&id) {
            return Ok(Arc::clone(task));
        }
        const READ: &str = "SELECT body, seal FROM specs WHERE id = ?1";
        let found = read_one(conn, READ, [id], |row| Ok((row.get::<_, String>(0)?, row.get(1)?)))?;
        let (body, sealed) = found.ok_or_else(|| damaged("a job's task is missing"))?;
        checksum(&body).check(sealed, || format!("task {id}"))?;
        let task = Arc::new(from_json(&body).map_err(|e| damaged(format!("a job's task is unreadable: {e}")))?);
        self.0.insert(id, Arc::clone(&task));
        Ok(task)
    }
}

fn checksum(body: &str) -> Checksum {
    Checksum::of("specs").bytes(body.as_bytes())
}

/// Returns the task as JSON; equal tasks give equal texts.
fn to_json(task: &TaskSpec) -> String {
    serde_json::to_string(task).expect("a struct of texts and numbers is always JSON")
}

/// Reads what [`to_json`] wrote, here or in an earlier program.
fn from_json(text: &str) -> Result<TaskSpec, serde_json::Error> {
    serde_json::from_str(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Label, Need, Script, TaskName};

    /// Written by programs whose specs had a form of the store's own: a `script` object, and needs that are names.
    const EARLIER: [&str; 2] = [
        r#"{"name":"test","script":{"shell":"cargo test"},"timeout_ms":3600000,"retries":0,"allow_failure":false,"exclusive":false}"#,
        r#"{"name":"deploy","script":{"program":["./deploy","--to","x"]},"needs":["test","lint"],"env":[["A","1"],["B",""]],"timeout_ms":5,"retries":2,"allow_failure":true,"labels":["gpu","os=linux"],"keep":["target","a/b"],"exclusive":true}"#,
    ];

    fn name(text: &str) -> TaskName {
        TaskName::new(text).unwrap()
    }

    fn deploy() -> TaskSpec {
        let mut task =
            TaskSpec::new(name("deploy"), Script::Program(["./deploy", "--to", "x"].map(String::from).into()));
        let recipe = task.recipe_mut();
        recipe.env = vec![("A".into(), "1".into()), ("B".into(), String::new())];
        (recipe.timeout_ms, recipe.exclusive) = (5, true);
        recipe.keep = vec!["target".into(), "a/b".into()];
        task.placement.needs = vec![Need::passed(name("test")), Need::passed(name("lint"))];
        task.placement.labels = ["gpu", "os=linux"].map(|label| Label::new(label).unwrap()).into();
        (task.placement.retries, task.placement.allow_failure) = (2, true);
        task
    }

    #[test]
    fn tasks_that_an_earlier_program_stored_are_read() {
        let test = TaskSpec::new(name("test"), Script::Shell("cargo test".into()));
        assert_eq!(EARLIER.map(|text| from_json(text).unwrap()), [test, deploy()]);
    }

    /// Later programs read this text; if it changes, they have to read both.
    #[test]
    fn a_stored_task_is_its_name_its_recipe_and_its_placement_side_by_side() {
        assert_eq!(
            to_json(&deploy()),
            r#"{"name":"deploy","program":["./deploy","--to","x"],"env":[["A","1"],["B",""]],"timeout_ms":5,"keep":["target","a/b"],"exclusive":true,"needs":[{"task":"test","condition":"passed"},{"task":"lint","condition":"passed"}],"retries":2,"allow_failure":true,"labels":["gpu","os=linux"]}"#
        );
        assert_eq!(from_json(&to_json(&deploy())).unwrap(), deploy());
    }

    #[test]
    fn keys_of_a_later_program_are_ignored_and_a_task_without_a_script_is_refused() {
        let later = r#"{"name":"test","shell":"x","timeout_ms":1,"colour":"red","needs":[{"task":"a","why":"b"}]}"#;
        assert_eq!(from_json(later).unwrap().placement.needs, [Need::passed(name("a"))]);
        for text in [r#"{"name":"a","timeout_ms":1}"#, r#"{"name":"a","timeout_ms":1,"program":[]}"#, "{"] {
            assert!(from_json(text).is_err(), "{text}");
        }
    }
}
