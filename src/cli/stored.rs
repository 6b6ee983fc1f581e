//! Questions when no dispatcher answers: they are answered from its data directory, if that is on this machine. The
//! directory is only read.

use std::io::Write;
use std::net::IpAddr;
use std::sync::Once;

use super::operator_flags::OperatorFlags;
use super::session::Session;
use super::{CliError, human};
use crate::clock;
use crate::config::{ConfigError, data_dir};
use crate::dispatcher::Records;
use crate::error_chain::chain;
use crate::model::Address;
use crate::protocol::hello::ErrorCode;
use crate::store::StoreError;
use crate::transport::Stream;

/// A command may open several sessions, and says only once that it reads.
static SAID: Once = Once::new();

impl OperatorFlags {
    /// Opens a session with the named dispatcher, or reads the records of its data directory if it does not run. For
    /// questions about what is stored.
    pub(crate) fn connect_or_read(&self) -> Result<Session, CliError> {
        match self.connect() {
            Err(error) if self.may_read(&error) => self.read_instead(error),
            result => result,
        }
    }

    /// Whether the data directory of this machine may answer instead of the dispatcher: the dispatcher would be on this
    /// machine, and it does not run, or another one has its port.
    fn may_read(&self, error: &CliError) -> bool {
        let is_here = |address: &Address| {
            address.host == "localhost" || address.host.parse().is_ok_and(|ip: IpAddr| ip.is_loopback())
        };
        let does_not_run =
            matches!(error, CliError::Unreachable(_) | CliError::Config(ConfigError::TokenMissing { .. }));
        let is_other = matches!(error, CliError::Refused(refusal) if refusal.code == ErrorCode::Token);
        (does_not_run || (is_other && self.proof.data.is_some()))
            && self.proof.token_file.is_none()
            && self.target().is_ok_and(|target| target.login.is_none() && target.dispatch.iter().all(is_here))
    }

    fn read_instead(&self, error: CliError) -> Result<Session, CliError> {
        let directory = data_dir(self.proof.data.clone());
        let records = match Records::open(&directory) {
            Ok(Some(records)) => records,
            Ok(None) => return Err(error),
            Err(StoreError::InUse { holder, .. }) => {
                let holder = holder.unwrap_or_else(|| "a dispatcher".into());
                return Err(CliError::AtAnotherAddress { holder, directory, source: Box::new(error) });
            }
            Err(why) => {
                log::warn!("could not read {} either: {}", directory.display(), chain(&why));
                return Err(error);
            }
        };
        let ago = human::ago(records.written_at().0, clock::wall().0);
        // Without a stderr, nobody can be told.
        let line = format!("surveil: no dispatcher runs; this is from {}, last written {ago}", directory.display());
        SAID.call_once(|| drop(writeln!(std::io::stderr(), "{line}")));
        let (ours, theirs) = Stream::pair();
        let records = records.serve(theirs).map_err(CliError::machine("start a thread"))?;
        Ok(Session::over_records(ours, records))
    }
}
