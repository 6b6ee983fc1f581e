//! Pieces of a log in any order.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| surveil::fuzz::log_in_pieces(bytes));
