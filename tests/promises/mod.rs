//! The promises by their numbers, as plain functions over what happened. The simulation and the tests of real processes
//! each write such a history, from what they can see, and are judged by the same functions.

pub(crate) mod checkers;
pub(crate) mod history;
mod losses;
mod orders;
mod outside;
pub(crate) mod terms;
mod verdicts;
