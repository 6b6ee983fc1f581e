//! The facts of a commit's source, as a peer sends them.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| surveil::fuzz::facts(bytes));
