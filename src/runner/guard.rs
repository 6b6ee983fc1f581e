//! The guard of a runner's attempts: what of the machine they do not see. Finds out at the start whether the kernel
//! lets this process guard them, and gives each attempt its view.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use super::blobs::HomeDirectory;
use super::canonical::CanonicalPaths;
use super::error::RunnerError;
use super::layout::Layout;
use super::limit_notes::exceeded;
use super::temporary::Temporary;
use crate::clock;
use crate::config::{RunnerSettings, data_dir};
use crate::error_chain::chain;
use crate::model::{Ability, CacheRule, ExecutionRecord, Isolation, Recipe, Tier, TierOffer, TierRange};
use crate::process::{Enforcement, Given, Guard, Supervisor, Usage, View};
use crate::threads;

/// Time in which hidden files are looked up once for all attempts that begin. What appears meanwhile might as well have
/// appeared after the look.
const LOOK_EVERY: Duration = if cfg!(test) { Duration::ZERO } else { Duration::from_millis(20) };

/// The file that every data directory of a dispatcher has.
const DATABASE: &str = "surveil.db";

/// Sockets by which a process asks a service outside of its attempt to start another one. Those of root's services, and
/// those of every user's, below `/run/user/UID`.
const SERVICES_OF_ROOT: [&str; 2] = ["/run/systemd/private", "/run/dbus/system_bus_socket"];
const SERVICES_OF_USER: [&str; 2] = ["systemd", "bus"];

/// Sockets by which a process starts containers, in which everything can be mounted. Sealed attempts do not see them.
const CONTAINER_SERVICES: [&str; 4] = ["/run/docker.sock", "/run/podman", "/run/containerd", "/run/crio"];

/// The lines behind the output of a guarded task that failed: the program's own error may say only "read-only", or
/// "permission denied".
const SEALED: &str = "surveil: the task is sealed: it can write only to its work tree, to TMPDIR, /tmp and /var/tmp, and to \
                      its own home directory";
const FENCED: &str = "surveil: the task is guarded by Landlock: it can neither list nor make anything directly in a \
                      directory above its runner's work directory or other files of Surveil";

/// Returns the line behind the output of a task that failed.
pub(super) fn guard_note(view: &View) -> Option<&'static str> {
    let Guard { is_sealed, by_landlock, .. } = *view.guard;
    is_sealed.then_some(SEALED).or(by_landlock.then_some(FENCED))
}

/// The means by which this runner guards its attempts.
#[derive(Debug, Clone, Copy)]
pub(super) enum Means {
    Mounts,
    /// Mounts, for a runner that may not mount without it.
    UserNamespace,
    Landlock,
}

/// Tries to start a guarded supervisor. Returns the means that work; `None` if none does, and the log says why. It is
/// an error if the operator wants every attempt guarded, and that cannot be.
pub(super) fn detect(
    program: &Path,
    isolation: Isolation,
    wanted: Option<TierRange>,
) -> Result<Option<Means>, RunnerError> {
    let wanted = wanted.unwrap_or(TierRange::ALL);
    if wanted.most == Tier::Shared {
        return Ok(None);
    }
    let mut refusals = Vec::new();
    for means in [Means::Mounts, Means::UserNamespace, Means::Landlock] {
        if means.range(Some(wanted)).most < wanted.least {
            refusals.push("it cannot seal attempts".to_owned());
            continue;
        }
        let guard = Arc::new(means.guard());
        match Supervisor::new(program.to_owned(), isolation).try_guard(&guard) {
            Ok(()) => return Ok(Some(means)),
            Err(error) => refusals.push(chain(&error)),
        }
    }
    let why = format!(
        "the kernel refuses mounts of their own ({}), in a user namespace too ({}), and Landlock ({})",
        refusals[0], refusals[1], refusals[2]
    );
    if wanted.least > Tier::Shared {
        return Err(RunnerError::NotGuarded { why });
    }
    log::warn!("attempts are not guarded, and see the files of this runner's user: {why}");
    Ok(None)
}

impl Means {
    /// Returns what a runner with these means offers to tasks, within the tiers that its operator has chosen.
    pub(super) fn abilities(self, chosen: Option<TierRange>) -> impl Iterator<Item = Ability> {
        let most = self.range(chosen).most;
        // Landlock cannot do the others.
        let offline = (!matches!(self, Self::Landlock)).then_some(Ability::NoNetwork);
        let sealed = (most >= Tier::Sealed).then_some(Ability::Sealed);
        [Ability::Guarded].into_iter().chain(offline).chain(sealed)
    }

    /// Returns the tiers that a runner with these means offers, within those that its operator has chosen.
    fn range(self, chosen: Option<TierRange>) -> TierRange {
        let TierRange { least, most } = chosen.unwrap_or(TierRange::ALL);
        let possible = if matches!(self, Self::Landlock) { Tier::Guarded } else { Tier::Sealed };
        TierRange { least, most: most.min(possible) }
    }

    /// Returns a guard by these means that hides nothing.
    fn guard(self) -> Guard {
        Guard {
            user_namespace: matches!(self, Self::UserNamespace),
            by_landlock: matches!(self, Self::Landlock),
            ..Guard::default()
        }
    }

    /// Returns what a runner tells of its tiers.
    pub(super) fn offer(means: Option<Self>, chosen: Option<TierRange>) -> TierOffer {
        match means {
            Some(means) => TierOffer { range: means.range(chosen), means: means.words().to_owned() },
            None => TierOffer { range: TierRange { least: Tier::Shared, most: Tier::Shared }, means: String::new() },
        }
    }

    /// Returns the means in words, for people.
    pub(super) fn words(self) -> &'static str {
        match self {
            Self::Mounts => "mounts",
            Self::UserNamespace => "mounts in a user namespace",
            Self::Landlock => "Landlock",
        }
    }
}

/// The paths that the attempts of a runner do not see.
#[derive(Debug)]
pub(super) struct AttemptGuard {
    means: Means,
    /// The tiers that the operator has chosen.
    chosen: TierRange,
    /// Hidden if they exist when an attempt begins.
    hidden: BTreeSet<PathBuf>,
    home: Option<PathBuf>,
    paths: CanonicalPaths,
    /// The guards that were made in the last moment.
    recent: Mutex<Vec<(Instant, Arc<Guard>)>>,
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
        Self {
            means,
            chosen: means.range(settings.isolation),
            hidden,
            home: std::env::home_dir(),
            paths: CanonicalPaths::default(),
            recent: Mutex::default(),
        }
    }

    /// Returns the tier of an attempt at this recipe: that of the task, else guarded, but within what the operator has
    /// chosen. A task that asks for more is not executed here.
    pub(super) fn tier(&self, recipe: &Recipe) -> Tier {
        let TierRange { least, most } = self.chosen;
        let asked = recipe.isolation.unwrap_or(Tier::Guarded).clamp(least, most);
        // A network of its own takes a guard too.
        if recipe.network { asked } else { asked.max(Tier::Guarded) }
    }

    /// Makes the record of an attempt at this recipe under a guard, or under none, whose processes used as much.
    pub(super) fn record(
        guard: Option<&Self>,
        recipe: &Recipe,
        used: Option<Usage>,
        enforcement: Enforcement,
    ) -> ExecutionRecord {
        ExecutionRecord {
            tier: guard.map_or(Tier::Shared, |guard| guard.tier(recipe)).word().to_owned(),
            means: guard.map(|guard| guard.means.words().to_owned()).unwrap_or_default(),
            memory_bytes: used.map(|used| used.memory_bytes),
            cpu_ms: used.map(|used| used.cpu_ms),
            exceeded: exceeded(recipe, &enforcement),
            not_enforced: enforcement.gaps,
            services: Vec::new(),
        }
    }

    /// Returns the view of an attempt: it sees its tree and its own temporary directories, and the home directory. A
    /// sealed one has the home directory of `sources` in its place. It may read the objects of its repository. Of
    /// `homes`, those stay that it sees.
    pub(super) fn view(&self, tree: &Path, places: &Places, recipe: &Recipe, sources: Sources<'_>) -> io::Result<View> {
        let Sources { objects, own_home, homes } = sources;
        let is_sealed = self.tier(recipe) == Tier::Sealed;
        let by_landlock = matches!(self.means, Means::Landlock);
        let guard = self.guard(is_sealed, !recipe.network);
        let mut given =
            vec![Given::in_place(places.told.clone()), Given::in_place(tree.to_owned()), Given::to_read(objects)];
        if !by_landlock {
            let given_at = |at: &str, from: &Path| Given { at: at.into(), ..Given::in_place(from.to_owned()) };
            given.extend([given_at("/tmp", &places.tmp), given_at("/var/tmp", &places.var_tmp)]);
        }
        // Else it is `/tmp`.
        if places.temporary != Path::new("/tmp") {
            given.push(Given::in_place(places.temporary.clone()));
        }
        if let Some(home) = self.home.as_ref().filter(|_| !by_landlock).and_then(|home| self.canonical(home)) {
            let mut shown = &home;
            if is_sealed || guard.hidden.iter().any(|above| home.starts_with(above)) {
                fs::create_dir_all(&own_home)?;
                given.push(Given { at: home.clone(), ..Given::in_place(own_home.clone()) });
                shown = &own_home;
            } else if ["/tmp", "/var/tmp", "/dev/shm"].iter().any(|own| home.starts_with(own)) {
                given.push(Given::in_place(home.clone()));
            }
            homes.retain(|own| can_be_mount_point(shown, &own.below));
            given.extend(
                homes.iter().map(|own| Given { at: home.join(&own.below), ..Given::in_place(own.path.clone()) }),
            );
        } else {
            homes.clear();
        }
        Ok(View { guard, given })
    }

    /// Returns the guard with what is there now of the hidden files, or was a moment ago.
    fn guard(&self, is_sealed: bool, is_offline: bool) -> Arc<Guard> {
        let now = clock::instant();
        let mut recent = threads::lock(&self.recent);
        recent.retain(|(at, _)| now.saturating_duration_since(*at) < LOOK_EVERY);
        let known = recent.iter().find(|(_, guard)| (guard.is_sealed, guard.is_offline) == (is_sealed, is_offline));
        if let Some((_, guard)) = known {
            return guard.clone();
        }
        let containers = CONTAINER_SERVICES.iter().filter(|_| is_sealed).map(Path::new);
        let hidden = self.hidden.iter().map(PathBuf::as_path).chain(containers);
        let mut hidden: Vec<PathBuf> = hidden.filter_map(|path| self.canonical(path)).collect();
        hidden.sort();
        hidden.dedup();
        let guard = Arc::new(Guard { hidden, is_sealed, is_offline, ..self.means.guard() });
        recent.push((now, guard.clone()));
        guard
    }

    /// A mount covers a directory by whatever path it was named. Landlock goes by the paths.
    fn canonical(&self, path: &Path) -> Option<PathBuf> {
        if matches!(self.means, Means::Landlock) { path.canonicalize().ok() } else { self.paths.of(path) }
    }
}

/// The directories of a repository in the runner's work directory that guarded attempts have.
pub(super) struct Sources<'a> {
    /// The objects of its store.
    pub(super) objects: PathBuf,
    /// The home directory of attempts that do not see the one of the runner's user.
    pub(super) own_home: PathBuf,
    /// Directories that the attempt sees below its home directory, in place of what is there.
    pub(super) homes: &'a mut Vec<HomeDirectory>,
}

/// Whether there is a directory at this path below `home`, reached through no link, or one can be made.
fn can_be_mount_point(home: &Path, below: &str) -> bool {
    let mut path = home.to_owned();
    for name in below.split('/') {
        path.push(name);
        match fs::symlink_metadata(&path) {
            Ok(meta) if meta.is_dir() => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return fs::create_dir_all(home.join(below)).is_ok();
            }
            Ok(_) | Err(_) => return false,
        }
    }
    true
}

/// The directories of one guarded attempt.
#[derive(Debug)]
pub(super) struct Places {
    /// The value of `TMPDIR`.
    pub(super) temporary: PathBuf,
    /// The directory of the files by which the attempt tells its runner something.
    pub(super) told: PathBuf,
    /// The directories that the attempt sees as `/tmp`, and as `/var/tmp`.
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
    /// The directory of [`HomeDirectory`]s.
    homes: Temporary,
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
            homes: directory(format!("{slot}.home")),
        }
    }

    /// Makes the directories of the next attempt.
    pub(super) fn make(&mut self) -> io::Result<Places> {
        let told = self.told.make()?;
        // The directory above is the same one.
        let (tmp, var_tmp) = (self.tmp.make_beside()?, self.var_tmp.make_beside()?);
        let temporary = self.temporary.as_mut().map_or_else(|| Ok(PathBuf::from("/tmp")), Temporary::make_beside)?;
        Ok(Places { temporary, told, tmp, var_tmp })
    }

    /// Makes a directory of the next attempt's own for each path below the home directory that it caches. None if they
    /// cannot be made: a cache is no reason to fail.
    pub(super) fn make_homes(&mut self, recipe: &Recipe) -> Vec<HomeDirectory> {
        let cached: Vec<&str> = recipe.caches.iter().flat_map(CacheRule::home_paths).collect();
        if cached.is_empty() {
            return Vec::new();
        }
        let made = self.homes.make().and_then(|parent| {
            let of = |(at, below): (usize, &&str)| {
                let path = parent.join(at.to_string());
                fs::create_dir(&path)?;
                Ok(HomeDirectory { below: (*below).to_owned(), path })
            };
            cached.iter().enumerate().map(of).collect::<io::Result<_>>()
        });
        made.unwrap_or_else(|error| {
            log::warn!("no directories for caches below the home directory: {error}");
            Vec::new()
        })
    }

    /// Removes what the attempt left in them.
    pub(super) fn clear(&mut self) {
        let Self { temporary, told, tmp, var_tmp, homes } = self;
        temporary.iter_mut().chain([told, tmp, var_tmp, homes]).for_each(Temporary::clear);
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_runner_offers_what_its_means_can_within_what_its_operator_has_chosen() {
        let offered = |means: Means, chosen: &str| {
            let chosen = TierRange::read(chosen);
            let words: Vec<&str> = means.abilities(chosen).map(|ability| ability.word()).collect();
            (Means::offer(Some(means), chosen).range.to_string(), words.join(" "))
        };
        let both = |range: &str, words: &str| (range.to_owned(), words.to_owned());
        for means in [Means::Mounts, Means::UserNamespace] {
            assert_eq!(offered(means, ""), both("shared..sealed", "guarded no_network sealed"));
            assert_eq!(offered(means, "..guarded"), both("shared..guarded", "guarded no_network"));
            assert_eq!(offered(means, "sealed"), both("sealed", "guarded no_network sealed"));
        }
        assert_eq!(offered(Means::Landlock, ""), both("shared..guarded", "guarded"));
        assert_eq!(offered(Means::Landlock, "guarded.."), both("guarded", "guarded"));
        assert_eq!(Means::offer(None, None).range.to_string(), "shared");
    }
}
