//! The whole command line as it is typed: the global flags and the list of commands. The flags of each command stand in
//! the command's own file. Nothing here has an effect.

use std::collections::BTreeSet;
use std::ffi::OsString;

use clap::Parser;
use clap::builder::Resettable;

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

/// Self-hosted continuous integration for git repositories and machines of your own
#[derive(Debug, Parser)]
#[command(
    name = "surveil",
    version,
    subcommand_required = true,
    arg_required_else_help = true,
    max_term_width = 100,
    after_help = EXAMPLES
)]
pub(crate) struct Arguments {
    #[command(flatten)]
    pub(crate) verbosity: Verbosity,
    #[command(subcommand)]
    pub(crate) command: Subcommand,
}

/// Settles the description by which these words are parsed. `-h` is short, and `--help` has the explanations and examples
/// too. Usage lines are fixed: clap would name options in them whose variables are set.
pub(crate) fn settled_for(words: &[OsString], mut command: clap::Command) -> clap::Command {
    // Only those that are named: all of them take longer than the rest of a short command.
    let named = words.iter().filter_map(|word| command.find_subcommand(word));
    let named: BTreeSet<String> = named.map(|it| it.get_name().to_owned()).collect();
    for name in named {
        let typed = format!("surveil {name}");
        command = command.mut_subcommand(name, |it| {
            let usage = it.clone().bin_name(typed).render_usage().to_string();
            settled(it).override_usage(usage.trim_start_matches("Usage: ").to_owned())
        });
    }
    settled(command)
}

fn settled(command: clap::Command) -> clap::Command {
    let explained = command.get_after_help().cloned();
    command.after_help(Resettable::Reset).after_long_help(explained.unwrap_or_default())
}

/// The command to execute.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Subcommand {
    Up(up::UpFlags),
    Dispatcher(dispatcher::DispatcherFlags),
    Observer(observer::ObserverFlags),
    Runner(runner::RunnerFlags),
    Status(status::StatusFlags),
    Show(show::ShowFlags),
    Watch(watch::WatchFlags),
    Logs(logs::LogsFlags),
    Artifacts(artifacts::ArtifactsFlags),
    Cache(cache::CacheFlags),
    Why(why::WhyFlags),
    Submit(submit::SubmitFlags),
    Try(try_work::TryFlags),
    Cancel(control::CancelFlags),
    Rerun(control::RerunFlags),
    Start(control::StartFlags),
    Runners(runners::RunnersFlags),
    Drain(control::DrainFlags),
    Resume(control::ResumeFlags),
    Wake(control::WakeFlags),
    Token(token::TokenFlags),
    Authority(authority::AuthorityFlags),
    Secret(secret::SecretFlags),
    Login(login::LoginFlags),
    Logout(login::LogoutFlags),
    Run(execute::ExecuteFlags),
    Plan(plan::PlanFlags),
    Check(check::CheckFlags),
    Init(init::InitFlags),
    Cacheprog(cacheprog::CacheprogFlags),
    Backup(backup::BackupFlags),
    Restore(backup::RestoreFlags),
    Completions(completions::CompletionsFlags),
    Man(manual::ManFlags),
}
