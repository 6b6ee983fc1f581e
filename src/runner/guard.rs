//! The guard of a runner's attempts: what of the machine they do not see. Finds out at the start whether the kernel
//! lets this process guard them, and gives each attempt its view.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::error::RunnerError;
use super::layout::Layout;
use super::temporary::Temporary;
use crate::config::{RunnerSettings, data_dir};
use crate::error_chain::chain;
use crate::model::{Isolation, Tier};
use crate::process::{Guard, Supervisor, View};

/// The file that every data directory of a dispatcher has.
const DATABASE: &str = "surveil.db";

/// Sockets by which a process asks a service outside of its attempt to start another one. Those of root's services, and
/// those of every user's, below `/run/user/UID`.
const SERVICES_OF_ROOT: [&str; 2] = ["/run/systemd/private", "/run/dbus/system_bus_socket"];
const SERVICES_OF_USER: [&str; 2] = ["systemd", "bus"];

/// The means by which this runner guards its attempts.
#[derive(Debug, Clone, Copy)]
pub(super) struct Means {
    user_namespace: bool,
}

/// Tries to start a guarded supervisor. Returns the means that work; `None` if none does, and the log says why. It is
/// an error if the operator wants every attempt guarded, and that cannot be.
pub(super) fn detect(program: &Path, isolation: Isolation, wanted: Option<Tier>) -> Result<Option<Means>, RunnerError> {
    if wanted == Some(Tier::Shared) {
        return Ok(None);
    }
    let mut refusals = Vec::new();
    for user_namespace in [false, true] {
        let guard = Arc::new(Guard { hidden: Vec::new(), user_namespace });
        match Supervisor::new(program.to_owned(), isolation).try_guard(&guard) {
            Ok(()) => return Ok(Some(Means { user_namespace })),
            Err(error) => refusals.push(chain(&error)),
        }
    }
    let why = format!(
        "the kernel refuses mounts of their own ({}), and in a user namespace too ({})",
        refusals[0], refusals[1]
    );
    if wanted.is_some() {
        return Err(RunnerError::NotGuarded { why });
    }
    log::warn!("attempts are not guarded, and see the files of this runner's user: {why}");
    Ok(None)
}

impl Means {
    /// Returns the means in words, for people.
    pub(super) fn words(self) -> &'static str {
        if self.user_namespace { "mounts in a user namespace" } else { "mounts" }
    }
}

/// What the attempts of a runner do not see.
#[derive(Debug)]
pub(super) struct AttemptGuard {
    means: Means,
    /// Whether a task cannot choose to be without it.
    is_forced: bool,
    /// Hidden if they exist when an attempt begins.
    hidden: BTreeSet<PathBuf>,
    home: Option<PathBuf>,
}

impl AttemptGuard {
    pub(super) fn new(means: Means, settings: &RunnerSettings, layout: &Layout) -> Self {
        let mut hidden = BTreeSet::from([layout.root().to_owned(), settings.token.path().to_owned()]);
        hidden.insert(data_dir(std::env::var_os("SURVEIL_DATA").map(PathBuf::from)));
        hidden.extend(
            settings.token.path().ancestors().filter(|above| above.join(DATABASE).is_file()).map(Path::to_owned),
        );
        hidden.extend(local_data_directories());
        let user = rustix::process::geteuid();
        if user.is_root() {
            hidden.extend(SERVICES_OF_ROOT.map(PathBuf::from));
        }
        let sessions = Path::new("/run/user").join(user.as_raw().to_string());
        hidden.extend(SERVICES_OF_USER.map(|name| sessions.join(name)));
        Self { means, is_forced: settings.isolation.is_some(), hidden, home: std::env::home_dir() }
    }

    /// Whether an attempt is guarded whose task asks for this tier.
    pub(super) fn holds_for(&self, asked: Option<Tier>) -> bool {
        self.is_forced || asked != Some(Tier::Shared)
    }

    /// Returns the view of an attempt: it sees its tree and its own temporary directories, and the home directory.
    pub(super) fn view(&self, tree: &Path, places: &Places) -> View {
        let mut hidden: Vec<PathBuf> = self.hidden.iter().filter_map(|path| path.canonicalize().ok()).collect();
        hidden.sort();
        hidden.dedup();
        let is_below_tmp = |path: &&PathBuf| path.starts_with("/tmp") || path.starts_with("/var/tmp");
        let home = self.home.as_ref().and_then(|home| home.canonicalize().ok());
        let home = home.as_ref().filter(is_below_tmp).cloned();
        // What is hidden in the home directory stays hidden.
        let given = [tree.to_owned(), places.temporary.clone(), places.told.clone()].into_iter().chain(home).collect();
        let guard = Arc::new(Guard { hidden, user_namespace: self.means.user_namespace });
        View { guard, given, tmp: places.tmp.clone(), var_tmp: places.var_tmp.clone() }
    }
}

/// The directories of one guarded attempt.
#[derive(Debug)]
pub(super) struct Places {
    /// The value of `TMPDIR`.
    pub(super) temporary: PathBuf,
    /// The directory of the files by which the attempt tells its runner something.
    pub(super) told: PathBuf,
    /// What the attempt sees as `/tmp`, and as `/var/tmp`.
    tmp: PathBuf,
    var_tmp: PathBuf,
}

/// The temporary directories of a slot's guarded attempts, one attempt after the other.
#[derive(Debug)]
pub(super) struct Scratch {
    /// `None` if its path would be too long for sockets: the attempt's `/tmp` serves.
    temporary: Option<Temporary>,
    told: Temporary,
    tmp: Temporary,
    var_tmp: Temporary,
}

impl Scratch {
    pub(super) fn new(layout: &Layout, slot: usize) -> Self {
        let (parent, is_short) = layout.guarded_temporary();
        let directory = |name: String| Temporary::new(parent.clone(), name);
        Self {
            temporary: is_short.then(|| directory(slot.to_string())),
            told: directory(format!("{slot}.told")),
            tmp: directory(format!("{slot}.tmp")).for_everybody(),
            var_tmp: directory(format!("{slot}.var")).for_everybody(),
        }
    }

    /// Makes the directories of the next attempt.
    pub(super) fn make(&mut self) -> io::Result<Places> {
        let temporary = self.temporary.as_mut().map_or_else(|| Ok(PathBuf::from("/tmp")), Temporary::make)?;
        let (told, tmp, var_tmp) = (self.told.make()?, self.tmp.make()?, self.var_tmp.make()?);
        Ok(Places { temporary, told, tmp, var_tmp })
    }

    /// Removes what the attempt left in them.
    pub(super) fn clear(&mut self) {
        let Self { temporary, told, tmp, var_tmp } = self;
        temporary.iter_mut().chain([told, tmp, var_tmp]).for_each(Temporary::clear);
    }
}

/// The data directories of dispatchers that run on this machine and are visible to this user: the directories of the
/// databases that they have open.
fn local_data_directories() -> Vec<PathBuf> {
    let mut found = Vec::new();
    for process in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let path = process.path();
        if !fs::read(path.join("comm")).is_ok_and(|name| name.starts_with(b"surveil")) {
            continue;
        }
        for open in fs::read_dir(path.join("fd")).into_iter().flatten().flatten() {
            let file = fs::read_link(open.path()).unwrap_or_default();
            if file.file_name().is_some_and(|name| name == DATABASE) {
                found.extend(file.parent().map(Path::to_owned));
            }
        }
    }
    found
}
