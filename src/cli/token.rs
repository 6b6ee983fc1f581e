//! `surveil token`: creates, lists and revokes the tokens by which machines join and people log in.

use clap::Args;
use serde::Serialize;

use super::flags::FormatFlags;
use super::operator_flags::OperatorFlags;
use super::quantity::Millis;
use super::report::present;
use super::table::{Column, Table, one_line};
use super::{CliError, ExitCode, Output, human};
use crate::clock;
use crate::config::default_runner_name;
use crate::model::{AccessRole, Address, Label, RepoName};
use crate::protocol::operator::{FromOperator, ToOperator, TokenOrder, TokenReport, TokensReport};
use crate::quoting::shell_word;

const EXAMPLES: &str = "\
A join token is pasted on another machine, and gives that machine a credential of its own, which it keeps. The token \
is used up then. A credential is bound to its name and role, a runner's also to its labels, an observer's to its \
repositories. It does not expire while it is used; unused for 90 days it does.

Examples:
  surveil token create --role runner --label gpu
  surveil token create --role observer --repo app --ttl 10m
  surveil token create --role reader --name alice
  surveil token list
  surveil token revoke 7f3k";

const CREATE_EXAMPLES: &str = "\
The token is shown once: the dispatcher keeps only a hash of it. --join - and --join-file keep it out of the list of \
processes.

Examples:
  surveil token create --role runner --label gpu
  surveil token create --role runner --name build-3
  surveil token create --role runner --uses 20 --ttl 1d
  surveil token create --role observer --repo app --repo lib
  surveil token create --role member --name alice";

const REVOKE_EXAMPLES: &str = "\
A join token is revoked with all credentials that came from it. Their sessions end at once, and the attempts of a \
runner count as lost, so that other runners take them over.

Examples:
  surveil token revoke 7f3k";

/// Create, list and revoke the tokens by which machines join and people log in
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct TokenFlags {
    #[command(subcommand)]
    order: TokenSubcommand,
}

#[derive(Debug, clap::Subcommand)]
enum TokenSubcommand {
    Create(CreateFlags),
    List(ListFlags),
    Revoke(RevokeFlags),
}

/// Create a join token, and print the line to paste where it is used
#[derive(Debug, Args)]
#[command(after_help = CREATE_EXAMPLES)]
struct CreateFlags {
    /// The role: of a machine that joins, or of a person. A reader looks, a member also cancels, reruns, starts and
    /// submits, an admin also creates tokens and drains runners
    #[arg(long, value_name = "ROLE", value_parser = AccessRole::ALL.map(|role| role.word()))]
    role: String,
    /// Label that the runner may have, beside the facts about its machine; may be repeated
    #[arg(long = "label", value_name = "LABEL", value_parser = Label::new)]
    labels: Vec<Label>,
    /// Repository that the observer may announce; may be repeated
    #[arg(long = "repo", value_name = "NAME", value_parser = RepoName::new)]
    repos: Vec<RepoName>,
    /// The name that it gets [default: its own choice]
    #[arg(long)]
    name: Option<String>,
    /// How long the token can be used to join
    #[arg(long, value_name = "TIME", default_value_t = Millis(60 * 60 * 1000))]
    ttl: Millis,
    /// How many may join with it
    #[arg(long, value_name = "N", default_value_t = 1)]
    uses: u32,
    #[command(flatten)]
    format: FormatFlags,
    #[command(flatten)]
    operator: OperatorFlags,
}

/// List join tokens and credentials
#[derive(Debug, Args)]
struct ListFlags {
    #[command(flatten)]
    format: FormatFlags,
    #[command(flatten)]
    operator: OperatorFlags,
}

/// Revoke a join token or a credential, and end its sessions
#[derive(Debug, Args)]
#[command(after_help = REVOKE_EXAMPLES)]
struct RevokeFlags {
    /// The id, as in `surveil token list`
    id: String,
    #[command(flatten)]
    operator: OperatorFlags,
}

/// A token that was created, for programs.
#[derive(Debug, Serialize)]
struct Created {
    id: String,
    token: String,
    expires_ms: i64,
    command: String,
}

/// Gives the order, and prints the answer.
pub(crate) fn run(flags: TokenFlags, out: &mut Output) -> Result<ExitCode, CliError> {
    match flags.order {
        TokenSubcommand::Create(flags) => create(flags, out),
        TokenSubcommand::List(flags) => list(&flags, out),
        TokenSubcommand::Revoke(RevokeFlags { id, operator }) => {
            let done = operator.connect()?.order(&FromOperator::RevokeToken { id })?;
            out.outlive_reader();
            out.line(one_line(&done))?;
            Ok(ExitCode::Ok)
        }
    }
}

fn create(flags: CreateFlags, out: &mut Output) -> Result<ExitCode, CliError> {
    let CreateFlags { role, labels, repos, name, ttl, uses, format, operator } = flags;
    let order = TokenOrder {
        role: role.clone(),
        name,
        labels: labels.iter().map(ToString::to_string).collect(),
        repos: repos.iter().map(ToString::to_string).collect(),
        ttl_ms: ttl.0,
        uses,
    };
    let answer = operator.connect()?.ask(&FromOperator::CreateToken(order))?;
    let ToOperator::Token { id, token, expires_ms } = answer else {
        return Err(CliError::Unexpected("`create_token`"));
    };
    let command = join_command(&role, &repos, &operator.target()?.dispatch, &token);
    let created = Created { id, token, expires_ms, command };
    present(&created, format.get(), out, |created, out| {
        let uses = if uses == 1 { "one use".to_owned() } else { human::count(uses.into(), "use") };
        let place = match role.as_str() {
            "observer" => "on the other machine, in the place of the repository",
            "runner" => "on the other machine",
            _ => "as the user who gets the role",
        };
        let until = human::duration(ttl.0);
        out.line(format_args!("Run this {place} (token {}, {uses}, within {until}):", created.id))?;
        out.line(format_args!("  {}", created.command))
    })?;
    Ok(ExitCode::Ok)
}

/// Returns the line to paste. This machine's name stands for an address that only this machine has, and for all of its
/// addresses.
pub(crate) fn join_command(role: &str, repos: &[RepoName], dispatch: &[Address], token: &str) -> String {
    let address = |address: &Address| {
        let is_local = matches!(address.host.as_str(), "localhost" | "127.0.0.1" | "::1" | "0.0.0.0" | "::");
        let host = if is_local { default_runner_name().to_string() } else { address.host.clone() };
        Address { host, port: address.port }.to_string()
    };
    let addresses = dispatch.iter().map(address).collect::<Vec<_>>().join(",");
    let dispatch = shell_word(&addresses);
    match repos {
        [] if !matches!(role, "runner" | "observer") => format!("surveil login {dispatch} --join {token}"),
        [] => format!("surveil {role} --dispatch {dispatch} --join {token}"),
        [repo] => format!("surveil {role} . --name {repo} --dispatch {dispatch} --join {token}"),
        _ => format!("surveil {role} REPO… --dispatch {dispatch} --join {token}"),
    }
}

fn list(flags: &ListFlags, out: &mut Output) -> Result<ExitCode, CliError> {
    let ToOperator::Tokens(report) = flags.operator.connect()?.ask(&FromOperator::Tokens)? else {
        return Err(CliError::Unexpected("`tokens`"));
    };
    present(&report, flags.format.get(), out, print)?;
    Ok(ExitCode::Ok)
}

const COLUMNS: &[Column] = &[
    Column::value("STATE", 0),
    Column::value("ID", 0),
    Column::value("KIND", 1),
    Column::value("ROLE", 0),
    Column::text("NAME", 0, (10, 24)),
    Column::text("FOR", 2, (10, 30)),
    Column::value("EXPIRES", 4),
    Column::value("USED", 5),
    Column::value("FROM", 6),
    Column::text("LAST ORDER", 3, (16, 40)),
];

fn print(report: &TokensReport, out: &mut Output) -> Result<(), CliError> {
    if report.tokens.is_empty() {
        return out.line("nobody has joined: `surveil token create --role runner` lets another machine in");
    }
    let now = clock::wall().0;
    let mut table = Table::new(COLUMNS);
    for token in &report.tokens {
        table.row(row(token, now));
    }
    table.print(out)
}

fn row(token: &TokenReport, now: i64) -> Vec<String> {
    let used = match (token.uses_left, token.used_ms) {
        (Some(left), _) => format!("{left} left"),
        (None, _) if token.sessions > 0 => "now".to_owned(),
        (None, Some(used)) => human::ago(used, now),
        (None, None) => String::new(),
    };
    let left = token.expires_ms.saturating_sub(now);
    vec![
        token.state.clone(),
        token.id.clone(),
        token.kind.clone(),
        token.role.clone(),
        token.name.clone().unwrap_or_else(|| "-".to_owned()),
        token.labels.iter().chain(&token.repos).map(String::as_str).collect::<Vec<_>>().join(" "),
        if token.state == "valid" { format!("in {}", human::roughly(left)) } else { "-".to_owned() },
        used,
        token.joined_by.clone().unwrap_or_default(),
        last_order(token, now),
    ]
}

/// Formats `revoked by alice 2 min ago`, or when and by whom a join token was created. A peer that joined did so by
/// itself.
fn last_order(token: &TokenReport, now: i64) -> String {
    let (what, at, by) = match (token.revoked_ms, token.uses_left) {
        (Some(at), _) => ("revoked", at, &token.revoked_by),
        (None, Some(_)) => ("created", token.created_ms, &token.created_by),
        (None, None) => return String::new(),
    };
    let by = by.as_ref().map(|by| format!(" by {by}")).unwrap_or_default();
    format!("{what}{by} {}", human::ago(at, now))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_order_about_a_token_says_who_gave_it_if_that_is_known() {
        let minutes = |count: i64| count * 60 * 1000;
        let token = TokenReport {
            id: "7f3k".into(),
            kind: "token".into(),
            role: "runner".into(),
            state: "valid".into(),
            name: None,
            labels: vec![],
            repos: vec![],
            created_ms: 0,
            created_by: Some("alice".into()),
            revoked_ms: None,
            revoked_by: None,
            expires_ms: minutes(60),
            uses_left: Some(1),
            joined_by: None,
            used_ms: None,
            sessions: 0,
        };
        assert_eq!(last_order(&token, minutes(5)), "created by alice 5 min ago");
        let of_before = TokenReport { created_by: None, ..token.clone() };
        assert_eq!(last_order(&of_before, minutes(5)), "created 5 min ago");
        let revoked = TokenReport { revoked_ms: Some(minutes(2)), revoked_by: Some("bob".into()), ..token.clone() };
        assert_eq!(last_order(&revoked, minutes(5)), "revoked by bob 3 min ago");
        assert_eq!(last_order(&TokenReport { revoked_by: None, ..revoked }, minutes(5)), "revoked 3 min ago");
        let joined = TokenReport { uses_left: None, used_ms: Some(0), ..token };
        assert_eq!(last_order(&joined, minutes(5)), "");
    }
}
