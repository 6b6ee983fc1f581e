//! A journal and spools with any content, which a starting runner finds.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| surveil::fuzz::recovery(bytes));
