//! The JSON Schema: it is the one in `docs/`, all examples are valid by it, and wrong files are not. The validator
//! knows the words of JSON Schema that the schema uses, and refuses any other, so that none goes unjudged.

use serde_json::Value;

use super::*;

/// Checks a value. Returns the place and the word of the first rule that it breaks.
fn check(value: &Value, schema: &Value, root: &Value, place: &str) -> Result<(), String> {
    for (word, rule) in schema.as_object().unwrap_or_else(|| panic!("{place}: {schema} is no schema")) {
        let holds = match (word.as_str(), value) {
            ("$schema" | "$defs" | "title" | "description", _) => true,
            ("$ref", _) => {
                let pointer = rule.as_str().unwrap().strip_prefix('#').unwrap();
                check(value, root.pointer(pointer).unwrap_or_else(|| panic!("no {pointer}")), root, place)?;
                true
            }
            ("type", _) => {
                let is = |name: &Value| match name.as_str().unwrap() {
                    "object" => value.is_object(),
                    "array" => value.is_array(),
                    "string" => value.is_string(),
                    "integer" => value.is_i64(),
                    "number" => value.is_number(),
                    "boolean" => value.is_boolean(),
                    other => panic!("an unknown type: {other}"),
                };
                rule.as_array().map_or_else(|| is(rule), |names| names.iter().any(is))
            }
            ("enum", _) => rule.as_array().unwrap().contains(value),
            ("const", _) => rule == value,
            ("anyOf", _) => rule.as_array().unwrap().iter().any(|one| check(value, one, root, place).is_ok()),
            ("oneOf", _) => {
                rule.as_array().unwrap().iter().filter(|one| check(value, one, root, place).is_ok()).count() == 1
            }
            ("not", _) => check(value, rule, root, place).is_err(),
            ("properties", Value::Object(map)) => {
                for (key, value) in map {
                    if let Some(schema) = rule.get(key) {
                        check(value, schema, root, &format!("{place}/{key}"))?;
                    }
                }
                true
            }
            ("additionalProperties", Value::Object(map)) => {
                let known = schema.get("properties").and_then(Value::as_object);
                let others = map.iter().filter(|(key, _)| known.is_none_or(|known| !known.contains_key(*key)));
                for (key, value) in others {
                    match rule.as_bool() {
                        Some(false) => return Err(format!("{place}/{key}: {word}")),
                        Some(true) => {}
                        None => check(value, rule, root, &format!("{place}/{key}"))?,
                    }
                }
                true
            }
            ("propertyNames", Value::Object(map)) => {
                map.keys().try_for_each(|key| check(&Value::from(key.as_str()), rule, root, place))?;
                true
            }
            ("required", Value::Object(map)) => {
                rule.as_array().unwrap().iter().all(|key| map.contains_key(key.as_str().unwrap()))
            }
            ("items", Value::Array(items)) => {
                items.iter().try_for_each(|item| check(item, rule, root, &format!("{place}[]")))?;
                true
            }
            ("uniqueItems", Value::Array(items)) => (1..items.len()).all(|at| !items[..at].contains(&items[at])),
            ("minItems", Value::Array(items)) => items.len() as u64 >= rule.as_u64().unwrap(),
            ("maxItems", Value::Array(items)) => items.len() as u64 <= rule.as_u64().unwrap(),
            ("minProperties", Value::Object(map)) => map.len() as u64 >= rule.as_u64().unwrap(),
            ("maxProperties", Value::Object(map)) => map.len() as u64 <= rule.as_u64().unwrap(),
            ("minLength", Value::String(text)) => text.chars().count() as u64 >= rule.as_u64().unwrap(),
            ("maxLength", Value::String(text)) => text.chars().count() as u64 <= rule.as_u64().unwrap(),
            ("pattern", Value::String(text)) => regex::Regex::new(rule.as_str().unwrap()).unwrap().is_match(text),
            ("minimum", Value::Number(number)) => number.as_f64() >= rule.as_f64(),
            ("maximum", Value::Number(number)) => number.as_f64() <= rule.as_f64(),
            // These words are about values of one type, and hold for any other.
            (
                "properties"
                | "additionalProperties"
                | "propertyNames"
                | "required"
                | "items"
                | "uniqueItems"
                | "minItems"
                | "maxItems"
                | "minProperties"
                | "maxProperties"
                | "minLength"
                | "maxLength"
                | "pattern"
                | "minimum"
                | "maximum",
                _,
            ) => true,
            (other, _) => panic!("{place}: the validator does not know `{other}`"),
        };
        if !holds {
            return Err(format!("{place}: {word}"));
        }
    }
    Ok(())
}

fn judged(file: &str) -> Result<(), String> {
    let root: Value = serde_json::from_str(&schema()).unwrap();
    let value: Value = toml::from_str(file).unwrap_or_else(|error| panic!("{error}\n{file}"));
    check(&value, &root, &root, "")
}

#[test]
fn the_schema_in_the_documents_is_that_of_the_tables_of_keys() {
    let text = documents::document("docs/surveil.schema.json");
    assert!(text == schema(), "write it anew: `surveil check --schema > docs/surveil.schema.json`");
}

#[test]
fn all_examples_and_the_examples_of_the_documents_are_valid_by_the_schema() {
    let files = [documents::task_files(), documents::shown_files()].concat();
    assert!(files.len() > 20, "{}", files.len());
    for (name, file) in files {
        judged(&file).unwrap_or_else(|error| panic!("{name}: {error}\n{file}"));
    }
}

#[test]
fn wrong_files_are_not_valid_by_the_schema() {
    for (file, place) in [
        ("", ": required"),
        ("[task.a]\nrum = 'x'", "/task/a/rum: additionalProperties"),
        ("[task.a]\nneeds = []", "/task/a: anyOf"),
        ("[task.a]\nrun = 'x'\ntiemout = '1m'", "/task/a/tiemout: additionalProperties"),
        ("[task.a]\nrun = 1", "/task/a/run: type"),
        ("[task.a]\nrun = []", "/task/a/run: minItems"),
        ("[task.a]\nrun = 'x'\ntimeout = '20 minutes'", "/task/a/timeout: pattern"),
        ("[task.a]\nrun = 'x'\nretries = 11", "/task/a/retries: maximum"),
        ("[task.a]\nrun = 'x'\nenv = { A = 1 }", "/task/a/env/A: type"),
        ("[task.a]\nrun = 'x'\nmatrix = { v = [3.1] }", "/task/a/matrix/v[]: anyOf"),
        ("[task.a]\nrun = 'x'\nmatrix = { v = [] }", "/task/a/matrix/v: minItems"),
        ("[task.'a b']\nrun = 'x'", "/task: pattern"),
        ("[defaults]\nrun = 'x'\n[task.a]\nrun = 'x'", "/defaults/run: additionalProperties"),
        ("[tasks.a]\nrun = 'x'", "/tasks: additionalProperties"),
    ] {
        let told = judged(file).expect_err(file);
        assert!(told.ends_with(place), "{file}: {told}");
        assert!(read("f", file.as_bytes()).is_err(), "{file}");
    }
}

#[test]
fn what_a_matrix_replaces_is_valid_by_the_schema() {
    let file = "[task.a]\nrun = 'x'\nmatrix = { t = ['1m', '2m'] }\ntimeout = '${matrix.t}'";
    judged(file).unwrap();
    assert_eq!(parse(file)[1].recipe.timeout_ms, 120_000);
}
