//! `surveil up`: dispatcher, observer and one runner in threads of this process, and a live display of their work. The
//! display gets its reports over an ordinary operator session, so it shows the same as any other machine would see.
//!
//! [`run()`] is the main loop. [`roles`] starts and ends the three roles, [`watch`] turns the session into messages,
//! [`goal`] is the build that `--once` waits for, [`progress`] decides what is news, [`display`] and [`tail`] show it.

mod display;
mod flags;
mod goal;
mod progress;
mod roles;
mod run;
mod tail;
mod watch;

pub(crate) use display::Display;
pub(crate) use flags::UpFlags;
pub(crate) use progress::Progress;
pub(crate) use run::run;
