//! Services: programs that run beside a task, in its attempt, such as a database.

use serde::{Deserialize, Serialize};

/// The most services of one task. Each takes a process that supervises it, threads and a log of its own.
pub const MAX_SERVICES: usize = 8;
/// The longest name of a service. It is a part of names of files and variables.
pub const MAX_SERVICE_NAME_CHARS: usize = 32;
/// The most last lines of a service's log that tell why a task could not start.
pub const MAX_LAST_LINES: usize = 3;
/// The variable with the port of a service, for the service itself and its `ready`.
pub const PORT_VARIABLE: &str = "PORT";

/// Returns the variable with the port of a service of this name. Two names may have one variable.
#[must_use]
pub fn variable_of_service(name: &str) -> String {
    format!("SURVEIL_SERVICE_{}_PORT", name.to_ascii_uppercase().replace('-', "_"))
}

/// Whether the text can name a service: it is safe in names of streams, files and variables.
#[must_use]
pub fn is_service_name(text: &str) -> bool {
    text.len() <= MAX_SERVICE_NAME_CHARS
        && text.starts_with(|first: char| first.is_ascii_lowercase())
        && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'_' | b'-'))
}

/// The fate of one service of an attempt. It is on the wire and in the store as it is, so a field is only ever
/// added, with a default.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ServiceRecord {
    pub name: String,
    /// The time after which it was ready. Absent if it never was.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ready_ms: Option<u64>,
    /// Why the task could not start, if this service is the cause; else how it ended before its task did, if it did.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failure: Option<ServiceFailure>,
    /// The last lines of its log, if it is the reason why the task could not start.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub last_lines: Vec<String>,
    /// The container tool and the digest of its image, a few words. Empty for a program of the machine.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub means: String,
}

worded! {
    /// How a service failed.
    #[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
    #[serde(tag = "code", rename_all = "snake_case")]
    pub enum ServiceFailure: code {
        /// It could not be started, by its own fault: no such program, not executable.
        CouldNotStart { text: String } = "could_not_start",
        /// Its process ended with this exit code.
        ExitCode { exit_code: i32 } = "exit_code",
        /// A signal that Surveil did not send ended its process.
        Signal { signal: i32 } = "signal",
        /// It was not ready in time. How the last try of `ready` ended that was not cut short, if one did.
        NotReady { timeout_ms: u64, #[serde(default, skip_serializing_if = "Option::is_none")] last_try: Option<i32> } =
            "not_ready",
    }
}

/// The parts of a [`ServiceFailure`] beside its code: a number, a text, and a time in milliseconds.
pub type FailureParts = (Option<i32>, Option<String>, Option<u64>);

impl ServiceFailure {
    /// Returns the parts, for a message.
    #[must_use]
    pub fn parts(&self) -> FailureParts {
        match self {
            Self::CouldNotStart { text } => (None, Some(text.clone()), None),
            Self::ExitCode { exit_code: number } | Self::Signal { signal: number } => (Some(*number), None, None),
            Self::NotReady { timeout_ms, last_try } => (*last_try, None, Some(*timeout_ms)),
        }
    }

    /// Makes a failure of the parts of a message. Returns `None` if they are none that this program knows.
    #[must_use]
    pub fn of_parts(code: &str, parts: FailureParts) -> Option<Self> {
        Some(match (code, parts) {
            ("could_not_start", (_, Some(text), _)) => Self::CouldNotStart { text },
            ("exit_code", (Some(exit_code), ..)) => Self::ExitCode { exit_code },
            ("signal", (Some(signal), ..)) => Self::Signal { signal },
            ("not_ready", (last_try, _, Some(timeout_ms))) => Self::NotReady { timeout_ms, last_try },
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Pull, Script, Service, ServiceImage};

    #[test]
    fn a_service_has_a_name_that_is_safe_everywhere_and_a_variable() {
        for name in ["db", "a", "my-db_2", &"a".repeat(32)] {
            assert!(is_service_name(name), "{name}");
        }
        for name in ["", "Db", "2db", "-db", "a.b", "a/b", "ä", &"a".repeat(33)] {
            assert!(!is_service_name(name), "{name}");
        }
        assert_eq!(variable_of_service("my-db_2"), "SURVEIL_SERVICE_MY_DB_2_PORT");
    }

    #[test]
    fn a_service_and_what_became_of_it_survive_the_way_and_old_records_have_none() {
        let mut service = Service::new("db".into(), Script::Shell("serve".into()));
        assert_eq!(serde_json::to_string(&service).unwrap(), r#"{"name":"db","shell":"serve","timeout_ms":60000}"#);
        service.ready = Some(Script::Program(vec!["ping".into()]));
        service.env = vec![("A".into(), "1".into())];
        let read: Service = serde_json::from_str(&serde_json::to_string(&service).unwrap()).unwrap();
        assert_eq!(read, service);
        service.script = None;
        service.image = Some(ServiceImage { name: "pg:16".into(), pull: Pull::Never, port: Some(5432) });
        let text = serde_json::to_string(&Service { ready: None, env: Vec::new(), ..service.clone() }).unwrap();
        let image = r#"{"name":"pg:16","pull":"never","port":5432}"#;
        assert_eq!(text, format!(r#"{{"name":"db","image":{image},"timeout_ms":60000}}"#));
        let read: Service = serde_json::from_str(&serde_json::to_string(&service).unwrap()).unwrap();
        assert_eq!(read, service);
        let failure = Some(ServiceFailure::NotReady { timeout_ms: 5, last_try: Some(2) });
        let record = ServiceRecord { name: "db".into(), failure, last_lines: vec!["x".into()], ..Default::default() };
        let text = serde_json::to_string(&record).unwrap();
        let wanted = r#"{"name":"db","failure":{"code":"not_ready","timeout_ms":5,"last_try":2},"last_lines":["x"]}"#;
        assert_eq!(text, wanted);
        assert_eq!(serde_json::from_str::<ServiceRecord>(&text).unwrap(), record);
    }

    #[test]
    fn a_failure_survives_its_parts() {
        for failure in [
            ServiceFailure::CouldNotStart { text: "no".into() },
            ServiceFailure::ExitCode { exit_code: 3 },
            ServiceFailure::Signal { signal: 9 },
            ServiceFailure::NotReady { timeout_ms: 5, last_try: None },
            ServiceFailure::NotReady { timeout_ms: 5, last_try: Some(1) },
        ] {
            assert_eq!(ServiceFailure::of_parts(failure.code(), failure.parts()), Some(failure));
        }
        assert_eq!(ServiceFailure::of_parts("of_tomorrow", (Some(1), None, None)), None);
    }
}
