//! `surveil authority`: shows and replaces the certificate authority of a dispatcher.

use clap::Args;

use super::flags::FormatFlags;
use super::operator_flags::OperatorFlags;
use super::report::present;
use super::session::Session;
use super::table::one_line;
use super::{CliError, ExitCode, Output, human};
use crate::protocol::operator::{FromOperator, NetworkReport, RotationReport, ToOperator};

const EXAMPLES: &str = "\
Peers recognise the dispatcher by the pin of its certificate authority. Certificates are renewed without an order. \
Replace the authority if somebody may have read its key, or by a rule of your house.

Examples:
  surveil authority show
  surveil authority rotate
  surveil authority rotate --finish";

const ROTATE_EXAMPLES: &str = "\
The first order makes the next authority. From then on both pins are valid, and each peer that joined stores the next \
pin as soon as it is connected: runners and observers at once, a login at its next command. `surveil authority show` \
names the peers that do not have it yet.

The second order, with --finish, makes the next authority the only one. It is refused with exit code 7 while peers \
are missing, unless --force is given. A peer that was away all the time is then given the new pin with --pin, once, or \
joins again with a new token. Nobody counts the peers that use a token file and --pin or SURVEIL_PIN: give them the \
new pin, too.

Examples:
  surveil authority rotate
  surveil authority rotate --finish
  surveil authority rotate --finish --force";

/// Show or replace the certificate authority, by which peers recognise the dispatcher
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct AuthorityFlags {
    #[command(subcommand)]
    order: AuthoritySubcommand,
}

#[derive(Debug, clap::Subcommand)]
enum AuthoritySubcommand {
    Show(ShowFlags),
    Rotate(RotateFlags),
}

/// Show the pin, and how far a replacement of the authority has come
#[derive(Debug, Args)]
struct ShowFlags {
    #[command(flatten)]
    format: FormatFlags,
    #[command(flatten)]
    operator: OperatorFlags,
}

/// Make the next authority; later, with --finish, make it the only one
#[derive(Debug, Args)]
#[command(after_help = ROTATE_EXAMPLES)]
struct RotateFlags {
    /// Make the next authority the only one
    #[arg(long)]
    finish: bool,
    /// Also if peers that joined do not have the next pin
    #[arg(long, requires = "finish")]
    force: bool,
    #[command(flatten)]
    operator: OperatorFlags,
}

/// Shows the authority, or gives the order and shows what follows from it.
pub(crate) fn run(flags: AuthorityFlags, out: &mut Output) -> Result<ExitCode, CliError> {
    match flags.order {
        AuthoritySubcommand::Show(ShowFlags { format, operator }) => {
            let report = state(&mut operator.connect()?)?;
            present(&report, format.get(), out, print)?;
        }
        AuthoritySubcommand::Rotate(RotateFlags { finish, force, operator }) => {
            let done = operator.connect()?.order(&FromOperator::RotateAuthority { finish, force })?;
            out.outlive_reader();
            out.line(one_line(&done))?;
            if !finish {
                // Of a new session, with which a login gets the next pin.
                print(&state(&mut operator.connect()?)?, out)?;
            }
        }
    }
    Ok(ExitCode::Ok)
}

fn state(session: &mut Session) -> Result<NetworkReport, CliError> {
    let ToOperator::Status(report) = session.ask(&FromOperator::Status { repo: None, limit: 0 })? else {
        return Err(CliError::Unexpected("`status`"));
    };
    report.network.map(|network| *network).ok_or(CliError::Unexpected("`status`"))
}

fn print(network: &NetworkReport, out: &mut Output) -> Result<(), CliError> {
    let Some(RotationReport { next_pin, joined, taken, missing }) = &network.rotation else {
        return out.line(format_args!("pin {}", one_line(&network.pin)));
    };
    out.line(format_args!("pin      {}", one_line(&network.pin)))?;
    out.line(format_args!("next pin {}", one_line(next_pin)))?;
    let left = joined.saturating_sub(*taken);
    let peers = human::count(*joined, "peer");
    match left {
        0 if *joined == 0 => out.line("no peer has joined, so none needs the next pin")?,
        0 if *joined == 1 => out.line("the one peer that joined has the next pin")?,
        0 => out.line(format_args!("all {peers} that joined have the next pin"))?,
        _ => out.line(format_args!("{taken} of {peers} that joined have the next pin; not yet:"))?,
    }
    for peer in missing {
        out.line(format_args!("  {}", one_line(peer)))?;
    }
    let more = left.saturating_sub(missing.len() as u64);
    if more > 0 {
        out.line(format_args!("  and {more} more"))?;
    }
    out.line("`surveil authority rotate --finish` makes the next pin the only one")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::tests::support::Collected;

    fn shown(rotation: Option<(u64, u64, &[&str])>) -> String {
        let rotation = rotation.map(|(joined, taken, missing)| RotationReport {
            next_pin: "2".repeat(64),
            joined,
            taken,
            missing: missing.iter().map(|&peer| peer.to_owned()).collect(),
        });
        let (listen, pin) = ("10.0.0.5:9000".to_owned(), "1".repeat(64));
        let collected = Collected::default();
        let report = NetworkReport { listen, pin, rotation, plain_text_from: Vec::new() };
        print(&report, &mut collected.output()).unwrap();
        collected.text()
    }

    #[test]
    fn the_progress_names_the_peers_without_the_next_pin_within_eighty_columns() {
        let (first, next) = ("1".repeat(64), "2".repeat(64));
        assert_eq!(shown(None), format!("pin {first}\n"));
        let pins = format!("pin      {first}\nnext pin {next}\n");
        let finish = "`surveil authority rotate --finish` makes the next pin the only one\n";
        assert_eq!(
            shown(Some((12, 9, &["runner away", "member ann"]))),
            format!(
                "{pins}9 of 12 peers that joined have the next pin; not yet:\n  runner away\n  member ann\n\
                 \x20 and 1 more\n{finish}"
            )
        );
        assert_eq!(shown(Some((1, 1, &[]))), format!("{pins}the one peer that joined has the next pin\n{finish}"));
        assert_eq!(shown(Some((3, 3, &[]))), format!("{pins}all 3 peers that joined have the next pin\n{finish}"));
        assert_eq!(shown(Some((0, 0, &[]))), format!("{pins}no peer has joined, so none needs the next pin\n{finish}"));
        assert!(shown(Some((100_000, 99_999, &[]))).lines().all(|line| line.len() <= 80));
    }
}
