//! The key `run`: a script for the shell, or a program with its arguments. A list is taken for a list of commands by
//! people who come from other programs, so a first item that cannot be a program is a mistake, and whatever else looks
//! as if a shell were meant is a warning.

use super::draft::{Draft, Run, StepDraft};
use super::findings::Findings;
use super::mistake::{Mistake, quote};
use super::shell::Shell;
use super::value::{Placed, TableEntry, kind, refuse_nul};
use crate::model::{Script, Step, visible_char};

const HELP: &str = "write a line for the shell, such as `run = \"make test\"`,\n\
                    or a program with its arguments, such as `run = [\"make\", \"test\"]`";

/// Words that other programs use for `run`.
pub(super) const OTHER_WORDS: [&str; 5] = ["command", "commands", "cmd", "script", "exec"];
/// Words that only a shell understands. They stand for no program, or for one that has no effect beyond itself.
const WORDS_OF_THE_SHELL: [&str; 24] = [
    ".", "!", "{", "[[", "alias", "case", "cd", "eval", "exec", "exit", "export", "for", "function", "if", "set",
    "shopt", "source", "trap", "ulimit", "umask", "unset", "until", "wait", "while",
];
/// Characters that have a meaning for a shell and that names of programs do not have.
const SIGNS_OF_THE_SHELL: &[char] = &['|', '&', ';', '<', '>', '(', ')', '$', '`', '"', '\''];
/// Words between commands, as arguments of their own.
const BETWEEN_COMMANDS: [&str; 10] = ["&&", "||", "|", ";", "&", ">", ">>", "<", "2>&1", "2>/dev/null"];
/// Programs whose arguments are any text.
const PRINTERS: [&str; 2] = ["echo", "printf"];
/// Items of a list that advice repeats. A longer list gets advice in general.
const MAX_ADVICE_ITEMS: usize = 8;
/// Characters of an item that advice repeats.
const MAX_ADVICE_CHARS: usize = 80;

/// Reads the value of `run` of a task.
pub(super) fn read_run(entry: &TableEntry<'_, '_>, draft: &mut Draft<'_>) -> Result<(), Mistake> {
    let run = parse_run(entry, &mut draft.found)?;
    draft.run = run.or_else(|| draft.run.take());
    Ok(())
}

/// Stands for a command that is not read yet.
pub(super) fn placeholder() -> Placed<Run> {
    Placed { place: 0..0, value: Run::Text(String::new()) }
}

/// Reads a command: a script, or a program with its arguments. Returns `None` if a part of it is a mistake in `found`
/// already.
pub(super) fn parse_run(entry: &TableEntry<'_, '_>, found: &mut Findings) -> Result<Option<Placed<Run>>, Mistake> {
    let value = entry.value.get_ref();
    if let Some(text) = value.as_str() {
        refuse_nul(entry.value.span(), text)?;
        if !has_command(text) {
            let message = if text.trim().is_empty() { "`run` is empty" } else { "`run` has comments and no command" };
            return Err(entry.wrong(message, HELP));
        }
        return Ok(Some(Placed { place: entry.value.span(), value: Run::Text(text.to_owned()) }));
    }
    let Some(list) = value.as_array() else {
        let message = format!("`run` must be a string or a list of strings, this is {}", kind(value));
        return Err(entry.wrong(message, HELP));
    };
    let words = entry.texts(&format!("{HELP};\nseveral commands are the lines of one string, or `steps`"), found)?;
    if words.len() != list.len() {
        // The items that are no text are mistakes already.
        return Ok(None);
    }
    for word in &words {
        refuse_nul(word.place.clone(), word.value)?;
    }
    let Some(program) = words.first() else { return Err(entry.wrong("`run` is empty", HELP)) };
    if program.value.trim().is_empty() {
        return Err(Mistake::new(program.place.clone(), "`run` names no program", HELP));
    }
    if let Some((message, help)) = no_program(&words) {
        return Err(Mistake::new(program.place.clone(), message, help));
    }
    for (word, message, help) in doubts_of_list(&words) {
        found.warning(Mistake::new(word.place.clone(), message, help));
    }
    let words = words.iter().map(|word| word.value.to_owned()).collect();
    Ok(Some(Placed { place: entry.value.span(), value: Run::List(words) }))
}

/// Makes the scripts of a task, once all of its keys are read: `shell` may stand before `run` or after it.
/// `has_own_shell` is false if the shell comes from outside of the task's table.
pub(super) fn finish(draft: &mut Draft<'_>, has_own_shell: bool) {
    let Draft { recipe, run, steps, shell, texts, found, .. } = draft;
    if let Some(run) = run.take() {
        recipe.script = script_of(run, shell.as_ref(), has_own_shell, (texts, found));
    }
    let Some(steps) = steps.take() else { return };
    recipe.script = Script::of_steps();
    for step in steps {
        let StepDraft { name, run, shell: own, dir, env, timeout_ms, always } = step;
        let name = name.map(|name| name.value).unwrap_or_default();
        let script = script_of(run, own.as_ref().or(shell.as_ref()), own.is_some(), (texts, found));
        recipe.steps.push(Step { name, script, dir, env, timeout_ms, always });
    }
}

/// Makes the script of a service, which has no `shell`.
pub(super) fn script_for_sh(run: Placed<Run>, found: &mut Findings) -> Script {
    script_of(run, None, false, (&mut Vec::new(), found))
}

/// Makes a script of a command for a shell, or for `/bin/sh`. A list does without a shell, so a command that asks for
/// both is a mistake.
fn script_of(
    Placed { place, value: run }: Placed<Run>,
    shell: Option<&Placed<Shell>>,
    has_own_shell: bool,
    (texts, found): (&mut Vec<String>, &mut Findings),
) -> Script {
    match run {
        Run::Text(text) => {
            let shell = shell.map(|shell| &shell.value);
            for (message, help) in doubts_of_script(&text, shell) {
                found.warning(Mistake::new(place.clone(), message, help));
            }
            let script = match shell {
                None => Script::stopping_at_failure(&text),
                Some(shell) => Script::Program(shell.words_for(&text)),
            };
            if shell.is_none_or(Shell::is_like_sh) {
                texts.push(text);
            }
            script
        }
        Run::List(words) => {
            if let Some(shell) = shell.filter(|_| has_own_shell) {
                let message = "`run` is a list, which is started without a shell, so `shell` has no effect";
                let help = "leave `shell` out, or write `run` as a string, which is a script for that shell";
                found.mistake(Mistake::new(shell.place.clone(), message, help));
            }
            Script::Program(words)
        }
    }
}

/// Advises what to write in place of a list under a key that other programs use for commands.
pub(super) fn advice_for_list(entry: &TableEntry<'_, '_>) -> String {
    let words = entry.texts(HELP, &mut Findings::default()).unwrap_or_default();
    if words.is_empty() {
        format!("the key is `run`: {HELP}")
    } else {
        format!("the key is `run`; {}", as_lines(&words))
    }
}

/// Whether a script has a line that is no comment.
pub(super) fn has_command(text: &str) -> bool {
    text.lines().map(str::trim).any(|line| !line.is_empty() && !line.starts_with('#'))
}

/// Returns why the first item of a list cannot be a program, and what to write instead.
fn no_program(words: &[Placed<&str>]) -> Option<(String, String)> {
    let program = words[0].value;
    let quoted = quote(program);
    let in_shell = || as_one_command(words);
    Some(if program.contains(char::is_whitespace) {
        let message = format!("{quoted} is no program: a list is one program and its arguments, each an item");
        let is_one_command = words.len() == 1 || words[1..].iter().any(|word| word.value.starts_with('-'));
        (message, if is_one_command { as_one_command(words) } else { as_lines(words) })
    } else if WORDS_OF_THE_SHELL.contains(&program) {
        (format!("{quoted} is a word of the shell and no program: a list is started without a shell"), in_shell())
    } else if program.starts_with('~') || program.contains(SIGNS_OF_THE_SHELL) {
        (format!("{quoted} is no program: a list is started without a shell, so nothing is expanded"), in_shell())
    } else if let Some((name, value)) = program.split_once('=').filter(|(name, _)| is_variable(name)) {
        let help = format!("write `env = {{ {name} = \"{}\" }}`, and begin `run` with the program", short(value));
        (format!("{quoted} is no program: only a shell sets variables in front of one"), help)
    } else if program.starts_with('-') {
        (format!("{quoted} is an option and no program"), "begin the list with the program".to_owned())
    } else if program.ends_with('/') {
        (format!("{quoted} is a directory and no program"), "name the program in it".to_owned())
    } else {
        return None;
    })
}

/// Returns the items after the program that look as if a shell were meant, or several commands.
fn doubts_of_list<'w, 't>(words: &'w [Placed<&'t str>]) -> Vec<(&'w Placed<&'t str>, String, String)> {
    let program = words[0].value;
    let mut doubts = Vec::new();
    for pair in words.windows(2) {
        let [before, word] = pair else { continue };
        let quoted = quote(word.value);
        // The value of an option (`-c`, `-m`, `-name`) may be any text.
        let is_value = before.value.starts_with('-');
        let is_end_of_exec = word.value == ";" && matches!(program, "find" | "xargs" | "tmux");
        if BETWEEN_COMMANDS.contains(&word.value) && !is_end_of_exec && !PRINTERS.contains(&program) && !is_value {
            let message = format!("{quoted} is an argument of `{}`: a list is started without a shell", short(program));
            doubts.push((word, message, as_one_command(words)));
            // One doubt for a list with `&&` between its items is enough.
            break;
        }
        if is_value || PRINTERS.contains(&program) {
            continue;
        }
        if is_like_a_command(word.value) {
            let message = format!("{quoted} is one argument of `{}`, blanks included", short(program));
            let help = format!("if it is a command of its own, {}", as_lines(words));
            doubts.push((word, message, format!("give each argument an item of its own;\n{help}")));
        } else if is_expandable(word.value) {
            let message = format!("nothing expands {quoted}: a list is started without a shell");
            doubts.push((word, message, as_one_command(words)));
        }
    }
    doubts
}

/// Returns what is probably not meant in a script for `shell`, or for `/bin/sh`.
fn doubts_of_script(text: &str, shell: Option<&Shell>) -> Vec<(String, String)> {
    let mut doubts = Vec::new();
    if shell.is_some_and(|shell| !shell.is_like_sh()) {
        return doubts;
    }
    let first = text.trim_start().lines().next().unwrap_or_default();
    if let Some(interpreter) = first.strip_prefix("#!") {
        let program = interpreter.split_whitespace().last().unwrap_or_default();
        let name = program.rsplit('/').next().unwrap_or_default();
        if shell.is_none() && !matches!(name, "sh" | "dash" | "-e" | "-eu" | "-eux" | "-ex" | "-x") {
            let message = format!("{} is only a comment here: a string is a script for /bin/sh", quote(first));
            let help = "write `shell = [\"bash\", \"-euo\", \"pipefail\"]`, or put the script into a file and run that";
            doubts.push((message, help.to_owned()));
        }
    }
    if first.starts_with("[\"") || first.starts_with("['") {
        let help = "a list stands without quotes around it, such as `run = [\"make\", \"test\"]`";
        doubts.push(("`run` is a string that looks like a list".to_owned(), help.to_owned()));
    }
    let pipes_into_tee =
        text.replace("||", "").split('|').skip(1).any(|next| next.split_whitespace().next() == Some("tee"));
    let has_pipefail = text.contains("pipefail") || shell.is_some_and(Shell::has_pipefail);
    if pipes_into_tee && !has_pipefail {
        let message = "a failure left of `| tee` is not noticed: a pipe has the exit code of its last program";
        let help = "write into a file and show that, such as `make test > log 2>&1 || { cat log; exit 1; }`,\n\
                    or write `shell = [\"bash\", \"-euo\", \"pipefail\"]`";
        doubts.push((message.to_owned(), help.to_owned()));
    }
    doubts
}

/// Whether the text is made of plain words with blanks between them, as a command is and a sentence or a pattern mostly
/// is not.
fn is_like_a_command(text: &str) -> bool {
    let is_word = |word: &str| word.chars().all(|c| c.is_ascii_alphanumeric() || "._-/=:@+".contains(c));
    let first = text.split(' ').next().unwrap_or_default();
    let is_program =
        first.starts_with(['/', '.']) || !first.contains('/') && first.starts_with(|c: char| c.is_ascii_lowercase());
    text.contains(' ') && is_program && text.split(' ').all(is_word)
}

/// Whether a shell would replace the whole word or its beginning: `$NAME`, `${NAME}/x`, `$(…)`, `~/x`.
fn is_expandable(word: &str) -> bool {
    let after = word.strip_prefix('$');
    let is_dollar = after.is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_alphabetic() || "_{(".contains(c)));
    is_dollar || word == "~" || word.starts_with("~/")
}

fn is_variable(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

/// Advises to write all items as one line for the shell.
fn as_one_command(words: &[Placed<&str>]) -> String {
    let line: Vec<&str> = words.iter().map(|word| word.value.trim()).collect();
    let line = line.join(" ");
    if words.len() > MAX_ADVICE_ITEMS || !is_repeatable(&line) || line.contains('"') {
        return "write it as a string, which is a script for the shell".to_owned();
    }
    format!("write `run = \"{line}\"`")
}

/// Advises to write each item as a line of one script.
fn as_lines(words: &[Placed<&str>]) -> String {
    let lines: Vec<&str> = words.iter().map(|word| word.value.trim()).collect();
    if lines.len() > MAX_ADVICE_ITEMS || !lines.iter().all(|line| is_repeatable(line) && !line.contains("\"\"\"")) {
        return "write the commands as the lines of one string, between `\"\"\"` and `\"\"\"`".to_owned();
    }
    format!("write the commands as the lines of one string:\nrun = \"\"\"\n{}\n\"\"\"", lines.join("\n"))
}

/// Whether advice can repeat a text as it is, within quotation marks.
fn is_repeatable(text: &str) -> bool {
    text.chars().count() <= MAX_ADVICE_CHARS && !text.contains('\\') && text.chars().all(|c| visible_char(c) == c)
}

fn short(text: &str) -> String {
    quote(text).trim_matches('`').to_owned()
}
