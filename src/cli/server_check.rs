//! `surveil check --server`: reads the operator's file as a dispatcher would.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::{env, fs};

use super::output::bold;
use super::{CliError, ExitCode, Output};
use crate::config::{ConfigError, SERVER_FILE, data_dir, parse_server};
use crate::model::TrustRule;

/// Checks the file at this path, or in this data directory, and prints what it trusts.
pub(crate) fn run(typed: Option<&Path>, out: &mut Output) -> Result<ExitCode, CliError> {
    let place = typed.map_or_else(|| data_dir(env::var_os("SURVEIL_DATA").map(PathBuf::from)), Path::to_owned);
    let is_file = typed.is_some() && !place.is_dir();
    let path = if is_file { place } else { place.join(SERVER_FILE) };
    let text = match fs::read(&path) {
        Ok(text) => text,
        // A dispatcher needs none; a file that was named is meant to exist.
        Err(error) if error.kind() == ErrorKind::NotFound && !is_file => {
            out.line(format_args!("there is no {}, so the defaults are in force:", path.display()))?;
            out.line(line("all", &TrustRule::default()))?;
            return Ok(ExitCode::Ok);
        }
        Err(source) => return Err(ConfigError::Read { path, source }.into()),
    };
    let settings = parse_server(&path.to_string_lossy(), &text).map_err(ConfigError::from)?;
    out.line("trusted refs, by repository:")?;
    for (repo, rule) in &settings.repos {
        out.line(line(repo.as_str(), &rule.or(&settings.trust)))?;
    }
    let others = if settings.repos.is_empty() { "all" } else { "all others" };
    out.line(line(others, &settings.trust))?;
    Ok(ExitCode::Ok)
}

/// Formats `  app  the default branch; branches release/*; tags that are watched by name`.
fn line(repo: &str, rule: &TrustRule) -> String {
    let list = |globs: &Option<Vec<String>>, kind: &str| match globs {
        None => Some(format!("{kind} that are watched by name")),
        Some(globs) if globs.is_empty() => None,
        Some(globs) => Some(format!("{kind} {}", globs.join(", "))),
    };
    let parts = [
        rule.default_branch.unwrap_or(true).then(|| "the default branch".to_owned()),
        list(&rule.branches, "branches"),
        list(&rule.tags, "tags"),
        rule.refs.as_ref().filter(|globs| !globs.is_empty()).map(|globs| globs.join(", ")),
    ];
    let parts: Vec<String> = parts.into_iter().flatten().collect();
    let parts = if parts.is_empty() { "none".to_owned() } else { parts.join("; ") };
    format!("  {}  {parts}", bold(repo))
}
