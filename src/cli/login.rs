//! `surveil login` and `surveil logout`: the dispatchers elsewhere to which the commands of this user speak.

use std::fs;
use std::path::PathBuf;

use clap::Args;
use serde::Serialize;

use super::flags::FormatFlags;
use super::join::{JoinFlags, Newcomer};
use super::operator_flags::no_login;
use super::reconnect::note;
use super::report::present;
use super::session::{Session, person};
use super::table::{Column, Table, one_line};
use super::{CliError, ExitCode, Output, chain};
use crate::config::{LOCAL_LOGIN, Login, Logins, TokenSource, default_login_name, defaults, is_login_name};
use crate::model::Address;
use crate::protocol::hello::{ErrorCode, Role};
use crate::protocol::operator::FromOperator;

const EXAMPLES: &str = "\
An admin of the dispatcher makes the join token with `surveil token create --role reader`, `member` or `admin`. The \
login has a credential of its own, in a private file below ~/.config/surveil. Without arguments the logins are listed.

Commands speak to the dispatcher that --dispatch, --data or --token-file names, or the variable of that flag; else to \
the default login, which is the last one that was made; else to the dispatcher of this machine. --dispatch local means \
the dispatcher of this machine in any case.

Examples:
  surveil login ci.example.net --join sv1.7f3k…
  surveil login 10.0.0.5:9001 --name lab --join-file token
  surveil login
  surveil login --default lab
  surveil login --default local
  surveil status --dispatch lab";

const LOGOUT_EXAMPLES: &str = "\
The credential is revoked at the dispatcher, if it can be reached, and deleted here.

Examples:
  surveil logout
  surveil logout lab";

/// Log in at a dispatcher, so that commands need no flags; or list the logins
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct LoginFlags {
    /// The dispatcher's address, with port 9000 if none is given; several, separated by commas, are tried in order
    #[arg(value_name = "HOST[:PORT]", value_delimiter = ',', value_parser = address)]
    dispatch: Vec<Address>,
    /// The join token of `surveil token create`, or `-` for standard input
    #[arg(long, value_name = "TOKEN", conflicts_with = "join_file", requires = "dispatch")]
    join: Option<String>,
    /// File with the join token
    #[arg(long, value_name = "FILE", requires = "dispatch")]
    join_file: Option<PathBuf>,
    /// The name for the dispatcher in --dispatch NAME [default: its host]
    #[arg(long, value_parser = login_name, requires = "dispatch")]
    name: Option<String>,
    /// Make this login the default, or `local` for the dispatcher of this machine
    #[arg(long, value_name = "NAME", conflicts_with_all = ["dispatch", "join", "join_file", "name"])]
    default: Option<String>,
    #[command(flatten)]
    format: FormatFlags,
}

/// Log out: revoke the credential of a login, and forget it
#[derive(Debug, Args)]
#[command(after_help = LOGOUT_EXAMPLES)]
pub(crate) struct LogoutFlags {
    /// The login [default: the default login]
    name: Option<String>,
}

/// The list of logins, for programs.
#[derive(Debug, Serialize)]
struct LoginsReport {
    logins: Vec<LoginReport>,
}

/// A login in the list.
#[derive(Debug, Serialize)]
struct LoginReport {
    name: String,
    dispatch: Vec<String>,
    user: String,
    role: Option<String>,
    credential: String,
    default: bool,
}

fn address(text: &str) -> Result<Address, String> {
    let with_port = format!("{text}:{}", defaults::PORT);
    text.parse()
        .or_else(|_| with_port.parse())
        .map_err(|_| format!("`{text}` is not an address: write HOST or HOST:PORT"))
}

fn login_name(text: &str) -> Result<String, String> {
    if is_login_name(text) {
        return Ok(text.to_owned());
    }
    Err("a login's name has 1 to 100 of A-Z a-z 0-9 . _ - with a letter or digit first, and is not `local`".into())
}

/// Logs in, chooses the default, or lists the logins.
pub(crate) fn login(flags: LoginFlags, out: &mut Output) -> Result<ExitCode, CliError> {
    let logins = Logins::of_user();
    if let Some(name) = &flags.default {
        return choose(&logins, name, out);
    }
    if flags.dispatch.is_empty() {
        return list(&logins, &flags, out);
    }
    if flags.join.is_none() && flags.join_file.is_none() {
        return Err(CliError::Usage(
            "give the join token that an admin made (surveil token create --role reader) with --join or --join-file"
                .into(),
        ));
    }
    let name = flags.name.unwrap_or_else(|| default_login_name(&flags.dispatch[0], defaults::PORT));
    let path = logins.path(&name);
    let known = logins.find(&name)?;
    let join = JoinFlags::new(flags.join, flags.join_file);
    if let Some(known) = known
        && !join.is_of(&known.file)?
    {
        return Err(CliError::Usage(format!(
            "there is a login {name} already, as {}: end it with `surveil logout {name}`, or give this one another name \
             with --name",
            known.user
        )));
    }
    let newcomer = Newcomer {
        role: Role::Operator,
        word: "operator",
        directory: &path,
        dispatch: &flags.dispatch,
        pins: &[],
        name: None,
        default_name: person(),
    };
    newcomer.join_in(&path, &join, None).inspect_err(|error| {
        // An answer that was lost is asked for again with the secret that is kept.
        if !error.passes() {
            drop(fs::remove_file(&path));
        }
    })?;
    let login = logins.find(&name)?.ok_or_else(|| no_login(&name))?;
    logins.set_default(Some(&name))?;
    out.outlive_reader();
    let role = login.file.role.as_deref().unwrap_or("operator");
    out.line(one_line(&format!("logged in at {} as {}, with the role {role}", addresses(&login), login.user)))?;
    out.line(format_args!(
        "commands speak to it from now on; --dispatch {name} names it, --dispatch local this machine"
    ))?;
    Ok(ExitCode::Ok)
}

fn choose(logins: &Logins, name: &str, out: &mut Output) -> Result<ExitCode, CliError> {
    if name == LOCAL_LOGIN {
        logins.set_default(None)?;
        out.line("commands speak to the dispatcher of this machine from now on")?;
        return Ok(ExitCode::Ok);
    }
    let login = logins.find(name)?.ok_or_else(|| no_login(name))?;
    logins.set_default(Some(name))?;
    out.line(one_line(&format!("commands speak to {} as {} from now on", addresses(&login), login.user)))?;
    Ok(ExitCode::Ok)
}

const COLUMNS: &[Column] = &[
    Column::value("DEFAULT", 0),
    Column::text("NAME", 0, (10, 30)),
    Column::text("DISPATCHER", 1, (10, 40)),
    Column::text("AS", 0, (10, 30)),
    Column::value("ROLE", 0),
];

fn list(logins: &Logins, flags: &LoginFlags, out: &mut Output) -> Result<ExitCode, CliError> {
    let default = logins.default()?.map(|login| login.name);
    let report = |login: Login| LoginReport {
        default: default.as_ref() == Some(&login.name),
        dispatch: login.file.dispatch.iter().map(Address::to_string).collect(),
        role: login.file.role,
        user: login.user,
        credential: login.id,
        name: login.name,
    };
    let report = LoginsReport { logins: logins.all()?.into_iter().map(report).collect() };
    present(&report, flags.format.get(), out, |report, out| {
        if report.logins.is_empty() {
            return out.line("there is no login: commands speak to the dispatcher of this machine");
        }
        let mut table = Table::new(COLUMNS);
        for login in &report.logins {
            let mark = if login.default { "*" } else { "" };
            let role = login.role.clone().unwrap_or_default();
            table.row(vec![mark.to_owned(), login.name.clone(), login.dispatch.join(","), login.user.clone(), role]);
        }
        table.print(out)
    })?;
    Ok(ExitCode::Ok)
}

/// Ends a login.
pub(crate) fn logout(flags: LogoutFlags, out: &mut Output) -> Result<ExitCode, CliError> {
    let logins = Logins::of_user();
    let login = match &flags.name {
        Some(name) => logins.find(name)?.ok_or_else(|| no_login(name))?,
        None => logins.default()?.ok_or_else(|| {
            CliError::Usage("there is no default login: `surveil login` lists the logins, name one of them".into())
        })?,
    };
    let ended = end_credential(&login);
    logins.remove(&login.name)?;
    out.outlive_reader();
    let Login { name, id, user, .. } = &login;
    match ended {
        Ok(()) => out.line(one_line(&format!("logged out of {name}: the credential {id} of {user} is revoked")))?,
        Err(CliError::Refused(refusal)) if refusal.code == ErrorCode::Token => {
            out.line(one_line(&format!("logged out of {name}: the credential {id} of {user} was no longer valid")))?;
        }
        Err(error) => {
            out.line(one_line(&format!("logged out of {name}: the credential {id} of {user} is deleted here")))?;
            note(&format!(
                "the credential is still valid at the dispatcher ({}): an admin revokes it with `surveil token revoke {id}`",
                chain(&error)
            ));
        }
    }
    if !logins.all()?.is_empty() && logins.default()?.is_none() {
        note(
            "commands speak to the dispatcher of this machine now: `surveil login --default NAME` chooses another login",
        );
    }
    Ok(ExitCode::Ok)
}

fn end_credential(login: &Login) -> Result<(), CliError> {
    let token = TokenSource::joined(login.path.clone());
    let mut session = Session::open(&login.file.dispatch, &login.file.pins, &token)?;
    session.order(&FromOperator::LogOut).map(drop)
}

fn addresses(login: &Login) -> String {
    login.file.dispatch.iter().map(Address::to_string).collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_without_a_port_has_the_usual_one() {
        for (typed, meant) in [("ci", "ci:9000"), ("ci:1", "ci:1"), ("[::1]", "[::1]:9000"), ("[::1]:2", "[::1]:2")] {
            assert_eq!(address(typed).unwrap().to_string(), meant);
        }
        for typed in ["", "a b", "ci:70000", "::1"] {
            assert!(address(typed).unwrap_err().contains("HOST:PORT"), "{typed}");
        }
    }
}
