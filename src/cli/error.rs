//! The errors that end a command early, worded for the person who typed it. Each variant has its exit code here.

use std::io;
use std::path::PathBuf;

use super::exit_code::ExitCode;
use crate::config::ConfigError;
use crate::dispatcher::{BackupError, DispatcherError};
use crate::git::GitError;
use crate::observer::{DialError, ObserverError};
use crate::process::ProcessError;
use crate::protocol::hello::{ErrorCode, Refusal, Remedy};
use crate::runner::RunnerError;
use crate::store::StoreError;
use crate::transport::TransportError;

/// Why a command could not do its work.
#[derive(Debug, thiserror::Error)]
pub enum CliError {
    /// The command line makes no sense. The text says what to write instead.
    #[error("{0}")]
    Usage(String),
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// No container tool for tasks of a local run, which has run none. The text says what to do.
    #[error("{0}")]
    NoContainers(String),
    #[error("could not write the output")]
    Output(#[source] io::Error),
    #[error("no dispatcher answers (start one with `surveil dispatcher`, or say where it is with --dispatch)")]
    Unreachable(#[source] TransportError),
    /// The dispatcher of a login does not answer.
    #[error(
        "the dispatcher of the login {login} does not answer (`surveil login` lists the logins, and `--dispatch local` \
         means the dispatcher of this machine)"
    )]
    LoginUnreachable { login: String, source: TransportError },
    /// A dispatcher answers, and it is not the one with the pin.
    #[error("another dispatcher answers")]
    OtherDispatcher(#[source] TransportError),
    /// No dispatcher answers at the address, but one uses the data directory.
    #[error("{holder} uses {}: name its address with --dispatch", directory.display())]
    AtAnotherAddress { holder: String, directory: PathBuf, source: Box<CliError> },
    #[error("lost the connection to the dispatcher")]
    Disconnected(#[source] Option<TransportError>),
    /// A signal ended the wait for a dispatcher that was to be joined.
    #[error("ended before the dispatcher could be joined")]
    NotJoined,
    /// The dispatcher refused, with this text: it knows best what to do.
    #[error("{}", .0.text)]
    Refused(Refusal),
    /// The dispatcher's answer does not belong to the question.
    #[error("the dispatcher's answer to {0} is not understood: is the dispatcher a newer version?")]
    Unexpected(&'static str),
    #[error(transparent)]
    Dispatcher(Box<DispatcherError>),
    #[error(transparent)]
    Backup(Box<BackupError>),
    #[error(transparent)]
    Observer(Box<ObserverError>),
    #[error(transparent)]
    Runner(Box<RunnerError>),
    #[error(transparent)]
    Git(Box<GitError>),
    #[error(transparent)]
    Process(#[from] ProcessError),
    /// An operation failed that this machine nearly always can do.
    #[error("could not {doing}")]
    Machine { doing: String, source: io::Error },
    /// A thread of `surveil up` panicked; the panic has been printed.
    #[error("the {0} ended unexpectedly")]
    Panicked(&'static str),
    /// A role of `surveil up` ended in order, but this process had not asked it to.
    #[error("the {0} has ended, so there is nothing more to wait for")]
    Ended(&'static str),
}

impl CliError {
    /// For `map_err`: wraps an error of the operating system. `doing` continues "could not".
    pub(crate) fn machine(doing: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let doing = doing.into();
        move |source| Self::Machine { doing, source }
    }

    /// The same error, told for a session that was to be opened with that login.
    pub(crate) fn of_login(self, login: &str) -> Self {
        if let Self::Refused(mut refusal) = self {
            if refusal.code == ErrorCode::Token {
                refusal.text = format!(
                    "{}; this is the login {login}: ask an admin of the dispatcher for a new join token, then type \
                     `surveil logout {login}` and `surveil login` with that token",
                    refusal.text
                );
            }
            return Self::Refused(refusal);
        }
        if let Self::Unreachable(source) = self {
            return Self::LoginUnreachable { login: login.to_owned(), source };
        }
        self
    }

    /// Whether no dispatcher answers at any of the addresses.
    pub(crate) fn is_unreachable(&self) -> bool {
        matches!(self, Self::Unreachable(_) | Self::LoginUnreachable { .. })
    }

    /// Whether the reader of the output went away, which is not an error of this program.
    #[must_use]
    pub fn is_broken_pipe(&self) -> bool {
        matches!(self, Self::Output(error) if error.kind() == io::ErrorKind::BrokenPipe)
    }

    /// Whether a command that waits goes on after this error, with a new session: the dispatcher is away, or its token
    /// is being replaced. Everything else needs a person, or another command.
    pub(crate) fn passes(&self) -> bool {
        match self {
            Self::Unreachable(_) | Self::LoginUnreachable { .. } | Self::Disconnected(_) => true,
            Self::Refused(refusal) => refusal.code.remedy() == Remedy::Time,
            Self::Config(error) => matches!(
                error,
                ConfigError::TokenMissing { .. } | ConfigError::TokenMalformed { .. } | ConfigError::Read { .. }
            ),
            Self::Usage(_)
            | Self::NoContainers(_)
            | Self::OtherDispatcher(_)
            | Self::AtAnotherAddress { .. }
            | Self::Output(_)
            | Self::NotJoined
            | Self::Unexpected(_)
            | Self::Dispatcher(_)
            | Self::Backup(_)
            | Self::Observer(_)
            | Self::Runner(_)
            | Self::Git(_)
            | Self::Process(_)
            | Self::Machine { .. }
            | Self::Panicked(_)
            | Self::Ended(_) => false,
        }
    }

    /// The exit code for this error.
    #[must_use]
    pub fn exit_code(&self) -> ExitCode {
        match self {
            Self::Config(
                ConfigError::TokenMissing { .. } | ConfigError::TokenMalformed { .. } | ConfigError::TokenPipe { .. },
            ) => ExitCode::Refused,
            Self::Usage(_) | Self::Config(_) | Self::Git(_) => ExitCode::Usage,
            Self::Unreachable(_)
            | Self::LoginUnreachable { .. }
            | Self::AtAnotherAddress { .. }
            | Self::Disconnected(_) => ExitCode::Unreachable,
            // As if the first of them had been tried.
            Self::NoContainers(_) => ExitCode::Errored,
            Self::OtherDispatcher(_) => ExitCode::Refused,
            Self::NotJoined => ExitCode::Interrupted,
            Self::Refused(refusal) => of_refusal(refusal.code),
            Self::Dispatcher(error) => of_dispatcher(error),
            Self::Backup(error) => of_backup(error),
            Self::Observer(error) => of_observer(error),
            Self::Runner(error) => of_runner(error),
            Self::Output(_)
            | Self::Unexpected(_)
            | Self::Process(_)
            | Self::Machine { .. }
            | Self::Panicked(_)
            | Self::Ended(_) => ExitCode::Internal,
        }
    }
}

/// Converts a role's error. The larger ones are boxed, so that passing them on costs little.
macro_rules! boxed {
    ($($variant:ident: $error:ty),*) => {
        $(impl From<$error> for CliError {
            fn from(error: $error) -> Self {
                Self::$variant(Box::new(error))
            }
        })*
    };
}

boxed!(Dispatcher: DispatcherError, Backup: BackupError, Observer: ObserverError, Runner: RunnerError, Git: GitError);

/// The exit code for a dispatcher that could not start or had to end.
fn of_dispatcher(error: &DispatcherError) -> ExitCode {
    let is_in_use = matches!(
        error,
        DispatcherError::Listen(TransportError::Bind { .. }) | DispatcherError::Store(StoreError::InUse { .. })
    );
    let is_mistaken = matches!(error, DispatcherError::Settings(_) | DispatcherError::ReadSettings { .. });
    if is_in_use {
        ExitCode::Refused
    } else if is_mistaken {
        ExitCode::Usage
    } else {
        ExitCode::Internal
    }
}

/// The exit code for a backup that was not made, or not restored.
fn of_backup(error: &BackupError) -> ExitCode {
    match error {
        BackupError::NotEmpty { .. } | BackupError::Store(StoreError::InUse { .. }) => ExitCode::Refused,
        BackupError::NoStore { .. } => ExitCode::Usage,
        BackupError::Io { .. } | BackupError::Store(_) => ExitCode::Internal,
    }
}

/// The exit code for an observer that could not start or had to end.
fn of_observer(error: &ObserverError) -> ExitCode {
    match error {
        ObserverError::Open { .. } | ObserverError::NoRepository => ExitCode::Usage,
        ObserverError::NameTaken { .. }
        | ObserverError::Dial(DialError::WrongToken { .. } | DialError::Protocol { .. } | DialError::Token(_)) => {
            ExitCode::Refused
        }
        ObserverError::Dial(_) | ObserverError::Panicked { .. } | ObserverError::Thread(_) => ExitCode::Internal,
    }
}

/// The exit code for a runner that could not start or had to end.
fn of_runner(error: &RunnerError) -> ExitCode {
    match error {
        RunnerError::InUse { .. }
        | RunnerError::Leftovers { .. }
        | RunnerError::NotGuarded { .. }
        | RunnerError::Refused(_)
        | RunnerError::ImageTool(_)
        | RunnerError::Listen(TransportError::Bind { .. }) => ExitCode::Refused,
        RunnerError::Undelivered { .. } => ExitCode::Unreachable,
        RunnerError::WorkDirectory { .. }
        | RunnerError::Journal { .. }
        | RunnerError::Listen(_)
        | RunnerError::Thread { .. }
        | RunnerError::ThreadEnded(_)
        | RunnerError::Random(_) => ExitCode::Internal,
    }
}

/// The exit code for a refusal.
fn of_refusal(code: ErrorCode) -> ExitCode {
    match code {
        ErrorCode::NotFound => ExitCode::NotFound,
        ErrorCode::Busy | ErrorCode::ShuttingDown => ExitCode::Unreachable,
        ErrorCode::Token | ErrorCode::NotAllowed | ErrorCode::NameTaken | ErrorCode::Refused | ErrorCode::Version => {
            ExitCode::Refused
        }
        ErrorCode::Malformed | ErrorCode::BrokenSource | ErrorCode::Internal => ExitCode::Internal,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_closed_pipe_is_told_from_other_trouble_with_the_output() {
        assert!(CliError::Output(io::ErrorKind::BrokenPipe.into()).is_broken_pipe());
        assert!(!CliError::Output(io::ErrorKind::StorageFull.into()).is_broken_pipe());
    }

    #[test]
    fn a_refusal_keeps_what_a_script_may_branch_on() {
        let code = |code| CliError::Refused(Refusal::new(code, String::new())).exit_code().number();
        assert_eq!(code(ErrorCode::NotFound), 6);
        assert_eq!(code(ErrorCode::Token), 7);
        assert_eq!(code(ErrorCode::Refused), 7);
        assert_eq!(code(ErrorCode::ShuttingDown), 5);
        assert_eq!(code(ErrorCode::Internal), 70);
    }
}
