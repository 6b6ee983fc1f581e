//! Readers of the keys that say when a task starts, and when it is tried again.

use super::super::draft::Draft;
use super::super::foreign::{self, Level};
use super::super::limits::{MAX_RETRIES, MAX_RETRY_DELAY_MS};
use super::super::mistake::{Mistake, quote};
use super::super::value::{TableEntry, entries, kind};
use super::execution::read_duration;
use crate::model::{Condition, RetryCause};

/// The values of `run_if`.
const CONDITIONS: [(&str, Condition); 3] =
    [("passed", Condition::Passed), ("failed", Condition::Failed), ("finished", Condition::Finished)];
/// The keys of `retry`.
const RETRY_KEYS: [&str; 4] = ["times", "on", "delay", "elsewhere"];
const RETRY_EXAMPLE: &str = "write a table, such as `retry = { times = 2, on = [\"timeout\"], delay = \"30s\" }`,\n\
                             or `retries = 2` for each failure";
/// The JSON Schema of `retry`.
pub(super) const RETRY_SCHEMA: &str = r#"{
    "type": "object",
    "additionalProperties": false,
    "properties": {
        "times": {"type": "integer", "minimum": 0, "maximum": 10},
        "on": {
            "type": "array",
            "minItems": 1,
            "items": {"type": "string", "pattern": "^(exit:[0-9]+|signal|timeout|failed)$"}
        },
        "delay": {"type": "string", "pattern": "^([0-9]+(d|h|m|s|ms))+$"},
        "elsewhere": {"type": "boolean"}
    }
}"#;
const CAUSES_HELP: &str =
    "write `exit:NUMBER`, `signal`, `timeout` or `failed`, such as `on = [\"exit:75\", \"signal\"]`";

pub(super) fn read_run_if(entry: &TableEntry<'_, '_>, draft: &mut Draft<'_>) -> Result<(), Mistake> {
    let help = "write `run_if = \"failed\"` or `\"finished\"`, or leave it out for `\"passed\"`";
    let text = entry.text(help)?;
    let Some((_, condition)) = CONDITIONS.iter().find(|(word, _)| *word == text) else {
        let message = format!("`run_if` must be `passed`, `failed` or `finished`, this is {}", quote(text));
        return Err(entry.wrong(message, help));
    };
    draft.run_if = *condition;
    Ok(())
}

pub(super) fn read_retry(entry: &TableEntry<'_, '_>, draft: &mut Draft<'_>) -> Result<(), Mistake> {
    let value = entry.value.get_ref();
    if let Some(times) = value.as_integer() {
        let help = format!(
            "write `retries = {times}`, or a table, such as `retry = {{ times = {times}, on = [\"timeout\"] }}`"
        );
        return Err(entry.wrong(format!("`retry` must be a table, this is {}", kind(value)), help));
    }
    let table = entry.table(RETRY_EXAMPLE)?;
    // A table without a number means one retry.
    draft.placement.retries = 1;
    for key in entries(table) {
        let rule = &mut draft.placement.retry;
        let read = match key.key {
            "times" => key.count(MAX_RETRIES).map(|times| draft.placement.retries = times),
            "on" => read_causes(&key, draft),
            "delay" => read_duration(&key, MAX_RETRY_DELAY_MS, "a retry at once").map(|ms| rule.delay_ms = ms),
            "elsewhere" => key.flag().map(|flag| rule.elsewhere = flag),
            unknown => Err(unknown_key(&key, unknown)),
        };
        draft.found.unless_wrong(read);
    }
    Ok(())
}

pub(super) fn read_allow_failure(entry: &TableEntry<'_, '_>, draft: &mut Draft<'_>) -> Result<(), Mistake> {
    let value = entry.value.get_ref();
    // Other programs allow some exit codes only.
    if value.is_table() || value.is_array() {
        let message = format!("`allow_failure` must be true or false, this is {}", kind(value));
        let help = "write `allow_failure = true`; if only one exit code is allowed, let the script end with 0 for it,\n\
                    such as by `make test || [ $? = 77 ]`";
        return Err(entry.wrong(message, help));
    }
    draft.placement.allow_failure = entry.flag()?;
    Ok(())
}

fn read_causes(entry: &TableEntry<'_, '_>, draft: &mut Draft<'_>) -> Result<(), Mistake> {
    let mut causes = Vec::new();
    for text in entry.texts(CAUSES_HELP, &mut draft.found)? {
        let wrong =
            || Mistake::new(text.place.clone(), format!("{} is no kind of failure", quote(text.value)), CAUSES_HELP);
        let cause = draft.found.unless_wrong(cause_of(text.value).ok_or_else(wrong));
        causes.extend(cause.filter(|cause| !causes.contains(cause)));
    }
    if entry.value.get_ref().as_array().is_some_and(|list| list.is_empty()) {
        let help = "leave `on` out to try again after each failure; `times = 0` tries nothing again";
        return Err(entry.wrong("`on` is empty, so that nothing would be tried again", help));
    }
    draft.placement.retry.on = causes;
    Ok(())
}

fn cause_of(text: &str) -> Option<RetryCause> {
    match text {
        "signal" => Some(RetryCause::Signal),
        "timeout" => Some(RetryCause::Timeout),
        "failed" => Some(RetryCause::Failed),
        // An attempt that ends with 0 has passed.
        _ => text.strip_prefix("exit:")?.parse().ok().filter(|code| (1..=255).contains(code)).map(RetryCause::Exit),
    }
}

fn unknown_key(entry: &TableEntry<'_, '_>, key: &str) -> Mistake {
    let all = || format!("the keys of `retry` are {}", RETRY_KEYS.join(", "));
    let help = foreign::answer(Level::Retry, key).map_or_else(all, str::to_owned);
    Mistake::new(entry.key_place.clone(), format!("unknown key {} in `retry`", quote(key)), help)
}
