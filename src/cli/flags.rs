//! Flags that several commands share: the dispatcher's address and token for a role, and the format of an answer.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use crate::config::{TokenSource, data_dir, defaults};
use crate::dispatcher;
use crate::model::glob::matches_no_ref;
use crate::model::{Address, Pin};
use crate::protocol::limits::MAX_PATTERN_BYTES;
use crate::transport::Listener;

/// The dispatcher's address, and the token for it, of an observer or a runner.
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
    #[command(flatten)]
    pub(crate) proof: ProofFlags,
}

/// How the two sides of a connection show who they are.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Connection")]
pub(crate) struct ProofFlags {
    /// The dispatcher's pin, which it prints at its start: encrypts the connection, and refuses any other dispatcher;
    /// several, separated by commas, while a dispatcher changes its own
    #[arg(long = "pin", value_name = "HEX", env = "SURVEIL_PIN", value_delimiter = ',')]
    pub(crate) pins: Vec<Pin>,
    /// File with the token of the role [default: the token in the dispatcher's data directory, if that is on this
    /// machine]
    #[arg(long, value_name = "FILE", env = "SURVEIL_TOKEN_FILE", hide_env_values = true)]
    pub(crate) token_file: Option<PathBuf>,
    /// Data directory of a dispatcher on this machine, to find its token [default: ~/.local/state/surveil]
    #[arg(long, value_name = "DIR", env = "SURVEIL_DATA")]
    pub(crate) data: Option<PathBuf>,
}

impl ProofFlags {
    /// The pins of the dispatcher at these addresses, for an encrypted connection; none for plain text. A dispatcher of
    /// this user on this machine that listens beyond loopback is recognised by its data directory, as its token is
    /// found there.
    pub(crate) fn find_pins(&self, dispatch: &[Address]) -> Vec<Pin> {
        if !self.pins.is_empty() {
            return self.pins.clone();
        }
        // The names are resolved only if there is a pin to find.
        let found = dispatcher::pin(&data_dir(self.data.clone()));
        found.filter(|_| dispatch.iter().all(Listener::is_of_this_machine)).into_iter().collect()
    }

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

/// The refs to watch beside branches.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Watching")]
pub(crate) struct RefFlags {
    /// Tags to watch, as a glob such as `v*`; may be repeated [default: none]
    #[arg(long = "tag", value_name = "GLOB", value_parser = tag_glob)]
    tags: Vec<String>,
    /// Other refs to watch, as a glob of full names such as `refs/pull/*/head`; may be repeated [default: none]
    #[arg(long = "ref", value_name = "GLOB", value_parser = ref_glob)]
    refs: Vec<String>,
    /// Build the N newest of the tags and other refs that are there at the first look [default: 0, only later ones]
    #[arg(long, value_name = "N")]
    backlog: Option<u32>,
}

impl RefFlags {
    /// The globs of full names of refs, each once.
    pub(crate) fn patterns(&self) -> Vec<String> {
        let mut patterns: Vec<String> = self.tags.iter().chain(&self.refs).cloned().collect();
        patterns.sort_unstable();
        patterns.dedup();
        patterns
    }

    /// How many of the refs are built that are there at the first look.
    pub(crate) fn backlog(&self) -> usize {
        self.backlog.unwrap_or(0) as usize
    }

    /// The flags as they were typed, for a command that is printed.
    pub(crate) fn typed(&self) -> Vec<(&'static str, &str)> {
        let tags = self.tags.iter().map(|glob| ("--tag", glob.strip_prefix(TAGS).unwrap_or(glob)));
        tags.chain(self.refs.iter().map(|glob| ("--ref", glob.as_str()))).collect()
    }
}

const BRANCHES: &str = "refs/heads/";
const TAGS: &str = "refs/tags/";

/// Reads a glob for names of branches. The whole name of a ref means the branch.
pub(crate) fn branch_glob(text: &str) -> Result<String, String> {
    let glob = text.strip_prefix(BRANCHES).unwrap_or(text);
    if glob.is_empty() {
        return Err("give the name of a branch, or a glob such as `release/*`".into());
    }
    if let Some(tag) = glob.strip_prefix(TAGS) {
        return Err(format!("this is a tag: write --tag '{tag}'"));
    }
    if glob.starts_with("refs/") {
        return Err(format!("this is no branch: write --ref '{glob}'"));
    }
    if glob == "HEAD" {
        return Err("leave --branch out to watch the branch that HEAD names".into());
    }
    checked_glob("", glob, ("branch", "--branch"))
}

/// Reads a glob for names of tags. Returns a glob of full names.
fn tag_glob(text: &str) -> Result<String, String> {
    let glob = text.strip_prefix(TAGS).unwrap_or(text);
    if glob.is_empty() {
        return Err("give the name of a tag, or a glob such as `v*`".into());
    }
    if let Some(branch) = glob.strip_prefix(BRANCHES) {
        return Err(format!("this is a branch: write --branch '{branch}'"));
    }
    if glob.starts_with("refs/") {
        return Err(format!("this is no tag: write --ref '{glob}'"));
    }
    checked_glob(TAGS, glob, ("tag", "--tag"))
}

/// Reads a glob for full names of refs that are neither branches nor tags.
fn ref_glob(text: &str) -> Result<String, String> {
    if let Some(branch) = text.strip_prefix(BRANCHES) {
        return Err(format!("this is a branch: write --branch '{branch}'"));
    }
    if let Some(tag) = text.strip_prefix(TAGS) {
        return Err(format!("this is a tag: write --tag '{tag}'"));
    }
    if !text.starts_with("refs/") || text.len() == "refs/".len() {
        return Err(
            "give the full name of a ref, or a glob such as `refs/pull/*/head`; a branch is watched by --branch, \
                    a tag by --tag"
                .into(),
        );
    }
    checked_glob("", text, ("ref", "--ref"))
}

/// Refuses a glob that no ref can match, or that is too long with `namespace` before it. Returns both together.
fn checked_glob(namespace: &str, glob: &str, (kind, flag): (&str, &str)) -> Result<String, String> {
    if namespace.len() + glob.len() > MAX_PATTERN_BYTES {
        return Err(format!("a glob has at most {MAX_PATTERN_BYTES} bytes"));
    }
    match matches_no_ref(glob, kind) {
        Some(why) => Err(format!("it {why}; {flag} may be repeated")),
        None => Ok(format!("{namespace}{glob}")),
    }
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
        for text in
            ["", "refs/heads/", "release/[0-9]*", "a]", "refs/tags/v1", "!main", "{main,topic}", "a..b", "main "]
        {
            assert!(branch_glob(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_glob_of_another_kind_is_refused_with_the_flag_for_it() {
        assert_eq!(tag_glob("v*").as_deref(), Ok("refs/tags/v*"));
        assert_eq!(tag_glob("refs/tags/v1.0").as_deref(), Ok("refs/tags/v1.0"));
        assert_eq!(ref_glob("refs/pull/*/head").as_deref(), Ok("refs/pull/*/head"));
        for (refused, hint) in [
            (branch_glob("refs/tags/v*"), "write --tag 'v*'"),
            (branch_glob("refs/pull/*/head"), "write --ref 'refs/pull/*/head'"),
            (tag_glob("refs/heads/main"), "write --branch 'main'"),
            (tag_glob("refs/pull/*/head"), "write --ref 'refs/pull/*/head'"),
            (ref_glob("refs/heads/main"), "write --branch 'main'"),
            (ref_glob("refs/tags/v*"), "write --tag 'v*'"),
            (ref_glob("pull/*/head"), "give the full name of a ref"),
            (ref_glob("refs/"), "give the full name of a ref"),
            (tag_glob("v[0-9]*"), "--tag may be repeated"),
            (ref_glob("refs/x/[a]"), "--ref may be repeated"),
            (tag_glob("{v1,v2}"), "write one glob for each of them; --tag may be repeated"),
            (ref_glob("refs/x/a~1"), "it matches no ref; --ref may be repeated"),
            (branch_glob("HEAD"), "leave --branch out"),
            (tag_glob(""), "such as `v*`"),
            (tag_glob(&"x".repeat(2000)), "at most 1024 bytes"),
        ] {
            let text = refused.unwrap_err();
            assert!(text.contains(hint), "{text}");
        }
    }
}
