//! A service in an image: its container, from the image to the removal.

use std::ffi::OsStr;
use std::fs::File;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crossbeam_channel::Receiver;

use super::calls::{CallError, call};
use super::container::{bindable, life_of_container, new_name, set_limits, tool_command};
use super::control::quoted;
use super::error::ImageError;
use super::fill::{Values, fill};
use super::tool::{ContainerTool, Found, Images};
use super::watch::REMOVAL;
use crate::config::{Template, TemplateWord, placeholders};
use crate::error_chain::chain;
use crate::model::{AttemptId, Outcome, PORT_VARIABLE, Recipe, Script, Service, ServiceImage};
use crate::process::{Ended, Exit, ProcessError, ProgressCallbacks};
use crate::runner::executor::MakeTool;

/// The exit code with which a tool says that it started no container.
const NO_CONTAINER: i32 = 125;
/// The exit codes of a tool for a program that a container does not have, or cannot execute.
const NO_PROGRAM: [i32; 2] = [126, 127];
/// Time in which a service on this machine must take a connection.
const CONNECT: Duration = Duration::from_secs(1);

/// The facts of an attempt that the containers of its services need.
pub(crate) struct ServiceMeans<'a> {
    pub(crate) tool: Option<&'a ContainerTool>,
    pub(crate) attempt: AttemptId,
    pub(crate) recipe: &'a Recipe,
    pub(crate) tree: &'a Path,
    /// The variables with the ports of all services.
    pub(crate) ports: &'a [(String, String)],
}

/// The container of a service. Dropping it removes the container if that may still be there.
pub(crate) struct ServiceContainer {
    images: Arc<Images>,
    /// The name of the service.
    service: String,
    /// The image as the service names it.
    image: String,
    found: Found,
    /// The name of the container.
    name: String,
    values: Values,
    tree: PathBuf,
    /// The free port of this machine's loopback.
    port: u16,
    /// The port in the container, if that has a network of its own.
    inner_port: Option<u16>,
    make: MakeTool,
    /// Whether the tool may have a container of this name.
    is_there: AtomicBool,
}

/// The result of a try to find out whether a service is ready.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Tried {
    Ready,
    /// The exit code of `ready`, if it ended.
    NotYet(Option<i32>),
    Cancelled,
}

impl ServiceContainer {
    /// Prepares a service with this image and this free port: the image is on this machine afterwards.
    pub(crate) fn prepare(
        (service, image, port): (&Service, &ServiceImage, u16),
        means: &ServiceMeans<'_>,
        cancel: &Receiver<()>,
    ) -> Result<Self, Outcome> {
        Self::new((service, image, port), means, cancel).map_err(|error| {
            if error.is_cancel() {
                return Outcome::Cancelled;
            }
            Outcome::Lost(format!("service {}: {}", service.name, chain(&error)).into())
        })
    }

    fn new(
        (service, image, port): (&Service, &ServiceImage, u16),
        means: &ServiceMeans<'_>,
        cancel: &Receiver<()>,
    ) -> Result<Self, ImageError> {
        let ServiceMeans { tool, attempt, recipe, tree, ports } = *means;
        let found = tool.and_then(|ContainerTool { images, make }| Some((images.clone()?, make)));
        let (images, make) = found.ok_or_else(|| ImageError::NoToolOfServices { image: image.name.clone() })?;
        let template = service_template(&images)?;
        let publishes =
            template.iter().flat_map(TemplateWord::words).any(|it| placeholders(it).any(|it| it == "publish"));
        if image.port.is_some() && !publishes {
            return Err(ImageError::NoPublishing { tool: images.tool.name.clone() });
        }
        let found = images.image(&image.name, image.pull, cancel)?;
        let name = new_name(attempt, &image.name)?;
        let mut values = images.values();
        values.set("image", &*found.word);
        values.set("name", &*name);
        values.set("tree", bindable(tree)?);
        set_limits(&mut values, recipe);
        // A container with a network of its own does not reach this loopback, on which the others are.
        let mut variables: Vec<(&str, &str)> = Vec::new();
        match image.port {
            Some(inner) => values.set("publish", format!("{}:{port}:{inner}", Ipv4Addr::LOCALHOST)),
            None => {
                values.set("host", "host");
                variables.extend(ports.iter().map(|(name, value)| (&**name, &**value)));
            }
        }
        let own_port = image.port.unwrap_or(port).to_string();
        variables.extend(service.env.iter().map(|(name, value)| (&**name, &**value)));
        variables.push((PORT_VARIABLE, &own_port));
        values.set_all("variable", variables.iter().map(|(name, value)| format!("{name}={value}")).collect());
        if let Some(script) = &service.script {
            let mut words = match script {
                Script::Shell(text) => ["/bin/sh", "-c", "--", text].map(str::to_owned).to_vec(),
                Script::Program(words) => words.clone(),
            };
            values.set("directory", bindable(tree)?);
            values.set("entrypoint", words.remove(0));
            values.set_all("argument", words);
        }
        Ok(Self {
            images,
            service: service.name.clone(),
            image: image.name.clone(),
            found,
            name,
            values,
            tree: tree.to_owned(),
            port,
            inner_port: image.port,
            make: make.clone(),
            is_there: AtomicBool::new(false),
        })
    }

    /// The tool and the digest of the image, for the record of the attempt.
    pub(crate) fn means(&self) -> String {
        let digest = self.found.digest.iter().map(|digest| format!(", {digest}")).collect::<String>();
        format!("{}{digest}", self.images.name())
    }

    /// Starts the container, and waits for its end. A message on `stop` ends the tool, and not the container.
    pub(crate) fn run(&self, output: File, stop: &Receiver<()>) -> Result<Ended, ProcessError> {
        let template = service_template(&self.images).map_err(|error| ProcessError::Container(chain(&error)))?;
        let command = tool_command(&self.images, life_of_container(&self.images, template, &self.values));
        self.is_there.store(true, Ordering::Relaxed);
        let ended = (self.make)()(&command, output, stop, ProgressCallbacks::default());
        // The text of a container's life ends with its removal.
        if matches!(&ended, Ok(Ended { exit: Exit::Code(_), .. })) {
            self.is_there.store(false, Ordering::Relaxed);
        }
        ended
    }

    /// Returns how the service ended before it was ready. It is no fault of the service if there was no container.
    pub(crate) fn ended_early(&self, ended: Ended) -> Result<Ended, ProcessError> {
        if ended.exit != Exit::Code(NO_CONTAINER) {
            return Ok(ended);
        }
        let (tool, image) = (self.images.tool.name.clone(), self.image.clone());
        let error = ImageError::ServiceNotStarted { tool, image, service: self.service.clone() };
        Err(ProcessError::Container(chain(&error)))
    }

    /// Finds out whether the service is ready: by its `ready`, in the container; or else by its port.
    pub(crate) fn try_ready(
        &self,
        ready: Option<&Script>,
        patience: Duration,
        cancel: &Receiver<()>,
    ) -> Result<Tried, ProcessError> {
        let text = match (ready, self.inner_port) {
            (Some(ready), _) => in_directory(&self.tree, ready),
            // Whether the port is open outside tells nothing, because some tools take connections for the container.
            (None, Some(inner)) => is_listening(inner),
            (None, None) => return Ok(self.connects()),
        };
        Ok(match self.exec(&text, patience, cancel) {
            Ok(Some(0)) => Tried::Ready,
            Ok(Some(code)) if ready.is_none() && NO_PROGRAM.contains(&code) => self.connects(),
            // The container is not there yet, or the try took too long.
            Ok(Some(NO_CONTAINER) | None) => Tried::NotYet(None),
            Ok(code) => Tried::NotYet(code.filter(|_| ready.is_some())),
            Err(CallError::Cancelled) => Tried::Cancelled,
            Err(error) => return Err(ProcessError::Container(chain(&error))),
        })
    }

    fn connects(&self) -> Tried {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, self.port));
        if TcpStream::connect_timeout(&address, CONNECT).is_ok() { Tried::Ready } else { Tried::NotYet(None) }
    }

    /// Executes a text by the shell of the container. Returns its exit code, or `None` if it had none in time.
    fn exec(&self, text: &str, patience: Duration, cancel: &Receiver<()>) -> Result<Option<i32>, CallError> {
        let mut values = self.values.clone();
        // `-c` stands for the script, and its text is the word behind it.
        values.set("script", "-c");
        let mut words = fill(self.images.tool.exec.as_deref().unwrap_or_default(), &values);
        words.push(text.to_owned());
        match call(&words, &self.images.run_env, patience, cancel) {
            Ok(called) => Ok(called.code),
            Err(CallError::TooLong { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Removes the container, so that the tool ends.
    pub(crate) fn remove(&self) {
        self.images.remove(&self.name, REMOVAL);
    }
}

impl Drop for ServiceContainer {
    fn drop(&mut self) {
        if self.is_there.load(Ordering::Relaxed) {
            self.remove();
        }
    }
}

fn service_template(images: &Images) -> Result<&Template, ImageError> {
    images.tool.service.as_ref().ok_or_else(|| ImageError::NoServices { tool: images.tool.name.clone() })
}

/// Returns the text that executes a command in the work tree.
fn in_directory(tree: &Path, script: &Script) -> String {
    let word = |word: &OsStr| String::from_utf8_lossy(&quoted(word)).into_owned();
    let command = match script {
        Script::Shell(text) => format!("exec /bin/sh -c -- {}", word(OsStr::new(text))),
        Script::Program(words) => {
            let words: Vec<String> = words.iter().map(|it| word(OsStr::new(it))).collect();
            format!("exec {}", words.join(" "))
        }
    };
    format!("cd {} && {command}", word(tree.as_os_str()))
}

/// Returns the text that succeeds if a process of the container listens on this port. It needs no program.
fn is_listening(port: u16) -> String {
    format!(
        "for file in /proc/net/tcp /proc/net/tcp6; do while read -r number local remote state rest; do \
         case \"$local $state\" in *:{port:04X}' 0A') exit 0;; esac; done <$file; done 2>/dev/null; exit 1"
    )
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    fn succeeds(text: &str) -> bool {
        std::process::Command::new("/bin/sh").args(["-c", text]).env_clear().status().unwrap().success()
    }

    #[test]
    fn a_port_on_which_a_process_listens_is_seen_without_a_program() {
        for address in ["127.0.0.1:0", "[::1]:0"] {
            let is_seen_closed = (0..20).any(|_| {
                let listener = TcpListener::bind(address).unwrap();
                let port = listener.local_addr().unwrap().port();
                assert!(succeeds(&is_listening(port)), "{address}");
                drop(listener);
                // Another process of the machine may have got the port meanwhile.
                !succeeds(&is_listening(port))
            });
            assert!(is_seen_closed, "{address}");
        }
    }

    #[test]
    fn a_command_is_executed_in_the_work_tree_with_its_words_as_they_are() {
        let place = tempfile::tempdir().unwrap();
        let tree = place.path().join("it's a tree");
        std::fs::create_dir(&tree).unwrap();
        let shell = Script::Shell("set -e; test \"$PWD\" = \"$(pwd)\"; test -d \"../it's a tree\"".into());
        assert!(succeeds(&in_directory(&tree, &shell)));
        assert!(succeeds(&in_directory(
            &tree,
            &Script::Program(vec!["test".into(), "a b".into(), "=".into(), "a b".into()])
        )));
        assert!(!succeeds(&in_directory(&place.path().join("none"), &shell)));
    }
}
