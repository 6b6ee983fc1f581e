//! Answers of a dispatcher about entries of the tool cache.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| surveil::fuzz::entry_answers(bytes));
