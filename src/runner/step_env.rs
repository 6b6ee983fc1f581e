//! The file `SURVEIL_ENV`, in which a step tells the environment of the steps behind it. `variable_lines.rs` reads its
//! form.

use std::borrow::Cow;
use std::ffi::OsString;
use std::io;
use std::path::Path;

use super::attempt_file::AttemptFile;
use super::limits::STEP_ENV_BYTES;
use super::variable_lines::parse;
use crate::model::Step;

/// Prefix of the variables that no step may set.
const RESERVED: &[u8] = b"SURVEIL_";
/// The variable with the path.
const VARIABLE: &str = "SURVEIL_ENV";

/// The file of one attempt.
#[derive(Debug)]
pub struct StepEnv {
    file: AttemptFile,
}

impl StepEnv {
    /// The file of an attempt with this temporary directory. It lies beside the directory, which is empty at first.
    #[must_use]
    pub fn beside(temporary: &Path) -> Self {
        Self { file: AttemptFile::beside(temporary, "env", VARIABLE) }
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
        parse(&text, VARIABLE, |name| name.starts_with(RESERVED).then_some("sets a variable that only the runner sets"))
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

/// Returns an environment with these variables set. Nothing is copied if there are none.
pub(super) fn with_all<'a>(
    environment: &'a [(OsString, OsString)],
    variables: &[(OsString, OsString)],
) -> Cow<'a, [(OsString, OsString)]> {
    let mut environment = Cow::Borrowed(environment);
    if !variables.is_empty() {
        set_all(environment.to_mut(), variables.to_vec());
    }
    environment
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

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
