//! Flags that several commands share: the dispatcher's address and token, and the format of the answer.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use crate::config::{TokenSource, data_dir, defaults};
use crate::model::Address;

/// The dispatcher's address, and the token for it.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Connection")]
pub(crate) struct DispatchFlags {
    /// The dispatcher's address; several, separated by commas, are tried in order
    #[arg(
        long,
        value_name = "HOST:PORT",
        env = "SURVEIL_DISPATCH",
        value_delimiter = ',',
        default_value = defaults::DISPATCH
    )]
    pub(crate) dispatch: Vec<Address>,
    /// File with this role's token [default: the token in the dispatcher's data directory, if that is on this machine]
    #[arg(long, value_name = "FILE", env = "SURVEIL_TOKEN_FILE", hide_env_values = true)]
    pub(crate) token_file: Option<PathBuf>,
    /// Data directory of a dispatcher on this machine, to find its token [default: ~/.local/state/surveil]
    #[arg(long, value_name = "DIR", env = "SURVEIL_DATA")]
    pub(crate) data: Option<PathBuf>,
}

impl DispatchFlags {
    /// The file from which the token of `role` is read.
    pub(crate) fn token(&self, role: &str) -> TokenSource {
        match &self.token_file {
            Some(path) => TokenSource::new(path.clone()),
            None => TokenSource::of_role(&data_dir(self.data.clone()), role),
        }
    }
}

/// The format of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    Table,
    Json,
}

/// How an answer is to be printed.
#[derive(Debug, Clone, Args)]
pub(crate) struct FormatFlags {
    /// Text for people, or one line of JSON for programs
    #[arg(long, value_enum, default_value_t = Format::Table)]
    format: Format,
    /// The same as --format json
    #[arg(long, conflicts_with = "format")]
    json: bool,
}

impl FormatFlags {
    /// The format that was asked for.
    pub(crate) fn get(&self) -> Format {
        if self.json { Format::Json } else { self.format }
    }
}

/// Reads a glob for names of branches. The whole name of a ref means the branch.
pub(crate) fn branch_glob(text: &str) -> Result<String, String> {
    let glob = text.strip_prefix("refs/heads/").unwrap_or(text);
    if glob.is_empty() {
        return Err("give the name of a branch, or a glob such as `release/*`".into());
    }
    if glob.starts_with("refs/") {
        return Err("only branches are watched: give a name or a glob below refs/heads/".into());
    }
    // Git allows no such character in the name of a branch, so a class of characters is meant.
    if glob.contains(['[', ']']) {
        return Err("classes of characters are not known here: `?` is one character, `*` any number of them, and \
                    --branch may be repeated"
            .into());
    }
    Ok(glob.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_glob_for_branches_may_be_the_name_of_a_ref_and_has_no_classes() {
        for (text, glob) in
            [("main", "main"), ("release/*", "release/*"), ("refs/heads/a/?", "a/?"), ("ref/x", "ref/x")]
        {
            assert_eq!(branch_glob(text).as_deref(), Ok(glob));
        }
        for text in ["", "refs/heads/", "release/[0-9]*", "a]", "refs/tags/v1"] {
            assert!(branch_glob(text).is_err(), "{text}");
        }
    }
}
