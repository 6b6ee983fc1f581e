//! The process room against real and hostile processes, in both tiers.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on says where")]

mod harness;

mod deaths;
mod endings;
mod escapes;
mod groups;
mod leftovers;
mod limits;
mod nests;
mod starting;
mod stopping;
