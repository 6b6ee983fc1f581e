//! The form in which a task tells variables in a file: lines `NAME=VALUE`, and values of several lines between
//! `NAME<<WORD` and a line `WORD`, as GitHub has them.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;

use crate::model::output::is_variable_name;
use crate::model::visible;

/// Characters of a line that an error repeats.
const QUOTED_CHARS: usize = 60;

/// Reads variables from the text of `file`. `refused` returns what is wrong with a name, if anything is. An error is
/// for people.
pub(super) fn parse(
    text: &[u8],
    file: &str,
    refused: impl Fn(&[u8]) -> Option<&'static str>,
) -> Result<Vec<(OsString, OsString)>, String> {
    let text = text.strip_suffix(b"\n").unwrap_or(text);
    let mut lines = text.split(|byte| *byte == b'\n').enumerate();
    let mut variables = Vec::new();
    while let Some((at, line)) = lines.next() {
        if line.is_empty() {
            continue;
        }
        let wrong = |why: &str| Err(format!("line {} of {file} {why}: {}", at + 1, quote(line)));
        let assigned = line.iter().position(|byte| *byte == b'=');
        let opened = line.windows(2).position(|pair| pair == b"<<");
        let (name, value) = match (assigned, opened) {
            (Some(sign), opened) if opened.is_none_or(|opened| sign < opened) => {
                (&line[..sign], line[sign + 1..].to_vec())
            }
            (_, Some(opened)) => {
                let word = &line[opened + 2..];
                if word.is_empty() {
                    return wrong("has no word behind `<<`");
                }
                let mut value: Vec<&[u8]> = Vec::new();
                loop {
                    match lines.next() {
                        Some((_, line)) if line == word => break,
                        Some((_, line)) => value.push(line),
                        None => return wrong("begins a value that has no end"),
                    }
                }
                (&line[..opened], value.join(&b'\n'))
            }
            _ => return wrong("is neither NAME=VALUE nor NAME<<WORD"),
        };
        if !is_variable_name(name) {
            return wrong("names no variable: use letters, digits and _");
        }
        if let Some(why) = refused(name) {
            return wrong(why);
        }
        if value.contains(&0) {
            return wrong("has a NUL byte in its value");
        }
        variables.push((OsString::from_vec(name.to_vec()), OsString::from_vec(value)));
    }
    Ok(variables)
}

fn quote(line: &[u8]) -> String {
    let line = visible(&String::from_utf8_lossy(line));
    match line.char_indices().nth(QUOTED_CHARS) {
        Some((end, _)) => format!("`{}…`", &line[..end]),
        None => format!("`{line}`"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse_env(text: &[u8]) -> Result<Vec<(OsString, OsString)>, String> {
        let refused =
            |name: &[u8]| name.starts_with(b"SURVEIL_").then_some("sets a variable that only the runner sets");
        parse(text, "SURVEIL_ENV", refused)
    }

    #[test]
    fn lines_and_values_of_several_lines_are_read() {
        let text = b"A=1\n\nPATH=/x:/y=z<<w\nNOTES<<END\n# a=b\n\nlast\nEND\nEMPTY=\nNONE<<E\nE\nB=\xff";
        let wanted: [(&str, &[u8]); 6] = [
            ("A", b"1"),
            ("PATH", b"/x:/y=z<<w"),
            ("NOTES", b"# a=b\n\nlast"),
            ("EMPTY", b""),
            ("NONE", b""),
            ("B", b"\xff"),
        ];
        let wanted: Vec<_> = wanted.map(|(name, value)| (name.into(), OsString::from_vec(value.to_vec()))).into();
        assert_eq!(parse_env(text), Ok(wanted));
        assert_eq!(parse_env(b""), Ok(vec![]));
    }

    #[test]
    fn a_line_that_sets_nothing_is_an_error_with_its_number() {
        for (text, why) in [
            (&b"A=1\nfoo\n"[..], "line 2 of SURVEIL_ENV is neither NAME=VALUE nor NAME<<WORD: `foo`"),
            (b"export A=1", "line 1 of SURVEIL_ENV names no variable: use letters, digits and _: `export A=1`"),
            (b"1A=x", "line 1 of SURVEIL_ENV names no variable"),
            (b"=x", "line 1 of SURVEIL_ENV names no variable"),
            (b"SURVEIL_BUILD=7", "line 1 of SURVEIL_ENV sets a variable that only the runner sets"),
            (b"A<<\nx", "line 1 of SURVEIL_ENV has no word behind `<<`"),
            (b"A=1\nB<<E\nx\n", "line 2 of SURVEIL_ENV begins a value that has no end"),
            (b"A=\0", "line 1 of SURVEIL_ENV has a NUL byte in its value"),
        ] {
            let error = parse_env(text).unwrap_err();
            assert!(error.starts_with(why), "{error}");
        }
        let long = parse_env(&[b'x'; 5000]).unwrap_err();
        assert!(long.len() < 200 && long.ends_with("…`"), "{long}");
    }
}
