//! The entries of several artifacts that are fetched together. Pure.

use super::CliError;
use crate::blobs::{Clash, Entry, merge};
use crate::protocol::blobs::ArtifactReport;

/// Returns the entries of artifacts that are fetched together. As for a task that takes them, of two with one path the
/// later one counts.
pub(crate) fn together(artifacts: &[ArtifactReport], manifests: Vec<Vec<Entry>>) -> Result<Vec<Entry>, CliError> {
    let name = |at: usize| format!("artifact `{}` of task {}", artifacts[at].name, artifacts[at].task);
    let merged = merge(manifests).map_err(|Clash { path, of: [one, other] }| {
        CliError::Usage(format!(
            "{} and {} do not fit into one directory: `{path}` is a directory in one of them only; name one cell of a \
             matrix, or one artifact with --name",
            name(one),
            name(other)
        ))
    })?;
    Ok(merged.into_iter().map(|(entry, _)| entry).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::blobs::EntryKind;

    #[test]
    fn of_two_cells_with_one_path_the_later_one_is_fetched() {
        let artifact = |task: &str| ArtifactReport {
            task: task.into(),
            number: 1,
            outcome: "passed".into(),
            name: "files".into(),
            manifest: String::new(),
            files: 2,
            bytes: 0,
            keep_ms: None,
        };
        let link = |path: &str, target: &str| Entry {
            path: path.into(),
            mtime_ns: 1,
            kind: EntryKind::Link { target: target.into() },
        };
        let both = [artifact("test@a"), artifact("test@b")];
        let (first, second) = (vec![link("a", "x"), link("same", "x")], vec![link("b", "y"), link("same", "y")]);
        let merged = together(&both, vec![first.clone(), second]).unwrap();
        assert_eq!(merged, [link("a", "x"), link("b", "y"), link("same", "y")]);
        let error = together(&both, vec![first, vec![link("same/x", "y")]]).unwrap_err().to_string();
        assert!(error.contains("of task test@b do not fit into one directory: `same` is a directory"), "{error}");
    }
}
