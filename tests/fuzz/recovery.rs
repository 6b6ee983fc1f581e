//! A journal and spools with any content, found by a runner that starts.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| surveil::fuzz::recovery(bytes));
