//! The observer: the role that notices commits and announces them.
//!
//! It has no state of its own. The dispatcher remembers which heads it has accepted, and the observer compares those
//! with the heads in the repository. So an observer may be killed, moved or started late and misses nothing. It only
//! reads the watched repositories, and it never decides what a commit amounts to.
//!
//! [`run()`] dials and keeps one `session` with the dispatcher. Each repository has a thread (`repo`, which decides by
//! the pure `watch`), woken by `notify` and `fetch`. All of them share the session, and talk over it by `submit`.
//! Called by the command line.

mod error;
mod failures;
mod fetch;
mod notify;
mod repo;
mod repo_threads;
mod resend;
mod run;
mod sequence;
mod session;
mod submit;
#[cfg(test)]
mod tests;
mod translate;

mod wakes;
mod watch;

pub use error::ObserverError;
pub use run::run;
pub use session::DialError;
#[cfg(any(test, fuzzing))]
pub(crate) use translate::{read_greeting, read_next};
