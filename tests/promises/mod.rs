//! The promises by their numbers, as plain functions over a history. The simulation and the nemesis
//! each write a history of what they can see, and the same functions judge both.

pub(crate) mod checkers;
mod files;
pub(crate) mod history;
mod intake;
mod losses;
mod orders;
mod outside;
mod plans;
mod presence;
mod schedules;
mod shares;
mod slots;
pub(crate) mod terms;
mod tool_cache;
mod verdicts;
