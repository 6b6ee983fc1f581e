//! A line, read as a message to each role.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| surveil::fuzz::messages(bytes));
