//! `specs`: tasks as JSON, so that people can read them in the file; each content once. The form is the store's own,
//! apart from the task file's and the wire's, because rows of today are read by the programs of years to come: fields
//! are only ever added, with a default.

use std::collections::HashMap;
use std::sync::Arc;

use rusqlite::{Connection, OptionalExtension, params};
use serde::{Deserialize, Serialize};

use super::id_of;
use crate::model::{Label, Script, TaskName, TaskSpec};
use crate::store::sqlite::checksum::Checksum;
use crate::store::sqlite::values::damaged;

/// Tasks remembered by their text; with more the memory starts anew, to bound its size.
const REMEMBERED_MAX: usize = 4096;

/// The row numbers of tasks by their text.
#[derive(Debug, Default)]
pub(crate) struct Ids(HashMap<String, i64>);

impl Ids {
    /// The row of a task, added if it is new.
    pub(crate) fn get(&mut self, conn: &Connection, task: &TaskSpec) -> rusqlite::Result<i64> {
        let body = to_json(task);
        if let Some(id) = self.0.get(&body) {
            return Ok(*id);
        }
        let id = match id_of(conn, "SELECT id FROM specs WHERE body = ?1", &body)? {
            Some(id) => id,
            None => conn
                .prepare_cached("INSERT INTO specs (body, seal) VALUES (?1, ?2)")?
                .insert(params![body, checksum(&body).value()])?,
        };
        if self.0.len() >= REMEMBERED_MAX {
            self.0.clear();
        }
        self.0.insert(body, id);
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
        let found: Option<(String, i64)> = conn
            .prepare_cached("SELECT body, seal FROM specs WHERE id = ?1")?
            .query_row([id], |row| Ok((row.get(0)?, row.get(1)?)))
            .optional()?;
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

#[derive(Serialize, Deserialize)]
struct SpecRow {
    name: String,
    script: ScriptRow,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    needs: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    env: Vec<(String, String)>,
    timeout_ms: u64,
    #[serde(default)]
    retries: u32,
    #[serde(default)]
    allow_failure: bool,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    labels: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    keep: Vec<String>,
    #[serde(default)]
    exclusive: bool,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum ScriptRow {
    Shell(String),
    Program(Vec<String>),
}

/// Returns the task as JSON; equal tasks give equal texts.
fn to_json(task: &TaskSpec) -> String {
    let row = SpecRow {
        name: task.name.to_string(),
        script: match &task.script {
            Script::Shell(text) => ScriptRow::Shell(text.clone()),
            Script::Program(words) => ScriptRow::Program(words.clone()),
        },
        needs: task.needs.iter().map(TaskName::to_string).collect(),
        env: task.env.clone(),
        timeout_ms: task.timeout_ms,
        retries: task.retries,
        allow_failure: task.allow_failure,
        labels: task.labels.iter().map(Label::to_string).collect(),
        keep: task.keep.clone(),
        exclusive: task.exclusive,
    };
    serde_json::to_string(&row).expect("a struct of texts and numbers is always JSON")
}

/// Reads what [`to_json`] wrote.
fn from_json(text: &str) -> Result<TaskSpec, serde_json::Error> {
    let row: SpecRow = serde_json::from_str(text)?;
    Ok(TaskSpec {
        name: TaskName::recorded(&row.name),
        script: match row.script {
            ScriptRow::Shell(text) => Script::Shell(text),
            ScriptRow::Program(words) => Script::Program(words),
        },
        needs: row.needs.iter().map(|name| TaskName::recorded(name)).collect(),
        env: row.env,
        timeout_ms: row.timeout_ms,
        retries: row.retries,
        allow_failure: row.allow_failure,
        labels: row.labels.iter().map(|label| Label::recorded(label)).collect(),
        keep: row.keep,
        exclusive: row.exclusive,
    })
}
