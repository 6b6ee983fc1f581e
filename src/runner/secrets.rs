//! The secrets of an attempt at its runner: variables, and private files beside its temporary directory. They are in no
//! journal and no log. The files are gone with their owner, which the attempt's slot drops at its end.

use std::ffi::OsString;
use std::fmt;
use std::io;
use std::os::unix::ffi::OsStringExt;
use std::path::Path;

use super::attempt_file::AttemptFile;
use super::masking::Masker;
use super::output_file::VARIABLE as OUTPUT_FILE;
use crate::model::output::wrong_outputs;
use crate::model::recipe::WantedSecret;
use crate::model::secret::without_line_feed;
use crate::model::{Outcome, Outputs};

/// Names and values of secrets.
#[derive(Default, Clone, PartialEq, Eq)]
pub struct SecretValues(pub Vec<(String, Vec<u8>)>);

/// Leaves the values out.
impl fmt::Debug for SecretValues {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.0.iter().map(|(name, _)| name)).finish()
    }
}

/// The secrets of one attempt, where its task finds them.
pub struct AttemptSecrets {
    variables: Vec<(OsString, OsString)>,
    values: SecretValues,
    _files: Vec<AttemptFile>,
}

impl AttemptSecrets {
    /// Writes the files of an attempt whose files lie beside this path.
    pub fn place(wanted: &[WantedSecret], values: SecretValues, beside: &Path) -> io::Result<Self> {
        let (mut variables, mut files) = (Vec::new(), Vec::new());
        for WantedSecret { name, file } in wanted {
            let Some((_, value)) = values.0.iter().find(|(of, _)| of == name) else {
                return Err(io::Error::other(format!("the secret {name} did not come")));
            };
            let variable = if *file {
                let file = AttemptFile::beside(beside, &format!("secret-{name}"), "a secret");
                file.write_private(value)?;
                let path = file.path().into();
                files.push(file);
                path
            } else {
                OsString::from_vec(without_line_feed(value).to_vec())
            };
            variables.push((name.into(), variable));
        }
        Ok(Self { variables, values, _files: files })
    }

    /// The variables of the task: values, and paths of files.
    #[must_use]
    pub fn variables(&self) -> &[(OsString, OsString)] {
        &self.variables
    }

    /// Masks the secrets in the file of further tasks that the attempt wrote.
    pub fn mask(&self, text: &mut Result<String, String>) {
        if let (Some(mut masker), Ok(text) | Err(text)) = (self.masker(), text) {
            *text = masker.mask_text(text);
        }
    }

    /// Masks the secrets in the reason for which a command did not start. It may name a directory of a `PATH` that a
    /// step has made of a secret.
    pub fn mask_outcome(&self, outcome: &mut Outcome) {
        if let Outcome::CouldNotStart(why) = outcome {
            *why = self.mask_text(why);
        }
    }

    /// Masks the secrets in a text for people.
    #[must_use]
    pub fn mask_text(&self, text: &str) -> String {
        self.masker().map_or_else(|| text.to_owned(), |mut masker| masker.mask_text(text))
    }

    /// Returns the attempt's outputs without its secrets. An error is for people.
    pub fn mask_outputs(&self, outputs: Outputs) -> Result<Outputs, String> {
        let Some(mut masker) = self.masker() else { return Ok(outputs) };
        let masked = outputs.into_iter().map(|(name, value)| (masker.mask_text(&name), masker.mask_text(&value)));
        let masked: Outputs = masked.collect();
        // A name that holds a secret is no name any more.
        wrong_outputs(&masked).map_or(Ok(masked), |why| Err(format!("{OUTPUT_FILE} is refused: {why}")))
    }

    /// Returns what masks the secrets in a stream. `None` if there are none.
    #[must_use]
    pub fn masker(&self) -> Option<Masker> {
        let values: Vec<Vec<u8>> = self.values.0.iter().map(|(_, value)| value.clone()).collect();
        Masker::new(&values)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn secrets_are_variables_or_private_files_that_go_with_the_attempt() {
        let place = tempfile::tempdir().unwrap();
        let wanted = ["TOKEN", "KEY"].map(|name| WantedSecret { name: name.into(), file: name == "KEY" });
        let values = [("TOKEN", &b"swordfish\n"[..]), ("KEY", b"begin\nend\n")];
        let values = SecretValues(values.map(|(name, value)| (name.to_owned(), value.to_vec())).into());
        assert_eq!(format!("{values:?}"), r#"["TOKEN", "KEY"]"#);
        let secrets = AttemptSecrets::place(&wanted, values.clone(), &place.path().join("0")).unwrap();
        let [token, key] = secrets.variables() else { panic!("two variables") };
        assert_eq!(*token, ("TOKEN".into(), "swordfish".into()), "without the line feed");
        let path = Path::new(&key.1).to_owned();
        assert_eq!((&*key.0, fs::read(&path).unwrap()), ("KEY".as_ref(), b"begin\nend\n".to_vec()), "as it was set");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(secrets.masker().unwrap().mask_text("a swordfish"), "a ***");
        let outputs = |name: &str| vec![(name.to_owned(), "swordfish=swordfish".to_owned())];
        assert_eq!(secrets.mask_outputs(outputs("A")), Ok(vec![("A".to_owned(), "***=***".to_owned())]));
        assert!(secrets.mask_outputs(outputs("swordfish")).unwrap_err().contains("`***` cannot be an output"));
        let mut outcome = Outcome::CouldNotStart("there is no program x (looked in /swordfish/bin:/bin)".into());
        secrets.mask_outcome(&mut outcome);
        assert_eq!(outcome, Outcome::CouldNotStart("there is no program x (looked in /***/bin:/bin)".into()));
        drop(secrets);
        assert!(!path.exists());
        let one = SecretValues(values.0[..1].to_vec());
        assert!(AttemptSecrets::place(&wanted, one, &place.path().join("0")).is_err());
        assert!(!path.exists());
    }
}
