//! Objects that no git would write, checked out.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| surveil::fuzz::objects(bytes));
