//! A task file, as whoever may commit can make it.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| surveil::fuzz::task_file(bytes));
