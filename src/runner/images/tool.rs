//! The container tool of a runner: whether it can be used, the images that it has and fetches, and the removal of
//! containers.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crossbeam_channel::{Receiver, never};

use super::calls::{CallError, Called, call};
use super::error::ImageError;
use super::fill::{Values, fill};
use super::gone::Gone;
use crate::config::{ImageTool, ImageTools, Template, TemplateWord, program_in};
use crate::error_chain::chain;
use crate::model::{Ability, Pull};
use crate::runner::executor::MakeTool;
use crate::threads;

/// Time for a tool's short answers. A tool whose daemon hangs must not keep a slot.
const ANSWER: Duration = Duration::from_secs(30);
/// Time to find out whether a tool can be used at all, while the runner starts.
const CHECK: Duration = Duration::from_secs(5);
/// Time to fetch an image.
const FETCH: Duration = Duration::from_secs(60 * 60);
/// Tries to remove a container. The first one fails if the container's processes were killed without it.
const REMOVALS: u32 = 3;

/// The variables of the runner that its container tool gets: where it keeps its things, and how it reaches them. A
/// container gets none of them.
const PASSED: [&str; 20] = [
    "HOME",
    "USER",
    "LOGNAME",
    "PATH",
    "TMPDIR",
    "LANG",
    "XDG_RUNTIME_DIR",
    "XDG_CONFIG_HOME",
    "XDG_DATA_HOME",
    "XDG_CACHE_HOME",
    "DBUS_SESSION_BUS_ADDRESS",
    "REGISTRY_AUTH_FILE",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "http_proxy",
    "https_proxy",
    "no_proxy",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "NO_PROXY",
];
const PASSED_PREFIXES: [&str; 6] = ["DOCKER_", "CONTAINER_", "CONTAINERS_", "PODMAN_", "APPTAINER_", "SINGULARITY_"];

/// Gets a line before an image is fetched, which may take long.
pub(crate) type TellFetch = dyn Fn(&str) + Send + Sync;

/// The container tool of a runner.
pub(crate) struct Images {
    pub(super) tool: ImageTool,
    /// The value of the label of this process's containers, which the next process in its place has, too.
    pub(super) instance: String,
    /// The directory for images that are files.
    files: PathBuf,
    /// The variables of the runner that the tool gets.
    pub(super) env: Vec<(OsString, OsString)>,
    /// The same without those that only fetching needs: they may hold a password.
    pub(super) run_env: Vec<(OsString, OsString)>,
    /// Time for the tool's short answers.
    pub(super) answer: Duration,
    /// Held while an image is fetched, so that slots fetch it once.
    fetching: Mutex<()>,
    /// No attempt has a container before those of an earlier process are gone: it would be taken for one of them.
    pub(super) leftovers: Gone,
    tell: Box<TellFetch>,
}

/// A container tool with the executor of its processes: the means for containers of attempts.
#[derive(Clone)]
pub struct ContainerTool {
    /// `None` if this machine has no tool.
    pub(super) images: Option<Arc<Images>>,
    /// Makes the executor of the tool's processes. It must be one that sees the tool's pids as the machine does.
    pub(super) make: MakeTool,
}

impl ContainerTool {
    pub(crate) fn new(images: Option<Arc<Images>>, make: MakeTool) -> Self {
        Self { images, make }
    }

    /// The tool's name, if this machine has a tool.
    #[must_use]
    pub fn name(&self) -> Option<&str> {
        self.images.as_deref().map(Images::name)
    }

    /// Whether it starts services in images.
    #[must_use]
    pub fn starts_services(&self) -> bool {
        self.images.as_ref().is_some_and(|images| images.tool.service.is_some())
    }
}

/// An image that is on this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Found {
    /// `sha256:` and 64 hexadecimal digits, if the tool told one.
    pub(super) digest: Option<String>,
    /// The word by which the tool finds exactly this image.
    pub(super) word: String,
}

impl Images {
    /// Returns the first of the tools that can be used here. If the operator named it, its absence is an error, whose
    /// text is for people. If there is none, the log says of each program that was found why it cannot be used.
    pub(crate) fn find(tools: &ImageTools, instance: &Path, files: PathBuf) -> Result<Option<Self>, String> {
        let env: Vec<(OsString, OsString)> = std::env::vars_os().filter(|(name, _)| is_passed(name)).collect();
        let path = env.iter().find(|(name, _)| name == "PATH").map_or(OsStr::new(""), |(_, path)| path);
        let mut unusable = Vec::new();
        for tool in &tools.tools {
            let images = Self {
                tool: tool.clone(),
                instance: instance.display().to_string(),
                files: files.clone(),
                env: env.clone(),
                run_env: env.iter().filter(|(name, _)| !is_proxy(name)).cloned().collect(),
                answer: ANSWER,
                fetching: Mutex::new(()),
                leftovers: Gone::already(),
                tell: Box::new(|line| log::info!("{line}")),
            };
            match images.check(path) {
                Ok(()) => return Ok(Some(images)),
                Err(why) if tools.is_named => return Err(why),
                Err(why) if images.has_program(path) => unusable.push(why),
                Err(why) => log::debug!("{why}"),
            }
        }
        unusable.iter().for_each(|why| log::warn!("{why}"));
        Ok(None)
    }

    /// Tells of fetches in another way than by the log.
    pub(super) fn telling(self, tell: Box<TellFetch>) -> Self {
        Self { tell, ..self }
    }

    /// The tool's name, as reports have it.
    pub(crate) fn name(&self) -> &str {
        &self.tool.name
    }

    /// Returns what a runner with this tool offers to tasks.
    pub(crate) fn abilities(&self) -> impl Iterator<Item = Ability> + use<> {
        let services = self.tool.service.as_ref().map(|_| Ability::ServiceImages);
        [Ability::Image].into_iter().chain(services)
    }

    /// The first word of the command that makes containers.
    fn program(&self) -> &str {
        self.tool.run.iter().flat_map(TemplateWord::words).next().map_or("", |word| &**word)
    }

    fn has_program(&self, path: &OsStr) -> bool {
        program_in(path, self.program()).is_some()
    }

    fn check(&self, path: &OsStr) -> Result<(), String> {
        let (name, program) = (&self.tool.name, self.program());
        if !self.has_program(path) {
            return Err(format!("the container tool {name} cannot be used: there is no program {program} in PATH"));
        }
        let Some(check) = &self.tool.check else { return Ok(()) };
        match call(&fill(check, &self.values()), &self.env, CHECK, &never()) {
            Ok(called) if called.succeeded() => Ok(()),
            Ok(called) => Err(format!("the container tool {name} cannot be used: {}", message(&called))),
            Err(error) => Err(format!("the container tool {name} cannot be used: {}", chain(&error))),
        }
    }

    pub(super) fn values(&self) -> Values {
        let mut values = Values::default();
        values.set("instance", &*self.instance);
        values.set("uid", rustix::process::geteuid().as_raw().to_string());
        values.set("gid", rustix::process::getegid().as_raw().to_string());
        values
    }

    /// Removes a container, whether it runs or not. Returns whether that worked.
    pub(super) fn remove(&self, name: &str, patience: Duration) -> bool {
        self.remove_unless(name, patience, &never()).unwrap_or(false)
    }

    /// Like `remove`, but returns `None` if a message on `cancel`, or its disconnection, ended it.
    pub(super) fn remove_unless(&self, name: &str, patience: Duration, cancel: &Receiver<()>) -> Option<bool> {
        let Some(stop) = &self.tool.stop else { return Some(true) };
        let mut values = self.values();
        values.set("name", name);
        let words = fill(stop, &values);
        let mut why = String::new();
        for _ in 0..REMOVALS {
            match call(&words, &self.env, patience, cancel) {
                Ok(called) if called.succeeded() => return Some(true),
                Ok(called) => why = message(&called),
                Err(CallError::Cancelled) => return None,
                Err(error) => why = chain(&error),
            }
        }
        log::warn!("could not remove the container {name}; the next start tries it again: {why}");
        Some(false)
    }

    /// Returns the image that a task names, which is fetched if the task wants that.
    pub(super) fn image(&self, image: &str, pull: Pull, cancel: &Receiver<()>) -> Result<Found, ImageError> {
        let waited = self.leftovers.wait(cancel);
        waited.map_err(|source| ImageError::Call { tool: self.tool.name.clone(), image: image.into(), source })?;
        if pull != Pull::Always
            && let Some(found) = self.inspect(image, cancel)?
        {
            return Ok(found);
        }
        if pull == Pull::Never {
            return Err(ImageError::NotHere { image: image.into() });
        }
        let _one = threads::lock(&self.fetching);
        // Another slot may have fetched it meanwhile.
        if pull == Pull::Missing
            && let Some(found) = self.inspect(image, cancel)?
        {
            return Ok(found);
        }
        let tool = || self.tool.name.clone();
        (self.tell)(&format!("{} fetches the image {image}", self.tool.name));
        if let Err(source) = std::fs::create_dir_all(&self.files) {
            return Err(ImageError::Prepare { image: image.into(), source });
        }
        let pulled = self.call(&self.tool.pull, image, FETCH, cancel)?;
        if !pulled.succeeded() {
            return Err(ImageError::Pull { tool: tool(), image: image.into(), message: message(&pulled) });
        }
        let message = "it is not there after it was fetched".into();
        self.inspect(image, cancel)?.ok_or_else(|| ImageError::Inspect { tool: tool(), image: image.into(), message })
    }

    /// Returns the image if it is on this machine.
    fn inspect(&self, image: &str, cancel: &Receiver<()>) -> Result<Option<Found>, ImageError> {
        let called = self.call(&self.tool.inspect, image, self.answer, cancel)?;
        Ok(called.succeeded().then(|| found(&called.output, image)))
    }

    fn call(
        &self,
        template: &Template,
        image: &str,
        patience: Duration,
        cancel: &Receiver<()>,
    ) -> Result<Called, ImageError> {
        let mut values = self.values();
        values.set("image", image);
        values.set("file", self.files.join(file_name(image)).display().to_string());
        let failed = |source| ImageError::Call { tool: self.tool.name.clone(), image: image.into(), source };
        call(&fill(template, &values), &self.env, patience, cancel).map_err(failed)
    }
}

/// Whether a variable of the runner is passed to its container tool.
fn is_passed(name: &OsStr) -> bool {
    PASSED.iter().any(|passed| name == *passed)
        || PASSED_PREFIXES.iter().any(|prefix| name.as_bytes().starts_with(prefix.as_bytes()))
}

fn is_proxy(name: &OsStr) -> bool {
    name.as_bytes().to_ascii_lowercase().ends_with(b"_proxy")
}

/// Reads the answer to `inspect`: a digest, then the word for the image, which may be left out.
fn found(output: &str, image: &str) -> Found {
    let line = output.lines().map(str::trim).find(|line| !line.is_empty()).unwrap_or_default();
    let (digest, word) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
    let hex = digest.rsplit([':', '@']).next().unwrap_or_default();
    let is_digest = hex.len() == 64 && hex.bytes().all(|byte| byte.is_ascii_hexdigit());
    let word = Some(word.trim()).filter(|word| !word.is_empty()).unwrap_or(image);
    Found { digest: is_digest.then(|| format!("sha256:{hex}")), word: word.to_owned() }
}

/// Returns the name of an image's file. No two images have one.
fn file_name(image: &str) -> String {
    let mut name = String::new();
    for byte in image.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' => name.push(char::from(byte)),
            b'.' if !name.is_empty() => name.push('.'),
            byte => name.push_str(&format!("%{byte:02x}")),
        }
    }
    name + ".sif"
}

/// Returns what a tool said, or how it ended if it said nothing.
pub(super) fn message(called: &Called) -> String {
    match (&*called.message, called.code) {
        ("", Some(code)) => format!("exit code {code}"),
        ("", None) => "a signal ended it".into(),
        (message, _) => message.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_is_told_in_one_form_whatever_the_tool_prints() {
        let hex = "ab".repeat(32);
        let digest = Some(format!("sha256:{hex}"));
        let is = |output: &str, word: &str| {
            assert_eq!(found(output, "app:1"), Found { digest: digest.clone(), word: word.into() }, "{output}");
        };
        is(&format!("sha256:{hex} 0123abcd\n"), "0123abcd");
        is(&format!("docker.io/library/app@sha256:{hex} sha256:99\n"), "sha256:99");
        is(&format!("{hex}  /w/images/app 1.sif\n"), "/w/images/app 1.sif");
        is(&format!("\nsha256:{hex}\n"), "app:1");
        assert_eq!(found("<no value>", "app:1").digest, None);
    }

    #[test]
    fn a_tool_that_does_not_answer_is_told_after_its_time() {
        let word = |text: &str| TemplateWord::One(text.into());
        let hangs = vec![word("sleep"), word("1000")];
        let [inspect, pull, run] = [hangs.clone(), hangs.clone(), hangs.clone()];
        let tool = ImageTool {
            name: "docker".into(),
            check: None,
            inspect,
            pull,
            run,
            exec: None,
            service: None,
            stop: None,
            list: None,
        };
        let env = vec![("PATH".into(), std::env::var_os("PATH").unwrap())];
        let images = Images {
            tool,
            instance: String::new(),
            files: PathBuf::new(),
            run_env: env.clone(),
            env,
            answer: Duration::from_millis(20),
            fetching: Mutex::new(()),
            leftovers: Gone::already(),
            tell: Box::new(|_| ()),
        };
        let error = images.image("app:1", Pull::Missing, &never()).unwrap_err();
        assert_eq!(chain(&error), "docker failed with the image app:1: sleep did not end within 0 s");
        assert!(!error.is_cancel());
    }

    #[test]
    fn no_two_images_have_one_file() {
        assert_eq!(file_name("ghcr.io/a/b_c:1.0"), "ghcr.io%2fa%2fb_c%3a1.0.sif");
        assert_eq!(file_name("../x"), "%2e.%2fx.sif");
    }

    /// The variables of the runner's user, tokens among them, reach no container.
    #[test]
    fn a_tool_gets_the_variables_by_which_it_works_and_no_others() {
        for (name, passed) in [
            ("HOME", true),
            ("DOCKER_HOST", true),
            ("CONTAINERS_CONF", true),
            ("APPTAINER_CACHEDIR", true),
            ("APPTAINERENV_TOKEN", false),
            ("SINGULARITYENV_TOKEN", false),
            ("AWS_SECRET_ACCESS_KEY", false),
            ("SURVEIL_TOKEN", false),
        ] {
            assert_eq!(is_passed(OsStr::new(name)), passed, "{name}");
        }
        assert!(is_proxy(OsStr::new("HTTPS_PROXY")) && !is_proxy(OsStr::new("HOME")));
    }
}
