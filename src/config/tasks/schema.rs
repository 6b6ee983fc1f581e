//! The JSON Schema of a task file, made of the tables of keys. Editors read it to complete and check files. It judges
//! each value by itself; whether needs name tasks and templates exist, only the parser knows.

use serde_json::{Map, Value, json};

use super::keys::{KEYS, Key};
use super::top_level::TOP_KEYS;

const DIALECT: &str = "https://json-schema.org/draft/2020-12/schema";
/// The pattern that every text with a placeholder matches, whatever its form is otherwise.
const PLACEHOLDER: &str = r"\$\{matrix\.";

/// Returns the schema as JSON for people, with a line feed at its end.
#[must_use]
pub fn schema() -> String {
    let mut definitions = Map::new();
    for key in KEYS {
        definitions.insert(definition(key), of_key(key));
    }
    // A template may have any keys of a task, and a task needs something to run.
    definitions.insert("template".to_owned(), table(KEYS.iter()));
    definitions.insert("defaults".to_owned(), table(KEYS.iter().filter(|key| key.is_common)));
    let commands = KEYS.iter().filter(|key| key.name == "run" || key.instead_of.contains(&"run"));
    let required: Vec<Value> =
        commands.map(|key| key.name).chain(["extends"]).map(|name| json!({ "required": [name] })).collect();
    let mut task = table(KEYS.iter());
    task["anyOf"] = required.into();
    definitions.insert("task".to_owned(), task);

    let tops: Map<String, Value> = TOP_KEYS.iter().map(|key| (key.name.to_owned(), read(key.schema))).collect();
    let schema = json!({
        "$schema": DIALECT,
        "title": "A task file of Surveil, .surveil.toml",
        "type": "object",
        "required": ["task"],
        "properties": tops,
        "additionalProperties": false,
        "$defs": definitions,
    });
    format!("{schema:#}\n")
}

/// The schema of a table with these keys.
fn table(keys: impl Iterator<Item = &'static Key>) -> Value {
    let property = |key: &Key| (key.name.to_owned(), json!({ "$ref": format!("#/$defs/{}", definition(key)) }));
    let properties: Map<String, Value> = keys.map(property).collect();
    json!({ "type": "object", "properties": properties, "additionalProperties": false })
}

/// The name of a key's definition.
fn definition(key: &Key) -> String {
    format!("key.{}", key.name)
}

fn of_key(key: &Key) -> Value {
    let mut schema = read(key.schema);
    if key.is_replaced {
        allow_placeholders(&mut schema);
    }
    // The last column of the documentation's table.
    let meaning = key.row.rsplit(" | ").next().unwrap_or_default();
    schema["description"] = meaning.into();
    schema
}

fn read(schema: &str) -> Value {
    serde_json::from_str(schema).expect("a test reads the schemas of all keys")
}

/// Lets a text with a placeholder through where another form is asked for: the values of a matrix come later.
fn allow_placeholders(schema: &mut Value) {
    match schema {
        Value::Object(map) => {
            for (word, value) in map {
                if let Value::String(pattern) = value
                    && word == "pattern"
                {
                    *pattern = format!("{pattern}|{PLACEHOLDER}");
                } else {
                    allow_placeholders(value);
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(allow_placeholders),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}
