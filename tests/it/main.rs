//! Whole-program tests: `surveil` processes, repositories made with git, sockets, signals. Each test has a world of its
//! own ([`harness`]) and shares nothing with the others, so all of them may run at once.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on says where")]

mod harness;

mod answers;
mod bounds;
mod caches;
mod cli;
mod closed_pipes;
mod durability;
mod encrypted;
mod failures;
mod foreign;
mod happy_path;
mod images;
mod joining;
mod logins;
mod names;
mod packaging;
mod rotation;
mod secrets;
mod services;
mod tidy;
mod tool_cache;
mod triggers;
mod validity;
mod versions;
mod wire;
