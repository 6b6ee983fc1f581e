//! The file in which a dispatcher leaves its pin, for commands of the same user and for scripts. They need no key.

use std::fs;
use std::path::{Path, PathBuf};

use crate::model::Pin;

/// Returns the pin of the dispatcher with this data directory; `None` if there is none, or none that this user may
/// read.
#[must_use]
pub fn pin(data: &Path) -> Option<Pin> {
    fs::read_to_string(file(data)).ok()?.parse().ok()
}

/// Returns the path of the file.
pub(super) fn file(data: &Path) -> PathBuf {
    data.join("tls").join("pin")
}
