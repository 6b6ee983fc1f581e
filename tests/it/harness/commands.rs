//! Commands that a person types, run to their end.

use std::path::Path;
use std::process::Command;

use super::World;
use super::process::Process;

/// A command that has ended.
#[derive(Debug)]
pub(crate) struct Done {
    pub(crate) code: i32,
    pub(crate) stdout: Vec<u8>,
    pub(crate) stderr: String,
}

impl World {
    /// Types `surveil …` and waits for its end.
    #[track_caller]
    pub(crate) fn surveil(&self, arguments: &[&str]) -> Done {
        self.run(self.command(arguments))
    }

    /// Like [`World::surveil`], in another directory.
    #[track_caller]
    pub(crate) fn surveil_in(&self, directory: &Path, arguments: &[&str]) -> Done {
        let mut command = self.command(arguments);
        command.current_dir(directory);
        self.run(command)
    }

    /// Runs a command to its end.
    #[track_caller]
    pub(crate) fn run(&self, command: Command) -> Done {
        let name: Vec<_> = std::iter::once(command.get_program()).chain(command.get_args()).collect();
        let process = Process::start(&format!("{name:?}"), self.placed(command));
        // Kept for the report if it does not end in time.
        let place = self.records.borrow().len();
        self.records.borrow_mut().push(process.record());
        let (code, said) = process.finish();
        self.records.borrow_mut().remove(place);
        Done { code, stdout: said.stdout, stderr: String::from_utf8(said.stderr).unwrap() }
    }
}

impl Done {
    /// Standard output of a command that went well.
    #[track_caller]
    pub(crate) fn ok(self) -> String {
        self.with_code(0)
    }

    /// Standard output of a command that must end with this exit code.
    #[track_caller]
    pub(crate) fn with_code(self, code: i32) -> String {
        assert_eq!(self.code, code, "{self:?}");
        String::from_utf8(self.stdout).unwrap()
    }

    /// Standard error of a command that must end with this exit code.
    #[track_caller]
    pub(crate) fn error(self, code: i32) -> String {
        assert_eq!(self.code, code, "{self:?}");
        assert!(!self.stderr.contains("panicked"), "{}", self.stderr);
        self.stderr
    }
}
