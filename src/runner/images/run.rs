//! One attempt in an image: its container or containers, from the first command to the removal.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, bounded, never};

use super::calls::CallError;
use super::container::{bindable, life_of_container, new_name, set_limits, tool_command};
use super::control::{Control, Told, signal_all};
use super::error::ImageError;
use super::fill::{Values, fill};
use super::keeper::{Keeper, KeeperError};
use super::tool::{ContainerTool, Found, Images};
use super::watch::{Cause, Watch};
use crate::config::{TemplateWord, placeholders};
use crate::error_chain::chain;
use crate::model::{AttemptId, ExecutionRecord, Outcome, Recipe, Script, Tier};
use crate::process::{Command, Ended, Exit, ProcessError, ProgressCallbacks};
use crate::runner::executor::{Execute, MakeTool};
use crate::threads;

/// The places and the means of one attempt.
pub(crate) struct ImageMeans<'a> {
    pub(crate) tool: &'a ContainerTool,
    pub(crate) attempt: AttemptId,
    pub(crate) tree: &'a Path,
    /// The objects of the repository, which the task's git reads. `None` if they are in the tree, or there is no
    /// repository.
    pub(crate) objects: Option<&'a Path>,
    pub(crate) temporary: &'a Path,
}

/// An attempt whose commands are executed in an image.
pub(crate) struct ImageRun {
    images: Arc<Images>,
    /// The image as the task names it.
    image: String,
    found: Found,
    temporary: PathBuf,
    values: Values,
    attempt: AttemptId,
    /// Whether one container serves all commands.
    keeps: bool,
    /// The container of all commands, and its name.
    kept: Option<(String, Keeper)>,
    executor: Box<Execute>,
    make: MakeTool,
    /// Declared last, so that it is removed when no container uses it.
    control: Arc<Control>,
}

impl ImageRun {
    /// Prepares an attempt, if its task has an image: the image is on this machine afterwards.
    pub(crate) fn prepare(
        recipe: &Recipe,
        means: ImageMeans<'_>,
        cancel: &Receiver<()>,
    ) -> Result<Option<Self>, Outcome> {
        let Some(image) = &recipe.image else { return Ok(None) };
        let run = Self::new(recipe, image, means, cancel);
        run.map(Some).map_err(
            |error| {
                if error.is_cancel() { Outcome::Cancelled } else { Outcome::Lost(chain(&error).into()) }
            },
        )
    }

    fn new(recipe: &Recipe, image: &str, means: ImageMeans<'_>, cancel: &Receiver<()>) -> Result<Self, ImageError> {
        let ImageMeans { tool: ContainerTool { images, make }, attempt, tree, objects, temporary } = means;
        let images = images.clone().ok_or_else(|| ImageError::NoTool { image: image.into() })?;
        let found = images.image(image, recipe.pull, cancel)?;
        let prepare = |source| ImageError::Prepare { image: image.into(), source };
        let control = Arc::new(Control::make(temporary).map_err(prepare)?);
        let mut values = images.values();
        values.set("image", &*found.word);
        let places = [("tree", tree), ("temporary", temporary), ("control", control.directory())];
        for (name, path) in places.into_iter().chain(objects.map(|objects| ("objects", objects))) {
            values.set(name, bindable(path)?);
        }
        values.set("script", bindable(control.script())?);
        if !recipe.network {
            values.set("network", "none");
        }
        // Its services are on the loopback of the machine.
        if !recipe.services.is_empty() {
            values.set("host", "host");
        }
        set_limits(&mut values, recipe);
        let keeps = !recipe.steps.is_empty() && images.tool.exec.is_some();
        Ok(Self {
            image: image.to_owned(),
            found,
            temporary: temporary.into(),
            values,
            attempt,
            keeps,
            kept: None,
            executor: make(),
            make: make.clone(),
            control,
            images,
        })
    }

    /// The words that the log begins with.
    pub(crate) fn heading(&self) -> String {
        let digest = self.found.digest.as_deref().unwrap_or("its digest is not known");
        format!("image {} ({digest}), by {}", self.image, self.images.name())
    }

    /// Returns the line behind the heading, if git finds no objects in the container.
    pub(crate) fn note(&self) -> Option<String> {
        let name = self.images.name();
        let text = format!("git finds no objects in this image: the template of {name} has no {{objects}}");
        (self.values.has("objects") && !self.uses("objects")).then_some(text)
    }

    /// Whether the tool's template for a container has this placeholder.
    fn uses(&self, placeholder: &str) -> bool {
        let mut words = self.images.tool.run.iter().flat_map(TemplateWord::words);
        words.any(|word| placeholders(word).any(|name| name == placeholder))
    }

    /// Returns the record of the attempt. It has no figures: the processes that could be measured are the tool's, and
    /// with a daemon none of them is the task's. The tool enforces the limits, or ends; a template of the operator may
    /// lack one.
    pub(crate) fn record(&self, recipe: &Recipe) -> ExecutionRecord {
        let digest = self.found.digest.iter().map(|digest| format!(", {digest}")).collect::<String>();
        let (tier, means) = (Tier::Image.word().to_owned(), format!("{}{digest}", self.images.name()));
        let asked = [
            ("memory", recipe.memory_bytes.is_some()),
            ("processes", recipe.processes.is_some()),
            ("cpus", recipe.millicpus.is_some()),
        ];
        let gaps = asked.into_iter().filter(|(key, is_asked)| *is_asked && !self.uses(key));
        let not_enforced =
            gaps.map(|(key, _)| format!("{key} (the template of {} has no {{{key}}})", self.images.name()));
        let (exceeded, not_enforced) = (String::new(), not_enforced.collect());
        ExecutionRecord { tier, means, exceeded, not_enforced, ..ExecutionRecord::default() }
    }

    /// The path beside which the files lie that the task itself writes.
    pub(crate) fn beside(&self) -> PathBuf {
        self.control.beside()
    }

    /// Executes a command in the image and waits until it and its container are gone. For a task with steps the
    /// container stays for the next command.
    pub(crate) fn execute(
        &mut self,
        command: &Command,
        output: File,
        cancel: &Receiver<()>,
        progress: ProgressCallbacks<'_>,
    ) -> Result<Ended, ProcessError> {
        self.try_execute(command, output, cancel, progress).unwrap_or_else(|error| {
            if error.is_cancel() {
                return Ok(Ended::before_start(Exit::Cancelled));
            }
            Err(ProcessError::Container(chain(&error)))
        })
    }

    fn try_execute(
        &mut self,
        command: &Command,
        output: File,
        cancel: &Receiver<()>,
        progress: ProgressCallbacks<'_>,
    ) -> Result<Result<Ended, ProcessError>, ImageError> {
        let (name, script) = if self.keeps {
            let name = self.keep(cancel)?;
            self.write(command, false)?;
            (name, Script::Program(fill(self.images.tool.exec.as_deref().unwrap_or_default(), &self.values)))
        } else {
            let name = new_name(self.attempt, &self.image)?;
            self.values.set("name", &*name);
            self.write(command, true)?;
            let script = life_of_container(&self.images, &self.images.tool.run, &self.values);
            (name, script)
        };
        let watched = self.images.tool.stop.is_some();
        let mut tool = tool_command(&self.images, script);
        if !watched {
            (tool.timeout_ms, tool.grace_ms) = (command.timeout_ms, command.grace_ms);
        }
        let (ended, cause) = if watched {
            self.watched(&tool, command, &name, output, cancel, progress)?
        } else {
            ((self.executor)(&tool, output, cancel, progress), None)
        };
        if self.keeps && (cause.is_some() || self.kept.as_ref().is_some_and(|(_, keeper)| keeper.has_ended())) {
            self.discard();
        }
        let ended = match ended {
            Ok(ended) => ended,
            Err(error) => {
                // What the supervisor did not end by the tool ends here.
                self.images.remove(&name, self.images.answer);
                return Ok(Err(error));
            }
        };
        // Processes of the tool are no leftovers of the task, and the task's own end with its container.
        let ended = Ended { leftovers: 0, ..ended };
        let exit = match (cause, &ended.exit) {
            (Some(Cause::Task(exit)), _) => exit,
            (None, Exit::Cancelled | Exit::TimedOut) => ended.exit,
            (Some(Cause::Tool), exit) | (None, exit) => self.exit(command, exit)?,
        };
        Ok(Ok(Ended { exit, ..ended }))
    }

    /// Executes the tool's process. The container is removed by the tool before the tool is ended: when the command is
    /// cancelled, or has taken too long, or when the tool goes on after the command. Returns also why the container was
    /// removed, if it was.
    fn watched(
        &mut self,
        tool: &Command,
        command: &Command,
        name: &str,
        output: File,
        cancel: &Receiver<()>,
        progress: ProgressCallbacks<'_>,
    ) -> Result<(Result<Ended, ProcessError>, Option<Cause>), ImageError> {
        let (stop, stopped) = bounded(1);
        let (running, over) = bounded(0);
        let watch = Watch {
            images: self.images.clone(),
            control: self.control.clone(),
            name: name.to_owned(),
            terminate: self.terminating(name),
            timeout: Duration::from_millis(command.timeout_ms),
            grace: Duration::from_millis(command.grace_ms),
            cancel: cancel.clone(),
            also_cancel: progress.also_cancel.cloned().unwrap_or_else(never),
            over,
            stop,
        };
        let thread = threads::spawn("image-watch", move || watch.run());
        let thread = thread.map_err(|source| ImageError::Prepare { image: self.image.clone(), source })?;
        let progress = ProgressCallbacks { also_cancel: None, ..progress };
        let ended = (self.executor)(tool, output, &stopped, progress);
        drop::<Sender<()>>(running);
        Ok((ended, thread.join().unwrap_or_default()))
    }

    /// Returns the command that asks every process of a container to end.
    fn terminating(&self, name: &str) -> Vec<String> {
        let Some(exec) = &self.images.tool.exec else { return Vec::new() };
        let mut values = self.values.clone();
        values.set("name", name);
        // The first process ignores the signal. `-c` stands for the script, and its text is the word behind it.
        values.set("script", "-c");
        let mut words = fill(exec, &values);
        words.push(signal_all("TERM", self.control.directory()));
        words
    }

    /// Returns how the command ended, as its script told.
    fn exit(&self, command: &Command, tool: &Exit) -> Result<Exit, ImageError> {
        let how = match tool {
            Exit::Code(code) => format!("exit code {code}"),
            Exit::Signal(signal) => format!("signal {signal}"),
            Exit::CouldNotStart(why) => why.clone(),
            Exit::TimedOut | Exit::Cancelled => "ended".into(),
        };
        let (tool, image) = (self.images.tool.name.clone(), self.image.clone());
        match self.control.told() {
            Ok(Told::Code(code)) => Ok(Exit::Code(code)),
            Ok(Told::NoProgram) => {
                let Script::Program(words) = &command.script else { return Ok(Exit::Code(127)) };
                let word = words.first().map_or("", |word| &**word);
                Ok(Exit::CouldNotStart(format!("the image {image} has no program {word}")))
            }
            Ok(Told::Began) => Err(ImageError::Gone { tool, image, how }),
            Ok(Told::Nothing) => Err(ImageError::NotStarted { tool, image, how }),
            Err(how) => Err(ImageError::Gone { tool, image, how }),
        }
    }

    /// Starts the container that serves all commands, unless it runs. Returns its name.
    fn keep(&mut self, cancel: &Receiver<()>) -> Result<String, ImageError> {
        if let Some((name, _)) = &self.kept {
            return Ok(name.clone());
        }
        let name = new_name(self.attempt, &self.image)?;
        self.values.set("name", &*name);
        let image = || self.image.clone();
        self.control.write_keeper().map_err(|source| ImageError::Prepare { image: image(), source })?;
        let life = life_of_container(&self.images, &self.images.tool.run, &self.values);
        let command = tool_command(&self.images, life);
        let ready = self.control.ready();
        let keeper = Keeper::start(command, &ready, &self.make, cancel, self.images.answer);
        let tool = || self.images.tool.name.clone();
        let keeper = keeper.map_err(|error| {
            self.images.remove(&name, self.images.answer);
            match error {
                KeeperError::Ended(ended, output) => {
                    let how = last_line(output).unwrap_or_else(|| format!("{ended:?}"));
                    ImageError::NotStarted { tool: tool(), image: image(), how }
                }
                KeeperError::Cancelled => {
                    ImageError::Call { tool: tool(), image: image(), source: CallError::Cancelled }
                }
                KeeperError::TooLong => {
                    let source = CallError::TooLong { program: tool(), patience: self.images.answer };
                    ImageError::Call { tool: tool(), image: image(), source }
                }
                KeeperError::Io(source) => ImageError::Prepare { image: image(), source },
            }
        })?;
        self.kept = Some((name.clone(), keeper));
        Ok(name)
    }

    fn write(&self, command: &Command, is_alone: bool) -> Result<(), ImageError> {
        let written = self.control.write(command, &self.temporary, is_alone);
        written.map_err(|source| ImageError::Prepare { image: self.image.clone(), source })
    }

    /// Removes the container of all commands. The container first, then the tool's processes.
    fn discard(&mut self) {
        if let Some((name, keeper)) = self.kept.take() {
            self.images.remove(&name, self.images.answer);
            drop(keeper);
        }
    }
}

impl Drop for ImageRun {
    fn drop(&mut self) {
        self.discard();
    }
}

fn last_line(mut output: File) -> Option<String> {
    let mut bytes = Vec::new();
    output.seek(SeekFrom::Start(0)).ok()?;
    output.take(64 * 1024).read_to_end(&mut bytes).ok()?;
    let text = String::from_utf8_lossy(&bytes).into_owned();
    text.lines().map(str::trim).rfind(|line| !line.is_empty()).map(crate::model::visible)
}
