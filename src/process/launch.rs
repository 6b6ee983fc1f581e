//! Prepares the execution of a command, and explains why one failed.
//!
//! Decides whose fault a failed start is: the command's own (an outcome) or the machine's (an error). Executes nothing.
//! Used by `supervise_main` only.

use std::ffi::{CString, OsStr, OsString};
use std::fs;
use std::io::{self, Read};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use rustix::io::Errno;

use super::Command;
use super::child::SUBCOMMAND;
use super::kernel::{Image, Strings};
use crate::model::Script;

/// This program, even if a newer one has replaced its file.
const PROGRAM: &str = "/proc/self/exe";

/// The platform's shell.
const SHELL: &str = "/bin/sh";

/// The search path if the environment has no PATH; that of execvp(3).
const DEFAULT_PATH: &str = "/bin:/usr/bin";

/// Bytes of a script's first line that the kernel reads.
const SHEBANG_BYTES: u64 = 256;

/// Returns the program to execute, or the reason why there is none.
pub(super) fn prepare(command: &Command) -> Result<Image, String> {
    let (program, words) = match &command.script {
        Script::Shell(text) if text.trim().is_empty() => return Err("the command is empty".into()),
        Script::Shell(text) => (SHELL, shell_words(text)),
        Script::Program(words) => {
            let program = words.first().filter(|word| !word.is_empty()).ok_or("the command is empty")?;
            (program.as_str(), words.iter().map(String::as_str).collect())
        }
    };
    let no_nul = |_| "the command or its environment has a NUL byte".to_owned();
    let candidates =
        candidates(program, &command.env).into_iter().map(|path| CString::new(path.into_os_string().into_vec()));
    let environment =
        command.env.iter().map(|(name, value)| CString::new([name.as_bytes(), b"=", value.as_bytes()].concat()));
    Ok(Image {
        candidates: candidates.collect::<Result<_, _>>().map_err(no_nul)?,
        arguments: Strings::new(words.into_iter().map(CString::new).collect::<Result<_, _>>().map_err(no_nul)?),
        environment: Strings::new(environment.collect::<Result<_, _>>().map_err(no_nul)?),
    })
}

/// Returns this very program with the hidden subcommand, with the variables of this process. A view may hide its file;
/// the kernel's link to it works all the same.
pub(super) fn supervisor() -> io::Result<Image> {
    let string = |bytes: &[u8]| CString::new(bytes).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput));
    let variables = std::env::vars_os();
    let variables = variables.map(|(name, value)| string(&[name.as_bytes(), b"=", value.as_bytes()].concat()));
    Ok(Image {
        candidates: vec![string(PROGRAM.as_bytes())?],
        arguments: Strings::new(vec![string(PROGRAM.as_bytes())?, string(SUBCOMMAND.as_bytes())?]),
        environment: Strings::new(variables.collect::<io::Result<_>>()?),
    })
}

/// The arguments of the shell. `--` keeps a text that begins like an option from being one.
fn shell_words(text: &str) -> Vec<&str> {
    if text.starts_with(['-', '+']) { vec!["sh", "-c", "--", text] } else { vec!["sh", "-c", text] }
}

/// The paths at which a program may be: its own if it has a slash, else one in each directory of the command's PATH.
/// Relative paths start at the command's directory, because the process is there when it tries them.
fn candidates(program: &str, env: &[(OsString, OsString)]) -> Vec<PathBuf> {
    if program.contains('/') {
        return vec![program.into()];
    }
    search_path(env).as_bytes().split(|byte| *byte == b':').map(|dir| directory(dir).join(program)).collect()
}

/// An empty entry of PATH means the current directory.
fn directory(entry: &[u8]) -> &Path {
    if entry.is_empty() { Path::new(".") } else { Path::new(OsStr::from_bytes(entry)) }
}

fn search_path(env: &[(OsString, OsString)]) -> &OsStr {
    env.iter().find(|(name, _)| name == "PATH").map_or(OsStr::new(DEFAULT_PATH), |(_, value)| value)
}

/// Explains why the kernel refused to execute the command, if that is the command's own fault. `None` means that the
/// machine lacks a resource. The text describes the present file system, so it may be wrong if that has changed since;
/// whose fault it is depends on the error number only.
pub(super) fn explain(command: &Command, errno: Errno) -> Option<String> {
    let own_fault = [
        Errno::NOENT,
        Errno::NOTDIR,
        Errno::ACCESS,
        Errno::PERM,
        Errno::NOEXEC,
        Errno::LOOP,
        Errno::NAMETOOLONG,
        Errno::TOOBIG,
        Errno::ISDIR,
        Errno::INVAL,
        Errno::LIBBAD,
        Errno::TXTBSY,
    ];
    if !own_fault.contains(&errno) {
        return None;
    }
    if errno == Errno::TOOBIG {
        return Some("the arguments and the environment are too long for this system".into());
    }
    if let Some(why) = explain_directory(&command.directory) {
        return Some(why);
    }
    let program = match &command.script {
        Script::Shell(_) => SHELL,
        Script::Program(words) => words.first().map_or("", String::as_str),
    };
    let places = candidates(program, &command.env);
    let found = places.iter().map(|place| command.directory.join(place)).find(|path| path.exists());
    Some(match found {
        Some(path) => explain_file(program, &path, errno),
        None if program.contains('/') => format!("there is no program {program}"),
        None => {
            format!("there is no program {program} (looked in {})", search_path(&command.env).to_string_lossy())
        }
    })
}

fn explain_directory(directory: &Path) -> Option<String> {
    let shown = directory.display();
    match fs::metadata(directory) {
        Err(source) if source.kind() == std::io::ErrorKind::NotFound => Some(format!("there is no directory {shown}")),
        Err(_) => Some(format!("the directory {shown} cannot be entered")),
        Ok(data) if !data.is_dir() => Some(format!("{shown} is not a directory")),
        Ok(_) => None,
    }
}

fn explain_file(program: &str, path: &Path, errno: Errno) -> String {
    let metadata = fs::metadata(path).ok();
    if metadata.as_ref().is_some_and(fs::Metadata::is_dir) {
        return format!("{program} is a directory");
    }
    match errno {
        // The file exists, so its interpreter or loader does not.
        Errno::NOENT | Errno::NOTDIR => match interpreter(path) {
            Some(interpreter) if interpreter.ends_with('\r') => format!(
                "the first line of {program} ends with a carriage return (CRLF), which belongs to the name of its \
                 interpreter for this system: save the file with LF line ends"
            ),
            Some(interpreter) => format!("{program} asks for the interpreter {interpreter}, which does not exist"),
            None => format!("{program} asks for a loader that does not exist"),
        },
        Errno::ACCESS if metadata.is_some_and(|data| data.permissions().mode() & 0o111 == 0) => {
            format!("{program} is not executable")
        }
        Errno::ACCESS | Errno::PERM => match interpreter(path) {
            Some(interpreter) => format!("{program} or its interpreter {interpreter} may not be executed here"),
            None => format!("{program} may not be executed here"),
        },
        Errno::NOEXEC => {
            format!("{program} is neither a program for this machine nor a script that begins with `#!`")
        }
        Errno::TXTBSY => format!("{program} is being written by another process"),
        other => format!("{program} cannot be executed: {}", std::io::Error::from(other)),
    }
}

/// The interpreter that a script's first line names, with a carriage return if the line ends with one behind the name.
fn interpreter(path: &Path) -> Option<String> {
    let mut head = Vec::new();
    fs::File::open(path).ok()?.take(SHEBANG_BYTES).read_to_end(&mut head).ok()?;
    let line = head.strip_prefix(b"#!")?.split(|byte| *byte == b'\n').next()?;
    // Blanks separate the interpreter from its argument, as for the kernel. A carriage return does not.
    String::from_utf8_lossy(line).split([' ', '\t']).find(|word| !word.is_empty()).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::process::Limits;

    fn program(words: &[&str]) -> Command {
        let script = Script::Program(words.iter().map(|word| (*word).to_owned()).collect());
        let env = vec![("PATH".into(), "/a::/b".into())];
        Command {
            script,
            directory: "/".into(),
            env,
            timeout_ms: 0,
            grace_ms: 0,
            view: None,
            limits: Limits::default(),
        }
    }

    fn places(name: &str, env: &[(OsString, OsString)]) -> Vec<String> {
        candidates(name, env).into_iter().map(|path| path.display().to_string()).collect()
    }

    #[test]
    fn a_program_is_looked_for_in_the_commands_own_path() {
        let env = [("PATH".into(), "/a::/b".into())];
        assert_eq!(places("x", &env), ["/a/x", "./x", "/b/x"]);
        assert_eq!(places("./x", &env), ["./x"]);
        assert_eq!(places("x", &[]), ["/bin/x", "/usr/bin/x"]);
    }

    #[test]
    fn an_empty_command_is_refused() {
        let mut command = program(&[]);
        assert_eq!(prepare(&command).err().unwrap(), "the command is empty");
        command.script = Script::Program(vec![String::new()]);
        assert_eq!(prepare(&command).err().unwrap(), "the command is empty");
        command.script = Script::Shell(" \n\t".into());
        assert_eq!(prepare(&command).err().unwrap(), "the command is empty");
    }

    #[test]
    fn a_nul_byte_is_refused_wherever_it_is() {
        assert!(prepare(&program(&["tr\0ue"])).err().unwrap().contains("NUL"));
        assert!(prepare(&program(&["true", "a\0"])).err().unwrap().contains("NUL"));
        let mut command = program(&["true"]);
        command.env.push(("A".into(), "b\0c".into()));
        assert!(prepare(&command).err().unwrap().contains("NUL"));
    }

    #[test]
    fn a_text_that_begins_like_an_option_is_no_option() {
        assert_eq!(shell_words("echo a"), ["sh", "-c", "echo a"]);
        assert_eq!(shell_words("-x"), ["sh", "-c", "--", "-x"]);
    }

    #[test]
    fn what_the_machine_lacks_is_not_the_commands_fault() {
        for errno in [Errno::AGAIN, Errno::NOMEM, Errno::MFILE, Errno::NFILE, Errno::IO, Errno::NOSPC] {
            assert_eq!(explain(&program(&["true"]), errno), None, "{errno:?}");
        }
    }

    #[test]
    fn each_refusal_has_words_of_its_own() {
        let place = tempfile::tempdir().unwrap();
        let file = |name: &str, text: &str, mode: u32| {
            let path = place.path().join(name);
            fs::write(&path, text).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        };
        file("plain", "echo", 0o644);
        file("orphaned", "#! /nowhere/python -u\n", 0o755);
        file("windows", "#!/bin/sh\r\ntrue\r\n", 0o755);
        file("garbage", "\u{1}", 0o755);
        fs::create_dir(place.path().join("folder")).unwrap();
        let check = |word: &str, errno: Errno, expected: &str| {
            let mut command = program(&[word]);
            command.directory = place.path().into();
            assert_eq!(explain(&command, errno).unwrap(), expected);
        };
        check("./none", Errno::NOENT, "there is no program ./none");
        check("none", Errno::NOENT, "there is no program none (looked in /a::/b)");
        check("./plain", Errno::ACCESS, "./plain is not executable");
        check("./folder", Errno::ACCESS, "./folder is a directory");
        let absent = "./orphaned asks for the interpreter /nowhere/python, which does not exist";
        check("./orphaned", Errno::NOENT, absent);
        let windows = "the first line of ./windows ends with a carriage return (CRLF), which belongs to the name of \
                       its interpreter for this system: save the file with LF line ends";
        check("./windows", Errno::NOENT, windows);
        let foreign = "./garbage is neither a program for this machine nor a script that begins with `#!`";
        check("./garbage", Errno::NOEXEC, foreign);
        let mut command = program(&["true"]);
        command.directory = place.path().join("gone");
        let expected = format!("there is no directory {}", command.directory.display());
        assert_eq!(explain(&command, Errno::NOENT), Some(expected));
        command.directory = place.path().join("plain");
        let expected = format!("{} is not a directory", command.directory.display());
        assert_eq!(explain(&command, Errno::NOTDIR), Some(expected));
    }
}
