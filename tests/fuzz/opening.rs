//! The first bytes of a connection to the dispatcher's port.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| surveil::fuzz::first_bytes(bytes));
