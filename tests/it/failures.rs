//! What happens when something dies, freezes, comes late or comes twice. The numbers are those of the promises.

mod backups;
mod dispatcher;
mod observer;
mod refusals;
mod runner;
