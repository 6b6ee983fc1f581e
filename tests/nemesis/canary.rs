//! A secret that is planted, and searched for everywhere: in all files of all roles, what they print, the command lines
//! and environments of all processes but those of tasks, and on the wire.
//!
//! Tasks that get it print it as it is, in base64, in a URL, in JSON and in pieces. A trial plants it where it must not
//! be, and demands that the search finds it in each of its forms.

use std::fmt::Write as _;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use aho_corasick::AhoCorasick;

use crate::harness::World;

/// The name of the secret.
pub(crate) const NAME: &str = "CANARY";

/// Prints the value in all forms, the last time in two pieces. No form stands in the script itself, which is in many
/// files.
pub(crate) const SCRIPT: &str = r#"echo "plain $CANARY"
printf %s "$CANARY" | base64
echo "url $(printf %s "$CANARY" | sed 's,/,%2F,g; s, ,%20,g; s,",%22,g; s,+,%2B,g; s,?,%3F,g')"
printf 'json "%s"\n' "$(printf %s "$CANARY" | sed 's/"/\\"/g')"
printf %s "$CANARY" | head -c 7; printf %s "$CANARY" | tail -c +8; echo"#;

/// The lines that it leaves in the log.
pub(crate) const MASKED: &str = "plain ***\n***\nurl ***\njson \"***\"\n***\n";

/// One canary. Tests at the same time have different ones.
#[derive(Debug, Clone)]
pub(crate) struct Canary {
    value: String,
    /// The forms that are searched for, each with its name.
    forms: Vec<(&'static str, Vec<u8>)>,
    search: AhoCorasick,
}

impl Canary {
    /// Returns a value that nothing else has, and of which each form is another one.
    pub(crate) fn new(number: u16) -> Self {
        let value = format!("canary/{number:04x} \"b7\"+?");
        let mut forms = vec![("plain", value.clone().into_bytes())];
        let base64 = [(0, "base64"), (1, "base64 behind one byte"), (2, "base64 behind two bytes")];
        forms.extend(base64.map(|(before, name)| (name, base64_within(value.as_bytes(), before))));
        let in_url = value.bytes().fold(String::new(), |mut text, byte| {
            let is_plain = byte.is_ascii_alphanumeric();
            write!(text, "{}", if is_plain { char::from(byte).to_string() } else { format!("%{byte:02X}") }).unwrap();
            text
        });
        forms.push(("URL", in_url.into_bytes()));
        forms.push(("JSON", value.replace('"', "\\\"").into_bytes()));
        let search = AhoCorasick::new(forms.iter().map(|(_, form)| form)).unwrap();
        Self { value, forms, search }
    }

    pub(crate) fn value(&self) -> &str {
        &self.value
    }

    pub(crate) fn forms(&self) -> &[(&'static str, Vec<u8>)] {
        &self.forms
    }

    /// Makes it a secret of all repositories. The dispatcher must run.
    pub(crate) fn plant(&self, world: &World) {
        let mut command = world.command(&["secret", "set", NAME]);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(self.value.as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }

    /// Returns the name of the form that is in these bytes, if one is.
    pub(crate) fn seen_in(&self, bytes: &[u8]) -> Option<&'static str> {
        self.search.find(bytes).map(|found| self.forms[found.pattern().as_usize()].0)
    }

    /// Returns what below a path has it, each file with the form.
    pub(crate) fn in_files(&self, path: &Path) -> Vec<(PathBuf, &'static str)> {
        let mut found = Vec::new();
        let mut open = vec![path.to_owned()];
        while let Some(path) = open.pop() {
            let Ok(meta) = path.symlink_metadata() else { continue };
            if meta.is_dir() {
                open.extend(fs::read_dir(&path).into_iter().flatten().flatten().map(|entry| entry.path()));
            } else if meta.is_file()
                && let Some(form) = fs::read(&path).ok().and_then(|bytes| self.seen_in(&bytes))
            {
                found.push((path, form));
            }
        }
        found
    }

    /// Returns the processes that have it in their command line, or in their environment although they are none of a
    /// task.
    pub(crate) fn in_processes(&self) -> Vec<String> {
        let mut found = Vec::new();
        for process in fs::read_dir("/proc").unwrap().flatten().map(|entry| entry.path()) {
            // A process may end, or belong to somebody else; and not everything there is a process.
            let read = |name: &str| fs::read(process.join(name)).unwrap_or_default();
            let environment = read("environ");
            let is_of_attempt = environment.split(|byte| *byte == 0).any(|it| it.starts_with(b"SURVEIL_ATTEMPT_ID="));
            let is_task = is_of_attempt && read("comm") != b"surveil\n";
            for (place, bytes) in [("cmdline", read("cmdline")), ("environ", environment)] {
                if let Some(form) = self.seen_in(&bytes)
                    && !(is_task && place == "environ")
                {
                    found.push(format!("{}: {place}, {form}", process.display()));
                }
            }
        }
        found
    }
}

/// Returns the letters of the base64 of a text that depend on nothing but the text, if so many bytes stand before it.
fn base64_within(text: &[u8], before: usize) -> Vec<u8> {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let bytes = [&[0; 2][..before], text].concat();
    let bit = |at: usize| usize::from(bytes[at / 8] >> (7 - at % 8) & 1);
    let letter = |at: usize| LETTERS[(at * 6..at * 6 + 6).fold(0, |bits, at| bits << 1 | bit(at))];
    ((before * 8).div_ceil(6)..bytes.len() * 8 / 6).map(letter).collect()
}
