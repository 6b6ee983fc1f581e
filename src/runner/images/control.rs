//! The directory that a runner and a container share: the script that the container executes, and the files in which
//! the script tells what became of the task. The task's exit code travels here, and not as the tool's, because a tool
//! exits with 125, 126 or 127 for failures of its own.
//!
//! A task can write here. So nothing here is followed or believed beyond the task's own outcome.

use std::ffi::{OsStr, OsString};
use std::fs::DirBuilder;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use crate::git::remove_directory;
use crate::model::Script;
use crate::process::Command;
use crate::runner::attempt_file::AttemptFile;

/// The word in place of a code for a program that the image does not have.
const NO_PROGRAM: &str = "no-program";
/// The longest file that tells a code.
const CODE_BYTES: u64 = 64;

/// The directory of one attempt.
#[derive(Debug)]
pub(super) struct Control {
    directory: PathBuf,
    script: AttemptFile,
    began: AttemptFile,
    code: AttemptFile,
}

/// The end of a command, as its script told it.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Told {
    Code(i32),
    /// The image has no such program.
    NoProgram,
    /// The script began, and told no code.
    Began,
    Nothing,
}

impl Control {
    /// Makes the directory, beside the attempt's temporary directory.
    pub(super) fn make(temporary: &Path) -> io::Result<Self> {
        let directory = temporary.with_added_extension("image");
        if directory.symlink_metadata().is_ok() {
            remove_directory(&directory)?;
        }
        DirBuilder::new().mode(0o700).create(&directory)?;
        let file = |extension| AttemptFile::beside(&directory.join("command"), extension, "the container's answer");
        let (script, began, code) = (file("sh"), file("began"), file("code"));
        Ok(Self { directory, script, began, code })
    }

    pub(super) fn directory(&self) -> &Path {
        &self.directory
    }

    /// The path beside which the files lie that the task itself writes.
    pub(super) fn beside(&self) -> PathBuf {
        self.directory.join("task")
    }

    pub(super) fn script(&self) -> &Path {
        self.script.path()
    }

    /// The pipe that a container opens when it is ready for scripts.
    pub(super) fn ready(&self) -> PathBuf {
        self.directory.join("ready")
    }

    /// Writes the script of a command, and forgets what was told of the one before. `is_alone` is false if other
    /// processes of the container go on after the command: the script ends them.
    pub(super) fn write(&self, command: &Command, temporary: &Path, is_alone: bool) -> io::Result<()> {
        self.began.remove();
        self.code.remove();
        let (began, code) = (self.began.path(), self.code.path());
        let others = (!is_alone).then_some(&*self.directory);
        self.script.write(&script(command, temporary, (began, code), others))
    }

    /// Writes the script that keeps a container until it is removed. It waits for children, so that orphans are reaped.
    pub(super) fn write_keeper(&self) -> io::Result<()> {
        let mut text = b": >".to_vec();
        text.extend(quoted(self.ready().as_os_str()));
        text.extend(b"\nwhile command -v sleep >/dev/null; do sleep 100000; done\nread -r _ <");
        text.extend(quoted(self.ready().as_os_str()));
        text.push(b'\n');
        self.script.write(&text)
    }

    pub(super) fn told(&self) -> Result<Told, String> {
        if let Some(bytes) = self.code.read(CODE_BYTES)? {
            let text = String::from_utf8_lossy(&bytes);
            let text = text.trim();
            if text == NO_PROGRAM {
                return Ok(Told::NoProgram);
            }
            // An empty file is that of a container which ended in between.
            if let Some(code) = text.parse().ok().filter(|code| (0..=255).contains(code)) {
                return Ok(Told::Code(code));
            }
        }
        Ok(if self.began.read(CODE_BYTES)?.is_some() { Told::Began } else { Told::Nothing })
    }
}

impl Drop for Control {
    fn drop(&mut self) {
        if let Err(error) = remove_directory(&self.directory) {
            log::warn!("the directory {} of a container stays: {error}", self.directory.display());
        }
    }
}

/// Returns the script that executes a command in a container. The environment stands in it, because each tool reads
/// files of variables in its own way, and none takes a value of several lines.
fn script(command: &Command, temporary: &Path, (began, code): (&Path, &Path), others: Option<&Path>) -> Vec<u8> {
    let mut text = Vec::new();
    let mut line = |parts: &[&[u8]]| {
        text.extend(parts.concat());
        text.push(b'\n');
    };
    let code = quoted(code.as_os_str());
    line(&[b": >", &quoted(began.as_os_str())]);
    // Everything in the container is asked to end by one signal, and the task may take its grace.
    line(&[b"trap : TERM"]);
    let is_name = |name: &OsStr| {
        let bytes = name.as_bytes();
        !bytes.is_empty()
            && !bytes[0].is_ascii_digit()
            && bytes.iter().all(|byte| byte.is_ascii_alphanumeric() || *byte == b'_')
    };
    let mut odd: Vec<&(OsString, OsString)> = Vec::new();
    for variable in &command.env {
        match variable {
            // `cd` sets it.
            (name, _) if name == "PWD" => {}
            (name, value) if is_name(name) => line(&[b"export ", name.as_bytes(), b"=", &quoted(value)]),
            _ => odd.push(variable),
        }
    }
    if !command.env.iter().any(|(name, _)| name == "HOME") {
        // The user of the container may have no home in the image.
        let temporary = quoted(temporary.as_os_str());
        line(&[b"[ -n \"${HOME-}\" ] && [ -w \"$HOME\" ] || export HOME=", &temporary]);
    }
    line(&[b"cd ", &quoted(command.directory.as_os_str()), b" || exit"]);
    let mut words: Vec<Vec<u8>> = Vec::new();
    match &command.script {
        Script::Shell(text) => words.extend([b"/bin/sh -c -- ".to_vec(), quoted(OsStr::new(text))]),
        Script::Program(program) => {
            let first = quoted(OsStr::new(program.first().map_or("", |word| &**word)));
            line(&[
                b"command -v ",
                &first,
                b" >/dev/null 2>&1 || { echo ",
                NO_PROGRAM.as_bytes(),
                b" >",
                &code,
                b"; exit 127; }",
            ]);
            words.extend(program.iter().flat_map(|word| [quoted(OsStr::new(word)), b" ".to_vec()]));
        }
    }
    // A shell cannot set a variable with such a name.
    if !odd.is_empty() {
        let set = odd.iter().map(|(name, value)| {
            let mut both = name.clone();
            both.push("=");
            both.push(value);
            [quoted(&both), b" ".to_vec()].concat()
        });
        words.splice(0..0, [b"env ".to_vec()].into_iter().chain(set));
    }
    line(&[&words.concat()]);
    line(&[b"code=$?; echo \"$code\" >", &code]);
    if let Some(directory) = others {
        line(&[signal_all("KILL", directory).as_bytes()]);
    }
    line(&[b"exit \"$code\""]);
    text
}

/// Returns the command of a shell that sends a signal to every process of its container but the first. Does nothing if
/// the first process is not the container's own: a template may leave the pids to the machine.
pub(super) fn signal_all(signal: &str, directory: &Path) -> String {
    let directory = String::from_utf8_lossy(&quoted(directory.as_os_str())).into_owned();
    format!(
        "read -r first </proc/1/cmdline; case \"$first\" in *{directory}*) kill -s {signal} -1 2>/dev/null;; *) false;; esac"
    )
}

/// Returns a word of the shell with these bytes.
pub(super) fn quoted(text: &OsStr) -> Vec<u8> {
    let mut word = vec![b'\''];
    for byte in text.as_bytes() {
        match byte {
            b'\'' => word.extend(br"'\''"),
            byte => word.push(*byte),
        }
    }
    word.push(b'\'');
    word
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;
    use crate::process::Limits;

    fn command(script: Script, env: &[(&str, &str)], directory: &Path) -> Command {
        let env = env.iter().map(|(name, value)| (OsString::from(name), OsString::from(value))).collect();
        Command {
            script,
            directory: directory.into(),
            env,
            timeout_ms: 1,
            grace_ms: 1,
            view: None,
            limits: Limits::default(),
        }
    }

    /// Executes a script as a container would. Returns what it told, and its output.
    fn run(script: Script, env: &[(&str, &str)]) -> (Told, String) {
        let place = tempfile::tempdir().unwrap();
        let temporary = place.path().join("it's 0");
        let control = Control::make(&temporary).unwrap();
        control.write(&command(script, env, place.path()), &temporary, true).unwrap();
        assert_eq!(control.told(), Ok(Told::Nothing));
        let mut shell = std::process::Command::new("/bin/sh");
        shell.arg(control.script()).env_clear().env("PATH", "/usr/bin:/bin");
        let output = shell.output().unwrap();
        let path = place.path().to_str().unwrap();
        (control.told().unwrap(), String::from_utf8_lossy(&output.stdout).replace(path, "PLACE"))
    }

    fn shell(text: &str) -> Script {
        Script::Shell(text.into())
    }

    #[test]
    fn the_code_of_the_command_is_told_whatever_it_is() {
        for code in [0, 7, 125, 126, 127, 255] {
            assert_eq!(run(shell(&format!("exit {code}")), &[]).0, Told::Code(code));
        }
        assert_eq!(run(shell("kill -KILL $$"), &[]).0, Told::Code(137));
        assert_eq!(run(shell("kill -KILL $PPID"), &[]).0, Told::Began);
        assert_eq!(run(Script::Program(vec!["no-such-program".into()]), &[]).0, Told::NoProgram);
        let words = ["printf", "%s|", "a b", "it's"].map(String::from);
        assert_eq!(run(Script::Program(words.into()), &[]), (Told::Code(0), "a b|it's|".into()));
    }

    #[test]
    fn every_value_arrives_as_it_is_and_the_directory_is_entered() {
        let env = [("A", "two\nlines"), ("B", "$HOME '\"`\\"), ("PWD", "/x")];
        let (told, output) = run(shell("echo \"$A|$B|$PWD|$HOME\""), &env);
        assert_eq!((told, &*output), (Told::Code(0), "two\nlines|$HOME '\"`\\|PLACE|PLACE/it's 0\n"));
        assert_eq!(run(shell("echo $HOME"), &[("HOME", "/nowhere")]).1, "/nowhere\n");
        let program = Script::Program(vec!["env".into()]);
        assert!(run(program, &[("with.dot", "1")]).1.contains("\nwith.dot=1\n"));
    }

    /// A template may leave the pids to the machine, where every process of the user would be meant.
    #[test]
    fn processes_are_signalled_only_in_a_container_of_its_own() {
        let place = tempfile::tempdir().unwrap();
        let mut shell = std::process::Command::new("/bin/sh");
        shell.args(["-c", &format!("{}; echo refused $?", signal_all("TERM", place.path()))]);
        assert_eq!(shell.output().unwrap().stdout, b"refused 1\n");
    }

    /// A task that is in the container may do anything in the directory.
    #[test]
    fn nothing_that_a_task_puts_there_is_followed() {
        let place = tempfile::tempdir().unwrap();
        let temporary = place.path().join("0");
        let outside = place.path().join("outside");
        fs::write(&outside, "0").unwrap();
        let control = Control::make(&temporary).unwrap();
        symlink(&outside, control.code.path()).unwrap();
        assert_eq!(control.told(), Err("the container's answer is not a regular file any more".into()));
        symlink(&outside, control.script()).unwrap();
        control.write(&command(shell("true"), &[], place.path()), &temporary, true).unwrap();
        assert_eq!(fs::read_to_string(&outside).unwrap(), "0");
        for (text, told) in [("", Told::Nothing), ("256", Told::Nothing), ("x", Told::Nothing), ("3\n", Told::Code(3))]
        {
            fs::write(control.code.path(), text).unwrap();
            assert_eq!(control.told(), Ok(told), "{text}");
        }
        let directory = control.directory().to_owned();
        symlink(place.path(), directory.join("link")).unwrap();
        drop(control);
        assert!(!directory.exists() && outside.exists());
    }
}
