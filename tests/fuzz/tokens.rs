//! A text, read as a token.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| surveil::fuzz::token(bytes));
