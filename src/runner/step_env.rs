//! The file `SURVEIL_ENV`, in which a step tells the environment of the steps behind it: lines `NAME=VALUE`, and values
//! of several lines between `NAME<<WORD` and a line `WORD`, as GitHub has them.

use std::ffi::OsString;
use std::io;
use std::os::unix::ffi::OsStringExt;
use std::path::Path;

use super::attempt_file::AttemptFile;
use super::limits::STEP_ENV_BYTES;
use crate::model::{Step, visible};

/// Prefix of the variables that no step may set.
const RESERVED: &[u8] = b"SURVEIL_";
/// Characters of a line that an error repeats.
const QUOTED_CHARS: usize = 60;

/// The file of one attempt.
#[derive(Debug)]
pub struct StepEnv {
    file: AttemptFile,
}

impl StepEnv {
    /// The file of an attempt with this temporary directory. It lies beside the directory, which is empty at first.
    #[must_use]
    pub fn beside(temporary: &Path) -> Self {
        Self { file: AttemptFile::beside(temporary, "env", "SURVEIL_ENV") }
    }

    /// The path that a step gets.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.file.path()
    }

    /// Makes the file empty for the next step.
    pub fn make(&self) -> io::Result<()> {
        self.file.make()
    }

    /// Returns the variables that the step has set. An error is for people.
    pub fn read(&self) -> Result<Vec<(OsString, OsString)>, String> {
        let limit = STEP_ENV_BYTES + 1;
        let text = self.file.read(limit)?.unwrap_or_default();
        if text.len() as u64 == limit {
            return Err(format!("SURVEIL_ENV is longer than {} KiB", STEP_ENV_BYTES >> 10));
        }
        parse(&text)
    }
}

/// Completes the environment of a step: the variables that earlier steps have set, the file for its own ones, and those
/// of the task file, which win. An error is for people.
pub fn step_environment(
    environment: &mut Vec<(OsString, OsString)>,
    step: &Step,
    file: &StepEnv,
    changes: &[(OsString, OsString)],
) -> Result<(), String> {
    file.make().map_err(|error| format!("the file for SURVEIL_ENV cannot be made: {error}"))?;
    set_all(environment, changes.to_vec());
    let own = step.env.iter().map(|(name, value)| (name.into(), value.into()));
    set_all(environment, own.collect());
    let told = [("SURVEIL_STEP", OsString::from(&step.name)), ("SURVEIL_ENV", file.path().into())];
    set_all(environment, told.map(|(name, value)| (name.into(), value)).into());
    Ok(())
}

/// Sets variables in an environment, each name once.
pub fn set_all(environment: &mut Vec<(OsString, OsString)>, variables: Vec<(OsString, OsString)>) {
    for (name, value) in variables {
        match environment.iter_mut().find(|(known, _)| *known == name) {
            Some((_, old)) => *old = value,
            None => environment.push((name, value)),
        }
    }
}

fn parse(text: &[u8]) -> Result<Vec<(OsString, OsString)>, String> {
    let text = text.strip_suffix(b"\n").unwrap_or(text);
    let mut lines = text.split(|byte| *byte == b'\n').enumerate();
    let mut variables = Vec::new();
    while let Some((at, line)) = lines.next() {
        if line.is_empty() {
            continue;
        }
        let wrong = |why: &str| Err(format!("line {} of SURVEIL_ENV {why}: {}", at + 1, quote(line)));
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
        let is_name = name.first().is_some_and(|first| !first.is_ascii_digit())
            && name.iter().all(|byte| byte.is_ascii_alphanumeric() || *byte == b'_');
        if !is_name {
            return wrong("names no variable: use letters, digits and _");
        }
        if name.starts_with(RESERVED) {
            return wrong("sets a variable that only the runner sets");
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
    use std::fs;

    use super::*;

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
        assert_eq!(parse(text), Ok(wanted));
        assert_eq!(parse(b""), Ok(vec![]));
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
            let error = parse(text).unwrap_err();
            assert!(error.starts_with(why), "{error}");
        }
        let long = parse(&[b'x'; 5000]).unwrap_err();
        assert!(long.len() < 200 && long.ends_with("…`"), "{long}");
    }

    #[test]
    fn the_file_is_new_for_each_step_and_gone_in_the_end() {
        let place = tempfile::tempdir().unwrap();
        let env = StepEnv::beside(&place.path().join("0"));
        let path = env.path().to_owned();
        env.make().unwrap();
        fs::write(&path, "A=1\n").unwrap();
        assert_eq!(env.read(), Ok(vec![("A".into(), "1".into())]));
        env.make().unwrap();
        assert_eq!(env.read(), Ok(vec![]));
        fs::write(&path, vec![b'x'; (STEP_ENV_BYTES + 1) as usize]).unwrap();
        assert_eq!(env.read(), Err("SURVEIL_ENV is longer than 64 KiB".into()));
        fs::remove_file(&path).unwrap();
        assert_eq!(env.read(), Ok(vec![]), "a step may delete it");
        fs::create_dir(&path).unwrap();
        assert_eq!(env.read(), Err("SURVEIL_ENV is not a regular file any more".into()));
        env.make().unwrap();
        std::os::unix::fs::symlink("/etc/passwd", path.with_extension("x")).unwrap();
        fs::rename(path.with_extension("x"), &path).unwrap();
        assert!(env.read().is_err(), "a link is not followed");
        drop(env);
        assert!(!path.exists());
    }

    #[test]
    fn a_later_value_takes_the_place_of_an_earlier_one() {
        let mut environment = vec![("A".into(), "1".into()), ("B".into(), "2".into())];
        set_all(&mut environment, vec![("B".into(), "3".into()), ("C".into(), "4".into()), ("C".into(), "5".into())]);
        assert_eq!(
            environment,
            [("A".into(), "1".into()), ("B".into(), "3".into()), ("C".into(), OsString::from("5"))]
        );
    }
}
