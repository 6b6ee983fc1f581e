//! The file `SURVEIL_TASKS`, in which a task with `expand` writes further tasks.

use std::path::Path;

use super::attempt_file::AttemptFile;
use crate::protocol::limits::MAX_WRITTEN_BYTES;

/// The variable with the path.
pub const VARIABLE: &str = "SURVEIL_TASKS";

/// The file of one attempt.
#[derive(Debug)]
pub struct WrittenTasks {
    file: AttemptFile,
}

impl WrittenTasks {
    /// The file of an attempt with this temporary directory. It lies beside the directory, and is not there at first.
    #[must_use]
    pub fn beside(temporary: &Path) -> Self {
        let file = AttemptFile::beside(temporary, "tasks", VARIABLE);
        file.remove();
        Self { file }
    }

    /// The path that the task gets.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.file.path()
    }

    /// Returns the text of the file; `None` if it is not there or is empty. An error is for people.
    #[must_use]
    pub fn read(&self) -> Option<Result<String, String>> {
        let bytes = match self.file.read(MAX_WRITTEN_BYTES as u64 + 1) {
            Ok(bytes) => bytes.unwrap_or_default(),
            Err(why) => return Some(Err(why)),
        };
        if bytes.len() > MAX_WRITTEN_BYTES {
            let text = format!("{VARIABLE}:1:1: the file is larger than {} KiB", MAX_WRITTEN_BYTES >> 10);
            return Some(Err(text));
        }
        if bytes.is_empty() {
            return None;
        }
        // A control character would take six bytes on the wire, and no TOML has one.
        let is_forbidden = |c: char| c.is_ascii_control() && !matches!(c, '\n' | '\r' | '\t');
        let (text, at) = match String::from_utf8(bytes) {
            Ok(text) => match text.find(is_forbidden) {
                None => return Some(Ok(text)),
                at => (text, at.unwrap_or_default()),
            },
            Err(error) => {
                let at = error.utf8_error().valid_up_to();
                (String::from_utf8_lossy(error.as_bytes()).into_owned(), at)
            }
        };
        let before = &text[..text.floor_char_boundary(at)];
        let line = before.matches('\n').count() + 1;
        let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
        Some(Err(format!("{VARIABLE}:{line}:{column}: the file is not text in UTF-8")))
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_file_is_read_if_it_is_text_of_a_bounded_size_and_removed_afterwards() {
        let directory = tempfile::tempdir().unwrap();
        let file = WrittenTasks::beside(&directory.path().join("0"));
        assert_eq!(file.read(), None);
        let read = |bytes: &[u8]| {
            fs::write(file.path(), bytes).unwrap();
            file.read()
        };
        assert_eq!(read(b""), None);
        assert_eq!(read("[task.a]\nrun = \"ä\"\n".as_bytes()), Some(Ok("[task.a]\nrun = \"ä\"\n".into())));
        let not_text = |place: &str| Some(Err(format!("SURVEIL_TASKS:{place}: the file is not text in UTF-8")));
        assert_eq!(read(b"a\nb\xff"), not_text("2:2"));
        assert_eq!(read(b"a\0"), not_text("1:2"));
        let is_problem = |read| matches!(read, Some(Err::<String, String>(_)));
        assert!(!is_problem(read(&vec![b'#'; MAX_WRITTEN_BYTES])));
        let too_long = Err::<String, String>("SURVEIL_TASKS:1:1: the file is larger than 256 KiB".into());
        assert_eq!(read(&vec![b'#'; MAX_WRITTEN_BYTES + 1]), Some(too_long));
        fs::remove_file(file.path()).unwrap();
        fs::create_dir(file.path()).unwrap();
        assert!(is_problem(file.read()));
        let path = file.path().to_owned();
        drop(file);
        assert!(!path.exists());
    }
}
