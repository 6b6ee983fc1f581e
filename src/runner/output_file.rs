//! The file `SURVEIL_OUTPUT`, in which a task tells its outputs: variables of the tasks that need it. All steps write
//! to the same file. `variable_lines.rs` reads its form.

use std::path::Path;

use super::attempt_file::AttemptFile;
use super::limits::OUTPUT_FILE_BYTES;
use super::variable_lines::parse;
use crate::model::Outputs;
use crate::model::output::{add_outputs, starts_programs, wrong_outputs};

/// The variable with the path.
pub const VARIABLE: &str = "SURVEIL_OUTPUT";

/// The file of one attempt.
#[derive(Debug)]
pub struct OutputFile {
    file: AttemptFile,
}

impl OutputFile {
    /// The file of an attempt with this temporary directory. It lies beside the directory, and is not there at first:
    /// most tasks have no outputs.
    #[must_use]
    pub fn beside(temporary: &Path) -> Self {
        let file = AttemptFile::beside(temporary, "output", VARIABLE);
        file.remove();
        Self { file }
    }

    /// The path that the task gets.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.file.path()
    }

    /// Returns the outputs that were written so far. An error is for people.
    pub fn read(&self) -> Result<Outputs, String> {
        let limit = OUTPUT_FILE_BYTES + 1;
        let Some(text) = self.file.read(limit)? else { return Ok(Outputs::new()) };
        if text.len() as u64 == limit {
            return Err(format!("{VARIABLE} is longer than {} KiB", OUTPUT_FILE_BYTES >> 10));
        }
        let refused = |name: &[u8]| starts_programs(name).then_some("sets a variable that changes how programs start");
        let mut outputs = Outputs::new();
        for (name, value) in parse(&text, VARIABLE, refused)? {
            match (name.into_string(), value.into_string()) {
                (Ok(name), Ok(value)) => add_outputs(&mut outputs, vec![(name, value)]),
                (name, _) => {
                    let name = name.unwrap_or_else(|name| name.to_string_lossy().into_owned());
                    return Err(format!("the output {name} in {VARIABLE} is not text in UTF-8"));
                }
            }
        }
        match wrong_outputs(&outputs) {
            Some(why) => Err(format!("{VARIABLE} is refused: {why}")),
            None => Ok(outputs),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn outputs_are_read_if_they_are_bounded_text_under_names_that_start_no_programs() {
        let directory = tempfile::tempdir().unwrap();
        let file = OutputFile::beside(&directory.path().join("0"));
        assert_eq!(file.read(), Ok(vec![]), "most tasks write none");
        let read = |bytes: &[u8]| {
            fs::write(file.path(), bytes).unwrap();
            file.read()
        };
        let wanted = [("A", "3"), ("NOTES", "a\nb")].map(|(name, value)| (name.to_owned(), value.to_owned()));
        assert_eq!(read(b"A=1\nNOTES<<E\na\nb\nE\nA=3\n"), Ok(wanted.into()), "a later line wins");
        let why = read(b"A=1\nLD_PRELOAD=/tmp/x.so\n").unwrap_err();
        let wanted = "line 2 of SURVEIL_OUTPUT sets a variable that changes how programs start: `LD_PRELOAD=/tmp/x.so`";
        assert_eq!(why, wanted);
        assert_eq!(read(b"B=\xff").unwrap_err(), "the output B in SURVEIL_OUTPUT is not text in UTF-8");
        let many: String = (0..65).map(|n| format!("N{n}=1\n")).collect();
        assert!(read(many.as_bytes()).unwrap_err().contains("at most 64 outputs, and these are 65"));
        assert!(read(format!("A={}", "x".repeat(16 << 10)).as_bytes()).unwrap_err().contains("at most 16 KiB"));
        assert_eq!(read(&vec![b'\n'; 70_000]).unwrap_err(), "SURVEIL_OUTPUT is longer than 64 KiB");
        fs::remove_file(file.path()).unwrap();
        std::os::unix::fs::symlink("/etc/passwd", file.path()).unwrap();
        assert!(file.read().is_err(), "a link is not followed");
        let path = file.path().to_owned();
        drop(file);
        assert!(!path.exists());
    }
}
