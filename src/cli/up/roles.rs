//! The three roles of `surveil up`, in threads of this process: their settings, their start, and their end in the right
//! order.

use std::io::{self, IsTerminal};
use std::path::PathBuf;

use crossbeam_channel::{Receiver, Sender, bounded, unbounded};

use super::flags::UpFlags;
use crate::cli::CliError;
use crate::cli::dispatcher::{PASTE, exposure_text, is_exposed, join_line};
use crate::cli::hints::Hints;
use crate::cli::observer::observed;
use crate::cli::operator_flags::names_local;
use crate::cli::reconnect::note;
use crate::cli::session::Session;
use crate::config::{self, ObservedRepo, RepoLocation, TokenSource, default_runner_name, defaults};
use crate::dispatcher::Dispatcher;
use crate::git::Watched;
use crate::model::{Address, Pin};
use crate::quoting::{absolute, shell_path, shell_word};
use crate::shutdown::Stop;
use crate::threads::{self, Thread};
use crate::transport::Listener;
use crate::{observer, runner};

/// The runner's name among the roles.
pub(crate) const RUNNER: &str = "runner";

/// The flags and what they name, from which each role's settings are made.
#[derive(Debug)]
pub(crate) struct RoleSettings {
    pub(crate) flags: UpFlags,
    pub(crate) repo: ObservedRepo,
    data: PathBuf,
    work: PathBuf,
    images: config::ImageTools,
}

impl RoleSettings {
    pub(crate) fn new(flags: UpFlags, commands: &[&str]) -> Result<Self, CliError> {
        let (data, work) = (config::data_dir(flags.data.clone()), config::work_dir(flags.work.clone()));
        let repo = observed(&flags.repo, flags.name.as_deref(), &work, commands, note)?;
        if let RepoLocation::Path(path) = &repo.location {
            // Checked before anything is started; the observer would report the same later.
            drop(Watched::open(path)?);
        }
        let images = config::ImageTools::read(None, None).map_err(CliError::Usage)?;
        Ok(Self { flags, repo, data, work, images })
    }

    fn dispatcher(&self) -> config::DispatcherSettings {
        let host = self.flags.host.clone();
        let listen = Address { port: self.flags.port.unwrap_or_else(|| free_port(&host)), host };
        // The runner in this process is enough, so none is spawned.
        defaults::local_dispatcher(listen, self.data.clone())
    }

    fn observer(&self, dispatch: Address, pins: Vec<Pin>) -> config::ObserverSettings {
        config::ObserverSettings {
            dispatch: vec![dispatch],
            pins,
            token: TokenSource::of_role(&self.data, "observer"),
            repos: vec![self.repo.clone()],
            branches: self.flags.branches.clone(),
            refs: self.flags.refs.patterns(),
            backlog: self.flags.refs.backlog(),
            interval_ms: defaults::OBSERVER_INTERVAL_MS,
            work: self.work.clone(),
        }
    }

    /// The number of slots of the runner.
    fn slots(&self) -> u32 {
        self.flags.slots.unwrap_or_else(defaults::slots)
    }

    /// The command that builds the head again: with the flags that were given, except for the address, which any free
    /// one may replace.
    fn rerun_command(&self) -> String {
        let Self { flags, repo, data, work, .. } = self;
        let mut command = String::from("surveil up");
        command.push_str(&match &repo.location {
            RepoLocation::Path(path) => format!(" {}", shell_path(&absolute(path))),
            RepoLocation::Url { .. } => format!(" {}", shell_word(&flags.repo)),
        });
        command.push_str(" --once --rerun");
        for branch in &flags.branches {
            command.push_str(&format!(" --branch {}", shell_word(branch)));
        }
        for (flag, glob) in flags.refs.typed() {
            command.push_str(&format!(" {flag} {}", shell_word(glob)));
        }
        if let Some(name) = &flags.name {
            command.push_str(&format!(" --name {}", shell_word(name)));
        }
        if let Some(slots) = flags.slots {
            command.push_str(&format!(" --slots {slots}"));
        }
        for (flag, path) in
            [("--data", flags.data.as_ref().and(Some(data))), ("--work", flags.work.as_ref().and(Some(work)))]
        {
            if let Some(path) = path {
                command.push_str(&format!(" {flag} {}", shell_path(&absolute(path))));
            }
        }
        command
    }

    fn runner(&self, dispatch: Address, pins: Vec<Pin>) -> config::RunnerSettings {
        config::RunnerSettings {
            name: default_runner_name(),
            dispatch: vec![dispatch],
            pins,
            token: TokenSource::of_role(&self.data, "runner"),
            work: self.work.clone(),
            slots: self.slots(),
            labels: Vec::new(),
            listen: None,
            local_source: None,
            isolation: None,
            log_limit: defaults::LOG_LIMIT_BYTES,
            artifact_files: defaults::ARTIFACT_FILES,
            artifact_bytes: defaults::ARTIFACT_BYTES,
            tool_cache_bytes: defaults::TOOL_CACHE_BYTES,
            cache_bytes: defaults::CACHE_BYTES,
            min_free: defaults::MIN_FREE_BYTES,
            grace_ms: defaults::GRACE_MS,
            delivery_ms: defaults::DELIVERY_MS,
            idle_exit_ms: None,
            spawn: None,
            images: self.images.clone(),
        }
    }
}

/// The default port, or 0 (any) if something else listens there.
fn free_port(host: &str) -> u16 {
    // The dispatcher binds the port a moment later. If something takes it in between, the start fails with an error.
    let usual = Address { host: host.to_owned(), port: defaults::PORT };
    if Listener::is_free(&usual) { defaults::PORT } else { 0 }
}

/// A role's name, and how its thread ended.
pub(crate) type RoleEnd = (&'static str, Result<(), CliError>);

/// The started roles.
pub(crate) struct Roles {
    settings: RoleSettings,
    /// The dispatcher's address, for commands and for the other two roles.
    address: Address,
    pin: Pin,
    /// Whether that address is loopback, over which the roles speak plain text.
    is_loopback: bool,
    is_exposed: bool,
    /// The line to paste on another machine.
    join_line: Option<String>,
    ended: Receiver<RoleEnd>,
    end: Sender<RoleEnd>,
    /// In the order of their start. They end in the reverse order.
    running: Vec<RunningRole>,
}

/// One role. Dropping it ends the role and waits for its end.
struct RunningRole {
    // Fields are dropped in this order: the closed channel ends the role, then its thread is joined.
    stop: Sender<Stop>,
    _thread: Thread<()>,
}

impl Roles {
    /// Starts the dispatcher.
    pub(crate) fn start(settings: RoleSettings) -> Result<Self, CliError> {
        let dispatcher = Dispatcher::start(settings.dispatcher())?;
        let bound = dispatcher.address();
        let host = if bound.ip().is_unspecified() { "localhost".into() } else { bound.ip().to_string() };
        let (end, ended) = unbounded();
        let mut roles = Self {
            settings,
            address: Address { host, port: bound.port() },
            pin: dispatcher.pin(),
            is_loopback: bound.ip().is_loopback() || bound.ip().is_unspecified(),
            is_exposed: is_exposed(bound.ip()),
            join_line: None,
            ended,
            end,
            running: Vec::new(),
        };
        // A file keeps what it is told, so a token is for a person alone.
        if roles.is_exposed && io::stdout().is_terminal() {
            roles.join_line = join_line(&dispatcher);
        }
        // The dispatcher goes first: it has drawn the tokens that the other two read.
        roles.spawn("dispatcher", move |stop| Ok(dispatcher.run(stop)?))?;
        if roles.is_exposed {
            log::warn!("{}", exposure_text(bound.ip(), roles.pin));
        }
        Ok(roles)
    }

    /// Starts the observer and the runner.
    pub(crate) fn start_work(&mut self) -> Result<(), CliError> {
        let runner = self.settings.runner(self.address.clone(), self.pins());
        self.spawn(RUNNER, move |stop| Ok(runner::run(runner, stop)?))?;
        let observer = self.settings.observer(self.address.clone(), self.pins());
        self.spawn("observer", move |stop| Ok(observer::run(observer, stop)?))
    }

    fn spawn(
        &mut self,
        name: &'static str,
        body: impl FnOnce(&Receiver<Stop>) -> Result<(), CliError> + Send + 'static,
    ) -> Result<(), CliError> {
        let (stop, stopped) = bounded(1);
        let report = EndReport { name, end: self.end.clone(), result: Err(CliError::Panicked(name)) };
        let thread = threads::spawn_large(name, move || report.of(body(&stopped)))
            .map_err(CliError::machine("start a thread"))?;
        self.running.push(RunningRole { stop, _thread: thread });
        Ok(())
    }

    /// Ends the roles, the dispatcher last, so that the others can say goodbye to it. Returns the first error.
    pub(crate) fn end(mut self) -> Result<(), CliError> {
        while let Some(role) = self.running.pop() {
            // A role that has ended by itself no longer receives.
            let _ = role.stop.send(Stop::Now);
            drop(role);
        }
        // All threads have ended, so every result has been sent.
        let mut results: Vec<RoleEnd> = self.ended.try_iter().collect();
        let failed = results.iter().position(|(_, result)| result.is_err());
        failed.map_or(Ok(()), |at| results.swap_remove(at).1)
    }

    /// Gets a message when a role ends.
    pub(crate) fn ended(&self) -> &Receiver<RoleEnd> {
        &self.ended
    }

    /// Opens a session with the dispatcher.
    pub(crate) fn session(&self) -> Result<Session, CliError> {
        let addresses = std::slice::from_ref(&self.address);
        Session::open(addresses, &self.pins(), &TokenSource::of_role(&self.settings.data, "operator"))
    }

    /// The pins with which the roles of this process find the dispatcher.
    fn pins(&self) -> Vec<Pin> {
        // Read each time, because an admin may replace the authority.
        let pin = || crate::dispatcher::pin(&self.settings.data).unwrap_or(self.pin);
        if self.is_loopback { Vec::new() } else { vec![pin()] }
    }

    /// The number of slots of the runner of this process.
    pub(crate) fn slots(&self) -> u32 {
        self.settings.slots()
    }

    /// The repository's name at the dispatcher.
    pub(crate) fn repo(&self) -> &str {
        self.settings.repo.name.as_str()
    }

    /// The flags that other commands need to find this dispatcher; empty if they find it by default.
    pub(crate) fn typed_connection(&self) -> String {
        let mut typed = String::new();
        // A login takes the place of this dispatcher for commands that name none.
        if self.address.port != defaults::PORT || (names_local() && self.settings.flags.data.is_none()) {
            typed.push_str(&format!(" --dispatch {}", self.address));
        }
        // A variable may be missing in the shell where somebody types the next command, so a directory from a variable
        // counts as typed.
        if self.settings.flags.data.is_some() {
            typed.push_str(&format!(" --data {}", shell_path(&absolute(&self.settings.data))));
        }
        typed
    }

    /// The command that builds the head again, with the flags that were given.
    pub(crate) fn rerun_command(&self) -> String {
        self.settings.rerun_command()
    }

    /// The flags with which printed commands find this dispatcher and this repository.
    pub(crate) fn hints(&self) -> Hints {
        let repository = match &self.settings.repo.location {
            RepoLocation::Path(path) => Some(absolute(path)),
            RepoLocation::Url { .. } => None,
        };
        Hints::in_repository(self.typed_connection(), repository)
    }

    /// The lines that are printed at the start.
    pub(crate) fn introduction(&self) -> Vec<String> {
        let (data, typed) = (&self.settings.data, self.typed_connection());
        let mut lines = vec![
            format!("Watching {}, as `{}`. Ctrl-C ends it.", self.settings.repo.source, self.repo()),
            format!("  address  {}", self.address),
            format!("  data     {}", data.display()),
            format!("  logs     {}", data.join("logs").display()),
            format!("  ask      surveil status{typed}"),
        ];
        let join = "  to run tasks on another machine, too:";
        lines.push(match &self.join_line {
            Some(line) => format!("  {PASTE}\n    {line}"),
            None if self.is_exposed => format!("{join} surveil token create --role runner{typed}"),
            None => format!("{join} start with --host 0.0.0.0"),
        });
        lines.push(String::new());
        lines
    }
}

/// The error of a role that ended although nobody asked it to.
pub(crate) fn too_early(ended: Option<RoleEnd>) -> CliError {
    match ended {
        Some((_, Err(error))) => error,
        Some((name, Ok(()))) => CliError::Ended(name),
        None => CliError::Panicked("last role"),
    }
}

/// Sends how a role ended, also if it panicked.
struct EndReport {
    name: &'static str,
    end: Sender<RoleEnd>,
    result: Result<(), CliError>,
}

impl EndReport {
    /// Notes how the role ended by itself.
    fn of(mut self, result: Result<(), CliError>) {
        self.result = result;
    }
}

impl Drop for EndReport {
    fn drop(&mut self) {
        let result = std::mem::replace(&mut self.result, Ok(()));
        // If nobody waits any more, nobody needs the message.
        drop(self.end.send((self.name, result)));
    }
}

#[cfg(test)]
mod tests {
    use clap::{Args, Command, FromArgMatches};

    use super::*;
    use crate::git::tests::support::Repo;

    /// Without the name, the command would build the commit as another repository.
    #[test]
    fn the_command_that_builds_again_has_the_flags_that_were_given() {
        let repo = Repo::new();
        repo.write("a", "1").commit("first");
        let path = repo.path().to_str().unwrap();
        let command = |more: &[&str]| {
            let words = ["up", path, "--data", "/my data", "--work", "/w"];
            let matches = UpFlags::augment_args(Command::new("up")).get_matches_from(words.iter().chain(more));
            RoleSettings::new(UpFlags::from_arg_matches(&matches).unwrap(), &[]).unwrap().rerun_command()
        };
        let ends = " --data '/my data' --work /w";
        assert_eq!(command(&["--once"]), format!("surveil up {path} --once --rerun{ends}"));
        let more =
            ["--once", "--name", "app-two", "--slots", "3", "--branch", "release/*", "--tag", "v*", "--port", "1"];
        let flags = "--branch 'release/*' --tag 'v*' --name app-two --slots 3";
        assert_eq!(command(&more), format!("surveil up {path} --once --rerun {flags}{ends}"));
    }
}
