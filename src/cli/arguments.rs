//! The whole command line as it is typed: the global flags and the list of commands. The flags of each command stand in
//! the command's own file. Nothing here has an effect.

use std::collections::BTreeSet;
use std::ffi::OsString;

use clap::builder::Resettable;
use clap::{ArgMatches, Args, Command, FromArgMatches, Subcommand as _};

use super::implicit_observer::is_global_flag;
use super::logging::Verbosity;
use super::{
    artifacts, authority, backup, cache, cacheprog, check, completions, control, dispatcher, execute, init, login,
    logs, manual, observer, plan, runner, runners, secret, show, status, submit, token, try_work, up, watch, why,
};

const EXAMPLES: &str = "\
An observer notices commits, a dispatcher decides and remembers, runners execute the tasks that each commit names \
in its .surveil.toml. They talk over TCP; none of them needs a forge, a container or a cloud.

Try it on one machine, in a git repository with a .surveil.toml:
  surveil up

The three roles, each in its own shell or on its own machine:
  surveil dispatcher
  surveil --dispatch=localhost:9000 /path/to/repo
  surveil runner
(The second starts an observer; the word `observer` may be left out.)

Questions and orders:
  surveil status
  surveil watch
  surveil logs -f latest
  surveil why b12/test

Exit codes:
  0  done; if a build was awaited, it passed     5  no dispatcher answers
  1  the build failed                            6  no such build or task
  2  wrong usage, or a broken task file          7  refused, or already in use
  3  the build errored: it has no verdict       70  internal error
  4  the build was cancelled                   130  interrupted (129, 143: by SIGHUP, SIGTERM)
                                               141  nobody read the answer to its end";

const ABOUT: &str = "Self-hosted continuous integration for git repositories and machines of your own";

/// A command line that was parsed.
#[derive(Debug)]
pub(crate) struct Arguments {
    pub(crate) verbosity: Verbosity,
    pub(crate) command: Subcommand,
}

impl Arguments {
    pub(crate) fn read(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let (verbosity, command) = (Verbosity::from_arg_matches(matches)?, Subcommand::from_arg_matches(matches)?);
        Ok(Self { verbosity, command })
    }
}

/// The description of the whole command line.
pub(crate) fn command() -> Command {
    // The list of commands would describe itself.
    Subcommand::augment_subcommands(without_commands()).about(ABOUT)
}

/// The description by which these words are parsed, the first of which is the program: of the one command that they
/// name, if they name one, because the description of all takes longer than all the rest before a short command begins.
///
/// `-h` is short, and `--help` has the explanations and examples too. Usage lines are fixed: clap would name options in
/// them whose variables are set.
pub(crate) fn command_for(words: &[OsString]) -> Command {
    let mut named = words.iter().skip(1).filter(|word| !is_global_flag(word));
    if let Some(only) = named.next().and_then(|word| only(word.to_str()?)) {
        return settled(without_commands().subcommand(settled_command(only)));
    }
    // Such as `surveil help status`.
    let named: BTreeSet<&str> =
        words.iter().filter_map(|word| NAMES.iter().find(|name| word == **name)).copied().collect();
    settled(named.into_iter().fold(command(), |command, name| command.mut_subcommand(name, settled_command)))
}

fn without_commands() -> Command {
    let command = Command::new("surveil")
        .version(env!("CARGO_PKG_VERSION"))
        .about(ABOUT)
        .subcommand_required(true)
        .arg_required_else_help(true)
        .max_term_width(100)
        .after_help(EXAMPLES);
    Verbosity::augment_args(command)
}

fn settled_command(command: Command) -> Command {
    let typed = format!("surveil {}", command.get_name());
    settled_as(command, &typed)
}

/// Settles a command that is typed so, with the commands in it, such as `surveil token create`.
fn settled_as(command: Command, typed: &str) -> Command {
    let inner: Vec<String> = command.get_subcommands().map(|inner| inner.get_name().to_owned()).collect();
    let command = inner.iter().fold(command, |command, name| {
        command.mut_subcommand(name, |inner| settled_as(inner, &format!("{typed} {name}")))
    });
    let usage = command.clone().bin_name(typed).render_usage().to_string();
    settled(command).override_usage(usage.trim_start_matches("Usage: ").to_owned())
}

fn settled(command: Command) -> Command {
    let explained = command.get_after_help().cloned();
    command.after_help(Resettable::Reset).after_long_help(explained.unwrap_or_default())
}

/// Lists the commands, each with the file of its flags.
macro_rules! commands {
    ($($variant:ident $name:literal $flags:ty,)+) => {
        /// The command to execute.
        #[derive(Debug, clap::Subcommand)]
        pub(crate) enum Subcommand {
            $(#[command(name = $name)] $variant($flags),)+
        }

        /// The names of all commands.
        pub(crate) const NAMES: &[&str] = &[$($name),+];

        /// The description of the command of this name.
        fn only(name: &str) -> Option<Command> {
            match name {
                $($name => Some(<$flags>::augment_args(Command::new($name))),)+
                _ => None,
            }
        }
    };
}

commands! {
    Up "up" up::UpFlags,
    Dispatcher "dispatcher" dispatcher::DispatcherFlags,
    Observer "observer" observer::ObserverFlags,
    Runner "runner" runner::RunnerFlags,
    Status "status" status::StatusFlags,
    Show "show" show::ShowFlags,
    Watch "watch" watch::WatchFlags,
    Logs "logs" logs::LogsFlags,
    Artifacts "artifacts" artifacts::ArtifactsFlags,
    Cache "cache" cache::CacheFlags,
    Why "why" why::WhyFlags,
    Submit "submit" submit::SubmitFlags,
    Try "try" try_work::TryFlags,
    Cancel "cancel" control::CancelFlags,
    Rerun "rerun" control::RerunFlags,
    Start "start" control::StartFlags,
    Runners "runners" runners::RunnersFlags,
    Drain "drain" control::DrainFlags,
    Resume "resume" control::ResumeFlags,
    Wake "wake" control::WakeFlags,
    Token "token" token::TokenFlags,
    Authority "authority" authority::AuthorityFlags,
    Secret "secret" secret::SecretFlags,
    Login "login" login::LoginFlags,
    Logout "logout" login::LogoutFlags,
    Run "run" execute::ExecuteFlags,
    Plan "plan" plan::PlanFlags,
    Check "check" check::CheckFlags,
    Init "init" init::InitFlags,
    Cacheprog "cacheprog" cacheprog::CacheprogFlags,
    Backup "backup" backup::BackupFlags,
    Restore "restore" backup::RestoreFlags,
    Completions "completions" completions::CompletionsFlags,
    Man "man" manual::ManFlags,
}
