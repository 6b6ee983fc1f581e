//! Messages about entries of the tool cache in any order.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| surveil::fuzz::entry_messages(bytes));
