//! The command line without a command, `surveil --dispatch=HOST:PORT REPO`, which starts an observer. Inserts the word
//! `observer` before clap reads the arguments. Pure except for one question to the file system.

use std::ffi::{OsStr, OsString};
use std::path::Path;

/// Global options, which may stand before the command.
const GLOBAL_FLAGS: [&str; 2] = ["--verbose", "--quiet"];
/// Options that the program answers itself, whatever else is typed.
const ANSWERED_AT_ONCE: [&str; 4] = ["-h", "--help", "-V", "--version"];

/// Returns the arguments with the command in its place. `arguments[0]` is the program.
pub(crate) fn with_command(mut arguments: Vec<OsString>, commands: &[&str]) -> Vec<OsString> {
    let first = arguments.iter().skip(1).position(|word| !is_global_flag(word)).map(|at| at + 1);
    if let Some(at) = first
        && means_observer(&arguments[at], commands)
    {
        arguments.insert(at, "observer".into());
    }
    arguments
}

/// Whether this word, the first that is no global flag, starts an observer's command line.
fn means_observer(word: &OsStr, commands: &[&str]) -> bool {
    let Some(text) = word.to_str() else {
        // No command has a name that is not UTF-8; a path may have one.
        return true;
    };
    if text.starts_with('-') {
        return !ANSWERED_AT_ONCE.contains(&text);
    }
    !is_command(commands, text) && (looks_like_a_repository(text) || Path::new(text).is_dir())
}

/// Whether this is `-v`, `-vv`, `-qq`, `--verbose`, `--quiet` or the like.
pub(crate) fn is_global_flag(word: &OsStr) -> bool {
    let Some(text) = word.to_str() else { return false };
    let is_short = |letters: &str| !letters.is_empty() && letters.bytes().all(|b| matches!(b, b'v' | b'q'));
    GLOBAL_FLAGS.contains(&text) || text.strip_prefix('-').is_some_and(is_short)
}

/// Whether a word looks like a path or a URL. `statsu` does not, so clap suggests a command for it.
fn looks_like_a_repository(text: &str) -> bool {
    text.starts_with('.') || text.starts_with('~') || text.contains('/')
}

/// Whether this is the name of a command.
pub(crate) fn is_command(commands: &[&str], text: &str) -> bool {
    // clap adds `help` by itself.
    text == "help" || commands.contains(&text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::arguments::NAMES;

    #[track_caller]
    fn check(typed: &str, means: &str) {
        let words =
            |text: &str| std::iter::once("surveil").chain(text.split_whitespace()).map(OsString::from).collect();
        let expected: Vec<OsString> = words(means);
        assert_eq!(with_command(words(typed), NAMES), expected, "{typed}");
    }

    #[test]
    fn an_option_or_a_path_first_is_an_observer() {
        check("--dispatch=localhost:9000 /repo", "observer --dispatch=localhost:9000 /repo");
        check("/repo", "observer /repo");
        check(".", "observer .");
        check("./app --fetch", "observer ./app --fetch");
        check("https://example.org/a.git", "observer https://example.org/a.git");
        check("-v /repo", "-v observer /repo");
        check("--quiet -vv --dispatch h:1 /repo", "--quiet -vv observer --dispatch h:1 /repo");
    }

    #[test]
    fn a_directory_that_exists_is_an_observer() {
        // Tests run in the package's directory.
        check("src", "observer src");
    }

    #[test]
    fn a_command_stays_a_command() {
        for typed in ["", "observer /r", "-v observer /r", "runner --port 1", "status", "-h", "--help", "--version"] {
            check(typed, typed);
        }
    }

    #[test]
    fn a_mistyped_command_is_no_repository() {
        check("staus", "staus");
        check("runer --host h", "runer --host h");
        check("-v dispatch", "-v dispatch");
    }
}
