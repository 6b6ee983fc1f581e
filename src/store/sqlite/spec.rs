//! A task as the store keeps it: JSON, so that people can read it in the file. Its form is the store's own, apart from
//! the task file's and the wire's, because rows of today are read by the programs of years to come: fields are only
//! ever added, with a default. Called by the writer and by the queries.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::model::{Script, TaskSpec};

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

/// The task as JSON; equal tasks give equal texts.
pub(super) fn to_json(task: &TaskSpec) -> String {
    let texts = |list: &[Arc<str>]| list.iter().map(|text| text.to_string()).collect();
    let row = SpecRow {
        name: task.name.to_string(),
        script: match &task.script {
            Script::Shell(text) => ScriptRow::Shell(text.clone()),
            Script::Program(words) => ScriptRow::Program(words.clone()),
        },
        needs: texts(&task.needs),
        env: task.env.clone(),
        timeout_ms: task.timeout_ms,
        retries: task.retries,
        allow_failure: task.allow_failure,
        labels: texts(&task.labels),
        keep: task.keep.clone(),
        exclusive: task.exclusive,
    };
    serde_json::to_string(&row).expect("a struct of texts and numbers is always JSON")
}

/// The task that [`to_json`] wrote.
pub(super) fn from_json(text: &str) -> Result<TaskSpec, serde_json::Error> {
    let row: SpecRow = serde_json::from_str(text)?;
    let shared = |list: Vec<String>| list.into_iter().map(Arc::from).collect();
    Ok(TaskSpec {
        name: row.name.into(),
        script: match row.script {
            ScriptRow::Shell(text) => Script::Shell(text),
            ScriptRow::Program(words) => Script::Program(words),
        },
        needs: shared(row.needs),
        env: row.env,
        timeout_ms: row.timeout_ms,
        retries: row.retries,
        allow_failure: row.allow_failure,
        labels: shared(row.labels),
        keep: row.keep,
        exclusive: row.exclusive,
    })
}
