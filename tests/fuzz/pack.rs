//! Bytes as a pack that is received into a mirror.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| surveil::fuzz::pack(bytes));
