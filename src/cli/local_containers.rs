//! The container tool of `surveil run`, for tasks with an image and for services in images.

use std::path::PathBuf;

use crossbeam_channel::Receiver;

use super::CliError;
use super::image_flags::ImageFlags;
use super::reconnect::note;
use crate::model::{Outcome, TaskSpec};
use crate::runner::{ContainerTool, LocalTool};

/// The container tool of a run. It is looked for when the first task needs it.
pub(crate) struct LocalContainers {
    flags: ImageFlags,
    /// The directory for work.
    work: PathBuf,
    program: PathBuf,
    found: Option<LocalTool>,
}

/// An image of a task, or of one of its services.
#[derive(Debug, PartialEq, Eq)]
enum TaskImage<'a> {
    Own { image: &'a str },
    OfService { name: &'a str, image: &'a str },
}

impl LocalContainers {
    pub(crate) fn new(flags: ImageFlags, work: PathBuf, program: PathBuf) -> Self {
        Self { flags, work, program, found: None }
    }

    /// Returns the tool, if a task needs one. If it cannot have one, returns the outcome of its attempt.
    pub(crate) fn tool_for(
        &mut self,
        task: &TaskSpec,
        cancel: &Receiver<()>,
    ) -> Result<Result<Option<ContainerTool>, Outcome>, CliError> {
        let images = TaskImage::of(task);
        let Some(first) = images.first() else { return Ok(Ok(None)) };
        let found = match self.found.take() {
            Some(found) => found,
            None => {
                let places = (&*self.work, self.program.clone());
                match LocalTool::find(&self.flags.tools()?, places, Box::new(note), cancel) {
                    Ok(Some(found)) => found,
                    Ok(None) => return Ok(Err(Outcome::Cancelled)),
                    Err(why) => {
                        let why = format!("{}: {why}", first.words(task));
                        return Ok(Err(Outcome::CouldNotStart(why)));
                    }
                }
            }
        };
        let tool = self.found.insert(found).containers();
        let why = lack(task, &images, (tool.name(), tool.starts_services()), self.flags.is_none());
        Ok(why.map_or_else(|| Ok(Some(tool.clone())), |why| Err(Outcome::CouldNotStart(why))))
    }
}

impl<'a> TaskImage<'a> {
    fn of(task: &'a TaskSpec) -> Vec<Self> {
        let own = task.recipe.image.iter().map(|image| Self::Own { image });
        let services =
            task.recipe.services.iter().filter_map(|service| {
                Some(Self::OfService { name: &service.name, image: &service.image.as_ref()?.name })
            });
        own.chain(services).collect()
    }

    /// Returns the clause that says which task has the image.
    fn words(&self, task: &TaskSpec) -> String {
        match self {
            Self::Own { image } => format!("the task `{}` has the image {image}", task.name),
            Self::OfService { name, image } => {
                format!("the service `{name}` of the task `{}` has the image {image}", task.name)
            }
        }
    }
}

/// Returns why the tool is not enough for a task, as a sentence; `None` if it is. The tool has this name, if there is
/// one, and starts services or not. `is_unwanted` is true if the person wants none.
fn lack(
    task: &TaskSpec,
    images: &[TaskImage<'_>],
    (tool, starts_services): (Option<&str>, bool),
    is_unwanted: bool,
) -> Option<String> {
    let service = images.iter().find(|image| matches!(image, TaskImage::OfService { .. }));
    let Some(tool) = tool else {
        let first = images.first()?.words(task);
        let fitting = if service.is_some() { "podman or docker" } else { "podman, docker or apptainer" };
        return Some(if is_unwanted {
            format!("{first}, and --image-tool is none")
        } else {
            format!("{first}, and no container tool can be used here: install {fitting}, or name one with --image-tool")
        });
    };
    let service = service.filter(|_| !starts_services)?.words(task);
    Some(format!(
        "{service}, and {tool} starts no services in images: use podman or docker (--image-tool), or give it a command \
         `service` (--image-templates)"
    ))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::model::{Pull, Script, Service, ServiceImage, TaskName};

    fn task(has_image: bool, has_service: bool) -> TaskSpec {
        let mut task = TaskSpec::new(TaskName::recorded("test"), Script::Shell("true".into()));
        let recipe = Arc::make_mut(&mut task.recipe);
        recipe.image = has_image.then(|| "rust:1.95".into());
        if has_service {
            let image = ServiceImage { name: "postgres:16".into(), pull: Pull::Missing, port: None };
            recipe.services = vec![Service { image: Some(image), ..Service::named("db".into()) }];
        }
        task
    }

    #[test]
    fn the_text_names_the_task_its_image_and_the_remedy() {
        let why = |(has_image, has_service): (bool, bool), tool: Option<&str>, is_unwanted: bool| {
            let task = task(has_image, has_service);
            lack(&task, &TaskImage::of(&task), (tool, tool == Some("podman")), is_unwanted)
        };
        let (own, service, both) = ((true, false), (false, true), (true, true));
        assert_eq!(
            why(own, None, false).unwrap(),
            "the task `test` has the image rust:1.95, and no container tool can be used here: install podman, docker or \
             apptainer, or name one with --image-tool"
        );
        assert_eq!(why(own, None, true).unwrap(), "the task `test` has the image rust:1.95, and --image-tool is none");
        let told = why(both, None, false).unwrap();
        assert!(told.starts_with("the task `test`") && told.contains("install podman or docker, or"), "{told}");
        let apptainer = why(both, Some("apptainer"), false).unwrap();
        let start =
            "the service `db` of the task `test` has the image postgres:16, and apptainer starts no services in images";
        assert!(apptainer.starts_with(start), "{apptainer}");
        assert_eq!(why(own, Some("apptainer"), false), None);
        assert_eq!(why(service, Some("podman"), false), None);
        assert_eq!(TaskImage::of(&task(false, false)), []);
    }
}
