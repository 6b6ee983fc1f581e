//! The settings of each role: checked values that it is given at its start. The command line makes them from flags and,
//! for flags that are not given, from [`super::defaults`]. Roles read no flags, no environment and no files for
//! settings.

use std::fs::File;
use std::io::{ErrorKind, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use super::location::{MAX_MIRROR_NAME_BYTES, mirror_name};
use super::{ConfigError, ImageTools, JoinedFile, default_runner_name, is_url, repo_name_from, without_credentials};
use crate::model::{Address, Label, Network, Pin, RepoName, RunnerName, SpawnId, TierRange};

/// The most bytes that are read of a token file. A token has a few dozen letters, and must fit into the first line of a
/// session, which has the same limit.
const MAX_TOKEN_FILE_BYTES: u64 = 4096;

/// The file of a role's secret. It is read at every connection, so the role may start before the file exists, and a new
/// token is used as soon as the file holds it. A pipe or a terminal is read once, and its token is kept.
#[derive(Debug, Clone)]
pub struct TokenSource {
    path: PathBuf,
    /// Whether the file is the [`JoinedFile`] of a peer that joined.
    is_joined: bool,
    /// The token that came through something other than a regular file. All clones share it.
    kept: Arc<OnceLock<String>>,
}

/// Two sources are equal if they name one file.
impl PartialEq for TokenSource {
    fn eq(&self, other: &Self) -> bool {
        self.path == other.path
    }
}

impl Eq for TokenSource {}

/// A dispatcher's settings. Durations are in milliseconds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DispatcherSettings {
    /// The address to listen at; port 0 means any free port.
    pub listen: Address,
    /// Networks besides loopback from which plain text is accepted.
    pub plain_text_from: Vec<Network>,
    pub data: PathBuf,
    /// The file of the key with which secrets are sealed; `None` for the one in the data directory.
    pub secrets_key: Option<PathBuf>,
    /// Interval at which peers have to ping, and at which the dispatcher checks for silent peers.
    pub heartbeat_interval_ms: u64,
    /// Silence after which a connected runner is lost.
    pub heartbeat_timeout_ms: u64,
    /// Time that a runner has to come back after its connection closed, before its jobs go to other runners.
    pub reconnect_ms: u64,
    /// Lost attempts after which a job is given up.
    pub max_losses: u32,
    /// The most runners to start on this machine if jobs wait and no runner fits; 0 for none.
    pub spawn: u32,
    /// Time that a job waits for a runner before it is errored.
    pub queue_timeout_ms: u64,
    /// The most peers that are connected at once.
    pub max_connections: usize,
    /// The most bytes of a file in a commit that is built; `None` is no limit.
    pub max_file: Option<u64>,
    /// The most bytes of all caches together; 0 for no caches.
    pub keep_caches: u64,
    pub retention: Retention,
}

/// Limits on the finished builds that are kept, and on their artifacts; `None` is no limit. A build that exceeds one of
/// them is removed, and so are artifacts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retention {
    /// Keep builds for this time after they finished.
    pub keep_ms: Option<u64>,
    /// Keep at most this many builds of each repository, the newest.
    pub keep_builds: Option<u32>,
    /// Keep builds until their logs exceed this many bytes, over all repositories; the oldest are removed first.
    pub keep_logs: Option<u64>,
    /// Keep artifacts for this time after their build finished.
    pub keep_artifacts_ms: Option<u64>,
    /// Keep the artifacts of at most this many builds of each repository, the newest.
    pub keep_artifact_builds: Option<u32>,
    /// Keep artifacts until they exceed this many bytes, over all repositories; those of the oldest builds are removed
    /// first.
    pub keep_artifacts: Option<u64>,
}

/// A runner's settings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunnerSettings {
    pub name: RunnerName,
    /// The dispatcher's addresses, tried in order.
    pub dispatch: Vec<Address>,
    /// The pins of the dispatcher: connections are encrypted, and it must be the one with one of these. Empty for plain
    /// text.
    pub pins: Vec<Pin>,
    pub token: TokenSource,
    /// The directory of stores, work trees, spool and journal.
    pub work: PathBuf,
    pub slots: u32,
    /// Labels besides the runner's own facts (os, arch, hostname).
    pub labels: Vec<Label>,
    /// The address at which to wait for the dispatcher's call, instead of dialling it.
    pub listen: Option<Address>,
    /// A repository on this machine whose objects are used before the dispatcher is asked for source.
    pub local_source: Option<PathBuf>,
    /// The most bytes that are kept of one attempt's output.
    pub log_limit: u64,
    /// The most entries that the artifacts of one attempt have together.
    pub artifact_files: u64,
    /// The most bytes of the artifacts of one attempt.
    pub artifact_bytes: u64,
    /// The most bytes that the tool cache takes; 0 for none.
    pub tool_cache_bytes: u64,
    /// The most bytes of copies of files of caches and taken artifacts that it keeps.
    pub cache_bytes: u64,
    /// The least and the most of the tiers that it offers. `None`: all that the kernel permits.
    pub isolation: Option<TierRange>,
    /// Free space in bytes at `work` below which no attempt is started.
    pub min_free: u64,
    /// Time between TERM and KILL.
    pub grace_ms: u64,
    /// Time that a runner that was told to end waits for a dispatcher that takes no results.
    pub delivery_ms: u64,
    /// Time without work after which the runner ends.
    pub idle_exit_ms: Option<u64>,
    /// The container tools that it may use for tasks with an image.
    pub images: ImageTools,
    /// The number of the request by which a dispatcher started the runner for its own waiting jobs, if one did.
    pub spawn: Option<SpawnId>,
}

/// An observer's settings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObserverSettings {
    /// The dispatcher's addresses, tried in order.
    pub dispatch: Vec<Address>,
    /// The pins of the dispatcher: connections are encrypted, and it must be the one with one of these. Empty for plain
    /// text.
    pub pins: Vec<Pin>,
    pub token: TokenSource,
    pub repos: Vec<ObservedRepo>,
    /// Globs of branch names; empty for the main branch only.
    pub branches: Vec<String>,
    /// Globs of full names of other refs to watch, such as `refs/tags/v*`.
    pub refs: Vec<String>,
    /// How many of the newest of those refs are built that are there at the first look.
    pub backlog: usize,
    /// Interval of polls. Only a poll decides what changed; a notification starts the next poll early.
    pub interval_ms: u64,
    /// The work directory, below which submodules and LFS objects are fetched.
    pub work: PathBuf,
}

/// One repository to observe.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObservedRepo {
    pub name: RepoName,
    pub location: RepoLocation,
    /// The location as the dispatcher and people see it: `host:path`, or the URL without credentials.
    pub source: String,
}

/// The location of a repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RepoLocation {
    /// A repository on this disk.
    Path(PathBuf),
    /// A remote, fetched into the local mirror at `mirror`. The URL may hold credentials, so it is never shown. It is
    /// an absolute path if a repository names one as its remote.
    Url { url: String, mirror: PathBuf },
}

impl TokenSource {
    /// Makes a source of the file at `path`, which need not exist yet.
    #[must_use]
    pub fn new(path: PathBuf) -> Self {
        Self { path, is_joined: false, kept: Arc::default() }
    }

    /// Makes a source of the credential that a peer has joined with.
    #[must_use]
    pub fn joined(path: PathBuf) -> Self {
        Self { is_joined: true, ..Self::new(path) }
    }

    /// Returns the file in which a dispatcher with this data directory keeps the token of `role` (`observer`, `runner`,
    /// `operator`).
    #[must_use]
    pub fn of_role(data: &Path, role: &str) -> Self {
        Self::new(data.join("tokens").join(role))
    }

    /// Returns the path of the file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether this is the credential of a peer that has joined.
    #[must_use]
    pub fn is_joined(&self) -> bool {
        self.is_joined
    }

    /// Stores the pins of the dispatcher beside the credential. Returns false if this is no credential of a peer that
    /// has joined.
    pub(super) fn store_pins(&self, pins: &[Pin]) -> Result<bool, ConfigError> {
        if !self.is_joined {
            return Ok(false);
        }
        let Some(file) = JoinedFile::read(&self.path)? else { return Ok(false) };
        if file.pins != pins {
            JoinedFile { pins: pins.to_vec(), ..file }.write(&self.path)?;
        }
        Ok(true)
    }

    /// Reads the token. Warns of a file that other users may read, and uses it nevertheless.
    pub fn read(&self) -> Result<String, ConfigError> {
        // Checked before the file is opened: a named pipe without a writer would block.
        if let Some(token) = self.kept.get() {
            return Ok(token.clone());
        }
        let path = &self.path;
        if self.is_joined {
            let credential = JoinedFile::read(path)?.and_then(|file| file.credential());
            return credential.ok_or_else(|| ConfigError::JoinedMalformed { path: path.clone() });
        }
        let failed = |source: std::io::Error| {
            if source.kind() == ErrorKind::NotFound {
                ConfigError::TokenMissing { path: path.clone() }
            } else {
                ConfigError::Read { path: path.clone(), source }
            }
        };
        let file = File::open(path).map_err(failed)?;
        let metadata = file.metadata().map_err(failed)?;
        let is_kept = !metadata.is_file() && !metadata.is_dir();
        let mode = metadata.permissions().mode() & 0o777;
        if mode & 0o077 != 0 {
            log::warn!("token {} is open to others (mode {mode:03o}): make it 0600", path.display());
        }
        let mut text = Vec::new();
        file.take(MAX_TOKEN_FILE_BYTES).read_to_end(&mut text).map_err(failed)?;
        let token = text.trim_ascii();
        if token.is_empty() || !token.iter().all(u8::is_ascii_graphic) {
            let path = path.clone();
            return Err(if is_kept { ConfigError::TokenPipe { path } } else { ConfigError::TokenMalformed { path } });
        }
        let token = String::from_utf8_lossy(token).into_owned();
        if is_kept {
            // Another thread may have been faster, but a pipe gives its content to one reader only.
            drop(self.kept.set(token.clone()));
        }
        Ok(token)
    }
}

impl ObservedRepo {
    /// Describes the repository at `location`, a path or a URL. Its name is `name`, else made of the last component.
    /// The mirror of a URL lies below `work`. Does not check that there is a repository: the observer does.
    pub fn new(location: &str, name: Option<&str>, work: &Path) -> Result<Self, ConfigError> {
        let name = name.map_or_else(|| Ok(repo_name_from(location)), RepoName::new)?;
        if is_url(location) {
            let source = without_credentials(location);
            let location = mirrored(location, mirror_name(&source), work, &name)?;
            return Ok(Self { name, location, source });
        }
        // A path that does not exist yet cannot be resolved. The observer reports that it is missing.
        let path = std::fs::canonicalize(location)
            .or_else(|_| std::path::absolute(location))
            .unwrap_or_else(|_| location.into());
        let source = format!("{}:{}", default_runner_name(), path.display());
        Ok(Self { name, location: RepoLocation::Path(path), source })
    }

    /// Replaces the repository by its remote, a URL or an absolute path, which is observed through a mirror below
    /// `work`. The name stays.
    pub fn following(self, remote: &str, work: &Path) -> Result<Self, ConfigError> {
        let shown = without_credentials(remote);
        // Two clones of one remote have two names, so they get two mirrors, and their fetches do not collide.
        let directory = format!("{}+{}", self.name, mirror_name(&shown));
        let location = mirrored(remote, directory, work, &self.name)?;
        let is_here = Path::new(remote).is_absolute();
        let source = if is_here { format!("{}:{shown}", default_runner_name()) } else { shown };
        Ok(Self { name: self.name, location, source })
    }
}

/// Returns the location of a remote whose mirror is this directory below `work`.
fn mirrored(url: &str, directory: String, work: &Path, name: &RepoName) -> Result<RepoLocation, ConfigError> {
    if directory.len() > MAX_MIRROR_NAME_BYTES {
        return Err(ConfigError::MirrorName(name.to_string()));
    }
    Ok(RepoLocation::Url { url: url.to_owned(), mirror: work.join("observed").join(directory) })
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn token_file(content: &[u8]) -> (tempfile::TempDir, TokenSource) {
        let data = tempfile::tempdir().unwrap();
        let token = TokenSource::of_role(data.path(), "runner");
        fs::create_dir(data.path().join("tokens")).unwrap();
        fs::write(token.path(), content).unwrap();
        fs::set_permissions(token.path(), fs::Permissions::from_mode(0o600)).unwrap();
        (data, token)
    }

    #[test]
    fn a_token_is_read_without_the_space_around_it() {
        let (_data, token) = token_file(b"  abc123\n");
        assert_eq!(token.read().unwrap(), "abc123");
    }

    #[test]
    fn a_token_that_others_may_read_is_still_used() {
        let (_data, token) = token_file(b"abc123");
        fs::set_permissions(token.path(), fs::Permissions::from_mode(0o644)).unwrap();
        assert_eq!(token.read().unwrap(), "abc123");
    }

    #[test]
    fn a_missing_token_says_what_to_do() {
        let error = TokenSource::new("/nowhere/tokens/runner".into()).read().unwrap_err();
        assert_eq!(
            error.to_string(),
            "there is no token at /nowhere/tokens/runner: start the dispatcher first, which writes it, or name a copy \
             of it with --token-file"
        );
    }

    #[test]
    fn a_file_that_holds_no_token_is_refused() {
        for content in [&b""[..], b"\n", b"two words", b"two\nlines", b"\xff\xfe", b"a\0b"] {
            let (_data, token) = token_file(content);
            assert!(matches!(token.read(), Err(ConfigError::TokenMalformed { .. })), "{content:?}");
        }
        let (data, _token) = token_file(b"x");
        assert!(matches!(TokenSource::new(data.path().into()).read(), Err(ConfigError::Read { .. })));
    }

    #[test]
    fn a_new_token_in_a_file_is_used_at_once() {
        let (_data, token) = token_file(b"old");
        assert_eq!(token.read().unwrap(), "old");
        fs::write(token.path(), "new").unwrap();
        assert_eq!(token.read().unwrap(), "new");
    }

    /// `--token-file <(…)` and `/dev/stdin`: the second read would find nothing, or wait for ever.
    #[test]
    fn a_token_from_a_pipe_is_read_once_and_kept() {
        use std::io::Write;
        use std::os::fd::AsRawFd;

        let (reader, mut writer) = std::io::pipe().unwrap();
        let token = TokenSource::new(format!("/proc/self/fd/{}", reader.as_raw_fd()).into());
        writer.write_all(b"abc123\n").unwrap();
        drop(writer);
        assert_eq!(token.clone().read().unwrap(), "abc123");
        drop(reader);
        assert_eq!(token.read().unwrap(), "abc123");
        assert_eq!(token, TokenSource::new(token.path().into()));
    }

    #[test]
    fn a_pipe_without_a_token_is_no_file_that_may_get_one() {
        let (reader, _) = std::io::pipe().unwrap();
        let path = {
            use std::os::fd::AsRawFd;
            format!("/proc/self/fd/{}", reader.as_raw_fd())
        };
        for path in [path.as_str(), "/dev/null"] {
            let error = TokenSource::new(path.into()).read().unwrap_err();
            assert!(matches!(error, ConfigError::TokenPipe { .. }), "{error}");
            assert!(error.to_string().contains(path), "{error}");
        }
    }

    #[test]
    fn a_path_is_observed_in_place_and_a_url_by_its_mirror() {
        let work = Path::new("/w");
        let local = ObservedRepo::new("/nowhere/app", None, work).unwrap();
        assert_eq!(local.name.as_str(), "app");
        assert_eq!(local.location, RepoLocation::Path("/nowhere/app".into()));
        assert_eq!(local.source, format!("{}:/nowhere/app", default_runner_name()));

        let url = "https://me:secret@h/team/app.git";
        let remote = ObservedRepo::new(url, Some("other"), work).unwrap();
        assert_eq!(remote.name.as_str(), "other");
        assert_eq!(remote.source, "https://h/team/app.git");
        let mirror = PathBuf::from("/w/observed/https%3a%2f%2fh%2fteam%2fapp.git");
        assert_eq!(remote.location, RepoLocation::Url { url: url.to_owned(), mirror });

        assert!(matches!(ObservedRepo::new("/x", Some("a b"), work), Err(ConfigError::RepoName(_))));
        let long = format!("https://h/{}", "a".repeat(300));
        assert!(matches!(ObservedRepo::new(&long, None, work), Err(ConfigError::MirrorName(_))));
    }

    #[test]
    fn a_repository_that_follows_its_remote_keeps_its_name_and_has_a_mirror_of_its_own() {
        let work = Path::new("/w");
        let follow = |name, remote| {
            let local = ObservedRepo::new("/nowhere/app", Some(name), work).unwrap();
            let repo = local.following(remote, work).unwrap();
            let RepoLocation::Url { url, mirror } = repo.location else { panic!("not a mirror") };
            assert_eq!((repo.name.as_str(), url.as_str()), (name, remote));
            (repo.source, mirror)
        };
        let (source, mirror) = follow("a", "https://me:secret@h/x.git");
        assert_eq!(source, "https://h/x.git");
        assert_eq!(mirror, Path::new("/w/observed/a+https%3a%2f%2fh%2fx.git"));
        assert_ne!(mirror, follow("b", "https://me:secret@h/x.git").1);
        let (source, mirror) = follow("a", "/srv/x.git");
        assert_eq!(source, format!("{}:/srv/x.git", default_runner_name()));
        assert_eq!(mirror, Path::new("/w/observed/a+%2fsrv%2fx.git"));
        let local = ObservedRepo::new("/nowhere/app", None, work).unwrap();
        let error = local.following(&"a".repeat(300), work).unwrap_err();
        assert!(matches!(error, ConfigError::MirrorName(_)), "{error}");
    }

    #[test]
    fn a_relative_path_is_told_in_full() {
        let here = ObservedRepo::new(".", None, Path::new("/w")).unwrap();
        let RepoLocation::Path(path) = here.location else { panic!("a dot is a path") };
        assert!(path.is_absolute() && !path.ends_with("."), "{}", path.display());
    }
}
