//! The flags that name the container tool of this machine.

use std::path::PathBuf;

use clap::Args;

use super::CliError;
use crate::config::{ImageTools, NO_IMAGE_TOOL};

/// The container tool and its commands.
#[derive(Debug, Clone, Args)]
pub(crate) struct ImageFlags {
    /// Tool for container images: podman, docker, apptainer, one of the templates' file, or none [default: the first
    /// that is found]
    #[arg(long, value_name = "TOOL")]
    image_tool: Option<String>,
    /// File with the commands of container tools [default: ~/.config/surveil/images.toml, if it is there]
    #[arg(long, value_name = "FILE")]
    image_templates: Option<PathBuf>,
}

impl ImageFlags {
    /// Whether the person wants no tool.
    pub(crate) fn is_none(&self) -> bool {
        self.image_tool.as_deref() == Some(NO_IMAGE_TOOL)
    }

    /// Reads the commands of the tools.
    pub(crate) fn tools(&self) -> Result<ImageTools, CliError> {
        let tools = ImageTools::read(self.image_tool.as_deref(), self.image_templates.as_deref());
        tools.map_err(CliError::Usage)
    }
}
