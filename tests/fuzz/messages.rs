//! A line, to everyone who might hear it.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| surveil::fuzz::messages(bytes));
