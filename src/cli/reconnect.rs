//! Sessions of commands that wait. A dispatcher that restarts, or is away for an hour, ends no wait: the command comes
//! back with it. Every command that waits uses this, and [`CliError::passes`] alone says what ends a wait.

use std::io::Write;

use crossbeam_channel::after;

use super::CliError;
use super::operator_flags::OperatorFlags;
use super::session::Session;
use crate::clock;
use crate::error_chain::chain;
use crate::model::visible;
use crate::transport::{Absence, Backoff};

/// The first and the longest pause between two tries.
const REDIAL_FIRST_MS: u64 = 100;
const REDIAL_MAX_MS: u64 = 3_000;
/// Work that lasted this long had a real session. After less, the pauses go on growing, and nothing is said.
const REAL_SESSION_MS: u64 = 1_000;

impl OperatorFlags {
    /// Returns what `work` makes of the session. If the session is lost meanwhile, `work` is called again with a new
    /// one, however long that takes; it has to remember by itself how far it came. Says so on stderr, once for each
    /// time that the dispatcher was away.
    pub(crate) fn persist<T>(
        &self,
        mut session: Session,
        mut work: impl FnMut(&mut Session) -> Result<T, CliError>,
    ) -> Result<T, CliError> {
        let mut backoff = Backoff::new(REDIAL_FIRST_MS, REDIAL_MAX_MS, u64::from(std::process::id()));
        let mut is_told = false;
        loop {
            let begun = clock::now();
            match work(&mut session) {
                Err(error) if error.passes() => {
                    if clock::now().since(begun) >= REAL_SESSION_MS {
                        backoff.reset();
                        is_told = false;
                    }
                    if !is_told {
                        note(&format!("{}; trying to reconnect", chain(&error)));
                    }
                    session = self.come_back(&mut backoff)?;
                    if !is_told {
                        note("connected again");
                    }
                    is_told = true;
                }
                result => return result,
            }
        }
    }

    /// Opens a new session with a dispatcher that went away.
    fn come_back(&self, backoff: &mut Backoff) -> Result<Session, CliError> {
        let mut absence = Absence::default();
        loop {
            // The pause. Ctrl-C ends the process meanwhile.
            let _end = after(backoff.next_delay()).recv();
            match self.connect() {
                // The note that came first has told of a dispatcher that is away.
                Err(CliError::Disconnected(_)) => {}
                Err(error) if error.is_unreachable() => {}
                Err(error) if error.passes() => {
                    let text = chain(&error);
                    if absence.is_news(&text, clock::now()) {
                        note(&format!("{text}; trying again"));
                    }
                }
                result => return result,
            }
        }
    }
}

/// Prints a note on stderr: only the answer goes to standard output.
pub(crate) fn note(text: &str) {
    // Without a stderr, nobody can be told.
    drop(writeln!(std::io::stderr(), "surveil: {}", visible(text)));
}
