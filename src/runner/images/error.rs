//! The reasons why a task with an image cannot be executed here. None of them is the task's fault, so its attempt is
//! lost and may be tried on another runner.

use std::io;

use super::calls::CallError;

/// A failure of a container tool.
#[derive(Debug, thiserror::Error)]
pub(super) enum ImageError {
    #[error(
        "the task wants the image {image}, and this machine has no container tool: install podman, docker or apptainer"
    )]
    NoTool { image: String },
    #[error("this machine has no container tool for the image {image} of the service: install podman or docker")]
    NoToolOfServices { image: String },
    #[error("the image {image} is not on this machine, and the task fetches none (pull = \"never\")")]
    NotHere { image: String },
    #[error("{tool} could not fetch the image {image}: {message}")]
    Pull { tool: String, image: String, message: String },
    #[error("{tool} could not say what the image {image} is: {message}")]
    Inspect { tool: String, image: String, message: String },
    #[error(
        "{tool} did not start the image {image} ({how}): its message is in the output; an image needs a program /bin/sh"
    )]
    NotStarted { tool: String, image: String, how: String },
    #[error("the container of the image {image} was gone before the task had ended ({tool}: {how})")]
    Gone { tool: String, image: String, how: String },
    #[error(
        "a container cannot have the path {path}: choose a directory without colons and commas, with a name in UTF-8"
    )]
    Path { path: String },
    #[error("could not prepare the container of the image {image}")]
    Prepare { image: String, source: io::Error },
    #[error("{tool} does not start services in images: use podman or docker, or give it a command `service`")]
    NoServices { tool: String },
    #[error("the service has a `port`, and the command `service` of {tool} has no {{publish}}")]
    NoPublishing { tool: String },
    #[error(
        "{tool} did not start the image {image} of the service {service} (exit code 125): its message is in the output of \
         the service"
    )]
    ServiceNotStarted { tool: String, image: String, service: String },
    #[error("{tool} failed with the image {image}")]
    Call { tool: String, image: String, source: CallError },
}

impl ImageError {
    /// Whether the attempt was cancelled meanwhile.
    pub(super) fn is_cancel(&self) -> bool {
        matches!(self, Self::Call { source: CallError::Cancelled, .. })
    }
}
