//! Messages about blobs in any order.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| surveil::fuzz::uploads(bytes));
