//! The process room against real and hostile processes, in both tiers.

mod harness;

mod deaths;
mod endings;
mod leftovers;
mod speed;
mod starting;
mod stopping;
