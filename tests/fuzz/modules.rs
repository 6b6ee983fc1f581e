//! A file `.gitmodules`, and the URL that it is beside.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| surveil::fuzz::modules_file(bytes));
