//! Processes that die or freeze, and messages that come late or twice. The numbers are those of the promises.

mod addresses;
mod attempts;
mod backups;
mod content;
mod dispatcher;
mod fencing;
mod full;
mod full_caches;
mod hostile;
mod losses;
mod mirrors;
mod observer;
mod refusals;
mod retention;
mod runner;
mod stalls;
mod time;
mod waiting;
