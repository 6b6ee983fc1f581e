//! The keys at the top of a task file: the only list of them. A new key is one entry of [`TOP_KEYS`], with its reader
//! in a file of its own, and a field of [`FileDraft`] for its value.

use super::file::FileDraft;
use super::value::TableEntry;
use super::{build, inherited, schedules, service_tables, task};

/// One key at the top of the file.
pub(super) struct TopKey {
    pub(super) name: &'static str,
    /// The JSON Schema of the value, as JSON. `#/$defs/task`, `template` and `defaults` are tables of a task's keys.
    pub(super) schema: &'static str,
    /// Reads the value. Mistakes go to the findings of the file.
    pub(super) read: for<'t, 'i> fn(&TableEntry<'t, 'i>, &mut FileDraft<'t, 'i>),
}

/// All keys at the top of the file, in the order in which they are read: a task depends on all others.
pub(super) static TOP_KEYS: &[TopKey] = &[
    TopKey { name: "defaults", schema: r##"{"$ref": "#/$defs/defaults"}"##, read: inherited::read_defaults },
    TopKey {
        name: "template",
        schema: r##"{"type": "object", "additionalProperties": {"$ref": "#/$defs/template"},
            "propertyNames": {"pattern": "^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$"}}"##,
        read: inherited::read_templates,
    },
    TopKey {
        name: "build",
        schema: r#"{"type": "object", "additionalProperties": false, "properties": {
            "timeout": {"type": "string", "pattern": "^([0-9]+(d|h|m|s|ms))+$"},
            "fail_fast": {"type": "boolean"},
            "supersede": {"type": "string", "enum": ["no", "queued", "running"]}}}"#,
        read: build::read_build,
    },
    TopKey {
        name: "service",
        schema: r##"{"type": "object", "propertyNames": {"pattern": "^[a-z][a-z0-9_-]{0,31}$"},
            "additionalProperties": {"type": "object", "additionalProperties": false,
                "anyOf": [{"required": ["run"]}, {"required": ["image"]}],
                "properties": {
                    "image": {"type": "string", "minLength": 1, "maxLength": 500},
                    "pull": {"type": "string", "enum": ["missing", "always", "never"]},
                    "port": {"type": "integer", "minimum": 1, "maximum": 65535},
                    "run": {"type": ["string", "array"], "minLength": 1, "items": {"type": "string"}, "minItems": 1},
                    "ready": {"type": ["string", "array"], "minLength": 1, "items": {"type": "string"}, "minItems": 1},
                    "env": {"type": "object", "additionalProperties": {"type": "string"}},
                    "timeout": {"type": "string", "pattern": "^([0-9]+(d|h|m|s|ms))+$"}}}}"##,
        read: service_tables::read_services,
    },
    TopKey {
        name: "task",
        schema: r##"{"type": "object", "additionalProperties": {"$ref": "#/$defs/task"}, "minProperties": 1,
            "propertyNames": {"pattern": "^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$"}}"##,
        read: task::read_tasks,
    },
    TopKey {
        name: "schedule",
        schema: r##"{"type": "object", "propertyNames": {"pattern": "^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$"},
            "additionalProperties": {"type": "object", "additionalProperties": false, "required": ["cron"],
                "properties": {
                    "cron": {"type": "string", "description": "five fields: minute, hour, day, month, day of the week"},
                    "timezone": {"type": "string", "description": "such as Europe/Berlin; UTC by default"},
                    "branch": {"type": "string", "minLength": 1},
                    "tasks": {"type": "array", "items": {"type": "string"}, "minItems": 1}}}}"##,
        read: schedules::read_schedules,
    },
];

/// Returns the names of all keys, as advice.
pub(super) fn known() -> String {
    let names: Vec<String> = TOP_KEYS.iter().map(|key| format!("`{}`", key.name)).collect();
    match names.as_slice() {
        [only] => format!("the only key here is {only}"),
        _ => format!("the keys here are {}", names.join(", ")),
    }
}
