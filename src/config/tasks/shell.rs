//! The key `shell`: the program with its options that executes a script in place of `/bin/sh`. A task with a shell is
//! expressed as a program with its arguments, so that runners of every age execute it.

use super::findings::Findings;
use super::mistake::{Mistake, quote};
use super::value::{Placed, TableEntry, refuse_nul};

/// The item of the list that stands for the script.
const PLACE_OF_TEXT: &str = "{}";
/// The option before the script, if the list has no place for it.
const COMMAND_OPTION: &str = "-c";
/// The most items of a shell. No known shell has that many options.
const MAX_SHELL_WORDS: usize = 64;
/// Shells whose scripts have the form that the warnings about scripts know.
const LIKE_SH: [&str; 8] = ["sh", "bash", "dash", "zsh", "ksh", "mksh", "ash", "busybox"];

const HELP: &str = "write a program and its options, such as `shell = [\"bash\", \"-euo\", \"pipefail\"]`:\n\
                    `-c` and the script are added; an item `{}` stands for the script if another option is needed,\n\
                    such as `shell = [\"node\", \"-e\", \"{}\"]`";

/// A shell, checked: a program with its options.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Shell(Vec<String>);

/// Reads the value of `shell`. Returns `None` if an item is no text, which is a mistake in `found` by then.
pub(super) fn read_shell(entry: &TableEntry<'_, '_>, found: &mut Findings) -> Result<Option<Placed<Shell>>, Mistake> {
    let Some(list) = entry.value.get_ref().as_array() else {
        let typed = entry.value.get_ref().as_str().unwrap_or_default();
        let words: Vec<&str> = typed.split_whitespace().collect();
        let is_plain = |word: &&str| word.chars().all(|c| c.is_ascii_alphanumeric() || "._-/+=".contains(c));
        if !words.is_empty() && words.len() <= 8 && words.iter().all(is_plain) {
            let help = format!("write `shell = [\"{}\"]`", words.join("\", \""));
            return Err(entry.wrong("`shell` must be a list of strings, this is a string", help));
        }
        return entry.texts(HELP, found).map(|_| None);
    };
    let words = entry.texts(HELP, found)?;
    if words.len() != list.len() {
        return Ok(None);
    }
    for word in &words {
        refuse_nul(word.place.clone(), word.value)?;
    }
    let wrong = |word: &Placed<&str>, message: String, help: &str| Err(Mistake::new(word.place.clone(), message, help));
    let Some(program) = words.first() else { return Err(entry.wrong("`shell` is empty", HELP)) };
    if program.value.trim().is_empty() || program.value == PLACE_OF_TEXT {
        return wrong(program, "`shell` names no program".to_owned(), HELP);
    }
    if program.value.contains(char::is_whitespace) {
        return wrong(
            program,
            format!("{} is no program: each option is an item of its own", quote(program.value)),
            HELP,
        );
    }
    if program.value.starts_with('-') {
        return wrong(program, format!("{} is an option and no program", quote(program.value)), HELP);
    }
    if words.len() > MAX_SHELL_WORDS {
        return Err(entry.wrong(format!("a shell has at most {MAX_SHELL_WORDS} items"), HELP));
    }
    if let Some(word) = words.iter().find(|word| word.value.contains("{0}")) {
        let help = "write an item `{}`: it stands for the script itself, and no file is made of it";
        return wrong(word, format!("nothing is put in the place of `{{0}}` in {}", quote(word.value)), help);
    }
    let is_part = |word: &&Placed<&str>| word.value.contains(PLACE_OF_TEXT) && word.value != PLACE_OF_TEXT;
    if let Some(word) = words.iter().find(is_part) {
        return wrong(word, format!("`{{}}` is only a part of {}", quote(word.value)), "give `{}` an item of its own");
    }
    if let Some(word) = words.iter().filter(|word| word.value == PLACE_OF_TEXT).nth(1) {
        return wrong(word, "`{}` is there twice".to_owned(), "the script has one place");
    }
    let words = words.iter().map(|word| word.value.to_owned()).collect();
    Ok(Some(Placed { place: entry.value.span(), value: Shell(words) }))
}

impl Shell {
    /// Returns the program with the arguments that execute a script.
    pub(super) fn words_for(&self, text: &str) -> Vec<String> {
        let mut words = self.0.clone();
        if let Some(place) = words.iter_mut().find(|word| *word == PLACE_OF_TEXT) {
            text.clone_into(place);
            return words;
        }
        if words.last().is_none_or(|last| last != COMMAND_OPTION) {
            words.push(COMMAND_OPTION.to_owned());
        }
        // A shell takes a text that begins like an option for one. Behind the end of a line it cannot.
        let is_like_option = text.starts_with(['-', '+']);
        words.push(if is_like_option { format!("\n{text}") } else { text.to_owned() });
        words
    }

    /// Whether its scripts look like those of `/bin/sh`.
    pub(super) fn is_like_sh(&self) -> bool {
        let name = self.0.first().and_then(|program| program.rsplit('/').next());
        name.is_some_and(|name| LIKE_SH.contains(&name))
    }

    /// Whether a pipe fails if any of its programs does.
    pub(super) fn has_pipefail(&self) -> bool {
        self.0.iter().any(|word| word == "pipefail")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_script_follows_the_option_c_or_takes_the_place_that_is_kept_for_it() {
        let words =
            |shell: &[&str], text: &str| Shell(shell.iter().map(|word| (*word).to_owned()).collect()).words_for(text);
        assert_eq!(words(&["bash", "-euo", "pipefail"], "a | b"), ["bash", "-euo", "pipefail", "-c", "a | b"]);
        assert_eq!(words(&["bash", "-e", "-c"], "a"), ["bash", "-e", "-c", "a"]);
        assert_eq!(words(&["pwsh", "-Command", "{}", "x"], "a {}"), ["pwsh", "-Command", "a {}", "x"]);
        assert_eq!(words(&["python3"], "-1"), ["python3", "-c", "\n-1"]);
        assert_eq!(words(&["node", "-e", "{}"], "-1"), ["node", "-e", "-1"]);
    }
}
