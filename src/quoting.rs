//! Words as a person pastes them into a shell. Every path and name in a command that is printed goes through here, so
//! that the command works whatever the name holds.

use std::borrow::Cow;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// Returns a word for a POSIX shell: as it is if no character of it means anything there, else in quotes.
#[must_use]
pub(crate) fn shell_word(word: &str) -> Cow<'_, str> {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "_-./:,@%+=".contains(c);
    if !word.is_empty() && word.chars().all(is_plain) {
        return word.into();
    }
    // A control character or one that reorders text would reach the terminal as it is.
    let is_visible = |c: char| matches!(c, '\'' | '"' | '\\') || c.escape_debug().len() == 1;
    if word.chars().all(is_visible) {
        return format!("'{}'", word.replace('\'', r"'\''")).into();
    }
    escaped(word.as_bytes()).into()
}

/// Returns a path as a word for a shell.
#[must_use]
pub(crate) fn shell_path(path: &Path) -> Cow<'_, str> {
    match path.to_str() {
        Some(text) => shell_word(text),
        None => escaped(path.as_os_str().as_bytes()).into(),
    }
}

/// Formats bytes as `$'a\x1b'`, which bash, zsh, ksh and POSIX of 2024 read.
fn escaped(bytes: &[u8]) -> String {
    let mut text = String::from("$'");
    for byte in bytes {
        match byte {
            b'\'' | b'\\' => text.extend(['\\', char::from(*byte)]),
            b' '..=b'~' => text.push(char::from(*byte)),
            // Always three octal digits, so that a digit behind it does not belong to it.
            byte => text.push_str(&format!("\\{byte:03o}")),
        }
    }
    text.push('\'');
    text
}

/// Makes a path absolute, so that it means the same in another directory.
#[must_use]
pub(crate) fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;
    use std::process::Command;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_plain_word_stays_as_it_is_and_others_are_quoted() {
        for (word, typed) in [
            ("/srv/app.git", "/srv/app.git"),
            ("b12", "b12"),
            ("--data", "--data"),
            ("", "''"),
            ("/my repos/app", "'/my repos/app'"),
            ("it's", r"'it'\''s'"),
            ("~/x", "'~/x'"),
            ("$(rm -rf /)", "'$(rm -rf /)'"),
            ("größe", "'größe'"),
            ("a\u{1b}[2J", r"$'a\033[2J'"),
            ("a\u{202e}1", r"$'a\342\200\2561'"),
        ] {
            assert_eq!(shell_word(word), typed, "{word:?}");
        }
        assert_eq!(shell_path(Path::new(OsStr::from_bytes(b"/a\xff1"))), r"$'/a\3771'");
    }

    /// Sabotage tried: quotes are not escaped.
    #[test]
    fn a_shell_reads_back_what_was_quoted() {
        let check = |words: &[String]| {
            let line = words.iter().map(|word| shell_word(word).into_owned()).collect::<Vec<_>>().join(" ");
            let done = Command::new("bash").args(["-c", &format!("printf '%s\\0' {line}")]).output().unwrap();
            let expected: Vec<u8> = words.iter().flat_map(|word| word.bytes().chain([0])).collect();
            assert_eq!(done.stdout, expected, "{line}");
        };
        let any_word = "[^\\x00]{0,12}";
        let mut runner = proptest::test_runner::TestRunner::new(ProptestConfig::with_cases(8));
        runner
            .run(&proptest::collection::vec(any_word, 200), |words| {
                check(&words);
                Ok(())
            })
            .unwrap();
    }
}
